// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// SPDX-FileCopyrightText: Copyright Contributors to the Tokkos project

#ifndef TOKKOS_IMPL_PLANTILES_HPP
#define TOKKOS_IMPL_PLANTILES_HPP

#include <Tokkos/Impl/PlanData.hpp>
#include <Tokkos/Impl/PlanTileScratch.hpp>
#include <Tokkos/KokkosExt/Team.hpp>
#include <Tokkos/KokkosExt/Loop.hpp>
#include <Tokkos/KokkosExt/Subgroup.hpp>

#include <Kokkos_Core.hpp>

#include <cstdint>

// The plan where threads run in lockstep and everything about the experts fits
// into a team's scratch memory. Two launches: every team counts its tile into
// a row of the table; then every team sums the rows before its own and all
// rows, and places its tile. When there is one tile the second launch does
// without the first.
//
// A tile is sorted in passes over the assignments that a team's threads hold in
// registers. In a pass every subgroup owns a contiguous chunk and a column of
// 16-bit counters, one for each bin (the experts, then the invalid ids).
// Walking its chunk a subgroup's width at a time it learns, in one step, the
// rank of an assignment among its equals in the chunk and the chunk's counts.
// One scan over the counters, bin by bin, then tells where in the sorted pass
// the equals of every chunk begin. The rows reach memory in sorted order, so
// that the writes of a subgroup fall together.
namespace Tokkos::Impl {

template <class ExecutionSpace, class Keys, int Items>
struct PlanCountTiles {
  using Team = KokkosExt::Team<ExecutionSpace>;

  Keys keys;
  PlanData plan;
  bool next_starts_early;

  // Packs of bins for the experts, and one bin for invalid ids behind them.
  KOKKOS_FUNCTION static int numPackedBins(const PlanData& plan) {
    return tablePacks(plan) * CounterPack::size;
  }
  static int scratchBytes(const PlanData& plan) {
    return (numPackedBins(plan) + 1) * static_cast<int>(sizeof(int));
  }

  KOKKOS_FUNCTION void operator()(const Team& team) const {
    const int tile        = team.league_rank();
    const int first       = plan.tileBegin(tile) + team.team_rank();
    const int end         = plan.tileEnd(tile);
    const int packed_bins = numPackedBins(plan);
    if (next_starts_early) team.letNextKernelStart();
    // The first ids are under way while the bins are cleared.
    int bin[Items];
    load(first, end, team.team_size(), bin);
    int* const bins = static_cast<int*>(team.scratch());
    KokkosExt::rolledLoop(team.team_rank(), packed_bins + 1, team.team_size(),
                          [&](int b) { bins[b] = 0; });
    team.team_barrier();
    KokkosExt::rolledLoop(first, end, Items * team.team_size(), [&](int next) {
      if (next != first) load(next, end, team.team_size(), bin);
      for (int i = 0; i < Items; ++i) {
        if (bin[i] == key_invalid) bin[i] = packed_bins;
        if (bin[i] != key_none) Kokkos::atomic_inc(&bins[bin[i]]);
      }
    });
    team.team_barrier();
    CounterPack* const row = tableRowOfPacks(plan, tile);
    KokkosExt::rolledLoop(
        team.team_rank(), tablePacks(plan), team.team_size(), [&](int p) {
          CounterPack pack;
          for (int i = 0; i < CounterPack::size; ++i)
            pack.count[i] =
                static_cast<std::uint16_t>(bins[p * CounterPack::size + i]);
          row[p] = pack;
        });
    if (team.team_rank() == 0) tableInvalid(plan)[tile] = bins[packed_bins];
  }

 private:
  KOKKOS_FUNCTION void load(int first, int end, int step,
                            int (&bin)[Items]) const {
    for (int i = 0; i < Items; ++i) {
      const int a = first + i * step;
      bin[i]      = a < end ? keys(a) : int(key_none);
    }
  }
};

template <class ExecutionSpace, class Keys, int Items, bool SingleTile>
struct PlanPlaceTiles {
  using Team     = KokkosExt::Team<ExecutionSpace>;
  using Subgroup = KokkosExt::Subgroup<ExecutionSpace>;

  static constexpr bool plain = Keys::plain;
  // While the tiles are counted the teams can rank their own.
  static constexpr bool starts_early           = plain && !SingleTile;
  static constexpr bool awaits_earlier_kernels = starts_early;

  Keys keys;
  PlanData plan;
  // What a thread owns of the two scans; divisions are slow on a device.
  int packs_of_thread;
  int experts_of_thread;
  // So many bits number the packs of the table that threads read from one row
  // at a time.
  int pack_bits;

  static PlanPlaceTiles make(const Keys& keys, const PlanData& plan,
                             int team_size) {
    const int num_packs =
        TileScratch::numPacks(plan.numBins(), team_size / Subgroup::lanes);
    return {keys, plan, runOfThread(num_packs, team_size),
            runOfThread(plan.num_experts, team_size),
            packBits(plan, team_size)};
  }

  int scratchBytes(int team_size) const {
    return TileScratch::bytes(plan.numBins(), team_size / Subgroup::lanes,
                              team_size * Items, plain, SingleTile);
  }

  KOKKOS_FUNCTION void operator()(const Team& team) const {
    const int num_subgroups = team.team_size() / Subgroup::lanes;
    const int pass_length   = team.team_size() * Items;
    const int tile          = team.league_rank();
    const int begin         = plan.tileBegin(tile);
    const int end           = plan.tileEnd(tile);

    // The first ids are under way while the table is summed.
    int bin[Items];
    load(team, begin, end, bin);

    const TileScratch scratch(team.scratch(), plan.numBins(), num_subgroups,
                              pass_length, plain, SingleTile);
    // One call of pass: it is all of the code.
    KokkosExt::rolledLoop(0, SingleTile ? 1 : end - begin, pass_length,
                          [&](int done) {
                            if (!SingleTile && done > 0)
                              load(team, begin + done, end, bin);
                            pass(team, scratch, begin + done, end, bin);
                          });
    if constexpr (!plain)
      if (plan.alignment > 1) pad(team, scratch);
  }

 private:
  /// Threads own runs of so many of the entries. An odd number of them keeps
  /// the lanes of a subgroup in different banks of scratch memory.
  static int runOfThread(int num_entries, int team_size) {
    const int length = (num_entries + team_size - 1) / team_size;
    return length < 4 ? length : length | 1;
  }

  static int packBits(const PlanData& plan, int team_size) {
    int bits = 0;
    while (1 << bits < tablePacks(plan) && 2 << bits <= team_size)
      ++bits;
    return bits;
  }

  KOKKOS_FUNCTION static int firstOfThread(const Team& team, int begin) {
    const int lane     = team.team_rank() % Subgroup::lanes;
    const int subgroup = team.team_rank() / Subgroup::lanes;
    return begin + subgroup * Items * Subgroup::lanes + lane;
  }

  KOKKOS_FUNCTION void load(const Team& team, int begin, int end,
                            int (&bin)[Items]) const {
    const int first = firstOfThread(team, begin);
    for (int i = 0; i < Items; ++i) {
      const int a = first + i * Subgroup::lanes;
      bin[i]      = key_none;
      if constexpr (starts_early) {
        if (a < end) bin[i] = keys.early(a);
      } else {
        if (a < end) bin[i] = keys(a);
      }
    }
  }

  /// Adds the table to two cleared arrays: what is in the tiles before this
  /// one, and what is in this and the later ones.
  KOKKOS_FUNCTION void sumTable(const Team& team, int* before,
                                int* rest) const {
    // Threads side by side read packs side by side, of one row or, where that
    // is short, of several.
    const int row_packs = 1 << pack_bits;
    const int first_row = team.team_rank() >> pack_bits;
    const int step      = team.team_size() >> pack_bits;
    KokkosExt::rolledLoop(
        team.team_rank() & (row_packs - 1), tablePacks(plan), row_packs,
        [&](int p) {
          // Rows before the tile, then the others.
          int row = first_row;
          KokkosExt::rolledLoop(0, 2, 1, [&](int part) {
            row = sumRows(part == 0 ? before : rest, p, row, step,
                          part == 0 ? team.league_rank() : plan.num_tiles);
          });
        });
    if (team.league_rank() == 0)
      KokkosExt::rolledLoop(
          team.team_rank(), plan.num_tiles, team.team_size(), [&](int t) {
            if (const int count = tableInvalid(plan)[t]; count != 0)
              Kokkos::atomic_add(&rest[plan.num_experts], count);
          });
  }

  /// Adds pack p of the rows from \p row on, below \p end, to the experts'
  /// sums. Returns the next row.
  KOKKOS_FUNCTION int sumRows(int* sums, int p, int row, int step,
                              int end) const {
    constexpr int size = CounterPack::size;
    const int packs    = tablePacks(plan);
    const auto* pack   = tableRowOfPacks(plan, row) + p;
    int sum[size]      = {};
    for (; row < end; row += step, pack += step * packs) {
      const CounterPack counts = *pack;
      for (int i = 0; i < size; ++i)
        sum[i] += counts.count[i];
    }
    for (int i = 0; i < size; ++i)
      if (sum[i] != 0) Kokkos::atomic_add(&sums[p * size + i], sum[i]);
    return row;
  }

  /// Of the experts that a thread owns.
  struct ExpertSums {
    int begin;
    int end;
    int rows;
    int dropped;
  };

  KOKKOS_FUNCTION static int totalOf(const int* before, const int* rest,
                                     int b) {
    return SingleTile ? rest[b] : before[b] + rest[b];
  }

  KOKKOS_FUNCTION ExpertSums sumExperts(const Team& team, const int* before,
                                        const int* rest) const {
    ExpertSums own{};
    own.begin =
        Kokkos::min(team.team_rank() * experts_of_thread, plan.num_experts);
    own.end = Kokkos::min(own.begin + experts_of_thread, plan.num_experts);
    KokkosExt::rolledLoop(own.begin, own.end, 1, [&](int e) {
      const int total = totalOf(before, rest, e);
      const int kept  = keptOf(total);
      own.rows += paddedRows(kept);
      own.dropped += total - kept;
    });
    return own;
  }

  /// From the row where the thread's experts begin: leaves in `shift` the row
  /// of every expert's first assignment in this tile.
  KOKKOS_FUNCTION void placeExperts(const Team& team,
                                    const TileScratch& scratch,
                                    const int* before, const int* rest,
                                    const ExpertSums& own, int row,
                                    int num_rows, int num_dropped) const {
    if (team.league_rank() == 0 && team.team_rank() == 0) {
      scratch.shift[plan.num_experts] = num_rows;
      plan.offsets[plan.num_experts]  = num_rows;
      *plan.num_rows                  = num_rows;
      *plan.num_dropped               = num_dropped + rest[plan.num_experts];
    }
    KokkosExt::rolledLoop(own.begin, own.end, 1, [&](int e) {
      const int total  = totalOf(before, rest, e);
      const int kept   = keptOf(total);
      scratch.shift[e] = row + (SingleTile ? 0 : before[e]);
      if constexpr (!plain) {
        scratch.limit[e]       = row + kept;
        scratch.segment_end[e] = row + paddedRows(kept);
        if (team.league_rank() == 0) plan.dropped[e] = total - kept;
      }
      row += paddedRows(kept);
    });
  }

  /// By the team of the first tile, whose rows begin where the experts' do.
  KOKKOS_FUNCTION void writeSegments(const Team& team,
                                     const TileScratch& scratch) const {
    KokkosExt::rolledLoop(team.team_rank(), plan.num_experts, team.team_size(),
                          [&](int e) {
                            const int begin = scratch.shift[e];
                            plan.offsets[e] = begin;
                            if constexpr (plain) {
                              plan.counts[e]  = scratch.shift[e + 1] - begin;
                              plan.dropped[e] = 0;
                            } else {
                              plan.counts[e] = scratch.limit[e] - begin;
                            }
                          });
  }

  KOKKOS_FUNCTION int keptOf(int count) const {
    return plain ? count : Kokkos::min(count, plan.capacity);
  }
  KOKKOS_FUNCTION int paddedRows(int count) const {
    return plain ? count : plan.paddedRows(count);
  }

  KOKKOS_FUNCTION void pass(const Team& team, const TileScratch& scratch,
                            int begin, int end, int (&bin)[Items]) const {
    const int num_subgroups = team.team_size() / Subgroup::lanes;
    const int subgroup      = team.team_rank() / Subgroup::lanes;
    const int first         = firstOfThread(team, begin);
    auto* const packs       = reinterpret_cast<CounterPack*>(scratch.counters);
    // Until they get their contents, the sums of the table.
    int* const before = scratch.shift;
    int* const rest   = scratch.limit;
    const bool sum_table =
        !SingleTile && begin == plan.tileBegin(team.league_rank());
    KokkosExt::rolledLoop(
        team.team_rank(), TileScratch::numPacks(plan.numBins(), num_subgroups),
        team.team_size(), [&](int p) { packs[p] = CounterPack{}; });
    if (sum_table)
      KokkosExt::rolledLoop(team.team_rank(), plan.numBins(), team.team_size(),
                            [&](int b) { before[b] = rest[b] = 0; });
    team.team_barrier();
    int rank[Items];
    rankInChunk(scratch, num_subgroups, subgroup,
                team.team_rank() % Subgroup::lanes, bin, rank);
    if (sum_table) {
      if constexpr (starts_early) team.awaitEarlierKernels();
      sumTable(team, before, rest);
    }
    team.team_barrier();
    scan(team, scratch, num_subgroups, sum_table, before, rest);
    team.team_barrier();
    if (sum_table && team.league_rank() == 0) writeSegments(team, scratch);
    if constexpr (SingleTile && !plain) {
      // What the table tells where there are more tiles: the bins' totals.
      int* const totals = scratch.segment_end;
      KokkosExt::rolledLoop(
          team.team_rank(), plan.numBins(), team.team_size(),
          [&](int b) { totals[b] = countOf(scratch, num_subgroups, b); });
      team.team_barrier();
      const ExpertSums own = sumExperts(team, nullptr, totals);
      const int value[]    = {own.rows, own.dropped};
      int sum_before[2], total[2];
      exclusiveSums<Subgroup>(team, scratch.partial, value, sum_before, total);
      placeExperts(team, scratch, nullptr, totals, own, sum_before[0], total[0],
                   total[1]);
      team.team_barrier();
      writeSegments(team, scratch);
    }

    for (int i = 0; i < Items; ++i) {
      const int a      = first + i * Subgroup::lanes;
      const bool valid = bin[i] >= 0 && bin[i] < plan.num_experts;
      int row          = -1;
      if (valid) {
        const int begin_of_bin = scratch.counters[bin[i] * num_subgroups];
        const int place =
            scratch.counters[bin[i] * num_subgroups + subgroup] + rank[i];
        scratch.sorted_index[place] = static_cast<std::uint16_t>(a - begin);
        if constexpr (SingleTile && plain) {
          row = place;
        } else {
          scratch.sorted_bin[place] = static_cast<std::uint16_t>(bin[i]);
          row = rowOf(scratch, bin[i], place - begin_of_bin);
        }
      }
      if (a < end) plan.row_of_assignment[a] = row;
    }
    team.team_barrier();
    writeSorted(team, scratch, num_subgroups, begin);
    if constexpr (SingleTile && plain)
      writeExperts(team, scratch, num_subgroups);
    if (!SingleTile && begin + Items * team.team_size() < end) {
      team.team_barrier();
      // The next pass begins behind this one.
      KokkosExt::rolledLoop(
          team.team_rank(), plan.num_experts, team.team_size(), [&](int e) {
            scratch.shift[e] += countOf(scratch, num_subgroups, e);
          });
      team.team_barrier();
    }
  }

  KOKKOS_FUNCTION void rankInChunk(const TileScratch& scratch,
                                   int num_subgroups, int subgroup, int lane,
                                   int (&bin)[Items],
                                   int (&rank)[Items]) const {
    for (int i = 0; i < Items; ++i)
      if (bin[i] == key_invalid) bin[i] = plan.num_experts;
    typename Subgroup::Lanes equal[Items];
    Subgroup::findEqual(bin, plan.key_bits, equal);
    for (int i = 0; i < Items; ++i) {
      auto* const counter =
          scratch.counters + Kokkos::max(bin[i], 0) * num_subgroups + subgroup;
      const int before = Subgroup::countBefore(equal[i], lane);
      rank[i]          = *counter + before;
      Subgroup::sync();
      if (bin[i] >= 0 && before == 0)
        *counter =
            static_cast<std::uint16_t>(rank[i] + Subgroup::count(equal[i]));
      Subgroup::sync();
    }
  }

  /// Turns the counts, bin by bin and in each the subgroups, into their
  /// exclusive sums, and at the same time the sums of the table into rows.
  KOKKOS_FUNCTION void scan(const Team& team, const TileScratch& scratch,
                            int num_subgroups, bool sum_table,
                            const int* before, const int* rest) const {
    auto* const packs = reinterpret_cast<CounterPack*>(scratch.counters);
    const int num     = TileScratch::numPacks(plan.numBins(), num_subgroups);
    const int begin   = Kokkos::min(team.team_rank() * packs_of_thread, num);
    const int end     = Kokkos::min(begin + packs_of_thread, num);
    // Two counts in an integer: those of a pass do not carry.
    std::uint32_t pairs = 0;
    KokkosExt::rolledLoop(begin, end, 1, [&](int p) {
      const auto pack = Kokkos::bit_cast<CounterPairs>(packs[p]);
      for (const std::uint32_t pair : pack.counts)
        pairs += pair;
    });
    const int sum = static_cast<int>((pairs & 0xffffu) + (pairs >> 16));
    ExpertSums own{};
    if (sum_table) own = sumExperts(team, before, rest);

    constexpr int num_sums  = SingleTile ? 1 : plain ? 2 : 3;
    const int all_values[3] = {sum, own.rows, own.dropped};
    int value[num_sums], sum_before[num_sums], total[num_sums];
    for (int i = 0; i < num_sums; ++i)
      value[i] = all_values[i];
    exclusiveSums<Subgroup>(team, scratch.partial, value, sum_before, total);

    int next = sum_before[0];
    KokkosExt::rolledLoop(begin, end, 1, [&](int p) {
      CounterPack pack = packs[p];
      for (int i = 0; i < CounterPack::size; ++i) {
        const int count = pack.count[i];
        pack.count[i]   = static_cast<std::uint16_t>(next);
        next += count;
      }
      packs[p] = pack;
    });
    if (team.team_rank() == 0) scratch.partial[TileScratch::total] = total[0];
    if constexpr (!SingleTile)
      if (sum_table)
        placeExperts(team, scratch, before, rest, own, sum_before[1], total[1],
                     plain ? 0 : total[num_sums - 1]);
  }

  /// How many assignments of the pass are in the bin, after the scan.
  KOKKOS_FUNCTION int countOf(const TileScratch& scratch, int num_subgroups,
                              int b) const {
    const int end = b < plan.num_experts
                        ? int(scratch.counters[(b + 1) * num_subgroups])
                        : scratch.partial[TileScratch::total];
    return end - scratch.counters[b * num_subgroups];
  }

  KOKKOS_FUNCTION int rowOf(const TileScratch& scratch, int e,
                            int rank_in_pass) const {
    const int row = scratch.shift[e] + rank_in_pass;
    if constexpr (!plain)
      if (row >= scratch.limit[e]) return -1;
    return row;
  }

  KOKKOS_FUNCTION void writeSorted(const Team& team, const TileScratch& scratch,
                                   int num_subgroups, int begin) const {
    const int num_valid = scratch.counters[plan.num_experts * num_subgroups];
    for (int i = team.team_rank(); i < num_valid; i += team.team_size()) {
      int row = i;
      if constexpr (!(SingleTile && plain)) {
        const int e = scratch.sorted_bin[i];
        row = rowOf(scratch, e, i - scratch.counters[e * num_subgroups]);
      }
      if (row >= 0)
        plan.assignment_of_row[row] = begin + scratch.sorted_index[i];
    }
  }

  /// A place in the only pass is a row, and the start of a bin an offset.
  KOKKOS_FUNCTION void writeExperts(const Team& team,
                                    const TileScratch& scratch,
                                    int num_subgroups) const {
    KokkosExt::rolledLoop(
        team.team_rank(), plan.numBins(), team.team_size(), [&](int b) {
          const int offset = scratch.counters[b * num_subgroups];
          const int count  = countOf(scratch, num_subgroups, b);
          plan.offsets[b]  = offset;
          if (b < plan.num_experts) {
            plan.counts[b]  = count;
            plan.dropped[b] = 0;
          } else {
            *plan.num_rows    = offset;
            *plan.num_dropped = count;
          }
        });
  }

  /// Marks padding rows and the expert of every block; the teams share them.
  KOKKOS_FUNCTION void pad(const Team& team, const TileScratch& scratch) const {
    for (int e = team.league_rank(); e < plan.num_experts;
         e += team.league_size())
      plan.padSegment(e, e == 0 ? 0 : scratch.segment_end[e - 1],
                      scratch.limit[e], scratch.segment_end[e],
                      team.team_rank(), team.team_size());
    plan.padBlocks(scratch.segment_end[plan.num_experts - 1],
                   team.league_rank() * team.team_size() + team.team_rank(),
                   team.league_size() * team.team_size());
  }
};

template <int Items, bool SingleTile, class ExecutionSpace, class Keys>
void launchPlaceTiles(const ExecutionSpace& space, const Keys& keys,
                      const PlanData& plan, int team_size) {
  const auto place =
      PlanPlaceTiles<ExecutionSpace, Keys, Items, SingleTile>::make(keys, plan,
                                                                    team_size);
  KokkosExt::launchTeams("Tokkos::updateDispatchPlan::place", space,
                         plan.num_tiles, team_size,
                         place.scratchBytes(team_size), place);
}

/// All assignments in one pass of one team.
template <class ExecutionSpace, class Keys>
void updatePlanSingleTile(const ExecutionSpace& space, const Keys& keys,
                          PlanData plan, const TileShape& shape) {
  plan.tile_length = plan.num_assignments;
  plan.num_tiles   = 1;
  switch (shape.items) {
    case 1:
      return launchPlaceTiles<1, true>(space, keys, plan, shape.team_size);
    case 4:
      return launchPlaceTiles<4, true>(space, keys, plan, shape.team_size);
    default:
      return launchPlaceTiles<8, true>(space, keys, plan, shape.team_size);
  }
}

template <class ExecutionSpace, class Keys>
void updatePlanTiles(const ExecutionSpace& space, const Keys& keys,
                     const PlanData& plan, const TileShape& shape) {
  // Teams of both launches side by side must not crowd each other.
  const bool next_starts_early =
      Keys::plain && 2 * plan.num_tiles <= KokkosExt::numMultiprocessors(space);
  const auto launch = [&](auto items) {
    using Count = PlanCountTiles<ExecutionSpace, Keys, decltype(items)::value>;
    KokkosExt::launchTeams("Tokkos::updateDispatchPlan::count", space,
                           plan.num_tiles, shape.team_size,
                           Count::scratchBytes(plan),
                           Count{keys, plan, next_starts_early});
    launchPlaceTiles<decltype(items)::value, false>(space, keys, plan,
                                                    shape.team_size);
  };
  if (shape.items == 4)
    launch(std::integral_constant<int, 4>());
  else
    launch(std::integral_constant<int, 8>());
}

}  // namespace Tokkos::Impl

#endif
