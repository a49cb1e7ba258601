// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// SPDX-FileCopyrightText: Copyright Contributors to the Tokkos project

#ifndef TOKKOS_IMPL_ROUTESMALL_HPP
#define TOKKOS_IMPL_ROUTESMALL_HPP

#include <Tokkos/Impl/RouteLanes.hpp>
#include <Tokkos/Impl/RouterData.hpp>
#include <Tokkos/KokkosExt/Lanes.hpp>
#include <Tokkos/KokkosExt/Loop.hpp>
#include <Tokkos/KokkosExt/Rounding.hpp>
#include <Tokkos/KokkosExt/Team.hpp>

#include <Kokkos_Core.hpp>

namespace Tokkos::Impl {

/// Routes a token of up to eight experts with a softmax and nothing but that,
/// one or two lanes to a token: every logit is compared with every other, which
/// gives its place among the choices.
template <class ExecutionSpace, class Data, int lanes, RouterUse use>
struct RouteSmall {
  using Team  = KokkosExt::Team<ExecutionSpace>;
  using Lanes = KokkosExt::Lanes<ExecutionSpace, lanes>;
  using Real  = typename Data::Real;
  using Row   = RouterRegisters<Data, lanes, 2 / lanes>;

  static_assert(lanes <= 2 && use != RouterUse::general);
  static constexpr int max_team_size = 128;
  static constexpr int size          = Row::size;

  Data data;
  bool aligned;

  KOKKOS_FUNCTION void operator()(const Team& team) const {
    team.letNextKernelStart();
    const int lane = team.team_rank() % lanes;
    const int token =
        (team.league_rank() * team.team_size() + team.team_rank()) / lanes;
    const bool is_behind = token >= data.num_tokens;
    // All lanes of a warp must stay together.
    if (lanes == 1 && is_behind) return;
    route(is_behind ? data.num_tokens - 1 : token, lane, !is_behind);
  }

 private:
  struct Numbers {
    Real x[size];
    int rank[size];
  };

  KOKKOS_FORCEINLINE_FUNCTION void route(int token, int lane,
                                         bool writes) const {
    const Row row(data, aligned, token, lane);
    Numbers numbers;
    Real maximum = minusInfinity<Real>();
    int place    = 0;
    row.forEach(lane, [&](Real x, int) {
      numbers.x[place++] = x;
      maximum            = KokkosExt::larger(x, maximum);
    });
    maximum = Lanes::maximum(maximum);
    rank(numbers, lane);
    const auto term = [&](Real x) {
      return exponential(KokkosExt::add(x, -maximum));
    };
    Real denominator = 0;
    if (use == RouterUse::softmax || data.score == Score::softmax)
      denominator = row.template sum<Lanes>(lane, term);
    else
      denominator = sumOverChoices(numbers, term);
    const auto part = [&](Real x) { return share(term(x), denominator); };
    Real total      = 1;
    if constexpr (use == RouterUse::sums)
      if (data.normalize) total = sumOverChoices(numbers, part);
    KokkosExt::unrolledLoop<size>([&](int i) {
      if (numbers.rank[i] >= data.top_k || !writes) return;
      Real w = part(numbers.x[i]);
      if constexpr (use == RouterUse::sums)
        if (data.normalize) w = share(w, total);
      data.write(token, numbers.rank[i], Row::expertAt(i, lane), w);
    });
  }

  KOKKOS_FORCEINLINE_FUNCTION static Real share(Real w, Real total) {
    return total == 0 ? Real(0) : KokkosExt::divide(w, total);
  }

  /// Of equal numbers the one of the lower expert is first.
  KOKKOS_FORCEINLINE_FUNCTION static void rank(Numbers& numbers, int lane) {
    KokkosExt::unrolledLoop<size>([&](int i) { numbers.rank[i] = 0; });
    KokkosExt::unrolledLoop<size>([&](int i) {
      KokkosExt::unrolledLoop<size>([&](int j) {
        if (i >= j) return;
        const bool in_order = numbers.x[i] >= numbers.x[j];
        numbers.rank[i] += in_order ? 0 : 1;
        numbers.rank[j] += in_order ? 1 : 0;
      });
    });
    if constexpr (lanes == 2)
      KokkosExt::unrolledLoop<size>([&](int j) {
        const Real other = Lanes::exchange(numbers.x[j], 1);
        KokkosExt::unrolledLoop<size>([&](int i) {
          if (other > numbers.x[i] || (lane == 1 && other == numbers.x[i]))
            ++numbers.rank[i];
        });
      });
  }

  /// The sum of f(logit) over the choices, in their order.
  template <class F>
  KOKKOS_FORCEINLINE_FUNCTION Real sumOverChoices(const Numbers& numbers,
                                                  const F& f) const {
    Real sum = 0;
    KokkosExt::rolledLoop(0, data.top_k, 1, [&](int k) {
      Real x     = minusInfinity<Real>();
      bool found = false;
      KokkosExt::unrolledLoop<size>([&](int i) {
        if (numbers.rank[i] != k) return;
        x     = numbers.x[i];
        found = true;
      });
      // One lane has it, and 0 is added to what that finds.
      Real y = found ? f(x) : Real(0);
      if constexpr (lanes == 2) y = KokkosExt::add(y, Lanes::exchange(y, 1));
      sum = KokkosExt::add(sum, y);
    });
    return sum;
  }
};

}  // namespace Tokkos::Impl

#endif
