// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// SPDX-FileCopyrightText: Copyright Contributors to the Tokkos project

#ifndef TOKKOS_EXAMPLES_TEXT_MOE_REPORT_HPP
#define TOKKOS_EXAMPLES_TEXT_MOE_REPORT_HPP

#include "Dispatch.hpp"
#include "Input.hpp"
#include "Text.hpp"

#include <string>
#include <vector>

namespace TextMoe {

/// What one expert had to do.
struct Load {
  int count;                           // rows
  int dropped;                         // lost to the capacity
  double share;                        // of all rows, 0 to 1
  std::vector<std::string> top_words;  // the most frequent first
};

std::vector<Load> loadOfExperts(const Text& text, const Input& input,
                                const Plan& plan);

void printLoads(const std::vector<Load>& loads);
void printTimes(const std::vector<StageTime>& times);

/// Columns expert, count, dropped, share, top_words, quoted as RFC 4180 says.
/// \throws Examples::BadInput when the file cannot be written
void writeCsv(const std::string& path, const std::vector<Load>& loads);

}  // namespace TextMoe

#endif
