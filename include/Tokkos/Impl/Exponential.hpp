// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// SPDX-FileCopyrightText: Copyright Contributors to the Tokkos project

#ifndef TOKKOS_IMPL_EXPONENTIAL_HPP
#define TOKKOS_IMPL_EXPONENTIAL_HPP

#include <Tokkos/KokkosExt/Rounding.hpp>

#include <Kokkos_Core.hpp>

#include <cstdint>

/// The exponential and its kin, with the same bits on every backend: the C++
/// library's functions and CUDA's differ from each other. Every operation here
/// rounds, and none is a branch that would keep a compiler from vectorising.
/// T is float or double; errors are in units in the last place.
namespace Tokkos::Impl {

/// ln 2 is split so that n * ln2_high and n * ln2_low are exact for every n
/// that occurs (Cody and Waite, Software Manual for the Elementary Functions,
/// 1980). Adding and subtracting `rounder` leaves the nearest integer n, and in
/// between n + exponent_bias stands in the lowest bits.
template <class T>
struct ExponentialTraits;

template <>
struct ExponentialTraits<float> {
  using Bits = std::uint32_t;

  static constexpr int degree        = 6;
  static constexpr int log_terms     = 8;
  static constexpr int mantissa_bits = 23;
  static constexpr int exponent_bias = 127;
  static constexpr float lowest      = -88.0f;  // here 2^n has become 0
  static constexpr float log2_e      = 1.44269504f;
  static constexpr float ln2_high    = 6.9313812256e-01f;
  static constexpr float ln2_low     = 9.058043360710144e-06f;
  static constexpr float rounder     = 12582912.0f + 127;  // 1.5 * 2^23

  /// Minimax on [-ln 2 / 2, ln 2 / 2], off by 2^-28.
  KOKKOS_FUNCTION static constexpr float coefficient(int n) {
    return n <= 1   ? 1.0f
           : n == 2 ? 0.4999999403953552f
           : n == 3 ? 0.1666652113199234f
           : n == 4 ? 0.04166838899254799f
           : n == 5 ? 0.008368716575205326f
                    : 0.001381459878757596f;
  }
};

template <>
struct ExponentialTraits<double> {
  using Bits = std::uint64_t;

  static constexpr int degree        = 13;
  static constexpr int log_terms     = 17;
  static constexpr int mantissa_bits = 52;
  static constexpr int exponent_bias = 1023;
  static constexpr double lowest     = -709.2;
  static constexpr double log2_e     = 1.44269504088896338700;
  static constexpr double ln2_high   = 6.93147180369123816490e-01;
  static constexpr double ln2_low    = 1.908214929270822e-10;
  static constexpr double rounder    = 6755399441055744.0 + 1023;

  /// 1 / n!
  KOKKOS_FUNCTION static constexpr double coefficient(int n) {
    double factorial = 1;
    for (int i = 2; i <= n; ++i)
      factorial *= i;
    return 1 / factorial;
  }
};

/// The series of e^r from its term n on, divided by r^n; |r| <= ln 2 / 2.
template <class T, int n>
KOKKOS_FORCEINLINE_FUNCTION T exponentialSeries(T r) {
  constexpr T coefficient = ExponentialTraits<T>::coefficient(n);
  if constexpr (n == ExponentialTraits<T>::degree)
    return coefficient;
  else
    return KokkosExt::add(
        coefficient, KokkosExt::multiply(r, exponentialSeries<T, n + 1>(r)));
}

/// e^x for x up to 88 (double: 709). Off by less than 1.5 units; 0 where the
/// result is below the smallest normal number (from -87.7 or -708.7 down to
/// -infinity), and 0 for NaN.
template <class T>
KOKKOS_FORCEINLINE_FUNCTION T exponential(T x) {
  using Traits       = ExponentialTraits<T>;
  using Bits         = typename Traits::Bits;
  constexpr T lowest = Traits::lowest;
  const T y          = KokkosExt::larger(x, lowest);
  const T shifted =
      KokkosExt::add(KokkosExt::multiply(y, Traits::log2_e), Traits::rounder);
  const T n     = KokkosExt::add(shifted, -Traits::rounder);
  T r           = KokkosExt::addExactProduct(n, -Traits::ln2_high, y);
  r             = KokkosExt::addExactProduct(n, -Traits::ln2_low, r);
  const T power = Kokkos::bit_cast<T>(Kokkos::bit_cast<Bits>(shifted)
                                      << Traits::mantissa_bits);
  return KokkosExt::multiply(exponentialSeries<T, 0>(r), power);
}

/// 2 atanh(s) / s from the term s^(2n) / (2n + 1) on, divided by s^(2n).
template <class T, int n>
KOKKOS_FORCEINLINE_FUNCTION T arctangentSeries(T square) {
  constexpr T coefficient = T(2) / T(2 * n + 1);
  if constexpr (n + 1 == ExponentialTraits<T>::log_terms)
    return coefficient;
  else
    return KokkosExt::add(
        coefficient,
        KokkosExt::multiply(square, arctangentSeries<T, n + 1>(square)));
}

/// ln((1 + s) / (1 - s)) for |s| <= 1/3.
template <class T>
KOKKOS_FORCEINLINE_FUNCTION T logarithmOfRatio(T s) {
  return KokkosExt::multiply(s,
                             arctangentSeries<T, 0>(KokkosExt::multiply(s, s)));
}

/// ln x for a normal number x > 0. Off by less than 3 units, and by less than
/// 3 units of 1 where |x - 1| is small.
template <class T>
KOKKOS_FORCEINLINE_FUNCTION T logarithm(T x) {
  using Traits = ExponentialTraits<T>;
  using Bits   = typename Traits::Bits;
  // x = 2^n m with m in [2/3, 4/3): the bits of 2/3 make the carry.
  constexpr T two_thirds = T(2) / T(3);
  constexpr Bits one     = Bits(Traits::exponent_bias) << Traits::mantissa_bits;
  const Bits bits        = Kokkos::bit_cast<Bits>(x);
  const Bits low         = Kokkos::bit_cast<Bits>(two_thirds);
  const int n = static_cast<int>((bits - low + one) >> Traits::mantissa_bits) -
                Traits::exponent_bias;
  const T m = Kokkos::bit_cast<T>(
      bits - (static_cast<Bits>(n) << Traits::mantissa_bits));
  const T of_m = logarithmOfRatio(
      KokkosExt::divide(KokkosExt::add(m, T(-1)), KokkosExt::add(m, T(1))));
  return KokkosExt::addExactProduct(
      T(n), Traits::ln2_high,
      KokkosExt::addExactProduct(T(n), Traits::ln2_low, of_m));
}

/// 1 / (1 + e^-x). Off by less than 4 units where the result is normal.
template <class T>
KOKKOS_FORCEINLINE_FUNCTION T sigmoid(T x) {
  const T e = exponential(-Kokkos::abs(x));
  return KokkosExt::divide(x < 0 ? e : T(1), KokkosExt::add(T(1), e));
}

/// ln(1 + e^x). Off by less than 6 units where the result is normal.
template <class T>
KOKKOS_FORCEINLINE_FUNCTION T softplus(T x) {
  const T e = exponential(-Kokkos::abs(x));
  const T rest =
      logarithmOfRatio(KokkosExt::divide(e, KokkosExt::add(T(2), e)));
  return KokkosExt::add(x < 0 ? T(0) : x, rest);
}

/// tanh x. Off by less than 6 units.
template <class T>
KOKKOS_FORCEINLINE_FUNCTION T hyperbolicTangent(T x) {
  const T y = x < 0 ? x + x : -(x + x);
  // e^y - 1, where y is small without the difference.
  const T difference = y > T(-0.34)
                           ? KokkosExt::multiply(y, exponentialSeries<T, 1>(y))
                           : KokkosExt::add(exponential(y), T(-1));
  const T size =
      KokkosExt::divide(-difference, KokkosExt::add(T(2), difference));
  return x < 0 ? -size : size;
}

}  // namespace Tokkos::Impl

#endif
