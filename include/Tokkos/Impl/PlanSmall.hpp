// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// SPDX-FileCopyrightText: Copyright Contributors to the Tokkos project

#ifndef TOKKOS_IMPL_PLANSMALL_HPP
#define TOKKOS_IMPL_PLANSMALL_HPP

#include <Tokkos/Impl/PlanData.hpp>
#include <Tokkos/KokkosExt/Team.hpp>
#include <Tokkos/KokkosExt/Loop.hpp>

#include <Kokkos_Core.hpp>

#include <climits>

// The plan of a handful of assignments, as in decoding: one team holds all keys
// and every thread counts how many keys are smaller than its own. That count is
// a row, or an offset, without histogram, scan or atomics. Quadratic, and
// faster than anything that is not while there are so few.
namespace Tokkos::Impl {

template <class ExecutionSpace, class Keys>
struct PlanSmall {
  static_assert(Keys::plain);
  using Team = KokkosExt::Team<ExecutionSpace>;

  // A key orders by expert, then by assignment.
  static constexpr int index_bits = 8;
  static constexpr int group      = 4;  // keys that one load brings

  enum : int { past_valid = INT_MAX - 1, past_invalid = INT_MAX };

  struct alignas(16) Group {
    int key[group];
  };

  Keys keys;
  PlanData plan;

  KOKKOS_FUNCTION int numGroups() const {
    return (plan.num_assignments + group - 1) / group;
  }

  int scratchBytes() const {
    return numGroups() * static_cast<int>(sizeof(Group));
  }

  KOKKOS_FUNCTION void operator()(const Team& team) const {
    // The load comes first: everything waits for it.
    const int n     = plan.num_assignments;
    const int own   = keyOf(team.team_rank());
    auto* const all = static_cast<Group*>(team.scratch());
    KokkosExt::rolledLoop(team.team_rank(), numGroups() * group,
                          team.team_size(), [&](int a) {
                            all[a / group].key[a % group] =
                                a == team.team_rank() ? own : keyOf(a);
                          });
    team.team_barrier();
    // First the assignments ask, then the experts, then the total.
    KokkosExt::rolledLoop(team.team_rank(), n + plan.num_experts + 1,
                          team.team_size(), [&](int q) {
                            if (q < n)
                              place(all, q);
                            else
                              offset(all, q - n);
                          });
  }

 private:
  KOKKOS_FUNCTION int keyOf(int a) const {
    if (a >= plan.num_assignments) return past_invalid;
    const int expert = keys(a);
    return expert >= 0 ? expert << index_bits | a : int(past_valid);
  }

  struct Below {
    int begin;
    int end;
  };

  /// How many keys are less than each of the two.
  KOKKOS_FUNCTION Below countBelow(const Group* all, int begin, int end) const {
    Below below{0, 0};
    KokkosExt::rolledLoop(0, numGroups(), 1, [&](int i) {
      const Group some = all[i];
      for (int j = 0; j < group; ++j) {
        below.begin += some.key[j] < begin;
        below.end += some.key[j] < end;
      }
    });
    return below;
  }

  KOKKOS_FUNCTION void place(const Group* all, int a) const {
    const int key             = all[a / group].key[a % group];
    const bool has_row        = key < past_valid;
    const int row             = countBelow(all, key, key).begin;
    plan.row_of_assignment[a] = has_row ? row : -1;
    if (has_row) plan.assignment_of_row[row] = a;
  }

  /// Of expert e; that of the last but one is where the invalid ids begin.
  KOKKOS_FUNCTION void offset(const Group* all, int e) const {
    const bool is_total = e == plan.num_experts;
    const Below below =
        countBelow(all, is_total ? int(past_valid) : e << index_bits,
                   is_total ? int(past_invalid) : (e + 1) << index_bits);
    plan.offsets[e] = below.begin;
    if (is_total) {
      *plan.num_rows    = below.begin;
      *plan.num_dropped = below.end - below.begin;
    } else {
      plan.counts[e]  = below.end - below.begin;
      plan.dropped[e] = 0;
    }
  }
};

template <class ExecutionSpace, class Keys>
void updatePlanSmall(const ExecutionSpace& space, const Keys& keys,
                     const PlanData& plan, int team_size) {
  const PlanSmall<ExecutionSpace, Keys> functor{keys, plan};
  KokkosExt::launchTeams("Tokkos::updateDispatchPlan::small", space, 1,
                         team_size, functor.scratchBytes(), functor);
}

}  // namespace Tokkos::Impl

#endif
