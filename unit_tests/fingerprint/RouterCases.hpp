// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// SPDX-FileCopyrightText: Copyright Contributors to the Tokkos project

#ifndef TOKKOS_FINGERPRINT_ROUTERCASES_HPP
#define TOKKOS_FINGERPRINT_ROUTERCASES_HPP

#include "Fingerprint.hpp"
#include "PlanCases.hpp"

#include <Tokkos/KokkosExt/Types.hpp>
#include <Tokkos/Router.hpp>

#include <limits>
#include <string>

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

template <class Logit, class Id, class Weight, class Space>
void routeCase(const Setting<Space>& setting, const std::string& kind,
               const Shape& shape, const Tokkos::RouterOptions& options) {
  setting.run("routeTopK/" + kind + '/' + shape.name(), [&](Numbers& numbers,
                                                            Hash& hash) {
    const Matrix<Logit, Space> logits("logits", shape.num_tokens,
                                      shape.num_experts);
    const Matrix<Id, Space> ids("ids", shape.num_tokens, shape.top_k);
    const Matrix<Weight, Space> weights("weights", shape.num_tokens,
                                        shape.top_k);
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

template <class Space>
void runRouterCases(const Setting<Space>& setting) {
  routeCase<float, int, float>(setting, "softmax", {1000, 6, 64}, {});
}

}  // namespace Fingerprint

#endif
