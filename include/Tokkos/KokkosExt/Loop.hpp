// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// SPDX-FileCopyrightText: Copyright Contributors to the Tokkos project

#ifndef TOKKOS_KOKKOSEXT_LOOP_HPP
#define TOKKOS_KOKKOSEXT_LOOP_HPP

#include <Kokkos_Core.hpp>

#include <utility>

namespace Tokkos::KokkosExt {

/// Calls f for begin, begin + step, ... below end, in a loop that the device
/// compiler leaves rolled. A kernel of a microsecond runs through its code
/// once, so that short code counts for more than unrolled loops.
/// pre-condition: end + step is an int.
template <class F>
KOKKOS_FORCEINLINE_FUNCTION void rolledLoop(int begin, int end, int step,
                                            const F& f) {
#if defined(__CUDA_ARCH__) || defined(__HIP_DEVICE_COMPILE__)
#pragma unroll 1
#endif
  for (int i = begin; i < end; i += step)
    f(i);
}

namespace Impl {
template <class F, int... i>
KOKKOS_FORCEINLINE_FUNCTION void callForEach(
    const F& f, std::integer_sequence<int, i...> /*numbers*/) {
  (f(i), ...);
}
}  // namespace Impl

/// Calls f(0), ..., f(n - 1) without a loop, so that arrays that f indexes with
/// its argument can lie in registers.
template <int n, class F>
KOKKOS_FORCEINLINE_FUNCTION void unrolledLoop(const F& f) {
  Impl::callForEach(f, std::make_integer_sequence<int, n>());
}

}  // namespace Tokkos::KokkosExt

#endif
