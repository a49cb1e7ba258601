// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// SPDX-FileCopyrightText: Copyright Contributors to the Tokkos project

#ifndef TOKKOS_KOKKOSEXT_LANES_HPP
#define TOKKOS_KOKKOSEXT_LANES_HPP

#include <Kokkos_Core.hpp>

#include <cstdint>
#include <type_traits>

namespace Tokkos::KokkosExt {

/// The most lanes that can ask each other: a warp's with CUDA. Elsewhere a
/// thread is alone, and code that asks `n` lanes with n = 1 is right there.
template <class ExecutionSpace>
inline constexpr int max_lanes_v = 1;

/// `n` neighbouring threads of a team (of vector length 1) that work on one
/// thing: n is a power of two up to max_lanes_v, the threads' ranks in the team
/// run from a multiple of n. `together`: all lanes of a warp call a function
/// together, also where they work on different things; otherwise the n lanes
/// do, which costs more.
template <class ExecutionSpace, int n, bool together = true>
struct Lanes {
  static_assert(n == 1);

  /// The same lanes, where others of their warp go another way.
  using Alone = Lanes<ExecutionSpace, n, false>;

  /// The value of lane `lane ^ distance`; distance < n.
  template <class T>
  KOKKOS_FORCEINLINE_FUNCTION static T exchange(T value, int /*distance*/) {
    return value;
  }

  /// The value of one lane.
  template <class T>
  KOKKOS_FORCEINLINE_FUNCTION static T broadcast(T value, int /*lane*/) {
    return value;
  }

  /// The greatest of the lanes' values.
  template <class T>
  KOKKOS_FORCEINLINE_FUNCTION static T maximum(T value) {
    return value;
  }

  /// The sum of the lanes' values.
  KOKKOS_FORCEINLINE_FUNCTION static int sum(int value) { return value; }

  /// A bit for each lane; `lane` is this one's number.
  KOKKOS_FORCEINLINE_FUNCTION static unsigned ballot(bool value, int /*lane*/) {
    return value ? 1u : 0u;
  }

  /// Makes the lanes' writes to memory visible to each other.
  KOKKOS_FORCEINLINE_FUNCTION static void sync() {}
};

#ifdef KOKKOS_ENABLE_CUDA

template <>
inline constexpr int max_lanes_v<Kokkos::Cuda> = 32;

template <int n, bool together>
struct Lanes<Kokkos::Cuda, n, together> {
  static_assert(n >= 1 && n <= 32 && (n & (n - 1)) == 0);

  using Alone = Lanes<Kokkos::Cuda, n, false>;

  template <class T>
  KOKKOS_FORCEINLINE_FUNCTION static T exchange(T value,
                                                [[maybe_unused]] int distance) {
#ifdef __CUDA_ARCH__
    return __shfl_xor_sync(callers(), value, distance);
#else
    return value;
#endif
  }

  template <class T>
  KOKKOS_FORCEINLINE_FUNCTION static T broadcast(T value,
                                                 [[maybe_unused]] int lane) {
#ifdef __CUDA_ARCH__
    return __shfl_sync(callers(), value, lane, n);
#else
    return value;
#endif
  }

  template <class T>
  KOKKOS_FORCEINLINE_FUNCTION static T maximum(T value) {
#ifdef __CUDA_ARCH__
#if __CUDA_ARCH__ >= 800
    if constexpr (n == 32 && std::is_same_v<T, std::uint32_t>)
      return __reduce_max_sync(0xffffffffu, value);
    else
#endif
#pragma unroll
      for (int distance = n / 2; distance > 0; distance /= 2) {
        const T other = exchange(value, distance);
        value         = other > value ? other : value;
      }
#endif
    return value;
  }

  KOKKOS_FORCEINLINE_FUNCTION static int sum(int value) {
#ifdef __CUDA_ARCH__
#if __CUDA_ARCH__ >= 800
    if constexpr (n == 32)
      return __reduce_add_sync(0xffffffffu, value);
    else
#endif
#pragma unroll
      for (int distance = n / 2; distance > 0; distance /= 2)
        value += exchange(value, distance);
#endif
    return value;
  }

  KOKKOS_FORCEINLINE_FUNCTION static unsigned ballot(
      bool value, [[maybe_unused]] int lane) {
#ifdef __CUDA_ARCH__
    const unsigned all = __ballot_sync(callers(), value);
    if constexpr (n == 32) {
      return all;
    } else {
      return all >> firstLane() & ((1u << n) - 1u);
    }
#else
    return value ? 1u : 0u;
#endif
  }

  KOKKOS_FORCEINLINE_FUNCTION static void sync() {
#ifdef __CUDA_ARCH__
    __syncwarp(callers());
#endif
  }

#ifdef __CUDA_ARCH__
 private:
  KOKKOS_FORCEINLINE_FUNCTION static unsigned firstLane() {
    unsigned lane_of_warp;
    asm("mov.u32 %0, %%laneid;" : "=r"(lane_of_warp));
    return lane_of_warp & (32u - n);
  }

  /// The lanes that call a function together.
  KOKKOS_FORCEINLINE_FUNCTION static unsigned callers() {
    if constexpr (together || n == 32)
      return 0xffffffffu;
    else
      return ((1u << n) - 1u) << firstLane();
  }
#endif
};

#endif

}  // namespace Tokkos::KokkosExt

#endif
