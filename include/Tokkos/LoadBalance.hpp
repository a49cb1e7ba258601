// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// SPDX-FileCopyrightText: Copyright Contributors to the Tokkos project

#ifndef TOKKOS_LOADBALANCE_HPP
#define TOKKOS_LOADBALANCE_HPP

#include <Tokkos/Impl/Check.hpp>
#include <Tokkos/Impl/LoadBalanceKernels.hpp>
#include <Tokkos/Impl/RouteTopK.hpp>
#include <Tokkos/Impl/RouterArguments.hpp>
#include <Tokkos/KokkosExt/Launch.hpp>
#include <Tokkos/KokkosExt/Team.hpp>
#include <Tokkos/KokkosExt/Types.hpp>
#include <Tokkos/Stages.hpp>

#include <Kokkos_Core.hpp>
#include <Kokkos_Profiling_ScopedRegion.hpp>

#include <climits>
#include <cmath>
#include <cstdint>
#include <string>
#include <type_traits>

namespace Tokkos {

/// How evenly experts are loaded, and what training makes of it. With c_e the
/// assignments of expert e, f_e their fraction of all, N the tokens that take
/// part, p the softmax of a token's logits, I_e the sum of p_e over the tokens.
struct LoadBalanceResults {
  std::int64_t num_assignments;  ///< sum of c
  std::int64_t num_tokens;       ///< N

  double maximum_over_mean;  ///< largest c over the mean of c; 1 is even
  /// Standard deviation of c over its mean; 0 is even.
  double coefficient_of_variation;
  double entropy;  ///< of f, in nats; ln E is even

  /// E * (sum of f_e I_e / N); 1 is even (Fedus, Zoph, Shazeer, "Switch
  /// Transformers", 2022). That of GShard (Lepikhin et al., 2021), of the first
  /// choices alone, is this divided by E^2.
  double load_balancing_loss;
  /// Mean over the tokens of (ln sum of e^logit)^2 (Zoph et al., "ST-MoE",
  /// 2022).
  double z_loss;
  /// Variance of I over the square of its mean (Shazeer et al., "Outrageously
  /// Large Neural Networks", 2017).
  double importance_loss;
};

/// The arrays of updateLoadBalance, allocated once.
template <class MemorySpace = Kokkos::DefaultExecutionSpace::memory_space>
struct LoadBalance {
  static_assert(Kokkos::is_memory_space_v<MemorySpace>,
                "Tokkos::LoadBalance: MemorySpace must be a memory space");
  using memory_space = MemorySpace;  ///< of all arrays

  LoadBalance() = default;

  /// \throws std::invalid_argument when max_tokens < 0 or num_experts < 1
  template <class ExecutionSpace>
  LoadBalance(const ExecutionSpace& space, std::int64_t max_tokens,
              int num_experts);

  Kokkos::View<int*, MemorySpace> counts;         ///< E: c
  Kokkos::View<double*, MemorySpace> fractions;   ///< E: f
  Kokkos::View<double*, MemorySpace> importance;  ///< E: I
  /// The numbers that are there once.
  Kokkos::View<LoadBalanceResults, MemorySpace> results;

  int max_tokens  = 0;  ///< that an update may have
  int num_tokens  = 0;  ///< of the last update, the masked ones too
  int num_experts = 0;  ///< E

  /// Work array: the maximum of every token's softmax.
  Kokkos::View<double*, MemorySpace> maxima;
  /// Work array: the denominator of every token's softmax.
  Kokkos::View<double*, MemorySpace> denominators;
  /// Work array: sums by tile of tokens and expert.
  Kokkos::View<double**, Kokkos::LayoutRight, MemorySpace> tile_sums;
  /// Work array: their totals.
  Kokkos::View<double*, MemorySpace> totals;
};

template <class MemorySpace>
template <class ExecutionSpace>
LoadBalance<MemorySpace>::LoadBalance(const ExecutionSpace& space,
                                      std::int64_t max_tokens_,
                                      int num_experts_) {
  constexpr auto function = "Tokkos::LoadBalance";
  Impl::checkRange(function, "max_tokens", max_tokens_, 0, INT_MAX, "");
  Impl::checkRange(function, "num_experts", num_experts_, 1, INT_MAX - 1024,
                   "");
  max_tokens       = static_cast<int>(max_tokens_);
  num_experts      = num_experts_;
  const auto label = [&](const char* name) {
    return Kokkos::view_alloc(space, Kokkos::WithoutInitializing,
                              std::string("Tokkos::LoadBalance::") + name);
  };
  const auto experts  = static_cast<std::size_t>(num_experts);
  const auto tokens   = static_cast<std::size_t>(max_tokens);
  constexpr auto tile = static_cast<std::size_t>(Impl::load_balance_tile);
  counts              = decltype(counts)(label("counts"), experts);
  fractions           = decltype(fractions)(label("fractions"), experts);
  importance          = decltype(importance)(label("importance"), experts);
  results             = decltype(results)(label("results"));
  maxima              = decltype(maxima)(label("maxima"), tokens);
  denominators        = decltype(denominators)(label("denominators"), tokens);
  tile_sums           = decltype(tile_sums)(label("tile_sums"),
                                  (tokens + tile - 1) / tile, experts + 2);
  totals              = decltype(totals)(label("totals"), experts + 2);
}

namespace Impl {

template <class ExecutionSpace, class MemorySpace, class Logits>
void checkLoadBalance(const std::string& function,
                      const LoadBalance<MemorySpace>& balance,
                      const Logits& logits) {
  static_assert(Kokkos::is_execution_space_v<ExecutionSpace>,
                "Tokkos::LoadBalance: space must be an execution space "
                "instance");
  static_assert(Kokkos::is_view_v<Logits>,
                "Tokkos::LoadBalance: logits must be a View");
  static_assert(Logits::rank() == 2,
                "Tokkos::LoadBalance: logits must have rank 2");
  static_assert(KokkosExt::is_real_v<typename Logits::non_const_value_type>,
                "Tokkos::LoadBalance: logits must be float, double, half_t or "
                "bhalf_t");
  static_assert(
      KokkosExt::is_accessible_v<ExecutionSpace, Logits> &&
          Kokkos::SpaceAccessibility<ExecutionSpace, MemorySpace>::accessible,
      "Tokkos::LoadBalance: the execution space must reach every View");
  checkRange(function, "logits.extent(0)",
             static_cast<std::int64_t>(logits.extent(0)), 0, balance.max_tokens,
             "balance.max_tokens");
  checkExtent(function, "logits", 1, logits.extent(1),
              static_cast<std::size_t>(balance.num_experts),
              "balance.num_experts");
  checkMemory(function, "logits", memoryRegion(logits));
}

template <class MemorySpace, class Logits>
auto softmaxOfRows(const LoadBalance<MemorySpace>& balance,
                   const Logits& logits) {
  using Logit = typename Logits::non_const_value_type;
  LoadBalanceData<Logit> data{};
  data.logits      = RouterMatrix<const Logit>(logits);
  data.num_tokens  = static_cast<int>(logits.extent(0));
  data.num_experts = balance.num_experts;
  return SoftmaxOfRows<Logit>{data, balance.maxima.data(),
                              balance.denominators.data()};
}

template <class ExecutionSpace>
inline constexpr int token_lanes_v = KokkosExt::max_lanes_v<ExecutionSpace>;

/// Runs a functor with token_lanes_v lanes to a token.
template <class ExecutionSpace, class Functor>
void launchTokens(const char* label, const ExecutionSpace& space,
                  int num_tokens, const Functor& functor) {
  constexpr int lanes  = token_lanes_v<ExecutionSpace>;
  constexpr int tokens = lanes == 1 ? 1 : 128 / lanes;
  KokkosExt::launchTeams(label, space, numTeams(num_tokens, tokens),
                         tokens * lanes, 0, functor);
}

template <class ExecutionSpace, class Functor>
Kokkos::TeamPolicy<ExecutionSpace> oneTeam(const ExecutionSpace& space,
                                           const Functor& functor, int bytes) {
  const auto scratch = Kokkos::PerTeam(bytes);
  const int most     = Kokkos::TeamPolicy<ExecutionSpace>(space, 1, 1, 1)
                       .set_scratch_size(0, scratch)
                       .team_size_max(functor, Kokkos::ParallelForTag());
  return Kokkos::TeamPolicy<ExecutionSpace>(space, 1, most < 256 ? most : 256,
                                            1)
      .set_scratch_size(0, scratch);
}

}  // namespace Impl

/// Finds the load of the experts and the losses of training.
///
/// \param balance made for this number of experts and at least T tokens; its
///   counts, fractions, importance and results are overwritten
/// \param logits T x E; float, double, half_t or bhalf_t
/// \param expert_ids T x K integers, as routeTopK gives them: what the counts
///   are of. An id outside [0, E) is not counted.
/// \param mask empty, or T: a token with false takes no part in I, N and the
///   losses. (routeTopK gives it ids that are not counted.)
/// \throws std::invalid_argument when extents do not fit
///
/// An expert whose logit is NaN or -infinity has p = 0; a token without others
/// takes no part. A mean of nothing is 0. The same bits on every backend and in
/// every run.
///
/// Enqueues on the instance and returns: no allocation, no synchronisation; can
/// be captured in a CUDA graph. T * E operations, five launches.
template <class ExecutionSpace, class MemorySpace, class Logits,
          class ExpertIds>
void updateLoadBalance(
    const ExecutionSpace& space, LoadBalance<MemorySpace>& balance,
    const Logits& logits, const ExpertIds& expert_ids,
    const Kokkos::View<const bool*, typename Logits::memory_space>& mask = {}) {
  static_assert(Kokkos::is_view_v<ExpertIds> && ExpertIds::rank() == 2,
                "Tokkos::updateLoadBalance: expert_ids must be a View of rank "
                "2");
  const std::string function = "Tokkos::updateLoadBalance";
  Impl::checkLoadBalance<ExecutionSpace>(function, balance, logits);
  Impl::checkExtent(function, "expert_ids", 0, expert_ids.extent(0),
                    logits.extent(0), "logits.extent(0)");
  Impl::checkMemory(function, "expert_ids", Impl::memoryRegion(expert_ids));
  Impl::checkOptionalExtent(function, "mask", mask, logits.extent(0),
                            "logits.extent(0)");

  Kokkos::Profiling::ScopedRegion region(function);
  using Logit           = typename Logits::non_const_value_type;
  constexpr int lanes   = Impl::token_lanes_v<ExecutionSpace>;
  const auto softmax    = Impl::softmaxOfRows(balance, logits);
  const int num_tokens  = softmax.data.num_tokens;
  const int num_columns = balance.num_experts + 2;
  const int num_tiles   = Impl::numTeams(num_tokens, Impl::load_balance_tile);
  balance.num_tokens    = num_tokens;
  countExperts(space, expert_ids, balance.counts);
  if (num_tokens > 0) {
    Impl::launchTokens("Tokkos::updateLoadBalance::findSoftmax", space,
                       num_tokens,
                       Impl::FindSoftmaxOfRows<ExecutionSpace, Logit, lanes>{
                           softmax.data, mask.data(), balance.maxima.data(),
                           balance.denominators.data()});
    KokkosExt::parallelFor(
        "Tokkos::updateLoadBalance::sumTiles",
        Kokkos::RangePolicy<ExecutionSpace, Kokkos::IndexType<std::int64_t>>(
            space, 0, std::int64_t(num_tiles) * num_columns),
        Impl::SumTilesOfTokens<Logit>{softmax, num_columns,
                                      balance.tile_sums.data()});
  }
  KokkosExt::parallelFor(
      "Tokkos::updateLoadBalance::sumTokens",
      Kokkos::RangePolicy<ExecutionSpace, Kokkos::IndexType<int>>(space, 0,
                                                                  num_columns),
      Impl::SumTiles{balance.tile_sums.data(), num_tiles, num_columns,
                     balance.totals.data()});
  const Impl::FinishLoadBalance<ExecutionSpace, LoadBalanceResults> finish{
      balance.counts.data(),     balance.totals.data(),
      balance.num_experts,       balance.fractions.data(),
      balance.importance.data(), balance.results.data()};
  KokkosExt::parallelFor(
      "Tokkos::updateLoadBalance::finish",
      Impl::oneTeam(space, finish,
                    Impl::TeamSum<ExecutionSpace>::scratchBytes()),
      finish);
}

/// How much each loss counts.
struct LossFactors {
  double load_balancing = 0;  ///< that of load_balancing_loss
  double z              = 0;  ///< that of z_loss
  double importance     = 0;  ///< that of importance_loss
};

/// The gradient of load_balancing * load_balancing_loss + z * z_loss +
/// importance * importance_loss by the logits. The counts are constants.
///
/// \param balance as updateLoadBalance left it for these logits
/// \param logits_gradient T x E; float, double, half_t or bhalf_t. Overwritten.
/// \throws std::invalid_argument when extents do not fit or memory overlaps
///
/// Enqueues on the instance and returns: no allocation, no synchronisation, one
/// launch; can be captured in a CUDA graph. The same bits on every backend.
template <class ExecutionSpace, class MemorySpace, class Logits,
          class LogitsGradient>
void loadBalanceGradient(const ExecutionSpace& space,
                         const LoadBalance<MemorySpace>& balance,
                         const Logits& logits, const LossFactors& factors,
                         const LogitsGradient& logits_gradient) {
  static_assert(
      Kokkos::is_view_v<LogitsGradient> && LogitsGradient::rank() == 2,
      "Tokkos::loadBalanceGradient: logits_gradient must be a View of rank 2");
  using Gradient = typename LogitsGradient::value_type;
  static_assert(KokkosExt::is_real_v<Gradient>,
                "Tokkos::loadBalanceGradient: logits_gradient must be float, "
                "double, half_t or bhalf_t, non-const");
  static_assert(
      KokkosExt::is_accessible_v<ExecutionSpace, LogitsGradient>,
      "Tokkos::loadBalanceGradient: the execution space must reach every View");
  const std::string function = "Tokkos::loadBalanceGradient";
  Impl::checkLoadBalance<ExecutionSpace>(function, balance, logits);
  Impl::checkExtent(function, "logits", 0, logits.extent(0),
                    static_cast<std::size_t>(balance.num_tokens),
                    "balance.num_tokens");
  Impl::checkExtent(function, "logits_gradient", 0, logits_gradient.extent(0),
                    logits.extent(0), "logits.extent(0)");
  Impl::checkExtent(function, "logits_gradient", 1, logits_gradient.extent(1),
                    logits.extent(1), "logits.extent(1)");
  Impl::checkDisjoint(function, "logits", Impl::memoryRegion(logits),
                      "logits_gradient", Impl::memoryRegion(logits_gradient));

  Kokkos::Profiling::ScopedRegion region(function);
  if (logits.extent(0) == 0) return;
  using Logit         = typename Logits::non_const_value_type;
  constexpr int lanes = Impl::token_lanes_v<ExecutionSpace>;
  Impl::launchTokens(
      "Tokkos::loadBalanceGradient::differentiate", space, balance.num_tokens,
      Impl::DifferentiateLoadBalance<ExecutionSpace, Logit, Gradient,
                                     LoadBalanceResults, lanes>{
          Impl::softmaxOfRows(balance, logits), balance.fractions.data(),
          balance.importance.data(), balance.results.data(),
          factors.load_balancing, factors.z, factors.importance,
          Impl::RouterMatrix<Gradient>(logits_gradient)});
}

/// Moves the bias of every expert by `speed` towards an even load: up when it
/// had fewer assignments than the mean, down when it had more. Balancing
/// without a loss (Wang, Gao, Zhao, Sun, Dai, 2024), as in DeepSeek-V3.
///
/// \param counts E integers, as countExperts or a plan gives them
/// \param speed a finite number; DeepSeek-V3 took 0.001
/// \param bias E; float. Updated: RouterOptions::bias of the next step.
/// \throws std::invalid_argument when extents do not fit, memory overlaps or
///   speed is not finite
///
/// Enqueues on the instance and returns: no allocation, no synchronisation, one
/// launch; can be captured in a CUDA graph.
template <class ExecutionSpace, class Counts, class Bias>
void updateRouterBias(const ExecutionSpace& space, const Counts& counts,
                      double speed, const Bias& bias) {
  static_assert(Kokkos::is_execution_space_v<ExecutionSpace>,
                "Tokkos::updateRouterBias: space must be an execution space "
                "instance");
  static_assert(Kokkos::is_view_v<Counts> && Kokkos::is_view_v<Bias>,
                "Tokkos::updateRouterBias: counts and bias must be Views");
  static_assert(Counts::rank() == 1 && Bias::rank() == 1,
                "Tokkos::updateRouterBias: counts and bias must have rank 1");
  static_assert(std::is_integral_v<typename Counts::value_type>,
                "Tokkos::updateRouterBias: counts must hold integers");
  static_assert(std::is_same_v<typename Bias::value_type, float>,
                "Tokkos::updateRouterBias: bias must be float, non-const");
  static_assert(
      KokkosExt::is_accessible_v<ExecutionSpace, Counts> &&
          KokkosExt::is_accessible_v<ExecutionSpace, Bias>,
      "Tokkos::updateRouterBias: the execution space must reach every View");
  constexpr auto function = "Tokkos::updateRouterBias";
  Impl::checkRange(function, "counts.extent(0)",
                   static_cast<std::int64_t>(counts.extent(0)), 1,
                   INT_MAX - 1024, "the number of experts");
  Impl::checkExtent(function, "bias", 0, bias.extent(0), counts.extent(0),
                    "counts.extent(0)");
  Impl::checkDisjoint(function, "counts", Impl::memoryRegion(counts), "bias",
                      Impl::memoryRegion(bias));
  if (!std::isfinite(speed))
    Impl::throwInvalidArgument(function, "speed", "a finite number",
                               std::to_string(speed));

  Kokkos::Profiling::ScopedRegion region(function);
  const Impl::UpdateRouterBias<ExecutionSpace, Counts, Bias> functor{
      counts, static_cast<float>(speed), bias};
  KokkosExt::parallelFor("Tokkos::updateRouterBias::move",
                         Impl::oneTeam(space, functor, 0), functor);
}

}  // namespace Tokkos

#endif
