// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// SPDX-FileCopyrightText: Copyright Contributors to the Tokkos project

#include <Tokkos/KokkosExt/Rounding.hpp>

namespace Tokkos::KokkosExt::Impl {

namespace {
// Read through a volatile, so that link-time optimisation does not learn it.
std::uint32_t zeroAtRunTime() {
  volatile std::uint32_t zero = 0;
  return zero;
}
}  // namespace

std::uint32_t opaque_zero = zeroAtRunTime();

}  // namespace Tokkos::KokkosExt::Impl
