// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// SPDX-FileCopyrightText: Copyright Contributors to the Tokkos project

#ifndef TOKKOS_PERFTEST_COPYBANDWIDTH_HPP
#define TOKKOS_PERFTEST_COPYBANDWIDTH_HPP

#include <string>

namespace PerfTest {

/// The yardstick of the counter `of_copy`: what a plain copy between two large
/// buffers (4 GiB each on a device, 512 MiB on a host) reaches, bytes read plus
/// bytes written, in GB/s. Measured when first asked for and kept.
///
/// \param backend the name of a Kokkos backend: the best of a kernel that moves
///   16 bytes a thread and of Kokkos::deep_copy; or host_name: std::memcpy
double copyBandwidth(const std::string& backend);

/// In place of a backend's name for what runs in one thread without Kokkos.
inline constexpr const char* host_name = "Host";

}  // namespace PerfTest

#endif
