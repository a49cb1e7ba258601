// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// SPDX-FileCopyrightText: Copyright Contributors to the Tokkos project

#ifndef TOKKOS_IMPL_PLANCOUNT_HPP
#define TOKKOS_IMPL_PLANCOUNT_HPP

#include <Tokkos/Impl/PlanData.hpp>

#include <Kokkos_Core.hpp>

#include <cstdint>

namespace Tokkos::Impl {

/// Counts the assignments [begin, end) into bins that other threads count into
/// too: this is thread `rank` of `size`.
template <class Id>
KOKKOS_FUNCTION void countAssignments(const PlanKeys<Id>& keys,
                                      const PlanData& plan, int* bins,
                                      int begin, int end, int rank, int size) {
  // The index behind the last may lie beyond the integers.
  for (std::int64_t a = std::int64_t(begin) + rank; a < end; a += size) {
    const int expert = keys(static_cast<int>(a));
    if (expert != key_none)
      Kokkos::atomic_inc(
          &bins[expert == key_invalid ? plan.num_experts : expert]);
  }
}

}  // namespace Tokkos::Impl

#endif
