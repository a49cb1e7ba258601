// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// SPDX-FileCopyrightText: Copyright Contributors to the Tokkos project

#ifndef TOKKOS_IMPL_PLANHOST_HPP
#define TOKKOS_IMPL_PLANHOST_HPP

#include <Tokkos/Impl/PlanData.hpp>
#include <Tokkos/Impl/PlanHostWalk.hpp>
#include <Tokkos/KokkosExt/Launch.hpp>

#include <Kokkos_Core.hpp>

#include <climits>
#include <cstdint>

// The plan on the host: a stable counting sort in which every thread walks one
// contiguous tile of the assignments, with a histogram of its own.
namespace Tokkos::Impl {

/// A tile's row of the table becomes its histogram.
template <class Keys>
struct PlanCountHost {
  Keys keys;
  PlanData plan;

  KOKKOS_FUNCTION void operator()(int tile) const {
    // Neighbours often have the same expert, and incrementing a bin again has
    // to wait for the store before. So they take turns with two histograms,
    // where a second one costs little.
    constexpr int max_second_bins = 1024;
    int second_bins[max_second_bins];

    const int num_bins = plan.numBins();
    const int begin    = plan.tileBegin(tile);
    const int end      = plan.tileEnd(tile);
    int* const bins    = plan.tableRow(tile);
    const bool two =
        num_bins <= max_second_bins && (end - begin) / 4 >= num_bins;
    for (int b = 0; b < num_bins; ++b)
      bins[b] = 0;
    if (!two) return countHost(keys, plan, begin, end, bins, bins);
    for (int b = 0; b < num_bins; ++b)
      second_bins[b] = 0;
    countHost(keys, plan, begin, end, bins, second_bins);
    for (int b = 0; b < num_bins; ++b)
      bins[b] += second_bins[b];
  }
};

/// For a block of experts: the counts of a tile become the number of
/// assignments in earlier tiles, and plan.counts the sum over all.
struct PlanSumHost {
  PlanData plan;
  int block_length;

  KOKKOS_FUNCTION void operator()(int block) const {
    const int begin     = block * block_length;
    const int length    = Kokkos::min(block_length, plan.num_experts - begin);
    const int num_tiles = plan.num_tiles;
    int* const sums     = plan.counts + begin;
    for (int i = 0; i < length; ++i)
      sums[i] = 0;
    for (int tile = 0; tile < num_tiles; ++tile) {
      int* const row = plan.tableRow(tile) + begin;
      for (int i = 0; i < length; ++i) {
        const int count = row[i];
        row[i]          = sums[i];
        sums[i] += count;
      }
    }
  }
};

/// One thread: from the sums to all that there is once for an expert.
struct PlanScanHost {
  PlanData plan;

  KOKKOS_FUNCTION void operator()(int) const {
    // The compiler knows of a copy that no store to an array changes it.
    const PlanData p = plan;
    int row          = 0;
    int num_dropped  = 0;
    for (int e = 0; e < p.num_experts; ++e) {
      const int total = p.counts[e];
      const int kept  = Kokkos::min(total, p.capacity);
      p.offsets[e]    = row;
      p.counts[e]     = kept;
      p.dropped[e]    = total - kept;
      row += p.paddedRows(kept);
      num_dropped += total - kept;
    }
    p.offsets[p.num_experts] = row;
    for (int tile = 0; tile < p.num_tiles; ++tile)
      num_dropped += p.tableRow(tile)[p.num_experts];
    *p.num_rows    = row;
    *p.num_dropped = num_dropped;
  }
};

template <class Keys>
struct PlanPlaceHost {
  Keys keys;
  PlanData plan;

  KOKKOS_FUNCTION void operator()(int tile) const {
    const int begin          = plan.tileBegin(tile);
    const int end            = plan.tileEnd(tile);
    const int* const offsets = plan.offsets;
    int* const next          = plan.tableRow(tile);
    // Less than any row and, without its sign, more than any capacity: the
    // assignments without an expert count here.
    next[plan.num_experts] = INT_MIN;
    if (plan.hasCapacity()) {
      const auto capacity = static_cast<unsigned>(plan.capacity);
      placeHost(keys, plan, begin, end, [next, offsets, capacity](int bin) {
        const int rank = next[bin]++;
        return static_cast<unsigned>(rank) < capacity ? offsets[bin] + rank
                                                      : -1;
      });
    } else {
      for (int e = 0; e < plan.num_experts; ++e)
        next[e] += offsets[e];
      placeHost(keys, plan, begin, end,
                [next](int bin) { return next[bin]++; });
    }
    if (plan.alignment == 1) return;
    for (int e = tile; e < plan.num_experts; e += plan.num_tiles)
      padding(e);
    if (tile == 0) tail();
  }

 private:
  KOKKOS_FUNCTION void padding(int expert) const {
    const int end = plan.offsets[expert + 1];
    if (plan.offsets[expert] == end) return;
    for (int row = plan.offsets[expert] + plan.counts[expert]; row < end; ++row)
      plan.assignment_of_row[row] = -1;
    for (int block = plan.offsets[expert] / plan.alignment;
         block < end / plan.alignment; ++block)
      plan.expert_of_block[block] = expert;
  }

  KOKKOS_FUNCTION void tail() const {
    for (int block = *plan.num_rows / plan.alignment; block < plan.num_blocks;
         ++block)
      plan.expert_of_block[block] = -1;
  }
};

/// Everything, where there is a single tile.
template <class Keys>
struct PlanSingleTileHost {
  Keys keys;
  PlanData plan;

  KOKKOS_FUNCTION void operator()(int) const {
    PlanCountHost<Keys>{keys, plan}(0);
    PlanSumHost{plan, plan.num_experts}(0);
    PlanScanHost{plan}(0);
    PlanPlaceHost<Keys>{keys, plan}(0);
  }
};

/// The sums where they are too few for several threads.
struct PlanSumAndScanHost {
  PlanData plan;

  KOKKOS_FUNCTION void operator()(int) const {
    PlanSumHost{plan, plan.num_experts}(0);
    PlanScanHost{plan}(0);
  }
};

template <class ExecutionSpace, class Keys>
void updatePlanHost(const ExecutionSpace& space, const Keys& keys,
                    const PlanData& plan) {
  using Range = Kokkos::RangePolicy<ExecutionSpace, Kokkos::IndexType<int>>;
  const auto range = [&space](int n) {
    return Range(space, 0, n, Kokkos::ChunkSize(1));
  };
  if (plan.num_tiles == 1) {
    KokkosExt::parallelFor("Tokkos::updateDispatchPlan::singleTile", range(1),
                           PlanSingleTileHost<Keys>{keys, plan});
    return;
  }
  KokkosExt::parallelFor("Tokkos::updateDispatchPlan::count",
                         range(plan.num_tiles),
                         PlanCountHost<Keys>{keys, plan});
  constexpr std::int64_t few_sums = 32768;
  if (std::int64_t(plan.num_tiles) * plan.num_experts <= few_sums) {
    KokkosExt::parallelFor("Tokkos::updateDispatchPlan::scan", range(1),
                           PlanSumAndScanHost{plan});
  } else {
    constexpr int block_length = 256;
    KokkosExt::parallelFor("Tokkos::updateDispatchPlan::sum",
                           range((plan.num_experts - 1) / block_length + 1),
                           PlanSumHost{plan, block_length});
    KokkosExt::parallelFor("Tokkos::updateDispatchPlan::scan", range(1),
                           PlanScanHost{plan});
  }
  KokkosExt::parallelFor("Tokkos::updateDispatchPlan::place",
                         range(plan.num_tiles),
                         PlanPlaceHost<Keys>{keys, plan});
}

}  // namespace Tokkos::Impl

#endif
