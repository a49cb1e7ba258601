// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// SPDX-FileCopyrightText: Copyright Contributors to the Tokkos project

#ifndef TOKKOS_KOKKOSEXT_SUBGROUP_HPP
#define TOKKOS_KOKKOSEXT_SUBGROUP_HPP

#include <Kokkos_Core.hpp>

namespace Tokkos::KokkosExt {

/// The threads of a team (of vector length 1) that run in lockstep and can ask
/// each other: a warp with CUDA. Elsewhere a subgroup is one thread, which
/// needs no question: the code that uses it is right with any number of lanes.
///
/// All lanes of a subgroup must call a function together.
template <class ExecutionSpace>
struct Subgroup {
  static constexpr int lanes = 1;

  /// A set of lanes.
  using Lanes = unsigned;
  KOKKOS_FUNCTION static int count(Lanes lanes_) {
    return static_cast<int>(lanes_);
  }
  KOKKOS_FUNCTION static int countBefore(Lanes /*lanes*/, int /*lane*/) {
    return 0;
  }

  /// The lanes in which the condition holds.
  KOKKOS_FUNCTION static Lanes ballot(bool condition) { return condition; }

  /// For each of N keys the lanes that hold the same, of which the lowest
  /// `bits` bits count.
  template <int N>
  KOKKOS_FUNCTION static void findEqual(const int (&)[N], int /*bits*/,
                                        Lanes (&equal)[N]) {
    for (int i = 0; i < N; ++i)
      equal[i] = 1u;
  }

  /// The sum of the values of the lanes up to and including this one.
  KOKKOS_FUNCTION static int inclusiveSum(int /*lane*/, int value) {
    return value;
  }

  /// The value of another lane.
  KOKKOS_FUNCTION static int fromLane(int value, int /*lane*/) { return value; }

  /// Makes the lanes' writes to memory visible to each other.
  KOKKOS_FUNCTION static void sync() {}
};

#ifdef KOKKOS_ENABLE_CUDA
template <>
struct Subgroup<Kokkos::Cuda> {
  static constexpr int lanes = 32;

  using Lanes = unsigned;
  KOKKOS_FUNCTION static int count(Lanes set) {
    return Kokkos::Experimental::popcount_builtin(set);
  }
  KOKKOS_FUNCTION static int countBefore(Lanes set, int lane) {
    return count(set & ((1u << lane) - 1u));
  }

  KOKKOS_FUNCTION static Lanes ballot(bool condition) {
    KOKKOS_IF_ON_DEVICE((return __ballot_sync(0xffffffffu, condition);))
    KOKKOS_IF_ON_HOST((return condition;))
  }

  // A ballot for every bit: the time of __match_any_sync grows with the number
  // of different keys, and keys are mostly different. All keys take a step
  // together, so that the ballots of one wait for those of none.
  template <int N>
  KOKKOS_FUNCTION static void findEqual([[maybe_unused]] const int (&key)[N],
                                        [[maybe_unused]] int bits,
                                        Lanes (&equal)[N]) {
    for (int i = 0; i < N; ++i)
      equal[i] = 0xffffffffu;
#ifdef __CUDA_ARCH__
#pragma unroll 1
    for (int b = 0; b < bits; ++b)
#pragma unroll
      for (int i = 0; i < N; ++i) {
        const bool is_set  = (key[i] >> b & 1) != 0;
        const unsigned set = __ballot_sync(0xffffffffu, is_set);
        equal[i] &= is_set ? set : ~set;
      }
#endif
  }

  KOKKOS_FUNCTION static int inclusiveSum([[maybe_unused]] int lane,
                                          int value) {
#ifdef __CUDA_ARCH__
    for (int distance = 1; distance < lanes; distance *= 2) {
      const int other = __shfl_up_sync(0xffffffffu, value, distance);
      if (lane >= distance) value += other;
    }
#endif
    return value;
  }

  KOKKOS_FUNCTION static int fromLane(int value, [[maybe_unused]] int lane) {
#ifdef __CUDA_ARCH__
    return __shfl_sync(0xffffffffu, value, lane);
#else
    return value;
#endif
  }

  KOKKOS_FUNCTION static void sync() {
#ifdef __CUDA_ARCH__
    __syncwarp();
#endif
  }
};
#endif

}  // namespace Tokkos::KokkosExt

#endif
