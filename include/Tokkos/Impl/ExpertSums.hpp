// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// SPDX-FileCopyrightText: Copyright Contributors to the Tokkos project

#ifndef TOKKOS_IMPL_EXPERTSUMS_HPP
#define TOKKOS_IMPL_EXPERTSUMS_HPP

#include <Tokkos/DispatchPlan.hpp>
#include <Tokkos/Impl/ExpertData.hpp>
#include <Tokkos/KokkosExt/Team.hpp>
#include <Tokkos/KokkosExt/Types.hpp>

#include <Kokkos_Core.hpp>

#include <cstdint>

// What else happens to the rows of experts.
namespace Tokkos::Impl {

/// The sum of every expert's rows, the gradient of its bias. Lane l of a column
/// takes rows l, l + 8, ...; the lanes' sums are added in order, on every
/// backend.
template <class ExecutionSpace, class Real>
struct SumExpertRows {
  static constexpr bool on_host =
      KokkosExt::is_host_execution_space_v<ExecutionSpace>;
  static constexpr int columns       = 32;
  static constexpr int lanes         = 8;
  static constexpr int team_size     = on_host ? 1 : columns * lanes;
  static constexpr int max_team_size = team_size;
  static constexpr int scratch_bytes =
      columns * lanes * static_cast<int>(sizeof(Real));

  const int* offsets;
  const int* counts;
  BatchMatrix<const Real> rows;
  ExpertVectors<Real> sums;
  int column_tiles;

  template <class Team>
  KOKKOS_FUNCTION void operator()(const Team& team) const {
    const int expert = team.league_rank() / column_tiles;
    const int first  = (team.league_rank() - expert * column_tiles) * columns;
    Real* const partial = static_cast<Real*>(team.scratch());
    for (int i = team.team_rank(); i < columns * lanes; i += team.team_size()) {
      const int column = first + i % columns;
      Real sum         = 0;
      if (column < sums.length)
        for (int r = i / columns; r < counts[expert]; r += lanes)
          sum += rows.row(offsets[expert] + r)[column];
      partial[i] = sum;
    }
    team.team_barrier();
    for (int c = team.team_rank(); c < columns; c += team.team_size()) {
      if (first + c >= sums.length) continue;
      Real sum = 0;
      for (int lane = 0; lane < lanes; ++lane)
        sum += partial[lane * columns + c];
      sums.of(expert)[first + c] = sum;
    }
  }
};

/// Gives the rows of an expert its vector; a team takes a row.
template <class Real>
struct FillExpertRows {
  ExpertRows rows;
  ExpertVectors<const Real> vectors;
  BatchMatrix<Real> to;

  template <class Team>
  KOKKOS_FUNCTION void operator()(const Team& team) const {
    const ExpertRow at = rows.place(team.league_rank());
    if (at.row < 0) return;
    for (int c = team.team_rank(); c < to.columns; c += team.team_size())
      to.row(at.row)[c] = vectors.of(at.expert)[c];
  }
};

/// Zeroes the padding rows of an expert; `shares` teams an expert.
template <class Real>
struct ZeroExpertPadding {
  const int* offsets;
  const int* counts;
  BatchMatrix<Real> rows;
  int shares;

  template <class Team>
  KOKKOS_FUNCTION void operator()(const Team& team) const {
    const int expert = team.league_rank() / shares;
    const int share  = team.league_rank() - expert * shares;
    for (int r = offsets[expert] + counts[expert] + share;
         r < offsets[expert + 1]; r += shares)
      for (int c = team.team_rank(); c < rows.columns; c += team.team_size())
        rows.row(r)[c] = 0;
  }
};

template <class ExecutionSpace, class MemorySpace, class Real>
void sumExpertRows(const ExecutionSpace& space,
                   const DispatchPlan<MemorySpace>& plan,
                   const BatchMatrix<const Real>& rows,
                   const ExpertVectors<Real>& sums) {
  if (!sums.exists()) return;
  using Kernel           = SumExpertRows<ExecutionSpace, Real>;
  const int column_tiles = (sums.length - 1) / Kernel::columns + 1;
  KokkosExt::launchTeams("Tokkos::applyExpertsGradient::bias", space,
                         plan.num_experts * column_tiles, Kernel::team_size,
                         Kernel::scratch_bytes,
                         Kernel{plan.offsets.data(), plan.counts.data(), rows,
                                sums, column_tiles});
}

template <class ExecutionSpace, class MemorySpace, class Real>
void zeroExpertPadding(const ExecutionSpace& space,
                       const DispatchPlan<MemorySpace>& plan,
                       const BatchMatrix<Real>& rows) {
  if (plan.options.alignment == 1) return;
  constexpr int max_shares = 16;
  const int shares = Kokkos::min(plan.options.alignment - 1, max_shares);
  KokkosExt::launchTeams(
      "Tokkos::applyExperts::padding", space, plan.num_experts * shares,
      row_team_size<ExecutionSpace>, 0,
      ZeroExpertPadding<Real>{plan.offsets.data(), plan.counts.data(), rows,
                              shares});
}

}  // namespace Tokkos::Impl

#endif
