// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// SPDX-FileCopyrightText: Copyright Contributors to the Tokkos project

#ifndef TOKKOS_IMPL_ROUTESMALL_HPP
#define TOKKOS_IMPL_ROUTESMALL_HPP

#include <Tokkos/Impl/RouteLanes.hpp>
#include <Tokkos/Impl/RouterData.hpp>
#include <Tokkos/KokkosExt/Lanes.hpp>
#include <Tokkos/KokkosExt/Loop.hpp>
#include <Tokkos/KokkosExt/Rounding.hpp>

#include <Kokkos_Core.hpp>

#include <cstdint>

namespace Tokkos::Impl {

/// Routes a token whose few logits one or two lanes hold, with a softmax and
/// nothing but that: every round looks at all of them for the one that follows
/// the last choice.
template <class ExecutionSpace, class Data, int lanes, int chunks>
struct RouteSmall {
  using Team  = typename Kokkos::TeamPolicy<ExecutionSpace>::member_type;
  using Lanes = KokkosExt::Lanes<ExecutionSpace, lanes>;
  using Real  = typename Data::Real;

  Data data;
  bool aligned;

  KOKKOS_FUNCTION void operator()(const Team& team) const {
    const int lane = team.team_rank() % lanes;
    const int token =
        (team.league_rank() * team.team_size() + team.team_rank()) / lanes;
    const bool is_last = token >= data.num_tokens;
    // All lanes of a warp must stay together.
    if (lanes == 1 && is_last) return;
    route(is_last ? data.num_tokens - 1 : token, lane, !is_last);
  }

 private:
  KOKKOS_FORCEINLINE_FUNCTION void route(int token, int lane,
                                         bool writes) const {
    const RouterRegisters<Data, lanes, chunks> row(data, aligned, token, lane);
    Real maximum = minusInfinity<Real>();
    row.forEach(lane, [&](Real x, int) {
      maximum = KokkosExt::larger(x, maximum);
    });
    maximum = Lanes::maximum(maximum);
    Real denominator = 0;
    if (data.score == Score::softmax)
      denominator = row.template sum<Lanes>(lane, [&](Real x) {
        return exponential(KokkosExt::add(x, -maximum));
      });
    const auto weightOf = [&](Real x) {
      return isExcluded(x)
                 ? Real(0)
                 : exponential(KokkosExt::add(x, -maximum));
    };
    const bool selected = data.score == Score::selected_softmax;
    if (selected)
      denominator = sumOver(row, lane, weightOf);
    const auto share = [&](Real x) {
      return denominator == 0 ? Real(0)
                              : KokkosExt::divide(weightOf(x), denominator);
    };
    const Real total = data.normalize ? sumOver(row, lane, share) : Real(1);
    forEachChoice(row, lane, [&](int k, Real x, int expert) {
      if (!writes || lane != k % lanes) return;
      Real w = share(x);
      if (data.normalize)
        w = total == 0 ? Real(0) : KokkosExt::divide(w, total);
      data.write(token, k, expert, w);
    });
  }

  template <class Row, class F>
  KOKKOS_FORCEINLINE_FUNCTION Real sumOver(const Row& row, int lane,
                                           const F& f) const {
    Real sum = 0;
    forEachChoice(row, lane, [&](int, Real x, int) {
      sum = KokkosExt::add(sum, f(x));
    });
    return sum;
  }

  /// Calls f(k, logit, expert) for one choice after the other.
  template <class Row, class F>
  KOKKOS_FORCEINLINE_FUNCTION void forEachChoice(const Row& row, int lane,
                                                 const F& f) const {
    Real last       = Kokkos::Experimental::infinity_v<Real>;
    int last_expert = -1;
    KokkosExt::rolledLoop(0, data.top_k, 1, [&](int k) {
      Real best = minusInfinity<Real>();
      int found = data.num_experts;
      row.forEach(lane, [&](Real x, int expert) {
        const bool follows = x < last || (x == last && expert > last_expert);
        if (follows && expert < data.num_experts &&
            (found == data.num_experts || x > best)) {
          best  = x;
          found = expert;
        }
      });
      for (int distance = lanes / 2; distance > 0; distance /= 2) {
        const Real x     = Lanes::exchange(best, distance);
        const int expert = Lanes::exchange(found, distance);
        if (x > best || (x == best && expert < found)) {
          best  = x;
          found = expert;
        }
      }
      last        = best;
      last_expert = found;
      f(k, best, found);
    });
  }
};

}  // namespace Tokkos::Impl

#endif
