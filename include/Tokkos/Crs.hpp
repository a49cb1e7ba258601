// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// SPDX-FileCopyrightText: Copyright Contributors to the Tokkos project

#ifndef TOKKOS_CRS_HPP
#define TOKKOS_CRS_HPP

#include <Tokkos/DispatchPlan.hpp>
#include <Tokkos/Impl/Check.hpp>
#include <Tokkos/Impl/CrsKernels.hpp>
#include <Tokkos/KokkosExt/Launch.hpp>
#include <Tokkos/KokkosExt/Types.hpp>

#include <Kokkos_Core.hpp>
#include <Kokkos_Profiling_ScopedRegion.hpp>

#include <cstdint>
#include <type_traits>

namespace Tokkos {

/// Writes the plan as a sparse matrix in compressed row storage, for users of
/// linear algebra: with it, combine is the product of the matrix and the batch.
///
/// The matrix has a row for every token and a column for every row of the
/// batch; entry (t, r) is the weight with which batch row r counts for token t.
/// Within a row the entries stand in the order of the choices, so that a
/// product that sums them in order sums as combine does.
///
/// \param plan of the last updateDispatchPlan on this instance
/// \param weights T x K with T = plan.num_tokens; float, double, half_t or
///   bhalf_t
/// \param row_map T + 1 integers, overwritten: row_map(t) is where the entries
///   of token t begin, row_map(T) their number
/// \param entries T * K integers or more: the columns
/// \param values T * K or more, of any of those real types: the weights. Behind
///   row_map(T) neither entries nor values are touched.
/// \throws std::invalid_argument when extents do not fit or an output shares
///   memory with the weights or with another output
///
/// Enqueues on the instance and returns: no allocation, no synchronisation; two
/// launches, T * K operations.
template <class ExecutionSpace, class MemorySpace, class Weights, class RowMap,
          class Entries, class Values>
void planToCrs(const ExecutionSpace& space,
               const DispatchPlan<MemorySpace>& plan, const Weights& weights,
               const RowMap& row_map, const Entries& entries,
               const Values& values) {
  static_assert(Kokkos::is_execution_space_v<ExecutionSpace>,
                "Tokkos::planToCrs: space must be an execution space instance");
  static_assert(Kokkos::is_view_v<Weights> && Kokkos::is_view_v<RowMap> &&
                    Kokkos::is_view_v<Entries> && Kokkos::is_view_v<Values>,
                "Tokkos::planToCrs: weights, row_map, entries and values must "
                "be Views");
  static_assert(Weights::rank() == 2 && RowMap::rank() == 1 &&
                    Entries::rank() == 1 && Values::rank() == 1,
                "Tokkos::planToCrs: weights must have rank 2, the others rank "
                "1");
  static_assert(std::is_integral_v<typename RowMap::value_type> &&
                    !std::is_const_v<typename RowMap::value_type> &&
                    std::is_integral_v<typename Entries::value_type> &&
                    !std::is_const_v<typename Entries::value_type>,
                "Tokkos::planToCrs: row_map and entries must hold non-const "
                "integers");
  static_assert(KokkosExt::is_real_v<typename Weights::non_const_value_type> &&
                    KokkosExt::is_real_v<typename Values::value_type>,
                "Tokkos::planToCrs: weights and values must be float, double, "
                "half_t or bhalf_t, values non-const");
  static_assert(
      KokkosExt::is_accessible_v<ExecutionSpace, Weights> &&
          KokkosExt::is_accessible_v<ExecutionSpace, RowMap> &&
          KokkosExt::is_accessible_v<ExecutionSpace, Entries> &&
          KokkosExt::is_accessible_v<ExecutionSpace, Values> &&
          Kokkos::SpaceAccessibility<ExecutionSpace, MemorySpace>::accessible,
      "Tokkos::planToCrs: the execution space must reach every View");
  constexpr auto function = "Tokkos::planToCrs";
  const auto num_tokens   = static_cast<std::size_t>(plan.num_tokens);
  const auto top_k        = static_cast<std::size_t>(plan.top_k);
  if (plan.top_k == 0)
    Impl::throwInvalidArgument(function, "plan", "a plan that was built",
                               "an empty one");
  Impl::checkExtent(function, "weights", 0, weights.extent(0), num_tokens,
                    "plan.num_tokens");
  Impl::checkExtent(function, "weights", 1, weights.extent(1), top_k,
                    "plan.top_k");
  Impl::checkExtent(function, "row_map", 0, row_map.extent(0), num_tokens + 1,
                    "plan.num_tokens + 1");
  Impl::checkExtentAtLeast(function, "entries", 0, entries.extent(0),
                           num_tokens * top_k, "plan.num_tokens * plan.top_k");
  Impl::checkExtentAtLeast(function, "values", 0, values.extent(0),
                           num_tokens * top_k, "plan.num_tokens * plan.top_k");
  const Impl::NamedRegion inputs[] = {{"weights", Impl::memoryRegion(weights)}};
  const Impl::NamedRegion outputs[] = {{"row_map", Impl::memoryRegion(row_map)},
                                       {"entries", Impl::memoryRegion(entries)},
                                       {"values", Impl::memoryRegion(values)}};
  Impl::checkAllDisjoint(function, inputs, outputs);

  Kokkos::Profiling::ScopedRegion region(function);
  using Tokens = Kokkos::RangePolicy<ExecutionSpace, Kokkos::IndexType<int>>;
  Kokkos::parallel_scan(
      "Tokkos::planToCrs::count", Tokens(space, 0, plan.num_tokens + 1),
      Impl::CountCrsEntries<RowMap>{plan.row_of_assignment.data(), plan.top_k,
                                    plan.num_tokens, row_map});
  KokkosExt::parallelFor("Tokkos::planToCrs::fill",
                         Tokens(space, 0, plan.num_tokens),
                         Impl::FillCrsEntries<RowMap, Entries, Values, Weights>{
                             plan.row_of_assignment.data(), plan.top_k, row_map,
                             entries, values, weights});
}

}  // namespace Tokkos

#endif
