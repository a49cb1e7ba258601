// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// SPDX-FileCopyrightText: Copyright Contributors to the Tokkos project

#include "Input.hpp"

#include "../common/Npy.hpp"
#include "../common/Random.hpp"

#include <algorithm>
#include <cmath>
#include <limits>

namespace CrossCheck {

namespace {

using Examples::BadInput;

constexpr int largest_int = std::numeric_limits<int>::max();

// The streams of random numbers that a seed gives.
enum Stream : std::uint64_t { values, of_choices, routing };

std::size_t product(int a, int b) {
  return static_cast<std::size_t>(a) * static_cast<std::size_t>(b);
}

std::vector<float> randomValues(std::size_t size, std::uint64_t seed,
                                Stream stream) {
  Examples::Random random(seed, stream);
  std::vector<float> result(size);
  for (float& value : result)
    value = random.symmetric();
  return result;
}

/// How much more often the expert is wanted, as a logarithm.
double preference(const std::string& kind, int expert) {
  if (kind == "zipf") return -std::log(expert + 1.0);
  if (kind == "one") return expert == 0 ? 30 : 0;
  return 0;
}

/// The K largest sums of preference and Gumbel noise are K draws without
/// replacement, with probabilities as the preferences say.
std::vector<float> randomLogits(const Options& options) {
  Examples::Random random(options.seed, routing);
  std::vector<float> logits;
  logits.reserve(product(options.num_tokens, options.num_experts));
  for (int t = 0; t < options.num_tokens; ++t)
    for (int e = 0; e < options.num_experts; ++e) {
      const double noise = -std::log(-std::log(random.positive()));
      logits.push_back(
          static_cast<float>(noise + preference(options.routing, e)));
    }
  return logits;
}

/// As many experts as the ids name, K at least.
template <class Id>
int numExperts(const std::vector<Id>& ids, int top_k) {
  std::int64_t largest = top_k - 1;
  for (const Id id : ids)
    largest = std::max<std::int64_t>(largest, id);
  if (largest >= largest_int - 1)
    throw BadInput("--ids: the id " + std::to_string(largest) +
                   " is too large; say how many --experts there are");
  return static_cast<int>(largest + 1);
}

void readIds(const Options& options, Input& input) {
  const Examples::NpyArray array = Examples::readNpy(options.ids);
  if (array.shape.empty() || array.shape.size() > 2)
    throw BadInput(options.ids + ": expected an array of T x K ids, got " +
                   std::to_string(array.shape.size()) + " dimensions");
  const std::size_t choices = array.shape.size() == 2 ? array.shape[1] : 1;
  if (array.shape[0] > largest_int || choices < 1 || choices > largest_int)
    throw BadInput(options.ids + ": an array of " +
                   std::to_string(array.shape[0]) + " x " +
                   std::to_string(choices) + " ids cannot be dispatched");
  input.num_tokens = static_cast<int>(array.shape[0]);
  input.top_k      = static_cast<int>(choices);
  if (array.type == Examples::npyType<std::int32_t>())
    input.ids_32 = Examples::npyValues<std::int32_t>(array);
  else if (array.type == Examples::npyType<std::int64_t>())
    input.ids_64 = Examples::npyValues<std::int64_t>(array);
  else
    throw BadInput(options.ids + ": expected ids of type <i4 or <i8, got " +
                   array.type);
  if (!options.experts_given)
    input.num_experts = std::max(numExperts(input.ids_32, input.top_k),
                                 numExperts(input.ids_64, input.top_k));
  if (input.top_k > input.num_experts)
    throw BadInput(options.ids + ": " + std::to_string(input.top_k) +
                   " choices of a token, more than --experts " +
                   std::to_string(input.num_experts));
}

/// Sizes that no array should have are bad input, not a failed allocation.
void checkSizes(const Input& input) {
  constexpr std::size_t largest = std::size_t(1) << 32;
  const bool routed             = input.ids_32.empty() && input.ids_64.empty();
  for (const int width : {input.hidden, routed ? input.num_experts : 1})
    if (product(input.num_tokens, width) > largest)
      throw BadInput(
          "more than 2^32 elements: " + std::to_string(input.num_tokens) +
          " tokens times " + std::to_string(width));
  if (product(input.num_tokens, input.top_k) > std::size_t(largest_int))
    throw BadInput(
        "more than 2^31 - 1 choices: " + std::to_string(input.num_tokens) +
        " tokens times " + std::to_string(input.top_k));
}

}  // namespace

Input makeInput(const Options& options) {
  Input input{};
  input.num_tokens  = options.num_tokens;
  input.num_experts = options.num_experts;
  input.top_k       = options.top_k;
  input.hidden      = options.hidden;
  input.capacity    = options.capacity;
  input.alignment   = options.alignment;
  if (!options.ids.empty()) readIds(options, input);
  checkSizes(input);
  if (options.ids.empty()) input.logits = randomLogits(options);
  input.tokens  = randomValues(product(input.num_tokens, input.hidden),
                               options.seed, values);
  input.weights = randomValues(product(input.num_tokens, input.top_k),
                               options.seed, of_choices);
  return input;
}

}  // namespace CrossCheck
