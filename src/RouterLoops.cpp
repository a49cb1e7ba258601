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
float maximumOf(const float* x, int n) { return findMaximum(x, n); }
TOKKOS_IMPL_VECTOR_CLONES
double maximumOf(const double* x, int n) { return findMaximum(x, n); }

TOKKOS_IMPL_VECTOR_CLONES
float sumExponentials(const float* x, int n, int width, float maximum) {
  return sumOfExponentials(x, n, width, maximum);
}
TOKKOS_IMPL_VECTOR_CLONES
double sumExponentials(const double* x, int n, int width, double maximum) {
  return sumOfExponentials(x, n, width, maximum);
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
