// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// SPDX-FileCopyrightText: Copyright Contributors to the Tokkos project

#ifndef TOKKOS_IMPL_PLANTILESCRATCH_HPP
#define TOKKOS_IMPL_PLANTILESCRATCH_HPP

#include <Tokkos/Impl/PlanData.hpp>

#include <Kokkos_Core.hpp>

#include <cstdint>

// What the teams of PlanTiles.hpp share: their shape, their scratch memory, a
// scan over a team, and the table that one launch hands to the next.
namespace Tokkos::Impl {

/// How a team works.
struct TileShape {
  int team_size = 0;  // 0: the experts do not fit into scratch memory
  int items     = 0;  // assignments that a thread holds in a pass

  int passLength() const { return team_size * items; }
};

/// Counters that one load brings.
struct alignas(16) CounterPack {
  static constexpr int size = 8;
  std::uint16_t count[size];
};

/// The same counts, two by two.
struct CounterPairs {
  std::uint32_t counts[CounterPack::size / 2];
};

/// What a team keeps in scratch memory.
struct TileScratch {
  std::uint16_t* counters;      // bin x subgroup; then starts in the pass
  int* shift;                   // from places in the pass to rows
  int* limit;                   // first row behind what the expert keeps
  int* segment_end;             // first row behind its padding
  std::uint16_t* sorted_index;  // the pass, sorted
  std::uint16_t* sorted_bin;    // and where each goes
  int* partial;                 // three sums of subgroups; then a total

  static constexpr int max_subgroups = 32;
  static constexpr int total         = 3 * max_subgroups;
  static constexpr int partial_bytes = (total + 4) * 4;

  KOKKOS_FUNCTION static int numPacks(int num_bins, int num_subgroups) {
    return (num_bins * num_subgroups + CounterPack::size - 1) /
           CounterPack::size;
  }
  KOKKOS_FUNCTION static int binBytes(int num_bins) {
    return (num_bins * 4 + 15) / 16 * 16;
  }

  // Without options and with a single tile a place in the pass is a row.
  KOKKOS_FUNCTION static int bytes(int num_bins, int num_subgroups,
                                   int pass_length, bool plain, bool single) {
    const int num_bin_arrays = plain ? (single ? 0 : 2) : 3;
    return numPacks(num_bins, num_subgroups) * int(sizeof(CounterPack)) +
           num_bin_arrays * binBytes(num_bins) + partial_bytes +
           pass_length * (plain && single ? 2 : 4);
  }

  KOKKOS_FUNCTION TileScratch(void* memory, int num_bins, int num_subgroups,
                              int pass_length, bool plain, bool single) {
    auto* next       = static_cast<char*>(memory);
    const auto carve = [&next](int size) {
      char* const result = next;
      next += size;
      return static_cast<void*>(result);
    };
    counters = static_cast<std::uint16_t*>(
        carve(numPacks(num_bins, num_subgroups) * int(sizeof(CounterPack))));
    const int bin_bytes = plain && single ? 0 : binBytes(num_bins);
    shift               = static_cast<int*>(carve(bin_bytes));
    limit               = static_cast<int*>(carve(bin_bytes));
    segment_end         = static_cast<int*>(carve(plain ? 0 : bin_bytes));
    partial             = static_cast<int*>(carve(partial_bytes));
    sorted_index        = static_cast<std::uint16_t*>(carve(pass_length * 2));
    sorted_bin          = static_cast<std::uint16_t*>(carve(0));
  }
};

/// Sums of N values over the threads before this one, and over all.
template <class Subgroup, int N, class Team>
KOKKOS_FUNCTION void exclusiveSums(const Team& team, int* partial,
                                   const int (&value)[N], int (&before)[N],
                                   int (&total)[N]) {
  const int lane     = team.team_rank() % Subgroup::lanes;
  const int subgroup = team.team_rank() / Subgroup::lanes;
  const int num      = team.team_size() / Subgroup::lanes;
  for (int i = 0; i < N; ++i) {
    before[i] = Subgroup::inclusiveSum(lane, value[i]);
    if (lane == Subgroup::lanes - 1)
      partial[i * TileScratch::max_subgroups + subgroup] = before[i];
  }
  team.team_barrier();
  // Every subgroup sums the sums for itself: cheaper than a second barrier.
  for (int i = 0; i < N; ++i) {
    const int of_lane =
        lane < num ? partial[i * TileScratch::max_subgroups + lane] : 0;
    const int through = Subgroup::inclusiveSum(lane, of_lane);
    total[i]          = Subgroup::fromLane(through, num - 1);
    before[i] += Subgroup::fromLane(through - of_lane, subgroup) - value[i];
  }
}

/// The table of the tiles has 16-bit counts, so a tile is no longer than this.
inline constexpr int max_tile_length = 15 * 4096;

/// Behind the rows stand, tile by tile, the numbers of invalid ids.
KOKKOS_INLINE_FUNCTION int tablePacks(const PlanData& plan) {
  return (plan.num_experts + CounterPack::size - 1) / CounterPack::size;
}
KOKKOS_INLINE_FUNCTION CounterPack* tableRowOfPacks(const PlanData& plan,
                                                    int tile) {
  return reinterpret_cast<CounterPack*>(plan.table) + tile * tablePacks(plan);
}
KOKKOS_INLINE_FUNCTION int* tableInvalid(const PlanData& plan) {
  return reinterpret_cast<int*>(tableRowOfPacks(plan, plan.num_tiles));
}

}  // namespace Tokkos::Impl

#endif
