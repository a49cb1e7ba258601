// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// SPDX-FileCopyrightText: Copyright Contributors to the Tokkos project

#include "Registry.hpp"

#include "Inputs.hpp"
#include "Measure.hpp"

#include <Tokkos.hpp>

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <numeric>
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
  float tie;  // logits no further apart may stand in either order

  KOKKOS_FUNCTION void operator()(int token, int& wrong) const {
    const int num_experts = static_cast<int>(logits.extent(1));
    const int top_k       = static_cast<int>(expert_ids.extent(1));
    for (int k = 1; k < top_k; ++k)
      if (before(token, expert_ids(token, k), expert_ids(token, k - 1))) {
        ++wrong;
        return;
      }
    int better = 0;
    for (int e = 0; e < num_experts; ++e)
      if (before(token, e, expert_ids(token, top_k - 1))) ++better;
    if (better >= top_k || (tie == 0 && better < top_k - 1)) ++wrong;
  }

 private:
  KOKKOS_FUNCTION bool before(int token, int e, int f) const {
    const float x = logits(token, e);
    const float y = logits(token, f);
    return x > y + tie || (x == y && tie == 0 && e < f);
  }
};

/// Plain options, a softmax over all; checked against the logits.
struct Softmax {
  template <class Memory>
  static Tokkos::RouterOptions<Memory> options(
      const Kokkos::View<float*, Memory>&) {
    return {};
  }
};

/// A softmax of which the weights are divided by their sum.
struct Normalized {
  template <class Memory>
  static Tokkos::RouterOptions<Memory> options(
      const Kokkos::View<float*, Memory>&) {
    return {.normalize = true};
  }
};

/// Sigmoid scores with a bias, as in the later models.
struct Biased {
  template <class Memory>
  static Tokkos::RouterOptions<Memory> options(
      const Kokkos::View<float*, Memory>& bias) {
    return {.score     = Tokkos::Score::sigmoid,
            .bias      = bias,
            .normalize = true,
            .epsilon   = 1e-20,
            .scale     = 2.5};
  }
};

/// The same in the best four of eight groups, as in DeepSeek-V3.
struct Grouped {
  template <class Memory>
  static Tokkos::RouterOptions<Memory> options(
      const Kokkos::View<float*, Memory>& bias) {
    auto all        = Biased::options(bias);
    all.groups      = 8;
    all.kept_groups = 4;
    all.group_score = Tokkos::GroupScore::sum_of_best_two;
    return all;
  }
};

template <class ExecutionSpace>
struct RouterSet {
  using Memory = typename ExecutionSpace::memory_space;

  RouterSet(const ExecutionSpace& space, const Workload& workload, int seed)
      : logits(makeRandom<float>(space, "logits", workload.tokens,
                                 workload.model.num_experts, seed)),
        expert_ids(allocate<Matrix<int, Memory>>(
            space, "expert_ids", workload.tokens, workload.model.top_k)),
        weights(allocate<Matrix<float, Memory>>(
            space, "weights", workload.tokens, workload.model.top_k)) {}

  Matrix<float, Memory> logits;
  Matrix<int, Memory> expert_ids;
  Matrix<float, Memory> weights;
};

template <class ExecutionSpace>
std::vector<RouterSet<ExecutionSpace>> routerSets(const ExecutionSpace& space,
                                                  const Workload& workload,
                                                  double bytes) {
  std::vector<RouterSet<ExecutionSpace>> sets;
  const int num_sets = numSetsFor(bytes, workload.tokens > 4096);
  for (int i = 0; i < num_sets; ++i)
    sets.emplace_back(space, workload, i);
  return sets;
}

/// What is wrong with plain choices, or nothing.
template <class ExecutionSpace>
std::string checkChoices(const ExecutionSpace& space,
                         const RouterSet<ExecutionSpace>& set, float tie = 0) {
  int wrong = 0;
  Kokkos::parallel_reduce(
      "PerfTest::check",
      Kokkos::RangePolicy<ExecutionSpace, Kokkos::IndexType<int>>(
          space, 0, static_cast<int>(set.logits.extent(0))),
      CountWrongChoices<decltype(set.logits), decltype(set.expert_ids)>{
          set.logits, set.expert_ids, tie},
      wrong);
  return wrong == 0 ? "" : "a token has not its best experts";
}

template <class ExecutionSpace, class Use>
class RouteTopK : public KokkosSubject<ExecutionSpace> {
  using Memory = typename ExecutionSpace::memory_space;

 public:
  RouteTopK(const ExecutionSpace& space, const Workload& workload)
      : m_sets(routerSets(space, workload, routerBytes(workload))),
        m_bias("bias", static_cast<std::size_t>(workload.model.num_experts)) {}

  static double minimumBytes(const Workload& workload) {
    return routerBytes(workload);
  }

  int numSets() const { return static_cast<int>(m_sets.size()); }

  void call(const ExecutionSpace& space, int i) {
    const auto& set = m_sets[static_cast<std::size_t>(i)];
    Tokkos::routeTopK(space, set.logits, set.expert_ids, set.weights,
                      Use::options(m_bias));
  }

  /// Groups choose otherwise; a bias of 0 does not, but compares the scores:
  /// neighbouring logits may have the same.
  std::string check(const ExecutionSpace& space) const {
    const auto options = Use::options(m_bias);
    if (options.kept_groups > 0) return "";
    return checkChoices(space, m_sets[0], options.bias.size() > 0 ? 1e-6f : 0);
  }

 private:
  std::vector<RouterSet<ExecutionSpace>> m_sets;
  Kokkos::View<float*, Memory> m_bias;
};

/// Read the logits and write their gradient.
template <class ExecutionSpace>
class RouteTopKGradient : public KokkosSubject<ExecutionSpace> {
  using Memory = typename ExecutionSpace::memory_space;

 public:
  RouteTopKGradient(const ExecutionSpace& space, const Workload& workload)
      : m_sets(routerSets(space, workload, minimumBytes(workload))),
        m_gradient(allocate<Matrix<float, Memory>>(
            space, "gradient", workload.tokens, workload.model.num_experts)) {
    for (const auto& set : m_sets)
      Tokkos::routeTopK(space, set.logits, set.expert_ids, set.weights);
  }

  static double minimumBytes(const Workload& workload) {
    return 8. * workload.tokens * workload.model.num_experts +
           8. * workload.numAssignments();
  }

  int numSets() const { return static_cast<int>(m_sets.size()); }

  /// The weights themselves stand for their gradient.
  void call(const ExecutionSpace& space, int i) {
    const auto& set = m_sets[static_cast<std::size_t>(i)];
    Tokkos::routeTopKGradient(space, set.logits, set.expert_ids, set.weights,
                              m_gradient);
  }

  std::string check(const ExecutionSpace& space) const {
    return checkChoices(space, m_sets[0]);
  }

 private:
  std::vector<RouterSet<ExecutionSpace>> m_sets;
  Matrix<float, Memory> m_gradient;
};

/// What one would write for a host: std::partial_sort of every token's experts
/// and a softmax by the C++ library, tokens in parallel.
class PartialSort : public KokkosSubject<Kokkos::DefaultHostExecutionSpace> {
 public:
  PartialSort(const execution_space& space, const Workload& workload)
      : m_sets(routerSets(space, workload, routerBytes(workload))) {}

  static double minimumBytes(const Workload& workload) {
    return routerBytes(workload);
  }

  int numSets() const { return static_cast<int>(m_sets.size()); }

  void call(const execution_space& space, int i) {
    const auto& set = m_sets[static_cast<std::size_t>(i)];
    Kokkos::parallel_for(
        "PerfTest::partialSort",
        Kokkos::RangePolicy<execution_space, Kokkos::IndexType<int>>(
            space, 0, static_cast<int>(set.logits.extent(0))),
        [set](int token) { route(set, token); });
  }

  std::string check(const execution_space& space) const {
    return checkChoices(space, m_sets[0]);
  }

 private:
  static void route(const RouterSet<execution_space>& set, int token) {
    thread_local std::vector<int> experts;
    const float* const x   = &set.logits(token, 0);
    const auto num_experts = set.logits.extent(1);
    const auto top_k       = set.expert_ids.extent(1);
    experts.resize(num_experts);
    std::iota(experts.begin(), experts.end(), 0);
    std::partial_sort(
        experts.begin(), experts.begin() + static_cast<std::ptrdiff_t>(top_k),
        experts.end(),
        [x](int a, int b) { return x[a] > x[b] || (x[a] == x[b] && a < b); });
    const float maximum = x[experts[0]];
    float sum           = 0;
    for (std::size_t e = 0; e < num_experts; ++e)
      sum += std::exp(x[e] - maximum);
    for (std::size_t k = 0; k < top_k; ++k) {
      set.expert_ids(token, k) = experts[k];
      set.weights(token, k)    = std::exp(x[experts[k]] - maximum) / sum;
    }
  }

  std::vector<RouterSet<execution_space>> m_sets;
};

namespace {

/// Numbers of experts that are no model's of the list, with the choices of the
/// next larger one, and many choices.
std::vector<Workload> otherSizes() {
  std::vector<Workload> all;
  if (isSmokeRun()) return all;
  for (const Model& model :
       {Model{"experts_7", 7, 2, 0}, Model{"experts_16", 16, 6, 0},
        Model{"experts_24", 24, 6, 0}, Model{"experts_32", 32, 6, 0},
        Model{"experts_72", 72, 8, 0}, Model{"experts_96", 96, 8, 0},
        Model{"experts_160", 160, 8, 0}, Model{"experts_257", 257, 8, 0},
        Model{"experts_300", 300, 8, 0}, Model{"experts_512", 512, 8, 0},
        Model{"experts_896", 896, 16, 0}, Model{"experts_1024", 1024, 32, 0}})
    for (const int tokens : {256, 4096, 65536})
      all.push_back({model, tokens, Routing::none});
  return all;
}

}  // namespace

void addRouter() {
  forEachBackend([](auto type) {
    using Space = typename decltype(type)::type;
    for (const Workload& workload : workloads({Routing::none})) {
      add<RouteTopK<Space, Softmax>>("routeTopK", workload);
      add<RouteTopK<Space, Normalized>>("routeTopKNormalized", workload);
      add<RouteTopK<Space, Biased>>("routeTopKBiased", workload);
      add<RouteTopK<Space, Grouped>>("routeTopKGrouped", workload);
      add<RouteTopKGradient<Space>>("routeTopKGradient", workload);
    }
    for (const Workload& workload : otherSizes())
      add<RouteTopK<Space, Softmax>>("routeTopK", workload);
  });
  for (const Workload& workload : workloads({Routing::none}))
    add<PartialSort>("partialSort", workload);
}

}  // namespace PerfTest
