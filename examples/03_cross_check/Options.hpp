// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// SPDX-FileCopyrightText: Copyright Contributors to the Tokkos project

#ifndef TOKKOS_EXAMPLES_CROSS_CHECK_OPTIONS_HPP
#define TOKKOS_EXAMPLES_CROSS_CHECK_OPTIONS_HPP

#include <cstdint>
#include <string>

namespace CrossCheck {

struct Options {
  int num_tokens      = 4096;
  int num_experts     = 64;
  int top_k           = 8;
  int hidden          = 256;
  int capacity        = 0;
  int alignment       = 1;
  std::uint64_t seed  = 1;
  std::string routing = "uniform";  // or "zipf", "one"
  std::string ids;                  // a .npy file of ids instead of a router
  bool experts_given = false;
  bool help          = false;
};

/// \throws Examples::BadInput
Options parseOptions(int argc, const char* const argv[]);

std::string usage();

}  // namespace CrossCheck

#endif
