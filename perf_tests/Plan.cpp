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

/// updateDispatchPlan on a prepared plan.
template <class ExecutionSpace>
class UpdateDispatchPlan : public KokkosSubject<ExecutionSpace> {
  using Memory = typename ExecutionSpace::memory_space;
  struct Set {
    Matrix<int, Memory> expert_ids;
    Tokkos::DispatchPlan<Memory> plan;
  };

 public:
  UpdateDispatchPlan(const ExecutionSpace& space, const Workload& workload)
      : m_sets(
            static_cast<std::size_t>(numPlanSets<ExecutionSpace>(workload))) {
    int i = 0;
    for (Set& set : m_sets) {
      set.expert_ids = makeExpertIds(space, workload, i++);
      set.plan       = Tokkos::DispatchPlan<Memory>(space, workload.tokens,
                                                    workload.model.top_k,
                                                    workload.model.num_experts);
    }
  }

  static double minimumBytes(const Workload& workload) {
    return planBytes(workload);
  }

  int numSets() const { return static_cast<int>(m_sets.size()); }

  void call(const ExecutionSpace& space, int i) {
    Set& set = m_sets[static_cast<std::size_t>(i)];
    Tokkos::updateDispatchPlan(space, set.plan, set.expert_ids);
  }

  std::string check(const ExecutionSpace& space) const {
    return Tokkos::validateDispatchPlan(space, m_sets[0].plan,
                                        m_sets[0].expert_ids);
  }

 private:
  std::vector<Set> m_sets;
};

void addPlan() {
  auto points = workloads({Routing::uniform, Routing::zipf});
  for (const auto& more : {scalingWorkloads(), manyExpertsWorkloads()})
    points.insert(points.end(), more.begin(), more.end());
  forEachBackend([&](auto type) {
    for (const Workload& workload : points)
      add<UpdateDispatchPlan<typename decltype(type)::type>>(
          "updateDispatchPlan", workload);
  });
}

}  // namespace PerfTest
