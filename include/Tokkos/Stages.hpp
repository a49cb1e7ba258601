// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// SPDX-FileCopyrightText: Copyright Contributors to the Tokkos project

#ifndef TOKKOS_STAGES_HPP
#define TOKKOS_STAGES_HPP

#include <Tokkos/Impl/Check.hpp>
#include <Tokkos/Impl/StageKernels.hpp>
#include <Tokkos/KokkosExt/Launch.hpp>
#include <Tokkos/KokkosExt/Types.hpp>

#include <Kokkos_Core.hpp>
#include <Kokkos_Profiling_ScopedRegion.hpp>

#include <cstdint>
#include <string>
#include <type_traits>

/// \file
/// The building blocks of a dispatch on their own, as the literature shows
/// them: count, scan, advance-the-offset scatter. They teach, and they are the
/// baseline of every benchmark. A DispatchPlan does the same in a stable order.
///
/// Everywhere: expert_ids is a View of rank 1 (T: one expert a token) or 2
/// (T x K), of any integer type. An id outside [0, E) is skipped. All work is
/// enqueued on the instance; no verb allocates or synchronises.
namespace Tokkos {

namespace Impl {

template <class ExecutionSpace>
using Tokens =
    Kokkos::RangePolicy<ExecutionSpace, Kokkos::IndexType<std::int64_t>>;

/// An array of integers that the verb writes, such as counts and offsets.
template <class View>
inline constexpr bool is_integer_output_v =
    View::rank() == 1 && std::is_integral_v<typename View::value_type> &&
    !std::is_const_v<typename View::value_type>;

template <class View>
inline constexpr bool is_expert_ids_v =
    (View::rank() == 1 || View::rank() == 2) &&
    std::is_integral_v<typename View::value_type>;

}  // namespace Impl

/// Counts the assignments of every expert.
///
/// \param expert_ids T or T x K integers
/// \param counts E integers, overwritten: how often each expert was named
///
/// \throws std::invalid_argument when memory overlaps
///
/// T * K atomic additions.
template <class ExecutionSpace, class ExpertIds, class Counts>
void countExperts(const ExecutionSpace& space, const ExpertIds& expert_ids,
                  const Counts& counts) {
  static_assert(Kokkos::is_execution_space_v<ExecutionSpace>,
                "Tokkos::countExperts: space must be an execution space "
                "instance");
  static_assert(Kokkos::is_view_v<ExpertIds> && Kokkos::is_view_v<Counts>,
                "Tokkos::countExperts: expert_ids and counts must be Views");
  static_assert(Impl::is_expert_ids_v<ExpertIds>,
                "Tokkos::countExperts: expert_ids must hold integers, in rank "
                "1 or 2");
  static_assert(Impl::is_integer_output_v<Counts>,
                "Tokkos::countExperts: counts must hold non-const integers, in "
                "rank 1");
  static_assert(KokkosExt::is_accessible_v<ExecutionSpace, ExpertIds> &&
                    KokkosExt::is_accessible_v<ExecutionSpace, Counts>,
                "Tokkos::countExperts: the execution space must reach every "
                "View");
  Impl::checkDisjoint("Tokkos::countExperts", "expert_ids",
                      Impl::memoryRegion(expert_ids), "counts",
                      Impl::memoryRegion(counts));
  Kokkos::Profiling::ScopedRegion region("Tokkos::countExperts");
  Kokkos::deep_copy(space, counts, typename Counts::value_type(0));
  if (expert_ids.size() == 0) return;
  KokkosExt::parallelFor(
      "Tokkos::countExperts::count",
      Impl::Tokens<ExecutionSpace>(
          space, 0, static_cast<std::int64_t>(expert_ids.extent(0))),
      Impl::CountExperts<ExpertIds, Counts>{expert_ids, counts});
}

/// Makes offsets of counts: offsets(e) is the sum of the counts before e.
///
/// \param counts E integers
/// \param offsets E + 1 integers, or E when the total is not wanted;
///   overwritten. Its type must hold the total.
/// \throws std::invalid_argument when offsets has another extent
///
/// One exclusive scan over E.
template <class ExecutionSpace, class Counts, class Offsets>
void scanCounts(const ExecutionSpace& space, const Counts& counts,
                const Offsets& offsets) {
  static_assert(Kokkos::is_execution_space_v<ExecutionSpace>,
                "Tokkos::scanCounts: space must be an execution space "
                "instance");
  static_assert(Kokkos::is_view_v<Counts> && Kokkos::is_view_v<Offsets>,
                "Tokkos::scanCounts: counts and offsets must be Views");
  static_assert(
      Counts::rank() == 1 && std::is_integral_v<typename Counts::value_type>,
      "Tokkos::scanCounts: counts must hold integers, in rank 1");
  static_assert(Impl::is_integer_output_v<Offsets>,
                "Tokkos::scanCounts: offsets must hold non-const integers, in "
                "rank 1");
  static_assert(KokkosExt::is_accessible_v<ExecutionSpace, Counts> &&
                    KokkosExt::is_accessible_v<ExecutionSpace, Offsets>,
                "Tokkos::scanCounts: the execution space must reach every "
                "View");
  const std::size_t num_experts = counts.extent(0);
  if (offsets.extent(0) != num_experts)
    Impl::checkExtent("Tokkos::scanCounts", "offsets", 0, offsets.extent(0),
                      num_experts + 1, "counts.extent(0) + 1");
  Impl::checkMemory("Tokkos::scanCounts", "counts", Impl::memoryRegion(counts));
  Impl::checkMemory("Tokkos::scanCounts", "offsets",
                    Impl::memoryRegion(offsets));
  Kokkos::Profiling::ScopedRegion region("Tokkos::scanCounts");
  if (offsets.extent(0) == 0) return;
  Kokkos::parallel_scan(
      "Tokkos::scanCounts::scan",
      Impl::Tokens<ExecutionSpace>(
          space, 0, static_cast<std::int64_t>(offsets.extent(0))),
      Impl::ScanCounts<Counts, Offsets>{counts, offsets});
}

/// Copies every token to the next free row of its expert (of each of its
/// experts): row = offsets(e)++.
///
/// **Not stable**: which row of its expert a token gets depends on the order in
/// which threads run, and changes from run to run. buildDispatchPlan and
/// permute give the tokens in order.
///
/// \param source T values or T x H rows of any trivially copyable type
/// \param destination R values or R x H rows, of the same type and rank, where
///   R is the number of assignments or more; must not overlap the source
/// \param expert_ids T or T x K integers
/// \param offsets E integers or more: the first free row of every expert, as
///   scanCounts makes them. **Advanced**: afterwards offsets(e) is the first
///   row behind expert e. An E + 1st entry, the total, stays as it is when
///   `expert_ids` names E experts.
/// \throws std::invalid_argument when extents do not fit or memory overlaps
///
/// T * K atomic additions and copies of a row.
template <class ExecutionSpace, class Source, class Destination,
          class ExpertIds, class Offsets>
void permuteByExpert(const ExecutionSpace& space, const Source& source,
                     const Destination& destination,
                     const ExpertIds& expert_ids, const Offsets& offsets) {
  static_assert(Kokkos::is_execution_space_v<ExecutionSpace>,
                "Tokkos::permuteByExpert: space must be an execution space "
                "instance");
  static_assert(Kokkos::is_view_v<Source> && Kokkos::is_view_v<Destination> &&
                    Kokkos::is_view_v<ExpertIds> && Kokkos::is_view_v<Offsets>,
                "Tokkos::permuteByExpert: every argument behind space must be "
                "a View");
  static_assert((Source::rank() == 1 || Source::rank() == 2) &&
                    Source::rank() == Destination::rank(),
                "Tokkos::permuteByExpert: source and destination must have "
                "the same rank, 1 or 2");
  using Value = typename Destination::value_type;
  static_assert(std::is_same_v<typename Source::non_const_value_type, Value>,
                "Tokkos::permuteByExpert: destination must hold the source's "
                "type, non-const");
  static_assert(std::is_trivially_copyable_v<Value>,
                "Tokkos::permuteByExpert: the values must be trivially "
                "copyable");
  static_assert(Impl::is_expert_ids_v<ExpertIds>,
                "Tokkos::permuteByExpert: expert_ids must hold integers, in "
                "rank 1 or 2");
  static_assert(Impl::is_integer_output_v<Offsets>,
                "Tokkos::permuteByExpert: offsets must hold non-const "
                "integers, in rank 1");
  static_assert(KokkosExt::is_accessible_v<ExecutionSpace, Source> &&
                    KokkosExt::is_accessible_v<ExecutionSpace, Destination> &&
                    KokkosExt::is_accessible_v<ExecutionSpace, ExpertIds> &&
                    KokkosExt::is_accessible_v<ExecutionSpace, Offsets>,
                "Tokkos::permuteByExpert: the execution space must reach every "
                "View");
  constexpr auto function = "Tokkos::permuteByExpert";
  Impl::checkExtent(function, "expert_ids", 0, expert_ids.extent(0),
                    source.extent(0), "source.extent(0)");
  Impl::checkExtentAtLeast(function, "destination", 0, destination.extent(0),
                           expert_ids.size(), "the number of assignments");
  if constexpr (Source::rank() == 2)
    Impl::checkExtent(function, "destination", 1, destination.extent(1),
                      source.extent(1), "source.extent(1)");
  const Impl::NamedRegion inputs[] = {
      {"source", Impl::memoryRegion(source)},
      {"expert_ids", Impl::memoryRegion(expert_ids)}};
  const Impl::NamedRegion outputs[] = {
      {"destination", Impl::memoryRegion(destination)},
      {"offsets", Impl::memoryRegion(offsets)}};
  Impl::checkAllDisjoint(function, inputs, outputs);

  Kokkos::Profiling::ScopedRegion region(function);
  if (expert_ids.size() == 0) return;
  KokkosExt::parallelFor(
      "Tokkos::permuteByExpert::copy",
      Impl::Tokens<ExecutionSpace>(
          space, 0, static_cast<std::int64_t>(expert_ids.extent(0))),
      Impl::PermuteByExpert<Source, Destination, ExpertIds, Offsets>{
          source, destination, expert_ids, offsets,
          static_cast<std::int64_t>(offsets.extent(0))});
}

}  // namespace Tokkos

#endif
