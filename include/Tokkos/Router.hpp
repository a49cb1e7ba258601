// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// SPDX-FileCopyrightText: Copyright Contributors to the Tokkos project

#ifndef TOKKOS_ROUTER_HPP
#define TOKKOS_ROUTER_HPP

#include <Tokkos/Impl/Check.hpp>
#include <Tokkos/Impl/RouteTopK.hpp>
#include <Tokkos/Impl/RouterArguments.hpp>
#include <Tokkos/KokkosExt/Types.hpp>
#include <Tokkos/RouterOptions.hpp>

#include <Kokkos_Core.hpp>
#include <Kokkos_Profiling_ScopedRegion.hpp>

#include <cstdint>
#include <type_traits>

namespace Tokkos {

/// Chooses for every token the K experts with the largest keys and computes
/// their weights.
///
/// \param logits T x E; float, double, half_t or bhalf_t. Computed in float,
///   double in double.
/// \param expert_ids T x (K + S), K <= E, where S is the number of shared
///   experts; int or std::int64_t. Overwritten: K distinct ids in [0, E),
///   larger keys first, equal keys (-0 equals +0) by ascending id; then the
///   shared experts E, E + 1, ...
/// \param weights T x (K + S); float or double. Overwritten, in the ids' order.
/// \param options see RouterOptions
/// \throws std::invalid_argument when extents do not fit, memory overlaps, or
///   an option is out of its range
///
/// The key of an expert is its logit, or, with a bias or where groups are
/// compared by a sum, its score plus its bias (for selected_softmax the score
/// is then the logit). Groups are compared by the keys of their experts, sums
/// in descending order of the keys.
///
/// An expert is excluded when its logit or its key is NaN or -infinity or its
/// group is not kept; +infinity counts as the largest finite number. An
/// excluded expert has weight 0 and counts -infinity in the score of a group;
/// one whose logit is NaN or -infinity takes no part in a softmax. When fewer
/// than K experts are left, excluded ones of kept groups follow in order of
/// their ids: a token whose experts are all excluded has the ids 0 to K - 1 and
/// weights of 0.
///
/// Ids and weights are the same, bit for bit, on every backend, for every path
/// that this function chooses, and whatever the other tokens are: the sums are
/// fixed trees (RouterRegisters::sum over the experts; over the choices in
/// their order), every operation rounds, and the exponential is Tokkos' own.
///
/// Enqueues on the instance and returns: no allocation, no synchronisation, one
/// launch; can be captured in a CUDA graph. About T * (E + K * K) operations;
/// T * E * K with more than 8192 experts (4096 in double on a device) or, on a
/// device, more than 256 choices.
template <class ExecutionSpace, class Logits, class ExpertIds, class Weights>
void routeTopK(
    const ExecutionSpace& space, const Logits& logits,
    const ExpertIds& expert_ids, const Weights& weights,
    const RouterOptions<typename Logits::memory_space>& options = {}) {
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
  Impl::checkRouterArguments(function, logits, expert_ids, weights, "weights",
                             options);
  Impl::checkDisjoint(function, "logits", Impl::memoryRegion(logits), "weights",
                      Impl::memoryRegion(weights));
  Impl::checkDisjoint(function, "logits", Impl::memoryRegion(logits),
                      "expert_ids", Impl::memoryRegion(expert_ids));
  Impl::checkDisjoint(function, "expert_ids", Impl::memoryRegion(expert_ids),
                      "weights", Impl::memoryRegion(weights));

  Kokkos::Profiling::ScopedRegion region(function);
  if (logits.extent(0) == 0) return;
  Impl::route(space,
              Impl::makeRouterData(logits, expert_ids, weights, options));
}

}  // namespace Tokkos

#endif
