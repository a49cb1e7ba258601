// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// SPDX-FileCopyrightText: Copyright Contributors to the Tokkos project

#ifndef TOKKOS_IMPL_ROUTELANES_HPP
#define TOKKOS_IMPL_ROUTELANES_HPP

#include <Tokkos/Impl/OrderedBits.hpp>
#include <Tokkos/Impl/RouterData.hpp>
#include <Tokkos/Impl/RouterGroups.hpp>
#include <Tokkos/Impl/RouterTokenRow.hpp>
#include <Tokkos/KokkosExt/Lanes.hpp>
#include <Tokkos/KokkosExt/Loop.hpp>
#include <Tokkos/KokkosExt/Rounding.hpp>
#include <Tokkos/KokkosExt/Team.hpp>

#include <Kokkos_Core.hpp>

#include <cstddef>
#include <cstdint>
#include <type_traits>

namespace Tokkos::Impl {

/// An expert that may be or was chosen.
template <class Real>
struct alignas(2 * sizeof(Real)) RouterChoice {
  Real key;
  int expert;

  KOKKOS_FORCEINLINE_FUNCTION bool isBefore(const RouterChoice& other) const {
    return key > other.key || (key == other.key && expert < other.expert);
  }
};

/// Chooses the experts of one token, a part of a warp to a token, and computes
/// their weights.
///
/// In each of K rounds the largest number that a lane still has leaves its
/// lane, of which only the three largest are looked at. When K numbers of the
/// row reach the last of these, they are the choice. Otherwise it is a lower
/// bound for the choice: everything from it on is collected (after a bisection
/// of the bound when that is too much) and ranked by counting. So K numbers are
/// compared with each other and not with a row. The threshold from maxima of
/// parts follows Alabi, Blanchard, Gordon, Steinbach, "Fast k-selection
/// algorithms for graphics processing units" (2012).
///
/// The row is in registers, or, with chunks = 0, in scratch memory.
template <class ExecutionSpace, class Data, int lanes, int chunks,
          RouterUse use>
struct RouteLanes {
  static constexpr bool plain = use != RouterUse::general;

  using Team   = KokkosExt::Team<ExecutionSpace>;
  using Lanes  = KokkosExt::Lanes<ExecutionSpace, lanes>;
  using Alone  = typename Lanes::Alone;
  using Real   = typename Data::Real;
  using Bits   = BitsOf<Real>;
  using Choice = RouterChoice<Real>;

  static constexpr bool in_registers = chunks > 0;
  /// Each lane's numbers are sorted, all of them.
  static constexpr bool is_sorted = chunks == 1;
  using Registers = RouterRegisters<Data, lanes, in_registers ? chunks : 1>;
  using Row =
      std::conditional_t<in_registers, Registers, RouterScratch<Data, lanes>>;

  static constexpr int lanes_of_token = lanes;
  static constexpr int max_team_size  = 128;
  /// All that a multiprocessor takes: with more registers to a thread the next
  /// kernel's teams would find no room beside this one's. Longer rows need
  /// them.
  static constexpr int min_resident_teams =
      in_registers && chunks <= 2 && plain ? 16 : 0;
  /// The most choices that are made in rounds.
  static constexpr int max_rounds = 32;

  Data data;
  bool aligned;  // a chunk of logits can be read as one word
  int num_places, scratch_bytes;

  RouteLanes(const Data& data_, bool aligned_)
      : data(data_),
        aligned(aligned_),
        num_places(data.top_k <= 16 ? 32 : (2 * data.top_k + 31) / 32 * 32),
        scratch_bytes(scratchBytes()) {}

  KOKKOS_FUNCTION void operator()(const Team& team) const {
    team.letNextKernelStart();
    const auto [member, lane, token] = placeOf(team);
    // All lanes of a warp must stay together: behind the last token some do its
    // work once more.
    const bool is_behind = token >= data.num_tokens;
    if (lanes == KokkosExt::max_lanes_v<ExecutionSpace> && is_behind) return;
    char* const memory = static_cast<char*>(team.scratch());
    route(is_behind ? data.num_tokens - 1 : token, lane, !is_behind,
          scratchAt(memory + member * scratch_bytes));
  }

 protected:
  /// Which token of the team, which lane of its, and the token's number.
  struct Place {
    int member, lane, token;
  };

  KOKKOS_FORCEINLINE_FUNCTION static Place placeOf(const Team& team) {
    // Unsigned numbers are divided by a shift.
    const auto rank   = static_cast<unsigned>(team.team_rank());
    const auto tokens = static_cast<unsigned>(team.team_size()) / lanes;
    const auto first  = static_cast<unsigned>(team.league_rank()) * tokens;
    const auto member = rank / lanes;
    return {static_cast<int>(member), static_cast<int>(rank % lanes),
            static_cast<int>(first + member)};
  }

  struct Scratch {
    Real* row;       // the row, or a copy of it
    Choice* places;  // num_places candidates
    Choice* chosen;  // K
    Real* weights;   // K
    Real* groups;
  };

  KOKKOS_FORCEINLINE_FUNCTION Scratch scratchAt(char* memory) const {
    Scratch scratch;
    scratch.row     = reinterpret_cast<Real*>(memory);
    scratch.places  = reinterpret_cast<Choice*>(scratch.row + rowSize());
    scratch.chosen  = scratch.places + num_places;
    scratch.weights = reinterpret_cast<Real*>(scratch.chosen + data.top_k);
    scratch.groups  = scratch.weights + data.top_k;
    return scratch;
  }

  KOKKOS_FORCEINLINE_FUNCTION int rowSize() const {
    if constexpr (in_registers)
      return Registers::size * lanes;
    else
      return RouterScratch<Data, lanes>::numPlaces(data.num_experts);
  }

  int scratchBytes() const {
    std::size_t bytes =
        sizeof(Choice) * static_cast<std::size_t>(num_places + data.top_k) +
        sizeof(Real) * static_cast<std::size_t>(data.top_k + rowSize());
    if constexpr (!plain)
      if (data.limits_groups) bytes += RouterGroups<Real>::scratchBytes(data);
    return static_cast<int>((bytes + 15) / 16 * 16);
  }

  KOKKOS_FORCEINLINE_FUNCTION void route(int token, int lane, bool writes,
                                         const Scratch& scratch) const {
    if constexpr (!plain) {
      if (data.isMasked(token)) {
        for (int k = lane; k < data.top_k + data.num_shared; k += lanes)
          if (writes) data.writeMasked(token, k);
        if (lanes == KokkosExt::max_lanes_v<ExecutionSpace>) return;
        writes = false;
      }
    }
    Row row = readRow(token, lane, scratch);
    ScoreOfRow<Real> score;
    RouterMemory<Data, lanes> memory(data, token);
    if constexpr (!plain) {
      makeKeys(row, lane, scratch, score);
      memory.useKeys(score,
                     data.limits_groups
                         ? RouterGroups<Real>(data, scratch.groups).kept()
                         : nullptr);
    }
    Real bound = minusInfinity<Real>();
    const bool is_done =
        data.top_k <= max_rounds && chooseInRounds(row, lane, scratch, bound);
    if (!is_done) {
      if constexpr (!in_registers)
        chooseByRank<Alone>(row, lane, scratch, bound);
      else if (!rankReaching<Alone>(row, lane, scratch, bound))
        // Rows of equal numbers and the like: short code for them.
        chooseByRank<Alone>(memory, lane, scratch, bound);
    }
    if constexpr (plain) {
      score.maximum = scratch.chosen[0].key;
      if (use == RouterUse::softmax || data.score == Score::softmax)
        sumTerms(row, lane, score);
    }
    weigh(token, lane, writes, scratch, score);
  }

  KOKKOS_FORCEINLINE_FUNCTION Row readRow(int token, int lane,
                                          const Scratch& scratch) const {
    if constexpr (in_registers)
      return Row(data, aligned, token, lane);
    else
      return Row(data, token, lane, scratch.row);
  }

  KOKKOS_FORCEINLINE_FUNCTION static Real greatest(Real x) {
    return numberOfOrderedBits<Real>(Lanes::maximum(orderedBitsOfNumber(x)));
  }

  KOKKOS_FORCEINLINE_FUNCTION void sumTerms(const Row& row, int lane,
                                            ScoreOfRow<Real>& score) const {
    const Real maximum = score.maximum;
    score.denominator  = row.template sum<Lanes>(lane, [&](Real x) {
      if constexpr (plain)
        return exponential(KokkosExt::add(x, -maximum));
      else
        return data.term(x, maximum);
    });
  }

  /// Turns logits into keys.
  KOKKOS_FORCEINLINE_FUNCTION void makeKeys(Row& row, int lane,
                                            const Scratch& scratch,
                                            ScoreOfRow<Real>& score) const {
    if (data.score == Score::softmax) {
      Real maximum = minusInfinity<Real>();
      row.forEach(
          lane, [&](Real x, int) { maximum = KokkosExt::larger(x, maximum); });
      score.maximum = data.capped(greatest(maximum));
      sumTerms(row, lane, score);
    }
    if (data.keyed_by_score)
      data.withScore(score, [&](const auto& score_of) {
        row.transform(lane, [&](Real x, int expert) {
          return data.keyOfScore(x, score_of(x), expert);
        });
      });
    if (data.limits_groups) dropGroups(row, lane, scratch);
  }

  KOKKOS_FORCEINLINE_FUNCTION void dropGroups(Row& row, int lane,
                                              const Scratch& scratch) const {
    const RouterGroups<Real> groups(data, scratch.groups);
    if constexpr (in_registers)
      if (groups.areOfNeighbours(data, lanes)) {
        dropGroupsOfNeighbours(row, lane, groups);
        return;
      }
    const auto compare = [&](const auto& key) {
      groups.template compare<Lanes, lanes>(data, lane, key);
    };
    if constexpr (in_registers) {
      row.save(scratch.row, lane);
      Lanes::sync();
      compare([&](int expert) { return scratch.row[expert]; });
    } else {
      Lanes::sync();
      compare([&](int expert) { return row.at(expert); });
    }
    row.transform(lane, [&](Real x, int expert) {
      return expert < data.num_experts && groups.keeps(data.groupOf(expert))
                 ? x
                 : minusInfinity<Real>();
    });
  }

  /// Where the chunks of a group are those of neighbouring lanes, a few
  /// exchanges tell its best two.
  KOKKOS_FORCEINLINE_FUNCTION void dropGroupsOfNeighbours(
      Row& row, int lane, const RouterGroups<Real>& groups) const {
    const int neighbours = data.group_size / 4;
    row.forEachChunk(lane, [&](int expert, Real x0, Real x1, Real x2, Real x3) {
      BestTwo<Real> best;
      best.take(x0);
      best.take(x1);
      best.take(x2);
      best.take(x3);
      KokkosExt::rolledLoop(0, 5, 1, [&](int step) {
        if (1 << step < neighbours) best.template takeFrom<Lanes>(1 << step);
      });
      if (expert < data.num_experts && lane % neighbours == 0)
        groups.setScore(data, data.groupOf(expert), best);
    });
    Lanes::sync();
    groups.template rank<Lanes, lanes>(data, lane);
    row.forEachChunk(
        lane, [&](int expert, Real& x0, Real& x1, Real& x2, Real& x3) {
          if (expert < data.num_experts && groups.keeps(data.groupOf(expert)))
            return;
          x0 = x1 = x2 = x3 = minusInfinity<Real>();
        });
  }

  /// True for what can be chosen though its key is -infinity.
  KOKKOS_FUNCTION bool isEligible(int expert, const Scratch& scratch) const {
    if (expert >= data.num_experts) return false;
    if constexpr (!plain) {
      if (data.limits_groups)
        return RouterGroups<Real>(data, scratch.groups)
            .keeps(data.groupOf(expert));
    }
    return true;
  }

  /// The rounds: returns the last number taken. A lane notes the rounds in
  /// which it gave, each plus 1, in six bits, the last one lowest.
  KOKKOS_FORCEINLINE_FUNCTION Real playRounds(const BestThree<Real>& best,
                                              unsigned& rounds) const {
    // -0 counts as +0.
    Bits head   = orderedBitsOfNumber(KokkosExt::add(best.first, Real(0)));
    Bits second = orderedBitsOfNumber(KokkosExt::add(best.second, Real(0)));
    Bits third  = orderedBitsOfNumber(KokkosExt::add(best.third, Real(0)));
    Bits fourth = 0;
    if constexpr (is_sorted)
      fourth = orderedBitsOfNumber(KokkosExt::add(best.fourth, Real(0)));
    Bits least = 0;
    // Equal numbers of two lanes go in one round: more than K reach the bound
    // then, and are ranked.
    const auto round = [&](int k) {
      least = Lanes::maximum(head);
      if (head == least) {
        rounds = rounds << 6 | static_cast<unsigned>(k + 1);
        head   = second;
        second = third;
        third  = fourth;
        fourth = 0;
      }
    };
    const int even = data.top_k & ~1;
    KokkosExt::rolledLoop(0, even, 2, [&](int k) {
      round(k);
      round(k + 1);
    });
    if (even < data.top_k) round(even);
    const Bits excluded = orderedBitsOfNumber(minusInfinity<Real>());
    return numberOfOrderedBits<Real>(least > excluded ? least : excluded);
  }

  /// Returns true when it has chosen, otherwise `bound` is a key that K or more
  /// of what can be chosen reach.
  KOKKOS_FORCEINLINE_FUNCTION bool chooseInRounds(const Row& row, int lane,
                                                  const Scratch& scratch,
                                                  Real& bound) const {
    const auto best = row.best(lane);
    if constexpr (in_registers) row.save(scratch.row, lane);
    unsigned rounds = 0;
    bound           = playRounds(best, rounds);
    if constexpr (!in_registers)
      return false;
    else
      return areChosen(row, lane, bound, best) && !isExcluded(bound) &&
             nameExperts(lane, rounds, best, scratch);
  }

  /// True when K numbers reach the bound, and no lane has two equal ones of
  /// them.
  KOKKOS_FORCEINLINE_FUNCTION bool areChosen(
      const Registers& row, int lane, Real bound,
      const BestThree<Real>& best) const {
    const auto reaches = [&](Real x) { return x >= bound ? 1 : 0; };
    int count          = reaches(best.first) + reaches(best.second);
    if constexpr (is_sorted) {
      count += reaches(best.third) + reaches(best.fourth);
      if (best.fourth >= bound && best.third == best.fourth)
        count = data.num_experts + 1;
    } else if (best.third >= bound) {
      count = 0;
      row.forEach(lane, [&](Real x, int) { count += reaches(x); });
    }
    if ((best.second >= bound && best.first == best.second) ||
        (best.third >= bound && best.second == best.third))
      count = data.num_experts + 1;
    return Lanes::sum(count) == data.top_k;
  }

  /// Writes the choices' keys, and in the place of the experts the lanes that
  /// have them.
  KOKKOS_FORCEINLINE_FUNCTION void giveChoices(int lane, unsigned rounds,
                                               const BestThree<Real>& best,
                                               const Scratch& scratch) const {
    const auto give = [&](Real x, unsigned round) {
      if (round > 0)
        scratch.chosen[round - 1] = Choice{KokkosExt::add(x, Real(0)), lane};
    };
    int shift = rounds < 1u << 6 ? 0 : rounds < 1u << 12 ? 6 : 12;
    if (is_sorted && rounds >= 1u << 18) shift = 18;
    give(best.first, rounds >> shift & 63);
    if (shift >= 6) give(best.second, rounds >> (shift - 6) & 63);
    if (shift >= 12) give(best.third, rounds >> (shift - 12) & 63);
    if (shift >= 18) give(best.fourth, rounds & 63);
    Alone::sync();
  }

  /// The expert of choice k, after giveChoices.
  KOKKOS_FORCEINLINE_FUNCTION static int expertOf(const Scratch& scratch,
                                                  int k) {
    const Choice choice = scratch.chosen[k];
    return Registers::find(scratch.row, choice.expert, choice.key);
  }

  /// From the lanes that gave, and in which rounds, to the choices.
  KOKKOS_FORCEINLINE_FUNCTION bool nameExperts(int lane, unsigned rounds,
                                               const BestThree<Real>& best,
                                               const Scratch& scratch) const {
    giveChoices(lane, rounds, best, scratch);
    KokkosExt::rolledLoop(lane, data.top_k, lanes, [&](int k) {
      scratch.chosen[k].expert = expertOf(scratch, k);
    });
    Alone::sync();
    return true;
  }

  /// Ranks what reaches the bound, unless there are too many or too few.
  template <class AnyLanes>
  KOKKOS_FORCEINLINE_FUNCTION bool rankReaching(const Registers& row, int lane,
                                                const Scratch& scratch,
                                                Real bound) const {
    if (isExcluded(bound)) return false;
    const int num_found = collect<AnyLanes>(
        row, lane, scratch, [&](Real x, int) { return x >= bound; });
    if (num_found > num_places) return false;
    rank<AnyLanes>(lane, scratch, num_found);
    return true;
  }

  template <class AnyLanes, class AnyRow, class Predicate>
  KOKKOS_FORCEINLINE_FUNCTION static int countThat(const AnyRow& row, int lane,
                                                   const Predicate& predicate) {
    int count = 0;
    row.forEach(lane, [&](Real x, int expert) {
      if (predicate(x, expert)) ++count;
    });
    return AnyLanes::sum(count);
  }

  template <class AnyLanes, class AnyRow>
  KOKKOS_FORCEINLINE_FUNCTION void chooseByRank(const AnyRow& row, int lane,
                                                const Scratch& scratch,
                                                Real bound) const {
    const auto reaches = [&](Real x, int expert, Real key) {
      return x >= key && (!isExcluded(x) || isEligible(expert, scratch));
    };
    const auto numReaching = [&](Real key) {
      return countThat<AnyLanes>(row, lane, [&](Real x, int expert) {
        return reaches(x, expert, key);
      });
    };
    // K or more reach low, fewer reach high.
    Bits low      = orderedBitsOfNumber(bound);
    Bits high     = orderedBitsOfNumber(Kokkos::Experimental::infinity_v<Real>);
    Real key      = bound;
    int num_above = 0;
    int num_found = numReaching(bound);
    while (num_found > num_places && high - low > 1) {
      const Bits middle = low + (high - low) / 2;
      const Real x      = numberOfOrderedBits<Real>(middle);
      const int count   = numReaching(x);
      if (count >= data.top_k) {
        low       = middle;
        key       = x;
        num_found = count;
      } else {
        high      = middle;
        num_above = count;
      }
    }
    int end = data.num_experts;
    if (num_found > num_places)
      end =
          endOfTied<AnyLanes>(row, lane, scratch, key, data.top_k - num_above);
    num_found = collect<AnyLanes>(row, lane, scratch, [&](Real x, int expert) {
      return reaches(x, expert, key) && (x > key || expert < end);
    });
    rank<AnyLanes>(lane, scratch, num_found);
  }

  /// `needed` experts with this key have lower ids.
  template <class AnyLanes, class AnyRow>
  KOKKOS_FORCEINLINE_FUNCTION int endOfTied(const AnyRow& row, int lane,
                                            const Scratch& scratch, Real key,
                                            int needed) const {
    int begin = 0, end = data.num_experts;
    while (end - begin > 1) {
      const int middle = begin + (end - begin) / 2;
      const int count = countThat<AnyLanes>(row, lane, [&](Real x, int expert) {
        return x == key && expert < middle && isEligible(expert, scratch);
      });
      if (count >= needed)
        end = middle;
      else
        begin = middle;
    }
    return end;
  }

  /// Puts what fulfils the predicate into the places, as far as there are
  /// enough, and returns how many do.
  template <class AnyLanes, class AnyRow, class Predicate>
  KOKKOS_FORCEINLINE_FUNCTION int collect(const AnyRow& row, int lane,
                                          const Scratch& scratch,
                                          const Predicate& predicate) const {
    const unsigned lanes_before = (1u << lane) - 1u;
    int num_found               = 0;
    row.forEach(lane, [&](Real x, int expert) {
      const bool found   = predicate(x, expert);
      const unsigned set = AnyLanes::ballot(found, lane);
      const int place    = num_found + Kokkos::Experimental::popcount_builtin(
                                        set & lanes_before);
      if (found && place < num_places)
        scratch.places[place] = Choice{x, expert};
      num_found += Kokkos::Experimental::popcount_builtin(set);
    });
    AnyLanes::sync();
    return num_found;
  }

  template <class AnyLanes>
  KOKKOS_FORCEINLINE_FUNCTION void rank(int lane, const Scratch& scratch,
                                        int num_found) const {
    for (int c = lane; c < num_found; c += lanes) {
      const Choice candidate = scratch.places[c];
      int num_before         = 0;
      KokkosExt::rolledLoop(0, num_found, 1, [&](int i) {
        if (scratch.places[i].isBefore(candidate)) ++num_before;
      });
      if (num_before < data.top_k) scratch.chosen[num_before] = candidate;
    }
    AnyLanes::sync();
  }

  KOKKOS_FORCEINLINE_FUNCTION static Real sumOf(const Real* weights, int n) {
    Real sum = 0;
    KokkosExt::rolledLoop(0, n, 4, [&](int first) {
      Real w[4];
      KokkosExt::unrolledLoop<4>(
          [&](int i) { w[i] = first + i < n ? weights[first + i] : Real(0); });
      KokkosExt::unrolledLoop<4>(
          [&](int i) { sum = KokkosExt::add(sum, w[i]); });
    });
    return sum;
  }

  KOKKOS_FORCEINLINE_FUNCTION static Real share(Real w, Real total) {
    return total == 0 ? Real(0) : KokkosExt::divide(w, total);
  }

  KOKKOS_FORCEINLINE_FUNCTION Real logitOf(int token,
                                           const Choice& choice) const {
    if constexpr (plain)
      return choice.key;
    else
      return data.keyed_by_score ? data.logit(token, choice.expert)
                                 : choice.key;
  }

  /// The largest logit of the choices, after the soft cap.
  KOKKOS_FORCEINLINE_FUNCTION Real
  maximumOfChosen(int token, int lane, const Scratch& scratch) const {
    if constexpr (plain) {
      return scratch.chosen[0].key;
    } else {
      Real maximum = minusInfinity<Real>();
      for (int k = lane; k < data.top_k; k += lanes)
        if (!isExcluded(scratch.chosen[k].key))
          maximum =
              KokkosExt::larger(logitOf(token, scratch.chosen[k]), maximum);
      return data.capped(greatest(maximum));
    }
  }

  /// The weight of a choice before any division by a sum over the choices.
  KOKKOS_FORCEINLINE_FUNCTION Real weightOf(int token, const Choice& choice,
                                            const ScoreOfRow<Real>& score,
                                            bool selected) const {
    if (isExcluded(choice.key)) return Real(0);
    const Real x = logitOf(token, choice);
    if constexpr (plain) {
      const Real y = exponential(KokkosExt::add(x, -score.maximum));
      return selected ? y : KokkosExt::divide(y, score.denominator);
    } else {
      return selected ? data.term(x, score.maximum) : data.scoreOf(x, score);
    }
  }

  KOKKOS_FORCEINLINE_FUNCTION void weigh(int token, int lane, bool writes,
                                         const Scratch& scratch,
                                         ScoreOfRow<Real>& score) const {
    const int top_k     = data.top_k;
    const bool sums     = use != RouterUse::softmax;
    const bool selected = sums && data.score == Score::selected_softmax;
    const bool divides  = sums && (selected || data.normalize);
    if (selected) score.maximum = maximumOfChosen(token, lane, scratch);
    if (divides) {
      KokkosExt::rolledLoop(lane, top_k, lanes, [&](int k) {
        scratch.weights[k] =
            weightOf(token, scratch.chosen[k], score, selected);
      });
      Lanes::sync();
      if (selected && data.normalize) {
        const Real denominator = sumOf(scratch.weights, top_k);
        Lanes::sync();
        KokkosExt::rolledLoop(lane, top_k, lanes, [&](int k) {
          scratch.weights[k] = share(scratch.weights[k], denominator);
        });
        Lanes::sync();
      }
    }
    const Real total = divides ? sumOf(scratch.weights, top_k) : Real(1);
    KokkosExt::rolledLoop(lane, top_k, lanes, [&](int k) {
      const Choice choice = scratch.chosen[k];
      Real w              = divides ? scratch.weights[k]
                                    : weightOf(token, choice, score, selected);
      if constexpr (plain) {
        if (divides) w = share(w, total);
      } else {
        if (data.normalize)
          w = data.normalized(w, total);
        else if (selected)
          w = share(w, total);
        w = isExcluded(choice.key) ? Real(0) : data.scaled(w, choice.expert);
      }
      if (writes) data.write(token, k, choice.expert, w);
    });
    if constexpr (!plain)
      for (int i = lane; i < data.num_shared; i += lanes)
        if (writes) data.writeShared(token, i);
  }
};

}  // namespace Tokkos::Impl

#endif
