// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// SPDX-FileCopyrightText: Copyright Contributors to the Tokkos project

#ifndef TOKKOS_EXAMPLES_FILE_HPP
#define TOKKOS_EXAMPLES_FILE_HPP

#include <stdexcept>
#include <string>

namespace Examples {

/// What the user gave cannot be used; the text is one line that says why. The
/// programs print it and end with exit code 2.
struct BadInput : std::runtime_error {
  using std::runtime_error::runtime_error;
};

/// The bytes of a file or a pipe.
/// \throws BadInput when it cannot be read or is empty
std::string readFile(const std::string& path);

}  // namespace Examples

#endif
