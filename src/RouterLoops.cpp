// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// SPDX-FileCopyrightText: Copyright Contributors to the Tokkos project

#include <Tokkos/Impl/RouterLoops.hpp>

#include <Tokkos/Impl/Exponential.hpp>
#include <Tokkos/Impl/RouterData.hpp>
#include <Tokkos/KokkosExt/Clones.hpp>

namespace Tokkos::Impl::RouterLoops {

namespace {

template <class Real>
KOKKOS_FORCEINLINE_FUNCTION void participateIn(const Real* logits, int n,
                                               Real* x) {
  for (int e = 0; e < n; ++e)
    x[e] = participating(logits[e]) + Real(0);
}

template <class Real>
KOKKOS_FORCEINLINE_FUNCTION Real findMaximum(const Real* x, int n) {
  constexpr int columns = 32;
  Real maxima[columns];
  for (int c = 0; c < columns; ++c)
    maxima[c] = minusInfinity<Real>();
  for (int e = 0; e < n; e += columns)
    for (int c = 0; c < columns; ++c)
      maxima[c] = KokkosExt::larger(x[e + c], maxima[c]);
  for (int half = columns / 2; half > 0; half /= 2)
    for (int c = 0; c < half; ++c)
      maxima[c] = KokkosExt::larger(maxima[c], maxima[c + half]);
  return maxima[0];
}

template <class Real, int width>
KOKKOS_FORCEINLINE_FUNCTION Real sumOfExponentials(const Real* x, int n,
                                                   Real maximum) {
  alignas(64) Real columns[width] = {};
  for (int first = 0; first < n; first += width)
    for (int i = 0; i < width; ++i)
      columns[i] = KokkosExt::add(
          columns[i], exponential(KokkosExt::add(x[first + i], -maximum)));
  return addColumns(columns, width);
}

template <class Real>
KOKKOS_FORCEINLINE_FUNCTION Real sumOfExponentials(const Real* x, int n,
                                                   int width, Real maximum) {
  if (width == 32) return sumOfExponentials<Real, 32>(x, n, maximum);
  if (width == 64) return sumOfExponentials<Real, 64>(x, n, maximum);
  return sumOfExponentials<Real, 128>(x, n, maximum);
}

template <class Real, class ScoreOf>
KOKKOS_FORCEINLINE_FUNCTION void makeKeysOf(const Real* x, int n,
                                            const float* bias, Real* keys,
                                            const ScoreOf& score_of) {
  // Loops of their own: a choice beside a division would not be vectorised.
  for (int e = 0; e < n; ++e)
    keys[e] = score_of(x[e]);
  if (bias != nullptr)
    for (int e = 0; e < n; ++e)
      keys[e] = KokkosExt::add(keys[e], static_cast<Real>(bias[e]));
  for (int e = 0; e < n; ++e) {
    const Real key = participating(keys[e]);
    keys[e]        = isExcluded(x[e]) ? x[e] : key;
  }
}

template <class Real>
KOKKOS_FORCEINLINE_FUNCTION void makeAnyKeys(Score score, const Real* x, int n,
                                             Real maximum, Real denominator,
                                             const float* bias, Real* keys) {
  switch (score) {
    case Score::softmax:
      makeKeysOf(x, n, bias, keys, [&](Real y) {
        return KokkosExt::divide(exponential(KokkosExt::add(y, -maximum)),
                                 denominator);
      });
      break;
    case Score::sigmoid:
      makeKeysOf(x, n, bias, keys, [](Real y) { return sigmoid(y); });
      break;
    case Score::sqrt_softplus:
      makeKeysOf(x, n, bias, keys,
                 [](Real y) { return KokkosExt::squareRoot(softplus(y)); });
      break;
    default:
      makeKeysOf(x, n, bias, keys,
                 [](Real y) { return KokkosExt::add(y, Real(0)); });
  }
}

template <class Real>
KOKKOS_FORCEINLINE_FUNCTION void findBest(const Real* x, int size, Real* best,
                                          int* place) {
  constexpr int columns = 32;
  for (int c = 0; c < columns; ++c) {
    best[c]  = x[c];
    place[c] = c;
  }
  for (int e = columns; e < size; e += columns)
    for (int c = 0; c < columns; ++c) {
      const bool is_better = x[e + c] > best[c] || best[c] != best[c];
      best[c]              = is_better ? x[e + c] : best[c];
      place[c]             = is_better ? e + c : place[c];
    }
}

}  // namespace

TOKKOS_IMPL_VECTOR_CLONES
void participate(const float* logits, int n, float* x) {
  participateIn(logits, n, x);
}
TOKKOS_IMPL_VECTOR_CLONES
void participate(const double* logits, int n, double* x) {
  participateIn(logits, n, x);
}

TOKKOS_IMPL_VECTOR_CLONES
float maximumOf(const float* x, int n) {
  return findMaximum(x, n);
}
TOKKOS_IMPL_VECTOR_CLONES
double maximumOf(const double* x, int n) {
  return findMaximum(x, n);
}

TOKKOS_IMPL_VECTOR_CLONES
float sumExponentials(const float* x, int n, int width, float maximum) {
  return sumOfExponentials(x, n, width, maximum);
}
TOKKOS_IMPL_VECTOR_CLONES
double sumExponentials(const double* x, int n, int width, double maximum) {
  return sumOfExponentials(x, n, width, maximum);
}

TOKKOS_IMPL_VECTOR_CLONES
void makeKeys(Score score, const float* x, int n, float maximum,
              float denominator, const float* bias, float* keys) {
  makeAnyKeys(score, x, n, maximum, denominator, bias, keys);
}
TOKKOS_IMPL_VECTOR_CLONES
void makeKeys(Score score, const double* x, int n, double maximum,
              double denominator, const float* bias, double* keys) {
  makeAnyKeys(score, x, n, maximum, denominator, bias, keys);
}

TOKKOS_IMPL_VECTOR_CLONES
void findBestOfColumns(const float* x, int size, float* best, int* place) {
  findBest(x, size, best, place);
}
TOKKOS_IMPL_VECTOR_CLONES
void findBestOfColumns(const double* x, int size, double* best, int* place) {
  findBest(x, size, best, place);
}

}  // namespace Tokkos::Impl::RouterLoops
