// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// SPDX-FileCopyrightText: Copyright Contributors to the Tokkos project

#ifndef TOKKOS_PERFTEST_BACKENDS_HPP
#define TOKKOS_PERFTEST_BACKENDS_HPP

#include <Kokkos_Core.hpp>

#include <type_traits>

// The one place that asks which backends Kokkos has.
namespace PerfTest {

/// Calls f with std::type_identity<Backend>() for every enabled backend, those
/// of a device first.
template <class Function>
void forEachBackend(const Function& f) {
#ifdef KOKKOS_ENABLE_CUDA
  f(std::type_identity<Kokkos::Cuda>());
#endif
#ifdef KOKKOS_ENABLE_HIP
  f(std::type_identity<Kokkos::HIP>());
#endif
#ifdef KOKKOS_ENABLE_SYCL
  f(std::type_identity<Kokkos::SYCL>());
#endif
#ifdef KOKKOS_ENABLE_OPENMP
  f(std::type_identity<Kokkos::OpenMP>());
#endif
#ifdef KOKKOS_ENABLE_THREADS
  f(std::type_identity<Kokkos::Threads>());
#endif
#ifdef KOKKOS_ENABLE_SERIAL
  f(std::type_identity<Kokkos::Serial>());
#endif
}

/// True when the threads of the backend are those of the host.
template <class ExecutionSpace>
inline constexpr bool is_host_v =
    Kokkos::SpaceAccessibility<ExecutionSpace, Kokkos::HostSpace>::accessible;

}  // namespace PerfTest

#endif
