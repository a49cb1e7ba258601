// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// SPDX-FileCopyrightText: Copyright Contributors to the Tokkos project

#ifndef TOKKOS_IMPL_INSTANCES_HPP
#define TOKKOS_IMPL_INSTANCES_HPP

#include <Tokkos/Combine.hpp>
#include <Tokkos/DispatchPlan.hpp>
#include <Tokkos/Gradients.hpp>
#include <Tokkos/Permute.hpp>
#include <Tokkos/Router.hpp>

#include <Kokkos_Core.hpp>

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

// What the library has compiled already, in src/*Instances.cpp: the verbs
// behind their checks, on the host's default backend, for the types that most
// programs use. An application's own sources then compile in a fraction of the
// time. Everything else is instantiated where it is used.
namespace Tokkos {

namespace Impl {

using InstanceSpace = Kokkos::DefaultHostExecutionSpace;
template <class Real>
using InstanceLogits = FullRouterData<Real, int, float>;
template <class Real>
using InstanceSums = CombineTask<Real, float, Real>;

extern template void route(const InstanceSpace&, const InstanceLogits<float>&);
extern template void checkRouterExtents(
    std::string_view, const Extents&, const Extents&, const Extents&,
    const std::string&, double,
    const RouterOptions<InstanceSpace::memory_space>&);

extern template void updatePlan(const InstanceSpace&, const PlanKeys<int>&,
                                const PlanData&);
extern template void PlanDropper<InstanceSpace>::dropLaterChoices(PlanKeys<int>,
                                                                  int) const;

extern template void permuteRows(const InstanceSpace&,
                                 const RowPattern<const std::byte>&,
                                 const RowPattern<std::byte>&, const RowShape&,
                                 const RowMaps&);
extern template void unpermuteRows(const InstanceSpace&,
                                   const RowPattern<const std::byte>&,
                                   const RowPattern<std::byte>&,
                                   const RowShape&, const RowMaps&);
extern template void combineRows(const char*, const InstanceSpace&,
                                 const InstanceSums<float>&, std::size_t,
                                 const RowMaps&);

}  // namespace Impl

extern template DispatchPlan<Impl::InstanceSpace::memory_space>::DispatchPlan(
    const Impl::InstanceSpace&, std::int64_t, int, int,
    const PlanOptions<Impl::InstanceSpace::memory_space>&);

}  // namespace Tokkos

#endif
