// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// SPDX-FileCopyrightText: Copyright Contributors to the Tokkos project

#ifndef TOKKOS_IMPL_PLANFEWEXPERTS_HPP
#define TOKKOS_IMPL_PLANFEWEXPERTS_HPP

#include <Tokkos/Impl/PlanData.hpp>
#include <Tokkos/KokkosExt/Subgroup.hpp>
#include <Tokkos/KokkosExt/Team.hpp>

#include <Kokkos_Core.hpp>

// The plan of few experts and up to a thousand assignments, by one team whose
// lanes own the experts: lane l of every subgroup has l, l + lanes, ... A
// subgroup ballots on the bits of its keys. From the same ballots every lane
// learns which lanes share its own key and which have its experts, so that no
// memory holds a counter. The subgroups tell each other their counts once.
namespace Tokkos::Impl {

/// \tparam Items assignments of a thread
/// \tparam OfLane experts of a lane
template <class ExecutionSpace, class Keys, int Items, int OfLane>
struct PlanFewExperts {
  using Team     = KokkosExt::Team<ExecutionSpace>;
  using Subgroup = KokkosExt::Subgroup<ExecutionSpace>;
  using Lanes    = typename Subgroup::Lanes;

  static_assert(OfLane == 1 || OfLane == 2);
  static constexpr bool plain      = Keys::plain;
  static constexpr int lanes       = Subgroup::lanes;
  static constexpr int max_experts = OfLane * lanes;

  Keys keys;
  PlanData plan;

  // Every subgroup's counts, then the number of its keys.
  KOKKOS_FUNCTION static int scratchInts(int num_subgroups) {
    return num_subgroups * (max_experts + 1);
  }
  static int scratchBytes(int team_size) {
    return scratchInts(team_size / lanes) * static_cast<int>(sizeof(int));
  }

  KOKKOS_FUNCTION void operator()(const Team& team) const {
    const int lane     = team.team_rank() % lanes;
    const int subgroup = team.team_rank() / lanes;
    const int first    = subgroup * Items * lanes + lane;
    int key[Items], rank[Items];
    for (int i = 0; i < Items; ++i) {
      const int a = first + i * lanes;
      key[i]      = a < plan.num_assignments ? keys(a) : int(key_none);
    }
    const Owned count = rankInChunk(lane, key, rank);

    int* const counts = static_cast<int*>(team.scratch());
    shareCounts(team, counts, key, count);
    team.team_barrier();
    Segments own = sumCounts(team, counts);
    findSegments(lane, own);
    if (subgroup == 0) writeExperts(team, counts, own);

    for (int i = 0; i < Items; ++i) {
      const int a   = first + i * lanes;
      const int row = rowOf(own, key[i], rank[i]);
      if (a < plan.num_assignments) plan.row_of_assignment[a] = row;
      if (row >= 0) plan.assignment_of_row[row] = a;
    }
    if constexpr (!plain)
      if (plan.alignment > 1) pad(team, own);
  }

 private:
  /// What a lane holds of every expert that it owns.
  struct Owned {
    int of[OfLane];
  };

  struct Segments {
    Owned total;   // assignments
    Owned next;    // those of subgroups before; then the subgroup's first row
    Owned begin;   // first row
    Owned limit;   // first row behind what the expert keeps
    int num_rows;  // of all
  };

  KOKKOS_FUNCTION static int expertOf(int lane, int j) {
    return j * lanes + lane;
  }

  /// A value of expert e, from its owner.
  KOKKOS_FUNCTION static int valueOf(const Owned& owned, int e) {
    int value = Subgroup::fromLane(owned.of[0], e & (lanes - 1));
    if constexpr (OfLane == 2) {
      const int second = Subgroup::fromLane(owned.of[1], e & (lanes - 1));
      if (e >= lanes) value = second;
    }
    return value;
  }

  KOKKOS_FUNCTION int keptOf(int count) const {
    return plain ? count : Kokkos::min(count, plan.capacity);
  }
  KOKKOS_FUNCTION int paddedRows(int count) const {
    return plain ? count : plan.paddedRows(count);
  }

  /// The rank of every key among its equals in the chunk; returns how often the
  /// chunk has the experts of the lane.
  KOKKOS_FUNCTION Owned rankInChunk(int lane, const int (&key)[Items],
                                    int (&rank)[Items]) const {
    Lanes equal[Items], owned[Items][OfLane];
    for (int i = 0; i < Items; ++i)
      equal[i] = owned[i][0] = Subgroup::ballot(key[i] >= 0);
    for (int bit = 1; bit < lanes; bit *= 2)
      for (int i = 0; i < Items; ++i) {
        const bool is_set = (key[i] & bit) != 0;
        const Lanes set   = Subgroup::ballot(is_set);
        equal[i] &= is_set ? set : ~set;
        owned[i][0] &= (lane & bit) != 0 ? set : ~set;
      }
    Owned count{};
    for (int i = 0; i < Items; ++i) {
      if constexpr (OfLane == 2) {
        const bool is_second = key[i] >= lanes;
        const Lanes second   = Subgroup::ballot(is_second);
        equal[i] &= is_second ? second : ~second;
        owned[i][1] = owned[i][0] & second;
        owned[i][0] &= ~second;
      }
      rank[i] = valueOf(count, key[i]) + Subgroup::countBefore(equal[i], lane);
      for (int j = 0; j < OfLane; ++j)
        count.of[j] += Subgroup::count(owned[i][j]);
    }
    return count;
  }

  KOKKOS_FUNCTION void shareCounts(const Team& team, int* counts,
                                   const int (&key)[Items],
                                   const Owned& count) const {
    const int lane     = team.team_rank() % lanes;
    const int subgroup = team.team_rank() / lanes;
    for (int j = 0; j < OfLane; ++j)
      counts[subgroup * max_experts + expertOf(lane, j)] = count.of[j];
    if constexpr (!plain) {
      int num_keys = 0;
      for (int i = 0; i < Items; ++i)
        num_keys += Subgroup::count(Subgroup::ballot(key[i] != key_none));
      if (lane == 0)
        counts[team.team_size() / lanes * max_experts + subgroup] = num_keys;
    }
  }

  KOKKOS_FUNCTION Segments sumCounts(const Team& team,
                                     const int* counts) const {
    const int lane     = team.team_rank() % lanes;
    const int subgroup = team.team_rank() / lanes;
    Segments own{};
    for (int s = 0; s < team.team_size() / lanes; ++s)
      for (int j = 0; j < OfLane; ++j) {
        const int count = counts[s * max_experts + expertOf(lane, j)];
        own.total.of[j] += count;
        if (s < subgroup) own.next.of[j] += count;
      }
    return own;
  }

  /// From the totals.
  KOKKOS_FUNCTION void findSegments(int lane, Segments& own) const {
    for (int j = 0; j < OfLane; ++j) {
      const int kept    = keptOf(own.total.of[j]);
      const int rows    = paddedRows(kept);
      const int through = own.num_rows + Subgroup::inclusiveSum(lane, rows);
      own.begin.of[j]   = through - rows;
      own.limit.of[j]   = own.begin.of[j] + kept;
      own.next.of[j] += own.begin.of[j];
      own.num_rows = Subgroup::fromLane(through, lanes - 1);
    }
  }

  /// By one subgroup.
  KOKKOS_FUNCTION void writeExperts(const Team& team, const int* counts,
                                    const Segments& own) const {
    const int lane = team.team_rank();
    int num_kept   = 0;
    for (int j = 0; j < OfLane; ++j) {
      const int kept = own.limit.of[j] - own.begin.of[j];
      num_kept += kept;
      if (const int e = expertOf(lane, j); e < plan.num_experts) {
        plan.offsets[e] = own.begin.of[j];
        plan.counts[e]  = kept;
        plan.dropped[e] = own.total.of[j] - kept;
      }
    }
    int num_dropped = plan.num_assignments - own.num_rows;
    if constexpr (!plain) {
      const int num_subgroups = team.team_size() / lanes;
      const int num_keys =
          lane < num_subgroups ? counts[num_subgroups * max_experts + lane] : 0;
      num_dropped = Subgroup::inclusiveSum(lane, num_keys - num_kept);
    }
    if (lane == lanes - 1) {
      plan.offsets[plan.num_experts] = own.num_rows;
      *plan.num_rows                 = own.num_rows;
      *plan.num_dropped              = num_dropped;
    }
  }

  KOKKOS_FUNCTION int rowOf(const Segments& own, int key, int rank) const {
    int row = valueOf(own.next, key) + rank;
    if constexpr (!plain)
      if (row >= valueOf(own.limit, key)) row = -1;
    return key >= 0 ? row : -1;
  }

  /// Every subgroup takes experts in turn.
  KOKKOS_FUNCTION void pad(const Team& team, const Segments& own) const {
    const int lane          = team.team_rank() % lanes;
    const int num_subgroups = team.team_size() / lanes;
    for (int e = team.team_rank() / lanes; e < plan.num_experts;
         e += num_subgroups) {
      const int begin = valueOf(own.begin, e);
      const int limit = valueOf(own.limit, e);
      plan.padSegment(e, begin, limit, begin + plan.paddedRows(limit - begin),
                      lane, lanes);
    }
    plan.padBlocks(own.num_rows, team.team_rank(), team.team_size());
  }
};

template <int Items, int OfLane, class ExecutionSpace, class Keys>
void launchPlanFewExperts(const ExecutionSpace& space, const Keys& keys,
                          const PlanData& plan, int team_size) {
  using Functor = PlanFewExperts<ExecutionSpace, Keys, Items, OfLane>;
  KokkosExt::launchTeams("Tokkos::updateDispatchPlan::fewExperts", space, 1,
                         team_size, Functor::scratchBytes(team_size),
                         Functor{keys, plan});
}

}  // namespace Tokkos::Impl

#endif
