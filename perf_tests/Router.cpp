// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// SPDX-FileCopyrightText: Copyright Contributors to the Tokkos project

#include "Registry.hpp"

#include "Inputs.hpp"
#include "Measure.hpp"

#include <Tokkos.hpp>

#include <string>
#include <vector>

namespace PerfTest {

namespace {

/// Read the logits, write ids and weights.
double routerBytes(const Workload& workload) {
  return 4. * workload.tokens * workload.model.num_experts +
         8. * workload.numAssignments();
}

}  // namespace

/// Counts the tokens whose choices are not the K largest logits, larger first
/// and of equal ones the lower id first.
template <class Logits, class ExpertIds>
struct CountWrongChoices {
  Logits logits;
  ExpertIds expert_ids;

  KOKKOS_FUNCTION void operator()(int token, int& wrong) const {
    const int num_experts = static_cast<int>(logits.extent(1));
    const int top_k       = static_cast<int>(expert_ids.extent(1));
    for (int k = 1; k < top_k; ++k)
      if (!before(token, expert_ids(token, k - 1), expert_ids(token, k))) {
        ++wrong;
        return;
      }
    int better = 0;
    for (int e = 0; e < num_experts; ++e)
      if (before(token, e, expert_ids(token, top_k - 1))) ++better;
    if (better != top_k - 1) ++wrong;
  }

 private:
  KOKKOS_FUNCTION bool before(int token, int e, int f) const {
    const float x = logits(token, e);
    const float y = logits(token, f);
    return x > y || (x == y && e < f);
  }
};

/// routeTopK with float logits and the default options: a softmax over all.
template <class ExecutionSpace>
class RouteTopK : public KokkosSubject<ExecutionSpace> {
  using Memory = typename ExecutionSpace::memory_space;
  struct Set {
    Matrix<float, Memory> logits;
    Matrix<int, Memory> expert_ids;
    Matrix<float, Memory> weights;
  };

 public:
  RouteTopK(const ExecutionSpace& space, const Workload& workload)
      : m_sets(static_cast<std::size_t>(
            numSetsFor(routerBytes(workload), workload.tokens > 4096))) {
    const int top_k = workload.model.top_k;
    int i           = 0;
    for (Set& set : m_sets) {
      set.logits     = makeRandom<float>(space, "logits", workload.tokens,
                                         workload.model.num_experts, i++);
      set.expert_ids = allocate<Matrix<int, Memory>>(space, "expert_ids",
                                                     workload.tokens, top_k);
      set.weights    = allocate<Matrix<float, Memory>>(space, "weights",
                                                       workload.tokens, top_k);
    }
  }

  static double minimumBytes(const Workload& workload) {
    return routerBytes(workload);
  }

  int numSets() const { return static_cast<int>(m_sets.size()); }

  void call(const ExecutionSpace& space, int i) {
    const Set& set = m_sets[static_cast<std::size_t>(i)];
    Tokkos::routeTopK(space, set.logits, set.expert_ids, set.weights);
  }

  std::string check(const ExecutionSpace& space) const {
    const Set& set = m_sets[0];
    int wrong      = 0;
    Kokkos::parallel_reduce(
        "PerfTest::check",
        Kokkos::RangePolicy<ExecutionSpace, Kokkos::IndexType<int>>(
            space, 0, static_cast<int>(set.logits.extent(0))),
        CountWrongChoices<Matrix<float, Memory>, Matrix<int, Memory>>{
            set.logits, set.expert_ids},
        wrong);
    return wrong == 0 ? "" : "a token has not its best experts";
  }

 private:
  std::vector<Set> m_sets;
};

void addRouter() {
  forEachBackend([](auto type) {
    for (const Workload& workload : workloads({Routing::none}))
      add<RouteTopK<typename decltype(type)::type>>("routeTopK", workload);
  });
}

}  // namespace PerfTest
