// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// SPDX-FileCopyrightText: Copyright Contributors to the Tokkos project

#ifndef TOKKOS_PERMUTE_HPP
#define TOKKOS_PERMUTE_HPP

#include <Tokkos/DispatchPlan.hpp>
#include <Tokkos/Impl/Check.hpp>
#include <Tokkos/Impl/CombineRows.hpp>
#include <Tokkos/Impl/PermuteRows.hpp>
#include <Tokkos/KokkosExt/Launch.hpp>
#include <Tokkos/KokkosExt/Types.hpp>

#include <Kokkos_Core.hpp>
#include <Kokkos_Profiling_ScopedRegion.hpp>

#include <climits>
#include <cstdint>
#include <type_traits>

namespace Tokkos {

namespace Impl {

template <class MemorySpace>
RowMaps rowMaps(const DispatchPlan<MemorySpace>& plan) {
  return {plan.row_of_assignment.data(),
          plan.counts.data(),
          plan.offsets.data(),
          plan.num_tokens,
          plan.top_k,
          plan.options.alignment > 1 ? plan.num_experts : 0};
}

template <class MemorySpace>
void checkPlanBuilt(const char* function,
                    const DispatchPlan<MemorySpace>& plan) {
  if (plan.top_k == 0)
    throwInvalidArgument(function, "plan", "a plan that was built",
                         "an empty one");
}

/// The batch has a row for every assignment that any routing could give one.
template <class MemorySpace, class Batch>
void checkBatchRows(const char* function, const DispatchPlan<MemorySpace>& plan,
                    const Batch& batch) {
  checkExtentAtLeast(function, "batch", 0, batch.extent(0),
                     static_cast<std::size_t>(plan.maxRows(plan.num_tokens)),
                     "plan.maxRows(plan.num_tokens)");
}

}  // namespace Impl

/// Copies every token to its rows of the expert-major batch.
///
/// \param plan of the last updateDispatchPlan on this instance
/// \param tokens T x H with T = plan.num_tokens; any trivially copyable type,
///   any layout and stride
/// \param batch R x H with R >= plan.maxRows(T), of the same type; must not
///   overlap the tokens. Row row_of_assignment(t, k) becomes token t, padding
///   rows become zero bytes, rows from num_rows on are not touched.
/// \throws std::invalid_argument when extents do not fit or memory overlaps
///
/// Enqueues on the instance and returns: no allocation, no synchronisation, one
/// launch. Moves (T + number of rows) * H elements.
template <class ExecutionSpace, class MemorySpace, class Tokens, class Batch>
void permute(const ExecutionSpace& space, const DispatchPlan<MemorySpace>& plan,
             const Tokens& tokens, const Batch& batch) {
  static_assert(Kokkos::is_execution_space_v<ExecutionSpace>,
                "Tokkos::permute: space must be an execution space instance");
  static_assert(Kokkos::is_view_v<Tokens> && Kokkos::is_view_v<Batch>,
                "Tokkos::permute: tokens and batch must be Views");
  static_assert(Tokens::rank() == 2 && Batch::rank() == 2,
                "Tokkos::permute: tokens and batch must have rank 2");
  using Value = typename Batch::value_type;
  static_assert(std::is_same_v<typename Tokens::non_const_value_type, Value>,
                "Tokkos::permute: batch must hold the tokens' type, non-const");
  static_assert(std::is_trivially_copyable_v<Value>,
                "Tokkos::permute: the elements must be trivially copyable");
  static_assert(
      KokkosExt::is_accessible_v<ExecutionSpace, Tokens> &&
          KokkosExt::is_accessible_v<ExecutionSpace, Batch> &&
          Kokkos::SpaceAccessibility<ExecutionSpace, MemorySpace>::accessible,
      "Tokkos::permute: the execution space must reach every View");
  constexpr auto function = "Tokkos::permute";
  Impl::checkPlanBuilt(function, plan);
  Impl::checkExtent(function, "tokens", 0, tokens.extent(0),
                    static_cast<std::size_t>(plan.num_tokens),
                    "plan.num_tokens");
  Impl::checkBatchRows(function, plan, batch);
  Impl::checkExtent(function, "batch", 1, batch.extent(1), tokens.extent(1),
                    "tokens.extent(1)");
  Impl::checkDisjoint(function, "tokens", Impl::memoryRegion(tokens), "batch",
                      Impl::memoryRegion(batch));

  Kokkos::Profiling::ScopedRegion region(function);
  if (tokens.size() == 0) return;
  using ConstTokens =
      Kokkos::View<typename Tokens::const_data_type,
                   typename Tokens::array_layout, typename Tokens::device_type,
                   Kokkos::MemoryUnmanaged>;
  const auto source      = Impl::rowPattern(ConstTokens(tokens));
  const auto destination = Impl::rowPattern(batch);
  Impl::permuteRows(
      space, source, destination,
      Impl::rowShape(source, destination, sizeof(Value), tokens.extent(1)),
      Impl::rowMaps(plan));
}

/// Brings the row of every assignment back to the order of the tokens.
///
/// \param plan of the last updateDispatchPlan on this instance
/// \param batch R x H with R >= plan.maxRows(T); any trivially copyable type,
///   any layout and stride
/// \param assignments T * K x H, of the same type; must not overlap the batch.
///   Row t * K + k becomes row row_of_assignment(t, k) of the batch, zero bytes
///   where the assignment has none.
/// \throws std::invalid_argument when extents do not fit or memory overlaps
///
/// Enqueues on the instance and returns: no allocation, no synchronisation, one
/// launch. Moves 2 * T * K * H elements.
template <class ExecutionSpace, class MemorySpace, class Batch,
          class Assignments>
void unpermute(const ExecutionSpace& space,
               const DispatchPlan<MemorySpace>& plan, const Batch& batch,
               const Assignments& assignments) {
  static_assert(Kokkos::is_execution_space_v<ExecutionSpace>,
                "Tokkos::unpermute: space must be an execution space instance");
  static_assert(Kokkos::is_view_v<Batch> && Kokkos::is_view_v<Assignments>,
                "Tokkos::unpermute: batch and assignments must be Views");
  static_assert(Batch::rank() == 2 && Assignments::rank() == 2,
                "Tokkos::unpermute: batch and assignments must have rank 2");
  using Value = typename Assignments::value_type;
  static_assert(std::is_same_v<typename Batch::non_const_value_type, Value>,
                "Tokkos::unpermute: assignments must hold the batch's type, "
                "non-const");
  static_assert(std::is_trivially_copyable_v<Value>,
                "Tokkos::unpermute: the elements must be trivially copyable");
  static_assert(
      KokkosExt::is_accessible_v<ExecutionSpace, Batch> &&
          KokkosExt::is_accessible_v<ExecutionSpace, Assignments> &&
          Kokkos::SpaceAccessibility<ExecutionSpace, MemorySpace>::accessible,
      "Tokkos::unpermute: the execution space must reach every View");
  constexpr auto function = "Tokkos::unpermute";
  Impl::checkPlanBuilt(function, plan);
  Impl::checkBatchRows(function, plan, batch);
  Impl::checkExtent(function, "assignments", 0, assignments.extent(0),
                    static_cast<std::size_t>(plan.num_tokens) *
                        static_cast<std::size_t>(plan.top_k),
                    "plan.num_tokens * plan.top_k");
  Impl::checkExtent(function, "assignments", 1, assignments.extent(1),
                    batch.extent(1), "batch.extent(1)");
  Impl::checkDisjoint(function, "batch", Impl::memoryRegion(batch),
                      "assignments", Impl::memoryRegion(assignments));

  Kokkos::Profiling::ScopedRegion region(function);
  if (assignments.size() == 0) return;
  using ConstBatch =
      Kokkos::View<typename Batch::const_data_type,
                   typename Batch::array_layout, typename Batch::device_type,
                   Kokkos::MemoryUnmanaged>;
  const auto source      = Impl::rowPattern(ConstBatch(batch));
  const auto destination = Impl::rowPattern(assignments);
  Impl::unpermuteRows(
      space, source, destination,
      Impl::rowShape(source, destination, sizeof(Value), batch.extent(1)),
      Impl::rowMaps(plan));
}

/// Sums the rows of every token, times their weights.
///
/// output(t, h) = sum over k of weights(t, k) * batch(row_of_assignment(t, k),
/// h)
///
/// \param plan of the last updateDispatchPlan on this instance
/// \param batch R x H with R >= plan.maxRows(T); float, double, half_t or
///   bhalf_t, any layout and stride
/// \param weights T x K; of the same types. A weight of zero is a weight.
/// \param output T x H; of the same types; must not overlap the inputs. A token
///   without rows gets zeros.
/// \throws std::invalid_argument when extents do not fit or memory overlaps
///
/// The sum goes in the order of the choices over those that have a row,
/// accumulates in float (double when the batch is double) and is rounded to
/// the output's type once. Multiply, round, add, round, never fused: the result
/// is the same, bit for bit, on every backend, and does not depend on other
/// tokens.
///
/// Enqueues on the instance and returns: no allocation, no synchronisation, one
/// launch. Reads T * K * H elements and writes T * H.
template <class ExecutionSpace, class MemorySpace, class Batch, class Weights,
          class Output>
void combine(const ExecutionSpace& space, const DispatchPlan<MemorySpace>& plan,
             const Batch& batch, const Weights& weights, const Output& output) {
  static_assert(Kokkos::is_execution_space_v<ExecutionSpace>,
                "Tokkos::combine: space must be an execution space instance");
  static_assert(Kokkos::is_view_v<Batch> && Kokkos::is_view_v<Weights> &&
                    Kokkos::is_view_v<Output>,
                "Tokkos::combine: batch, weights and output must be Views");
  static_assert(
      Batch::rank() == 2 && Weights::rank() == 2 && Output::rank() == 2,
      "Tokkos::combine: batch, weights and output must have rank 2");
  static_assert(
      KokkosExt::is_real_v<typename Batch::non_const_value_type> &&
          KokkosExt::is_real_v<typename Weights::non_const_value_type>,
      "Tokkos::combine: batch and weights must be float, double, "
      "half_t or bhalf_t");
  static_assert(KokkosExt::is_real_v<typename Output::value_type>,
                "Tokkos::combine: output must be float, double, half_t or "
                "bhalf_t, non-const");
  static_assert(
      KokkosExt::is_accessible_v<ExecutionSpace, Batch> &&
          KokkosExt::is_accessible_v<ExecutionSpace, Weights> &&
          KokkosExt::is_accessible_v<ExecutionSpace, Output> &&
          Kokkos::SpaceAccessibility<ExecutionSpace, MemorySpace>::accessible,
      "Tokkos::combine: the execution space must reach every View");
  constexpr auto function = "Tokkos::combine";
  Impl::checkPlanBuilt(function, plan);
  Impl::checkBatchRows(function, plan, batch);
  Impl::checkExtent(function, "weights", 0, weights.extent(0),
                    static_cast<std::size_t>(plan.num_tokens),
                    "plan.num_tokens");
  Impl::checkExtent(function, "weights", 1, weights.extent(1),
                    static_cast<std::size_t>(plan.top_k), "plan.top_k");
  Impl::checkExtent(function, "output", 0, output.extent(0),
                    static_cast<std::size_t>(plan.num_tokens),
                    "plan.num_tokens");
  Impl::checkExtent(function, "output", 1, output.extent(1), batch.extent(1),
                    "batch.extent(1)");
  Impl::checkDisjoint(function, "batch", Impl::memoryRegion(batch), "output",
                      Impl::memoryRegion(output));
  Impl::checkDisjoint(function, "weights", Impl::memoryRegion(weights),
                      "output", Impl::memoryRegion(output));

  Kokkos::Profiling::ScopedRegion region(function);
  if (output.size() == 0) return;
  KokkosExt::parallelFor(
      "Tokkos::combine::sum",
      Kokkos::TeamPolicy<ExecutionSpace>(
          space, plan.num_tokens,
          Impl::rowTeamSize<ExecutionSpace>(
              static_cast<std::int64_t>(output.extent(1)))),
      Impl::CombineRows<ExecutionSpace, Batch, Weights, Output>{
          batch, weights, output, plan.row_of_assignment.data(), plan.top_k});
}

}  // namespace Tokkos

#endif
