// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// SPDX-FileCopyrightText: Copyright Contributors to the Tokkos project

#ifndef TOKKOS_COMBINE_HPP
#define TOKKOS_COMBINE_HPP

#include <Tokkos/DispatchPlan.hpp>
#include <Tokkos/Impl/Check.hpp>
#include <Tokkos/Impl/CombineRows.hpp>
#include <Tokkos/Impl/RowChecks.hpp>
#include <Tokkos/Impl/RowMaps.hpp>
#include <Tokkos/KokkosExt/Types.hpp>

#include <Kokkos_Core.hpp>
#include <Kokkos_Profiling_ScopedRegion.hpp>

namespace Tokkos {

/// How combine treats what the output held before.
struct CombineOptions {
  /// What the output held before counts this much in the sum; with 1 the
  /// tokens' results are added to a residual. 0: the output is not read.
  double beta = 0;
};

namespace Impl {

template <class ExecutionSpace, class MemorySpace, class Rows, class Sums>
constexpr void requireSums() {
  static_assert(Kokkos::is_execution_space_v<ExecutionSpace>,
                "Tokkos::combine: space must be an execution space instance");
  static_assert(Kokkos::is_view_v<Rows> && Kokkos::is_view_v<Sums>,
                "Tokkos::combine: batch, weights and output must be Views");
  static_assert(Rows::rank() == 2 && Sums::rank() == 2,
                "Tokkos::combine: batch, weights and output must have rank 2");
  static_assert(KokkosExt::is_real_v<typename Rows::non_const_value_type>,
                "Tokkos::combine: batch and weights must be float, double, "
                "half_t or bhalf_t");
  static_assert(KokkosExt::is_real_v<typename Sums::value_type>,
                "Tokkos::combine: output must be float, double, half_t or "
                "bhalf_t, non-const");
  static_assert(
      KokkosExt::is_accessible_v<ExecutionSpace, Rows> &&
          KokkosExt::is_accessible_v<ExecutionSpace, Sums> &&
          Kokkos::SpaceAccessibility<ExecutionSpace, MemorySpace>::accessible,
      "Tokkos::combine: the execution space must reach every View");
}

}  // namespace Impl

/// Sums the rows of every token, times their weights.
///
/// output(t, h) = sum over k of weights(t, k) * batch(row_of_assignment(t, k),
/// h), plus beta * output(t, h)
///
/// \param plan of the last updateDispatchPlan on this instance
/// \param batch R x H with R >= plan.maxRows(T); float, double, half_t or
///   bhalf_t, any layout and stride
/// \param weights T x K; of any of these types. A weight of zero is a weight.
/// \param output T x H; of any of these types; must not overlap the inputs. A
///   token without rows gets zeros, or beta times what it held.
/// \throws std::invalid_argument when extents do not fit or memory overlaps
///
/// The sum goes in the order of the choices over those that have a row, then
/// what the output held; it accumulates in float (double when the batch is
/// double) and is rounded to the output's type once. Multiply, round, add,
/// round, never fused: the result is the same, bit for bit, on every backend,
/// and does not depend on other tokens.
///
/// Enqueues on the instance and returns: no allocation, no synchronisation, one
/// launch. Reads T * K * H elements and writes T * H. Rows whose addresses and
/// sizes are multiples of 16 bytes move fastest.
template <class ExecutionSpace, class MemorySpace, class Batch, class Weights,
          class Output>
void combine(const ExecutionSpace& space, const DispatchPlan<MemorySpace>& plan,
             const Batch& batch, const Weights& weights, const Output& output,
             const CombineOptions& options = {}) {
  Impl::requireSums<ExecutionSpace, MemorySpace, Batch, Output>();
  static_assert(Kokkos::is_view_v<Weights>,
                "Tokkos::combine: batch, weights and output must be Views");
  static_assert(Weights::rank() == 2,
                "Tokkos::combine: batch, weights and output must have rank 2");
  static_assert(KokkosExt::is_real_v<typename Weights::non_const_value_type>,
                "Tokkos::combine: batch and weights must be float, double, "
                "half_t or bhalf_t");
  static_assert(KokkosExt::is_accessible_v<ExecutionSpace, Weights>,
                "Tokkos::combine: the execution space must reach every View");
  constexpr auto function = "Tokkos::combine";
  Impl::checkSums(function, plan, "batch", batch, "output", output);
  Impl::checkWeights(function, plan, "weights", weights);
  Impl::checkDisjoint(function, "weights", Impl::memoryRegion(weights),
                      "output", Impl::memoryRegion(output));

  Kokkos::Profiling::ScopedRegion region(function);
  if (output.size() == 0) return;
  using Task = Impl::CombineTask<typename Batch::non_const_value_type,
                                 typename Weights::non_const_value_type,
                                 typename Output::value_type>;
  Impl::combineRows(
      "Tokkos::combine::sum", space,
      Task{Impl::constElementRows(batch), Impl::constElementRows(weights),
           Impl::elementRows(output),
           static_cast<typename Task::Sum>(options.beta)},
      output.extent(1), Impl::rowMaps(plan));
}

/// Sums the rows of every token as they are: combine with weights of 1.
template <class ExecutionSpace, class MemorySpace, class Batch, class Output>
void combine(const ExecutionSpace& space, const DispatchPlan<MemorySpace>& plan,
             const Batch& batch, const Output& output,
             const CombineOptions& options = {}) {
  Impl::requireSums<ExecutionSpace, MemorySpace, Batch, Output>();
  constexpr auto function = "Tokkos::combine";
  Impl::checkSums(function, plan, "batch", batch, "output", output);

  Kokkos::Profiling::ScopedRegion region(function);
  if (output.size() == 0) return;
  using Task = Impl::CombineTask<typename Batch::non_const_value_type, float,
                                 typename Output::value_type>;
  Impl::combineRows("Tokkos::combine::sum", space,
                    Task{Impl::constElementRows(batch),
                         {nullptr, 0, 0},
                         Impl::elementRows(output),
                         static_cast<typename Task::Sum>(options.beta)},
                    output.extent(1), Impl::rowMaps(plan));
}

}  // namespace Tokkos

#endif
