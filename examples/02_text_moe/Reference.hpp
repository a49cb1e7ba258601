// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// SPDX-FileCopyrightText: Copyright Contributors to the Tokkos project

#ifndef TOKKOS_EXAMPLES_TEXT_MOE_REFERENCE_HPP
#define TOKKOS_EXAMPLES_TEXT_MOE_REFERENCE_HPP

#include "Input.hpp"
#include "Plan.hpp"

#include <span>
#include <string>

/// The layer once more, from the definition, by plain loops on the host: no
/// Kokkos and nothing of Tokkos.
namespace TextMoe {

class Reference {
 public:
  explicit Reference(const Input& input);

  /// The first place where a plan is not what it must be; empty when it is.
  std::string firstDifference(const Plan& plan) const;

  /// The largest difference of an output, tokens x hidden; infinity if a number
  /// is none.
  double largestDifference(std::span<const float> output) const;

  /// What the difference may be.
  ///
  /// All numbers of the layer, and all sums of magnitudes, are at most 1 (see
  /// Input): a rounding is an error of 2^-24 at most. A result goes through two
  /// sums of hidden and inner terms, with a product in each, through the sums
  /// of a softmax over the experts and of its normalisation over the choices,
  /// and through the weighted sum of the choices; 16 stands for the
  /// exponential, divisions and higher order. Both computations round, in the
  /// same order, but one may fuse multiplication and addition.
  double allowedDifference() const;

 private:
  const Input& input_;
  Plan plan_;
  std::vector<int> choices_;    // words x choices
  std::vector<float> weights_;  // words x choices
};

}  // namespace TextMoe

#endif
