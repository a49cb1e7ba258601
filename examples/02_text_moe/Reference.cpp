// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// SPDX-FileCopyrightText: Copyright Contributors to the Tokkos project

#include "Reference.hpp"

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>

namespace TextMoe {

namespace {

std::size_t size(int n) {
  return static_cast<std::size_t>(n);
}

/// The choices of one word: larger logits first, of equal ones the lower id.
std::vector<int> chooseExperts(std::span<const float> logits, int top_k) {
  std::vector<int> experts(logits.size());
  std::iota(experts.begin(), experts.end(), 0);
  std::stable_sort(experts.begin(), experts.end(), [logits](int a, int b) {
    return logits[size(a)] > logits[size(b)];
  });
  experts.resize(size(top_k));
  return experts;
}

/// Softmax over all experts, divided by its sum over the chosen: what all the
/// others contribute cancels.
std::vector<float> weighExperts(std::span<const float> logits,
                                std::span<const int> chosen) {
  std::vector<double> terms;
  for (const int e : chosen)
    terms.push_back(
        std::exp(double(logits[size(e)]) - double(logits[size(chosen[0])])));
  const double sum = std::accumulate(terms.begin(), terms.end(), 0.0);
  std::vector<float> weights;
  for (const double term : terms)
    weights.push_back(static_cast<float>(term / sum));
  return weights;
}

Plan makePlan(const Input& input, const std::vector<int>& choices_of_words) {
  Plan plan;
  const auto top_k   = size(input.top_k);
  const auto experts = size(input.num_experts);
  for (const int word : input.tokens)
    for (std::size_t k = 0; k < top_k; ++k)
      plan.expert_ids.push_back(choices_of_words[size(word) * top_k + k]);

  plan.dropped.assign(experts, 0);
  std::vector<std::vector<int>> kept(experts);
  for (std::size_t a = 0; a < plan.expert_ids.size(); ++a) {
    const std::size_t e = size(plan.expert_ids[a]);
    if (input.capacity > 0 && kept[e].size() >= size(input.capacity)) {
      ++plan.dropped[e];
      ++plan.num_dropped;
    } else {
      kept[e].push_back(static_cast<int>(a));
    }
  }

  plan.row_of_assignment.assign(plan.expert_ids.size(), -1);
  plan.offsets.push_back(0);
  for (const std::vector<int>& assignments : kept) {
    for (const int a : assignments) {
      plan.row_of_assignment[size(a)] = plan.num_rows++;
      plan.assignment_of_row.push_back(a);
    }
    plan.counts.push_back(static_cast<int>(assignments.size()));
    plan.offsets.push_back(plan.num_rows);
  }
  return plan;
}

/// to(j) = sum over i of matrix(i, j) * from(i)
void product(const float* matrix, std::span<const float> from,
             std::span<float> to) {
  std::fill(to.begin(), to.end(), 0.0f);
  for (const float factor : from) {
    for (std::size_t j = 0; j < to.size(); ++j)
      to[j] += matrix[j] * factor;
    matrix += to.size();
  }
}

/// One expert on one word's vector.
void feedForward(const Input& input, std::size_t expert, std::size_t word,
                 std::span<float> result) {
  const std::size_t hidden = size(input.hidden);
  const std::size_t matrix = expert * hidden * Input::inner;
  std::vector<float> inner(Input::inner);
  product(&input.inner_layer[matrix], {&input.vectors[word * hidden], hidden},
          inner);
  for (float& x : inner)
    x = std::max(x, 0.0f);
  product(&input.outer_layer[matrix], inner, result);
}

std::string compare(const char* name, std::span<const int> actual,
                    std::span<const int> expected) {
  if (actual.size() != expected.size())
    return std::string(name) + " has " + std::to_string(actual.size()) +
           " entries, expected " + std::to_string(expected.size());
  for (std::size_t i = 0; i < actual.size(); ++i)
    if (actual[i] != expected[i])
      return std::string(name) + ", entry " + std::to_string(i) + ": " +
             std::to_string(actual[i]) + ", expected " +
             std::to_string(expected[i]);
  return "";
}

}  // namespace

Reference::Reference(const Input& input) : input_(input) {
  const auto experts = size(input.num_experts);
  for (std::size_t w = 0; w < input.numWords(); ++w) {
    const std::span<const float> logits(&input.logits[w * experts], experts);
    const auto chosen  = chooseExperts(logits, input.top_k);
    const auto weights = weighExperts(logits, chosen);
    choices_.insert(choices_.end(), chosen.begin(), chosen.end());
    weights_.insert(weights_.end(), weights.begin(), weights.end());
  }
  plan_ = makePlan(input, choices_);
}

std::string Reference::firstDifference(const Plan& plan) const {
  for (const std::string& difference :
       {compare("expert_ids", plan.expert_ids, plan_.expert_ids),
        compare("counts", plan.counts, plan_.counts),
        compare("offsets", plan.offsets, plan_.offsets),
        compare("dropped", plan.dropped, plan_.dropped),
        compare("row_of_assignment", plan.row_of_assignment,
                plan_.row_of_assignment),
        compare("assignment_of_row", plan.assignment_of_row,
                plan_.assignment_of_row),
        compare("num_rows", {&plan.num_rows, 1}, {&plan_.num_rows, 1}),
        compare("num_dropped", {&plan.num_dropped, 1},
                {&plan_.num_dropped, 1})})
    if (!difference.empty()) return difference;
  return "";
}

double Reference::largestDifference(std::span<const float> output) const {
  const auto hidden = size(input_.hidden);
  const auto top_k  = size(input_.top_k);
  // A word's experts always answer the same: each is asked once.
  std::vector<float> answers(choices_.size() * hidden);
  for (std::size_t c = 0; c < choices_.size(); ++c)
    feedForward(input_, size(choices_[c]), c / top_k,
                {&answers[c * hidden], hidden});

  double largest = 0;
  std::vector<float> expected(hidden);
  for (std::size_t t = 0; t < input_.numTokens(); ++t) {
    std::fill(expected.begin(), expected.end(), 0.0f);
    for (std::size_t k = 0; k < top_k; ++k) {
      if (plan_.row_of_assignment[t * top_k + k] < 0) continue;
      const std::size_t c = size(input_.tokens[t]) * top_k + k;
      for (std::size_t h = 0; h < hidden; ++h)
        expected[h] += weights_[c] * answers[c * hidden + h];
    }
    for (std::size_t h = 0; h < hidden; ++h) {
      const double difference =
          std::abs(double(output[t * hidden + h]) - double(expected[h]));
      if (std::isnan(difference))
        return std::numeric_limits<double>::infinity();
      largest = std::max(largest, difference);
    }
  }
  return largest;
}

double Reference::allowedDifference() const {
  const int roundings =
      input_.hidden + Input::inner + input_.num_experts + 2 * input_.top_k + 16;
  return 2 * roundings * 0x1p-24;
}

}  // namespace TextMoe
