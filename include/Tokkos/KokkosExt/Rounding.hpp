// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// SPDX-FileCopyrightText: Copyright Contributors to the Tokkos project

#ifndef TOKKOS_KOKKOSEXT_ROUNDING_HPP
#define TOKKOS_KOKKOSEXT_ROUNDING_HPP

#include <Kokkos_Core.hpp>

#include <cmath>
#include <cstdint>
#include <type_traits>

#if defined(__CUDA_ARCH__) || defined(__HIP_DEVICE_COMPILE__)
#define TOKKOS_IMPL_DEVICE_ROUNDING
#endif

/// Arithmetic that rounds after every operation on every backend.
///
/// Compilers contract a*b + c into a fused multiply-add where the target has
/// one, which rounds once instead of twice: the same source then gives other
/// bits with CUDA than with OpenMP, and other bits with -march=native than
/// without. A product from `multiply` is never contracted.
namespace Tokkos::KokkosExt {

namespace Impl {
// Always zero, but no compiler can know: it lives in the library. XOR with it
// keeps the bits of a product and hides from GCC, which has no pragma against
// contraction in C++, that they are a product. (__builtin_assoc_barrier does
// not stop GCC 12 from contracting; an asm statement would stop it, and
// vectorisation too. This costs one vector operation.)
extern std::uint32_t opaque_zero;
}  // namespace Impl

/// a * b, rounded to nearest even, never fused with what uses it. T is float
/// or double.
template <class T>
KOKKOS_FORCEINLINE_FUNCTION T multiply(T a, T b) {
  static_assert(std::is_same_v<T, float> || std::is_same_v<T, double>);
#if defined(TOKKOS_IMPL_DEVICE_ROUNDING)
  if constexpr (std::is_same_v<T, float>)
    return __fmul_rn(a, b);
  else
    return __dmul_rn(a, b);
#elif defined(__clang__)
  {  // the pragma must begin a block
#pragma clang fp contract(off)
    return a * b;
  }
#elif defined(__x86_64__) && !defined(__FMA__) && !defined(__FMA4__)
  return a * b;  // there is nothing to fuse it into
#else
  using Bits = std::conditional_t<std::is_same_v<T, float>, std::uint32_t,
                                  std::uint64_t>;
  return Kokkos::bit_cast<T>(Kokkos::bit_cast<Bits>(a * b) ^
                             Bits(Impl::opaque_zero));
#endif
}

/// a + b, rounded to nearest even, never fused with the products it adds.
template <class T>
KOKKOS_FORCEINLINE_FUNCTION T add(T a, T b) {
  static_assert(std::is_same_v<T, float> || std::is_same_v<T, double>);
#if defined(TOKKOS_IMPL_DEVICE_ROUNDING)
  if constexpr (std::is_same_v<T, float>)
    return __fadd_rn(a, b);
  else
    return __dadd_rn(a, b);
#elif defined(__clang__)
  {  // the pragma must begin a block
#pragma clang fp contract(off)
    return a + b;
  }
#else
  return a + b;
#endif
}

/// a / b, rounded to nearest even, also where the compiler was told to use a
/// faster division.
template <class T>
KOKKOS_FORCEINLINE_FUNCTION T divide(T a, T b) {
  static_assert(std::is_same_v<T, float> || std::is_same_v<T, double>);
#if defined(TOKKOS_IMPL_DEVICE_ROUNDING)
  if constexpr (std::is_same_v<T, float>)
    return __fdiv_rn(a, b);
  else
    return __ddiv_rn(a, b);
#else
  return a / b;
#endif
}

/// a * b + c for factors whose product needs no rounding: fused or not, the
/// result is the same.
template <class T>
KOKKOS_FORCEINLINE_FUNCTION T addExactProduct(T a, T b, T c) {
  static_assert(std::is_same_v<T, float> || std::is_same_v<T, double>);
#if defined(TOKKOS_IMPL_DEVICE_ROUNDING)
  if constexpr (std::is_same_v<T, float>)
    return __fmaf_rn(a, b, c);
  else
    return __fma_rn(a, b, c);
#else
  return a * b + c;
#endif
}

/// The square root, rounded to nearest even, also where the compiler was told
/// to use a faster one.
template <class T>
KOKKOS_FORCEINLINE_FUNCTION T squareRoot(T x) {
  static_assert(std::is_same_v<T, float> || std::is_same_v<T, double>);
#if defined(TOKKOS_IMPL_DEVICE_ROUNDING)
  if constexpr (std::is_same_v<T, float>)
    return __fsqrt_rn(x);
  else
    return __dsqrt_rn(x);
#else
  return std::sqrt(x);
#endif
}

/// The larger of two numbers; a NaN on the left gives the right one.
template <class T>
KOKKOS_FORCEINLINE_FUNCTION T larger(T a, T b) {
#if defined(TOKKOS_IMPL_DEVICE_ROUNDING)
  return ::fmax(a, b);
#else
  return a > b ? a : b;
#endif
}

/// The smaller of two numbers; a NaN on the left gives the right one.
template <class T>
KOKKOS_FORCEINLINE_FUNCTION T smaller(T a, T b) {
#if defined(TOKKOS_IMPL_DEVICE_ROUNDING)
  return ::fmin(a, b);
#else
  return a < b ? a : b;
#endif
}

}  // namespace Tokkos::KokkosExt

#undef TOKKOS_IMPL_DEVICE_ROUNDING

#endif
