// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// SPDX-FileCopyrightText: Copyright Contributors to the Tokkos project

#ifndef TOKKOS_IMPL_CRSKERNELS_HPP
#define TOKKOS_IMPL_CRSKERNELS_HPP

#include <Tokkos/Impl/ElementRows.hpp>

#include <Kokkos_Core.hpp>

#include <cstdint>

// The plan as a sparse matrix, for Crs.hpp.
namespace Tokkos::Impl {

template <class RowMap>
struct CountCrsEntries {
  using value_type = std::int64_t;

  const int* row_of_assignment;
  int top_k;
  int num_tokens;
  RowMap row_map;

  // One step more than there are tokens leaves the total.
  KOKKOS_FUNCTION void operator()(int token, std::int64_t& sum,
                                  bool is_final) const {
    if (is_final)
      row_map(token) = static_cast<typename RowMap::value_type>(sum);
    if (token == num_tokens) return;
    const int* const rows = row_of_assignment + std::int64_t(token) * top_k;
    for (int k = 0; k < top_k; ++k)
      sum += rows[k] >= 0;
  }
};

template <class RowMap, class Entries, class Values, class Weights>
struct FillCrsEntries {
  const int* row_of_assignment;
  int top_k;
  RowMap row_map;
  Entries entries;
  Values values;
  Weights weights;

  KOKKOS_FUNCTION void operator()(int token) const {
    const int* const rows = row_of_assignment + std::int64_t(token) * top_k;
    auto next             = row_map(token);
    for (int k = 0; k < top_k; ++k) {
      if (rows[k] < 0) continue;
      entries(next) = static_cast<typename Entries::value_type>(rows[k]);
      values(next) =
          convertReal<typename Values::value_type>(weights(token, k));
      ++next;
    }
  }
};

}  // namespace Tokkos::Impl

#endif
