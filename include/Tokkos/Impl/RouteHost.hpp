// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// SPDX-FileCopyrightText: Copyright Contributors to the Tokkos project

#ifndef TOKKOS_IMPL_ROUTEHOST_HPP
#define TOKKOS_IMPL_ROUTEHOST_HPP

#include <Tokkos/Impl/RouterData.hpp>
#include <Tokkos/Impl/RouterGroups.hpp>
#include <Tokkos/KokkosExt/Rounding.hpp>

#include <Kokkos_Core.hpp>

#include <algorithm>
#include <cstdint>
#include <limits>

namespace Tokkos::Impl {

/// Routes tokens on a host, a thread a token, in loops that compilers
/// vectorise.
///
/// The row is looked at as 32 columns, one expert after the other; a round
/// takes the best of the columns' maxima and looks again at that column alone.
template <class Data>
struct RouteHost {
  using Real = typename Data::Real;

  /// The longest row that a thread keeps beside the logits.
  static constexpr int max_experts = 8192;
  static constexpr int columns     = 32;

  Data data;

  KOKKOS_FUNCTION void operator()(int token) const {
    KOKKOS_IF_ON_HOST((route(token);))
    KOKKOS_IF_ON_DEVICE((static_cast<void>(token);))
  }

 private:
  /// Keys, padded to whole rows of columns. What cannot be chosen is NaN.
  struct alignas(64) Row {
    Real x[max_experts + 128];
  };
  static constexpr Real nan() {
    return std::numeric_limits<Real>::quiet_NaN();
  }

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
    ScoreOfRow<Real> score;
    if (data.score == Score::softmax) {
      const Real maximum = maximumOf(logits.x, padded);
      score.maximum      = data.capped(maximum);
      score.denominator  = sumOfTerms(logits.x, padded, width, score.maximum);
    }
    if (!data.keyed_by_score && !data.limits_groups) {
      choose(token, logits.x, padded, logits.x, score);
      return;
    }
    Row keys;
    makeKeys(logits.x, score, keys.x, padded);
    if (data.limits_groups) dropGroups(keys.x);
    choose(token, keys.x, padded, logits.x, score);
  }

  void load(int token, Real* x, int padded) const {
    const auto* const row     = &data.logits(token, 0);
    const std::int64_t stride = data.logits.column_stride;
    const int num_experts     = data.num_experts;
    if (stride == 1)
      for (int e = 0; e < num_experts; ++e)
        x[e] = participating(static_cast<Real>(row[e]));
    else
      for (int e = 0; e < num_experts; ++e)
        x[e] = participating(static_cast<Real>(row[e * stride]));
    for (int e = num_experts; e < padded; ++e)
      x[e] = nan();
  }

  /// The maxima of the columns; -infinity where a column is empty.
  static void maximaOfColumns(const Real* x, int padded,
                              Real (&maxima)[columns]) {
    for (int c = 0; c < columns; ++c)
      maxima[c] = minusInfinity<Real>();
    for (int e = 0; e < padded; e += columns)
      for (int c = 0; c < columns; ++c)
        maxima[c] = KokkosExt::larger(x[e + c], maxima[c]);
  }

  static Real maximumOf(const Real (&maxima)[columns]) {
    Real m[8];
    for (int i = 0; i < 8; ++i)
      m[i] = KokkosExt::larger(
          KokkosExt::larger(maxima[i], maxima[i + 8]),
          KokkosExt::larger(maxima[i + 16], maxima[i + 24]));
    Real four[4];
    for (int i = 0; i < 4; ++i)
      four[i] = KokkosExt::larger(m[i], m[i + 4]);
    return KokkosExt::larger(KokkosExt::larger(four[0], four[2]),
                             KokkosExt::larger(four[1], four[3]));
  }

  static Real maximumOf(const Real* x, int padded) {
    Real maxima[columns];
    maximaOfColumns(x, padded, maxima);
    return maximumOf(maxima);
  }

  /// The sum of the terms of a softmax, in the order of RouterRegisters::sum.
  Real sumOfTerms(const Real* x, int padded, int width, Real maximum) const {
    alignas(64) Real partial[128] = {};
    for (int first = 0; first < padded; first += width) {
      alignas(64) Real terms[128];
      if (data.soft_cap == 0)
        for (int i = 0; i < width; ++i)
          terms[i] = exponential(KokkosExt::add(x[first + i], -maximum));
      else
        for (int i = 0; i < width; ++i)
          terms[i] = data.term(x[first + i], maximum);
      for (int i = 0; i < width; ++i)
        partial[i] = KokkosExt::add(partial[i], terms[i]);
    }
    Real sums[32];
    for (int p = 0; p < width / 4; ++p)
      sums[p] = KokkosExt::add(
          KokkosExt::add(partial[4 * p], partial[4 * p + 1]),
          KokkosExt::add(partial[4 * p + 2], partial[4 * p + 3]));
    for (int half = width / 8; half > 0; half /= 2)
      for (int p = 0; p < half; ++p)
        sums[p] = KokkosExt::add(sums[p], sums[p + half]);
    return sums[0];
  }

  /// The expert with the key m, the maximum of all, that has the lowest id.
  static int expertWith(Real m, const Real* x, int padded,
                        const Real (&maxima)[columns]) {
    int num_columns = 0;
    for (int c = 0; c < columns; ++c)
      num_columns += maxima[c] == m ? 1 : 0;
    int found = padded;
    for (int c = 0; num_columns > 0; ++c) {
      if (maxima[c] != m) continue;
      --num_columns;
      int e = c;
      while (x[e] != m)
        e += columns;
      found = std::min(found, e);
    }
    return found;
  }

  /// Chooses, and leaves the choices' logits in `chosen`. Returns how many of
  /// them are not excluded; these come first. Taken keys become NaN.
  int select(int token, Real* x, int padded, const Real* logits,
             Real* chosen) const {
    using Id = typename Data::Id;
    Real maxima[columns];
    maximaOfColumns(x, padded, maxima);
    int k = 0;
    for (; k < data.top_k; ++k) {
      const Real m = maximumOf(maxima);
      if (isExcluded(m)) break;
      const int expert          = expertWith(m, x, padded, maxima);
      chosen[k]                 = logits == x ? m : logits[expert];
      data.expert_ids(token, k) = static_cast<Id>(expert);
      x[expert]                 = nan();
      Real rest                 = minusInfinity<Real>();
      for (int e = expert % columns; e < padded; e += columns)
        rest = KokkosExt::larger(x[e], rest);
      maxima[expert % columns] = rest;
    }
    const int num_eligible = k;
    for (int e = 0; k < data.top_k; ++e)
      if (x[e] == minusInfinity<Real>())
        data.expert_ids(token, k++) = static_cast<Id>(e);
    return num_eligible;
  }

  static Real sumOf(const Real* w, int n) {
    Real sum = n == 0 ? Real(0) : w[0];
    for (int k = 1; k < n; ++k)
      sum = KokkosExt::add(sum, w[k]);
    return sum;
  }

  void choose(int token, Real* x, int padded, const Real* logits,
              const ScoreOfRow<Real>& score) const {
    using Weight = typename Data::Weight;
    Real w[max_experts];
    const int n = select(token, x, padded, logits, w);
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
            w[k], static_cast<Real>(
                      data.expert_scale[data.expert_ids(token, k)]));
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
        w[k] = KokkosExt::divide(
            exponential(KokkosExt::add(w[k], -score.maximum)),
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
        w[k] = denominator == 0 ? Real(0)
                                : KokkosExt::divide(w[k], denominator);
    } else {
      for (int k = 0; k < n; ++k)
        w[k] = data.scoreOf(w[k], score);
    }
  }

  void makeKeys(const Real* logits, const ScoreOfRow<Real>& score, Real* keys,
                int padded) const {
    if (data.keyed_by_score)
      data.withScore(score, [&](const auto& score_of) {
        for (int e = 0; e < data.num_experts; ++e)
          keys[e] = data.keyOfScore(logits[e], score_of(logits[e]), e);
      });
    else
      std::copy_n(logits, data.num_experts, keys);
    for (int e = data.num_experts; e < padded; ++e)
      keys[e] = nan();
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
        std::fill_n(keys + g * data.group_size, data.group_size, nan());
    }
  }
};

}  // namespace Tokkos::Impl

#endif
