// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// SPDX-FileCopyrightText: Copyright Contributors to the Tokkos project

#ifndef TOKKOS_IMPL_PLANTEAM_HPP
#define TOKKOS_IMPL_PLANTEAM_HPP

#include <Tokkos/Impl/PlanCount.hpp>
#include <Tokkos/Impl/PlanData.hpp>
#include <Tokkos/KokkosExt/Launch.hpp>
#include <Tokkos/KokkosExt/Subgroup.hpp>

#include <Kokkos_Core.hpp>

#include <cstdint>

// The plan for any device and any number of experts: a stable counting sort. A
// team counts the experts of one tile of the assignments, the table of all
// tiles is scanned, and a team places the assignments of its tile. Inside a
// tile every subgroup owns a contiguous chunk and a counter for each expert,
// which it advances as it walks its chunk in order; the counters lie in scratch
// memory where they fit. When one tile holds everything a single launch does it
// all.
namespace Tokkos::Impl {

/// Level-0 scratch that every device has.
inline constexpr int plan_scratch_bytes = 32 * 1024;

/// From the number of assignments of every expert, held in plan.counts, makes
/// counts, offsets and what was dropped. One team; each thread owns a run of
/// experts.
template <class Team>
KOKKOS_FUNCTION void scanExperts(const Team& team, const PlanData& plan,
                                 int num_invalid) {
  const int run = (plan.num_experts + team.team_size() - 1) / team.team_size();
  const int begin = Kokkos::min(team.team_rank() * run, plan.num_experts);
  const int end   = Kokkos::min(begin + run, plan.num_experts);

  int rows    = 0;
  int dropped = 0;
  for (int e = begin; e < end; ++e) {
    const int kept  = Kokkos::min(plan.counts[e], plan.capacity);
    plan.dropped[e] = plan.counts[e] - kept;
    plan.counts[e]  = kept;
    dropped += plan.dropped[e];
    rows += plan.paddedRows(kept);
  }
  int row = team.team_scan(rows);
  for (int e = begin; e < end; ++e) {
    plan.offsets[e] = row;
    row += plan.paddedRows(plan.counts[e]);
  }
  if (team.team_rank() == team.team_size() - 1) {
    plan.offsets[plan.num_experts] = row;
    *plan.num_rows                 = row;
  }
  if (plan.hasCapacity())
    team.team_reduce(Kokkos::Sum<int>(dropped));
  else
    dropped = 0;
  if (team.team_rank() == 0) *plan.num_dropped = dropped + num_invalid;
}

template <class ExecutionSpace, class Id>
struct PlanCountTeam {
  using Team = typename Kokkos::TeamPolicy<ExecutionSpace>::member_type;

  PlanKeys<Id> keys;
  PlanData plan;
  bool bins_in_scratch;

  KOKKOS_FUNCTION void operator()(const Team& team) const {
    const int tile   = team.league_rank();
    int* const row   = plan.tableRow(tile);
    int* const bins  = bins_in_scratch
                           ? static_cast<int*>(team.team_scratch(0).get_shmem(
                                plan.numBins() * int(sizeof(int))))
                           : row;
    const auto every = Kokkos::TeamThreadRange(team, plan.numBins());
    Kokkos::parallel_for(every, [&](int b) { bins[b] = 0; });
    team.team_barrier();
    countAssignments(keys, plan, bins, plan.tileBegin(tile), plan.tileEnd(tile),
                     team.team_rank(), team.team_size());
    if (!bins_in_scratch) return;
    team.team_barrier();
    Kokkos::parallel_for(every, [&](int b) { row[b] = bins[b]; });
  }
};

/// Scans a column of the table over the tiles; leaves its total in counts or,
/// of the invalid ids, in num_dropped.
struct PlanScanColumn {
  PlanData plan;

  KOKKOS_FUNCTION void operator()(int b) const {
    int sum = 0;
    for (int tile = 0; tile < plan.num_tiles; ++tile) {
      int& entry      = plan.tableRow(tile)[b];
      const int count = entry;
      entry           = sum;
      sum += count;
    }
    if (b < plan.num_experts)
      plan.counts[b] = sum;
    else
      *plan.num_dropped = sum;
  }
};

/// One team scans the experts.
template <class ExecutionSpace>
struct PlanScanExperts {
  using Team = typename Kokkos::TeamPolicy<ExecutionSpace>::member_type;

  PlanData plan;

  KOKKOS_FUNCTION void operator()(const Team& team) const {
    const int num_invalid = *plan.num_dropped;
    team.team_barrier();
    scanExperts(team, plan, num_invalid);
  }
};

/// Places the assignments of a tile. With SingleTile it counts and scans too.
template <class ExecutionSpace, class Id, bool SingleTile>
struct PlanPlaceTeam {
  using Team     = typename Kokkos::TeamPolicy<ExecutionSpace>::member_type;
  using Subgroup = KokkosExt::Subgroup<ExecutionSpace>;

  PlanKeys<Id> keys;
  PlanData plan;
  int num_chunks;  // subgroups that walk, each with counters of its own
  bool counters_in_scratch;

  KOKKOS_FUNCTION void operator()(const Team& team) const {
    const int tile     = team.league_rank();
    const int num_bins = plan.numBins();
    int* const counters =
        counters_in_scratch ? static_cast<int*>(team.team_scratch(0).get_shmem(
                                  num_chunks * num_bins * int(sizeof(int))))
                            : plan.tableRow(tile);
    const int begin  = plan.tileBegin(tile);
    const int end    = plan.tileEnd(tile);
    const int length = (end - begin + num_chunks - 1) / num_chunks;

    const int chunk      = team.team_rank() / Subgroup::lanes;
    const int lane       = team.team_rank() % Subgroup::lanes;
    const auto atMostEnd = [end](std::int64_t a) {
      return static_cast<int>(Kokkos::min(a, std::int64_t(end)));
    };
    const int chunk_begin = atMostEnd(begin + std::int64_t(chunk) * length);
    const int chunk_end   = atMostEnd(std::int64_t(chunk_begin) + length);
    int* const mine       = counters + chunk * num_bins;

    if (SingleTile || num_chunks > 1) {
      Kokkos::parallel_for(Kokkos::TeamThreadRange(team, num_chunks * num_bins),
                           [&](int i) { counters[i] = 0; });
      team.team_barrier();
      if (chunk < num_chunks)
        countAssignments(keys, plan, mine, chunk_begin, chunk_end, lane,
                         Subgroup::lanes);
      team.team_barrier();
    }
    if (SingleTile || counters_in_scratch) {
      Kokkos::parallel_for(Kokkos::TeamThreadRange(team, num_bins), [&](int b) {
        int rank = SingleTile ? 0 : plan.tableRow(tile)[b];
        for (int c = 0; c < num_chunks; ++c) {
          int& counter    = counters[c * num_bins + b];
          const int count = counter;
          counter         = rank;
          rank += count;
        }
        if (!SingleTile) return;
        if (b < plan.num_experts)
          plan.counts[b] = rank;
        else
          *plan.num_dropped = rank;
      });
      team.team_barrier();
    }
    if (SingleTile) {
      const int num_invalid = *plan.num_dropped;
      team.team_barrier();
      scanExperts(team, plan, num_invalid);
      team.team_barrier();
    }
    if (chunk < num_chunks) walk(mine, chunk_begin, chunk_end, lane);
    if (plan.alignment > 1) pad(team);
  }

 private:
  KOKKOS_FUNCTION void walk(int* next_rank, int begin, int end,
                            int lane) const {
    // The index behind the last may lie beyond the integers.
    for (std::int64_t first = begin; first < end; first += Subgroup::lanes) {
      const bool inside   = first + lane < end;
      const int a         = inside ? static_cast<int>(first) + lane : 0;
      const int expert    = inside ? keys(a) : int(key_none);
      const int one_key[] = {expert};
      typename Subgroup::Lanes equal[1];
      Subgroup::findEqual(one_key, plan.key_bits, equal);
      const int before = Subgroup::countBefore(equal[0], lane);
      const int rank   = expert >= 0 ? next_rank[expert] + before : before;
      Subgroup::sync();
      if (expert >= 0 && before == 0)
        next_rank[expert] = rank + Subgroup::count(equal[0]);
      Subgroup::sync();
      if (expert >= 0)
        plan.place(a, expert, rank);
      else if (inside)
        plan.row_of_assignment[a] = -1;
    }
  }

  /// The teams share the experts.
  KOKKOS_FUNCTION void pad(const Team& team) const {
    for (int e = team.league_rank(); e < plan.num_experts;
         e += team.league_size())
      plan.padSegment(e, plan.offsets[e], plan.offsets[e] + plan.counts[e],
                      plan.offsets[e + 1], team.team_rank(), team.team_size());
    if (team.league_rank() == 0)
      plan.padBlocks(*plan.num_rows, team.team_rank(), team.team_size());
  }
};

template <class Policy, class Functor>
void launchTeams(const char* label, const Policy& policy, int scratch_bytes,
                 const Functor& functor) {
  KokkosExt::parallelFor(
      label, Policy(policy).set_scratch_size(0, Kokkos::PerTeam(scratch_bytes)),
      functor);
}

template <class ExecutionSpace, class Id>
void updatePlanTeam(const ExecutionSpace& space, const PlanKeys<Id>& keys,
                    const PlanData& plan, int team_size) {
  using Policy        = Kokkos::TeamPolicy<ExecutionSpace>;
  constexpr int lanes = KokkosExt::Subgroup<ExecutionSpace>::lanes;
  const Policy tiles(space, plan.num_tiles, team_size);

  const int bins_bytes  = plan.numBins() * static_cast<int>(sizeof(int));
  const bool in_scratch = bins_bytes <= plan_scratch_bytes;
  const int num_chunks  = Kokkos::max(
      1, Kokkos::min(team_size / lanes, plan_scratch_bytes / bins_bytes));
  const int count_bytes = in_scratch ? bins_bytes : 0;
  const int place_bytes = in_scratch ? num_chunks * bins_bytes : 0;

  if (plan.num_tiles == 1) {
    launchTeams("Tokkos::updateDispatchPlan::place", tiles, place_bytes,
                PlanPlaceTeam<ExecutionSpace, Id, true>{keys, plan, num_chunks,
                                                        in_scratch});
    return;
  }
  launchTeams("Tokkos::updateDispatchPlan::count", tiles, count_bytes,
              PlanCountTeam<ExecutionSpace, Id>{keys, plan, in_scratch});
  KokkosExt::parallelFor(
      "Tokkos::updateDispatchPlan::scanColumns",
      Kokkos::RangePolicy<ExecutionSpace, Kokkos::IndexType<int>>(
          space, 0, plan.numBins()),
      PlanScanColumn{plan});
  launchTeams("Tokkos::updateDispatchPlan::scanExperts",
              Policy(space, 1, team_size), 0,
              PlanScanExperts<ExecutionSpace>{plan});
  launchTeams("Tokkos::updateDispatchPlan::place", tiles, place_bytes,
              PlanPlaceTeam<ExecutionSpace, Id, false>{keys, plan, num_chunks,
                                                       in_scratch});
}

}  // namespace Tokkos::Impl

#endif
