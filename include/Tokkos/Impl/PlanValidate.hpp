// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// SPDX-FileCopyrightText: Copyright Contributors to the Tokkos project

#ifndef TOKKOS_IMPL_PLANVALIDATE_HPP
#define TOKKOS_IMPL_PLANVALIDATE_HPP

#include <Tokkos/Impl/PlanData.hpp>

#include <Kokkos_Core.hpp>

#include <climits>
#include <cstdint>
#include <string>

// validateDispatchPlan: every check is a functor that answers, for one index,
// what is wrong there (0: nothing); the smallest index wins.
namespace Tokkos {

template <class MemorySpace>
struct DispatchPlan;

namespace Impl {

struct FirstInvalidInMap {
  const int* map;
  int num_local_experts;

  KOKKOS_FUNCTION void operator()(int e, int& first) const {
    if ((map[e] < -1 || map[e] >= num_local_experts) && e < first) first = e;
  }
};

/// The arrays of a plan as validation sees them, unscanned tables aside.
struct PlanView {
  PlanData plan;
  int num_rows;
  int max_rows;

  KOKKOS_FUNCTION int expertOfRow(int row) const {
    int low = 0, high = plan.num_experts;  // offsets[low] <= row
    while (high - low > 1) {
      const int middle                           = (low + high) / 2;
      (plan.offsets[middle] <= row ? low : high) = middle;
    }
    return low;
  }

  /// Of a count that may be none.
  KOKKOS_FUNCTION std::int64_t paddedRows(std::int64_t count) const {
    return (count + plan.alignment - 1) / plan.alignment * plan.alignment;
  }
};

struct CheckExpert : PlanView {
  enum Violation {
    ok,
    negative_count,
    bad_offset,
    over_capacity,
    bad_dropped,
    bad_total
  };

  KOKKOS_FUNCTION int operator()(int e) const {
    const int begin = plan.offsets[e];
    const int count = plan.counts[e];
    if (count < 0) return negative_count;
    if ((e == 0 && begin != 0) ||
        std::int64_t(plan.offsets[e + 1]) - begin != paddedRows(count))
      return bad_offset;
    if (count > plan.capacity) return over_capacity;
    if (plan.dropped[e] < 0 || (plan.dropped[e] > 0 && count < plan.capacity))
      return bad_dropped;
    if (e == plan.num_experts - 1 &&
        (plan.offsets[e + 1] != num_rows || num_rows > max_rows))
      return bad_total;
    return ok;
  }
};

struct CheckRow : PlanView {
  enum Violation { ok, bad_padding, out_of_bounds, not_inverse, bad_order };

  KOKKOS_FUNCTION int operator()(int row) const {
    const int e          = expertOfRow(row);
    const int assignment = plan.assignment_of_row[row];
    if (row >= plan.offsets[e] + plan.counts[e])
      return assignment == -1 ? ok : bad_padding;
    if (assignment < 0 || assignment >= plan.num_assignments)
      return out_of_bounds;
    if (plan.row_of_assignment[assignment] != row) return not_inverse;
    if (row > plan.offsets[e] && plan.assignment_of_row[row - 1] >= assignment)
      return bad_order;
    return ok;
  }
};

struct CheckAssignment : PlanView {
  enum Violation { ok, out_of_bounds, not_inverse };

  KOKKOS_FUNCTION int operator()(int a) const {
    const int row = plan.row_of_assignment[a];
    if (row == -1) return ok;
    if (row < -1 || row >= num_rows) return out_of_bounds;
    return plan.assignment_of_row[row] == a ? ok : not_inverse;
  }
};

struct CheckBlock : PlanView {
  KOKKOS_FUNCTION int operator()(int block) const {
    const int row      = block * plan.alignment;
    const int expected = row < num_rows ? expertOfRow(row) : -1;
    return plan.expert_of_block[block] != expected;
  }
};

template <class Id>
struct CheckId : PlanView {
  enum Violation { ok, bad_id, has_row, no_row, wrong_expert, not_latest };

  PlanKeys<Id> keys;
  bool keeps_earliest;

  KOKKOS_FUNCTION int operator()(int a) const {
    const int e   = keys(a);
    const int row = plan.row_of_assignment[a];
    if (e == key_invalid) return bad_id;
    if (e == key_none) return row == -1 ? ok : has_row;
    const int end = plan.offsets[e] + plan.counts[e];
    if (row == -1) {
      if (plan.dropped[e] == 0) return no_row;
      return !keeps_earliest || plan.counts[e] == 0 ||
                     plan.assignment_of_row[end - 1] < a
                 ? ok
                 : not_latest;
    }
    return row >= plan.offsets[e] && row < end ? ok : wrong_expert;
  }
};

/// All assignments of an expert have a row or count as dropped.
template <class Id>
struct CountKeys {
  PlanKeys<Id> keys;
  int* totals;

  KOKKOS_FUNCTION void operator()(int a) const {
    if (const int e = keys(a); e >= 0) Kokkos::atomic_inc(&totals[e]);
  }
};

struct CheckTotal : PlanView {
  const int* totals;

  KOKKOS_FUNCTION int operator()(int e) const {
    return totals[e] != std::int64_t(plan.counts[e]) + plan.dropped[e];
  }
};

struct SumDropped {
  const int* dropped;

  KOKKOS_FUNCTION void operator()(int e, int& sum) const { sum += dropped[e]; }
};

template <class Check>
struct FirstViolation {
  static constexpr std::int64_t codes = 8;  // violations of one check, at most

  Check check;

  KOKKOS_FUNCTION void operator()(int i, std::int64_t& first) const {
    const int violation = check(i);
    if (violation != 0 && i * codes + violation < first)
      first = i * codes + violation;
  }
};

struct Found {
  int violation;  // 0: none
  int index;
};

template <class ExecutionSpace, class Check>
Found findViolation(const ExecutionSpace& space, int count,
                    const Check& check) {
  std::int64_t first = INT64_MAX;
  Kokkos::parallel_reduce(
      "Tokkos::validateDispatchPlan::find",
      Kokkos::RangePolicy<ExecutionSpace, Kokkos::IndexType<std::int64_t>>(
          space, 0, count),
      FirstViolation<Check>{check}, Kokkos::Min<std::int64_t>(first));
  if (count == 0 || first == INT64_MAX) return {0, 0};
  return {static_cast<int>(first % FirstViolation<Check>::codes),
          static_cast<int>(first / FirstViolation<Check>::codes)};
}

/// Synchronises: one value of a View of rank 0 or 1.
template <class ExecutionSpace, class View, class... Index>
int readBack(const ExecutionSpace& space, const View& view, Index... index) {
  int value = 0;
  if constexpr (sizeof...(Index) == 0)
    Kokkos::deep_copy(space, value, view);
  else
    Kokkos::deep_copy(space, value, Kokkos::subview(view, index...));
  space.fence("Tokkos::validateDispatchPlan: reading a value back");
  return value;
}

inline std::string entry(const char* array, int index) {
  return std::string(array) + "(" + std::to_string(index) + ")";
}

template <class ExecutionSpace, class MemorySpace>
std::string validatePlan(const ExecutionSpace& space,
                         const DispatchPlan<MemorySpace>& plan,
                         const PlanData& data) {
  const PlanView view{data, readBack(space, plan.num_rows), plan.max_rows};
  const auto value = [&](const auto& array, int i) {
    return std::to_string(readBack(space, array, i));
  };

  if (const Found found =
          findViolation(space, plan.num_experts, CheckExpert{view});
      found.violation != 0) {
    const int e = found.index;
    const std::string count =
        entry("counts", e) + " = " + value(plan.counts, e);
    switch (found.violation) {
      case CheckExpert::negative_count:
        return count + " is negative";
      case CheckExpert::bad_offset:
        return count + ", but its rows are [" + value(plan.offsets, e) + ", " +
               value(plan.offsets, e + 1) + ") with alignment " +
               std::to_string(plan.options.alignment);
      case CheckExpert::over_capacity:
        return count + " exceeds the capacity " +
               std::to_string(plan.options.capacity);
      case CheckExpert::bad_dropped:
        return entry("dropped", e) + " = " + value(plan.dropped, e) +
               " does not fit " + count + " with capacity " +
               std::to_string(plan.options.capacity);
      default:
        return "num_rows = " + std::to_string(view.num_rows) +
               " must be the last offset, " + value(plan.offsets, e + 1) +
               ", and at most max_rows = " + std::to_string(plan.max_rows);
    }
  }
  if (const Found found = findViolation(space, view.num_rows, CheckRow{view});
      found.violation != 0) {
    const int r           = found.index;
    const std::string row = entry("assignment_of_row", r) + " = " +
                            value(plan.assignment_of_row, r);
    switch (found.violation) {
      case CheckRow::bad_padding:
        return row + " in a padding row, must be -1";
      case CheckRow::out_of_bounds:
        return row + " is not in [0, " +
               std::to_string(view.plan.num_assignments) + ")";
      case CheckRow::not_inverse:
        return row + ", but that assignment has another row";
      default:
        return row + " does not come after that of the row before it, " +
               value(plan.assignment_of_row, r - 1);
    }
  }
  if (const Found found = findViolation(space, view.plan.num_assignments,
                                        CheckAssignment{view});
      found.violation != 0) {
    const std::string assignment =
        "row_of_assignment(" + std::to_string(found.index / plan.top_k) + ", " +
        std::to_string(found.index % plan.top_k) + ") ";
    return assignment + (found.violation == CheckAssignment::out_of_bounds
                             ? "is not in [-1, num_rows = " +
                                   std::to_string(view.num_rows) + ")"
                             : "is a row that has another assignment");
  }
  if (const Found found =
          findViolation(space, view.plan.num_blocks, CheckBlock{view});
      found.violation != 0)
    return entry("expert_of_block", found.index) + " = " +
           value(plan.expert_of_block, found.index) +
           " is not the expert that owns the block";
  return {};
}

template <class ExecutionSpace, class MemorySpace, class Id>
std::string validatePlanAgainstIds(const ExecutionSpace& space,
                                   const DispatchPlan<MemorySpace>& plan,
                                   const PlanData& data,
                                   const PlanKeys<Id>& keys,
                                   bool keeps_earliest) {
  const PlanView view{data, readBack(space, plan.num_rows), plan.max_rows};
  const int n = data.num_assignments;
  if (const Found found =
          findViolation(space, n, CheckId<Id>{view, keys, keeps_earliest});
      found.violation != 0) {
    const std::string id = "expert_ids(" +
                           std::to_string(found.index / plan.top_k) + ", " +
                           std::to_string(found.index % plan.top_k) + ") ";
    switch (found.violation) {
      case CheckId<Id>::bad_id:
        return id + "names no expert in [0, " +
               std::to_string(plan.num_global_experts) + "): it is dropped";
      case CheckId<Id>::has_row:
        return id + "is masked or remote, but has a row";
      case CheckId<Id>::no_row:
        return id + "has no row, though its expert dropped nothing";
      case CheckId<Id>::wrong_expert:
        return id + "has a row of another expert";
      default:
        return id + "was dropped, but a later assignment was kept";
    }
  }
  Kokkos::View<int*, MemorySpace> totals(
      Kokkos::view_alloc(space, "Tokkos::validateDispatchPlan::totals"),
      static_cast<std::size_t>(plan.num_experts));
  Kokkos::parallel_for(
      "Tokkos::validateDispatchPlan::count",
      Kokkos::RangePolicy<ExecutionSpace, Kokkos::IndexType<std::int64_t>>(
          space, 0, n),
      CountKeys<Id>{keys, totals.data()});
  if (const Found found = findViolation(space, plan.num_experts,
                                        CheckTotal{view, totals.data()});
      found.violation != 0)
    return entry("counts", found.index) + " + " +
           entry("dropped", found.index) + " is not the number of its " +
           "assignments, " +
           std::to_string(readBack(space, totals, found.index));
  int dropped = 0;
  Kokkos::parallel_reduce(
      "Tokkos::validateDispatchPlan::sumDropped",
      Kokkos::RangePolicy<ExecutionSpace>(space, 0, plan.num_experts),
      SumDropped{plan.dropped.data()}, dropped);
  if (const int claimed = readBack(space, plan.num_dropped); claimed != dropped)
    return "num_dropped = " + std::to_string(claimed) + ", but the experts " +
           "dropped " + std::to_string(dropped) + " and no id is invalid";
  return {};
}

}  // namespace Impl
}  // namespace Tokkos

#endif
