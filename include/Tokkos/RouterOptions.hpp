// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// SPDX-FileCopyrightText: Copyright Contributors to the Tokkos project

#ifndef TOKKOS_ROUTEROPTIONS_HPP
#define TOKKOS_ROUTEROPTIONS_HPP

#include <Kokkos_Core.hpp>

namespace Tokkos {

/// How the score of an expert comes from its logit x. Every score grows with
/// its logit.
enum class Score {
  softmax,           ///< over all experts, before the selection
  selected_softmax,  ///< over the chosen experts alone; before, x
  sigmoid,           ///< 1 / (1 + e^-x)
  sqrt_softplus,     ///< the square root of ln(1 + e^x); 0 where e^x is below
                     ///< the smallest normal number
  identity           ///< x
};

/// What groups of experts are compared by.
enum class GroupScore {
  maximum,          ///< the best expert
  sum_of_best_two,  ///< the sum of the best two
  sum_of_best       ///< the sum of the best K / kept_groups
};

/// How routeTopK chooses experts and computes their weights. The options act in
/// the order in which they stand here; what is not used costs nothing.
template <class MemorySpace = Kokkos::DefaultExecutionSpace::memory_space>
struct RouterOptions {
  /// One value a token; a token with false has ids of -1 and weights of 0.
  /// Empty: every token is routed.
  Kokkos::View<const bool*, MemorySpace> mask = {};

  /// A logit x counts as soft_cap * tanh(x / soft_cap); 0 for no cap. The order
  /// of the experts is that of the logits, also where the cap makes two equal.
  double soft_cap = 0;

  /// The function that makes a weight of a logit.
  Score score = Score::softmax;

  /// One value an expert, added to its score for the selection alone: the
  /// weight comes from the score without it. Empty: no bias.
  Kokkos::View<const float*, MemorySpace> bias = {};

  /// The experts stand in `groups` groups of E / groups neighbours each, and
  /// only those of the best kept_groups can be chosen; of equal groups the
  /// lower. kept_groups = 0 or kept_groups = groups: all of them.
  int groups = 1;
  /// So many groups keep their experts.
  int kept_groups = 0;
  /// What groups are compared by.
  GroupScore group_score = GroupScore::maximum;

  /// Divide the weights of a token by max(their sum, floor) + epsilon, or set
  /// them to 0 when that is 0.
  bool normalize = false;
  double floor   = 0;  ///< the least that a sum counts as
  double epsilon = 0;  ///< what is added to the sum

  /// Then multiply the weights by this, and each by the value of its expert.
  double scale = 1;
  /// One value an expert. Empty: no further scale.
  Kokkos::View<const float*, MemorySpace> expert_scale = {};

  /// Shared experts: every token's last columns name the experts E, E + 1, ...
  /// with this weight, which takes no part in the normalisation. The plan then
  /// has E + num_shared_experts experts.
  int num_shared_experts = 0;
  double shared_weight   = 1;  ///< that of every shared expert
};

}  // namespace Tokkos

#endif
