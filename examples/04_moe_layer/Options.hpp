// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// SPDX-FileCopyrightText: Copyright Contributors to the Tokkos project

#ifndef TOKKOS_EXAMPLES_MOE_LAYER_OPTIONS_HPP
#define TOKKOS_EXAMPLES_MOE_LAYER_OPTIONS_HPP

#include <string>

namespace MoELayer {

struct Options {
  std::string folder;    // with the arrays
  std::string output;    // a file to write, or nothing
  std::string expected;  // a file to compare with, or nothing
  int top_k         = 2;
  std::string score = "softmax";
  int normalize     = 1;
  double scale      = 1;
  int groups        = 1;
  int kept_groups   = 0;
  double tolerance  = 2e-5;  // of the largest expected number
  bool help         = false;
};

/// \throws Examples::BadInput
Options parseOptions(int argc, const char* const argv[]);

std::string usage();

}  // namespace MoELayer

#endif
