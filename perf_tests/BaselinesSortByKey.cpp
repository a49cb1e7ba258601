// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// SPDX-FileCopyrightText: Copyright Contributors to the Tokkos project

#include "Registry.hpp"

#include "Inputs.hpp"
#include "Measure.hpp"
#include "PlanBytes.hpp"

#include <Kokkos_Core.hpp>
#include <Kokkos_Sort.hpp>

#include <string>
#include <vector>

namespace PerfTest {

/// Row r is to hold assignment r, of the expert that it names.
template <class Ids, class Keys>
struct NumberAssignments {
  Ids expert_ids;
  Keys keys;
  Keys assignments;

  KOKKOS_FUNCTION void operator()(int a) const {
    keys(a)        = expert_ids.data()[a];
    assignments(a) = a;
  }
};

template <class Ids, class Keys>
struct CountWrongKeys {
  Ids expert_ids;
  Keys keys;
  Keys assignments;

  KOKKOS_FUNCTION void operator()(int r, int& wrong) const {
    if (r > 0 && keys(r - 1) > keys(r)) ++wrong;
    if (expert_ids.data()[assignments(r)] != keys(r)) ++wrong;
  }
};

/// Kokkos' own sort of the assignments by their expert. It makes the order
/// alone: no counts, no offsets, no way back. It allocates, and on a device it
/// waits, so no graph can hold it.
template <class ExecutionSpace>
class SortByKey : public KokkosSubject<ExecutionSpace> {
  using Memory = typename ExecutionSpace::memory_space;
  using Ids    = Matrix<int, Memory>;
  using Keys   = Array<int, Memory>;
  using Policy = Kokkos::RangePolicy<ExecutionSpace, Kokkos::IndexType<int>>;
  struct Set {
    Ids expert_ids;
    Keys keys;
    Keys assignments;
  };

 public:
  static constexpr bool can_be_captured = false;

  SortByKey(const ExecutionSpace& space, const Workload& workload)
      : m_num_assignments(workload.numAssignments()) {
    for (int i = 0; i < numPlanSets<ExecutionSpace>(workload); ++i)
      m_sets.push_back(
          {makeExpertIds(space, workload, i),
           allocate<Keys>(space, "keys", m_num_assignments),
           allocate<Keys>(space, "assignments", m_num_assignments)});
  }

  static double minimumBytes(const Workload& workload) {
    return planBytes(workload);
  }

  int numSets() const { return static_cast<int>(m_sets.size()); }

  void call(const ExecutionSpace& space, int i) {
    const Set& set = m_sets[static_cast<std::size_t>(i)];
    // It sorts in place, and the ids must stay.
    Kokkos::parallel_for("PerfTest::numberAssignments",
                         Policy(space, 0, m_num_assignments),
                         NumberAssignments<Ids, Keys>{set.expert_ids, set.keys,
                                                      set.assignments});
    Kokkos::Experimental::sort_by_key(space, set.keys, set.assignments);
  }

  std::string check(const ExecutionSpace& space) const {
    int wrong = 0;
    Kokkos::parallel_reduce(
        "PerfTest::check", Policy(space, 0, m_num_assignments),
        CountWrongKeys<Ids, Keys>{m_sets[0].expert_ids, m_sets[0].keys,
                                  m_sets[0].assignments},
        wrong);
    return wrong == 0 ? "" : "the assignments are not sorted";
  }

 private:
  int m_num_assignments;
  std::vector<Set> m_sets;
};

void addSortByKeyBaselines() {
  forEachBackend([](auto type) {
    for (const Workload& workload :
         workloads({Routing::uniform, Routing::zipf}))
      add<SortByKey<typename decltype(type)::type>>("sortByKey", workload);
  });
}

}  // namespace PerfTest
