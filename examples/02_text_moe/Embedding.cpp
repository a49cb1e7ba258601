// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// SPDX-FileCopyrightText: Copyright Contributors to the Tokkos project

#include "Input.hpp"

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <string>
#include <string_view>

namespace TextMoe {

namespace {

constexpr std::size_t longest_ngram = 4;

/// FNV-1a over the code points, then stirred, as its low bits are weak.
std::uint64_t hash(std::u32string_view text) {
  std::uint64_t h = 0xcbf29ce484222325u;
  for (const char32_t c : text)
    h = (h ^ c) * 0x100000001b3u;
  h = (h ^ (h >> 32)) * 0xd6e8feb86659fd93u;
  return h ^ (h >> 32);
}

void addFeature(std::u32string_view feature, float* vector, int hidden) {
  const std::uint64_t h = hash(feature);
  vector[(h >> 1) % static_cast<std::uint64_t>(hidden)] +=
      (h & 1) != 0 ? 1.0f : -1.0f;
}

void normalise(float* vector, int hidden) {
  double sum = 0;
  for (int h = 0; h < hidden; ++h)
    sum += double(vector[h]) * vector[h];
  if (sum == 0) return;
  const double scale = 1 / std::sqrt(sum);
  for (int h = 0; h < hidden; ++h)
    vector[h] = static_cast<float>(vector[h] * scale);
}

}  // namespace

std::vector<float> embedWords(const std::vector<std::u32string>& words,
                              int hidden) {
  std::vector<float> vectors(words.size() * static_cast<std::size_t>(hidden));
  float* vector = vectors.data();
  for (const std::u32string& word : words) {
    // The marks tell the n-grams at a word's begin and end from those inside.
    const std::u32string marked = U'<' + word + U'>';
    const std::u32string_view all(marked);
    for (std::size_t i = 0; i < all.size(); ++i)
      for (std::size_t n = 1; n <= longest_ngram && i + n <= all.size(); ++n)
        addFeature(all.substr(i, n), vector, hidden);
    addFeature(all, vector, hidden);
    normalise(vector, hidden);
    vector += hidden;
  }
  return vectors;
}

}  // namespace TextMoe
