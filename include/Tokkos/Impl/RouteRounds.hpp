// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// SPDX-FileCopyrightText: Copyright Contributors to the Tokkos project

#ifndef TOKKOS_IMPL_ROUTEROUNDS_HPP
#define TOKKOS_IMPL_ROUTEROUNDS_HPP

#include <Tokkos/Impl/RouteLanes.hpp>
#include <Tokkos/Impl/RouterData.hpp>
#include <Tokkos/Impl/RouterGroups.hpp>
#include <Tokkos/KokkosExt/Lanes.hpp>
#include <Tokkos/KokkosExt/Rounding.hpp>
#include <Tokkos/KokkosExt/Team.hpp>

#include <Kokkos_Core.hpp>

#include <cstddef>

namespace Tokkos::Impl {

/// Routes a token with any number of experts and choices on any backend, in
/// T * E * K operations: every round looks at the whole row for the expert that
/// follows the last choice. Needs no memory but for groups.
template <class ExecutionSpace, class Data, int lanes>
struct RouteRounds {
  using Team   = KokkosExt::Team<ExecutionSpace>;
  using Lanes  = KokkosExt::Lanes<ExecutionSpace, lanes>;
  using Real   = typename Data::Real;
  using Choice = RouterChoice<Real>;
  using Row    = RouterMemory<Data, lanes>;

  Data data;
  int scratch_bytes;

  static std::size_t scratchBytes(const Data& data) {
    if (!data.limits_groups) return 0;
    return (RouterGroups<Real>::scratchBytes(data) + 15) / 16 * 16;
  }

  KOKKOS_FUNCTION void operator()(const Team& team) const {
    const int member = team.team_rank() / lanes;
    const int lane   = team.team_rank() % lanes;
    const int tokens = team.team_size() / lanes;
    const int token  = team.league_rank() * tokens + member;
    if (token >= data.num_tokens) return;
    char* const scratch =
        scratch_bytes == 0
            ? nullptr
            : static_cast<char*>(team.scratch()) + member * scratch_bytes;
    if (data.isMasked(token)) {
      for (int k = lane; k < data.top_k + data.num_shared; k += lanes)
        data.writeMasked(token, k);
      return;
    }
    route(token, lane, reinterpret_cast<Real*>(scratch));
  }

 private:
  KOKKOS_FUNCTION static Real greatest(Real x) {
    return numberOfOrderedBits<Real>(Lanes::maximum(orderedBitsOfNumber(x)));
  }

  KOKKOS_FUNCTION void route(int token, int lane, Real* memory) const {
    Row row(data, token);
    ScoreOfRow<Real> score;
    if (data.score == Score::softmax) {
      Real maximum = minusInfinity<Real>();
      row.forEach(
          lane, [&](Real x, int) { maximum = KokkosExt::larger(x, maximum); });
      score.maximum     = data.capped(greatest(maximum));
      score.denominator = row.template sum<Lanes>(
          lane, [&](Real x, int) { return data.term(x, score.maximum); });
    }
    row.useKeys(score, nullptr);
    const RouterGroups<Real> groups(data, memory);
    if (data.limits_groups) {
      groups.template compare<Lanes, lanes>(
          data, lane, [&](int expert) { return row.at(expert); });
      row.useKeys(score, groups.kept());
    }
    choose(token, lane, row, groups);
    Lanes::sync();
    weigh(token, lane, row, score);
  }

  KOKKOS_FUNCTION bool isEligible(int expert,
                                  const RouterGroups<Real>& groups) const {
    return !data.limits_groups || groups.keeps(data.groupOf(expert));
  }

  KOKKOS_FUNCTION void choose(int token, int lane, const Row& row,
                              const RouterGroups<Real>& groups) const {
    const Choice none{minusInfinity<Real>(), data.num_experts};
    Choice last{Kokkos::Experimental::infinity_v<Real>, -1};
    for (int k = 0; k < data.top_k; ++k) {
      Choice best = none;
      row.forEach(lane, [&](Real x, int expert) {
        const Choice choice{x, expert};
        if (expert < data.num_experts && last.isBefore(choice) &&
            choice.isBefore(best) &&
            (x > minusInfinity<Real>() || isEligible(expert, groups)))
          best = choice;
      });
      for (int distance = lanes / 2; distance > 0; distance /= 2) {
        const Choice other{Lanes::exchange(best.key, distance),
                           Lanes::exchange(best.expert, distance)};
        if (other.isBefore(best)) best = other;
      }
      last = best;
      // Every lane goes on with the ids that all have written.
      if (lane == 0)
        data.write(token, k, best.expert,
                   static_cast<Real>(isExcluded(best.key) ? 0 : 1));
    }
  }

  /// The weight of choice k before any normalisation; 0 when it is excluded.
  KOKKOS_FUNCTION Real weightOf(int token, int k, const Row& row,
                                const ScoreOfRow<Real>& score,
                                Real maximum) const {
    const int expert = static_cast<int>(data.expert_ids(token, k));
    const Real x     = data.logit(token, expert);
    if (isExcluded(row.at(expert))) return Real(0);
    return data.score == Score::selected_softmax ? data.term(x, maximum)
                                                 : data.scoreOf(x, score);
  }

  KOKKOS_FUNCTION void weigh(int token, int lane, const Row& row,
                             const ScoreOfRow<Real>& score) const {
    const bool selected = data.score == Score::selected_softmax;
    Real maximum        = minusInfinity<Real>();
    if (selected) {
      for (int k = 0; k < data.top_k; ++k) {
        const int expert = static_cast<int>(data.expert_ids(token, k));
        if (!isExcluded(row.at(expert)))
          maximum = KokkosExt::larger(data.logit(token, expert), maximum);
      }
      maximum = data.capped(maximum);
    }
    const auto sumOf = [&](const auto& weight) {
      Real sum = weight(0);
      for (int k = 1; k < data.top_k; ++k)
        sum = KokkosExt::add(sum, weight(k));
      return sum;
    };
    const auto weight = [&](int k) {
      return weightOf(token, k, row, score, maximum);
    };
    const Real denominator = selected ? sumOf(weight) : Real(1);
    const auto share       = [&](int k) {
      return denominator == 0 ? Real(0)
                   : selected       ? KokkosExt::divide(weight(k), denominator)
                                    : weight(k);
    };
    const Real total = data.normalize ? sumOf(share) : Real(1);
    for (int k = lane; k < data.top_k; k += lanes) {
      const int expert = static_cast<int>(data.expert_ids(token, k));
      Real w           = share(k);
      if (data.normalize) w = data.normalized(w, total);
      w = isExcluded(row.at(expert)) ? Real(0) : data.scaled(w, expert);
      data.write(token, k, expert, w);
    }
    for (int i = lane; i < data.num_shared; i += lanes)
      data.writeShared(token, i);
  }
};

}  // namespace Tokkos::Impl

#endif
