// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// SPDX-FileCopyrightText: Copyright Contributors to the Tokkos project

#ifndef TOKKOS_ROUTER_HPP
#define TOKKOS_ROUTER_HPP

#include <Tokkos/Impl/Check.hpp>
#include <Tokkos/Impl/RouteTopK.hpp>
#include <Tokkos/KokkosExt/Launch.hpp>
#include <Tokkos/KokkosExt/Types.hpp>

#include <Kokkos_Core.hpp>
#include <Kokkos_Profiling_ScopedRegion.hpp>

#include <climits>
#include <cstdint>
#include <type_traits>

namespace Tokkos {

/// How the weight of an expert comes from its logit.
enum class Score {
  softmax,          ///< over all experts, before the selection
  selected_softmax  ///< over the chosen experts alone
};

/// How the router makes weights of logits.
struct RouterOptions {
  /// The function that makes a weight of a logit.
  Score score = Score::softmax;
  /// Divide a token's weights by their sum.
  bool normalize = false;
};

/// Chooses for every token the K experts with the largest logits.
///
/// \param logits T x E; float, double, half_t or bhalf_t. Computed in float,
///   double in double.
/// \param expert_ids T x K, K <= E; int or std::int64_t. Overwritten: distinct
///   ids in [0, E), larger logits first; equal logits (-0 equals +0): the lower
///   id first.
/// \param weights T x K; float or double. Overwritten, in the order of the ids.
/// \throws std::invalid_argument when extents do not fit or memory overlaps
///
/// An expert whose logit is NaN or -infinity is excluded: it has weight 0,
/// takes no part in a softmax, and is chosen, in order of its id, only when
/// fewer than K others are left. +infinity counts as the largest finite number.
/// A token whose experts are all excluded has the ids 0 to K - 1 and weights of
/// 0.
///
/// Ids and weights are the same, bit for bit, on every backend: the sums are
/// fixed trees (over the experts 32 interleaved partial sums, then pairwise;
/// over the choices in their order), every operation rounds, and the
/// exponential is Tokkos' own. They do not depend on other tokens.
///
/// Enqueues on the instance and returns: no allocation, no synchronisation, one
/// launch, T * E * K operations. The choice by rounds of a maximum that packs
/// value and id follows the fused routers of today's inference systems.
template <class ExecutionSpace, class Logits, class ExpertIds, class Weights>
void routeTopK(const ExecutionSpace& space, const Logits& logits,
               const ExpertIds& expert_ids, const Weights& weights,
               const RouterOptions& options = {}) {
  static_assert(Kokkos::is_execution_space_v<ExecutionSpace>,
                "Tokkos::routeTopK: space must be an execution space instance");
  static_assert(Kokkos::is_view_v<Logits> && Kokkos::is_view_v<ExpertIds> &&
                    Kokkos::is_view_v<Weights>,
                "Tokkos::routeTopK: logits, expert_ids and weights must be "
                "Views");
  static_assert(
      Logits::rank() == 2 && ExpertIds::rank() == 2 && Weights::rank() == 2,
      "Tokkos::routeTopK: logits, expert_ids and weights must have "
      "rank 2");
  static_assert(KokkosExt::is_real_v<typename Logits::non_const_value_type>,
                "Tokkos::routeTopK: logits must be float, double, half_t or "
                "bhalf_t");
  using Id = typename ExpertIds::value_type;
  static_assert(
      std::is_same_v<Id, std::int32_t> || std::is_same_v<Id, std::int64_t>,
      "Tokkos::routeTopK: expert_ids must hold int or std::int64_t, "
      "non-const");
  using Weight = typename Weights::value_type;
  static_assert(std::is_same_v<Weight, float> || std::is_same_v<Weight, double>,
                "Tokkos::routeTopK: weights must be float or double, "
                "non-const");
  static_assert(KokkosExt::is_accessible_v<ExecutionSpace, Logits> &&
                    KokkosExt::is_accessible_v<ExecutionSpace, ExpertIds> &&
                    KokkosExt::is_accessible_v<ExecutionSpace, Weights>,
                "Tokkos::routeTopK: the execution space must reach every View");
  constexpr auto function = "Tokkos::routeTopK";
  Impl::checkRange(function, "logits.extent(0)",
                   static_cast<std::int64_t>(logits.extent(0)), 0, INT_MAX, "");
  Impl::checkRange(function, "logits.extent(1)",
                   static_cast<std::int64_t>(logits.extent(1)), 1, INT_MAX - 1,
                   "the number of experts");
  Impl::checkRange(function, "expert_ids.extent(1)",
                   static_cast<std::int64_t>(expert_ids.extent(1)), 1,
                   static_cast<std::int64_t>(logits.extent(1)),
                   "K, at most E = logits.extent(1)");
  Impl::checkExtent(function, "expert_ids", 0, expert_ids.extent(0),
                    logits.extent(0), "logits.extent(0)");
  Impl::checkExtent(function, "weights", 0, weights.extent(0), logits.extent(0),
                    "logits.extent(0)");
  Impl::checkExtent(function, "weights", 1, weights.extent(1),
                    expert_ids.extent(1), "expert_ids.extent(1)");
  Impl::checkDisjoint(function, "logits", Impl::memoryRegion(logits), "weights",
                      Impl::memoryRegion(weights));
  Impl::checkDisjoint(function, "logits", Impl::memoryRegion(logits),
                      "expert_ids", Impl::memoryRegion(expert_ids));
  Impl::checkDisjoint(function, "expert_ids", Impl::memoryRegion(expert_ids),
                      "weights", Impl::memoryRegion(weights));

  Kokkos::Profiling::ScopedRegion region(function);
  if (logits.extent(0) == 0) return;
  using Route = Impl::RouteTopK<ExecutionSpace, Logits, ExpertIds, Weights>;
  constexpr bool on_host = KokkosExt::is_host_execution_space_v<ExecutionSpace>;
  constexpr int tokens_of_team = on_host ? 1 : 8;
  constexpr int lanes          = on_host ? 1 : 32;
  const int num_tokens         = static_cast<int>(logits.extent(0));
  KokkosExt::parallelFor(
      "Tokkos::routeTopK::route",
      Kokkos::TeamPolicy<ExecutionSpace>(
          space,
          num_tokens / tokens_of_team + (num_tokens % tokens_of_team != 0),
          tokens_of_team, lanes)
          .set_scratch_size(0, Kokkos::PerThread(Route::scratchBytes())),
      Route{logits, expert_ids, weights,
            options.score == Score::selected_softmax, options.normalize});
}

}  // namespace Tokkos

#endif
