// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// SPDX-FileCopyrightText: Copyright Contributors to the Tokkos project

#ifndef TOKKOS_IMPL_PLANUPDATE_HPP
#define TOKKOS_IMPL_PLANUPDATE_HPP

#include <Tokkos/Impl/PlanData.hpp>
#include <Tokkos/Impl/PlanFewExperts.hpp>
#include <Tokkos/Impl/PlanHost.hpp>
#include <Tokkos/Impl/PlanSmall.hpp>
#include <Tokkos/Impl/PlanTeam.hpp>
#include <Tokkos/Impl/PlanTiles.hpp>
#include <Tokkos/KokkosExt/Subgroup.hpp>
#include <Tokkos/KokkosExt/Team.hpp>
#include <Tokkos/KokkosExt/Types.hpp>

#include <Kokkos_Core.hpp>

// Which of the algorithms makes a plan, and with which tiles and teams. The
// numbers come from measurements: docs/performance.
namespace Tokkos::Impl {

inline int divideUp(int n, int divisor) {
  return n / divisor + (n % divisor != 0 ? 1 : 0);
}

/// Of tiles with 16-bit counts, on a device.
inline constexpr int most_tiles = 512;

/// A team of a tile reads the whole table. With thousands of experts, as long
/// as they fit into scratch memory, that asks for fewer and longer tiles.
inline bool hasLongTableRows(int num_experts) {
  return num_experts >= 1024 && num_experts < 16384;
}
inline int shortestTile(int num_experts) {
  return hasLongTableRows(num_experts) ? 2048 : 1024;
}

/// Enough to occupy a device; fewer where the table would exceed 32 MB.
inline int wantedTiles(int num_experts) {
  const int most =
      hasLongTableRows(num_experts) && num_experts >= 4096 ? 64 : 128;
  return Kokkos::max(1, Kokkos::min(most, (8 << 20) / num_experts));
}

/// The assignments are cut into tiles of this length.
template <class ExecutionSpace>
int planTileLength([[maybe_unused]] const ExecutionSpace& space,
                   int num_assignments, int num_experts) {
  if constexpr (KokkosExt::is_host_execution_space_v<ExecutionSpace>) {
    // A tile for every thread, but none so short that starting a thread on it
    // costs more than walking it, or that most cache lines of the second map,
    // where an expert's rows from all tiles lie side by side, have two writers.
    const int shortest =
        Kokkos::max(4096, 32 * Kokkos::min(num_experts, 1 << 20));
    const int threads = Kokkos::max(1, static_cast<int>(space.concurrency()));
    return Kokkos::max(shortest, divideUp(num_assignments, threads));
  } else {
    // Whole passes of a team, and never so many tiles that the table, with a
    // count for every expert in every one, costs more than the assignments.
    const int length = divideUp(num_assignments, wantedTiles(num_experts));
    if (const int shortest = shortestTile(num_experts); length <= shortest)
      return shortest;
    const int passes = divideUp(length, 4096) * 4096;
    return num_experts <= 1024 && passes > max_tile_length &&
                   divideUp(num_assignments, max_tile_length) <= most_tiles
               ? max_tile_length
               : passes;
  }
}

/// The most tiles that so many assignments or fewer are cut into.
template <class ExecutionSpace>
int planMaxTiles(const ExecutionSpace& space, int num_assignments,
                 int num_experts) {
  int tiles = divideUp(num_assignments,
                       planTileLength(space, num_assignments, num_experts));
  // Tiles come in their largest numbers just before they grow.
  if constexpr (!KokkosExt::is_host_execution_space_v<ExecutionSpace>) {
    tiles = Kokkos::max(
        tiles,
        Kokkos::min(wantedTiles(num_experts),
                    divideUp(num_assignments, shortestTile(num_experts))));
    if (num_experts <= 1024)
      tiles = Kokkos::max(
          tiles,
          Kokkos::min(most_tiles, divideUp(num_assignments, max_tile_length)));
  }
  return Kokkos::max(1, tiles);
}

/// What a team can use.
struct TeamLimits {
  int lanes;
  int scratch_bytes;
};

/// Whether a team of this shape can have its scratch memory.
template <class Keys>
bool fitsIntoScratch(const TileShape& shape, const PlanData& plan,
                     const TeamLimits& limits, bool single) {
  return TileScratch::bytes(plan.numBins(), shape.team_size / limits.lanes,
                            shape.passLength(), Keys::plain,
                            single) <= limits.scratch_bytes;
}

/// The team for all assignments in one tile; none when several tiles are
/// faster, or when the experts are too many.
template <class Keys>
TileShape singleTileShape(const PlanData& plan, const TeamLimits& limits) {
  // With few experts a team is fast for longer, with many a table is slow.
  const int n = plan.num_assignments;
  const int longest =
      plan.num_experts <= 32 || plan.num_experts >= 2048 ? 4096 : 3072;
  if (n > longest) return {};
  const TileShape shape =
      n <= 256    ? TileShape{256, 1}
      : n <= 1024 ? TileShape{256, 4}
      : n <= 2048
          ? plan.num_experts <= 32 ? TileShape{512, 4} : TileShape{256, 8}
          : TileShape{512, 8};
  if (fitsIntoScratch<Keys>(shape, plan, limits, true)) return shape;
  const TileShape smaller{128, 8};
  if (n <= smaller.passLength() &&
      fitsIntoScratch<Keys>(smaller, plan, limits, true))
    return smaller;
  return {};
}

/// The team for one of several tiles; none when the experts are too many.
template <class Keys>
TileShape manyTilesShape(const PlanData& plan, const TeamLimits& limits) {
  for (const TileShape shape :
       {TileShape{512, 8}, TileShape{512, 4}, TileShape{256, 8},
        TileShape{256, 4}, TileShape{128, 4}})
    if (plan.tile_length >= shape.passLength() &&
        fitsIntoScratch<Keys>(shape, plan, limits, false))
      return shape;
  return {};
}

/// False when the experts or the assignments are too many.
template <int OfLane, class ExecutionSpace, class Keys>
bool updatePlanFewExperts(const ExecutionSpace& space, const Keys& keys,
                          const PlanData& plan) {
  constexpr int lanes = KokkosExt::Subgroup<ExecutionSpace>::lanes;
  const int n         = plan.num_assignments;
  if (plan.num_experts > OfLane * lanes || n > 1024) return false;
  if (n <= 512)
    launchPlanFewExperts<2, OfLane>(
        space, keys, plan, Kokkos::max(1, divideUp(n, 2 * lanes)) * lanes);
  else
    launchPlanFewExperts<4, OfLane>(space, keys, plan, 256);
  return true;
}

/// On a device; false when the plan needs the algorithm for any size.
template <class ExecutionSpace, class Keys>
bool updatePlanInScratch(const ExecutionSpace& space, const Keys& keys,
                         const PlanData& plan) {
  constexpr int lanes = KokkosExt::Subgroup<ExecutionSpace>::lanes;
  if constexpr (lanes >= 32)
    if (updatePlanFewExperts<1>(space, keys, plan) ||
        updatePlanFewExperts<2>(space, keys, plan))
      return true;
  if constexpr (Keys::plain) {
    constexpr int few_queries = 8192;
    if (plan.num_assignments <= 32 &&
        plan.num_experts <=
            few_queries / Kokkos::max(1, plan.num_assignments)) {
      const int queries = plan.num_assignments + plan.num_experts + 1;
      updatePlanSmall(space, keys, plan,
                      Kokkos::min(512, divideUp(queries, 32) * 32));
      return true;
    }
  }
  if constexpr (lanes >= 32) {
    const TeamLimits limits{lanes, KokkosExt::maxTeamScratch(space)};
    if (const auto shape = singleTileShape<Keys>(plan, limits);
        shape.team_size > 0) {
      updatePlanSingleTile(space, keys, plan, shape);
      return true;
    }
    if (const auto shape = manyTilesShape<Keys>(plan, limits);
        shape.team_size > 0 && plan.tile_length <= max_tile_length) {
      updatePlanTiles(space, keys, plan, shape);
      return true;
    }
  }
  return false;
}

template <class ExecutionSpace, class Id>
void updatePlan(const ExecutionSpace& space, const PlanKeys<Id>& keys,
                const PlanData& plan) {
  const bool only_range =
      keys.contiguous && keys.mask == nullptr && keys.marks == nullptr &&
      keys.tokens_of_a_choice == 0 && keys.expert_map == nullptr;
  const bool plain_ids =
      only_range && keys.num_experts == keys.num_global_experts;
  const PlainPlanKeys<Id> plain_keys{keys.ids, keys.num_experts};
  if constexpr (KokkosExt::is_host_execution_space_v<ExecutionSpace>) {
    if (plain_ids)
      updatePlanHost(space, plain_keys, plan);
    else if (only_range)
      updatePlanHost(space,
                     RangePlanKeys<Id>{keys.ids, keys.num_global_experts,
                                       keys.first_expert, keys.num_experts},
                     plan);
    else
      updatePlanHost(space, keys, plan);
  } else {
    const bool plain = plain_ids && !plan.hasCapacity() && plan.alignment == 1;
    constexpr int team_size = 512;
    const bool done = plain ? updatePlanInScratch(space, plain_keys, plan)
                            : updatePlanInScratch(space, keys, plan);
    if (!done) updatePlanTeam(space, keys, plan, team_size);
  }
}

}  // namespace Tokkos::Impl

#endif
