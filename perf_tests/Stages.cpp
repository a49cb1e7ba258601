// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// SPDX-FileCopyrightText: Copyright Contributors to the Tokkos project

#include "Registry.hpp"

#include "Inputs.hpp"
#include "Measure.hpp"
#include "PlanBytes.hpp"

#include <Tokkos.hpp>

#include <string>
#include <vector>

namespace PerfTest {

/// What the stages on their own write: a set for a call.
template <class ExecutionSpace>
struct StagesSet {
  using Memory = typename ExecutionSpace::memory_space;

  StagesSet(const ExecutionSpace& space, const Workload& workload, int i)
      : expert_ids(makeExpertIds(space, workload, i)),
        token_ids(
            allocate<Array<int, Memory>>(space, "token_ids", workload.tokens)),
        counts(allocate<Array<int, Memory>>(space, "counts",
                                            workload.model.num_experts)),
        offsets(allocate<Array<int, Memory>>(space, "offsets",
                                             workload.model.num_experts + 1)),
        token_of_row(allocate<Array<int, Memory>>(space, "token_of_row",
                                                  workload.numAssignments())) {}

  Matrix<int, Memory> expert_ids;
  Array<int, Memory> token_ids;
  Array<int, Memory> counts;
  Array<int, Memory> offsets;
  Array<int, Memory> token_of_row;
};

/// Token t is number t.
template <class View>
struct NumberTokens {
  View token_ids;

  KOKKOS_FUNCTION void operator()(int t) const { token_ids(t) = t; }
};

/// Counts the rows whose token did not choose the expert that owns them.
/// permuteByExpert has advanced offsets(e) to the end of expert e.
template <class Set>
struct CountForeignTokens {
  Set set;

  KOKKOS_FUNCTION void operator()(int row, int& wrong) const {
    const int num_experts = static_cast<int>(set.counts.extent(0));
    int expert            = 0;
    while (expert < num_experts && set.offsets(expert) <= row)
      ++expert;
    const int token = set.token_of_row(row);
    bool chosen     = false;
    for (int k = 0; k < static_cast<int>(set.expert_ids.extent(1)); ++k)
      chosen = chosen || set.expert_ids(token, k) == expert;
    if (!chosen) ++wrong;
  }
};

/// The three stages in turn on the numbers of the tokens: a plan without the
/// way back and without an order inside an expert.
template <class ExecutionSpace>
class PlainStages : public KokkosSubject<ExecutionSpace> {
 public:
  PlainStages(const ExecutionSpace& space, const Workload& workload) {
    using Policy = Kokkos::RangePolicy<ExecutionSpace, Kokkos::IndexType<int>>;
    for (int i = 0; i < numPlanSets<ExecutionSpace>(workload); ++i) {
      m_sets.emplace_back(space, workload, i);
      const auto& token_ids = m_sets.back().token_ids;
      Kokkos::parallel_for(
          "PerfTest::numberTokens", Policy(space, 0, workload.tokens),
          NumberTokens<std::decay_t<decltype(token_ids)>>{token_ids});
    }
  }

  static double minimumBytes(const Workload& workload) {
    return planBytes(workload);
  }

  int numSets() const { return static_cast<int>(m_sets.size()); }

  void call(const ExecutionSpace& space, int i) {
    const auto& set = m_sets[static_cast<std::size_t>(i)];
    Tokkos::countExperts(space, set.expert_ids, set.counts);
    Tokkos::scanCounts(space, set.counts, set.offsets);
    Tokkos::permuteByExpert(space, set.token_ids, set.token_of_row,
                            set.expert_ids, set.offsets);
  }

  std::string check(const ExecutionSpace& space) const {
    using Policy = Kokkos::RangePolicy<ExecutionSpace, Kokkos::IndexType<int>>;
    const auto& set = m_sets[0];
    int wrong       = 0;
    Kokkos::parallel_reduce(
        "PerfTest::check",
        Policy(space, 0, static_cast<int>(set.token_of_row.extent(0))),
        CountForeignTokens<StagesSet<ExecutionSpace>>{set}, wrong);
    return wrong == 0 ? "" : "a row holds a token of another expert";
  }

 private:
  std::vector<StagesSet<ExecutionSpace>> m_sets;
};

/// The first stage alone.
template <class ExecutionSpace>
class CountExperts : public KokkosSubject<ExecutionSpace> {
 public:
  CountExperts(const ExecutionSpace& space, const Workload& workload)
      : m_num_assignments(workload.numAssignments()) {
    for (int i = 0; i < numPlanSets<ExecutionSpace>(workload); ++i)
      m_sets.emplace_back(space, workload, i);
  }

  /// Read the ids, write the counts.
  static double minimumBytes(const Workload& workload) {
    return 4. * workload.numAssignments() + 4. * workload.model.num_experts;
  }

  int numSets() const { return static_cast<int>(m_sets.size()); }

  void call(const ExecutionSpace& space, int i) {
    const auto& set = m_sets[static_cast<std::size_t>(i)];
    Tokkos::countExperts(space, set.expert_ids, set.counts);
  }

  std::string check(const ExecutionSpace& space) const {
    space.fence("PerfTest::check");
    const auto counts = Kokkos::create_mirror_view_and_copy(Kokkos::HostSpace(),
                                                            m_sets[0].counts);
    int total         = 0;
    for (std::size_t e = 0; e < counts.extent(0); ++e)
      total += counts(e);
    return total == m_num_assignments ? "" : "assignments are missing";
  }

 private:
  int m_num_assignments;
  std::vector<StagesSet<ExecutionSpace>> m_sets;
};

void addStages() {
  forEachBackend([](auto type) {
    using ExecutionSpace = typename decltype(type)::type;
    for (const Workload& workload :
         workloads({Routing::uniform, Routing::zipf})) {
      add<PlainStages<ExecutionSpace>>("plainStages", workload);
      add<CountExperts<ExecutionSpace>>("countExperts", workload);
    }
  });
}

}  // namespace PerfTest
