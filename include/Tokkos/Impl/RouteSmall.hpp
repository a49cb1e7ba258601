// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// SPDX-FileCopyrightText: Copyright Contributors to the Tokkos project

#ifndef TOKKOS_IMPL_ROUTESMALL_HPP
#define TOKKOS_IMPL_ROUTESMALL_HPP

#include <Tokkos/Impl/OrderedBits.hpp>
#include <Tokkos/Impl/RouteLanes.hpp>
#include <Tokkos/Impl/RouterData.hpp>
#include <Tokkos/KokkosExt/Lanes.hpp>
#include <Tokkos/KokkosExt/Loop.hpp>
#include <Tokkos/KokkosExt/Prefetch.hpp>
#include <Tokkos/KokkosExt/Rounding.hpp>
#include <Tokkos/KokkosExt/Team.hpp>

#include <Kokkos_Core.hpp>

namespace Tokkos::Impl {

/// Routes a token of up to eight experts with a softmax and nothing but that,
/// two lanes to a token: every logit is compared with every other, which gives
/// its place among the choices.
template <class ExecutionSpace, class Data, RouterUse use>
struct RouteSmall {
  static constexpr int lanes = 2;

  using Team   = KokkosExt::Team<ExecutionSpace>;
  using Lanes  = KokkosExt::Lanes<ExecutionSpace, lanes>;
  using Real   = typename Data::Real;
  using Bits   = BitsOf<Real>;
  using Choice = RouterChoice<Real>;
  using Row    = RouterRegisters<Data, lanes, 1>;

  static_assert(use != RouterUse::general);
  static constexpr bool awaits_earlier_kernels = true;
  static constexpr int lanes_of_token          = lanes;
  static constexpr int max_team_size           = 128;
  static constexpr int size                    = Row::size;
  static constexpr int scratch_bytes           = lanes * size * sizeof(Choice);

  Data data;
  bool aligned;

  KOKKOS_FUNCTION void operator()(const Team& team) const {
    team.letNextKernelStart();
    const int member = team.team_rank() / lanes;
    const int lane   = team.team_rank() % lanes;
    const int token  = team.league_rank() * (team.team_size() / lanes) + member;
    // All lanes of a warp must stay together.
    const bool is_behind = token >= data.num_tokens;
    const int row        = is_behind ? data.num_tokens - 1 : token;
    // On the way from memory while the kernel before ends.
    KokkosExt::prefetchShared(&data.logits(row, 0));
    team.awaitEarlierKernels();
    route(row, lane, !is_behind,
          static_cast<Choice*>(team.scratch()) + member * lanes * size);
  }

 private:
  struct Numbers {
    Real x[size];
    Bits key[size];
    int place[size];
  };

  /// The choices stand in memory with their terms as keys.
  KOKKOS_FORCEINLINE_FUNCTION void route(int token, int lane, bool writes,
                                         Choice* choices) const {
    const Row row(data, aligned, token, lane);
    Numbers numbers;
    Real maximum = minusInfinity<Real>();
    int i        = 0;
    row.forEach(lane, [&](Real x, int) {
      numbers.x[i]   = x;
      numbers.key[i] = orderedBitsOfNumber(KokkosExt::add(x, Real(0)));
      maximum        = KokkosExt::larger(x, maximum);
      ++i;
    });
    maximum = Lanes::maximum(maximum);
    findPlaces(numbers, lane);
    const auto term = [&](Real x) {
      return exponential(KokkosExt::add(x, -maximum));
    };
    const bool selected =
        use == RouterUse::sums && data.score == Score::selected_softmax;
    Real denominator = selected ? Real(0) : row.template sum<Lanes>(lane, term);
    KokkosExt::unrolledLoop<size>([&](int j) {
      if (numbers.place[j] < data.top_k)
        choices[numbers.place[j]] =
            Choice{term(numbers.x[j]), Row::expertAt(j, lane)};
    });
    Lanes::sync();
    if (selected) denominator = sumOf(choices);
    if (use == RouterUse::sums && data.normalize)
      denominator = normalize(choices, lane, denominator);
    KokkosExt::rolledLoop(lane, data.top_k, lanes, [&](int k) {
      const Choice choice = choices[k];
      if (writes)
        data.write(token, k, choice.expert, share(choice.key, denominator));
    });
  }

  KOKKOS_FORCEINLINE_FUNCTION static Real share(Real w, Real total) {
    return total == 0 ? Real(0) : KokkosExt::divide(w, total);
  }

  /// Of equal numbers the one of the lower expert is first.
  KOKKOS_FORCEINLINE_FUNCTION static void findPlaces(Numbers& numbers,
                                                     int lane) {
    KokkosExt::unrolledLoop<size>([&](int i) { numbers.place[i] = 0; });
    KokkosExt::unrolledLoop<size>([&](int i) {
      KokkosExt::unrolledLoop<size>([&](int j) {
        if (i >= j) return;
        const bool in_order = numbers.key[i] >= numbers.key[j];
        numbers.place[i] += in_order ? 0 : 1;
        numbers.place[j] += in_order ? 1 : 0;
      });
    });
    // The first lane's experts are before equal ones of the second.
    const Bits tie = lane == 0 ? 0 : 1;
    KokkosExt::unrolledLoop<size>([&](int j) {
      const Bits other = Lanes::exchange(numbers.key[j], 1);
      KokkosExt::unrolledLoop<size>([&](int i) {
        if (other > numbers.key[i] - tie) ++numbers.place[i];
      });
    });
  }

  KOKKOS_FORCEINLINE_FUNCTION Real sumOf(const Choice* choices) const {
    Real sum = 0;
    KokkosExt::rolledLoop(0, data.top_k, 1, [&](int k) {
      sum = KokkosExt::add(sum, choices[k].key);
    });
    return sum;
  }

  /// Divides the terms; returns the sum of what they are then.
  KOKKOS_FORCEINLINE_FUNCTION Real normalize(Choice* choices, int lane,
                                             Real denominator) const {
    Lanes::sync();
    KokkosExt::rolledLoop(lane, data.top_k, lanes, [&](int k) {
      choices[k].key = share(choices[k].key, denominator);
    });
    Lanes::sync();
    return sumOf(choices);
  }
};

}  // namespace Tokkos::Impl

#endif
