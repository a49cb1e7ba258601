// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// SPDX-FileCopyrightText: Copyright Contributors to the Tokkos project

#ifndef TOKKOS_IMPL_LOADBALANCEKERNELS_HPP
#define TOKKOS_IMPL_LOADBALANCEKERNELS_HPP

#include <Tokkos/Impl/Exponential.hpp>
#include <Tokkos/Impl/OrderedBits.hpp>
#include <Tokkos/Impl/RouteLanes.hpp>
#include <Tokkos/Impl/RouterData.hpp>
#include <Tokkos/KokkosExt/Lanes.hpp>
#include <Tokkos/KokkosExt/Rounding.hpp>
#include <Tokkos/KokkosExt/Team.hpp>

#include <Kokkos_Core.hpp>

#include <cstdint>

/// The kernels of LoadBalance. Sums are made in double, in orders that depend
/// on the numbers of tokens and experts alone.
namespace Tokkos::Impl {

/// So many tokens are summed one after the other.
inline constexpr int load_balance_tile = 128;

/// The logits as the router's rows read them.
template <class Logit>
using LoadBalanceData = RouterData<Logit, const int, const float>;

/// Largest logit and denominator of the softmax of every token; the denominator
/// is 0 when the mask takes the token out or all its experts are excluded.
template <class ExecutionSpace, class Logit, int lanes>
struct FindSoftmaxOfRows {
  using Team  = KokkosExt::Team<ExecutionSpace>;
  using Lanes = KokkosExt::Lanes<ExecutionSpace, lanes>;
  using Data  = LoadBalanceData<Logit>;
  using Real  = typename Data::Real;

  Data data;
  const bool* mask;
  double *maxima, *denominators;

  KOKKOS_FUNCTION void operator()(const Team& team) const {
    const int lane  = team.team_rank() % lanes;
    const int token = team.league_rank() * (team.team_size() / lanes) +
                      team.team_rank() / lanes;
    if (token >= data.num_tokens) return;
    const RouterMemory<Data, lanes> row(data, token);
    Real maximum = minusInfinity<Real>();
    row.forEach(lane,
                [&](Real x, int) { maximum = KokkosExt::larger(x, maximum); });
    maximum =
        numberOfOrderedBits<Real>(Lanes::maximum(orderedBitsOfNumber(maximum)));
    const Real denominator = row.template sum<Lanes>(lane, [&](Real x, int) {
      return exponential(KokkosExt::add(x, -maximum));
    });
    if (lane != 0) return;
    maxima[token] = static_cast<double>(maximum);
    denominators[token] =
        mask != nullptr && !mask[token] ? 0 : static_cast<double>(denominator);
  }
};

/// What is known of the softmax of every token.
template <class Logit>
struct SoftmaxOfRows {
  using Data = LoadBalanceData<Logit>;
  using Real = typename Data::Real;

  Data data;
  const double *maxima, *denominators;

  KOKKOS_FUNCTION bool takesPart(int token) const {
    return denominators[token] != 0;
  }

  KOKKOS_FUNCTION double probability(int token, int expert) const {
    const Real y = exponential(KokkosExt::add(
        data.logit(token, expert), -static_cast<Real>(maxima[token])));
    return KokkosExt::divide(static_cast<double>(y), denominators[token]);
  }

  /// ln of the sum of e^logit
  KOKKOS_FUNCTION double logSum(int token) const {
    return KokkosExt::add(maxima[token], logarithm(denominators[token]));
  }
};

/// Sums over the tokens of every tile: of the probabilities of expert e in
/// column e, then of the squares of logSum, then of the tokens that take part.
template <class Logit>
struct SumTilesOfTokens {
  SoftmaxOfRows<Logit> softmax;
  int num_columns;
  double* sums;  // tiles x num_columns

  KOKKOS_FUNCTION void operator()(std::int64_t i) const {
    const auto tile     = static_cast<int>(i / num_columns);
    const auto column   = static_cast<int>(i % num_columns);
    const int begin     = tile * load_balance_tile;
    const int remaining = softmax.data.num_tokens - begin;
    const int end =
        begin + (remaining < load_balance_tile ? remaining : load_balance_tile);
    double sum = 0;
    for (int t = begin; t < end; ++t)
      if (softmax.takesPart(t)) sum = KokkosExt::add(sum, term(t, column));
    sums[i] = sum;
  }

 private:
  KOKKOS_FUNCTION double term(int token, int column) const {
    const int num_experts = softmax.data.num_experts;
    if (column < num_experts) return softmax.probability(token, column);
    if (column > num_experts) return 1;
    const double z = softmax.logSum(token);
    return KokkosExt::multiply(z, z);
  }
};

struct SumTiles {
  const double* sums;
  int num_tiles, num_columns;
  double* totals;

  KOKKOS_FUNCTION void operator()(int column) const {
    double sum = 0;
    for (int tile = 0; tile < num_tiles; ++tile)
      sum = KokkosExt::add(
          sum, sums[static_cast<std::int64_t>(tile) * num_columns + column]);
    totals[column] = sum;
  }
};

/// Sums by one team, over i below n: 32 partial sums, number p over p, p + 32,
/// ..., which are then added in their order.
template <class ExecutionSpace>
class TeamSum {
  using Team = typename Kokkos::TeamPolicy<ExecutionSpace>::member_type;

 public:
  static constexpr int partial_sums = 32;

  KOKKOS_FUNCTION static constexpr int scratchBytes() {
    return partial_sums * static_cast<int>(sizeof(double));
  }

  KOKKOS_FUNCTION explicit TeamSum(const Team& team)
      : m_team(team),
        m_partial(static_cast<double*>(
            team.team_scratch(0).get_shmem(scratchBytes()))) {}

  /// All threads of the team call it, and get the sum.
  template <class F>
  KOKKOS_FUNCTION double operator()(int n, const F& f) const {
    Kokkos::parallel_for(Kokkos::TeamThreadRange(m_team, partial_sums),
                         [&](int p) {
                           double sum = 0;
                           for (int i = p; i < n; i += partial_sums)
                             sum = KokkosExt::add(sum, f(i));
                           m_partial[p] = sum;
                         });
    m_team.team_barrier();
    double sum = 0;
    for (int p = 0; p < partial_sums; ++p)
      sum = KokkosExt::add(sum, m_partial[p]);
    m_team.team_barrier();
    return sum;
  }

 private:
  const Team& m_team;
  double* m_partial;
};

/// The statistics of a load, and the losses, by one team.
template <class ExecutionSpace, class Results>
struct FinishLoadBalance {
  using Team = typename Kokkos::TeamPolicy<ExecutionSpace>::member_type;

  const int* counts;
  const double* totals;  // see SumTilesOfTokens
  int num_experts;
  double *fractions, *importance;
  Results* results;

  KOKKOS_FUNCTION void operator()(const Team& team) const {
    const TeamSum<ExecutionSpace> sum(team);
    const auto experts   = static_cast<double>(num_experts);
    const double tokens  = totals[num_experts + 1];
    const double squares = totals[num_experts];
    const double load =
        sum(num_experts, [&](int e) { return static_cast<double>(counts[e]); });
    Kokkos::parallel_for(Kokkos::TeamThreadRange(team, num_experts),
                         [&](int e) {
                           fractions[e]  = ratio(counts[e], load);
                           importance[e] = totals[e];
                         });
    team.team_barrier();

    const double products = sum(num_experts, [&](int e) {
      return KokkosExt::multiply(fractions[e], importance[e]);
    });
    const double entropy  = sum(num_experts, [&](int e) {
      return fractions[e] == 0
                  ? 0.0
                  : -KokkosExt::multiply(fractions[e], logarithm(fractions[e]));
    });
    const double of_load =
        variation(sum, [&](int e) { return static_cast<double>(counts[e]); });
    const double of_importance =
        variation(sum, [&](int e) { return importance[e]; });
    Kokkos::single(Kokkos::PerTeam(team), [&]() {
      results->num_assignments = static_cast<std::int64_t>(load);
      results->num_tokens      = static_cast<std::int64_t>(tokens);
      results->load_balancing_loss =
          KokkosExt::multiply(experts, ratio(products, tokens));
      results->z_loss          = ratio(squares, tokens);
      results->importance_loss = of_importance;
      results->maximum_over_mean =
          ratio(KokkosExt::multiply(experts, greatestCount()), load);
      results->coefficient_of_variation = KokkosExt::squareRoot(of_load);
      results->entropy                  = entropy;
    });
  }

 private:
  KOKKOS_FUNCTION static double ratio(double a, double b) {
    return b == 0 ? 0.0 : KokkosExt::divide(a, b);
  }

  KOKKOS_FUNCTION double greatestCount() const {
    int greatest = 0;
    for (int e = 0; e < num_experts; ++e)
      greatest = counts[e] > greatest ? counts[e] : greatest;
    return greatest;
  }

  /// The variance over the square of the mean, 0 for a mean of 0.
  template <class F>
  KOKKOS_FUNCTION double variation(const TeamSum<ExecutionSpace>& sum,
                                   const F& f) const {
    const auto experts    = static_cast<double>(num_experts);
    const double mean     = KokkosExt::divide(sum(num_experts, f), experts);
    const double variance = sum(num_experts, [&](int e) {
      const double difference = KokkosExt::add(f(e), -mean);
      return KokkosExt::multiply(difference, difference);
    });
    return ratio(KokkosExt::divide(variance, experts),
                 KokkosExt::multiply(mean, mean));
  }
};

/// The gradient of the losses by the logits of one token.
template <class ExecutionSpace, class Logit, class Gradient, class Results,
          int lanes>
struct DifferentiateLoadBalance {
  using Team  = KokkosExt::Team<ExecutionSpace>;
  using Lanes = KokkosExt::Lanes<ExecutionSpace, lanes>;
  using Data  = LoadBalanceData<Logit>;
  using Real  = typename Data::Real;

  SoftmaxOfRows<Logit> softmax;
  const double *fractions, *importance;
  const Results* results;
  double load_balancing, z, importance_factor;
  RouterMatrix<Gradient> gradient;

  KOKKOS_FUNCTION void operator()(const Team& team) const {
    const int lane  = team.team_rank() % lanes;
    const int token = team.league_rank() * (team.team_size() / lanes) +
                      team.team_rank() / lanes;
    if (token >= softmax.data.num_tokens) return;
    const bool takes_part = softmax.takesPart(token);
    const RouterMemory<Data, lanes> row(softmax.data, token);
    // dL/dp_e is byProbability(e); d(logSum)/dx_e is p_e.
    const Real mean = row.template sum<Lanes>(lane, [&](Real, int e) {
      return takes_part ? static_cast<Real>(KokkosExt::multiply(
                              softmax.probability(token, e), byProbability(e)))
                        : Real(0);
    });
    const double by_log_sum =
        takes_part ? KokkosExt::divide(
                         KokkosExt::multiply(2 * z, softmax.logSum(token)),
                         static_cast<double>(results->num_tokens))
                   : 0.0;
    for (int e = lane; e < softmax.data.num_experts; e += lanes) {
      double value = 0;
      if (takes_part)
        value = KokkosExt::multiply(
            softmax.probability(token, e),
            KokkosExt::add(
                KokkosExt::add(byProbability(e), -static_cast<double>(mean)),
                by_log_sum));
      gradient(token, e) = static_cast<Gradient>(static_cast<Real>(value));
    }
  }

 private:
  KOKKOS_FUNCTION double byProbability(int e) const {
    const auto experts = static_cast<double>(softmax.data.num_experts);
    const auto tokens  = static_cast<double>(results->num_tokens);
    // The sum of the importance is the number of tokens.
    const double of_load = KokkosExt::divide(
        KokkosExt::multiply(KokkosExt::multiply(load_balancing, experts),
                            fractions[e]),
        tokens);
    const double of_importance = KokkosExt::divide(
        KokkosExt::multiply(KokkosExt::multiply(2 * importance_factor, experts),
                            importance[e]),
        KokkosExt::multiply(tokens, tokens));
    return KokkosExt::add(of_load, of_importance);
  }
};

/// bias(e) += speed * sign(mean of the counts - counts(e)), by one team.
template <class ExecutionSpace, class Counts, class Bias>
struct UpdateRouterBias {
  using Team = typename Kokkos::TeamPolicy<ExecutionSpace>::member_type;

  Counts counts;
  float speed;
  Bias bias;

  KOKKOS_FUNCTION void operator()(const Team& team) const {
    const auto num_experts = static_cast<int>(counts.extent(0));
    // Counts are integers: their sum is exact in any order.
    std::int64_t total = 0;
    Kokkos::parallel_reduce(
        Kokkos::TeamThreadRange(team, num_experts),
        [&](int e, std::int64_t& sum) {
          sum += static_cast<std::int64_t>(counts(e));
        },
        total);
    Kokkos::parallel_for(
        Kokkos::TeamThreadRange(team, num_experts), [&](int e) {
          const std::int64_t share =
              static_cast<std::int64_t>(counts(e)) * num_experts;
          if (share < total)
            bias(e) = KokkosExt::add(bias(e), speed);
          else if (share > total)
            bias(e) = KokkosExt::add(bias(e), -speed);
        });
  }
};

}  // namespace Tokkos::Impl

#endif
