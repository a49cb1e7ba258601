// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// SPDX-FileCopyrightText: Copyright Contributors to the Tokkos project

#ifndef TOKKOS_IMPL_PLANHOST_HPP
#define TOKKOS_IMPL_PLANHOST_HPP

#include <Tokkos/Impl/PlanData.hpp>
#include <Tokkos/KokkosExt/Launch.hpp>

#include <Kokkos_Core.hpp>

// The plan on the host: a stable counting sort in which every thread walks one
// contiguous tile of the assignments, with a histogram of its own.
namespace Tokkos::Impl {

template <class Keys>
struct PlanCountHost {
  Keys keys;
  PlanData plan;

  KOKKOS_FUNCTION void operator()(int tile) const {
    int* const bins = plan.tableRow(tile);
    for (int b = 0; b < plan.numBins(); ++b)
      bins[b] = 0;
    for (int a = plan.tileBegin(tile); a < plan.tileEnd(tile); ++a) {
      const int expert = keys(a);
      if (expert != key_none)
        ++bins[expert == key_invalid ? plan.num_experts : expert];
    }
  }
};

/// One thread: the table is as small as threads x experts.
struct PlanScanHost {
  PlanData plan;

  KOKKOS_FUNCTION void operator()(int) const {
    int row     = 0;
    int dropped = 0;
    for (int e = 0; e < plan.num_experts; ++e) {
      const int total = scanBin(e);
      const int kept  = Kokkos::min(total, plan.capacity);
      plan.offsets[e] = row;
      plan.counts[e]  = kept;
      plan.dropped[e] = total - kept;
      row += plan.paddedRows(kept);
      dropped += total - kept;
    }
    plan.offsets[plan.num_experts] = row;
    *plan.num_rows                 = row;
    *plan.num_dropped              = dropped + scanBin(plan.num_experts);
  }

 private:
  KOKKOS_FUNCTION int scanBin(int bin) const {
    int sum = 0;
    for (int tile = 0; tile < plan.num_tiles; ++tile) {
      int& entry      = plan.tableRow(tile)[bin];
      const int count = entry;
      entry           = sum;
      sum += count;
    }
    return sum;
  }
};

template <class Keys>
struct PlanPlaceHost {
  Keys keys;
  PlanData plan;

  KOKKOS_FUNCTION void operator()(int tile) const {
    int* const next_rank = plan.tableRow(tile);
    for (int a = plan.tileBegin(tile); a < plan.tileEnd(tile); ++a) {
      const int expert = keys(a);
      if (expert < 0)
        plan.row_of_assignment[a] = -1;
      else
        plan.place(a, expert, next_rank[expert]++);
    }
    for (int e = tile; e < plan.num_experts; e += plan.num_tiles)
      padding(e);
    if (tile == 0) tail();
  }

 private:
  KOKKOS_FUNCTION void padding(int expert) const {
    const int end = plan.offsets[expert + 1];
    for (int row = plan.offsets[expert] + plan.counts[expert]; row < end; ++row)
      plan.assignment_of_row[row] = -1;
    if (plan.expert_of_block == nullptr) return;
    for (int block = plan.offsets[expert] / plan.alignment;
         block < end / plan.alignment; ++block)
      plan.expert_of_block[block] = expert;
  }

  KOKKOS_FUNCTION void tail() const {
    if (plan.expert_of_block == nullptr) return;
    for (int block = *plan.num_rows / plan.alignment; block < plan.num_blocks;
         ++block)
      plan.expert_of_block[block] = -1;
  }
};

template <class ExecutionSpace, class Keys>
void updatePlanHost(const ExecutionSpace& space, const Keys& keys,
                    const PlanData& plan) {
  using Tiles = Kokkos::RangePolicy<ExecutionSpace, Kokkos::IndexType<int>>;
  KokkosExt::parallelFor("Tokkos::updateDispatchPlan::count",
                         Tiles(space, 0, plan.num_tiles, Kokkos::ChunkSize(1)),
                         PlanCountHost<Keys>{keys, plan});
  KokkosExt::parallelFor("Tokkos::updateDispatchPlan::scan", Tiles(space, 0, 1),
                         PlanScanHost{plan});
  KokkosExt::parallelFor("Tokkos::updateDispatchPlan::place",
                         Tiles(space, 0, plan.num_tiles, Kokkos::ChunkSize(1)),
                         PlanPlaceHost<Keys>{keys, plan});
}

}  // namespace Tokkos::Impl

#endif
