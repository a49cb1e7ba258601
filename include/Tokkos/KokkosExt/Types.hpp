// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// SPDX-FileCopyrightText: Copyright Contributors to the Tokkos project

#ifndef TOKKOS_KOKKOSEXT_TYPES_HPP
#define TOKKOS_KOKKOSEXT_TYPES_HPP

#include <Kokkos_Core.hpp>

#include <type_traits>

/// Types and facts that Kokkos keeps in Experimental or does not name.
namespace Tokkos::KokkosExt {

/// 16-bit floating point types. Where no enabled backend has them Kokkos makes
/// both an alias of float.
using Kokkos::Experimental::bhalf_t;
using Kokkos::Experimental::half_t;

/// True for the types in which Tokkos computes or stores real numbers.
template <class T>
inline constexpr bool is_real_v =
    std::is_same_v<T, float> || std::is_same_v<T, double> ||
    std::is_same_v<T, half_t> || std::is_same_v<T, bhalf_t>;

/// True when the threads of the execution space are those of the host.
template <class ExecutionSpace>
inline constexpr bool is_host_execution_space_v =
    Kokkos::SpaceAccessibility<ExecutionSpace, Kokkos::HostSpace>::accessible;

/// True when a kernel of the execution space can read the View's memory.
template <class ExecutionSpace, class View>
inline constexpr bool is_accessible_v =
    Kokkos::SpaceAccessibility<ExecutionSpace,
                               typename View::memory_space>::accessible;

}  // namespace Tokkos::KokkosExt

#endif
