// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// SPDX-FileCopyrightText: Copyright Contributors to the Tokkos project

#ifndef TOKKOS_IMPL_PLANHOSTWALK_HPP
#define TOKKOS_IMPL_PLANHOSTWALK_HPP

#include <Tokkos/Impl/PlanData.hpp>
#include <Tokkos/KokkosExt/Prefetch.hpp>

#include <Kokkos_Core.hpp>

#include <type_traits>

// The two walks of a host thread over the assignments of its tile, in which
// nearly all time of a large plan goes: one counts, one places. Each has two
// forms. Where nearly every assignment has an expert, a branch that is hardly
// ever taken costs least. Where experts are remote, a processor would
// mispredict that branch all the time: there every assignment has a bin, the
// last one when it has no expert, and all bins are treated alike.
//
// Keys are passed on by value: the compiler then knows that no store to an
// array changes them.
namespace Tokkos::Impl {

/// So many assignments are taken at a time.
enum : int { host_batch = 256 };

/// PlanKeys where ids lie side by side and of the options that act on keys only
/// the range of experts is used: no branch, so that compilers make vector
/// operations of it.
template <class Id>
struct RangePlanKeys {
  static constexpr bool plain = false;

  const Id* ids;
  int num_global_experts;
  int first_expert;
  int num_experts;

  KOKKOS_FUNCTION int operator()(int assignment) const {
    // What lies below a range becomes a large number.
    using Unsigned    = std::make_unsigned_t<Id>;
    const auto id     = static_cast<Unsigned>(ids[assignment]);
    const auto expert = id - static_cast<Unsigned>(first_expert);
    const int without = id < static_cast<Unsigned>(num_global_experts)
                            ? int(key_none)
                            : int(key_invalid);
    return expert < static_cast<Unsigned>(num_experts)
               ? static_cast<int>(expert)
               : without;
  }
};

template <class Keys>
KOKKOS_FUNCTION bool hasRemoteExperts(const Keys& keys) {
  return keys.num_experts < keys.num_global_experts;
}

/// Counts in two histograms, which may be the same. The last bin of the first
/// has the assignments with an invalid id.
template <class Keys>
KOKKOS_FUNCTION void countLocal(Keys keys, int num_experts, int begin, int end,
                                int* bins, int* second_bins) {
  int num_invalid  = 0;
  const auto count = [&num_invalid](int key, int* to) {
    if (key >= 0)
      ++to[key];
    else if (key == key_invalid)
      ++num_invalid;
  };
  int a = begin;
  for (; end - a >= 4; a += 4) {
    count(keys(a), bins);
    count(keys(a + 1), second_bins);
    count(keys(a + 2), bins);
    count(keys(a + 3), second_bins);
  }
  for (; a < end; ++a)
    count(keys(a), bins);
  bins[num_experts] += num_invalid;
}

/// Writes both maps; `take` gives the next assignment of an expert its row, or
/// -1.
///
/// The rows of some assignments are written first, then these assignments to
/// their rows: the lines of the second map, one an expert, are under way
/// meanwhile.
template <class Keys, class Take>
KOKKOS_FUNCTION void placeLocal(Keys keys, const PlanData& plan, int begin,
                                int end, Take take) {
  int* const row_of_assignment = plan.row_of_assignment;
  int* const assignment_of_row = plan.assignment_of_row;
  while (begin < end) {
    const int batch_end = begin + Kokkos::min(int(host_batch), end - begin);
    for (int a = begin; a < batch_end; ++a) {
      const int key        = keys(a);
      const int row        = key >= 0 ? take(key) : -1;
      row_of_assignment[a] = row;
      KokkosExt::prefetchForWrite(assignment_of_row, row);
    }
    for (int a = begin; a < batch_end; ++a) {
      const int row = row_of_assignment[a];
      if (row >= 0) assignment_of_row[row] = a;
    }
    begin = batch_end;
  }
}

/// The bins of a batch. Returns how many of those in the last bin are not
/// invalid.
template <class Keys>
KOKKOS_FUNCTION int loadBins(Keys keys, int begin, int length, int* bins) {
  // In two loops: in one, compilers make a branch of every way to a key.
  for (int i = 0; i < length; ++i)
    bins[i] = keys(begin + i);
  const int last = keys.num_experts;
  int num_none   = 0;
  for (int i = 0; i < length; ++i) {
    const int key = bins[i];
    num_none += key == key_none ? 1 : 0;
    bins[i] = key >= 0 ? key : last;
  }
  return num_none;
}

/// countLocal where experts are remote.
template <class Keys>
KOKKOS_FUNCTION void countRemote(const Keys& keys, int num_experts, int begin,
                                 int end, int* bins, int* second_bins) {
  int num_none = 0;
  while (begin < end) {
    const int length = Kokkos::min(int(host_batch), end - begin);
    int batch[host_batch];
    num_none += loadBins(keys, begin, length, batch);
    int i = 0;
    for (; i + 1 < length; i += 2) {
      ++bins[batch[i]];
      ++second_bins[batch[i + 1]];
    }
    if (i < length) ++bins[batch[i]];
    begin += length;
  }
  bins[num_experts] -= num_none;
}

/// placeLocal where experts are remote; `take` is called for the last bin too
/// and gives it any negative number.
template <class Keys, class Take>
KOKKOS_FUNCTION void placeRemote(const Keys& keys, const PlanData& plan,
                                 int begin, int end, Take take) {
  int* const assignment_of_row = plan.assignment_of_row;
  while (begin < end) {
    const int length = Kokkos::min(int(host_batch), end - begin);
    int batch[host_batch];
    loadBins(keys, begin, length, batch);
    int* const rows = plan.row_of_assignment + begin;
    for (int i = 0; i < length; ++i) {
      rows[i] = Kokkos::max(take(batch[i]), -1);
      KokkosExt::prefetchForWrite(assignment_of_row, rows[i]);
    }
    int* const with_row = batch;
    int num_rows        = 0;
    for (int i = 0; i < length; ++i) {
      with_row[num_rows] = i;
      num_rows += rows[i] >= 0 ? 1 : 0;
    }
    for (int j = 0; j < num_rows; ++j) {
      const int i                = with_row[j];
      assignment_of_row[rows[i]] = begin + i;
    }
    begin += length;
  }
}

template <class Keys>
KOKKOS_FUNCTION void countHost(const Keys& keys, const PlanData& plan,
                               int begin, int end, int* bins,
                               int* second_bins) {
  if constexpr (!Keys::plain)
    if (hasRemoteExperts(keys))
      return countRemote(keys, plan.num_experts, begin, end, bins, second_bins);
  countLocal(keys, plan.num_experts, begin, end, bins, second_bins);
}

template <class Keys, class Take>
KOKKOS_FUNCTION void placeHost(const Keys& keys, const PlanData& plan,
                               int begin, int end, const Take& take) {
  if constexpr (!Keys::plain)
    if (hasRemoteExperts(keys))
      return placeRemote(keys, plan, begin, end, take);
  placeLocal(keys, plan, begin, end, take);
}

}  // namespace Tokkos::Impl

#endif
