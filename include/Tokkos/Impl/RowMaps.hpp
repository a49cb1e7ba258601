// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// SPDX-FileCopyrightText: Copyright Contributors to the Tokkos project

#ifndef TOKKOS_IMPL_ROWMAPS_HPP
#define TOKKOS_IMPL_ROWMAPS_HPP

#include <Tokkos/DispatchPlan.hpp>

#include <Kokkos_Core.hpp>

namespace Tokkos::Impl {

/// What the kernels that move rows need of a plan.
struct RowMaps {
  const int* row_of_assignment;
  const int* assignment_of_row;
  const int* num_rows;
  const int* counts;
  const int* offsets;
  int num_tokens;
  int top_k;
  int num_padded_experts;  // 0 when segments have no padding
  int padding_teams;       // of an expert

  /// The padding rows of an expert are those from here ...
  KOKKOS_FUNCTION int paddingBegin(int expert) const {
    return offsets[expert] + counts[expert];
  }
  /// ... to here.
  KOKKOS_FUNCTION int paddingEnd(int expert) const {
    return offsets[expert + 1];
  }

  KOKKOS_FUNCTION int numPaddingTeams() const {
    return num_padded_experts * padding_teams;
  }
};

template <class MemorySpace>
RowMaps rowMaps(const DispatchPlan<MemorySpace>& plan) {
  const int alignment = plan.options.alignment;
  // Enough teams that padding is not written by few of them at the end, few
  // enough that experts without padding cost nothing.
  constexpr int max_padding_teams = 16;
  return {plan.row_of_assignment.data(),
          plan.assignment_of_row.data(),
          plan.num_rows.data(),
          plan.counts.data(),
          plan.offsets.data(),
          plan.num_tokens,
          plan.top_k,
          alignment > 1 ? plan.num_experts : 0,
          Kokkos::min(alignment - 1, max_padding_teams)};
}

/// On a device: calls zero(row) for those of an expert's padding rows that are
/// the share of padding team `item`.
template <class Zero>
KOKKOS_FUNCTION void zeroPaddingOfTeam(const RowMaps& maps, int item,
                                       const Zero& zero) {
  const int expert = item / maps.padding_teams;
  const int share  = item - expert * maps.padding_teams;
  for (int row = maps.paddingBegin(expert) + share;
       row < maps.paddingEnd(expert); row += maps.padding_teams)
    zero(row);
}

/// On a host: calls zero(row) for all padding rows of an expert.
template <class Zero>
void zeroPaddingOfExpert(const RowMaps& maps, int expert, const Zero& zero) {
  for (int row = maps.paddingBegin(expert); row < maps.paddingEnd(expert);
       ++row)
    zero(row);
}

}  // namespace Tokkos::Impl

#endif
