// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// SPDX-FileCopyrightText: Copyright Contributors to the Tokkos project

#include <Tokkos/Version.hpp>

#include <Kokkos_Core.hpp>

#include <ostream>

namespace Tokkos {

std::string_view version() {
  return TOKKOS_VERSION_STRING;
}

void printConfiguration(std::ostream& out) {
  out << "Tokkos version: " << version() << '\n'
      << "Tokkos commit: " << gitCommitHash() << '\n'
      << "Kokkos version: " << KOKKOS_VERSION / 10000 << '.'
      << KOKKOS_VERSION / 100 % 100 << '.' << KOKKOS_VERSION % 100 << '\n'
      << "Kokkos backends:";
#ifdef KOKKOS_ENABLE_CUDA
  out << " Cuda";
#endif
#ifdef KOKKOS_ENABLE_HIP
  out << " HIP";
#endif
#ifdef KOKKOS_ENABLE_SYCL
  out << " SYCL";
#endif
#ifdef KOKKOS_ENABLE_OPENMP
  out << " OpenMP";
#endif
#ifdef KOKKOS_ENABLE_THREADS
  out << " Threads";
#endif
#ifdef KOKKOS_ENABLE_SERIAL
  out << " Serial";
#endif
  out << '\n'
      << "Kokkos default backend: " << Kokkos::DefaultExecutionSpace::name()
      << '\n';
}

}  // namespace Tokkos
