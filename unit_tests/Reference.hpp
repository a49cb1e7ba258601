// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// SPDX-FileCopyrightText: Copyright Contributors to the Tokkos project

#ifndef TOKKOS_TEST_REFERENCE_HPP
#define TOKKOS_TEST_REFERENCE_HPP

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <limits>
#include <numeric>
#include <vector>

/// What the contracts say, as plain loops over std::vector: no Kokkos, nothing
/// of Tokkos, no regard to speed. The oracle of the unit tests.
namespace Reference {

enum class Drop { latest, later_choices, lowest_weight };

struct Options {
  std::vector<bool> mask;       // empty: all take part
  int first_expert = 0;         // the local experts ...
  int num_local    = 0;         // ... 0: all of them
  std::vector<int> expert_map;  // empty: the range above
  int capacity  = 0;
  int alignment = 1;
  Drop drop     = Drop::latest;
  std::vector<double> weights;  // T x K, for lowest_weight
};

struct Plan {
  std::vector<int> counts, offsets, dropped;
  std::vector<int> row_of_assignment, assignment_of_row, expert_of_block;
  int num_rows    = 0;
  int num_dropped = 0;
};

inline int roundUp(int n, int multiple) {
  while (n % multiple != 0)
    ++n;
  return n;
}

/// ids: T x K in row order.
template <class Id>
Plan makePlan(const std::vector<Id>& ids, int top_k, int num_experts,
              const Options& options = {}) {
  int num_local = num_experts;
  if (options.num_local > 0) num_local = options.num_local;

  Plan plan;
  plan.counts.assign(num_local, 0);
  plan.dropped.assign(num_local, 0);
  plan.row_of_assignment.assign(ids.size(), -1);

  std::vector<std::vector<int>> kept(num_local);
  for (int a = 0; a < static_cast<int>(ids.size()); ++a) {
    if (!options.mask.empty() && !options.mask[a / top_k]) continue;
    if (ids[a] < 0 || ids[a] >= num_experts) {
      ++plan.num_dropped;
      continue;
    }
    int expert = static_cast<int>(ids[a]);
    if (!options.expert_map.empty())
      expert = options.expert_map[expert];
    else
      expert -= options.first_expert;
    if (expert < 0 || expert >= num_local) continue;
    kept[expert].push_back(a);
  }

  // Whom an expert prefers: then as many as it has room for, in their order.
  const auto prefers = [&](int a, int b) {
    if (options.drop == Drop::later_choices) return a % top_k < b % top_k;
    if (options.drop == Drop::latest) return false;
    const double x = options.weights[a], y = options.weights[b];
    return std::isnan(y) ? !std::isnan(x) : x > y;
  };
  for (int e = 0; e < num_local && options.capacity > 0; ++e) {
    const int surplus = static_cast<int>(kept[e].size()) - options.capacity;
    if (surplus <= 0) continue;
    std::stable_sort(kept[e].begin(), kept[e].end(), prefers);
    kept[e].resize(options.capacity);
    std::sort(kept[e].begin(), kept[e].end());
    plan.dropped[e] = surplus;
    plan.num_dropped += surplus;
  }

  for (int e = 0; e < num_local; ++e) {
    plan.offsets.push_back(plan.num_rows);
    plan.counts[e] = static_cast<int>(kept[e].size());
    for (const int a : kept[e]) {
      plan.row_of_assignment[a] =
          static_cast<int>(plan.assignment_of_row.size());
      plan.assignment_of_row.push_back(a);
    }
    plan.num_rows += roundUp(plan.counts[e], options.alignment);
    plan.assignment_of_row.resize(plan.num_rows, -1);
    plan.expert_of_block.resize(plan.num_rows / options.alignment, e);
  }
  plan.offsets.push_back(plan.num_rows);
  return plan;
}

/// batch: rows x width; the rows of padding are zero, of which there are
/// plan.num_rows.
template <class Value>
std::vector<Value> permute(const Plan& plan, const std::vector<Value>& tokens,
                           int width, int top_k) {
  std::vector<Value> batch(static_cast<std::size_t>(plan.num_rows) * width,
                           Value{});
  for (int r = 0; r < plan.num_rows; ++r) {
    const int a = plan.assignment_of_row[r];
    for (int h = 0; a >= 0 && h < width; ++h)
      batch[static_cast<std::size_t>(r) * width + h] =
          tokens[static_cast<std::size_t>(a / top_k) * width + h];
  }
  return batch;
}

template <class Value>
std::vector<Value> unpermute(const Plan& plan, const std::vector<Value>& batch,
                             int width) {
  const std::size_t n = plan.row_of_assignment.size();
  std::vector<Value> assignments(n * width, Value{});
  for (std::size_t a = 0; a < n; ++a) {
    const int r = plan.row_of_assignment[a];
    for (int h = 0; r >= 0 && h < width; ++h)
      assignments[a * width + h] =
          batch[static_cast<std::size_t>(r) * width + h];
  }
  return assignments;
}

/// A product and a sum that no compiler fuses.
template <class Sum>
Sum multiplyThenAdd(Sum a, Sum b, Sum c) {
  volatile Sum product = a * b;
  volatile Sum sum     = product + c;
  return sum;
}

/// Weights and sums in Sum; the result before it is rounded to its type.
template <class Sum, class Value, class Weight>
std::vector<Sum> combine(const Plan& plan, const std::vector<Value>& batch,
                         const std::vector<Weight>& weights, int width,
                         int top_k) {
  const std::size_t num_tokens = plan.row_of_assignment.size() / top_k;
  std::vector<Sum> output(num_tokens * width, Sum(0));
  for (std::size_t t = 0; t < num_tokens; ++t)
    for (int h = 0; h < width; ++h) {
      bool first = true;
      Sum sum    = 0;
      for (int k = 0; k < top_k; ++k) {
        const int r = plan.row_of_assignment[t * top_k + k];
        if (r < 0) continue;
        const Sum weight = static_cast<Sum>(weights[t * top_k + k]);
        const Sum value =
            static_cast<Sum>(batch[static_cast<std::size_t>(r) * width + h]);
        // -0 is what no number changes when it is added to it.
        sum   = multiplyThenAdd(weight, value, first ? Sum(-0.0) : sum);
        first = false;
      }
      output[t * width + h] = sum;
    }
  return output;
}

/// Rows of the batch from a value of every assignment; zero where padding is.
template <class Value>
std::vector<Value> permuteAssignments(const Plan& plan,
                                      const std::vector<Value>& assignments,
                                      int width) {
  std::vector<Value> batch(static_cast<std::size_t>(plan.num_rows) * width,
                           Value{});
  for (int r = 0; r < plan.num_rows; ++r) {
    const int a = plan.assignment_of_row[r];
    for (int h = 0; a >= 0 && h < width; ++h)
      batch[static_cast<std::size_t>(r) * width + h] =
          assignments[static_cast<std::size_t>(a) * width + h];
  }
  return batch;
}

/// Adds beta times what was there to the sums of the tokens.
template <class Sum, class Value>
void addScaled(const Plan& plan, std::vector<Sum>& sums, Sum beta,
               const std::vector<Value>& before, int width, int top_k) {
  for (std::size_t i = 0; i < sums.size(); ++i) {
    const std::size_t token = i / width;
    bool has_row            = false;
    for (int k = 0; k < top_k; ++k)
      has_row = has_row || plan.row_of_assignment[token * top_k + k] >= 0;
    sums[i] = multiplyThenAdd(beta, static_cast<Sum>(before[i]),
                              has_row ? sums[i] : Sum(-0.0));
  }
}

template <class Sum>
struct CombineGradient {
  std::vector<Sum> batch;    // rows x width; zero where padding is
  std::vector<Sum> weights;  // T x K
};

/// In Sum; the results before they are rounded to their types.
template <class Sum, class Gradient, class Value, class Weight>
CombineGradient<Sum> combineGradient(
    const Plan& plan, const std::vector<Gradient>& output_gradient,
    const std::vector<Value>& batch, const std::vector<Weight>& weights,
    int width, int top_k) {
  const auto add = [](Sum a, Sum b) { return multiplyThenAdd(Sum(1), a, b); };
  CombineGradient<Sum> result;
  result.batch.assign(static_cast<std::size_t>(plan.num_rows) * width, Sum(0));
  for (std::size_t a = 0; a < plan.row_of_assignment.size(); ++a) {
    const int row = plan.row_of_assignment[a];
    result.weights.push_back(0);
    if (row < 0) continue;
    std::vector<Sum> product;
    for (int h = 0; h < width; ++h) {
      const auto g = static_cast<Sum>(
          output_gradient[a / top_k * static_cast<std::size_t>(width) + h]);
      const std::size_t i = static_cast<std::size_t>(row) * width + h;
      result.batch[i]     = static_cast<Sum>(weights[a]) * g;
      product.push_back(g * static_cast<Sum>(batch[i]));
    }
    while (product.size() % 8 != 0)
      product.push_back(0);
    std::vector<Sum> partial(128, Sum(0));
    for (std::size_t i = 0; i < product.size(); i += 8) {
      const Sum* const p = &product[i];
      const Sum low      = add(add(p[0], p[1]), add(p[2], p[3]));
      const Sum high     = add(add(p[4], p[5]), add(p[6], p[7]));
      Sum& sum           = partial[i / 8 % 128];
      sum                = add(sum, add(low, high));
    }
    while (partial.size() > 1) {
      std::vector<Sum> pairs;
      for (std::size_t i = 0; i < partial.size(); i += 2)
        pairs.push_back(add(partial[i], partial[i + 1]));
      partial = pairs;
    }
    result.weights.back() = partial[0];
  }
  return result;
}

enum class Score {
  softmax,
  selected_softmax,
  sigmoid,
  sqrt_softplus,
  identity
};
enum class GroupScore { maximum, sum_of_best_two, sum_of_best };

/// The options of routeTopK; an empty vector is an option not used.
struct RouterOptions {
  std::vector<bool> mask          = {};
  double soft_cap                 = 0;
  Score score                     = Score::softmax;
  std::vector<float> bias         = {};
  int groups                      = 1;
  int kept_groups                 = 0;
  GroupScore group_score          = GroupScore::maximum;
  bool normalize                  = false;
  double floor                    = 0;
  double epsilon                  = 0;
  double scale                    = 1;
  std::vector<float> expert_scale = {};
  int num_shared_experts          = 0;
  double shared_weight            = 1;

  bool limitsGroups() const { return kept_groups > 0 && kept_groups < groups; }
  bool isKeyedByScore() const {
    return !bias.empty() ||
           (limitsGroups() && group_score != GroupScore::maximum);
  }
};

struct Routing {
  std::vector<int> ids;
  std::vector<double> weights;
  /// For every token the least relative distance of two different keys (or
  /// scores of groups) of which one was preferred. Where it is no more than
  /// rounding another choice is as right.
  std::vector<double> margins;
  /// For every token by how much a rounding grows in its weights: the sum of
  /// their sizes over the size of their sum, and more where an exponent is so
  /// far from zero that its own rounding counts. Infinite where a sum may leave
  /// the numbers on its way, or comes to nothing.
  std::vector<double> conditions;
  /// For every token by how much the normalisation and the scales multiply,
  /// where that is more than 1: digits that small numbers lack are lacking in
  /// large ones then.
  std::vector<double> growths;
};

/// One token: the contract of routeTopK in plain loops and long double.
template <class Real>
class TokenRouter {
  using Long = long double;

 public:
  TokenRouter(std::vector<Real> x, int top_k, const RouterOptions& options)
      : m_x(std::move(x)), m_top_k(top_k), m_options(options) {}

  void route(Routing& routing) {
    const int num_experts = static_cast<int>(m_x.size());
    findScores();
    dropGroups();
    std::vector<int> order(num_experts);
    std::iota(order.begin(), order.end(), 0);
    std::stable_sort(order.begin(), order.end(), [&](int a, int b) {
      if (m_kept[a] != m_kept[b]) return m_kept[a] > m_kept[b];
      return m_key[a] > m_key[b];
    });
    // Behind every choice the first expert with another key.
    for (int k = 0, next = 0; k < m_top_k; ++k) {
      while (next < num_experts && m_key[order[next]] == m_key[order[k]]) {
        if (m_x[order[next]] != m_x[order[k]] &&
            loseDigits(std::max(m_size[order[next]], m_size[order[k]])))
          m_margin = 0;
        ++next;
      }
      if (next < num_experts && m_kept[order[next]])
        noteMargin(m_key[order[k]], m_key[order[next]],
                   std::max(m_size[order[k]], m_size[order[next]]));
    }
    order.resize(m_top_k);

    const auto weights = weigh(order);
    routing.ids.insert(routing.ids.end(), order.begin(), order.end());
    for (const Long w : weights)
      routing.weights.push_back(static_cast<double>(w));
    routing.margins.push_back(m_options.isKeyedByScore() ? m_margin : 1);
    routing.conditions.push_back(m_condition);
    routing.growths.push_back(m_growth);
  }

 private:
  static constexpr Long minus_infinity = -std::numeric_limits<Long>::infinity();

  static bool isExcluded(Long x) { return !(x > minus_infinity); }
  static constexpr Long largest = std::numeric_limits<Real>::max();
  /// Beyond this a number does not round to the largest.
  static constexpr Long last =
      largest + largest * std::numeric_limits<Real>::epsilon() / 4;

  static Long participating(Long x) {
    if (std::isnan(x) || x < -last) return minus_infinity;
    return std::clamp(x, -largest, largest);
  }

  static Long overflowing(Long x) {
    return std::abs(x) > last ? x * std::numeric_limits<Long>::infinity() : x;
  }

  /// e^x, 0 where that is nearer to half the smallest normal number.
  Long exponential(Long x) {
    const Long y     = std::exp(x);
    const Long least = std::numeric_limits<Real>::min() / std::sqrt(Long(2));
    if (std::abs(y - least) < least * 1e-4L) {
      m_margin    = 0;
      m_condition = std::numeric_limits<double>::infinity();
    }
    return y < least ? 0 : y;
  }

  /// True where no partial sum is rounded.
  static bool isSummedExactly(const std::vector<Long>& terms) {
    Long sum = 0;
    for (const Long x : terms) {
      sum += x;
      if (static_cast<Long>(static_cast<Real>(sum)) != sum) return false;
    }
    return true;
  }

  /// True where rounding, or the order of the signs, says whether a sum of
  /// these terms leaves the numbers on its way.
  static bool mayOverflow(const std::vector<Long>& terms) {
    Long sum = 0, sizes = 0;
    for (const Long x : terms) {
      sum += x;
      sizes += std::abs(x);
    }
    const bool has_one_sign  = std::abs(sum) == sizes;
    const bool does_for_sure = has_one_sign && sizes > largest * (1 + 1e-5L);
    return sizes > largest * (1 - 1e-5L) && !does_for_sure &&
           !(sizes <= largest && isSummedExactly(terms));
  }

  /// True for equal keys, or scores of groups, of which a cap leaves fewer
  /// digits: such that are small and not zero.
  bool loseDigits(Long size) const {
    return m_options.soft_cap != 0 && size > 0 &&
           size < 100 * Long(std::numeric_limits<Real>::min());
  }

  /// size: that of the terms whose sums a and b are
  void noteMargin(Long a, Long b, Long size) {
    if (a == b || isExcluded(a) || isExcluded(b)) return;
    size     = std::max(size, Long(1e-3));
    m_margin = std::min(m_margin, static_cast<double>(std::abs(a - b) / size));
  }

  Long capped(Long x) const {
    const Long cap = m_options.soft_cap;
    return cap == 0 ? x : cap * std::tanh(x / cap);
  }

  void findScores() {
    const std::size_t num_experts = m_x.size();
    m_logit.resize(num_experts);
    m_score.resize(num_experts);
    m_key.resize(num_experts);
    m_size.assign(num_experts, 0);
    m_kept.assign(num_experts, 1);
    Long maximum = minus_infinity, denominator = 0;
    for (std::size_t e = 0; e < num_experts; ++e) {
      m_logit[e] = participating(m_x[e]);
      if (!isExcluded(m_logit[e]))
        maximum = std::max(maximum, capped(m_logit[e]));
    }
    for (const Long x : m_logit)
      if (!isExcluded(x)) denominator += std::exp(capped(x) - maximum);
    for (std::size_t e = 0; e < num_experts; ++e) {
      const Long x = m_logit[e];
      m_key[e]     = x;
      m_score[e]   = 0;
      if (isExcluded(x)) continue;
      const Long z = capped(x);
      switch (m_options.score) {
        case Score::softmax:
          m_score[e] = std::exp(z - maximum) / denominator;
          break;
        case Score::sigmoid:
          m_score[e] = 1 / (1 + std::exp(-z));
          break;
        case Score::sqrt_softplus:
          m_score[e] = std::sqrt(z > 0 ? z + std::log1p(exponential(-z))
                                       : std::log1p(exponential(z)));
          break;
        default:
          m_score[e] = z;
      }
      if (!m_options.isKeyedByScore()) continue;
      const Long bias = m_options.bias.empty() ? 0 : m_options.bias[e];
      m_key[e]        = participating(m_score[e] + bias);
      if (!isExcluded(m_key[e]))
        m_size[e] = participating(std::abs(m_score[e]) + std::abs(bias));
    }
    m_maximum = maximum;
  }

  void dropGroups() {
    if (!m_options.limitsGroups()) return;
    const int groups = m_options.groups;
    const int size   = static_cast<int>(m_x.size()) / groups;
    const int wanted = m_options.group_score == GroupScore::maximum ? 1
                       : m_options.group_score == GroupScore::sum_of_best_two
                           ? 2
                           : m_top_k / m_options.kept_groups;
    std::vector<Long> scores, sizes;
    std::vector<std::vector<Long>> terms;
    for (int g = 0; g < groups; ++g) {
      std::vector<Long> keys(m_key.begin() + g * size,
                             m_key.begin() + (g + 1) * size);
      std::sort(keys.rbegin(), keys.rend());
      keys.resize(std::min(wanted, size));
      terms.push_back(keys);
      if (!isExcluded(keys.back()) && mayOverflow(keys)) m_margin = 0;
      scores.push_back(participating(
          std::accumulate(keys.begin(), keys.end(), Long(0),
                          [](Long a, Long b) { return overflowing(a + b); })));
      const auto widest = std::max_element(m_size.begin() + g * size,
                                           m_size.begin() + (g + 1) * size);
      sizes.push_back(*widest * wanted);
    }
    std::vector<int> order(groups);
    std::iota(order.begin(), order.end(), 0);
    std::stable_sort(order.begin(), order.end(),
                     [&](int a, int b) { return scores[a] > scores[b]; });
    const int kept = m_options.kept_groups;
    // The last that is kept, the first that is not, and those that differ.
    for (int i = 0; i < groups; ++i) {
      const int other = order[i < kept ? kept : kept - 1];
      if (scores[order[i]] == scores[other] && !isExcluded(scores[other]) &&
          (loseDigits(std::max(sizes[order[i]], sizes[other])) ||
           (terms[order[i]] != terms[other] &&
            !(isSummedExactly(terms[order[i]]) &&
              isSummedExactly(terms[other])))))
        m_margin = 0;
      noteMargin(scores[order[i]], scores[other],
                 std::max(sizes[order[i]], sizes[other]));
    }
    for (int i = kept; i < groups; ++i)
      std::fill_n(m_kept.begin() + order[i] * size, size, 0);
  }

  std::vector<Long> weigh(const std::vector<int>& chosen) {
    std::vector<Long> w;
    Long maximum = minus_infinity;
    for (const int e : chosen)
      if (!isExcluded(m_key[e]))
        maximum = std::max(maximum, capped(m_logit[e]));
    for (const int e : chosen)
      w.push_back(isExcluded(m_key[e]) ? 0
                  : m_options.score == Score::selected_softmax
                      ? std::exp(capped(m_logit[e]) - maximum)
                      : m_score[e]);
    const auto total = [&] {
      return overflowing(std::accumulate(w.begin(), w.end(), Long(0)));
    };
    if (m_options.score == Score::selected_softmax) divide(w, total());
    if (m_options.score == Score::softmax) maximum = m_maximum;
    noteCondition(chosen, w, total(), maximum);
    if (m_options.normalize)
      divide(w, std::max<Long>(total(), m_options.floor) + m_options.epsilon);
    double largest_scale = 0;
    for (std::size_t k = 0; k < w.size(); ++k) {
      const double of_expert = m_options.expert_scale.empty()
                                   ? 1
                                   : m_options.expert_scale[chosen[k]];
      w[k] = overflowing(overflowing(w[k] * m_options.scale) * of_expert);
      largest_scale = std::max(largest_scale, std::abs(of_expert));
    }
    m_growth *=
        std::max(1., std::abs(m_options.scale)) * std::max(1., largest_scale);
    return w;
  }

  void noteCondition(const std::vector<int>& chosen, const std::vector<Long>& w,
                     Long total, Long maximum) {
    if (m_options.score == Score::softmax ||
        m_options.score == Score::selected_softmax)
      for (const int e : chosen)
        if (!isExcluded(m_key[e])) noteExponent(maximum - capped(m_logit[e]));
    if (!m_options.normalize) return;
    Long sizes = 0;
    for (const Long x : w)
      sizes += std::abs(x);
    const Long divisor =
        std::max<Long>(total, m_options.floor) + m_options.epsilon;
    if (divisor > 0) m_growth = std::max(1., static_cast<double>(1 / divisor));
    const bool overflows = mayOverflow(w);
    // A sum that rounding cannot lift over the floor does not count.
    if (sizes == 0 || (!overflows && total + sizes * 1e-5L < m_options.floor))
      return;
    m_condition *= overflows || divisor == 0
                       ? std::numeric_limits<double>::infinity()
                       : std::max(1., static_cast<double>(sizes / divisor));
  }

  /// e^-x with x rounded; beyond the last number it is zero anyway.
  void noteExponent(Long x) {
    const Long end = -std::log(Long(std::numeric_limits<Real>::denorm_min()));
    m_condition =
        std::max(m_condition, static_cast<double>(std::min(x, end) / 16));
  }

  static void divide(std::vector<Long>& w, Long divisor) {
    for (Long& x : w)
      x = divisor == 0 ? 0 : x / divisor;
  }

  std::vector<Real> m_x;
  int m_top_k;
  const RouterOptions& m_options;
  std::vector<Long> m_logit, m_score, m_key, m_size;
  Long m_maximum = minus_infinity;
  std::vector<int> m_kept;
  double m_margin    = 1;
  double m_condition = 1;
  double m_growth    = 1;
};

/// logits: T x E. ids and weights are T x (top_k + shared experts). The ids are
/// exact for float and double logits where the margin is not tiny.
template <class Real>
Routing routeTopK(const std::vector<Real>& logits, int num_experts, int top_k,
                  const RouterOptions& options) {
  Routing routing;
  const std::size_t num_tokens = logits.size() / num_experts;
  for (std::size_t t = 0; t < num_tokens; ++t) {
    const bool masked = !options.mask.empty() && !options.mask[t];
    if (masked) {
      routing.ids.insert(routing.ids.end(), top_k, -1);
      routing.weights.insert(routing.weights.end(), top_k, 0);
      routing.margins.push_back(1);
      routing.conditions.push_back(1);
      routing.growths.push_back(1);
    } else {
      TokenRouter<Real>(
          std::vector<Real>(logits.begin() + t * num_experts,
                            logits.begin() + (t + 1) * num_experts),
          top_k, options)
          .route(routing);
    }
    for (int i = 0; i < options.num_shared_experts; ++i) {
      routing.ids.push_back(masked ? -1 : num_experts + i);
      routing.weights.push_back(masked ? 0 : options.shared_weight);
    }
  }
  return routing;
}

template <class Real>
Routing routeTopK(const std::vector<Real>& logits, int num_experts, int top_k,
                  Score score, bool normalize) {
  RouterOptions options;
  options.score     = score;
  options.normalize = normalize;
  return routeTopK(logits, num_experts, top_k, options);
}

}  // namespace Reference

#endif
