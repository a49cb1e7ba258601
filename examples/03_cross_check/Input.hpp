// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// SPDX-FileCopyrightText: Copyright Contributors to the Tokkos project

#ifndef TOKKOS_EXAMPLES_CROSS_CHECK_INPUT_HPP
#define TOKKOS_EXAMPLES_CROSS_CHECK_INPUT_HPP

#include "Options.hpp"

#include <cstddef>
#include <cstdint>
#include <vector>

namespace CrossCheck {

/// What both backends get. Arrays are in row order.
struct Input {
  int num_tokens, num_experts, top_k, hidden, capacity, alignment;
  std::vector<float> tokens;   // tokens x hidden
  std::vector<float> weights;  // tokens x choices

  // One of these three says where the tokens go; the others are empty.
  std::vector<float> logits;  // tokens x experts
  std::vector<std::int32_t> ids_32;
  std::vector<std::int64_t> ids_64;  // tokens x choices
};

/// \throws Examples::BadInput
Input makeInput(const Options& options);

}  // namespace CrossCheck

#endif
