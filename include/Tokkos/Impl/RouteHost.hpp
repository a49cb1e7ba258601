// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// SPDX-FileCopyrightText: Copyright Contributors to the Tokkos project

#ifndef TOKKOS_IMPL_ROUTEHOST_HPP
#define TOKKOS_IMPL_ROUTEHOST_HPP

#include <Tokkos/Impl/RouterData.hpp>
#include <Tokkos/Impl/RouterGroups.hpp>
#include <Tokkos/Impl/RouterLoops.hpp>
#include <Tokkos/Impl/RouterTournament.hpp>
#include <Tokkos/KokkosExt/Rounding.hpp>

#include <Kokkos_Core.hpp>

#include <algorithm>
#include <cstdint>
#include <type_traits>

namespace Tokkos::Impl {

/// Routes tokens on a host, a thread a token, in loops that compilers
/// vectorise.
template <class Data>
struct RouteHost {
  using Real = typename Data::Real;

  /// The longest row that a thread keeps beside the logits.
  static constexpr int max_experts = 8192;

  Data data;

  KOKKOS_FUNCTION void operator()(int token) const {
    KOKKOS_IF_ON_HOST((route(token);))
    KOKKOS_IF_ON_DEVICE((static_cast<void>(token);))
  }

 private:
  /// Keys, padded to whole rows of columns with nothing().
  struct alignas(64) Row {
    Real x[max_experts + 128];
  };

  /// The experts stand in columns of a row that is a multiple of this, which
  /// the sum's tree wants.
  int widthOf() const {
    return data.num_experts <= 32 ? 32 : data.num_experts <= 64 ? 64 : 128;
  }

  void route(int token) const {
    if (data.isMasked(token)) {
      for (int k = 0; k < data.top_k + data.num_shared; ++k)
        data.writeMasked(token, k);
      return;
    }
    Row logits;
    const int width  = widthOf();
    const int padded = (data.num_experts + width - 1) / width * width;
    load(token, logits.x, padded);
    if (!data.keyed_by_score && !data.limits_groups) {
      RouterTournament<Real> tournament(logits.x, padded);
      // The winner has the largest logit.
      const auto score =
          scoreOfRow(logits.x, padded, width, logits.x[tournament.expert()]);
      choose(token, tournament, logits.x, logits.x, score);
      return;
    }
    const auto score = scoreOfRow(logits.x, padded, width,
                                  RouterLoops::maximumOf(logits.x, padded));
    Row keys;
    makeKeys(logits.x, score, keys.x, padded);
    if (data.limits_groups) dropGroups(keys.x);
    RouterTournament<Real> tournament(keys.x, padded);
    choose(token, tournament, keys.x, logits.x, score);
  }

  ScoreOfRow<Real> scoreOfRow(const Real* logits, int padded, int width,
                              Real maximum) const {
    ScoreOfRow<Real> score;
    if (data.score != Score::softmax) return score;
    score.maximum     = data.capped(maximum);
    score.denominator = sumOfTerms(logits, padded, width, score.maximum);
    return score;
  }

  /// The participating logits; -0 becomes +0.
  void load(int token, Real* x, int padded) const {
    const auto* const row     = &data.logits(token, 0);
    const std::int64_t stride = data.logits.column_stride;
    const int num_experts     = data.num_experts;
    constexpr bool is_real =
        std::is_same_v<std::remove_const_t<typename Data::Logit>, Real>;
    if constexpr (is_real) {
      if (stride == 1) RouterLoops::participate(row, num_experts, x);
    }
    if (!is_real || stride != 1)
      for (int e = 0; e < num_experts; ++e)
        x[e] = participating(static_cast<Real>(row[e * stride])) + Real(0);
    for (int e = num_experts; e < padded; ++e)
      x[e] = RouterTournament<Real>::nothing();
  }

  /// The sum of the terms of a softmax, in the order of RouterRegisters::sum.
  Real sumOfTerms(const Real* x, int padded, int width, Real maximum) const {
    if (data.soft_cap == 0)
      return RouterLoops::sumExponentials(x, padded, width, maximum);
    Real columns[128] = {};
    for (int first = 0; first < padded; first += width)
      for (int i = 0; i < width; ++i)
        columns[i] =
            KokkosExt::add(columns[i], data.term(x[first + i], maximum));
    return RouterLoops::addColumns(columns, width);
  }

  /// Chooses, and leaves the choices' logits in `chosen`. Returns how many of
  /// them are not excluded; these come first. Destroys the keys.
  int select(int token, RouterTournament<Real>& tournament, const Real* x,
             const Real* logits, Real* chosen) const {
    int num_eligible = 0;
    for (int k = 0; k < data.top_k; ++k) {
      const int expert          = tournament.expert();
      data.expert_ids(token, k) = static_cast<typename Data::Id>(expert);
      if (!tournament.isExcluded())
        chosen[num_eligible++] = logits == x ? x[expert] : logits[expert];
      tournament.take();
    }
    return num_eligible;
  }

  static Real sumOf(const Real* w, int n) {
    Real sum = n == 0 ? Real(0) : w[0];
    for (int k = 1; k < n; ++k)
      sum = KokkosExt::add(sum, w[k]);
    return sum;
  }

  void choose(int token, RouterTournament<Real>& tournament, const Real* x,
              const Real* logits, const ScoreOfRow<Real>& score) const {
    using Weight = typename Data::Weight;
    Real w[max_experts];
    const int n = select(token, tournament, x, logits, w);
    weigh(w, n, score);
    if (data.normalize) {
      const Real total = sumOf(w, n);
      for (int k = 0; k < n; ++k)
        w[k] = data.normalized(w[k], total);
    }
    if (data.scale != 1)
      for (int k = 0; k < n; ++k)
        w[k] = KokkosExt::multiply(w[k], data.scale);
    if (data.expert_scale != nullptr)
      for (int k = 0; k < n; ++k)
        w[k] = KokkosExt::multiply(
            w[k],
            static_cast<Real>(data.expert_scale[data.expert_ids(token, k)]));
    for (int k = 0; k < data.top_k; ++k)
      data.weights(token, k) = static_cast<Weight>(k < n ? w[k] : Real(0));
    for (int i = 0; i < data.num_shared; ++i)
      data.writeShared(token, i);
  }

  /// From the logits of the n choices that are not excluded to their weights
  /// before the normalisation.
  void weigh(Real* w, int n, const ScoreOfRow<Real>& score) const {
    if (data.score == Score::softmax && data.soft_cap == 0) {
      for (int k = 0; k < n; ++k)
        w[k] =
            KokkosExt::divide(exponential(KokkosExt::add(w[k], -score.maximum)),
                              score.denominator);
    } else if (data.score == Score::selected_softmax) {
      Real maximum = minusInfinity<Real>();
      for (int k = 0; k < n; ++k)
        maximum = KokkosExt::larger(w[k], maximum);
      maximum = data.capped(maximum);
      for (int k = 0; k < n; ++k)
        w[k] = data.term(w[k], maximum);
      const Real denominator = sumOf(w, n);
      for (int k = 0; k < n; ++k)
        w[k] =
            denominator == 0 ? Real(0) : KokkosExt::divide(w[k], denominator);
    } else {
      for (int k = 0; k < n; ++k)
        w[k] = data.scoreOf(w[k], score);
    }
  }

  void makeKeys(const Real* logits, const ScoreOfRow<Real>& score, Real* keys,
                int padded) const {
    if (data.keyed_by_score && data.soft_cap == 0)
      RouterLoops::makeKeys(data.score, logits, data.num_experts, score.maximum,
                            score.denominator, data.bias, keys);
    else if (data.keyed_by_score)
      data.withScore(score, [&](const auto& score_of) {
        for (int e = 0; e < data.num_experts; ++e)
          keys[e] = data.keyOfScore(logits[e], score_of(logits[e]), e);
      });
    else
      std::copy_n(logits, data.num_experts, keys);
    for (int e = data.num_experts; e < padded; ++e)
      keys[e] = RouterTournament<Real>::nothing();
  }

  void dropGroups(Real* keys) const {
    Real scores[max_router_groups];
    for (int g = 0; g < data.num_groups; ++g) {
      const Real* const group = keys + g * data.group_size;
      scores[g] = sumOfBest<Real>(data.best_of_group, data.group_size,
                                  [group](int i) { return group[i]; });
    }
    for (int g = 0; g < data.num_groups; ++g) {
      int better = 0;
      for (int other = 0; other < data.num_groups; ++other)
        better += scores[other] > scores[g] ||
                  (scores[other] == scores[g] && other < g);
      if (better >= data.kept_groups)
        std::fill_n(keys + g * data.group_size, data.group_size,
                    RouterTournament<Real>::nothing());
    }
  }
};

}  // namespace Tokkos::Impl

#endif
