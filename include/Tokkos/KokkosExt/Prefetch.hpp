// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// SPDX-FileCopyrightText: Copyright Contributors to the Tokkos project

#ifndef TOKKOS_KOKKOSEXT_PREFETCH_HPP
#define TOKKOS_KOKKOSEXT_PREFETCH_HPP

#include <Kokkos_Core.hpp>

#include <cstdint>

namespace Tokkos::KokkosExt {

/// On a host, begins to fetch the cache line of array[i], which need not exist,
/// to write it soon: a store that misses the line holds up every store after
/// it. Elsewhere nothing.
template <class T>
KOKKOS_FORCEINLINE_FUNCTION void prefetchForWrite(
    [[maybe_unused]] const T* array, [[maybe_unused]] std::int64_t i) {
#if defined(__GNUC__)
  KOKKOS_IF_ON_HOST(
      (__builtin_prefetch(reinterpret_cast<const void*>(
                              reinterpret_cast<std::uintptr_t>(array) +
                              static_cast<std::uintptr_t>(i) * sizeof(T)),
                          1);))
#endif
}

/// Brings what the address points to into the cache that all of a device
/// shares. Not a read: what is written meanwhile is written there.
KOKKOS_FORCEINLINE_FUNCTION void prefetchShared(
    [[maybe_unused]] const void* address) {
#ifdef __CUDA_ARCH__
  asm volatile("prefetch.global.L2 [%0];" ::"l"(address));
#endif
}

}  // namespace Tokkos::KokkosExt

#endif
