// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// SPDX-FileCopyrightText: Copyright Contributors to the Tokkos project

#include <Tokkos/Impl/Instances.hpp>

namespace Tokkos {

namespace Impl {

template void updatePlan(const InstanceSpace&, const PlanKeys<int>&,
                         const PlanData&);
template void PlanDropper<InstanceSpace>::dropLaterChoices(PlanKeys<int>,
                                                           int) const;

}  // namespace Impl

template DispatchPlan<Impl::InstanceSpace::memory_space>::DispatchPlan(
    const Impl::InstanceSpace&, std::int64_t, int, int,
    const PlanOptions<Impl::InstanceSpace::memory_space>&);

}  // namespace Tokkos
