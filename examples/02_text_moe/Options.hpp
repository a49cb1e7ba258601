// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// SPDX-FileCopyrightText: Copyright Contributors to the Tokkos project

#ifndef TOKKOS_EXAMPLES_TEXT_MOE_OPTIONS_HPP
#define TOKKOS_EXAMPLES_TEXT_MOE_OPTIONS_HPP

#include <cstdint>
#include <string>

namespace TextMoe {

struct Options {
  std::string file;  // the text
  int num_experts    = 16;
  int top_k          = 2;
  int hidden         = 256;  // length of a token's vector
  int capacity       = 0;    // rows of an expert, 0 for no limit
  std::uint64_t seed = 1;
  std::string csv;  // where the table of loads goes, if anywhere
  bool help = false;
};

/// \throws Examples::BadInput
Options parseOptions(int argc, const char* const argv[]);

std::string usage();

}  // namespace TextMoe

#endif
