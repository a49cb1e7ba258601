// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// SPDX-FileCopyrightText: Copyright Contributors to the Tokkos project

#ifndef TOKKOS_KOKKOSEXT_APPROXIMATION_HPP
#define TOKKOS_KOKKOSEXT_APPROXIMATION_HPP

#include <Kokkos_Core.hpp>

#include <cmath>

/// Functions that a device has an instruction for, close to the true value and
/// no more than that: results differ from backend to backend. For decisions
/// that are repeated exactly where they are close.
namespace Tokkos::KokkosExt {

/// 2^x off by less than 2^-22 of it, or 0 below 2^-126.
KOKKOS_FORCEINLINE_FUNCTION float approximatePowerOfTwo(float x) {
#ifdef __CUDA_ARCH__
  float y;
  asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
  return y;
#else
  return std::exp2(x);
#endif
}

/// 1 / x off by less than 2^-23 of it, or 0 below 2^-126; 0 for infinity.
KOKKOS_FORCEINLINE_FUNCTION float approximateReciprocal(float x) {
#ifdef __CUDA_ARCH__
  float y;
  asm("rcp.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
  return y;
#else
  return 1 / x;
#endif
}

}  // namespace Tokkos::KokkosExt

#endif
