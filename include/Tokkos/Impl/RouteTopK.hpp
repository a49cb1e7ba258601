// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// SPDX-FileCopyrightText: Copyright Contributors to the Tokkos project

#ifndef TOKKOS_IMPL_ROUTETOPK_HPP
#define TOKKOS_IMPL_ROUTETOPK_HPP

#include <Tokkos/Impl/RouteHost.hpp>
#include <Tokkos/Impl/RouteKeys.hpp>
#include <Tokkos/Impl/RouteLanes.hpp>
#include <Tokkos/Impl/RouteRounds.hpp>
#include <Tokkos/Impl/RouteSmall.hpp>
#include <Tokkos/Impl/RouterData.hpp>
#include <Tokkos/KokkosExt/Lanes.hpp>
#include <Tokkos/KokkosExt/Launch.hpp>
#include <Tokkos/KokkosExt/Team.hpp>
#include <Tokkos/KokkosExt/Types.hpp>

#include <Kokkos_Core.hpp>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <type_traits>

/// The choice of algorithm for routeTopK.
namespace Tokkos::Impl {

inline constexpr auto route_label = "Tokkos::routeTopK::route";

/// True when four numbers of a row can be read or written as one word.
template <class Matrix>
bool hasAlignedChunks(const Matrix& matrix, int num_tokens, int num_experts) {
  return matrix.column_stride == 1 && num_experts % 4 == 0 &&
         (num_tokens == 1 || matrix.row_stride % 4 == 0) &&
         reinterpret_cast<std::uintptr_t>(matrix.data) %
                 (4 * sizeof(*matrix.data)) ==
             0;
}

template <class Data>
bool hasAlignedChunks(const Data& data) {
  return hasAlignedChunks(data.logits, data.num_tokens, data.num_experts);
}

inline int numTeams(int num_tokens, int tokens_of_team) {
  return num_tokens / tokens_of_team + (num_tokens % tokens_of_team != 0);
}

template <class ExecutionSpace, class Data>
void routeOnHost(const ExecutionSpace& space, const Data& data) {
  KokkosExt::parallelFor(
      route_label,
      Kokkos::RangePolicy<ExecutionSpace, Kokkos::IndexType<int>>(
          space, 0, numTeams(data.num_tokens, RouteHost<Data>::tokens_of_call)),
      RouteHost<Data>{data});
}

template <class ExecutionSpace, class Data>
void routeInRounds(const ExecutionSpace& space, const Data& data) {
  constexpr int lanes = KokkosExt::max_lanes_v<ExecutionSpace>;
  using Route         = RouteRounds<ExecutionSpace, Data, lanes>;
  const int tokens    = lanes == 1 ? 1 : 4;
  const auto scratch  = static_cast<int>(Route::scratchBytes(data));
  KokkosExt::launchTeams(route_label, space, numTeams(data.num_tokens, tokens),
                         tokens * lanes, tokens * scratch,
                         Route{data, scratch});
}

/// Some tokens to a team, which has at least a warp.
template <class ExecutionSpace, class Route>
void launchRoute(const ExecutionSpace& space, const Route& functor) {
  constexpr int most_scratch = 32 * 1024;
  constexpr int lanes        = Route::lanes_of_token;
  const int fewest_tokens    = KokkosExt::max_lanes_v<ExecutionSpace> / lanes;
  int tokens                 = Route::max_team_size / lanes;
  while (tokens > fewest_tokens &&
         tokens * functor.scratch_bytes > most_scratch)
    tokens /= 2;
  KokkosExt::launchTeams(
      route_label, space, numTeams(functor.data.num_tokens, tokens),
      tokens * lanes, tokens * functor.scratch_bytes, functor);
}

template <int lanes, int chunks, RouterUse use, class ExecutionSpace,
          class Data>
void routeByLanes(const ExecutionSpace& space, const Data& data) {
  launchRoute(space, RouteLanes<ExecutionSpace, Data, lanes, chunks, use>(
                         data, hasAlignedChunks(data)));
}

/// The longest rows that lie in registers, where keys are logits and where they
/// are scores, and in scratch memory. More choices than max_register_choices
/// are seldom among the three largest of their lanes.
inline constexpr int max_register_logits  = 1024;
inline constexpr int max_register_scores  = 512;
inline constexpr int max_register_choices = 32;
template <class Real>
inline constexpr int max_scratch_experts =
    32768 / static_cast<int>(sizeof(Real));
/// More choices than these have no room in scratch memory.
inline constexpr int max_ranked_choices = 256;

/// From so many tokens on there are enough for all lanes of a device.
inline constexpr int many_tokens = 16384;
inline constexpr int few_experts = 32;
inline constexpr int few_choices = 8;

template <class Data>
bool hasShortRows(const Data& data) {
  return data.num_experts <= few_experts && data.top_k <= few_choices;
}

/// A warp to a token, or less to one of few experts.
template <RouterUse use, class ExecutionSpace, class Data>
void routeByWarps(const ExecutionSpace& space, const Data& data) {
  constexpr int most =
      use == RouterUse::general ? max_register_scores : max_register_logits;
  if (data.num_experts > most || data.top_k > max_register_choices)
    routeByLanes<32, 0, use>(space, data);
  else if (hasShortRows(data))
    routeByLanes<8, 1, use>(space, data);
  else if (data.num_experts <= 128)
    routeByLanes<32, 1, use>(space, data);
  else if (data.num_experts <= 256)
    routeByLanes<32, 2, use>(space, data);
  else if (data.num_experts <= 384)
    routeByLanes<32, 3, use>(space, data);
  else if (data.num_experts <= 512)
    routeByLanes<32, 4, use>(space, data);
  else if constexpr (use != RouterUse::general)
    routeByLanes<32, 8, use>(space, data);
}

/// True for what RouteKeys can route, unless less than a warp to a token is
/// better.
template <class Data>
bool canRouteByKeys(const Data& data) {
  if (!std::is_same_v<typename Data::Real, float> ||
      data.score != Score::sigmoid || !data.keyed_by_score ||
      data.mask != nullptr || data.soft_cap != 0 ||
      data.expert_scale != nullptr || data.num_shared != 0)
    return false;
  if (hasShortRows(data) && data.num_tokens >= many_tokens) return false;
  if (data.num_experts > 384 || data.top_k > max_register_choices ||
      !data.hasRows() || !hasAlignedChunks(data) ||
      reinterpret_cast<std::uintptr_t>(data.bias) % (4 * sizeof(float)) != 0)
    return false;
  const int chunks = (data.num_experts + 127) / 128;
  return !data.limits_groups ||
         (RouterGroups<float>::areOfNeighbours(data, 32) &&
          data.group_size >= 4 * chunks);
}

template <int chunks, class ExecutionSpace, class Data>
void routeByKeys(const ExecutionSpace& space, const Data& data) {
  if (data.limits_groups)
    launchRoute(space, RouteKeys<ExecutionSpace, Data, chunks, true>(data));
  else
    launchRoute(space, RouteKeys<ExecutionSpace, Data, chunks, false>(data));
}

/// pre-condition: canRouteByKeys(data)
template <class ExecutionSpace, class Data>
void routeByKeys(const ExecutionSpace& space, const Data& data) {
  if constexpr (std::is_same_v<typename Data::Real, float>) {
    if (data.num_experts <= 128)
      routeByKeys<1>(space, data);
    else if (data.num_experts <= 256)
      routeByKeys<2>(space, data);
    else
      routeByKeys<3>(space, data);
  }
}

/// A softmax. More lanes to a token answer sooner, fewer do more tokens in a
/// time.
template <RouterUse use, class ExecutionSpace, class Data>
void routePlain(const ExecutionSpace& space, const Data& data) {
  const bool is_batch =
      data.num_tokens >= many_tokens && data.top_k <= few_choices;
  if (data.num_experts <= 8)
    launchRoute(space, RouteSmall<ExecutionSpace, Data, use>{
                           data, hasAlignedChunks(data)});
  else if (is_batch && data.num_experts > few_experts && data.num_experts <= 64)
    routeByLanes<8, 2, use>(space, data);
  else if (is_batch && data.num_experts > 64 && data.num_experts <= 128)
    routeByLanes<16, 2, use>(space, data);
  else
    routeByWarps<use>(space, data);
}

template <class ExecutionSpace, class Data>
void routeOnDevice(const ExecutionSpace& space, const Data& data) {
  if (data.top_k > max_ranked_choices ||
      data.num_experts > max_scratch_experts<typename Data::Real>)
    routeInRounds(space, data);
  else if (data.use() == RouterUse::softmax && data.hasRows())
    routePlain<RouterUse::softmax>(space, data.inRows());
  else if (data.use() == RouterUse::sums && data.hasRows())
    routePlain<RouterUse::sums>(space, data.inRows());
  else if (canRouteByKeys(data))
    routeByKeys(space, data.template withoutCap<RouterRows>());
  else if (data.soft_cap != 0)
    routeByLanes<32, 0, RouterUse::general>(space, data);
  else
    routeByWarps<RouterUse::general>(space, data.withoutCap());
}

template <class ExecutionSpace, class Data>
void route(const ExecutionSpace& space, const Data& data) {
  if constexpr (KokkosExt::max_lanes_v<ExecutionSpace> == 32)
    routeOnDevice(space, data);
  else if constexpr (KokkosExt::is_host_execution_space_v<ExecutionSpace>)
    if (data.num_experts <= RouteHost<Data>::max_experts)
      routeOnHost(space, data);
    else
      routeInRounds(space, data);
  else
    routeInRounds(space, data);
}

}  // namespace Tokkos::Impl

#endif
