// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// SPDX-FileCopyrightText: Copyright Contributors to the Tokkos project

#include "Registry.hpp"

#include "CopyBandwidth.hpp"
#include "Inputs.hpp"
#include "Measure.hpp"
#include "PlanBytes.hpp"
#include "RowBytes.hpp"

#include <algorithm>
#include <cstddef>
#include <cstring>
#include <string>
#include <utility>
#include <vector>

// What one would write for a single thread of a host, without Kokkos.
namespace PerfTest {

namespace {

/// The outputs of a dispatch plan.
struct HostPlan {
  explicit HostPlan(const Workload& workload)
      : counts(static_cast<std::size_t>(workload.model.num_experts)),
        offsets(counts.size() + 1),
        row_of_assignment(static_cast<std::size_t>(workload.numAssignments())),
        assignment_of_row(row_of_assignment.size()) {}

  std::vector<int> counts;
  std::vector<int> offsets;
  std::vector<int> row_of_assignment;
  std::vector<int> assignment_of_row;
};

/// What is wrong with the plan, or nothing.
std::string checkPlan(const std::vector<int>& expert_ids,
                      const HostPlan& plan) {
  std::size_t row = 0;
  for (std::size_t e = 0; e < plan.counts.size(); ++e) {
    if (plan.offsets[e] != static_cast<int>(row)) return "wrong offsets";
    int last = -1;
    for (int i = 0; i < plan.counts[e]; ++i, ++row) {
      const int a      = plan.assignment_of_row[row];
      const auto place = static_cast<std::size_t>(a);
      if (a <= last || expert_ids[place] != static_cast<int>(e) ||
          plan.row_of_assignment[place] != static_cast<int>(row))
        return "wrong row " + std::to_string(row);
      last = a;
    }
  }
  return row == expert_ids.size() ? "" : "assignments are missing";
}

/// What sorts, in the frame of a subject.
template <class Sort>
class HostPlanSubject {
  struct Set {
    const std::vector<int>& expert_ids;
    HostPlan plan;
  };

 public:
  using execution_space                 = Kokkos::DefaultHostExecutionSpace;
  static constexpr bool can_be_captured = false;
  static std::string backend() { return host_name; }
  static double minimumBytes(const Workload& workload) {
    return planBytes(workload);
  }

  HostPlanSubject(const execution_space&, const Workload& workload)
      : m_sort(workload) {
    for (int i = 0; i < numPlanSets<execution_space>(workload); ++i)
      m_sets.push_back(
          {expertIds(workload, i % numSeeds(workload)), HostPlan(workload)});
  }

  int numSets() const { return static_cast<int>(m_sets.size()); }

  void call(const execution_space&, int i) {
    Set& set = m_sets[static_cast<std::size_t>(i)];
    m_sort(set.expert_ids, set.plan);
  }

  std::string check(const execution_space&) const {
    return checkPlan(m_sets[0].expert_ids, m_sets[0].plan);
  }

 private:
  Sort m_sort;
  std::vector<Set> m_sets;
};

/// One walk to count, one to place: the least that a single thread can do for
/// counts, offsets and both maps. It trusts the ids, which updateDispatchPlan
/// does not: there is nothing dropped to report, and no branch to take.
class CountingSort {
 public:
  explicit CountingSort(const Workload& workload)
      : m_next_row(static_cast<std::size_t>(workload.model.num_experts)) {}

  void operator()(const std::vector<int>& expert_ids, HostPlan& plan) {
    std::fill(plan.counts.begin(), plan.counts.end(), 0);
    for (const int e : expert_ids)
      ++plan.counts[static_cast<std::size_t>(e)];
    int row = 0;
    for (std::size_t e = 0; e < plan.counts.size(); ++e) {
      plan.offsets[e] = m_next_row[e] = row;
      row += plan.counts[e];
    }
    plan.offsets.back() = row;
    for (std::size_t a = 0; a < expert_ids.size(); ++a) {
      row = m_next_row[static_cast<std::size_t>(expert_ids[a])]++;
      plan.row_of_assignment[a] = row;
      plan.assignment_of_row[static_cast<std::size_t>(row)] =
          static_cast<int>(a);
    }
  }

 private:
  std::vector<int> m_next_row;
};

/// std::stable_sort of pairs (expert, assignment) by the expert.
class StableSort {
 public:
  explicit StableSort(const Workload& workload)
      : m_pairs(static_cast<std::size_t>(workload.numAssignments())) {}

  void operator()(const std::vector<int>& expert_ids, HostPlan& plan) {
    for (std::size_t a = 0; a < expert_ids.size(); ++a)
      m_pairs[a] = {expert_ids[a], static_cast<int>(a)};
    std::stable_sort(
        m_pairs.begin(), m_pairs.end(),
        [](const auto& x, const auto& y) { return x.first < y.first; });
    std::fill(plan.counts.begin(), plan.counts.end(), 0);
    for (std::size_t row = 0; row < m_pairs.size(); ++row) {
      const auto [e, a] = m_pairs[row];
      ++plan.counts[static_cast<std::size_t>(e)];
      plan.assignment_of_row[row] = a;
      plan.row_of_assignment[static_cast<std::size_t>(a)] =
          static_cast<int>(row);
    }
    plan.offsets[0] = 0;
    for (std::size_t e = 0; e < plan.counts.size(); ++e)
      plan.offsets[e + 1] = plan.offsets[e] + plan.counts[e];
  }

 private:
  std::vector<std::pair<int, int>> m_pairs;
};

/// permute with std::memcpy, a row at a time, through a known map.
class MemcpyRows {
  struct Set {
    HostPlan plan;
    Matrix<float, Kokkos::HostSpace> tokens;
    Matrix<float, Kokkos::HostSpace> batch;
  };

 public:
  using execution_space                 = Kokkos::DefaultHostExecutionSpace;
  static constexpr bool can_be_captured = false;
  static std::string backend() { return host_name; }
  static double minimumBytes(const Workload& workload) {
    return permuteBytes(workload, sizeof(float));
  }

  MemcpyRows(const execution_space& space, const Workload& workload)
      : m_top_k(workload.model.top_k) {
    CountingSort sort(workload);
    const int hidden   = workload.model.hidden;
    const int num_sets = numRowSets(workload, minimumBytes(workload));
    for (int i = 0; i < num_sets; ++i) {
      m_sets.push_back(
          {HostPlan(workload),
           makeRandom<float>(space, "tokens", workload.tokens, hidden, i),
           allocate<Matrix<float, Kokkos::HostSpace>>(
               space, "batch", workload.numAssignments(), hidden)});
      sort(expertIds(workload, i % numSeeds(workload)), m_sets.back().plan);
    }
  }

  int numSets() const { return static_cast<int>(m_sets.size()); }

  void call(const execution_space&, int i) {
    const Set& set       = m_sets[static_cast<std::size_t>(i)];
    const auto& rows     = set.plan.row_of_assignment;
    const auto top_k     = static_cast<std::size_t>(m_top_k);
    const auto num_bytes = set.tokens.extent(1) * sizeof(float);
    for (std::size_t a = 0; a < rows.size(); ++a)
      std::memcpy(&set.batch(rows[a], 0), &set.tokens(a / top_k, 0), num_bytes);
  }

  std::string check(const execution_space&) const {
    const Set& set   = m_sets[0];
    const auto top_k = static_cast<std::size_t>(m_top_k);
    for (std::size_t a = 0; a < set.plan.row_of_assignment.size(); ++a)
      if (set.batch(set.plan.row_of_assignment[a], 0) !=
          set.tokens(a / top_k, 0))
        return "a row is not its token";
    return "";
  }

 private:
  int m_top_k;
  std::vector<Set> m_sets;
};

}  // namespace

void addHostBaselines() {
  for (const Workload& workload :
       workloads({Routing::uniform, Routing::zipf})) {
    add<HostPlanSubject<CountingSort>>("countingSort", workload);
    add<HostPlanSubject<StableSort>>("stableSort", workload);
    if (fits<Kokkos::DefaultHostExecutionSpace>(
            permuteBytes(workload, sizeof(float))))
      add<MemcpyRows>("memcpyRows", workload, "float");
  }
}

}  // namespace PerfTest
