// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// SPDX-FileCopyrightText: Copyright Contributors to the Tokkos project

#ifndef TOKKOS_CRSMATRIX_HPP
#define TOKKOS_CRSMATRIX_HPP

#include <Tokkos/Config.hpp>

#ifndef TOKKOS_ENABLE_KOKKOSKERNELS
#error \
    "Tokkos/CrsMatrix.hpp needs Kokkos Kernels, which was not found when Tokkos was configured: set KokkosKernels_ROOT and configure again, or do not include this header"
#else

#include <Tokkos/Crs.hpp>
#include <Tokkos/DispatchPlan.hpp>

#include <KokkosSparse_CrsMatrix.hpp>
#include <Kokkos_Core.hpp>

#include <cstddef>
#include <string>
#include <utility>

namespace Tokkos {

/// The plan as a matrix of Kokkos Kernels: planToCrs with memory of its own.
///
///     KokkosSparse::spmv(space, "N", 1.f, crsMatrix(space, plan, weights),
///                        batch, 0.f, output);  // combine
///
/// \param plan of the last updateDispatchPlan on this instance
/// \param weights T x K with T = plan.num_tokens; float or double
/// \returns T x plan.max_rows, a KokkosSparse::CrsMatrix with ordinals and
///   offsets of int. Of a batch with more rows take the first plan.max_rows.
/// \throws std::invalid_argument as planToCrs does
///
/// Synchronises the instance: the host learns how many entries there are.
template <class ExecutionSpace, class MemorySpace, class Weights>
auto crsMatrix(const ExecutionSpace& space,
               const DispatchPlan<MemorySpace>& plan, const Weights& weights) {
  using Value  = typename Weights::non_const_value_type;
  using Matrix = KokkosSparse::CrsMatrix<
      Value, int, Kokkos::Device<ExecutionSpace, MemorySpace>, void, int>;
  const auto label = [&space](const char* name) {
    return Kokkos::view_alloc(space, Kokkos::WithoutInitializing,
                              std::string("Tokkos::crsMatrix::") + name);
  };
  const auto num_tokens = static_cast<std::size_t>(plan.num_tokens);
  const std::size_t n   = num_tokens * static_cast<std::size_t>(plan.top_k);
  const typename Matrix::row_map_type::non_const_type row_map(label("row_map"),
                                                              num_tokens + 1);
  const typename Matrix::index_type entries(label("entries"), n);
  const typename Matrix::values_type values(label("values"), n);
  planToCrs(space, plan, weights, row_map, entries, values);

  int num_entries = 0;
  Kokkos::deep_copy(space, num_entries, Kokkos::subview(row_map, num_tokens));
  space.fence("Tokkos::crsMatrix::numEntries");
  const std::pair used(0, num_entries);
  return Matrix("Tokkos::crsMatrix", plan.num_tokens, plan.max_rows,
                num_entries, Kokkos::subview(values, used), row_map,
                Kokkos::subview(entries, used));
}

}  // namespace Tokkos

#endif  // TOKKOS_ENABLE_KOKKOSKERNELS

#endif
