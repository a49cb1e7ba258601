// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// SPDX-FileCopyrightText: Copyright Contributors to the Tokkos project

#ifndef TOKKOS_KOKKOSEXT_SUBGROUP_HPP
#define TOKKOS_KOKKOSEXT_SUBGROUP_HPP

#include <Kokkos_Core.hpp>

namespace Tokkos::KokkosExt {

/// The threads of a team (of vector length 1) that run in lockstep and can ask
/// each other: a warp with CUDA. Elsewhere a subgroup is one thread, which
/// needs no question: the code that uses it is right with any number of lanes.
template <class ExecutionSpace>
struct Subgroup {
  static constexpr int lanes = 1;

  /// How many lanes before this one hold the same key; `last` tells whether no
  /// later lane does. All lanes must call it.
  KOKKOS_FUNCTION static int rankAmongEqual(int, int, bool& last) {
    last = true;
    return 0;
  }

  /// Makes the lanes' writes to memory visible to each other.
  KOKKOS_FUNCTION static void sync() {}
};

#ifdef KOKKOS_ENABLE_CUDA
template <>
struct Subgroup<Kokkos::Cuda> {
  static constexpr int lanes = 32;

  KOKKOS_FUNCTION static int rankAmongEqual([[maybe_unused]] int lane,
                                            [[maybe_unused]] int key,
                                            bool& last) {
    last = true;
#ifdef __CUDA_ARCH__
    const unsigned equal  = __match_any_sync(0xffffffffu, key);
    const unsigned before = (1u << lane) - 1u;
    last                  = (equal >> lane) == 1u;
    return __popc(equal & before);
#else
    return 0;
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
