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

enum class Score { softmax, selected_softmax };

struct Routing {
  std::vector<int> ids;
  std::vector<double> weights;
};

/// logits: T x E. The ids are exact for float and double logits; the weights
/// are computed in long double.
template <class Real>
Routing routeTopK(const std::vector<Real>& logits, int num_experts, int top_k,
                  Score score, bool normalize) {
  Routing routing;
  const std::size_t num_tokens = logits.size() / num_experts;
  for (std::size_t t = 0; t < num_tokens; ++t) {
    std::vector<Real> x(logits.begin() + t * num_experts,
                        logits.begin() + (t + 1) * num_experts);
    std::vector<bool> excluded(num_experts);
    for (int e = 0; e < num_experts; ++e) {
      excluded[e] = std::isnan(x[e]) || (std::isinf(x[e]) && x[e] < 0);
      if (std::isinf(x[e])) x[e] = std::numeric_limits<Real>::max();
    }
    std::vector<int> order(num_experts);
    std::iota(order.begin(), order.end(), 0);
    std::stable_sort(order.begin(), order.end(), [&](int a, int b) {
      if (excluded[a] || excluded[b]) return !excluded[a] && excluded[b];
      return x[a] > x[b];
    });
    order.resize(top_k);

    const auto term = [&](int e) -> long double {
      if (excluded[e]) return 0;
      return std::exp(static_cast<long double>(x[e]) -
                      static_cast<long double>(x[order[0]]));
    };
    long double denominator = 0;
    if (score == Score::softmax) {
      for (int e = 0; e < num_experts; ++e)
        denominator += term(e);
    } else {
      for (const int e : order)
        denominator += term(e);
    }
    long double total = 0;
    for (const int e : order)
      total += term(e) / denominator;
    for (const int e : order) {
      routing.ids.push_back(e);
      long double w = excluded[order[0]] ? 0 : term(e) / denominator;
      if (normalize && w != 0) w /= total;
      routing.weights.push_back(static_cast<double>(w));
    }
  }
  return routing;
}

}  // namespace Reference

#endif
