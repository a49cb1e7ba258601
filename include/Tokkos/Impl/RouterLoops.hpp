// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// SPDX-FileCopyrightText: Copyright Contributors to the Tokkos project

#ifndef TOKKOS_IMPL_ROUTERLOOPS_HPP
#define TOKKOS_IMPL_ROUTERLOOPS_HPP

#include <Tokkos/KokkosExt/Rounding.hpp>
#include <Tokkos/RouterOptions.hpp>

#include <Kokkos_Core.hpp>

/// The loops over experts that a router on a host spends its time in. They are
/// compiled in the library, for several widths of vectors.
namespace Tokkos::Impl::RouterLoops {

/// x[e] = participating(logits[e]), and +0 for -0.
void participate(const float* logits, int n, float* x);
void participate(const double* logits, int n, double* x);

/// The largest of x[0], ..., x[n - 1] and -infinity; n: a multiple of 32.
float maximumOf(const float* x, int n);
double maximumOf(const double* x, int n);

/// The sum of e^(x[i] - maximum) in the order of RouterRegisters::sum. n: a
/// multiple of width, which is 32, 64 or, for more than that, 128.
float sumExponentials(const float* x, int n, int width, float maximum);
double sumExponentials(const double* x, int n, int width, double maximum);

/// keys[e] = the participating sum of the score of x[e] and bias[e], without a
/// soft cap; bias may be null. A softmax has this maximum and denominator.
void makeKeys(Score score, const float* x, int n, float maximum,
              float denominator, const float* bias, float* keys);
void makeKeys(Score score, const double* x, int n, double maximum,
              double denominator, const float* bias, double* keys);

/// Of 32 columns, number c with x[c], x[c + 32], ..., the largest number and
/// its first place; NaN only where there is nothing else. size: a multiple
/// of 32.
void findBestOfColumns(const float* x, int size, float* best, int* place);
void findBestOfColumns(const double* x, int size, double* best, int* place);

/// The end of such a sum: of the sums of `width` columns.
template <class Real>
KOKKOS_FORCEINLINE_FUNCTION Real addColumns(const Real* columns, int width) {
  Real sums[32];
  for (int p = 0; p < width / 4; ++p)
    sums[p] =
        KokkosExt::add(KokkosExt::add(columns[4 * p], columns[4 * p + 1]),
                       KokkosExt::add(columns[4 * p + 2], columns[4 * p + 3]));
  for (int half = width / 8; half > 0; half /= 2)
    for (int p = 0; p < half; ++p)
      sums[p] = KokkosExt::add(sums[p], sums[p + half]);
  return sums[0];
}

}  // namespace Tokkos::Impl::RouterLoops

#endif
