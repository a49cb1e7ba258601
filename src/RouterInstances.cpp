// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// SPDX-FileCopyrightText: Copyright Contributors to the Tokkos project

#include <Tokkos/Impl/Instances.hpp>

namespace Tokkos::Impl {

template void route(const InstanceSpace&, const InstanceLogits<float>&);
template void checkRouterExtents(
    std::string_view, const Extents&, const Extents&, const Extents&,
    const std::string&, double,
    const RouterOptions<InstanceSpace::memory_space>&);

}  // namespace Tokkos::Impl
