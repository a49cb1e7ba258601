// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// SPDX-FileCopyrightText: Copyright Contributors to the Tokkos project

#ifndef TOKKOS_IMPL_ROUTERARGUMENTS_HPP
#define TOKKOS_IMPL_ROUTERARGUMENTS_HPP

#include <Tokkos/Impl/Check.hpp>
#include <Tokkos/Impl/RouterData.hpp>
#include <Tokkos/Impl/RouterGroups.hpp>
#include <Tokkos/RouterOptions.hpp>

#include <Kokkos_Core.hpp>

#include <algorithm>
#include <array>
#include <climits>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <string>
#include <string_view>
#include <type_traits>

/// The checks of a router's arguments, on the host, and their way into kernels.
namespace Tokkos::Impl {

/// value must be a finite number of `minimum` or more, and one in the precision
/// of the computation too, whose largest number is given.
inline void checkNumber(std::string_view function, std::string_view argument,
                        double value, double minimum, double largest,
                        std::string_view expected) {
  if (!(std::isfinite(value) && value >= minimum))
    throwInvalidArgument(function, argument, expected, std::to_string(value));
  if (std::abs(value) > largest)
    throwInvalidArgument(function, argument, "a number that float can hold",
                         std::to_string(value));
}

/// A View of one value an expert or token: empty, or of that many.
template <class View>
void checkOptionalExtent(std::string_view function, std::string_view name,
                         const View& view, std::size_t expected,
                         std::string_view meaning) {
  if (view.data() == nullptr && view.extent(0) == 0) return;
  checkExtent(function, name, 0, view.extent(0), expected, meaning);
  checkMemory(function, name, memoryRegion(view));
}

template <class Options>
void checkRouterGroups(std::string_view function, const Options& options,
                       int num_experts, int top_k) {
  checkRange(function, "options.groups", options.groups, 1,
             std::min(num_experts, max_router_groups),
             "at most E and at most 1024");
  if (num_experts % options.groups != 0)
    throwInvalidArgument(function, "options.groups",
                         "a divisor of E = " + std::to_string(num_experts),
                         std::to_string(options.groups));
  checkRange(function, "options.kept_groups", options.kept_groups, 0,
             options.groups, "at most options.groups");
  if (options.kept_groups == 0) return;
  checkRange(function, "K", top_k, 1,
             static_cast<std::int64_t>(options.kept_groups) *
                 (num_experts / options.groups),
             "the experts of the kept groups");
  if (options.group_score == GroupScore::sum_of_best &&
      options.kept_groups < options.groups && top_k % options.kept_groups != 0)
    throwInvalidArgument(function, "options.kept_groups",
                         "a divisor of K = " + std::to_string(top_k) +
                             " for GroupScore::sum_of_best",
                         std::to_string(options.kept_groups));
}

using Extents = std::array<std::size_t, 2>;

template <class Options>
void checkRouterExtents(std::string_view function, const Extents& logits,
                        const Extents& expert_ids, const Extents& weights,
                        const std::string& weights_name, double largest,
                        const Options& options) {
  checkRange(function, "logits.extent(0)", static_cast<std::int64_t>(logits[0]),
             0, INT_MAX, "");
  checkRange(function, "logits.extent(1)", static_cast<std::int64_t>(logits[1]),
             1, INT_MAX - 1024, "the number of experts");
  const auto num_experts        = static_cast<std::int64_t>(logits[1]);
  const auto num_columns        = static_cast<std::int64_t>(expert_ids[1]);
  const std::int64_t num_shared = options.num_shared_experts;
  checkRange(function, "options.num_shared_experts", num_shared, 0,
             INT_MAX - 1024 - num_experts, "");
  if (num_shared == 0)
    checkRange(function, "expert_ids.extent(1)", num_columns, 1, num_experts,
               "K, at most E = logits.extent(1)");
  else
    checkRange(function, "expert_ids.extent(1)", num_columns, 1 + num_shared,
               num_experts + num_shared,
               "K and the shared experts, K at most E = logits.extent(1)");
  checkExtent(function, "expert_ids", 0, expert_ids[0], logits[0],
              "logits.extent(0)");
  checkExtent(function, weights_name, 0, weights[0], logits[0],
              "logits.extent(0)");
  checkExtent(function, weights_name, 1, weights[1], expert_ids[1],
              "expert_ids.extent(1)");

  checkOptionalExtent(function, "options.mask", options.mask, logits[0],
                      "logits.extent(0)");
  checkOptionalExtent(function, "options.bias", options.bias, logits[1],
                      "logits.extent(1)");
  checkOptionalExtent(function, "options.expert_scale", options.expert_scale,
                      logits[1], "logits.extent(1)");
  checkRange(function, "options.score", static_cast<int>(options.score),
             static_cast<int>(Score::softmax),
             static_cast<int>(Score::identity), "the values of Score");
  checkRange(
      function, "options.group_score", static_cast<int>(options.group_score),
      static_cast<int>(GroupScore::maximum),
      static_cast<int>(GroupScore::sum_of_best), "the values of GroupScore");
  checkNumber(function, "options.soft_cap", options.soft_cap, 0, largest,
              "a finite number of 0 or more");
  checkNumber(function, "options.floor", options.floor, 0, largest,
              "a finite number of 0 or more");
  checkNumber(function, "options.epsilon", options.epsilon, 0, largest,
              "a finite number of 0 or more");
  checkNumber(function, "options.scale", options.scale, -HUGE_VAL, largest,
              "a finite number");
  checkNumber(function, "options.shared_weight", options.shared_weight,
              -HUGE_VAL, largest, "a finite number");
  checkRouterGroups(function, options, static_cast<int>(num_experts),
                    static_cast<int>(num_columns - num_shared));
}

template <class Logits, class ExpertIds, class Weights, class Options>
void checkRouterArguments(std::string_view function, const Logits& logits,
                          const ExpertIds& expert_ids, const Weights& weights,
                          const std::string& weights_name,
                          const Options& options) {
  using Logit = typename Logits::non_const_value_type;
  using Real = std::conditional_t<std::is_same_v<Logit, double>, double, float>;
  checkRouterExtents(function, {logits.extent(0), logits.extent(1)},
                     {expert_ids.extent(0), expert_ids.extent(1)},
                     {weights.extent(0), weights.extent(1)}, weights_name,
                     std::numeric_limits<Real>::max(), options);
}

/// pre-condition: the arguments have been checked
template <class Logits, class ExpertIds, class Weights, class Options>
auto makeRouterData(const Logits& logits, const ExpertIds& expert_ids,
                    const Weights& weights, const Options& options) {
  using Data = FullRouterData<typename Logits::non_const_value_type,
                              typename ExpertIds::value_type,
                              typename Weights::value_type>;
  using Real = typename Data::Real;
  Data data{};
  data.logits      = RouterMatrix<const typename Data::Logit>(logits);
  data.expert_ids  = RouterMatrix<typename Data::Id>(expert_ids);
  data.weights     = RouterMatrix<typename Data::Weight>(weights);
  data.num_tokens  = static_cast<int>(logits.extent(0));
  data.num_experts = static_cast<int>(logits.extent(1));
  data.num_shared  = options.num_shared_experts;
  data.top_k       = static_cast<int>(expert_ids.extent(1)) - data.num_shared;
  data.mask        = options.mask.data();
  data.soft_cap    = static_cast<Real>(options.soft_cap);
  data.score       = options.score;
  data.bias        = options.bias.data();
  data.num_groups  = options.groups;
  data.kept_groups = options.kept_groups;
  data.group_size  = data.num_experts / options.groups;
  data.inverse_group_size = ((std::uint64_t(1) << 32) - 1) /
                                static_cast<std::uint64_t>(data.group_size) +
                            1;
  data.limits_groups =
      options.kept_groups != 0 && options.kept_groups < options.groups;
  const int best     = options.group_score == GroupScore::maximum ? 1
                       : options.group_score == GroupScore::sum_of_best_two
                           ? 2
                           : data.top_k / std::max(1, options.kept_groups);
  data.best_of_group = std::min(best, data.group_size);
  data.keyed_by_score =
      data.bias != nullptr ||
      (data.limits_groups && options.group_score != GroupScore::maximum);
  data.normalize     = options.normalize;
  data.floor         = static_cast<Real>(options.floor);
  data.epsilon       = static_cast<Real>(options.epsilon);
  data.scale         = static_cast<Real>(options.scale);
  data.expert_scale  = options.expert_scale.data();
  data.shared_weight = static_cast<Real>(options.shared_weight);
  return data;
}

}  // namespace Tokkos::Impl

#endif
