// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// SPDX-FileCopyrightText: Copyright Contributors to the Tokkos project

#ifndef TOKKOS_GRADIENTS_HPP
#define TOKKOS_GRADIENTS_HPP

#include <Tokkos/Impl/Check.hpp>
#include <Tokkos/Impl/RouterArguments.hpp>
#include <Tokkos/Impl/RouterGradient.hpp>
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

}  // namespace Tokkos

#endif
