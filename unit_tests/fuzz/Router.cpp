// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// SPDX-FileCopyrightText: Copyright Contributors to the Tokkos project

#include "FuzzKokkos.hpp"

#include <RouterSupport.hpp>

#include <algorithm>
#include <cmath>
#include <iomanip>
#include <sstream>
#include <string>
#include <type_traits>
#include <vector>

// Routers of any options and any logits: what the contract excludes is refused
// and writes nothing; everything else gives the ids and weights of the plain
// loops, the same bits on every path, and for a token alone.
namespace Fuzz {

using Test::ExecutionSpace;
using Test::MemorySpace;
using Options = Reference::RouterOptions;

constexpr std::int64_t largest_int = std::numeric_limits<int>::max();

/// Around the sizes at which rows are padded otherwise.
constexpr std::array few_experts  = {1, 2, 3, 4, 6, 8, 12, 16, 31, 32, 33};
constexpr std::array many_experts = {48,  63,  64,  65,  96,  127,
                                     128, 129, 160, 256, 257, 384};

/// Ties, zeros, denormal numbers, logits whose exponentials are at the end of
/// the numbers, and what a router takes out.
template <class Real>
Real special(Input& input) {
  using Limits = std::numeric_limits<Real>;
  return input.oneOf(std::array<Real, 24>{0,
                                          Real(-0.0),
                                          1,
                                          1,
                                          -1,
                                          2,
                                          Real(0.5),
                                          Limits::quiet_NaN(),
                                          Limits::infinity(),
                                          -Limits::infinity(),
                                          Limits::max(),
                                          -Limits::max(),
                                          Limits::denorm_min(),
                                          -Limits::denorm_min(),
                                          Limits::min(),
                                          88,
                                          Real(88.8),
                                          -88,
                                          Real(-103.5),
                                          -104,
                                          Real(1) + Limits::epsilon(),
                                          Real(1e30),
                                          Real(-1e30),
                                          17});
}

/// How the values of an array are made from bytes.
enum class Kind { small, special, mixed, any };

template <class Real>
std::vector<Real> realsOf(Input& input, std::size_t n, Kind kind) {
  std::vector<Real> values;
  for (std::size_t i = 0; i < n; ++i)
    values.push_back(kind == Kind::small ||
                             (kind == Kind::mixed && input.flag())
                         ? Real(input.integer(-128, 127)) / 16
                     : kind == Kind::any ? input.raw<Real>()
                                         : special<Real>(input));
  return values;
}

Kind kindOf(Input& input) {
  return static_cast<Kind>(input.integer(0, 3));
}

/// The shape of a call and its options. Where `wild` is set, each may be
/// anything.
struct Arguments {
  int num_tokens, num_experts, top_k;
  Options options;
  double largest;  // number of the computation
  bool wild;

  Arguments(Input& input, double largest_number)
      : largest(largest_number), wild(input.oneIn(5)) {
    num_experts = input.oneIn(12) ? input.oneOf(many_experts)
                  : input.flag()  ? input.oneOf(few_experts)
                                  : input.integer(1, 20);
    num_tokens  = input.integer(0, 4);
    top_k = number(input, 1, std::min(num_experts, input.oneIn(8) ? 40 : 8));
    options.score    = static_cast<Reference::Score>(number(input, 0, 4));
    options.soft_cap = input.oneIn(4) ? real(input, {0.5, 1, 5, 30})
                                      : real(input, {0, 0, 0, 0});
    if (input.oneIn(2)) setGroups(input);
    if (input.flag())
      options.bias = realsOf<float>(input, perExpert(input), kindOf(input));
    options.normalize = input.flag();
    options.floor     = real(input, {0, 0, 1e-12, 0.5});
    options.epsilon   = real(input, {0, 0, 1e-20, 0.25});
    options.scale     = real(input, {1, 1, 2.5, -3});
    if (input.oneIn(4))
      options.expert_scale =
          realsOf<float>(input, perExpert(input), Kind::small);
    options.num_shared_experts = input.oneIn(4) ? number(input, 1, 3) : 0;
    options.shared_weight      = real(input, {1, 1, 0.75, 0});
    if (input.oneIn(3))
      for (int t = perToken(input); t > 0; --t)
        options.mask.push_back(!input.oneIn(3));
  }

  bool isValid() const {
    const std::int64_t most = largest_int - 1024;
    const int score         = static_cast<int>(options.score),
              group_score   = static_cast<int>(options.group_score);
    return num_tokens >= 0 && 1 <= top_k && top_k <= num_experts &&
           0 <= options.num_shared_experts &&
           options.num_shared_experts <= most - num_experts &&
           isEmptyOr(options.bias.size(), num_experts) &&
           isEmptyOr(options.expert_scale.size(), num_experts) &&
           isEmptyOr(options.mask.size(), num_tokens) && 0 <= score &&
           score <= 4 && 0 <= group_score && group_score <= 2 &&
           isNumber(options.soft_cap, 0) && isNumber(options.floor, 0) &&
           isNumber(options.epsilon, 0) && isNumber(options.scale, -HUGE_VAL) &&
           isNumber(options.shared_weight, -HUGE_VAL) && hasValidGroups();
  }

  /// The columns of ids and weights, where they can be allocated.
  std::size_t width() const {
    return static_cast<std::size_t>(std::clamp<std::int64_t>(
        std::int64_t(top_k) + options.num_shared_experts, 0, 1000));
  }
  bool hasColumns() const {
    return std::int64_t(width()) ==
           std::int64_t(top_k) + options.num_shared_experts;
  }

  std::string name() const {
    return "T=" + std::to_string(num_tokens) +
           " E=" + std::to_string(num_experts) + " K=" + std::to_string(top_k) +
           " score " + std::to_string(static_cast<int>(options.score)) +
           (options.normalize ? " normalized" : "") + " floor " +
           std::to_string(options.floor) + " epsilon " +
           std::to_string(options.epsilon) + " scale " +
           std::to_string(options.scale) +
           (options.expert_scale.empty() ? "" : " expert_scale") +
           (options.bias.empty() ? "" : " biased") + " soft_cap " +
           std::to_string(options.soft_cap) + " groups " +
           std::to_string(options.kept_groups) + " of " +
           std::to_string(options.groups) + " by " +
           std::to_string(static_cast<int>(options.group_score)) + " shared " +
           std::to_string(options.num_shared_experts) +
           (options.mask.empty() ? "" : " mask");
  }

 private:
  bool isNumber(double x, double least) const {
    return x >= least && -largest <= x && x <= largest;
  }
  static bool isEmptyOr(std::size_t size, int expected) {
    return size == 0 || size == std::size_t(expected);
  }

  bool hasValidGroups() const {
    const int groups = options.groups, kept = options.kept_groups;
    if (groups < 1 || groups > 1024 || groups > num_experts ||
        num_experts % groups != 0 || kept < 0 || kept > groups)
      return false;
    if (kept == 0) return true;
    const bool of_best =
        options.group_score == Reference::GroupScore::sum_of_best;
    return top_k <= kept * (num_experts / groups) &&
           (!of_best || kept == groups || top_k % kept == 0);
  }

  int number(Input& input, int low, int high) const {
    return wild && input.oneIn(6) ? input.wild() : input.integer(low, high);
  }
  double real(Input& input, const std::array<double, 4>& usual) const {
    return wild && input.oneIn(6) ? input.raw<double>() : input.oneOf(usual);
  }
  std::size_t perExpert(Input& input) const {
    return static_cast<std::size_t>(wild && input.oneIn(6) ? input.integer(1, 9)
                                                           : num_experts);
  }
  int perToken(Input& input) const {
    return wild && input.oneIn(6) ? input.integer(1, 9) : num_tokens;
  }

  void setGroups(Input& input) {
    std::vector<int> divisors;
    for (int g = 1; g <= num_experts; ++g)
      if (num_experts % g == 0) divisors.push_back(g);
    options.groups =
        wild && input.oneIn(6)
            ? input.wild()
            : divisors[std::size_t(input.integer(0, int(divisors.size()) - 1))];
    options.kept_groups = number(input, 0, std::clamp(options.groups, 0, 400));
    options.group_score =
        static_cast<Reference::GroupScore>(number(input, 0, 2));
    if (!wild || input.flag()) fitChoices();
  }

  /// Fewer choices, where that fits the groups; else all groups.
  void fitChoices() {
    top_k = std::min(top_k, num_experts);
    while (top_k > 1 && !hasValidGroups())
      --top_k;
    if (!wild && !hasValidGroups()) options.kept_groups = 0;
  }
};

/// Room for the ids and weights of a call, which knows what was written.
template <class Id, class Weight>
struct Output {
  Output(std::size_t tokens, std::size_t width)
      : ids("ids", tokens, width), weights("weights", tokens, width) {
    Kokkos::deep_copy(ids, Id(-77));
    Kokkos::deep_copy(weights, Weight(-77));
  }

  bool isUntouched() const {
    const auto all_ids     = Test::toVector(ids);
    const auto all_weights = Test::toVector(weights);
    return std::all_of(all_ids.begin(), all_ids.end(),
                       [](Id id) { return id == -77; }) &&
           std::all_of(all_weights.begin(), all_weights.end(),
                       [](Weight w) { return w == -77; });
  }

  Test::Matrix<Id> ids;
  Test::Matrix<Weight> weights;
};

/// Bits, but for what a NaN has in it.
template <class T>
testing::AssertionResult sameNumbers(std::vector<T> a, std::vector<T> b) {
  for (auto* const values : {&a, &b})
    for (T& x : *values)
      if (x != x) x = std::numeric_limits<T>::quiet_NaN();
  return Test::sameBits(a, b);
}

template <class Logit, class Id, class Weight>
class Call {
 public:
  Call(const Arguments& arguments, const std::vector<Logit>& logits)
      : m_arguments(arguments),
        m_tokens(static_cast<std::size_t>(arguments.num_tokens)),
        m_experts(static_cast<std::size_t>(arguments.num_experts)),
        m_values(logits),
        m_logits(Test::makeMatrix(logits, m_experts)),
        m_options(Test::onBackend(arguments.options)),
        m_output(m_tokens, arguments.width()) {}

  void check(Input& input) {
    const auto route = [&] {
      Tokkos::routeTopK(m_space, m_logits, m_output.ids, m_output.weights,
                        m_options);
    };
    if (!m_arguments.isValid() || !m_arguments.hasColumns()) {
      EXPECT_TRUE(refuses(route));
      EXPECT_TRUE(m_output.isUntouched());
      return;
    }
    route();
    checkIds();
    if (isTame())
      Test::expectRouted<Real>(
          Reference::routeTopK(real(), m_arguments.num_experts,
                               m_arguments.top_k, m_arguments.options),
          Test::toVector(m_output.ids), Test::toVector(m_output.weights),
          m_arguments.num_experts, m_arguments.options);
    checkPaths(input);
    checkGradient();
  }

 private:
  using Real = std::conditional_t<std::is_same_v<Logit, double>, double, float>;

  std::vector<Real> real() const {
    return std::vector<Real>(m_values.begin(), m_values.end());
  }

  /// Options in which the reference's bound of rounding means something: not
  /// such as leave the numbers, or have fewer digits, in the precision of the
  /// computation.
  bool isTame() const {
    const auto& o      = m_arguments.options;
    const auto isUsual = [](double x) {
      return x == 0 || (1e-20 <= std::abs(x) && std::abs(x) <= 1e3);
    };
    return isUsual(o.floor) && isUsual(o.epsilon) && isUsual(o.scale) &&
           isUsual(o.shared_weight) &&
           (o.soft_cap == 0 || (0.1 <= o.soft_cap && o.soft_cap <= 100));
  }

  /// Distinct and in range, whatever else.
  void checkIds() const {
    const auto ids   = Test::toVector(m_output.ids);
    const auto width = m_arguments.width();
    const auto& mask = m_arguments.options.mask;
    for (std::size_t t = 0; t < m_tokens; ++t) {
      std::vector<bool> seen(m_experts, false);
      for (std::size_t k = 0; k < width; ++k) {
        const Id id = ids[t * width + k];
        if (!mask.empty() && !mask[t]) {
          EXPECT_EQ(-1, id);
        } else if (k >= std::size_t(m_arguments.top_k)) {
          EXPECT_EQ(m_experts + k - std::size_t(m_arguments.top_k),
                    std::size_t(id));
        } else {
          ASSERT_TRUE(0 <= id && std::size_t(id) < m_experts);
          EXPECT_FALSE(seen[std::size_t(id)]);
          seen[std::size_t(id)] = true;
        }
      }
    }
  }

  template <class Ids, class Weights>
  void expectSame(const Ids& ids, const Weights& weights) const {
    EXPECT_EQ(Test::toVector(m_output.ids), ids);
    EXPECT_TRUE(sameNumbers(Test::toVector(m_output.weights), weights));
  }

  /// In rounds, and with strides.
  void checkPaths(Input& input) {
    const auto width = m_arguments.width();
    if (m_tokens > 0) {
      const Output<Id, Weight> rounds(m_tokens, width);
      Tokkos::Impl::routeInRounds(
          m_space, Tokkos::Impl::makeRouterData(m_logits, rounds.ids,
                                                rounds.weights, m_options));
      expectSame(Test::toVector(rounds.ids), Test::toVector(rounds.weights));
    }
    auto logits  = makeStrided<Logit>(input, m_tokens, m_experts);
    auto ids     = makeStrided<Id>(input, m_tokens, width);
    auto weights = makeStrided<Weight>(input, m_tokens, width);
    logits.set(m_values);
    Tokkos::routeTopK(m_space, logits.view(), ids.view(), weights.view(),
                      m_options);
    expectSame(ids.get(), weights.get());
    EXPECT_TRUE(ids.surroundingsUntouched());
    EXPECT_TRUE(weights.surroundingsUntouched());
  }

  /// Every entry is written, and those of excluded logits are zero.
  void checkGradient() const {
    const Test::Matrix<Real> gradient("gradient", m_tokens, m_experts);
    Kokkos::deep_copy(gradient, Test::poison<Real>());
    Tokkos::routeTopKGradient(m_space, m_logits, m_output.ids, m_output.weights,
                              gradient, m_options);
    const auto values = Test::toVector(gradient);
    const Real poison = Test::poison<Real>();
    for (std::size_t i = 0; i < values.size(); ++i) {
      const Real x = static_cast<Real>(m_values[i]);
      EXPECT_NE(poison, values[i]);
      if (!(x > -std::numeric_limits<Real>::infinity()))
        EXPECT_EQ(0, values[i]);
    }
  }

  ExecutionSpace m_space;
  const Arguments& m_arguments;
  std::size_t m_tokens, m_experts;
  std::vector<Logit> m_values;
  Test::Matrix<Logit> m_logits;
  Tokkos::RouterOptions<MemorySpace> m_options;
  Output<Id, Weight> m_output;
};

template <class Real>
std::string toString(const std::vector<Real>& values) {
  std::ostringstream text;
  for (const Real x : values)
    text << ' ' << std::setprecision(17) << x;
  return text.str();
}

template <class Logit, class Id, class Weight>
void checkRouter(Input& input, const Arguments& arguments) {
  const auto n = static_cast<std::size_t>(arguments.num_tokens) *
                 static_cast<std::size_t>(arguments.num_experts);
  const auto logits = realsOf<Logit>(input, n, kindOf(input));
  explain([&] { Call<Logit, Id, Weight>(arguments, logits).check(input); },
          [&] {
            return arguments.name() + "\nlogits" + toString(logits) + "\nbias" +
                   toString(arguments.options.bias);
          });
}

}  // namespace Fuzz

extern "C" int LLVMFuzzerInitialize(int*, char***) {
  Fuzz::initialize();
  return 0;
}

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data,
                                      std::size_t size) {
  Fuzz::Input input(data, size);
  const int types = input.integer(0, 2);
  const Fuzz::Arguments arguments(
      input, types == 1 ? std::numeric_limits<double>::max()
                        : std::numeric_limits<float>::max());
  if (types == 0)
    Fuzz::checkRouter<float, int, float>(input, arguments);
  else if (types == 1)
    Fuzz::checkRouter<double, std::int64_t, double>(input, arguments);
  else
    Fuzz::checkRouter<float, std::int64_t, double>(input, arguments);
  return 0;
}
