// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// SPDX-FileCopyrightText: Copyright Contributors to the Tokkos project

#ifndef TOKKOS_TEST_ROUTERSUPPORT_HPP
#define TOKKOS_TEST_ROUTERSUPPORT_HPP

#include "TestSupport.hpp"

#include <algorithm>
#include <cmath>
#include <limits>
#include <type_traits>

// routeTopK beside the reference: the same options for both, and how far their
// weights may be apart.
namespace Test {

inline Tokkos::RouterOptions<MemorySpace> onBackend(
    const Reference::RouterOptions& options) {
  const auto floats = [](const std::vector<float>& values) {
    return values.empty() ? Array<float>() : makeArray(values);
  };
  Array<bool> mask;
  if (!options.mask.empty()) {
    mask            = Array<bool>("mask", options.mask.size());
    const auto host = Kokkos::create_mirror_view(mask);
    for (std::size_t t = 0; t < options.mask.size(); ++t)
      host(t) = options.mask[t];
    Kokkos::deep_copy(mask, host);
  }
  return {.mask         = mask,
          .soft_cap     = options.soft_cap,
          .score        = static_cast<Tokkos::Score>(options.score),
          .bias         = floats(options.bias),
          .groups       = options.groups,
          .kept_groups  = options.kept_groups,
          .group_score  = static_cast<Tokkos::GroupScore>(options.group_score),
          .normalize    = options.normalize,
          .floor        = options.floor,
          .epsilon      = options.epsilon,
          .scale        = options.scale,
          .expert_scale = floats(options.expert_scale),
          .num_shared_experts = options.num_shared_experts,
          .shared_weight      = options.shared_weight};
}

/// Ids exactly, weights to rounding. Tokens that the reference cannot decide
/// within rounding are passed over.
/// \returns the number of these
template <class Real, class Id, class Weight>
std::size_t expectRouted(const Reference::Routing& expected,
                         const std::vector<Id>& ids,
                         const std::vector<Weight>& weights, int num_experts,
                         const Reference::RouterOptions& options) {
  const std::size_t num_tokens = expected.margins.size();
  const std::size_t width =
      num_tokens == 0 ? 1 : expected.ids.size() / num_tokens;
  const int top_k = static_cast<int>(width) - options.num_shared_experts;
  // A handful of roundings, and one for each term of the partial sums. A cap
  // or a difference of exponents can double what a rounding of x means.
  const double unit =
      std::is_same_v<Real, double> && std::is_same_v<Weight, double> ? 0x1p-53
                                                                     : 0x1p-24;
  const double bound =
      unit * (32 + num_experts / 32 + 2 * top_k + 16 * options.soft_cap);
  const double least_margin = 2e-6 + 16 * options.soft_cap * 0x1p-24;
  // Beyond the largest number both are infinite, or rounding keeps them there.
  const auto bounded = [](double x) {
    const double largest = std::numeric_limits<Real>::max();
    return std::clamp(x, -largest, largest);
  };
  std::size_t num_wrong = 0, num_passed_over = 0;
  for (std::size_t t = 0; t < num_tokens; ++t) {
    if (expected.margins[t] < least_margin) {
      ++num_passed_over;
      continue;
    }
    // A divisor of which rounding may leave no digit says nothing.
    const bool is_known = bound * expected.conditions[t] < 0.5;
    for (std::size_t i = t * width; i < (t + 1) * width; ++i) {
      const double w       = expected.weights[i];
      const bool is_shared = i % width >= static_cast<std::size_t>(top_k);
      // Below the smallest normal number a weight has fewer digits.
      const double error =
          bound * expected.conditions[t] * std::abs(bounded(w)) +
          2e-37 * expected.growths[t];
      const bool right =
          expected.ids[i] == static_cast<int>(ids[i]) &&
          (weights[i] == static_cast<Weight>(static_cast<Real>(w)) ||
           (std::isnan(weights[i]) && std::isnan(w)) ||
           (!is_known && !is_shared) ||
           std::abs(bounded(weights[i]) - bounded(w)) <= error);
      if (!right && num_wrong++ == 0)
        ADD_FAILURE() << "token " << t << ", place " << i % width
                      << ": expected " << expected.ids[i] << " with " << w
                      << ", got " << ids[i] << " with " << weights[i]
                      << " (condition " << expected.conditions[t] << ")";
    }
  }
  EXPECT_EQ(0u, num_wrong);
  return num_passed_over;
}

}  // namespace Test

#endif
