// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// SPDX-FileCopyrightText: Copyright Contributors to the Tokkos project

#ifndef TOKKOS_KOKKOSEXT_CLONES_HPP
#define TOKKOS_KOKKOSEXT_CLONES_HPP

/// Before a function of plain loops: compiles it for wider vectors too, where
/// the compiler can, and takes at run time what the processor has. No clone may
/// have a fused multiply-add, so that all give the same bits. None for GCC's
/// thread sanitizer, which is not yet awake when the choice is made.
#if defined(__x86_64__) && defined(__linux__) && defined(__GNUC__) && \
    !defined(__clang__) && !defined(__CUDACC__) &&                    \
    !defined(__SANITIZE_THREAD__)
#define TOKKOS_IMPL_VECTOR_CLONES \
  __attribute__((target_clones("avx2", "default")))
#else
#define TOKKOS_IMPL_VECTOR_CLONES
#endif

#endif
