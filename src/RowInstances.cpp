// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// SPDX-FileCopyrightText: Copyright Contributors to the Tokkos project

#include <Tokkos/Impl/Instances.hpp>

namespace Tokkos::Impl {

template void permuteRows(const InstanceSpace&,
                          const RowPattern<const std::byte>&,
                          const RowPattern<std::byte>&, const RowShape&,
                          const RowMaps&);
template void unpermuteRows(const InstanceSpace&,
                            const RowPattern<const std::byte>&,
                            const RowPattern<std::byte>&, const RowShape&,
                            const RowMaps&);
template void combineRows(const char*, const InstanceSpace&,
                          const InstanceSums<float>&, std::size_t,
                          const RowMaps&);

}  // namespace Tokkos::Impl
