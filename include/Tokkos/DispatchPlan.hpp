// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// SPDX-FileCopyrightText: Copyright Contributors to the Tokkos project

#ifndef TOKKOS_DISPATCHPLAN_HPP
#define TOKKOS_DISPATCHPLAN_HPP

#include <Tokkos/Impl/Check.hpp>
#include <Tokkos/Impl/PlanData.hpp>
#include <Tokkos/Impl/PlanDrop.hpp>
#include <Tokkos/Impl/PlanUpdate.hpp>
#include <Tokkos/Impl/PlanValidate.hpp>
#include <Tokkos/KokkosExt/Types.hpp>

#include <Kokkos_Core.hpp>
#include <Kokkos_Profiling_ScopedRegion.hpp>

#include <climits>
#include <cstdint>
#include <optional>
#include <string>
#include <type_traits>

namespace Tokkos {

/// A contiguous range of experts, [begin, end).
struct ExpertRange {
  int begin;  ///< the first
  int end;    ///< one past the last
};

/// Which of its assignments an expert keeps when it has more than its capacity.
enum class DropPolicy {
  latest,         ///< keep the earliest assignments
  later_choices,  ///< all first choices before any second choice, and so on
  lowest_weight   ///< keep the largest weights; -0 equals 0, NaN is lowest, and
                  ///< of equal weights the earlier is kept
};

/// What a plan does beyond sorting every assignment to its expert. The options
/// act on an assignment in the order in which they stand here.
template <class MemorySpace = Kokkos::DefaultExecutionSpace::memory_space>
struct PlanOptions {
  /// One value a token; a token with false takes no part: its assignments have
  /// no row and do not count as dropped. Empty: every token takes part. It is
  /// read again at every update and must have an entry for every token then.
  Kokkos::View<const bool*, MemorySpace> mask = {};

  /// The global experts that are local to this process: an assignment to any
  /// other has no row and does not count as dropped. Without a value all are.
  std::optional<ExpertRange> experts = {};

  /// The local expert of every global expert, -1 where it is remote; excludes
  /// `experts`. Its values lie in [-1, num_local_experts).
  Kokkos::View<const int*, MemorySpace> expert_map = {};
  int num_local_experts                            = 0;  ///< with a map only

  /// The most rows that an expert takes, 0 for no limit; what an expert has
  /// beyond is dropped.
  int capacity = 0;
  /// Who stays when the capacity is exceeded. The rows of those stand in
  /// ascending order of the assignment all the same.
  DropPolicy drop = DropPolicy::latest;

  /// Every expert's segment of rows is padded to a multiple of this; an expert
  /// without rows takes none.
  int alignment = 1;
};

/// Where every assignment goes in the expert-major batch, and back.
///
/// Assignment a = t * top_k + k is choice k of token t. Expert e owns the rows
/// [offsets(e), offsets(e) + counts(e)), in ascending order of the assignment,
/// and after them padding rows up to offsets(e + 1). The plan depends on the
/// ids and the options alone: it is the same, bit for bit, on every backend and
/// for every number of threads.
///
/// A plan is made for max_tokens tokens and serves any number up to that.
/// Copies share the arrays, as copies of a View do. Behind the last assignment
/// (num_tokens * top_k) and the last row (num_rows) the maps are unspecified.
template <class MemorySpace = Kokkos::DefaultExecutionSpace::memory_space>
struct DispatchPlan {
  static_assert(Kokkos::is_memory_space_v<MemorySpace>,
                "Tokkos::DispatchPlan: MemorySpace must be a memory space");
  using memory_space = MemorySpace;  ///< of every array

  /// An empty plan, good for assigning to.
  DispatchPlan() = default;

  /// Allocates a plan, all of it, on the instance.
  ///
  /// \param num_experts number of experts that ids name, that is of global ones
  /// \throws std::invalid_argument when max_tokens < 0, not 1 <= top_k <=
  ///   num_experts, max_tokens * top_k or max_rows exceeds 2^31 - 1, or an
  ///   option is out of its range
  ///
  /// Synchronises the instance when an expert map is given, to check it.
  /// The contents are unspecified until the first updateDispatchPlan.
  template <class ExecutionSpace>
  DispatchPlan(const ExecutionSpace& space, std::int64_t max_tokens, int top_k,
               int num_experts, const PlanOptions<MemorySpace>& options = {});

  Kokkos::View<int*, MemorySpace> counts;   ///< E: rows of every expert
  Kokkos::View<int*, MemorySpace> offsets;  ///< E + 1: first row, then num_rows
  Kokkos::View<int*, MemorySpace> dropped;  ///< E: lost to the capacity

  /// max_tokens x top_k: the row of every assignment, -1 where it has none.
  Kokkos::View<int**, Kokkos::LayoutRight, MemorySpace> row_of_assignment;
  /// max_rows: the assignment of every row, -1 for padding.
  Kokkos::View<int*, MemorySpace> assignment_of_row;
  /// max_rows / alignment: the expert that owns the block of rows, -1 behind
  /// the last. Empty when alignment is 1.
  Kokkos::View<int*, MemorySpace> expert_of_block;

  /// Rows in use, padding included: offsets(E).
  Kokkos::View<int, MemorySpace> num_rows;
  /// Assignments with an invalid id plus those lost to the capacity.
  Kokkos::View<int, MemorySpace> num_dropped;

  int max_tokens  = 0;  ///< no update may have more
  int num_tokens  = 0;  ///< of the last update
  int top_k       = 0;  ///< choices of a token, the K of the arrays above
  int num_experts = 0;  ///< local ones, the E of the arrays above
  int max_rows    = 0;  ///< no routing of max_tokens tokens needs more rows

  int num_global_experts = 0;        ///< those that ids name
  PlanOptions<MemorySpace> options;  ///< as the plan was made with

  ///@{
  /// Work array, not for callers: counts by tile of assignments and expert;
  /// and, for another drop policy than latest, a mark of every assignment and,
  /// by expert, what the choice needs.
  Kokkos::View<int**, Kokkos::LayoutRight, MemorySpace> tile_table;
  Kokkos::View<unsigned char*, MemorySpace> drop_marks;
  Kokkos::View<int*, MemorySpace> drop_totals, drop_wanted, drop_histogram;
  Kokkos::View<std::uint64_t*, MemorySpace> drop_thresholds;
  ///@}

  /// The rows that no routing of so many tokens exceeds; a batch of that many
  /// rows is always large enough.
  int maxRows(int tokens) const {
    return static_cast<int>(maxRows(tokens, top_k, num_experts,
                                    options.capacity, options.alignment));
  }

  /// The same before there is a plan, for so many local experts; not limited to
  /// 2^31 - 1.
  static std::int64_t maxRows(std::int64_t tokens, int top_k, int num_experts,
                              int capacity, int alignment);

  /// The bytes that the constructor allocates for these arguments, at most
  /// 16 * max_tokens * top_k + 64 MB for up to a million experts, padding and
  /// the histogram of DropPolicy::lowest_weight (1 KB an expert) aside.
  /// Allocates nothing.
  ///
  /// \throws std::invalid_argument as the constructor does
  template <class ExecutionSpace>
  static std::size_t bytes(const ExecutionSpace& space, std::int64_t max_tokens,
                           int top_k, int num_experts,
                           const PlanOptions<MemorySpace>& options = {});

 private:
  /// Checks the arguments and sets everything that is not an array.
  void setShape(std::int64_t max_tokens, int top_k, int num_experts,
                const PlanOptions<MemorySpace>& options);

  /// Calls visit(view, label, extents...) for every array that the plan has.
  template <class ExecutionSpace, class Visitor>
  void forEachArray(const ExecutionSpace& space, const Visitor& visit);
};

/// Points the plan to the experts that the ids name.
///
/// \param plan made by buildDispatchPlan or the constructor; num_tokens becomes
///   expert_ids.extent(0)
/// \param expert_ids T x top_k with T <= plan.max_tokens; int or std::int64_t,
///   any layout. An id outside [0, number of global experts) is a dropped
///   assignment, never an access out of bounds. A token may name an expert
///   twice.
/// \throws std::invalid_argument when extents do not fit; the plan is then as
///   it was
///
/// Enqueues on the instance and returns: no allocation, no synchronisation; can
/// be captured in a CUDA graph (T is then fixed, the contents of the ids and of
/// the mask are not). T * top_k operations and some for every expert; on a
/// device one launch up to some thousands of assignments and two beyond, more
/// with ten thousand experts or another drop policy than latest.
template <class ExecutionSpace, class MemorySpace, class ExpertIds>
void updateDispatchPlan(const ExecutionSpace& space,
                        DispatchPlan<MemorySpace>& plan,
                        const ExpertIds& expert_ids);

/// The same with weights for DropPolicy::lowest_weight, which needs them; other
/// policies do not look at them.
///
/// \param weights T x top_k; float, double, half_t or bhalf_t, any layout
template <class ExecutionSpace, class MemorySpace, class ExpertIds,
          class Weights>
void updateDispatchPlan(const ExecutionSpace& space,
                        DispatchPlan<MemorySpace>& plan,
                        const ExpertIds& expert_ids, const Weights& weights);

/// Makes a plan for expert_ids.extent(0) tokens and points it to the experts
/// that the ids name: the constructor and updateDispatchPlan in one call.
///
/// \param expert_ids T x K, see updateDispatchPlan
/// \param num_experts ids name the experts [0, num_experts)
/// \throws std::invalid_argument as those two do
template <class ExecutionSpace, class ExpertIds>
auto buildDispatchPlan(
    const ExecutionSpace& space, const ExpertIds& expert_ids, int num_experts,
    const PlanOptions<typename ExecutionSpace::memory_space>& options = {});

/// The same with weights, T x K, for DropPolicy::lowest_weight.
template <class ExecutionSpace, class ExpertIds, class Weights>
  requires(Kokkos::is_view_v<Weights>)
auto buildDispatchPlan(
    const ExecutionSpace& space, const ExpertIds& expert_ids,
    const Weights& weights, int num_experts,
    const PlanOptions<typename ExecutionSpace::memory_space>& options = {});

/// The capacity that gives every expert its fair share times a factor:
/// ceil(factor * num_tokens * top_k / num_experts), at least 1 (Lepikhin et
/// al., GShard, 2020, with the factor of Fedus et al., Switch Transformers,
/// 2021).
///
/// \throws std::invalid_argument when the factor is not a positive number, when
///   num_tokens < 0 or top_k or num_experts < 1, or when the result exceeds
///   2^31 - 1
int capacityOfFactor(double factor, std::int64_t num_tokens, int top_k,
                     int num_experts);

/// Checks that the plan is one: offsets, bounds, order and capacity, both maps
/// inverse to each other, padding and blocks where they belong.
///
/// \returns the first violation in words; empty when there is none
///
/// Synchronises the instance; meant for tests and debugging.
template <class ExecutionSpace, class MemorySpace>
std::string validateDispatchPlan(const ExecutionSpace& space,
                                 const DispatchPlan<MemorySpace>& plan);

/// Checks also that the plan belongs to these ids, and that every id is valid:
/// names the first one outside [0, number of global experts), the first token
/// whose assignment went to another expert or has a row, or no row, against the
/// options, and a wrong number of dropped assignments.
template <class ExecutionSpace, class MemorySpace, class ExpertIds>
std::string validateDispatchPlan(const ExecutionSpace& space,
                                 const DispatchPlan<MemorySpace>& plan,
                                 const ExpertIds& expert_ids);

//----------------------------------------------------------------------------

namespace Impl {

template <class MemorySpace, class ExpertIds>
auto planKeys(const DispatchPlan<MemorySpace>& plan,
              const ExpertIds& expert_ids) {
  using Id = typename ExpertIds::non_const_value_type;
  return PlanKeys<Id>{
      expert_ids.data(), static_cast<std::int64_t>(expert_ids.stride(0)),
      static_cast<std::int64_t>(expert_ids.stride(1)), plan.options.mask.data(),
      plan.options.expert_map.data(), plan.top_k, plan.num_global_experts,
      plan.options.experts ? plan.options.experts->begin : 0, plan.num_experts,
      // A token's ids lie behind those of the token before it.
      (plan.top_k == 1 || expert_ids.stride(1) == 1) &&
          (expert_ids.extent(0) <= 1 ||
           expert_ids.stride(0) == expert_ids.extent(1))};
}

template <class MemorySpace>
bool dropsByWeight(const DispatchPlan<MemorySpace>& plan) {
  return plan.options.capacity > 0 &&
         plan.options.drop == DropPolicy::lowest_weight;
}

/// The plan as its kernels see it, for so many tokens in tiles of this length.
template <class MemorySpace>
PlanData planData(const DispatchPlan<MemorySpace>& plan, int num_tokens,
                  int tile_length) {
  const int n         = num_tokens * plan.top_k;
  const int max_tiles = static_cast<int>(plan.tile_table.extent(0));
  // An instance with more threads than the plan was made for has longer tiles.
  tile_length = Kokkos::max(tile_length, divideUp(n, max_tiles));
  PlanData data{};
  data.counts            = plan.counts.data();
  data.offsets           = plan.offsets.data();
  data.dropped           = plan.dropped.data();
  data.row_of_assignment = plan.row_of_assignment.data();
  data.assignment_of_row = plan.assignment_of_row.data();
  data.expert_of_block   = plan.expert_of_block.data();
  data.num_rows          = plan.num_rows.data();
  data.num_dropped       = plan.num_dropped.data();
  data.table             = plan.tile_table.data();
  data.num_assignments   = n;
  data.num_experts       = plan.num_experts;
  data.num_blocks        = static_cast<int>(plan.expert_of_block.extent(0));
  data.capacity  = plan.options.capacity > 0 ? plan.options.capacity : INT_MAX;
  data.alignment = plan.options.alignment;
  data.tile_length  = tile_length;
  data.num_tiles    = Kokkos::max(1, divideUp(n, tile_length));
  data.table_stride = static_cast<int>(plan.tile_table.extent(1));
  data.key_bits     = Impl::PlanData::keyBits(plan.num_experts);
  return data;
}

/// Synchronises: the first global expert whose entry in the map is no local
/// expert and not -1; the number of experts when there is none.
template <class ExecutionSpace, class Map>
int firstInvalidInMap(const ExecutionSpace& space, const Map& map,
                      int num_local_experts) {
  const int num_experts = static_cast<int>(map.extent(0));
  int first             = num_experts;
  Kokkos::parallel_reduce(
      "Tokkos::DispatchPlan::checkMap",
      Kokkos::RangePolicy<ExecutionSpace>(space, 0, num_experts),
      FirstInvalidInMap{map.data(), num_local_experts},
      Kokkos::Min<int>(first));
  return Kokkos::min(first, num_experts);
}

}  // namespace Impl

template <class MemorySpace>
std::int64_t DispatchPlan<MemorySpace>::maxRows(std::int64_t tokens, int top_k,
                                                int num_experts, int capacity,
                                                int alignment) {
  const std::int64_t experts     = num_experts;
  const std::int64_t assignments = tokens * top_k;
  const std::int64_t rows =
      capacity > 0 ? Kokkos::min(assignments, experts * capacity) : assignments;
  const std::int64_t padded =
      rows + Kokkos::min(experts, rows) * (alignment - 1);
  return (padded + alignment - 1) / alignment * alignment;
}

template <class MemorySpace>
void DispatchPlan<MemorySpace>::setShape(
    std::int64_t max_tokens_, int top_k_, int num_experts_,
    const PlanOptions<MemorySpace>& options_) {
  constexpr auto function = "Tokkos::DispatchPlan";
  options                 = options_;
  Impl::checkRange(function, "num_experts", num_experts_, 1, INT_MAX - 1, "");
  Impl::checkRange(function, "top_k", top_k_, 1, num_experts_,
                   "the number of experts");
  Impl::checkRange(function, "max_tokens", max_tokens_, 0, INT_MAX / top_k_,
                   "(2^31 - 1) / top_k");
  Impl::checkRange(function, "options.capacity", options.capacity, 0, INT_MAX,
                   "0 for no limit");
  Impl::checkRange(function, "options.alignment", options.alignment, 1, INT_MAX,
                   "");
  Impl::checkRange(function, "options.drop", static_cast<int>(options.drop),
                   static_cast<int>(DropPolicy::latest),
                   static_cast<int>(DropPolicy::lowest_weight),
                   "the values of DropPolicy");
  num_experts = num_experts_;
  if (options.experts) {
    if (options.expert_map.data() != nullptr)
      Impl::throwInvalidArgument(function, "options.experts",
                                 "no value when an expert map is given",
                                 "a range and a map");
    Impl::checkRange(function, "options.experts.end", options.experts->end, 1,
                     num_experts_, "the number of experts");
    Impl::checkRange(function, "options.experts.begin", options.experts->begin,
                     0, options.experts->end - 1, "before the end");
    num_experts = options.experts->end - options.experts->begin;
  } else if (options.expert_map.data() != nullptr) {
    Impl::checkExtent(
        function, "options.expert_map", 0, options.expert_map.extent(0),
        static_cast<std::size_t>(num_experts_), "the number of global experts");
    Impl::checkRange(function, "options.num_local_experts",
                     options.num_local_experts, 1, INT_MAX - 1, "");
    num_experts = options.num_local_experts;
  }
  const std::int64_t rows = maxRows(max_tokens_, top_k_, num_experts,
                                    options.capacity, options.alignment);
  Impl::checkRange(function, "max_rows", rows, 0, INT_MAX,
                   "2^31 - 1, with every expert's padding");
  if (Impl::dropsByWeight(*this))
    Impl::checkRange(function, "num_experts", num_experts, 1,
                     INT_MAX / Impl::drop_digits,
                     "with DropPolicy::lowest_weight");
  max_tokens         = static_cast<int>(max_tokens_);
  top_k              = top_k_;
  num_global_experts = num_experts_;
  max_rows           = static_cast<int>(rows);
}

template <class MemorySpace>
template <class ExecutionSpace, class Visitor>
void DispatchPlan<MemorySpace>::forEachArray(const ExecutionSpace& space,
                                             const Visitor& visit) {
  visit(counts, "counts", num_experts);
  visit(offsets, "offsets", num_experts + 1);
  visit(dropped, "dropped", num_experts);
  visit(row_of_assignment, "row_of_assignment", max_tokens, top_k);
  visit(assignment_of_row, "assignment_of_row", max_rows);
  if (options.alignment > 1)
    visit(expert_of_block, "expert_of_block", max_rows / options.alignment);
  visit(num_rows, "num_rows");
  visit(num_dropped, "num_dropped");
  visit(tile_table, "tile_table",
        Impl::planMaxTiles(space, max_tokens * top_k, num_experts),
        Impl::PlanData::tableStride(num_experts));
  if (options.capacity > 0 && options.drop != DropPolicy::latest) {
    visit(drop_marks, "drop_marks", max_tokens * top_k);
    visit(drop_totals, "drop_totals", num_experts);
  }
  if (Impl::dropsByWeight(*this)) {
    visit(drop_wanted, "drop_wanted", num_experts);
    visit(drop_thresholds, "drop_thresholds", num_experts);
    visit(drop_histogram, "drop_histogram", num_experts * Impl::drop_digits);
  }
}

template <class MemorySpace>
template <class ExecutionSpace>
DispatchPlan<MemorySpace>::DispatchPlan(
    const ExecutionSpace& space, std::int64_t max_tokens_, int top_k_,
    int num_experts_, const PlanOptions<MemorySpace>& options_) {
  static_assert(Kokkos::is_execution_space_v<ExecutionSpace>,
                "Tokkos::DispatchPlan: space must be an execution space "
                "instance");
  static_assert(
      Kokkos::SpaceAccessibility<ExecutionSpace, MemorySpace>::accessible,
      "Tokkos::DispatchPlan: the execution space must reach MemorySpace");
  setShape(max_tokens_, top_k_, num_experts_, options_);
  if (options.expert_map.data() != nullptr) {
    const int first =
        Impl::firstInvalidInMap(space, options.expert_map, num_experts);
    if (first < num_global_experts)
      Impl::throwInvalidArgument(
          "Tokkos::DispatchPlan",
          "options.expert_map(" + std::to_string(first) + ")",
          "-1 to " + std::to_string(num_experts - 1), "a value outside");
  }
  forEachArray(space, [&space](auto& view, const char* label, auto... n) {
    view = std::remove_reference_t<decltype(view)>(
        Kokkos::view_alloc(space, Kokkos::WithoutInitializing,
                           std::string("Tokkos::DispatchPlan::") + label),
        static_cast<std::size_t>(n)...);
  });
}

template <class MemorySpace>
template <class ExecutionSpace>
std::size_t DispatchPlan<MemorySpace>::bytes(
    const ExecutionSpace& space, std::int64_t max_tokens, int top_k,
    int num_experts, const PlanOptions<MemorySpace>& options) {
  DispatchPlan plan;
  plan.setShape(max_tokens, top_k, num_experts, options);
  std::size_t sum = 0;
  plan.forEachArray(space, [&sum](const auto& view, const char*, auto... n) {
    using Value = typename std::remove_cvref_t<decltype(view)>::value_type;
    // Kokkos allocates whole 8 bytes.
    sum += ((sizeof(Value) * ... * static_cast<std::size_t>(n)) + 7) / 8 * 8;
  });
  return sum;
}

namespace Impl {

template <class ExecutionSpace, class MemorySpace, class ExpertIds>
void checkUpdate(const ExecutionSpace&, const DispatchPlan<MemorySpace>& plan,
                 const ExpertIds& expert_ids) {
  static_assert(Kokkos::is_execution_space_v<ExecutionSpace>,
                "Tokkos::updateDispatchPlan: space must be an execution space "
                "instance");
  static_assert(Kokkos::is_view_v<ExpertIds> && ExpertIds::rank() == 2,
                "Tokkos::updateDispatchPlan: expert_ids must be a View of rank "
                "2 (tokens x choices)");
  using Id = typename ExpertIds::non_const_value_type;
  static_assert(std::is_integral_v<Id> && std::is_signed_v<Id> &&
                    sizeof(Id) >= sizeof(std::int32_t),
                "Tokkos::updateDispatchPlan: expert_ids must hold int or "
                "std::int64_t");
  static_assert(KokkosExt::is_accessible_v<ExecutionSpace, ExpertIds>,
                "Tokkos::updateDispatchPlan: the execution space must reach "
                "expert_ids");
  static_assert(
      Kokkos::SpaceAccessibility<ExecutionSpace, MemorySpace>::accessible,
      "Tokkos::updateDispatchPlan: the execution space must reach the plan");
  constexpr auto function = "Tokkos::updateDispatchPlan";
  if (plan.top_k == 0)
    Impl::throwInvalidArgument(function, "plan", "a plan that was built",
                               "an empty one");
  Impl::checkExtent(function, "expert_ids", 1, expert_ids.extent(1),
                    static_cast<std::size_t>(plan.top_k), "plan.top_k");
  Impl::checkRange(function, "expert_ids.extent(0)",
                   static_cast<std::int64_t>(expert_ids.extent(0)), 0,
                   plan.max_tokens, "plan.max_tokens");
  if (plan.options.mask.data() != nullptr)
    Impl::checkExtentAtLeast(function, "options.mask", 0,
                             plan.options.mask.extent(0), expert_ids.extent(0),
                             "expert_ids.extent(0)");
  Impl::checkDisjoint(function, "expert_ids", Impl::memoryRegion(expert_ids),
                      "plan.row_of_assignment",
                      Impl::memoryRegion(plan.row_of_assignment));
}

template <class MemorySpace>
PlanDropData dropData(const DispatchPlan<MemorySpace>& plan) {
  return {plan.drop_marks.data(), plan.drop_totals.data(),
          plan.drop_wanted.data(), plan.drop_thresholds.data(),
          plan.drop_histogram.data()};
}

/// Everything has been checked.
template <class ExecutionSpace, class MemorySpace, class ExpertIds,
          class Weights>
void updateCheckedPlan(const ExecutionSpace& space,
                       DispatchPlan<MemorySpace>& plan,
                       const ExpertIds& expert_ids, const Weights& weights) {
  Kokkos::Profiling::ScopedRegion region("Tokkos::updateDispatchPlan");
  plan.num_tokens = static_cast<int>(expert_ids.extent(0));
  const auto keys = planKeys(plan, expert_ids);
  const auto data = planData(
      plan, plan.num_tokens,
      planTileLength(space, plan.num_tokens * plan.top_k, plan.num_experts));
  const auto drop = dropData(plan);
  const PlanDropper<ExecutionSpace> dropper(space, data, drop);
  if (plan.options.capacity == 0 || plan.options.drop == DropPolicy::latest ||
      plan.num_tokens == 0)
    updatePlan(space, keys, data);
  else if (plan.options.drop == DropPolicy::later_choices)
    dropper.dropLaterChoices(keys, plan.num_tokens);
  else if constexpr (Kokkos::is_view_v<Weights>)
    dropper.dropLowestWeights(keys, weights);
}

struct NoWeights {};

}  // namespace Impl

template <class ExecutionSpace, class MemorySpace, class ExpertIds>
void updateDispatchPlan(const ExecutionSpace& space,
                        DispatchPlan<MemorySpace>& plan,
                        const ExpertIds& expert_ids) {
  Impl::checkUpdate(space, plan, expert_ids);
  if (Impl::dropsByWeight(plan))
    Impl::throwInvalidArgument("Tokkos::updateDispatchPlan", "weights",
                               "weights for DropPolicy::lowest_weight", "none");
  Impl::updateCheckedPlan(space, plan, expert_ids, Impl::NoWeights());
}

template <class ExecutionSpace, class MemorySpace, class ExpertIds,
          class Weights>
void updateDispatchPlan(const ExecutionSpace& space,
                        DispatchPlan<MemorySpace>& plan,
                        const ExpertIds& expert_ids, const Weights& weights) {
  static_assert(Kokkos::is_view_v<Weights> && Weights::rank() == 2,
                "Tokkos::updateDispatchPlan: weights must be a View of rank 2 "
                "(tokens x choices)");
  static_assert(KokkosExt::is_real_v<typename Weights::non_const_value_type>,
                "Tokkos::updateDispatchPlan: weights must be float, double, "
                "half_t or bhalf_t");
  static_assert(KokkosExt::is_accessible_v<ExecutionSpace, Weights>,
                "Tokkos::updateDispatchPlan: the execution space must reach "
                "weights");
  constexpr auto function = "Tokkos::updateDispatchPlan";
  Impl::checkUpdate(space, plan, expert_ids);
  Impl::checkExtent(function, "weights", 0, weights.extent(0),
                    expert_ids.extent(0), "expert_ids.extent(0)");
  Impl::checkExtent(function, "weights", 1, weights.extent(1),
                    expert_ids.extent(1), "expert_ids.extent(1)");
  Impl::checkMemory(function, "weights", Impl::memoryRegion(weights));
  Impl::updateCheckedPlan(space, plan, expert_ids, weights);
}

namespace Impl {

/// A plan of the right size for the ids.
template <class ExecutionSpace, class ExpertIds>
auto makePlanFor(
    const ExecutionSpace& space, const ExpertIds& expert_ids, int num_experts,
    const PlanOptions<typename ExecutionSpace::memory_space>& options) {
  static_assert(Kokkos::is_view_v<ExpertIds> && ExpertIds::rank() == 2,
                "Tokkos::buildDispatchPlan: expert_ids must be a View of rank "
                "2 (tokens x choices)");
  checkRange("Tokkos::buildDispatchPlan", "expert_ids.extent(1)",
             static_cast<std::int64_t>(expert_ids.extent(1)), 1, num_experts,
             "top_k, at most the number of experts");
  return DispatchPlan<typename ExecutionSpace::memory_space>(
      space, static_cast<std::int64_t>(expert_ids.extent(0)),
      static_cast<int>(expert_ids.extent(1)), num_experts, options);
}

}  // namespace Impl

template <class ExecutionSpace, class ExpertIds>
auto buildDispatchPlan(
    const ExecutionSpace& space, const ExpertIds& expert_ids, int num_experts,
    const PlanOptions<typename ExecutionSpace::memory_space>& options) {
  Kokkos::Profiling::ScopedRegion region("Tokkos::buildDispatchPlan");
  auto plan = Impl::makePlanFor(space, expert_ids, num_experts, options);
  updateDispatchPlan(space, plan, expert_ids);
  return plan;
}

template <class ExecutionSpace, class ExpertIds, class Weights>
  requires(Kokkos::is_view_v<Weights>)
auto buildDispatchPlan(
    const ExecutionSpace& space, const ExpertIds& expert_ids,
    const Weights& weights, int num_experts,
    const PlanOptions<typename ExecutionSpace::memory_space>& options) {
  Kokkos::Profiling::ScopedRegion region("Tokkos::buildDispatchPlan");
  auto plan = Impl::makePlanFor(space, expert_ids, num_experts, options);
  updateDispatchPlan(space, plan, expert_ids, weights);
  return plan;
}

template <class ExecutionSpace, class MemorySpace>
std::string validateDispatchPlan(const ExecutionSpace& space,
                                 const DispatchPlan<MemorySpace>& plan) {
  if (plan.top_k == 0) return "the plan is empty: it was never built";
  Kokkos::Profiling::ScopedRegion region("Tokkos::validateDispatchPlan");
  return Impl::validatePlan(space, plan,
                            Impl::planData(plan, plan.num_tokens, INT_MAX));
}

template <class ExecutionSpace, class MemorySpace, class ExpertIds>
std::string validateDispatchPlan(const ExecutionSpace& space,
                                 const DispatchPlan<MemorySpace>& plan,
                                 const ExpertIds& expert_ids) {
  if (plan.top_k == 0) return "the plan is empty: it was never built";
  constexpr auto function = "Tokkos::validateDispatchPlan";
  Impl::checkExtent(function, "expert_ids", 0, expert_ids.extent(0),
                    static_cast<std::size_t>(plan.num_tokens),
                    "plan.num_tokens");
  Impl::checkExtent(function, "expert_ids", 1, expert_ids.extent(1),
                    static_cast<std::size_t>(plan.top_k), "plan.top_k");
  Impl::checkMemory(function, "expert_ids", Impl::memoryRegion(expert_ids));
  Kokkos::Profiling::ScopedRegion region(function);
  const auto data       = Impl::planData(plan, plan.num_tokens, INT_MAX);
  std::string violation = Impl::validatePlan(space, plan, data);
  if (violation.empty())
    violation = Impl::validatePlanAgainstIds(
        space, plan, data, Impl::planKeys(plan, expert_ids),
        plan.options.drop == DropPolicy::latest);
  return violation;
}

}  // namespace Tokkos

#endif
