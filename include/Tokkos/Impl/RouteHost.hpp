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

/// Routes tokens on a host, a thread two of them, in loops that compilers
/// vectorise. The choices of a token wait for each other: those of two are made
/// in turns.
template <class Data>
struct RouteHost {
  using Real       = typename Data::Real;
  using Tournament = RouterTournament<Real>;

  static constexpr int tokens_of_call = 2;

  /// The longest row that a thread keeps beside the logits.
  static constexpr int max_experts = 8192;

  Data data;

  KOKKOS_FUNCTION void operator()(int call) const {
    KOKKOS_IF_ON_HOST((route(tokens_of_call * call);))
    KOKKOS_IF_ON_DEVICE((static_cast<void>(call);))
  }

 private:
  /// Keys, padded to whole rows of columns with nothing().
  struct alignas(64) Row {
    Real x[max_experts + 128];
  };

  /// A token on its way to its choices.
  struct Candidates {
    int token;
    Row logits, keys;  // without keys: the logits are
    bool has_keys;
    ScoreOfRow<Real> score;
    Tournament tournament;
    Real chosen[max_experts];  // logits of the choices that are not excluded
    int num_eligible;
  };

  void route(int first) const {
    Candidates tokens[tokens_of_call];
    int num_tokens = 0;
    for (int t = first; t < std::min(first + tokens_of_call, data.num_tokens);
         ++t)
      if (data.isMasked(t))
        writeMasked(t);
      else
        prepare(t, tokens[num_tokens++]);
    if (num_tokens == 2)
      for (int k = 0; k < data.top_k; ++k) {
        choose(k, tokens[0]);
        choose(k, tokens[1]);
      }
    else if (num_tokens == 1)
      for (int k = 0; k < data.top_k; ++k)
        choose(k, tokens[0]);
    for (int i = 0; i < num_tokens; ++i)
      write(tokens[i]);
  }

  void writeMasked(int token) const {
    for (int k = 0; k < data.top_k + data.num_shared; ++k)
      data.writeMasked(token, k);
  }

  /// The experts stand in columns of a row that is a multiple of this, which
  /// the sum's tree wants.
  int widthOf() const {
    return data.num_experts <= 32 ? 32 : data.num_experts <= 64 ? 64 : 128;
  }

  void prepare(int token, Candidates& c) const {
    const int width  = widthOf();
    const int padded = (data.num_experts + width - 1) / width * width;
    Real* const x    = c.logits.x;
    c.token          = token;
    c.num_eligible   = 0;
    c.has_keys       = data.keyed_by_score || data.limits_groups;
    load(token, x, padded);
    if (!c.has_keys) {
      c.tournament.start(x, padded);
      // The winner has the largest logit.
      c.score = scoreOfRow(x, padded, width, x[c.tournament.expert()]);
    } else {
      c.score = scoreOfRow(x, padded, width, RouterLoops::maximumOf(x, padded));
      makeKeys(x, c.score, c.keys.x, padded);
      if (data.limits_groups) dropGroups(c.keys.x);
      c.tournament.start(c.keys.x, padded);
    }
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
      x[e] = Tournament::nothing();
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

  /// The next choice.
  void choose(int k, Candidates& c) const {
    const int expert            = c.tournament.expert();
    data.expert_ids(c.token, k) = static_cast<typename Data::Id>(expert);
    if (!c.tournament.isExcluded())
      c.chosen[c.num_eligible++] = c.logits.x[expert];
    c.tournament.take();
  }

  static Real sumOf(const Real* w, int n) {
    Real sum = n == 0 ? Real(0) : w[0];
    for (int k = 1; k < n; ++k)
      sum = KokkosExt::add(sum, w[k]);
    return sum;
  }

  void write(Candidates& c) const {
    using Weight    = typename Data::Weight;
    const int token = c.token;
    const int n     = c.num_eligible;
    Real* const w   = c.chosen;
    weigh(w, n, c.score);
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
      keys[e] = Tournament::nothing();
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
                    Tournament::nothing());
    }
  }
};

}  // namespace Tokkos::Impl

#endif
