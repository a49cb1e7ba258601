// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// SPDX-FileCopyrightText: Copyright Contributors to the Tokkos project

#include <Kokkos_Core.hpp>

namespace Test {
using ExecutionSpace = Kokkos::DefaultExecutionSpace;
}

#include "TestSupport.hpp"

#include <algorithm>
#include <fstream>
#include <functional>
#include <iterator>
#include <limits>
#include <regex>
#include <sstream>

// What happens on bad input: every case is run, and the table of them is the
// page docs/bad-input.md. Without --write it only says whether the page is
// still true:
//   tokkos_bad_input [--write] docs/bad-input.md
//   must_not_compile/CMakeLists.txt
namespace Test {

using Plan        = Tokkos::DispatchPlan<MemorySpace>;
using PlanOptions = Tokkos::PlanOptions<MemorySpace>;

constexpr double nan      = std::numeric_limits<double>::quiet_NaN();
constexpr auto nan_f      = std::numeric_limits<float>::quiet_NaN();
constexpr auto infinity_f = std::numeric_limits<float>::infinity();

/// The page, section by section.
class Table {
 public:
  void section(const std::string& verb) {
    m_verb = verb;
    m_page << "\n## " << verb << "\n\n| input | what happens |\n|---|---|\n";
  }

  /// The call must throw std::invalid_argument; its message is on the page.
  void rejects(const std::string& misuse, const std::function<void()>& call) {
    std::string message = messageOf(call);
    if (!message.starts_with("Tokkos::")) fail(misuse, message);
    row(misuse, "throws `" + message + "`");
  }

  /// The call must do what the page says, which `holds` finds out.
  void accepts(const std::string& input, const std::string& behaviour,
               const std::function<bool()>& holds) {
    if (!holds()) fail(input, "does not hold: " + behaviour);
    row(input, behaviour);
  }

  void stopsCompiler(const std::string& message) {
    row("wrong type, rank or space", "does not compile: `" + message + "...`");
  }

  std::string page() const { return m_page.str(); }
  int numCases() const { return m_cases; }
  int numFailures() const { return m_failures; }

 private:
  void row(const std::string& input, const std::string& behaviour) {
    ++m_cases;
    m_page << "| " << input << " | " << behaviour << " |\n";
  }

  void fail(const std::string& input, const std::string& what) {
    ++m_failures;
    std::cout << m_verb << ", " << input << ": " << what << '\n';
  }

  std::ostringstream m_page;
  std::string m_verb;
  int m_cases    = 0;
  int m_failures = 0;
};

/// A View with extents and no memory.
template <class View>
View null(std::size_t rows, std::size_t columns) {
  return View(static_cast<typename View::value_type*>(nullptr), rows, columns);
}
template <class View>
View null(std::size_t n) {
  return View(static_cast<typename View::value_type*>(nullptr), n);
}

template <class T>
bool all(const std::vector<T>& values, const T& value) {
  return std::all_of(values.begin(), values.end(),
                     [&](const T& x) { return x == value; });
}

/// Three tokens with two choices of four experts, valid but for what a case
/// changes.
struct Example {
  static constexpr std::size_t T = 3, K = 2, E = 4, H = 5, n = T * K;

  ExecutionSpace space;
  Matrix<int> ids       = makeMatrix<int>({0, 1, 3, 1, 2, 0}, K);
  Matrix<float> weights = makeMatrix<float>({.5, .5, .25, .75, 1, 0}, K);
  Plan plan             = Tokkos::buildDispatchPlan(space, ids, int(E));
  Plan empty_plan;
  Matrix<float> tokens = makeMatrix(Random().reals<float>(T * H), H);
  Matrix<float> batch{"batch", n, H};
  Matrix<float> output{"output", T, H};
  Matrix<float> assignments{"assignments", n, H};

  static Matrix<float> rows(std::size_t num_rows, std::size_t width = H) {
    return Matrix<float>("rows", num_rows, width);
  }
  static Matrix<float> nullRows(std::size_t num_rows, std::size_t width = H) {
    return null<Matrix<float>>(num_rows, width);
  }

  Plan build(const std::vector<int>& values,
             const PlanOptions& options = {}) const {
    return Tokkos::buildDispatchPlan(space, makeMatrix(values, K), int(E),
                                     options);
  }
};

void routing(Table& table) {
  const Example x;
  const auto logits = Example::rows(x.T, x.E);
  table.section("routeTopK");
  const auto rejects = [&](const char* misuse, const auto& l, const auto& i,
                           const auto& w) {
    table.rejects(misuse, [&] { Tokkos::routeTopK(x.space, l, i, w); });
  };
  rejects("expert_ids for another number of tokens", logits,
          Matrix<int>("i", 2, 2), x.weights);
  rejects("weights for another number of tokens", logits, x.ids,
          Example::rows(4, 2));
  rejects("weights for another K", logits, x.ids, Example::rows(3, 3));
  rejects("K > E", logits, Matrix<int>("i", 3, 5), Example::rows(3, 5));
  rejects("K = 0", logits, Matrix<int>("i", 3, 0), Example::rows(3, 0));
  rejects("E = 0", Example::rows(3, 0), x.ids, x.weights);
  rejects("weights in the logits' memory", logits, x.ids,
          Matrix<float>(logits.data(), 3, 2));
  rejects("logits without memory", Example::nullRows(3, 4), x.ids, x.weights);
  rejects("expert_ids without memory", logits, null<Matrix<int>>(3, 2),
          x.weights);
  rejects("weights without memory", logits, x.ids, Example::nullRows(3, 2));
  const auto routed = [&](const auto& l) {
    Tokkos::routeTopK(x.space, l, x.ids, x.weights);
    x.space.fence();
    return std::pair(toVector(x.ids), toVector(x.weights));
  };
  const auto optional = [&](const char* misuse,
                            const Tokkos::RouterOptions<MemorySpace>& options) {
    table.rejects(misuse, [&, options] {
      Tokkos::routeTopK(x.space, logits, x.ids, x.weights, options);
    });
  };
  optional("a mask for other tokens", {.mask = Array<bool>("mask", 2)});
  optional("a bias for another E", {.bias = Array<float>("bias", 3)});
  optional("a bias without memory", {.bias = null<Array<float>>(4)});
  optional("expert_scale for another E",
           {.expert_scale = Array<float>("scale", 5)});
  optional("soft_cap below 0", {.soft_cap = -1});
  optional("soft_cap of NaN", {.soft_cap = nan});
  optional("groups = 0", {.groups = 0});
  optional("groups that do not divide E", {.groups = 3});
  optional("kept_groups past groups", {.groups = 2, .kept_groups = 3});
  optional("fewer experts kept than K", {.groups = 4, .kept_groups = 1});
  optional("floor below 0", {.floor = -1});
  optional("epsilon of NaN", {.epsilon = nan});
  optional("scale of NaN", {.scale = nan});
  optional("num_shared_experts below 0", {.num_shared_experts = -1});
  optional("a score that is none", {.score = static_cast<Tokkos::Score>(9)});
  optional("a group score that is none",
           {.groups      = 2,
            .kept_groups = 1,
            .group_score = static_cast<Tokkos::GroupScore>(9)});
  table.accepts("logits that are all NaN", "ids 0 to K - 1, weights of 0", [&] {
    Kokkos::deep_copy(logits, nan_f);
    return routed(logits) == std::pair(std::vector<int>{0, 1, 0, 1, 0, 1},
                                       std::vector<float>(6, 0));
  });
  table.accepts("logits that are all -infinity", "the same", [&] {
    Kokkos::deep_copy(logits, -infinity_f);
    return routed(logits) == std::pair(std::vector<int>{0, 1, 0, 1, 0, 1},
                                       std::vector<float>(6, 0));
  });
  table.accepts(
      "logits that are all +infinity",
      "the largest finite numbers: equal weights, lower ids first", [&] {
        Kokkos::deep_copy(logits, infinity_f);
        return routed(logits) == std::pair(std::vector<int>{0, 1, 0, 1, 0, 1},
                                           std::vector<float>(6, 0.25f));
      });
  table.accepts("T = 0", "nothing", [&] {
    Tokkos::routeTopK(x.space, Example::rows(0, 4), Matrix<int>("i", 0, 2),
                      Example::rows(0, 2));
    return true;
  });
  table.accepts("Views of any layout and stride", "as with contiguous ones",
                [&] {
                  fromVector(logits, Random().reals<float>(logits.size()));
                  StridedMatrix<float> strided(3, 4, 2, 9, 3);
                  strided.set(toVector(logits));
                  return routed(logits) == routed(strided.view()) &&
                         strided.surroundingsUntouched();
                });
}

void routingGradient(Table& table) {
  const Example x;
  const auto logits   = Example::rows(x.T, x.E),
             gradient = Example::rows(x.T, x.E);
  table.section("routeTopKGradient");
  const auto rejects =
      [&](const char* misuse, const auto& l, const auto& i, const auto& w,
          const auto& g,
          const Tokkos::RouterOptions<MemorySpace>& options = {}) {
        table.rejects(misuse, [&] {
          Tokkos::routeTopKGradient(x.space, l, i, w, g, options);
        });
      };
  rejects("expert_ids for another number of tokens", logits,
          Matrix<int>("i", 2, 2), x.weights, gradient);
  rejects("weights_gradient for another number of tokens", logits, x.ids,
          Example::rows(4, 2), gradient);
  rejects("weights_gradient for another K", logits, x.ids, Example::rows(3, 3),
          gradient);
  rejects("logits_gradient for another number of tokens", logits, x.ids,
          x.weights, Example::rows(2, 4));
  rejects("logits_gradient for another E", logits, x.ids, x.weights,
          Example::rows(3, 5));
  rejects("K > E", logits, Matrix<int>("i", 3, 5), Example::rows(3, 5),
          gradient);
  rejects("K = 0", logits, Matrix<int>("i", 3, 0), Example::rows(3, 0),
          gradient);
  rejects("E = 0", Example::rows(3, 0), x.ids, x.weights, Example::rows(3, 0));
  rejects("logits without memory", Example::nullRows(3, 4), x.ids, x.weights,
          gradient);
  rejects("expert_ids without memory", logits, null<Matrix<int>>(3, 2),
          x.weights, gradient);
  rejects("weights_gradient without memory", logits, x.ids,
          Example::nullRows(3, 2), gradient);
  rejects("logits_gradient without memory", logits, x.ids, x.weights,
          Example::nullRows(3, 4));
  rejects("logits_gradient in the logits' memory", logits, x.ids, x.weights,
          logits);
  rejects("logits_gradient in the weights' gradient", logits, x.ids,
          Matrix<float>(gradient.data() + 2, 3, 2), gradient);
  rejects("a mask for other tokens", logits, x.ids, x.weights, gradient,
          {.mask = Array<bool>("mask", 4)});
  rejects("groups that do not divide E", logits, x.ids, x.weights, gradient,
          {.groups = 3});
  rejects("floor of NaN", logits, x.ids, x.weights, gradient, {.floor = nan});
  const auto differentiated = [&](const auto& ids) {
    Kokkos::deep_copy(gradient, nan_f);
    Tokkos::routeTopKGradient(x.space, logits, ids, x.weights, gradient);
    x.space.fence();
    return toVector(gradient);
  };
  table.accepts("ids out of range, of any value", "no gradient: zeros", [&] {
    constexpr int least = std::numeric_limits<int>::min();
    constexpr int most  = std::numeric_limits<int>::max();
    return all(
        differentiated(makeMatrix<int>({-1, 4, least, 5, most, 1000}, x.K)),
        0.0f);
  });
  table.accepts("logits that are all NaN", "zeros", [&] {
    Kokkos::deep_copy(logits, nan_f);
    return all(differentiated(x.ids), 0.0f);
  });
  table.accepts("logits that are all -infinity", "zeros", [&] {
    Kokkos::deep_copy(logits, -infinity_f);
    return all(differentiated(x.ids), 0.0f);
  });
  table.accepts("T = 0", "nothing", [&] {
    Tokkos::routeTopKGradient(x.space, Example::rows(0, 4),
                              Matrix<int>("i", 0, 2), Example::rows(0, 2),
                              Example::rows(0, 4));
    return true;
  });
  table.accepts("Views of any layout and stride", "as with contiguous ones",
                [&] {
                  fromVector(logits, Random().reals<float>(logits.size()));
                  StridedMatrix<float> strided(3, 4, 2, 9, 3);
                  Tokkos::routeTopKGradient(x.space, logits, x.ids, x.weights,
                                            strided.view());
                  x.space.fence();
                  return strided.get() == differentiated(x.ids) &&
                         strided.surroundingsUntouched();
                });
}

void balancing(Table& table) {
  const Example x;
  const ExecutionSpace& space = x.space;
  using Balance               = Tokkos::LoadBalance<MemorySpace>;
  const std::size_t T = Example::T, E = Example::E;
  table.section("LoadBalance");
  table.rejects("max_tokens below 0", [&] { Balance(space, -1, 4); });
  table.rejects("max_tokens past 2^31 - 1",
                [&] { Balance(space, std::int64_t(1) << 31, 4); });
  table.rejects("E = 0", [&] { Balance(space, 3, 0); });
  table.rejects("E below 0", [&] { Balance(space, 3, -4); });

  Balance balance(space, Example::T, int(E));
  const auto logits = Example::rows(T, E), gradient = Example::rows(T, E);
  table.section("updateLoadBalance");
  const auto rejects =
      [&](const char* misuse, Balance b, const auto& l, const auto& i,
          const Kokkos::View<const bool*, MemorySpace>& mask = {}) {
        table.rejects(misuse, [&, b]() mutable {
          Tokkos::updateLoadBalance(space, b, l, i, mask);
        });
      };
  rejects("arrays that were never made", Balance(), logits, x.ids);
  rejects("more tokens than they were made for", balance,
          Example::rows(T + 1, E), Matrix<int>("i", T + 1, 2));
  rejects("logits for another E", balance, Example::rows(T, E + 1), x.ids);
  rejects("expert_ids for another number of tokens", balance, logits,
          Matrix<int>("i", T - 1, 2));
  rejects("a mask for other tokens", balance, logits, x.ids,
          Array<bool>("mask", T + 1));
  rejects("logits without memory", balance, Example::nullRows(T, E), x.ids);
  rejects("expert_ids without memory", balance, logits,
          null<Matrix<int>>(T, 2));
  const auto update = [&](const auto& ids) {
    Tokkos::updateLoadBalance(space, balance, logits, ids);
    space.fence();
    return toVector(balance.results)[0];
  };
  table.accepts("ids out of range, of any value", "not counted", [&] {
    constexpr int least = std::numeric_limits<int>::min();
    constexpr int most  = std::numeric_limits<int>::max();
    return update(makeMatrix<int>({-1, 4, least, 3, most, 1000}, 2))
                   .num_assignments == 1 &&
           toVector(balance.counts) == std::vector<int>{0, 0, 0, 1};
  });
  table.accepts("logits that are all NaN",
                "no token takes part; losses of logits are 0", [&] {
                  Kokkos::deep_copy(logits, nan_f);
                  const auto results = update(x.ids);
                  return results.num_tokens == 0 && results.z_loss == 0 &&
                         results.load_balancing_loss == 0 &&
                         results.importance_loss == 0;
                });
  table.accepts("T = 0", "zeros", [&] {
    Tokkos::updateLoadBalance(space, balance, Example::rows(0, E),
                              Matrix<int>("i", 0, 2));
    space.fence();
    return all(toVector(balance.fractions), 0.0) &&
           toVector(balance.results)[0].num_assignments == 0;
  });

  table.section("loadBalanceGradient");
  update(x.ids);
  const auto refused = [&](const char* misuse, const Balance& b, const auto& l,
                           const auto& g) {
    table.rejects(
        misuse, [&] { Tokkos::loadBalanceGradient(space, b, l, {.z = 1}, g); });
  };
  refused("arrays that were never made", Balance(), logits, gradient);
  refused("another number of tokens than the last update", balance,
          Example::rows(T - 1, E), Example::rows(T - 1, E));
  refused("logits for another E", balance, Example::rows(T, E - 1), gradient);
  refused("logits_gradient for another number of tokens", balance, logits,
          Example::rows(T + 1, E));
  refused("logits_gradient for another E", balance, logits,
          Example::rows(T, E - 1));
  refused("logits_gradient in the logits' memory", balance, logits, logits);
  refused("logits without memory", balance, Example::nullRows(T, E), gradient);
  refused("logits_gradient without memory", balance, logits,
          Example::nullRows(T, E));
  table.accepts("logits that are all NaN", "zeros", [&] {
    Kokkos::deep_copy(gradient, nan_f);
    Tokkos::loadBalanceGradient(space, balance, logits,
                                {.load_balancing = 1, .z = 1, .importance = 1},
                                gradient);
    space.fence();
    return all(toVector(gradient), 0.0f);
  });

  table.section("updateRouterBias");
  const Array<float> bias("bias", E);
  const auto moved = [&](const char* misuse, const auto& counts, double speed,
                         const auto& b) {
    table.rejects(misuse,
                  [&] { Tokkos::updateRouterBias(space, counts, speed, b); });
  };
  moved("E = 0", Array<int>("counts", 0), 0.001, Array<float>("bias", 0));
  moved("a bias for another E", balance.counts, 0.001,
        Array<float>("bias", E + 1));
  moved("a speed of NaN", balance.counts, nan, bias);
  moved("an infinite speed", balance.counts,
        std::numeric_limits<double>::infinity(), bias);
  moved("counts without memory", null<Array<int>>(E), 0.001, bias);
  moved("a bias without memory", balance.counts, 0.001, null<Array<float>>(E));
  moved("a bias in the counts' memory",
        Array<int>(reinterpret_cast<int*>(bias.data()), E), 0.001, bias);
}

void planning(Table& table) {
  const Example x;
  const ExecutionSpace& space = x.space;
  table.section("DispatchPlan, buildDispatchPlan");
  const auto rejects = [&](const char* misuse, std::int64_t max_tokens,
                           int top_k, int num_experts,
                           const PlanOptions& options = {}) {
    table.rejects(misuse, [&, max_tokens, top_k, num_experts] {
      Plan(space, max_tokens, top_k, num_experts, options);
    });
  };
  const auto map = makeArray<int>({0, -1, 1, 0});
  rejects("E = 0", 3, 1, 0);
  rejects("E below 0", 3, 1, -4);
  rejects("K = 0", 3, 0, 4);
  rejects("K > E", 3, 5, 4);
  rejects("max_tokens below 0", -1, 2, 4);
  rejects("T * K past 2^31 - 1", std::int64_t(1) << 30, 2, 4);
  rejects("T past 2^63 / K", std::numeric_limits<std::int64_t>::max(), 4, 4);
  rejects("rows with padding past 2^31 - 1", 1 << 20, 2, 4,
          {.alignment = 1 << 30});
  rejects("capacity below 0", 3, 2, 4, {.capacity = -1});
  rejects("alignment 0", 3, 2, 4, {.alignment = 0});
  rejects("alignment below 0", 3, 2, 4, {.alignment = -8});
  rejects("a drop policy that is none", 3, 2, 4,
          {.capacity = 1, .drop = static_cast<Tokkos::DropPolicy>(7)});
  rejects("an empty range of experts", 3, 2, 4,
          {.experts = Tokkos::ExpertRange{2, 2}});
  rejects("a range past E", 3, 2, 4, {.experts = Tokkos::ExpertRange{2, 5}});
  rejects("a range from below 0", 3, 2, 4,
          {.experts = Tokkos::ExpertRange{-1, 2}});
  rejects("a range and a map", 3, 2, 4,
          {.experts           = Tokkos::ExpertRange{0, 2},
           .expert_map        = map,
           .num_local_experts = 2});
  rejects("a map of another length", 3, 2, 5,
          {.expert_map = map, .num_local_experts = 2});
  rejects("a map without num_local_experts", 3, 2, 4, {.expert_map = map});
  rejects("num_local_experts below 0", 3, 2, 4,
          {.expert_map = map, .num_local_experts = -2});
  rejects("a map to experts that are not there", 3, 2, 4,
          {.expert_map = map, .num_local_experts = 1});
  table.rejects("ids with K > E", [&] {
    Tokkos::buildDispatchPlan(space, Matrix<int>("ids", 3, 5), 4);
  });
  table.rejects("ids with K = 0", [&] {
    Tokkos::buildDispatchPlan(space, Matrix<int>("ids", 3, 0), 4);
  });
  table.accepts(
      "a mask or a map without memory", "as if it was not given", [&] {
        const auto plan =
            x.build(toVector(x.ids),
                    {.mask = null<Kokkos::View<const bool*, MemorySpace>>(0)});
        return toVector(plan.row_of_assignment) ==
               toVector(x.plan.row_of_assignment);
      });

  table.section("updateDispatchPlan");
  Plan plan          = x.build(toVector(x.ids));
  const auto updated = [&](const char* misuse, Plan& p, const auto& ids,
                           const auto&... weights) {
    table.rejects(
        misuse, [&] { Tokkos::updateDispatchPlan(space, p, ids, weights...); });
  };
  Plan empty;
  Plan masked =
      x.build(toVector(x.ids), {.mask = Array<bool>("mask", Example::T)});
  Plan by_weight = Tokkos::buildDispatchPlan(
      space, x.ids, x.weights, 4,
      PlanOptions{.capacity = 1, .drop = Tokkos::DropPolicy::lowest_weight});
  updated("a plan that was never built", empty, x.ids);
  updated("ids with another K", plan, Matrix<int>("ids", 3, 1));
  updated("more tokens than the plan was made for", plan,
          Matrix<int>("ids", 4, 2));
  updated("ids without memory", plan, null<Matrix<int>>(3, 2));
  updated("ids in the plan's own map", plan,
          Matrix<int>(plan.row_of_assignment.data(), 3, 2));
  masked.options.mask = Array<bool>("mask", 2);
  updated("a mask for fewer tokens", masked, x.ids);
  updated("no weights for DropPolicy::lowest_weight", by_weight, x.ids);
  updated("weights for another number of tokens", by_weight, x.ids,
          Example::rows(2, 2));
  updated("weights for another K", by_weight, x.ids, Example::rows(3, 1));
  updated("weights without memory", by_weight, x.ids, Example::nullRows(3, 2));
  table.accepts("each of these", "the plan is as it was", [&] {
    return toVector(plan.row_of_assignment) ==
               toVector(x.plan.row_of_assignment) &&
           plan.num_tokens == 3;
  });
  table.accepts("ids out of range, of any value", "no row; counted as dropped",
                [&] {
                  constexpr int least = std::numeric_limits<int>::min();
                  constexpr int most  = std::numeric_limits<int>::max();
                  const auto p        = x.build({-1, 4, least, 5, most, 1000});
                  return toVector(p.num_dropped)[0] == 6 &&
                         toVector(p.num_rows)[0] == 0 &&
                         all(toVector(p.row_of_assignment), -1);
                });
  table.accepts(
      "64-bit ids that agree with valid ones in 32 bits",
      "no row; counted as dropped", [&] {
        const std::int64_t high = std::int64_t(1) << 32;
        const auto p            = Tokkos::buildDispatchPlan(
            space, makeMatrix<std::int64_t>({high, high + 1, -high, 0}, 2), 4);
        return toVector(p.num_dropped)[0] == 3;
      });
  table.accepts("a token that names an expert twice", "two rows", [&] {
    return toVector(x.build({1, 1, 1, 1, 1, 1}).counts)[1] == 6;
  });
  table.accepts("weights that are all NaN, DropPolicy::lowest_weight",
                "all equal: the earliest stay", [&] {
                  const Matrix<float> weights("weights", 3, 2);
                  Kokkos::deep_copy(weights, nan_f);
                  const auto p = Tokkos::buildDispatchPlan(
                      space, makeMatrix<int>({1, 1, 1, 1, 1, 1}, 2), weights, 4,
                      PlanOptions{.capacity = 2,
                                  .drop = Tokkos::DropPolicy::lowest_weight});
                  return toVector(p.row_of_assignment) ==
                         std::vector<int>{0, 1, -1, -1, -1, -1};
                });
  table.accepts("T = 0", "a plan without rows", [&] {
    return toVector(Tokkos::buildDispatchPlan(space, Matrix<int>("i", 0, 2), 4)
                        .offsets) == std::vector<int>(5, 0);
  });
  table.accepts("ids of any layout and stride", "as with contiguous ones", [&] {
    StridedMatrix<int> strided(3, 2, 5, 2, 1);
    strided.set(toVector(x.ids));
    return toVector(Tokkos::buildDispatchPlan(space, strided.view(), 4)
                        .row_of_assignment) ==
           toVector(x.plan.row_of_assignment);
  });

  table.section("validateDispatchPlan");
  table.accepts("a plan that was never built", "says so", [&] {
    return Tokkos::validateDispatchPlan(space, empty) ==
           "the plan is empty: it was never built";
  });
  table.accepts("ids out of range", "names the first", [&] {
    const std::vector<int> ids{0, 1, 9, 1, 2, 0};
    return Tokkos::validateDispatchPlan(space, x.build(ids), makeMatrix(ids, 2))
        .starts_with("expert_ids(1, 0) names no expert");
  });
  table.rejects("ids for another number of tokens", [&] {
    Tokkos::validateDispatchPlan(space, plan, Matrix<int>("ids", 2, 2));
  });
  table.rejects("ids with another K", [&] {
    Tokkos::validateDispatchPlan(space, plan, Matrix<int>("ids", 3, 1));
  });
  table.rejects("ids without memory", [&] {
    Tokkos::validateDispatchPlan(space, plan, null<Matrix<int>>(3, 2));
  });

  table.section("capacityOfFactor");
  const auto capacity = [&](const char* misuse, double factor,
                            std::int64_t num_tokens, int top_k,
                            int num_experts) {
    table.rejects(misuse, [=] {
      Tokkos::capacityOfFactor(factor, num_tokens, top_k, num_experts);
    });
  };
  capacity("a factor of NaN", nan, 3, 2, 4);
  capacity("a factor of 0", 0, 3, 2, 4);
  capacity("a factor below 0", -1, 3, 2, 4);
  capacity("an infinite factor", std::numeric_limits<double>::infinity(), 3, 2,
           4);
  capacity("num_tokens below 0", 1, -3, 2, 4);
  capacity("K = 0", 1, 3, 0, 4);
  capacity("E = 0", 1, 3, 2, 0);
  capacity("a capacity past 2^31 - 1", 1e6, 1 << 30, 2, 4);
}

void moving(Table& table) {
  const Example x;
  const ExecutionSpace& space = x.space;
  const std::size_t n = Example::n, T = Example::T, H = Example::H;
  table.section("permute");
  const auto rejects = [&](const char* misuse, const Plan& plan,
                           const auto& tokens, const auto& batch,
                           const auto&... companions) {
    table.rejects(misuse, [&] {
      Tokkos::permute(space, plan, tokens, batch, companions...);
    });
  };
  const Array<float> scales("scales", T), row_scales("row_scales", n);
  const auto some = Kokkos::make_pair(std::size_t(0), std::size_t(2));
  rejects("a plan that was never built", x.empty_plan, x.tokens, x.batch);
  rejects("another number of tokens", x.plan, Example::rows(2), x.batch);
  rejects("a batch with too few rows", x.plan, x.tokens, Example::rows(n - 1));
  rejects("a batch of another width", x.plan, x.tokens,
          Example::rows(n, H + 1));
  rejects("tokens without memory", x.plan, Example::nullRows(T), x.batch);
  rejects("a batch without memory", x.plan, x.tokens, Example::nullRows(n));
  rejects("a batch in the tokens' memory", x.plan,
          Kokkos::subview(x.batch, Kokkos::make_pair(std::size_t(1), T + 1),
                          Kokkos::ALL),
          x.batch);
  rejects("a companion for another number of tokens", x.plan, x.tokens, x.batch,
          Tokkos::perToken(Kokkos::subview(scales, some), row_scales));
  rejects("a companion's destination with too few rows", x.plan, x.tokens,
          x.batch, Tokkos::perToken(scales, Array<float>("r", n - 1)));
  rejects("a companion's destination of another width", x.plan, x.tokens,
          x.batch, Tokkos::perToken(Example::rows(T, 2), Example::rows(n, 3)));
  rejects("a companion for every assignment with another K", x.plan, x.tokens,
          x.batch, Tokkos::perAssignment(Example::rows(T, 3), row_scales));
  rejects("a companion for another number of assignments", x.plan, x.tokens,
          x.batch,
          Tokkos::perAssignment(Example::rows(n + 1, 3), Example::rows(n, 3)));
  rejects("a companion without memory", x.plan, x.tokens, x.batch,
          Tokkos::perToken(null<Array<float>>(T), row_scales));
  rejects("a companion in the batch's memory", x.plan, x.tokens, x.batch,
          Tokkos::perToken(scales, Array<float>(x.batch.data(), n)));
  table.accepts("NaN everywhere", "moved like any other bytes", [&] {
    const auto tokens = Example::rows(T);
    Kokkos::deep_copy(tokens, nan_f);
    Tokkos::permute(space, x.plan, tokens, x.batch);
    space.fence();
    const auto rows = toVector(x.batch);
    return std::all_of(rows.begin(), rows.end(),
                       [](float v) { return std::isnan(v); });
  });
  table.accepts("H = 0, T = 0", "nothing is written", [&] {
    Tokkos::permute(space, x.plan, Example::rows(T, 0), Example::rows(n, 0));
    const auto plan =
        Tokkos::buildDispatchPlan(space, Matrix<int>("i", 0, 2), 4);
    Tokkos::permute(space, plan, Example::rows(0), Example::rows(0));
    return true;
  });
  table.accepts("Views of any layout and stride", "as with contiguous ones",
                [&] {
                  StridedMatrix<float> strided(n, H, 2, 17, 3);
                  Tokkos::permute(space, x.plan, x.tokens, x.batch);
                  Tokkos::permute(space, x.plan, x.tokens, strided.view());
                  space.fence();
                  return toVector(x.batch) == strided.get() &&
                         strided.surroundingsUntouched();
                });

  table.section("unpermute");
  const auto back = [&](const char* misuse, const Plan& plan, const auto& batch,
                        const auto& assignments) {
    table.rejects(misuse,
                  [&] { Tokkos::unpermute(space, plan, batch, assignments); });
  };
  back("a plan that was never built", x.empty_plan, x.batch, x.assignments);
  back("a batch with too few rows", x.plan, Example::rows(n - 1),
       x.assignments);
  back("another number of assignments", x.plan, x.batch, Example::rows(n - 1));
  back("assignments of another width", x.plan, x.batch,
       Example::rows(n, H - 1));
  back("a batch without memory", x.plan, Example::nullRows(n), x.assignments);
  back("assignments without memory", x.plan, x.batch, Example::nullRows(n));
  back("assignments in the batch's memory", x.plan, x.batch, x.batch);
  table.accepts("ids out of range in the plan", "rows of zeros", [&] {
    Kokkos::deep_copy(x.assignments, nan_f);
    Tokkos::unpermute(space, x.build({-1, 4, 9, 4, -7, 5}), x.batch,
                      x.assignments);
    space.fence();
    return all(toVector(x.assignments), 0.0f);
  });
}

void summing(Table& table) {
  const Example x;
  const ExecutionSpace& space = x.space;
  const std::size_t n = Example::n, T = Example::T, H = Example::H;
  table.section("combine");
  const auto rejects = [&](const char* misuse, const Plan& plan,
                           const auto& batch, const auto& weights,
                           const auto& output) {
    table.rejects(
        misuse, [&] { Tokkos::combine(space, plan, batch, weights, output); });
  };
  rejects("a plan that was never built", x.empty_plan, x.batch, x.weights,
          x.output);
  rejects("a batch with too few rows", x.plan, Example::rows(n - 1), x.weights,
          x.output);
  rejects("weights for another number of tokens", x.plan, x.batch,
          Example::rows(2, 2), x.output);
  rejects("weights for another K", x.plan, x.batch, Example::rows(T, 1),
          x.output);
  rejects("another number of tokens", x.plan, x.batch, x.weights,
          Example::rows(T + 1));
  rejects("an output of another width", x.plan, x.batch, x.weights,
          Example::rows(T, H + 1));
  rejects("a batch without memory", x.plan, Example::nullRows(n), x.weights,
          x.output);
  rejects("weights without memory", x.plan, x.batch, Example::nullRows(T, 2),
          x.output);
  rejects("an output without memory", x.plan, x.batch, x.weights,
          Example::nullRows(T));
  rejects("an output in the batch's memory", x.plan, x.batch, x.weights,
          Matrix<float>(x.batch.data() + H, T, H));
  rejects("an output in the weights' memory", x.plan, Example::rows(n, 2),
          x.weights, x.weights);
  table.accepts("NaN everywhere", "NaN", [&] {
    Kokkos::deep_copy(x.batch, nan_f);
    Tokkos::combine(space, x.plan, x.batch, x.weights, x.output);
    space.fence();
    const auto sums = toVector(x.output);
    return std::all_of(sums.begin(), sums.end(),
                       [](float v) { return std::isnan(v); });
  });
  table.accepts("a token without rows, batch of NaN", "zeros", [&] {
    Tokkos::combine(space, x.build({-1, 4, 9, 4, -7, 5}), x.batch, x.weights,
                    x.output);
    space.fence();
    return all(toVector(x.output), 0.0f);
  });
  table.accepts("output of NaN, beta 0", "not read: no NaN in the sums", [&] {
    Kokkos::deep_copy(x.batch, 1.0f);
    Kokkos::deep_copy(x.output, nan_f);
    Tokkos::combine(space, x.plan, x.batch, x.output);
    space.fence();
    return all(toVector(x.output), 2.0f);
  });
  table.accepts("beta of NaN", "NaN in every sum, as arithmetic has it", [&] {
    Kokkos::deep_copy(x.output, 0.0f);
    Tokkos::combine(space, x.plan, x.batch, x.output, {.beta = nan});
    space.fence();
    return std::isnan(toVector(x.output)[0]);
  });

  table.section("permuteGradient");
  const auto permuted = [&](const char* misuse, const Plan& plan,
                            const auto& batch, const auto& tokens) {
    table.rejects(misuse,
                  [&] { Tokkos::permuteGradient(space, plan, batch, tokens); });
  };
  permuted("a plan that was never built", x.empty_plan, x.batch, x.output);
  permuted("a batch with too few rows", x.plan, Example::rows(n - 1), x.output);
  permuted("another number of tokens", x.plan, x.batch, Example::rows(T - 1));
  permuted("tokens of another width", x.plan, x.batch, Example::rows(T, H + 1));
  permuted("a batch without memory", x.plan, Example::nullRows(n), x.output);
  permuted("tokens without memory", x.plan, x.batch, Example::nullRows(T));
  permuted("tokens in the batch's memory", x.plan, x.batch,
           Matrix<float>(x.batch.data(), T, H));

  table.section("combineGradient");
  const auto g        = Example::rows(T);
  const auto bg       = Example::rows(n);
  const auto wg       = Example::rows(T, 2);
  const auto combined = [&](const char* misuse, const Plan& plan,
                            const auto& gradient, const auto& batch,
                            const auto& weights, const auto& batch_gradient,
                            const auto& weights_gradient) {
    table.rejects(misuse, [&] {
      Tokkos::combineGradient(space, plan, gradient, batch, weights,
                              batch_gradient, weights_gradient);
    });
  };
  combined("a plan that was never built", x.empty_plan, g, x.batch, x.weights,
           bg, wg);
  combined("another number of tokens", x.plan, Example::rows(T + 1), x.batch,
           x.weights, bg, wg);
  combined("a batch with too few rows", x.plan, g, Example::rows(n - 1),
           x.weights, bg, wg);
  combined("a gradient of another width", x.plan, Example::rows(T, H + 1),
           x.batch, x.weights, bg, wg);
  combined("weights for another K", x.plan, g, x.batch, Example::rows(T, 1), bg,
           wg);
  combined("batch_gradient with too few rows", x.plan, g, x.batch, x.weights,
           Example::rows(n - 1), wg);
  combined("batch_gradient of another width", x.plan, g, x.batch, x.weights,
           Example::rows(n, H + 1), wg);
  combined("weights_gradient for another K", x.plan, g, x.batch, x.weights, bg,
           Example::rows(T, 3));
  combined("a gradient without memory", x.plan, Example::nullRows(T), x.batch,
           x.weights, bg, wg);
  combined("batch_gradient without memory", x.plan, g, x.batch, x.weights,
           Example::nullRows(n), wg);
  combined("weights_gradient without memory", x.plan, g, x.batch, x.weights, bg,
           Example::nullRows(T, 2));
  combined("batch_gradient in the batch's memory", x.plan, g, x.batch,
           x.weights, x.batch, wg);
  combined("weights_gradient in the weights' memory", x.plan, g, x.batch,
           x.weights, bg, x.weights);
  table.accepts("ids out of range in the plan",
                "weights_gradient of zeros, no row written", [&] {
                  Kokkos::deep_copy(bg, 7.0f);
                  Tokkos::combineGradient(space, x.build({-1, 4, 9, 4, -7, 5}),
                                          g, x.batch, x.weights, bg, wg);
                  space.fence();
                  return all(toVector(wg), 0.0f) && all(toVector(bg), 7.0f);
                });
}

void others(Table& table) {
  const Example x;
  const ExecutionSpace& space = x.space;
  const std::size_t n = Example::n, T = Example::T, E = Example::E;
  const Array<int> row_map("row_map", T + 1), entries("entries", n);
  const Array<float> values("values", n);
  table.section("planToCrs");
  const auto exported = [&](const char* misuse, const Plan& plan, const auto& w,
                            const auto& r, const auto& e, const auto& v) {
    table.rejects(misuse, [&] { Tokkos::planToCrs(space, plan, w, r, e, v); });
  };
  exported("a plan that was never built", x.empty_plan, x.weights, row_map,
           entries, values);
  exported("weights for another number of tokens", x.plan, Example::rows(2, 2),
           row_map, entries, values);
  exported("weights for another K", x.plan, Example::rows(T, 1), row_map,
           entries, values);
  exported("row_map of another length", x.plan, x.weights, Array<int>("r", T),
           entries, values);
  exported("too few entries", x.plan, x.weights, row_map,
           Array<int>("e", n - 1), values);
  exported("too few values", x.plan, x.weights, row_map, entries,
           Array<float>("v", n - 1));
  exported("values in the weights' memory", x.plan, x.weights, row_map, entries,
           Array<float>(x.weights.data(), n));
  exported("entries without memory", x.plan, x.weights, row_map,
           null<Array<int>>(n), values);

  const Array<int> counts("counts", E), offsets("offsets", E + 1);
  table.section("countExperts");
  table.rejects("ids without memory", [&] {
    Tokkos::countExperts(space, null<Matrix<int>>(T, 2), counts);
  });
  table.rejects("counts without memory", [&] {
    Tokkos::countExperts(space, x.ids, null<Array<int>>(E));
  });
  table.rejects("counts in the ids' memory", [&] {
    Tokkos::countExperts(space, x.ids, Array<int>(x.ids.data(), E));
  });
  table.accepts("ids out of range", "not counted", [&] {
    Tokkos::countExperts(space, makeMatrix<int>({-1, 4, 1, 99}, 2), counts);
    space.fence();
    return toVector(counts) == std::vector<int>{0, 1, 0, 0};
  });
  table.accepts("E = 0", "nothing", [&] {
    Tokkos::countExperts(space, x.ids, Array<int>("counts", 0));
    return true;
  });

  table.section("scanCounts");
  table.rejects("offsets of another length", [&] {
    Tokkos::scanCounts(space, counts, Array<int>("offsets", E + 2));
  });
  table.rejects("counts without memory", [&] {
    Tokkos::scanCounts(space, null<Array<int>>(E), offsets);
  });
  table.rejects("offsets without memory", [&] {
    Tokkos::scanCounts(space, counts, null<Array<int>>(E + 1));
  });

  table.section("permuteByExpert");
  const auto moved = [&](const char* misuse, const auto& source,
                         const auto& destination, const auto& ids,
                         const auto& next) {
    table.rejects(misuse, [&] {
      Tokkos::permuteByExpert(space, source, destination, ids, next);
    });
  };
  moved("ids for another number of tokens", Example::rows(T + 1), x.batch,
        x.ids, offsets);
  moved("a destination with too few rows", x.tokens, Example::rows(n - 1),
        x.ids, offsets);
  moved("a destination of another width", x.tokens, Example::rows(n, 1), x.ids,
        offsets);
  moved("a destination in the source's memory", x.tokens,
        Matrix<float>(x.tokens.data(), n, 5), x.ids, offsets);
  moved("offsets in the ids' memory", x.tokens, x.batch, x.ids,
        Array<int>(x.ids.data(), E));
  moved("offsets without memory", x.tokens, x.batch, x.ids,
        null<Array<int>>(E));
  table.accepts("ids out of range", "skipped", [&] {
    Kokkos::deep_copy(x.batch, 7.0f);
    Tokkos::permuteByExpert(space, x.tokens, x.batch,
                            makeMatrix<int>({-1, 4, 9, 5, -2, 99}, 2),
                            Array<int>("offsets", E));
    space.fence();
    return all(toVector(x.batch), 7.0f);
  });
}

/// What the compiler stops, from the list of tests that show it.
void compiling(Table& table, const std::string& list) {
  std::ifstream in(list);
  if (!in) throw std::runtime_error("cannot read " + list);
  table.section("Types, ranks and spaces");
  const std::regex message("set\\(message_[0-9]+ \"(.+)\"\\)");
  std::smatch match;
  for (std::string line; std::getline(in, line);)
    if (std::regex_match(line, match, message)) table.stopsCompiler(match[1]);
}

constexpr auto heading = R"(# What happens on bad input

Made by `tokkos_bad_input` (unit_tests/BadInput.cpp), which runs every line of
this page but the last section, whose lines unit_tests/must_not_compile shows; a
test fails when the page is not what it finds. The example has T = 3 tokens,
K = 2 choices, E = 4 experts and H = 5.

Whatever throws has written nothing: every check comes before the first launch.
What the host cannot see (ids, weights and logits of any value) is defined, and
never an access out of bounds. When memory runs out Kokkos throws, and there is
no plan, or the one that was to be replaced is as it was
(unit_tests/OutOfMemory.hpp).
)";

int run(bool write, const std::string& path, const std::string& list) {
  Table table;
  routing(table);
  routingGradient(table);
  balancing(table);
  planning(table);
  moving(table);
  summing(table);
  others(table);
  compiling(table, list);
  const std::string page = heading + table.page();
  std::cout << table.numCases() << " cases, " << table.numFailures()
            << " failures\n";
  if (table.numFailures() > 0) return 1;
  if (write) {
    std::ofstream(path) << page;
    return 0;
  }
  std::ifstream in(path);
  const std::string committed{std::istreambuf_iterator<char>(in), {}};
  if (committed == page) return 0;
  std::cout << path
            << " is stale; to make it anew:\n  tokkos_bad_input --write "
            << path << ' ' << list << '\n';
  return 1;
}

}  // namespace Test

int main(int argc, char* argv[]) {
  Kokkos::ScopeGuard kokkos(argc, argv);
  std::vector<std::string> arguments(argv + 1, argv + argc);
  const bool write = !arguments.empty() && arguments[0] == "--write";
  if (write) arguments.erase(arguments.begin());
  if (arguments.size() != 2) {
    std::cerr << "usage: tokkos_bad_input [--write] PAGE LIST\n";
    return 2;
  }
  return Test::run(write, arguments[0], arguments[1]);
}
