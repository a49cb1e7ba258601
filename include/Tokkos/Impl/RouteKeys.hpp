// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// SPDX-FileCopyrightText: Copyright Contributors to the Tokkos project

#ifndef TOKKOS_IMPL_ROUTEKEYS_HPP
#define TOKKOS_IMPL_ROUTEKEYS_HPP

#include <Tokkos/Impl/Exponential.hpp>
#include <Tokkos/Impl/OrderedBits.hpp>
#include <Tokkos/Impl/RouteLanes.hpp>
#include <Tokkos/Impl/RouterData.hpp>
#include <Tokkos/Impl/RouterGroups.hpp>
#include <Tokkos/Impl/RouterTokenRow.hpp>
#include <Tokkos/KokkosExt/Approximation.hpp>
#include <Tokkos/KokkosExt/Lanes.hpp>
#include <Tokkos/KokkosExt/Loop.hpp>
#include <Tokkos/KokkosExt/Rounding.hpp>
#include <Tokkos/KokkosExt/Team.hpp>

#include <Kokkos_Core.hpp>

#include <type_traits>

namespace Tokkos::Impl {

/// Off from sigmoid(x) by less than approximate_sigmoid_error where x is
/// finite: the errors of the instructions and the roundings add up to 2e-7,
/// those of sigmoid() to 1.25e-7.
KOKKOS_FORCEINLINE_FUNCTION float approximateSigmoid(float x) {
  const float e = KokkosExt::approximatePowerOfTwo(
      KokkosExt::multiply(x, -ExponentialTraits<float>::log2_e));
  return KokkosExt::approximateReciprocal(KokkosExt::add(e, 1.0f));
}

inline constexpr float approximate_sigmoid_error = 0x1.8p-22f;

/// Routes by the sigmoid of the logit and a bias, in the best groups where
/// those are limited, a warp to a token.
///
/// A key takes some forty instructions; five of them give it to within a bound.
/// So the groups and the choices are found by approximate keys, in the rounds
/// of RouteLanes, and only the choices' keys are computed. Groups that lie too
/// close to be told apart, and rows that are not finite, begin again with exact
/// keys. Filters of this kind: Shewchuk, "Adaptive precision floating-point
/// arithmetic and fast robust geometric predicates" (1997).
template <class ExecutionSpace, class Data, int chunks, bool limits_groups>
struct RouteKeys
    : RouteLanes<ExecutionSpace, Data, 32, chunks, RouterUse::general> {
  static constexpr int lanes = 32;
  /// As in RouteLanes.
  static constexpr int min_resident_teams = chunks <= 2 ? 16 : 0;

  using Base =
      RouteLanes<ExecutionSpace, Data, lanes, chunks, RouterUse::general>;
  using Base::data;
  using Base::scratch_bytes;
  using typename Base::Bits;
  using typename Base::Choice;
  using typename Base::Lanes;
  using typename Base::Real;
  using typename Base::Registers;
  using typename Base::Scratch;
  using typename Base::Team;

  static_assert(std::is_same_v<Real, float> && chunks > 0);

  int group_shift;  // 2^group_shift experts to a group

  explicit RouteKeys(const Data& data_) : Base(data_, true), group_shift(0) {
    while ((1 << group_shift) < data.group_size)
      ++group_shift;
  }

  KOKKOS_FUNCTION void operator()(const Team& team) const {
    team.letNextKernelStart();
    const auto [member, lane, token] = Base::placeOf(team);
    if (token >= data.num_tokens) return;
    char* const memory = static_cast<char*>(team.scratch());
    route(token, lane, this->scratchAt(memory + member * scratch_bytes));
  }

 private:
  /// A choice with its exact key, and the score that this comes from.
  struct Scored {
    Choice choice;
    Real score;
  };

  KOKKOS_FORCEINLINE_FUNCTION static Scored none() {
    return {Choice{minusInfinity<Real>(), 0}, Real(0)};
  }

  /// Twice what an approximate key can differ from the exact one, and more:
  /// adding the bias rounds both, by half a unit of at most 2^-23 of the key.
  KOKKOS_FORCEINLINE_FUNCTION static Real margin(Real key) {
    static_assert(2 * approximate_sigmoid_error < 0x1p-20f);
    return KokkosExt::add(Real(0x1p-20),
                          KokkosExt::multiply(Real(0x1p-21), Kokkos::abs(key)));
  }

  /// What a sum of two approximate keys of at most this size can differ from
  /// the exact one, and more: the sum, of twice the size, is rounded as well.
  KOKKOS_FORCEINLINE_FUNCTION static Real slackOfSum(Real size) {
    static_assert(2 * approximate_sigmoid_error < 0x1p-20f);
    return KokkosExt::add(Real(0x1p-20),
                          KokkosExt::multiply(Real(0x1p-20), size));
  }

  KOKKOS_FORCEINLINE_FUNCTION void route(int token, int lane,
                                         const Scratch& scratch) const {
    Scored mine = none();
    if (!chooseInRounds(token, lane, scratch, mine)) {
      chooseByKeys(token, lane, scratch);
      if (lane < data.top_k) mine = scored(token, scratch.chosen[lane].expert);
      // In a dropped group or excluded.
      if (lane < data.top_k) mine.choice.key = scratch.chosen[lane].key;
    }
    weigh(token, lane, mine);
  }

  KOKKOS_FORCEINLINE_FUNCTION Scored scored(int token, int expert) const {
    const Real x = data.logit(token, expert);
    // A sum with 0 is the score, which is not -0.
    const Real bias  = data.bias == nullptr ? Real(0) : Real(data.bias[expert]);
    const Real score = sigmoid(x);
    const Real key   = participating(KokkosExt::add(score, bias));
    return {Choice{isExcluded(x) ? x : key, expert}, score};
  }

  using Logit = typename Data::Logit;
  struct alignas(4 * sizeof(Logit)) Logits {
    Logit x[4];
  };
  struct alignas(4 * sizeof(float)) Biases {
    float x[4];
  };

  KOKKOS_FORCEINLINE_FUNCTION void loadLogits(int token, int lane,
                                              Logits* logits) const {
    KokkosExt::unrolledLoop<chunks>([&](int c) {
      const int expert = Registers::expertAt(4 * c, lane);
      logits[c]        = Logits{};
      if (expert < data.num_experts)
        logits[c] =
            *reinterpret_cast<const Logits*>(&data.logits(token, expert));
    });
  }

  /// Places behind the last expert have one below all others.
  KOKKOS_FORCEINLINE_FUNCTION void loadBiases(int lane, Biases* biases) const {
    constexpr float least = -Kokkos::Experimental::finite_max_v<float>;
    KokkosExt::unrolledLoop<chunks>([&](int c) {
      const int expert = Registers::expertAt(4 * c, lane);
      const bool is_in = expert < data.num_experts;
      const float none = is_in ? 0 : least;
      biases[c]        = Biases{{none, none, none, none}};
      if (is_in && data.bias != nullptr)
        biases[c] = *reinterpret_cast<const Biases*>(data.bias + expert);
    });
  }

  /// Makes `probe` NaN where a logit or a bias is not finite.
  KOKKOS_FORCEINLINE_FUNCTION Registers approximateKeys(int token, int lane,
                                                        Real& probe) const {
    // All are on their way before the first is looked at.
    Logits logits[chunks];
    Biases biases[chunks];
    loadLogits(token, lane, logits);
    loadBiases(lane, biases);
    const auto key = [&](Logit logit, Real bias) {
      const auto x = static_cast<Real>(logit);
      // A product with 0 does not change the sum, or it is NaN.
      const Real y = KokkosExt::add(
          approximateSigmoid(x), KokkosExt::addExactProduct(x, Real(0), bias));
      probe = KokkosExt::addExactProduct(y, Real(0), probe);
      return y;
    };
    int c = 0;
    return Registers(lane, [&](int, Real& x0, Real& x1, Real& x2, Real& x3) {
      x0 = key(logits[c].x[0], biases[c].x[0]);
      x1 = key(logits[c].x[1], biases[c].x[1]);
      x2 = key(logits[c].x[2], biases[c].x[2]);
      x3 = key(logits[c].x[3], biases[c].x[3]);
      ++c;
    });
  }

  /// e^-|x| with the sign of the logit x, NaN for an excluded one.
  KOKKOS_FORCEINLINE_FUNCTION static Real signedExponential(Logit logit) {
    const Real x = participating(static_cast<Real>(logit));
    const Real e = exponential(-Kokkos::abs(x));
    if (isExcluded(x)) return Kokkos::Experimental::quiet_NaN_v<Real>;
    return x < 0 ? -e : e;
  }

  /// From there to the key, as in sigmoid() and FullRouterData::keyOfScore.
  KOKKOS_FORCEINLINE_FUNCTION static Real keyOfSigned(Real y, Real bias) {
    const Real e           = Kokkos::abs(y);
    const bool is_negative = orderedBitsOfNumber(y) >> 31 == 0;
    const Real score       = KokkosExt::divide(is_negative ? e : Real(1),
                                         KokkosExt::add(Real(1), e));
    const Real key = participating(KokkosExt::add(score, bias));
    return y != y ? minusInfinity<Real>() : key;
  }

  /// In two steps, because a division branches, and exponentials on the way at
  /// the same time take little longer than one.
  KOKKOS_FORCEINLINE_FUNCTION Registers exactKeys(int token, int lane) const {
    Logits logits[chunks];
    loadLogits(token, lane, logits);
    int c = 0;
    Registers row(lane, [&](int, Real& x0, Real& x1, Real& x2, Real& x3) {
      x0 = signedExponential(logits[c].x[0]);
      x1 = signedExponential(logits[c].x[1]);
      x2 = signedExponential(logits[c].x[2]);
      x3 = signedExponential(logits[c].x[3]);
      ++c;
    });
    Biases biases[chunks];
    loadBiases(lane, biases);
    c = 0;
    row.forEachChunk(lane, [&](int, Real& x0, Real& x1, Real& x2, Real& x3) {
      x0 = keyOfSigned(x0, biases[c].x[0]);
      x1 = keyOfSigned(x1, biases[c].x[1]);
      x2 = keyOfSigned(x2, biases[c].x[2]);
      x3 = keyOfSigned(x3, biases[c].x[3]);
      ++c;
    });
    return row;
  }

  /// False where the choices cannot be told from others.
  KOKKOS_FORCEINLINE_FUNCTION bool chooseInRounds(int token, int lane,
                                                  const Scratch& scratch,
                                                  Scored& mine) const {
    Real probe      = 0;
    Registers row   = approximateKeys(token, lane, probe);
    bool is_certain = Lanes::ballot(probe != probe, lane) == 0;
    if constexpr (limits_groups)
      is_certain = is_certain && dropGroups<false>(row, lane);
    if (!is_certain) {
      row = exactKeys(token, lane);
      if constexpr (limits_groups) dropGroups<true>(row, lane);
    }
    const auto best = row.best(lane);
    row.save(scratch.row, lane);
    unsigned rounds  = 0;
    const Real last  = this->playRounds(best, rounds);
    const Real bound = KokkosExt::add(last, -margin(last));
    if (!(bound > -Kokkos::Experimental::finite_max_v<Real> / 2)) return false;
    if (this->areChosen(row, lane, bound, best)) {
      this->giveChoices(lane, rounds, best, scratch);
      if (lane < data.top_k)
        mine = scored(token, this->expertOf(scratch, lane));
      if (!areInOrder(lane, mine.choice))
        mine = bestOfFirst(data.top_k, lane, scratch, mine);
      return true;
    }
    return rankCandidates(row, token, lane, scratch, bound, mine);
  }

  KOKKOS_FORCEINLINE_FUNCTION bool areInOrder(int lane,
                                              const Choice& choice) const {
    const int before    = lane == 0 ? 0 : lane - 1;
    const Real key      = Lanes::broadcast(choice.key, before);
    const int expert    = Lanes::broadcast(choice.expert, before);
    const bool in_order = (key > choice.key) |
                          ((key == choice.key) & (expert < choice.expert)) |
                          (lane == 0) | (lane >= data.top_k);
    return Lanes::ballot(!in_order, lane) == 0;
  }

  /// Ranks everything whose approximate key reaches the bound.
  KOKKOS_FUNCTION bool rankCandidates(const Registers& row, int token, int lane,
                                      const Scratch& scratch, Real bound,
                                      Scored& mine) const {
    const int num_found = this->template collect<Lanes>(
        row, lane, scratch, [&](Real x, int) { return x >= bound; });
    if (num_found > lanes || num_found > this->num_places) return false;
    Scored candidate = none();
    if (lane < num_found)
      candidate = scored(token, scratch.places[lane].expert);
    mine = bestOfFirst(num_found, lane, scratch, candidate);
    return true;
  }

  /// The K best of what the first n lanes have, sorted.
  KOKKOS_FUNCTION Scored bestOfFirst(int n, int lane, const Scratch& scratch,
                                     const Scored& candidate) const {
    int num_before = 0;
    // Lanes from n on have none, which is before nothing.
    KokkosExt::rolledLoop(0, n, 4, [&](int first) {
      KokkosExt::unrolledLoop<4>([&](int i) {
        const Choice other{
            Lanes::broadcast(candidate.choice.key, first + i),
            Lanes::broadcast(candidate.choice.expert, first + i)};
        if (other.isBefore(candidate.choice)) ++num_before;
      });
    });
    Lanes::sync();
    if (lane < n && num_before < data.top_k) {
      scratch.chosen[num_before]  = candidate.choice;
      scratch.weights[num_before] = candidate.score;
    }
    Lanes::sync();
    if (lane >= data.top_k) return none();
    return {scratch.chosen[lane], scratch.weights[lane]};
  }

  /// So many neighbouring lanes have experts of the same groups, one group for
  /// each of their chunks, and share them out: lane l looks after the group of
  /// chunk l % sharing.
  static constexpr int sharing = chunks == 3 ? 4 : chunks;

  /// The best two of the group that the lane looks after.
  KOKKOS_FORCEINLINE_FUNCTION BestTwo<Real> bestOfGroup(const Registers& row,
                                                        int lane) const {
    BestTwo<Real> best[sharing];
    int c = 0;
    row.forEachChunk(lane, [&](int, Real x0, Real x1, Real x2, Real x3) {
      const auto of_chunk = BestThree<Real>::of(x0, x1, x2, x3);
      best[c++]           = {of_chunk.first, of_chunk.second};
    });
    KokkosExt::unrolledLoop<sharing / 2>([&](int step) {
      const bool is_odd = (lane >> step & 1) != 0;
      KokkosExt::unrolledLoop<sharing / 2>([&](int i) {
        if (i >= sharing >> (step + 1)) return;
        const auto even = best[2 * i], odd = best[2 * i + 1];
        const auto others = is_odd ? even : odd;
        best[i]           = is_odd ? odd : even;
        best[i].take({Lanes::exchange(others.first, 1 << step),
                      Lanes::exchange(others.second, 1 << step)});
      });
    });
    KokkosExt::rolledLoop(sharing / 2, group_shift - 2, 1, [&](int step) {
      best[0].template takeFrom<Lanes>(1 << step);
    });
    return best[0];
  }

  KOKKOS_FORCEINLINE_FUNCTION Real scoreOf(const BestTwo<Real>& best) const {
    return data.best_of_group == 1
               ? best.first
               : participating(KokkosExt::add(best.first, best.second));
  }

  /// How many groups are better than the one that the lane looks after, or,
  /// with approximate keys, could be.
  template <bool exact>
  KOKKOS_FORCEINLINE_FUNCTION int numBetter(const BestTwo<Real>& best,
                                            int lane) const {
    const Real score = scoreOf(best);
    const Real size  = KokkosExt::larger(best.first, -best.second);
    const Real slack = exact ? Real(0) : slackOfSum(size);
    const Real low   = KokkosExt::add(score, -slack);
    const Real high  = KokkosExt::add(score, slack);
    // Each of the group's lanes looks at another group, and then at the next.
    const int shift          = group_shift - 2;  // 2^shift lanes to a group
    const int place          = lane & ((1 << shift) - 1);
    const int chunk          = place % sharing;
    const int mine           = (lane >> shift) + (chunk << (5 - shift));
    const int num_mates      = (1 << shift) / sharing;
    const unsigned one_of    = ~0u / ((1u << sharing) - 1u);
    const unsigned of_group  = ~0u >> (lanes - (1 << shift));
    const unsigned mates     = (of_group & one_of) << (lane - place + chunk);
    int num_better           = 0;
    const auto compareToNext = [&](int first) {
      const int other = first + place / sharing;
      const int from  = (other << shift & (lanes - 1)) + (other >> (5 - shift));
      const Real theirs = Lanes::broadcast(high, from);
      const bool is_better =
          exact ? theirs > low || (theirs == low && other < mine)
                : theirs >= low && other != mine;
      num_better += Kokkos::Experimental::popcount_builtin(
          Lanes::ballot(is_better && other < data.num_groups, lane) & mates);
    };
    KokkosExt::rolledLoop(0, data.num_groups, 2 * num_mates, [&](int first) {
      compareToNext(first);
      compareToNext(first + num_mates);
    });
    return num_better;
  }

  /// The keys of the groups that are not among the best become -infinity; false
  /// where it is not certain which these are.
  template <bool exact>
  KOKKOS_FORCEINLINE_FUNCTION bool dropGroups(Registers& row, int lane) const {
    const int num_better = numBetter<exact>(bestOfGroup(row, lane), lane);
    const unsigned kept  = Lanes::ballot(num_better < data.kept_groups, lane);
    const int shift      = group_shift - 2;
    const unsigned mine  = kept >> (lane & -(1 << shift));
    int c                = 0;
    row.forEachChunk(lane, [&](int, Real& x0, Real& x1, Real& x2, Real& x3) {
      if ((mine >> c++ & 1) == 0) x0 = x1 = x2 = x3 = minusInfinity<Real>();
    });
    return Kokkos::Experimental::popcount_builtin(kept) * sharing ==
           (data.kept_groups << shift);
  }

  /// By exact keys, in scratch memory.
  KOKKOS_FUNCTION void chooseByKeys(int token, int lane,
                                    const Scratch& scratch) const {
    Lanes::sync();
    RouterScratch<Data, lanes> row(data, token, lane, scratch.row);
    row.transform(lane, [&](Real x, int expert) {
      return expert < data.num_experts ? data.keyOfScore(x, sigmoid(x), expert)
                                       : x;
    });
    if constexpr (limits_groups) {
      const RouterGroups<Real> groups(data, scratch.groups);
      Lanes::sync();
      groups.template compare<Lanes, lanes>(
          data, lane, [&](int expert) { return row.at(expert); });
      row.transform(lane, [&](Real x, int expert) {
        return expert < data.num_experts && groups.keeps(data.groupOf(expert))
                   ? x
                   : minusInfinity<Real>();
      });
    }
    this->template chooseByRank<Lanes>(row, lane, scratch,
                                       minusInfinity<Real>());
  }

  KOKKOS_FORCEINLINE_FUNCTION void weigh(int token, int lane,
                                         const Scored& mine) const {
    const bool counts = !isExcluded(mine.choice.key);
    Real w            = counts ? mine.score : Real(0);
    const Real total  = data.normalize ? sumOfLanes(w) : Real(1);
    // The other lanes' zeros would take the long way of a division.
    if (lane >= data.top_k) return;
    if (data.normalize) w = data.normalized(w, total);
    w = counts ? KokkosExt::multiply(w, data.scale) : Real(0);
    data.write(token, lane, mine.choice.expert, w);
  }

  /// The sum of the first K lanes' numbers, in their order.
  KOKKOS_FORCEINLINE_FUNCTION Real sumOfLanes(Real w) const {
    Real sum = 0;
    KokkosExt::rolledLoop(0, data.top_k, 4, [&](int first) {
      // Lanes from K on have 0.
      KokkosExt::unrolledLoop<4>([&](int i) {
        sum = KokkosExt::add(sum, Lanes::broadcast(w, first + i));
      });
    });
    return sum;
  }
};

}  // namespace Tokkos::Impl

#endif
