// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// SPDX-FileCopyrightText: Copyright Contributors to the Tokkos project

#ifndef TOKKOS_IMPL_ROUTETOPK_HPP
#define TOKKOS_IMPL_ROUTETOPK_HPP

#include <Tokkos/Impl/Exponential.hpp>
#include <Tokkos/Impl/OrderedBits.hpp>
#include <Tokkos/KokkosExt/Rounding.hpp>

#include <Kokkos_Core.hpp>

#include <cstdint>
#include <type_traits>

namespace Tokkos::Impl {

/// Logits are computed with in float, double in double.
template <class Logit>
using RouterReal =
    std::conditional_t<std::is_same_v<Logit, double>, double, float>;

/// What experts are compared by: a larger key is chosen first, and 0 means
/// excluded. Infinity has the key of the largest finite number.
template <class Real>
struct SelectionKey {
  using Bits = BitsOf<Real>;

  KOKKOS_FUNCTION static bool excluded(Real x) {
    constexpr Real largest = Kokkos::Experimental::finite_max_v<Real>;
    return !(x >= -largest);
  }

  KOKKOS_FUNCTION static Real finite(Real x) {
    constexpr Real largest = Kokkos::Experimental::finite_max_v<Real>;
    return x > largest ? largest : x;
  }

  KOKKOS_FUNCTION static Bits of(Real x) {
    return excluded(x) ? 0 : orderedBits(finite(x));
  }
};

/// Chooses the experts of one token and computes their weights: a thread of
/// the team with its vector lanes a token.
///
/// K rounds, each of which finds the expert that follows the last choice in
/// the order (key descending, id ascending). No round changes the logits and
/// none needs memory, so that any E and K will do.
template <class ExecutionSpace, class Logits, class ExpertIds, class Weights>
struct RouteTopK {
  using Team = typename Kokkos::TeamPolicy<ExecutionSpace>::member_type;
  using Real = RouterReal<typename Logits::non_const_value_type>;
  using Key  = SelectionKey<Real>;
  using Best = Kokkos::MaxFirstLoc<typename Key::Bits, int>;

  /// The denominator of a softmax is the sum of this many partial sums,
  /// number i over the experts i, i + 32, i + 64, ..., which are then added
  /// pairwise: a fixed tree, whatever the lanes of a machine.
  static constexpr int partial_sums = 32;

  Logits logits;
  ExpertIds expert_ids;
  Weights weights;
  bool over_selected;  // softmax over the chosen experts alone
  bool normalize;

  KOKKOS_FUNCTION static constexpr int scratchBytes() {
    return partial_sums * static_cast<int>(sizeof(Real));
  }

  KOKKOS_FUNCTION void operator()(const Team& team) const {
    const int token = team.league_rank() * team.team_size() + team.team_rank();
    if (token >= static_cast<int>(logits.extent(0))) return;
    choose(team, token);

    Real* const partial =
        static_cast<Real*>(team.thread_scratch(0).get_shmem(scratchBytes()));
    const Real maximum = logit(token, static_cast<int>(expert_ids(token, 0)));
    if (!over_selected && !Key::excluded(maximum))
      Kokkos::parallel_for(
          Kokkos::ThreadVectorRange(team, partial_sums),
          [&](int i) { partial[i] = partialSum(token, i, maximum); });
    Kokkos::single(Kokkos::PerThread(team),
                   [&]() { weigh(token, maximum, partial); });
  }

 private:
  KOKKOS_FUNCTION int numExperts() const {
    return static_cast<int>(logits.extent(1));
  }
  KOKKOS_FUNCTION int numChoices() const {
    return static_cast<int>(expert_ids.extent(1));
  }

  KOKKOS_FUNCTION Real logit(int token, int expert) const {
    return static_cast<Real>(logits(token, expert));
  }

  KOKKOS_FUNCTION void choose(const Team& team, int token) const {
    using Id = typename ExpertIds::value_type;
    typename Best::value_type last{};
    for (int k = 0; k < numChoices(); ++k) {
      typename Best::value_type next{};
      Kokkos::parallel_reduce(
          Kokkos::ThreadVectorRange(team, numExperts()),
          [&](int e, typename Best::value_type& best) {
            const auto key = Key::of(logit(token, e));
            const bool follows =
                k == 0 || key < last.val || (key == last.val && e > last.loc);
            if (follows &&
                (key > best.val || (key == best.val && e < best.loc))) {
              best.val = key;
              best.loc = e;
            }
          },
          Best(next));
      last = next;
      Kokkos::single(Kokkos::PerThread(team), [&]() {
        expert_ids(token, k) = static_cast<Id>(last.loc);
      });
    }
  }

  KOKKOS_FUNCTION Real score(int token, int expert, Real maximum) const {
    const Real x = logit(token, expert);
    if (Key::excluded(x)) return Real(0);
    return exponential(KokkosExt::add(Key::finite(x), -Key::finite(maximum)));
  }

  KOKKOS_FUNCTION Real partialSum(int token, int first, Real maximum) const {
    Real sum = 0;
    for (int e = first; e < numExperts(); e += partial_sums)
      sum = KokkosExt::add(sum, score(token, e, maximum));
    return sum;
  }

  KOKKOS_FUNCTION Real sumOfChosen(int token, Real maximum,
                                   Real denominator) const {
    Real sum = 0;
    for (int k = 0; k < numChoices(); ++k)
      sum = KokkosExt::add(sum, share(token, k, maximum, denominator));
    return sum;
  }

  KOKKOS_FUNCTION Real share(int token, int k, Real maximum,
                             Real denominator) const {
    return KokkosExt::divide(
        score(token, static_cast<int>(expert_ids(token, k)), maximum),
        denominator);
  }

  KOKKOS_FUNCTION void weigh(int token, Real maximum, Real* partial) const {
    using Weight = typename Weights::value_type;
    if (Key::excluded(maximum)) {
      for (int k = 0; k < numChoices(); ++k)
        weights(token, k) = Weight(0);
      return;
    }
    Real denominator;
    if (over_selected) {
      denominator = sumOfChosen(token, maximum, Real(1));
    } else {
      for (int width = partial_sums / 2; width > 0; width /= 2)
        for (int i = 0; i < width; ++i)
          partial[i] = KokkosExt::add(partial[i], partial[i + width]);
      denominator = partial[0];
    }
    const Real total =
        normalize ? sumOfChosen(token, maximum, denominator) : Real(1);
    for (int k = 0; k < numChoices(); ++k) {
      const Real w = share(token, k, maximum, denominator);
      weights(token, k) =
          static_cast<Weight>(normalize ? KokkosExt::divide(w, total) : w);
    }
  }
};

}  // namespace Tokkos::Impl

#endif
