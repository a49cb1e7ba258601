// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// SPDX-FileCopyrightText: Copyright Contributors to the Tokkos project

#ifndef TOKKOS_KOKKOSEXT_LAUNCH_HPP
#define TOKKOS_KOKKOSEXT_LAUNCH_HPP

#include <Kokkos_Core.hpp>

#include <string>

namespace Tokkos::KokkosExt {

/// The one way in which Tokkos launches a kernel.
///
/// Kokkos' CUDA backend hands a functor of 512 bytes or more (policy included)
/// to the kernel through a constant memory buffer that the instances share: it
/// takes a lock and may wait on an event, which is a hidden host wait and
/// illegal while a graph is captured. A "light weight" launch always passes the
/// functor as a kernel argument, of which CUDA allows 4 KB.
template <class Policy, class Functor>
void parallelFor(const std::string& label, const Policy& policy,
                 const Functor& functor) {
  static_assert(sizeof(Functor) + sizeof(Policy) < 3840,
                "Tokkos: a functor must fit into the arguments of a kernel");
  Kokkos::parallel_for(
      label,
      Kokkos::Experimental::require(
          policy, Kokkos::Experimental::WorkItemProperty::HintLightWeight),
      functor);
}

}  // namespace Tokkos::KokkosExt

#endif
