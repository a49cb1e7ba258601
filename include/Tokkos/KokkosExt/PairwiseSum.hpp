// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// SPDX-FileCopyrightText: Copyright Contributors to the Tokkos project

#ifndef TOKKOS_KOKKOSEXT_PAIRWISESUM_HPP
#define TOKKOS_KOKKOSEXT_PAIRWISESUM_HPP

#include <Tokkos/KokkosExt/Rounding.hpp>

#include <Kokkos_Core.hpp>

namespace Tokkos::KokkosExt {

/// Sums in one order whatever the machine: neighbours first, then the sums of
/// pairs, and so on. All lanes of a subgroup call it with a value each and get
/// the sum of all.
template <class ExecutionSpace>
struct PairwiseSum {
  template <class Real>
  KOKKOS_FUNCTION static Real ofLanes(Real value) {
    return value;  // a subgroup of one thread
  }
};

#ifdef KOKKOS_ENABLE_CUDA
template <>
struct PairwiseSum<Kokkos::Cuda> {
  template <class Real>
  KOKKOS_FUNCTION static Real ofLanes(Real value) {
#ifdef __CUDA_ARCH__
    for (int distance = 1; distance < 32; distance *= 2)
      value = add(value, __shfl_xor_sync(0xffffffffu, value, distance));
#endif
    return value;
  }
};
#endif

/// The same of the `length` values of an array, a power of two. Overwrites it.
template <class Real>
KOKKOS_FUNCTION Real pairwiseSum(Real* values, int length) {
  for (; length > 1; length /= 2)
    for (int i = 0; i < length / 2; ++i)
      values[i] = add(values[2 * i], values[2 * i + 1]);
  return values[0];
}

}  // namespace Tokkos::KokkosExt

#endif
