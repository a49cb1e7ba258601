// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// SPDX-FileCopyrightText: Copyright Contributors to the Tokkos project

#ifndef TOKKOS_VERSION_HPP
#define TOKKOS_VERSION_HPP

#include <Tokkos/Config.hpp>

#include <iosfwd>
#include <string_view>

/// Token dispatch for layers of a Mixture of Experts.
namespace Tokkos {

/// The version of the library that the program is linked with, as "1.2.3".
std::string_view version();

/// The commit that the library was built from, with "-dirty" behind it when
/// the sources had changes; "unknown" outside a git checkout.
std::string_view gitCommitHash();

/// Writes the version, the commit, the version of Kokkos and its enabled
/// backends, one "name: value" a line. May be called at any time, also before
/// Kokkos::initialize().
void printConfiguration(std::ostream& out);

}  // namespace Tokkos

#endif
