// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// SPDX-FileCopyrightText: Copyright Contributors to the Tokkos project

#ifndef TOKKOS_EXAMPLES_TEXT_MOE_INPUT_HPP
#define TOKKOS_EXAMPLES_TEXT_MOE_INPUT_HPP

#include "Options.hpp"
#include "Text.hpp"

#include <cstddef>
#include <vector>

namespace TextMoe {

/// Everything that goes into the layer: what the dispatch with Tokkos and the
/// reference both start from. Arrays are in row order, the last index fastest.
///
/// All numbers are small enough for the reference's bound: a word's vector has
/// length 1 at most, a row of inner weights too, and the sum of the magnitudes
/// of a row of outer weights is 1 at most.
struct Input {
  /// Length of an expert's inner layer.
  static constexpr int inner = 64;

  int num_experts;
  int top_k;
  int hidden;
  int capacity;
  std::vector<int> tokens;         // T: the word of every token
  std::vector<float> vectors;      // words x hidden
  std::vector<float> logits;       // words x experts
  std::vector<float> inner_layer;  // experts x hidden x inner
  std::vector<float> outer_layer;  // experts x inner x hidden

  std::size_t numTokens() const { return tokens.size(); }
  std::size_t numWords() const {
    return vectors.size() / static_cast<std::size_t>(hidden);
  }
};

/// Words to numbers: vectors from the words' spelling, everything else random.
Input makeInput(const Text& text, const Options& options);

/// A vector for every word by feature hashing: each of the word's n-grams of 1
/// to 4 characters, and the whole word, adds 1 or -1 to the entry that a hash
/// of it chooses; then the vector gets length 1. Words that are spelled alike
/// have vectors that are alike. In short vectors everything may cancel: such a
/// vector stays zero.
///
/// K. Weinberger et al., "Feature Hashing for Large Scale Multitask Learning",
/// 2009; n-grams as in P. Bojanowski et al., "Enriching Word Vectors with
/// Subword Information", 2017.
std::vector<float> embedWords(const std::vector<std::u32string>& words,
                              int hidden);

}  // namespace TextMoe

#endif
