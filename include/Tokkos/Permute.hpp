// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// SPDX-FileCopyrightText: Copyright Contributors to the Tokkos project

#ifndef TOKKOS_PERMUTE_HPP
#define TOKKOS_PERMUTE_HPP

#include <Tokkos/Companion.hpp>
#include <Tokkos/DispatchPlan.hpp>
#include <Tokkos/Impl/Check.hpp>
#include <Tokkos/Impl/CompanionRows.hpp>
#include <Tokkos/Impl/ConvertRows.hpp>
#include <Tokkos/Impl/PermuteRows.hpp>
#include <Tokkos/Impl/RowChecks.hpp>
#include <Tokkos/Impl/RowMaps.hpp>
#include <Tokkos/KokkosExt/Types.hpp>

#include <Kokkos_Core.hpp>
#include <Kokkos_Profiling_ScopedRegion.hpp>

#include <array>
#include <cstddef>
#include <type_traits>

namespace Tokkos {

/// Copies every token to its rows of the expert-major batch, and with it, row
/// by row, what belongs to it.
///
/// \param plan of the last updateDispatchPlan on this instance
/// \param tokens T x H with T = plan.num_tokens; any trivially copyable type,
///   any layout and stride
/// \param batch R x H with R >= plan.maxRows(T), of the same type, or both of
///   real types (float, double, half_t, bhalf_t), each element then rounded to
///   nearest. Row row_of_assignment(t, k) becomes token t, padding rows become
///   zero bytes, rows from num_rows on are not touched.
/// \param companions any number of perToken(source, destination) and
///   perAssignment(source, destination), each with its own type and width;
///   their padding rows become zero bytes too
/// \throws std::invalid_argument when extents do not fit or an output shares
///   memory with an input or with another output
///
///     permute(space, plan, tokens, batch, perToken(scales, batch_scales),
///             perAssignment(weights, batch_weights));
///
/// Enqueues on the instance and returns: no allocation, no synchronisation, one
/// launch, one more for all companions together. Moves (T + number of rows) * H
/// elements. Rows whose addresses and sizes are multiples of 16 bytes move
/// fastest.
template <class ExecutionSpace, class MemorySpace, class Tokens, class Batch,
          class... Companions>
void permute(const ExecutionSpace& space, const DispatchPlan<MemorySpace>& plan,
             const Tokens& tokens, const Batch& batch,
             const Companions&... companions) {
  static_assert(Kokkos::is_execution_space_v<ExecutionSpace>,
                "Tokkos::permute: space must be an execution space instance");
  static_assert(Kokkos::is_view_v<Tokens> && Kokkos::is_view_v<Batch>,
                "Tokkos::permute: tokens and batch must be Views");
  static_assert(Tokens::rank() == 2 && Batch::rank() == 2,
                "Tokkos::permute: tokens and batch must have rank 2");
  static_assert((Impl::is_companion_v<Companions> && ...),
                "Tokkos::permute: companions must be made by perToken or "
                "perAssignment");
  using Token = typename Tokens::non_const_value_type;
  using Value = typename Batch::value_type;
  constexpr bool is_conversion =
      KokkosExt::is_real_v<Token> && KokkosExt::is_real_v<Value>;
  static_assert(std::is_same_v<Token, Value> || is_conversion,
                "Tokkos::permute: batch must hold the tokens' type, "
                "non-const, or both float, double, half_t or bhalf_t");
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
  Impl::checkBatchRows(function, plan, "batch", batch);
  Impl::checkExtent(function, "batch", 1, batch.extent(1), tokens.extent(1),
                    "tokens.extent(1)");

  constexpr std::size_t count                           = sizeof...(Companions);
  [[maybe_unused]] int number                           = 0;
  const std::array<Impl::CheckedCompanion, count> moved = {
      Impl::checkCompanion<ExecutionSpace>(++number, plan, companions)...};
  std::array<Impl::NamedRegion, 1 + count> inputs;
  std::array<Impl::NamedRegion, 1 + count> outputs;
  inputs[0]     = {"tokens", Impl::memoryRegion(tokens)};
  outputs[0]    = {"batch", Impl::memoryRegion(batch)};
  std::size_t i = 1;
  for (const Impl::CheckedCompanion& companion : moved) {
    inputs[i]  = companion.source;
    outputs[i] = companion.destination;
    ++i;
  }
  Impl::checkAllDisjoint(function, inputs, outputs);

  Kokkos::Profiling::ScopedRegion region(function);
  const Impl::RowMaps maps = Impl::rowMaps(plan);
  if (tokens.size() > 0) {
    if constexpr (std::is_same_v<Token, Value>) {
      using ConstTokens =
          Kokkos::View<typename Tokens::const_data_type,
                       typename Tokens::array_layout,
                       typename Tokens::device_type, Kokkos::MemoryUnmanaged>;
      const auto source      = Impl::rowPattern(ConstTokens(tokens));
      const auto destination = Impl::rowPattern(batch);
      Impl::permuteRows(
          space, source, destination,
          Impl::rowShape(source, destination, sizeof(Value), tokens.extent(1)),
          maps);
    } else {
      Impl::convertRows<ExecutionSpace, Token, Value>(
          space, Impl::constElementRows(tokens), Impl::elementRows(batch),
          tokens.extent(1), maps);
    }
  }
  if constexpr (count > 0)
    Impl::moveCompanions(space, moved, plan.maxRows(plan.num_tokens), maps);
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
  Impl::checkBatchRows(function, plan, "batch", batch);
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

}  // namespace Tokkos

#endif
