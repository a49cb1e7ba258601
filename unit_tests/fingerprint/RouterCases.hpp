// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// SPDX-FileCopyrightText: Copyright Contributors to the Tokkos project

#ifndef TOKKOS_FINGERPRINT_ROUTERCASES_HPP
#define TOKKOS_FINGERPRINT_ROUTERCASES_HPP

#include "Fingerprint.hpp"
#include "PlanCases.hpp"

#include <Tokkos/Gradients.hpp>
#include <Tokkos/LoadBalance.hpp>
#include <Tokkos/Router.hpp>

#include <cmath>
#include <cstdint>
#include <limits>
#include <string>
#include <vector>

namespace Fingerprint {

/// Logits with ties, zeros of both signs, infinities and NaN.
template <class Logits>
void fillLogits(const Logits& logits, Numbers& numbers) {
  using Logit              = typename Logits::value_type;
  constexpr float infinity = std::numeric_limits<float>::infinity();
  fill(logits, [&]() -> Logit {
    if (numbers.oneIn(100))
      return static_cast<Logit>(std::numeric_limits<float>::quiet_NaN());
    if (numbers.oneIn(100))
      return static_cast<Logit>(numbers.oneIn(2) ? infinity : -infinity);
    if (numbers.oneIn(30)) return static_cast<Logit>(-0.0f);
    if (numbers.oneIn(3))
      return static_cast<Logit>(static_cast<float>(numbers.below(8)));
    return static_cast<Logit>(static_cast<float>(numbers.real()));
  });
}

/// The options of a router, in numbers: groups and Views by the shape.
struct RouterVariant {
  const char* name;
  Tokkos::Score score            = Tokkos::Score::softmax;
  bool bias                      = false;
  int groups                     = 1;
  int kept_groups                = 0;
  Tokkos::GroupScore group_score = Tokkos::GroupScore::maximum;
  bool normalize                 = false;
  double floor                   = 0;
  double epsilon                 = 0;
  double soft_cap                = 0;
  double scale                   = 1;
  bool mask                      = false;
  bool expert_scale              = false;
  int num_shared_experts         = 0;
};

using Tokkos::GroupScore;
using Tokkos::Score;
inline constexpr RouterVariant router_variants[] = {
    {.name = "softmax"},
    {.name = "softmax_normalized", .normalize = true},
    {.name = "selected_softmax", .score = Score::selected_softmax},
    {.name = "sigmoid", .score = Score::sigmoid, .normalize = true},
    {.name = "sqrt_softplus", .score = Score::sqrt_softplus},
    {.name = "identity", .score = Score::identity},
    {.name = "bias", .score = Score::sigmoid, .bias = true},
    {.name        = "groups",
     .groups      = 8,
     .kept_groups = 4,
     .normalize   = true,
     .scale       = 16},
    {.name        = "sigmoid_bias_groups_best_two",
     .score       = Score::sigmoid,
     .bias        = true,
     .groups      = 8,
     .kept_groups = 4,
     .group_score = GroupScore::sum_of_best_two,
     .normalize   = true,
     .epsilon     = 1e-20,
     .scale       = 2.5},
    {.name        = "groups_sum_of_best",
     .groups      = 4,
     .kept_groups = 2,
     .group_score = GroupScore::sum_of_best},
    {.name      = "soft_cap_floor",
     .normalize = true,
     .floor     = 1e-3,
     .soft_cap  = 30},
    {.name               = "mask_scale_shared",
     .score              = Score::sqrt_softplus,
     .bias               = true,
     .normalize          = true,
     .mask               = true,
     .expert_scale       = true,
     .num_shared_experts = 2},
};

template <class Space>
auto makeRouterOptions(const RouterVariant& v, const Shape& shape,
                       Numbers& numbers) {
  Tokkos::RouterOptions<typename Space::memory_space> options{
      .soft_cap           = v.soft_cap,
      .score              = v.score,
      .groups             = v.groups,
      .kept_groups        = v.kept_groups,
      .group_score        = v.group_score,
      .normalize          = v.normalize,
      .floor              = v.floor,
      .epsilon            = v.epsilon,
      .scale              = v.scale,
      .num_shared_experts = v.num_shared_experts};
  const auto reals = [&] {
    const Array<float, Space> values("values", shape.num_experts);
    fill(values, [&] { return static_cast<float>(numbers.real() / 4); });
    return values;
  };
  if (v.bias) options.bias = reals();
  if (v.expert_scale) options.expert_scale = reals();
  if (v.mask) {
    const Array<bool, Space> mask("mask", shape.num_tokens);
    fill(mask, [&] { return !numbers.oneIn(5); });
    options.mask = mask;
  }
  return options;
}

/// Whether enough experts are left to choose from.
inline bool fits(const RouterVariant& variant, const Shape& shape) {
  return variant.kept_groups == 0 ||
         shape.top_k * variant.groups <=
             variant.kept_groups * shape.num_experts;
}

template <class Logit, class Id, class Weight,
          class Layout = Kokkos::LayoutRight, class Space>
void routeCase(const Setting<Space>& setting, const std::string& types,
               const RouterVariant& variant, const Shape& shape) {
  if (!fits(variant, shape)) return;
  setting.run(
      "routeTopK/" + types + variant.name + '/' + shape.name(),
      [&](Numbers& numbers, Hash& hash) {
        const auto options = makeRouterOptions<Space>(variant, shape, numbers);
        const int columns  = shape.top_k + variant.num_shared_experts;
        const Matrix<Logit, Space, Layout> logits("logits", shape.num_tokens,
                                                  shape.num_experts);
        const Matrix<Id, Space> ids("ids", shape.num_tokens, columns);
        const Matrix<Weight, Space> weights("weights", shape.num_tokens,
                                            columns);
        fillLogits(logits, numbers);
        setting.launch(
            [&] {
              poison(ids);
              poison(weights);
            },
            [&] {
              Tokkos::routeTopK(setting.space, logits, ids, weights, options);
            });
        hash.add(toVector(ids));
        hash.add(toVector(weights));
      });
}

/// The payload of a NaN is the processor's affair.
template <class Real>
std::vector<Real> withOneNaN(std::vector<Real> values) {
  for (Real& x : values)
    if (std::isnan(static_cast<double>(x)))
      x = static_cast<Real>(std::numeric_limits<float>::quiet_NaN());
  return values;
}

template <class Logit, class Id, class Weight, class Gradient, class Space>
void routeGradientCase(const Setting<Space>& setting, const std::string& types,
                       const RouterVariant& variant, const Shape& shape) {
  if (!fits(variant, shape)) return;
  setting.run(
      "routeTopKGradient/" + types + variant.name + '/' + shape.name(),
      [&](Numbers& numbers, Hash& hash) {
        const auto options = makeRouterOptions<Space>(variant, shape, numbers);
        const int columns  = shape.top_k + variant.num_shared_experts;
        const Matrix<Logit, Space> logits("logits", shape.num_tokens,
                                          shape.num_experts);
        const Matrix<Id, Space> ids("ids", shape.num_tokens, columns);
        const Matrix<Weight, Space> weights("weights", shape.num_tokens,
                                            columns),
            weights_gradient("weights_gradient", shape.num_tokens, columns);
        const Matrix<Gradient, Space> gradient("gradient", shape.num_tokens,
                                               shape.num_experts);
        fillLogits(logits, numbers);
        fillWeights(weights_gradient, numbers, false);
        setting.launch(
            [&] {
              poison(ids);
              poison(gradient);
            },
            [&] {
              Tokkos::routeTopK(setting.space, logits, ids, weights, options);
              Tokkos::routeTopKGradient(setting.space, logits, ids,
                                        weights_gradient, gradient, options);
            });
        hash.add(withOneNaN(toVector(gradient)));
      });
}

template <class Logit, class Gradient, class Space>
void loadBalanceCase(const Setting<Space>& setting, const std::string& kind,
                     const Shape& shape, bool masked = false) {
  setting.run("loadBalance/" + kind + shape.name(), [&](Numbers& numbers,
                                                        Hash& hash) {
    const Matrix<Logit, Space> logits("logits", shape.num_tokens,
                                      shape.num_experts);
    const Matrix<Gradient, Space> gradient("gradient", shape.num_tokens,
                                           shape.num_experts);
    const Matrix<int, Space> ids("ids", shape.num_tokens, shape.top_k);
    const Array<float, Space> bias("bias", shape.num_experts);
    Array<bool, Space> mask;
    if (masked) mask = Array<bool, Space>("mask", shape.num_tokens);
    fillLogits(logits, numbers);
    fillIds(ids, shape.num_experts, true, numbers);
    fill(mask, [&] { return !numbers.oneIn(5); });
    Tokkos::LoadBalance<typename Space::memory_space> balance(
        setting.space, shape.num_tokens, shape.num_experts);
    setting.launch(
        [&] {
          poison(gradient);
          Kokkos::deep_copy(bias, 0);
        },
        [&] {
          Tokkos::updateLoadBalance(setting.space, balance, logits, ids, mask);
          Tokkos::loadBalanceGradient(
              setting.space, balance, logits,
              {.load_balancing = 0.01, .z = 0.001, .importance = 0.5},
              gradient);
          Tokkos::updateRouterBias(setting.space, balance.counts, 0.001, bias);
        });
    const auto results = Kokkos::create_mirror_view_and_copy(
        Kokkos::HostSpace(), balance.results);
    static_assert(sizeof(Tokkos::LoadBalanceResults) == 8 * sizeof(double),
                  "padding has no place in a hash");
    hash.add(std::vector<Tokkos::LoadBalanceResults>{results()});
    hash.add(toVector(balance.counts));
    hash.add(toVector(balance.fractions));
    hash.add(toVector(balance.importance));
    hash.add(toVector(gradient));
    hash.add(toVector(bias));
  });
}

template <class Space>
void runRouterCases(const Setting<Space>& setting) {
  // Every way in which the router spreads a token over threads.
  for (const Shape shape :
       {Shape{0, 2, 8}, Shape{1, 2, 8}, Shape{1, 8, 256}, Shape{100, 2, 8},
        Shape{700, 6, 64}, Shape{513, 8, 128}, Shape{4096, 8, 256},
        Shape{300, 8, 384}, Shape{65, 16, 1024}, Shape{33, 32, 512},
        Shape{9, 400, 480}, Shape{7, 4, 12000}})
    for (const RouterVariant& variant : router_variants)
      routeCase<float, int, float>(setting, "", variant, shape);

  // Every way in which its gradient does.
  for (const Shape shape :
       {Shape{0, 2, 8}, Shape{1, 8, 256}, Shape{100, 2, 8}, Shape{700, 6, 64},
        Shape{513, 8, 128}, Shape{33, 32, 512}, Shape{65, 16, 1024},
        Shape{9, 400, 480}})
    for (const RouterVariant& variant : router_variants)
      routeGradientCase<float, int, float, float>(setting, "", variant, shape);

  const Shape shape{200, 8, 96};
  for (const RouterVariant& variant : router_variants) {
    routeCase<double, std::int64_t, double>(setting, "double/", variant, shape);
    routeCase<float, std::int64_t, double, Kokkos::LayoutLeft>(setting, "left/",
                                                               variant, shape);
    routeGradientCase<double, std::int64_t, double, double>(setting, "double/",
                                                            variant, shape);
    if constexpr (has_half) {
      routeCase<half_t, int, float>(setting, "half/", variant, shape);
      routeCase<bhalf_t, int, float>(setting, "bhalf/", variant, shape);
      routeGradientCase<bhalf_t, int, float, bhalf_t>(setting, "bhalf/",
                                                      variant, shape);
    }
  }
  for (const Shape s : {Shape{0, 2, 8}, Shape{1, 1, 1}, Shape{1000, 6, 64},
                        Shape{3000, 8, 257}}) {
    loadBalanceCase<float, float>(setting, "", s);
    loadBalanceCase<float, float>(setting, "mask/", s, true);
    loadBalanceCase<double, double>(setting, "double/", s);
    if constexpr (has_half)
      loadBalanceCase<bhalf_t, half_t>(setting, "bhalf/", s);
  }
}

}  // namespace Fingerprint

#endif
