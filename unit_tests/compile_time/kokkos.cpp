// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// SPDX-FileCopyrightText: Copyright Contributors to the Tokkos project

// The least that a program on Kokkos compiles.
#include <Kokkos_Core.hpp>

int main(int argc, char* argv[]) {
  Kokkos::ScopeGuard kokkos(argc, argv);
  const Kokkos::View<float*> values("values", 1000);
  Kokkos::parallel_for("fill", 1000, KOKKOS_LAMBDA(int i) { values(i) = 1; });
  Kokkos::fence();
}
