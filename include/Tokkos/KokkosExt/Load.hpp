// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// SPDX-FileCopyrightText: Copyright Contributors to the Tokkos project

#ifndef TOKKOS_KOKKOSEXT_LOAD_HPP
#define TOKKOS_KOKKOSEXT_LOAD_HPP

#include <Kokkos_Core.hpp>

namespace Tokkos::KokkosExt {

/// What memory holds, never what a multiprocessor's own cache has kept of it
/// since an earlier kernel: for kernels that read before they have waited for
/// others. Unlike atomic loads, several can be under way.
template <class T>
KOKKOS_FORCEINLINE_FUNCTION T loadCoherent(const T* address) {
#ifdef __CUDA_ARCH__
  return __ldcg(address);
#else
  return *address;
#endif
}

}  // namespace Tokkos::KokkosExt

#endif
