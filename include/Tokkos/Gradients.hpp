// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// SPDX-FileCopyrightText: Copyright Contributors to the Tokkos project

#ifndef TOKKOS_GRADIENTS_HPP
#define TOKKOS_GRADIENTS_HPP

#include <Tokkos/DispatchPlan.hpp>
#include <Tokkos/Impl/Check.hpp>
#include <Tokkos/Impl/CombineGradientRows.hpp>
#include <Tokkos/Impl/CombineRows.hpp>
#include <Tokkos/Impl/RouterArguments.hpp>
#include <Tokkos/Impl/RouterGradient.hpp>
#include <Tokkos/Impl/RowChecks.hpp>
#include <Tokkos/Impl/RowMaps.hpp>
#include <Tokkos/KokkosExt/Types.hpp>
#include <Tokkos/RouterOptions.hpp>

#include <Kokkos_Core.hpp>
#include <Kokkos_Profiling_ScopedRegion.hpp>

#include <cstdint>
#include <type_traits>

namespace Tokkos {

/// The gradient of a loss by the logits of routeTopK, from that by its weights.
///
/// \param logits T x E, as routeTopK had them
/// \param expert_ids T x (K + S), as routeTopK left them; the choice counts as
///   given, without a gradient. An id outside [0, E) has none.
/// \param weights_gradient T x (K + S); float or double. Columns of shared
///   experts are not looked at.
/// \param logits_gradient T x E; float, double, half_t or bhalf_t. Overwritten:
///   0 for excluded experts and tokens that the mask takes out.
/// \param options those of routeTopK; a bias has no gradient
/// \throws std::invalid_argument when extents do not fit, memory overlaps, or
///   an option is out of its range
///
/// Where max(sum, floor) has no derivative, sum = floor, the floor counts. The
/// same bits on every backend. Enqueues on the instance and returns: no
/// allocation, no synchronisation, one launch; can be captured in a CUDA graph.
/// T * (E + K * K) operations.
template <class ExecutionSpace, class Logits, class ExpertIds,
          class WeightsGradient, class LogitsGradient>
void routeTopKGradient(
    const ExecutionSpace& space, const Logits& logits,
    const ExpertIds& expert_ids, const WeightsGradient& weights_gradient,
    const LogitsGradient& logits_gradient,
    const RouterOptions<typename Logits::memory_space>& options = {}) {
  static_assert(
      Kokkos::is_execution_space_v<ExecutionSpace>,
      "Tokkos::routeTopKGradient: space must be an execution space instance");
  static_assert(
      Kokkos::is_view_v<Logits> && Kokkos::is_view_v<ExpertIds> &&
          Kokkos::is_view_v<WeightsGradient> &&
          Kokkos::is_view_v<LogitsGradient>,
      "Tokkos::routeTopKGradient: logits, expert_ids and gradients must be "
      "Views");
  static_assert(Logits::rank() == 2 && ExpertIds::rank() == 2 &&
                    WeightsGradient::rank() == 2 && LogitsGradient::rank() == 2,
                "Tokkos::routeTopKGradient: Views must have rank 2");
  static_assert(KokkosExt::is_real_v<typename Logits::non_const_value_type>,
                "Tokkos::routeTopKGradient: logits must be float, double, "
                "half_t or bhalf_t");
  using Id = typename ExpertIds::non_const_value_type;
  static_assert(
      std::is_same_v<Id, std::int32_t> || std::is_same_v<Id, std::int64_t>,
      "Tokkos::routeTopKGradient: expert_ids must hold int or std::int64_t");
  using Weight = typename WeightsGradient::non_const_value_type;
  static_assert(std::is_same_v<Weight, float> || std::is_same_v<Weight, double>,
                "Tokkos::routeTopKGradient: weights_gradient must be float or "
                "double");
  using Gradient = typename LogitsGradient::value_type;
  static_assert(KokkosExt::is_real_v<Gradient>,
                "Tokkos::routeTopKGradient: logits_gradient must be float, "
                "double, half_t or bhalf_t, non-const");
  static_assert(
      KokkosExt::is_accessible_v<ExecutionSpace, Logits> &&
          KokkosExt::is_accessible_v<ExecutionSpace, ExpertIds> &&
          KokkosExt::is_accessible_v<ExecutionSpace, WeightsGradient> &&
          KokkosExt::is_accessible_v<ExecutionSpace, LogitsGradient>,
      "Tokkos::routeTopKGradient: the execution space must reach every View");
  constexpr auto function = "Tokkos::routeTopKGradient";
  Impl::checkRouterArguments(function, logits, expert_ids, weights_gradient,
                             "weights_gradient", options);
  Impl::checkExtent(function, "logits_gradient", 0, logits_gradient.extent(0),
                    logits.extent(0), "logits.extent(0)");
  Impl::checkExtent(function, "logits_gradient", 1, logits_gradient.extent(1),
                    logits.extent(1), "logits.extent(1)");
  const auto written = Impl::memoryRegion(logits_gradient);
  Impl::checkDisjoint(function, "logits", Impl::memoryRegion(logits),
                      "logits_gradient", written);
  Impl::checkDisjoint(function, "expert_ids", Impl::memoryRegion(expert_ids),
                      "logits_gradient", written);
  Impl::checkDisjoint(function, "weights_gradient",
                      Impl::memoryRegion(weights_gradient), "logits_gradient",
                      written);

  Kokkos::Profiling::ScopedRegion region(function);
  if (logits.extent(0) == 0) return;
  Impl::differentiateRouter(
      space,
      Impl::makeRouterData(logits, expert_ids, weights_gradient, options),
      Impl::RouterMatrix<Gradient>(logits_gradient));
}

/// The gradient of permute: what reaches a token through all of its rows.
///
/// tokens_gradient(t, h) = sum over k of batch_gradient(row_of_assignment(t,
/// k), h)
///
/// \param plan of the last updateDispatchPlan on this instance
/// \param batch_gradient R x H with R >= plan.maxRows(T); float, double, half_t
///   or bhalf_t, any layout and stride. Padding rows are not read.
/// \param tokens_gradient T x H; of any of these types; must not overlap the
///   batch's. A token without rows gets zeros.
/// \throws std::invalid_argument when extents do not fit or memory overlaps
///
/// Order and rounding of the sums, asynchrony and cost are those of combine.
template <class ExecutionSpace, class MemorySpace, class BatchGradient,
          class TokensGradient>
void permuteGradient(const ExecutionSpace& space,
                     const DispatchPlan<MemorySpace>& plan,
                     const BatchGradient& batch_gradient,
                     const TokensGradient& tokens_gradient) {
  static_assert(Kokkos::is_execution_space_v<ExecutionSpace>,
                "Tokkos::permuteGradient: space must be an execution space "
                "instance");
  static_assert(
      Kokkos::is_view_v<BatchGradient> && Kokkos::is_view_v<TokensGradient>,
      "Tokkos::permuteGradient: batch_gradient and tokens_gradient must be "
      "Views");
  static_assert(BatchGradient::rank() == 2 && TokensGradient::rank() == 2,
                "Tokkos::permuteGradient: batch_gradient and tokens_gradient "
                "must have rank 2");
  using Value  = typename BatchGradient::non_const_value_type;
  using Result = typename TokensGradient::value_type;
  static_assert(KokkosExt::is_real_v<Value> && KokkosExt::is_real_v<Result>,
                "Tokkos::permuteGradient: batch_gradient and tokens_gradient "
                "must hold float, double, half_t or bhalf_t, the latter "
                "non-const");
  static_assert(
      KokkosExt::is_accessible_v<ExecutionSpace, BatchGradient> &&
          KokkosExt::is_accessible_v<ExecutionSpace, TokensGradient> &&
          Kokkos::SpaceAccessibility<ExecutionSpace, MemorySpace>::accessible,
      "Tokkos::permuteGradient: the execution space must reach every View");
  constexpr auto function = "Tokkos::permuteGradient";
  Impl::checkSums(function, plan, "batch_gradient", batch_gradient,
                  "tokens_gradient", tokens_gradient);

  Kokkos::Profiling::ScopedRegion region(function);
  if (tokens_gradient.size() == 0) return;
  Impl::combineRows("Tokkos::permuteGradient::sum", space,
                    Impl::CombineTask<Value, float, Result>{
                        Impl::constElementRows(batch_gradient),
                        {nullptr, 0, 0},
                        Impl::elementRows(tokens_gradient),
                        0},
                    tokens_gradient.extent(1), Impl::rowMaps(plan));
}

/// The gradients of combine, in one pass over the rows.
///
///     batch_gradient(row, h) = weights(t, k) * output_gradient(t, h)
///     weights_gradient(t, k) = sum over h of output_gradient(t, h)
///                              * batch(row, h)
///
/// with row = row_of_assignment(t, k).
///
/// \param plan of the last updateDispatchPlan on this instance
/// \param output_gradient T x H; float, double, half_t or bhalf_t, any layout
///   and stride; and so all others
/// \param batch R x H with R >= plan.maxRows(T), as combine read it
/// \param weights T x K
/// \param batch_gradient R x H; padding rows become zeros, rows from num_rows
///   on are not touched
/// \param weights_gradient T x K; 0 where the assignment has no row
/// \throws std::invalid_argument when extents do not fit or an output shares
///   memory with an input or with the other output
///
/// Computes in float (in double when the batch is double), never fused, and
/// rounds to the outputs' types once. The sum over h is a fixed tree: groups of
/// 8 neighbours are added pairwise, group g goes to partial sum g % 128 in
/// ascending order, the partial sums are added pairwise. So the result is the
/// same, bit for bit, on every backend. The gradient of a plain sum is permute
/// of the output's gradient; of what a beta brings in, beta times it.
///
/// Enqueues on the instance and returns: no allocation, no synchronisation, one
/// launch. Moves (2 * T * K + T) * H elements.
template <class ExecutionSpace, class MemorySpace, class OutputGradient,
          class Batch, class Weights, class BatchGradient,
          class WeightsGradient>
void combineGradient(const ExecutionSpace& space,
                     const DispatchPlan<MemorySpace>& plan,
                     const OutputGradient& output_gradient, const Batch& batch,
                     const Weights& weights,
                     const BatchGradient& batch_gradient,
                     const WeightsGradient& weights_gradient) {
  static_assert(Kokkos::is_execution_space_v<ExecutionSpace>,
                "Tokkos::combineGradient: space must be an execution space "
                "instance");
  static_assert(
      Kokkos::is_view_v<OutputGradient> && Kokkos::is_view_v<Batch> &&
          Kokkos::is_view_v<Weights> && Kokkos::is_view_v<BatchGradient> &&
          Kokkos::is_view_v<WeightsGradient>,
      "Tokkos::combineGradient: all arguments after plan must be Views");
  static_assert(OutputGradient::rank() == 2 && Batch::rank() == 2 &&
                    Weights::rank() == 2 && BatchGradient::rank() == 2 &&
                    WeightsGradient::rank() == 2,
                "Tokkos::combineGradient: all Views must have rank 2");
  using RowsGradient  = typename BatchGradient::value_type;
  using GatesGradient = typename WeightsGradient::value_type;
  static_assert(
      KokkosExt::is_real_v<typename OutputGradient::non_const_value_type> &&
          KokkosExt::is_real_v<typename Batch::non_const_value_type> &&
          KokkosExt::is_real_v<typename Weights::non_const_value_type> &&
          KokkosExt::is_real_v<RowsGradient> &&
          KokkosExt::is_real_v<GatesGradient>,
      "Tokkos::combineGradient: all Views must hold float, double, half_t or "
      "bhalf_t, the outputs non-const");
  static_assert(
      KokkosExt::is_accessible_v<ExecutionSpace, OutputGradient> &&
          KokkosExt::is_accessible_v<ExecutionSpace, Batch> &&
          KokkosExt::is_accessible_v<ExecutionSpace, Weights> &&
          KokkosExt::is_accessible_v<ExecutionSpace, BatchGradient> &&
          KokkosExt::is_accessible_v<ExecutionSpace, WeightsGradient> &&
          Kokkos::SpaceAccessibility<ExecutionSpace, MemorySpace>::accessible,
      "Tokkos::combineGradient: the execution space must reach every View");
  constexpr auto function = "Tokkos::combineGradient";
  Impl::checkSums(function, plan, "batch", batch, "output_gradient",
                  output_gradient);
  Impl::checkWeights(function, plan, "weights", weights);
  Impl::checkBatchRows(function, plan, "batch_gradient", batch_gradient);
  Impl::checkExtent(function, "batch_gradient", 1, batch_gradient.extent(1),
                    batch.extent(1), "batch.extent(1)");
  Impl::checkWeights(function, plan, "weights_gradient", weights_gradient);
  const Impl::NamedRegion inputs[] = {
      {"output_gradient", Impl::memoryRegion(output_gradient)},
      {"batch", Impl::memoryRegion(batch)},
      {"weights", Impl::memoryRegion(weights)}};
  const Impl::NamedRegion outputs[] = {
      {"batch_gradient", Impl::memoryRegion(batch_gradient)},
      {"weights_gradient", Impl::memoryRegion(weights_gradient)}};
  Impl::checkAllDisjoint(function, inputs, outputs);

  Kokkos::Profiling::ScopedRegion region(function);
  if (plan.num_tokens == 0) return;
  Impl::combineGradientRows(
      space,
      Impl::CombineGradientTask<typename OutputGradient::non_const_value_type,
                                typename Batch::non_const_value_type,
                                typename Weights::non_const_value_type,
                                RowsGradient, GatesGradient>{
          Impl::constElementRows(output_gradient),
          Impl::constElementRows(batch), Impl::constElementRows(weights),
          Impl::elementRows(batch_gradient),
          Impl::elementRows(weights_gradient), Impl::rowMaps(plan),
          static_cast<std::int64_t>(batch.extent(1))});
}

}  // namespace Tokkos

#endif
