// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// SPDX-FileCopyrightText: Copyright Contributors to the Tokkos project

#ifndef TOKKOS_IMPL_EXPONENTIAL_HPP
#define TOKKOS_IMPL_EXPONENTIAL_HPP

#include <Tokkos/KokkosExt/Rounding.hpp>

#include <Kokkos_Core.hpp>

#include <cstdint>

namespace Tokkos::Impl {

/// What exponential() needs to know of a type. ln2 is split so that n *
/// ln2_high is exact for every n that occurs (Cody and Waite, Software Manual
/// for the Elementary Functions, 1980); adding and subtracting `rounder` leaves
/// the nearest integer.
template <class T>
struct ExponentialTraits;

template <>
struct ExponentialTraits<float> {
  using Bits = std::uint32_t;

  static constexpr int degree        = 7;
  static constexpr int mantissa_bits = 23;
  static constexpr int exponent_bias = 127;
  static constexpr float underflow   = -104.0f;  // below: rounds to 0
  static constexpr float overflow    = 88.8f;    // above: infinity
  static constexpr float log2_e      = 1.44269504f;
  static constexpr float ln2_high    = 6.9313812256e-01f;
  static constexpr float ln2_low     = 9.0580006145e-06f;
  static constexpr float rounder     = 12582912.0f;  // 1.5 * 2^23
};

template <>
struct ExponentialTraits<double> {
  using Bits = std::uint64_t;

  static constexpr int degree        = 13;
  static constexpr int mantissa_bits = 52;
  static constexpr int exponent_bias = 1023;
  static constexpr double underflow  = -746.0;
  static constexpr double overflow   = 709.8;
  static constexpr double log2_e     = 1.44269504088896338700;
  static constexpr double ln2_high   = 6.93147180369123816490e-01;
  static constexpr double ln2_low    = 1.90821492927058770002e-10;
  static constexpr double rounder    = 6755399441055744.0;  // 1.5 * 2^52
};

/// 1 / n!
template <class T>
KOKKOS_FUNCTION constexpr T inverseFactorial(int n) {
  double factorial = 1;
  for (int i = 2; i <= n; ++i)
    factorial *= i;
  return static_cast<T>(1 / factorial);
}

/// 2^n for an n whose power is a normal number.
template <class T>
KOKKOS_FORCEINLINE_FUNCTION T powerOfTwo(int n) {
  using Traits = ExponentialTraits<T>;
  using Bits   = typename Traits::Bits;
  return Kokkos::bit_cast<T>(static_cast<Bits>(n + Traits::exponent_bias)
                             << Traits::mantissa_bits);
}

template <class T, int n>
KOKKOS_FORCEINLINE_FUNCTION T exponentialSeries(T r) {
  // Horner's scheme from 1/degree! down to 1/n!.
  constexpr T coefficient = inverseFactorial<T>(n);
  if constexpr (n == ExponentialTraits<T>::degree)
    return coefficient;
  else
    return KokkosExt::add(
        coefficient, KokkosExt::multiply(r, exponentialSeries<T, n + 1>(r)));
}

/// e^x, with the same bits on every backend; T is float or double. Off by less
/// than 1.5 units in the last place (2 where the result is subnormal);
/// e^-infinity is 0, and NaN gives NaN. The C++ library's exponential and
/// CUDA's differ from each other.
template <class T>
KOKKOS_INLINE_FUNCTION T exponential(T x) {
  using Traits = ExponentialTraits<T>;
  if (x < Traits::underflow) return T(0);
  constexpr T infinity = Kokkos::Experimental::infinity_v<T>;
  if (x > Traits::overflow) return infinity;
  if (x != x) return x;
  const T n = KokkosExt::add(
      KokkosExt::add(KokkosExt::multiply(x, Traits::log2_e), Traits::rounder),
      -Traits::rounder);
  T r = KokkosExt::add(x, -KokkosExt::multiply(n, Traits::ln2_high));
  r   = KokkosExt::add(r, -KokkosExt::multiply(n, Traits::ln2_low));
  // Two factors, because 2^n alone may be subnormal or infinite.
  const int power = static_cast<int>(n);
  const int half  = power / 2;
  return KokkosExt::multiply(
      KokkosExt::multiply(exponentialSeries<T, 0>(r), powerOfTwo<T>(half)),
      powerOfTwo<T>(power - half));
}

}  // namespace Tokkos::Impl

#endif
