// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// SPDX-FileCopyrightText: Copyright Contributors to the Tokkos project

#include "Input.hpp"

#include "../common/Random.hpp"

#include <cmath>
#include <cstdint>

namespace TextMoe {

namespace {

// The streams of random numbers that a seed gives.
enum Stream : std::uint64_t { router, inner_layer, outer_layer };

/// Uniform in [-largest, largest].
std::vector<float> randomWeights(std::size_t size, double largest,
                                 std::uint64_t seed, Stream stream) {
  Examples::Random random(seed, stream);
  std::vector<float> weights(size);
  for (float& weight : weights)
    weight = static_cast<float>(largest * random.symmetric());
  return weights;
}

/// vectors (words x hidden) times projection (hidden x experts).
std::vector<float> project(const Input& input,
                           const std::vector<float>& projection) {
  const auto hidden  = static_cast<std::size_t>(input.hidden);
  const auto experts = static_cast<std::size_t>(input.num_experts);
  std::vector<float> logits(input.numWords() * experts);
  for (std::size_t w = 0; w < input.numWords(); ++w)
    for (std::size_t h = 0; h < hidden; ++h) {
      const float x = input.vectors[w * hidden + h];
      if (x == 0) continue;  // most are
      for (std::size_t e = 0; e < experts; ++e)
        logits[w * experts + e] += x * projection[h * experts + e];
    }
  return logits;
}

}  // namespace

Input makeInput(const Text& text, const Options& options) {
  constexpr std::size_t inner = Input::inner;
  const auto hidden           = static_cast<std::size_t>(options.hidden);
  const auto experts          = static_cast<std::size_t>(options.num_experts);
  Input input;
  input.num_experts = options.num_experts;
  input.top_k       = options.top_k;
  input.hidden      = options.hidden;
  input.capacity    = options.capacity;
  input.tokens      = text.tokens;
  input.vectors     = embedWords(text.words, options.hidden);
  // Logits of variance 1, for vectors of length 1.
  input.logits = project(input, randomWeights(hidden * experts, std::sqrt(3.0),
                                              options.seed, router));
  input.inner_layer = randomWeights(experts * hidden * inner,
                                    1 / std::sqrt(double(options.hidden)),
                                    options.seed, inner_layer);
  input.outer_layer = randomWeights(experts * inner * hidden, 1 / double(inner),
                                    options.seed, outer_layer);
  return input;
}

}  // namespace TextMoe
