// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// SPDX-FileCopyrightText: Copyright Contributors to the Tokkos project

#ifndef TOKKOS_TEST_PLAIN_LAYER_HPP
#define TOKKOS_TEST_PLAIN_LAYER_HPP

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <numeric>
#include <vector>

// A Mixture-of-Experts layer as plain loops in double, with a bound of what a
// computation in another precision may differ: no Kokkos, nothing of Tokkos.
namespace Plain {

/// A number, and how far off a computation in a precision with unit roundoff u
/// may be.
struct Number {
  double value = 0;
  double error = 0;
};

using Numbers = std::vector<Number>;

/// Half the distance from 1 to the next float.
constexpr double u = 0x1p-24;

inline Numbers exact(const float* values, std::size_t n) {
  Numbers numbers;
  for (std::size_t i = 0; i < n; ++i)
    numbers.push_back({values[i], 0});
  return numbers;
}

/// The sum of a_i * b_i in any order, fused or not, plus c: Higham, "Accuracy
/// and Stability of Numerical Algorithms", section 3.1, and the factors' own
/// errors.
inline Number dot(const Numbers& a, const Numbers& b, Number c = {}) {
  const double gamma = 1.01 * static_cast<double>(a.size() + 2) * u;
  Number sum{c.value, c.error + gamma * std::abs(c.value)};
  for (std::size_t i = 0; i < a.size(); ++i) {
    const double x = std::abs(a[i].value), y = std::abs(b[i].value);
    sum.value += a[i].value * b[i].value;
    sum.error += (1 + gamma) * (x * b[i].error + y * a[i].error +
                                a[i].error * b[i].error) +
                 gamma * x * y;
  }
  return sum;
}

inline Number product(Number a, Number b) {
  return dot({a}, {b});
}

/// The slope of x / (1 + e^-x) is below 1.1 everywhere; a library's exponential
/// and the quotient are good to some units.
inline Number silu(Number x) {
  const double value = x.value / (1 + std::exp(-x.value));
  return {value, 1.1 * x.error + 16 * u * std::abs(value)};
}

inline Number relu(Number x) {
  return {std::max(x.value, 0.), x.error};
}

inline Number sigmoid(Number x) {
  const double value = 1 / (1 + std::exp(-x.value));
  return {value, 0.25 * x.error + 16 * u * value};
}

/// The weights of one feed-forward network. `gate` is empty where there is
/// none, biases where they are.
struct Network {
  int hidden = 0, inner = 0;
  std::vector<float> gate, up, down;  // F x H, F x H, H x F
  std::vector<float> gate_bias, up_bias, down_bias;

  Numbers operator()(const Numbers& x) const {
    Numbers values;
    for (int f = 0; f < inner; ++f) {
      const Number raised = row(up, up_bias, f, hidden, x);
      values.push_back(
          gate.empty()
              ? relu(raised)
              : product(silu(row(gate, gate_bias, f, hidden, x)), raised));
    }
    Numbers result;
    for (int h = 0; h < hidden; ++h)
      result.push_back(row(down, down_bias, h, inner, values));
    return result;
  }

 private:
  static Number row(const std::vector<float>& matrix,
                    const std::vector<float>& bias, int i, int width,
                    const Numbers& x) {
    const auto place = static_cast<std::size_t>(i);
    const auto n     = static_cast<std::size_t>(width);
    return dot(exact(matrix.data() + place * n, n), x,
               bias.empty() ? Number{} : Number{bias[place], 0});
  }
};

/// Softmax over the experts, the best K of them, divided by their sum.
struct Layer {
  int hidden = 0, top_k = 0;
  std::vector<float> router;  // E x H
  std::vector<Network> experts;
  std::vector<Network> shared;     // none or one
  std::vector<float> shared_gate;  // H, or empty

  /// The output of one token. `margin` becomes how far its choice was from
  /// another one, errors taken off.
  Numbers operator()(const Numbers& x, double& margin) const {
    const auto n = static_cast<std::size_t>(hidden);
    Numbers logits;
    for (std::size_t e = 0; e < router.size() / n; ++e)
      logits.push_back(dot(exact(router.data() + e * n, n), x));
    std::vector<std::size_t> order(logits.size());
    std::iota(order.begin(), order.end(), std::size_t(0));
    std::stable_sort(order.begin(), order.end(),
                     [&](std::size_t a, std::size_t b) {
                       return logits[a].value > logits[b].value;
                     });
    const auto chosen = static_cast<std::size_t>(top_k);
    double error      = 0;
    for (const Number& logit : logits)
      error = std::max(error, logit.error);
    margin = INFINITY;
    for (std::size_t k = 1; k <= chosen && k < order.size(); ++k)
      margin = std::min(margin, logits[order[k - 1]].value -
                                    logits[order[k]].value - 2 * error);

    double total = 0;
    for (std::size_t k = 0; k < chosen; ++k)
      total += std::exp(logits[order[k]].value - logits[order[0]].value);
    std::vector<Numbers> outputs;
    Numbers weights;
    for (std::size_t k = 0; k < chosen; ++k) {
      const double weight =
          std::exp(logits[order[k]].value - logits[order[0]].value) / total;
      // Softmax and quotient: logits that are off by `error` change it by a
      // factor of e^(2 error); the sums have E and K terms.
      const double n_sum = static_cast<double>(logits.size() + chosen);
      weights.push_back(
          {weight, weight * (std::expm1(2 * error) + (2 * n_sum + 40) * u)});
      outputs.push_back(experts[order[k]](x));
    }
    Numbers result(n);
    Numbers shared_output(n);
    if (!shared.empty()) {
      shared_output = shared[0](x);
      if (!shared_gate.empty()) {
        const Number gate = sigmoid(dot(exact(shared_gate.data(), n), x));
        for (Number& value : shared_output)
          value = product(gate, value);
      }
    }
    for (std::size_t h = 0; h < n; ++h) {
      Numbers values;
      for (const Numbers& output : outputs)
        values.push_back(output[h]);
      result[h] = dot(weights, values, shared_output[h]);
    }
    return result;
  }
};

}  // namespace Plain

#endif
