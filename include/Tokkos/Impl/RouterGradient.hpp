// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// SPDX-FileCopyrightText: Copyright Contributors to the Tokkos project

#ifndef TOKKOS_IMPL_ROUTERGRADIENT_HPP
#define TOKKOS_IMPL_ROUTERGRADIENT_HPP

#include <Tokkos/Impl/OrderedBits.hpp>
#include <Tokkos/Impl/RouteLanes.hpp>
#include <Tokkos/Impl/RouteTopK.hpp>
#include <Tokkos/Impl/RouterData.hpp>
#include <Tokkos/KokkosExt/Lanes.hpp>
#include <Tokkos/KokkosExt/Loop.hpp>
#include <Tokkos/KokkosExt/Rounding.hpp>
#include <Tokkos/KokkosExt/Team.hpp>

#include <Kokkos_Core.hpp>

#include <cstdint>
#include <type_traits>

namespace Tokkos::Impl {

/// The gradient of a loss by the logits of one token, given that by the
/// weights: `data.weights` holds the latter. Lanes share a token; each computes
/// for choices and for experts of its own, and sums over choices go in their
/// order.
///
/// With h the gradient by the weights before the scales, s the scores of the
/// choices, D their divisor (1 without normalisation):
///   u_k = dL/ds_k = (h_k - [sum of s > floor] (sum of h s) / D) / D
/// and a softmax p turns u into p_e (u_e - (sum of u p)), over all experts or
/// over the choices, where u is 0 for what was not chosen.
template <class ExecutionSpace, class Data, class Gradient, int lanes,
          int chunks>
struct RouterGradient {
  using Team  = KokkosExt::Team<ExecutionSpace>;
  using Lanes = KokkosExt::Lanes<ExecutionSpace, lanes>;
  using Real  = typename Data::Real;

  static constexpr bool in_registers = chunks > 0;
  static constexpr int max_team_size = 128;

  Data data;
  RouterMatrix<Gradient> gradient;
  bool aligned, gradient_aligned;

  KOKKOS_FUNCTION void operator()(const Team& team) const {
    const int lane  = team.team_rank() % lanes;
    const int token = team.league_rank() * (team.team_size() / lanes) +
                      team.team_rank() / lanes;
    if (token < data.num_tokens) differentiate(token, lane);
  }

 private:
  /// What the choices have in common.
  struct Token {
    int token;
    ScoreOfRow<Real> score;
    Real denominator   = 1;  // of a softmax over the choices
    bool is_normalized = false;
    Real divisor       = 1;
    Real mean          = 0;  // what normalisation takes from h
    Real dot           = 0;  // the sum of u p
  };

  struct Choice {
    int expert;
    Real x;          // its logit; excluded when its weight is a constant 0
    Real score;      // s
    Real by_weight;  // h
  };

  KOKKOS_FUNCTION void differentiate(int token, int lane) const {
    if (data.isMasked(token)) {
      writeOthers(token, lane, [](Real, int) { return Real(0); });
      return;
    }
    Token t{token, {}};
    const bool is_softmax = data.score == Score::softmax;
    if constexpr (in_registers) {
      RouterRegisters<Data, lanes, in_registers ? chunks : 1> row(data, aligned,
                                                                  token, lane);
      if (is_softmax) {
        findMaximum(row, lane, t);
        row.transform(
            lane, [&](Real x, int) { return data.term(x, t.score.maximum); });
        t.score.denominator =
            row.template sum<Lanes>(lane, [](Real y) { return y; });
      }
      sumChoices(t, lane);
      const Real factor = factorOfOthers(t);
      row.transform(lane, [&](Real y, int) {
        return is_softmax ? ofOthers(y, factor) : Real(0);
      });
      row.store(gradient, gradient_aligned, data.num_experts, token, lane);
    } else {
      const RouterMemory<Data, lanes> row(data, token);
      if (is_softmax) {
        findMaximum(row, lane, t);
        t.score.denominator = row.template sum<Lanes>(
            lane, [&](Real x, int) { return data.term(x, t.score.maximum); });
      }
      sumChoices(t, lane);
      const Real factor = factorOfOthers(t);
      writeOthers(token, lane, [&](Real x, int) {
        if (!is_softmax) return Real(0);
        return KokkosExt::multiply(
            ofOthers(data.term(x, t.score.maximum), factor),
            data.slopeOfCap(x));
      });
    }
    // Over what was just written for these experts.
    Lanes::sync();
    KokkosExt::rolledLoop(lane, data.top_k, lanes, [&](int k) {
      const Choice choice = choiceAt(k, t);
      if (choice.expert >= 0)
        gradient(token, choice.expert) =
            static_cast<Gradient>(byLogit(choice, t));
    });
  }

  template <class F>
  KOKKOS_FUNCTION void writeOthers(int token, int lane, const F& f) const {
    KokkosExt::rolledLoop(lane, data.num_experts, lanes, [&](int e) {
      gradient(token, e) = static_cast<Gradient>(f(data.logit(token, e), e));
    });
  }

  template <class Row>
  KOKKOS_FORCEINLINE_FUNCTION void findMaximum(const Row& row, int lane,
                                               Token& t) const {
    Real maximum = minusInfinity<Real>();
    row.forEach(lane,
                [&](Real x, int) { maximum = KokkosExt::larger(x, maximum); });
    t.score.maximum = data.capped(greatest(maximum));
  }

  KOKKOS_FUNCTION static Real greatest(Real x) {
    return numberOfOrderedBits<Real>(Lanes::maximum(orderedBitsOfNumber(x)));
  }

  /// -(sum of u p) / denominator: what the term of an expert is multiplied with
  /// that was not chosen.
  KOKKOS_FUNCTION static Real factorOfOthers(const Token& t) {
    return t.score.denominator == 0
               ? Real(0)
               : KokkosExt::divide(-t.dot, t.score.denominator);
  }

  /// That of an expert with this term: an excluded one's is 0, though the
  /// factor may have become infinite.
  KOKKOS_FORCEINLINE_FUNCTION static Real ofOthers(Real term, Real factor) {
    const Real product = KokkosExt::multiply(term, factor);
    return term == 0 && product != product ? Real(0) : product;
  }

  /// Choice k before the sums are known: with a softmax over the choices its
  /// score is that divided by t.denominator.
  KOKKOS_FUNCTION Choice choiceAt(int k, const Token& t) const {
    const auto id = static_cast<std::int64_t>(data.expert_ids(t.token, k));
    Choice choice{-1, minusInfinity<Real>(), 0, 0};
    if (id < 0 || id >= data.num_experts) return choice;
    choice.expert = static_cast<int>(id);
    const Real x  = data.logit(t.token, choice.expert);
    if (isExcluded(data.keyOf(x, choice.expert, t.score))) {
      // Its weight is 0, but a softmax over all experts may count it.
      if (data.score == Score::softmax && !isExcluded(x)) {
        choice.x     = x;
        choice.score = data.scoreOf(x, t.score);
      }
      return choice;
    }
    choice.x = x;
    choice.score =
        data.score == Score::selected_softmax
            ? KokkosExt::divide(data.term(x, t.score.maximum), t.denominator)
            : data.scoreOf(x, t.score);
    choice.by_weight =
        data.scaled(static_cast<Real>(data.weights(t.token, k)), choice.expert);
    return choice;
  }

  /// The weight's gradient by the score, u.
  KOKKOS_FUNCTION static Real byScore(const Choice& choice, const Token& t) {
    if (!t.is_normalized) return choice.by_weight;
    if (t.divisor == 0) return Real(0);
    return KokkosExt::divide(KokkosExt::add(choice.by_weight, -t.mean),
                             t.divisor);
  }

  KOKKOS_FUNCTION Real byLogit(const Choice& choice, const Token& t) const {
    if (isExcluded(choice.x)) return Real(0);
    const Real u = isWeighed(choice, t) ? byScore(choice, t) : Real(0);
    const bool is_softmax =
        data.score == Score::softmax || data.score == Score::selected_softmax;
    const Real by_capped =
        is_softmax
            ? KokkosExt::multiply(choice.score, KokkosExt::add(u, -t.dot))
            : KokkosExt::multiply(u, data.slopeOfScore(choice.x, choice.score));
    return KokkosExt::multiply(by_capped, data.slopeOfCap(choice.x));
  }

  /// False for a choice whose weight is a constant 0.
  KOKKOS_FUNCTION bool isWeighed(const Choice& choice, const Token& t) const {
    return choice.expert >= 0 && !isExcluded(choice.x) &&
           !isExcluded(data.keyOf(choice.x, choice.expert, t.score));
  }

  /// The sum over the choices of f(choice), in their order.
  template <class F>
  KOKKOS_FUNCTION Real sumOf(int lane, const Token& t, const F& f) const {
    Real sum = 0;
    KokkosExt::rolledLoop(0, data.top_k, lanes, [&](int first) {
      Real mine = 0;
      if (first + lane < data.top_k) {
        const Choice choice = choiceAt(first + lane, t);
        if (isWeighed(choice, t)) mine = f(choice);
      }
      const int n = data.top_k - first < lanes ? data.top_k - first : lanes;
      KokkosExt::rolledLoop(0, n, 1, [&](int i) {
        sum = KokkosExt::add(sum, Lanes::broadcast(mine, i));
      });
    });
    return sum;
  }

  KOKKOS_FUNCTION void sumChoices(Token& t, int lane) const {
    const bool selected = data.score == Score::selected_softmax;
    if (selected) {
      Real maximum = minusInfinity<Real>();
      KokkosExt::rolledLoop(lane, data.top_k, lanes, [&](int k) {
        const Choice choice = choiceAt(k, t);
        if (isWeighed(choice, t))
          maximum = KokkosExt::larger(choice.x, maximum);
      });
      t.score.maximum = data.capped(greatest(maximum));
      t.denominator   = sumOf(lane, t, [](const Choice& c) { return c.score; });
    }
    if (data.normalize) {
      const Real sum = sumOf(lane, t, [](const Choice& c) { return c.score; });
      const Real divisor =
          KokkosExt::add(KokkosExt::larger(sum, data.floor), data.epsilon);
      const Real weighted = sumOf(lane, t, [](const Choice& c) {
        return KokkosExt::multiply(c.by_weight, c.score);
      });
      t.is_normalized     = true;
      t.divisor           = divisor;
      if (sum > data.floor) t.mean = KokkosExt::divide(weighted, divisor);
    }
    if (selected || data.score == Score::softmax)
      t.dot = sumOf(lane, t, [&](const Choice& c) {
        return KokkosExt::multiply(byScore(c, t), c.score);
      });
  }
};

template <int lanes, int chunks, class ExecutionSpace, class Data,
          class Gradient>
void launchRouterGradient(const ExecutionSpace& space, const Data& data,
                          const RouterMatrix<Gradient>& gradient) {
  const int tokens = lanes == 1 ? 1 : 128 / lanes;
  KokkosExt::launchTeams(
      "Tokkos::routeTopKGradient::differentiate", space,
      numTeams(data.num_tokens, tokens), tokens * lanes, 0,
      RouterGradient<ExecutionSpace, Data, Gradient, lanes, chunks>{
          data, gradient, hasAlignedChunks(data),
          hasAlignedChunks(gradient, data.num_tokens, data.num_experts)});
}

template <class ExecutionSpace, class Data, class Gradient>
void differentiateRouter(const ExecutionSpace& space, const Data& data,
                         const RouterMatrix<Gradient>& gradient) {
  constexpr int lanes = KokkosExt::max_lanes_v<ExecutionSpace>;
  if constexpr (lanes == 32) {
    if (data.soft_cap == 0 && data.num_experts <= 128)
      launchRouterGradient<lanes, 1>(space, data.withoutCap(), gradient);
    else if (data.soft_cap == 0 && data.num_experts <= 256)
      launchRouterGradient<lanes, 2>(space, data.withoutCap(), gradient);
    else if (data.soft_cap == 0 && data.num_experts <= 512)
      launchRouterGradient<lanes, 4>(space, data.withoutCap(), gradient);
    else
      launchRouterGradient<lanes, 0>(space, data, gradient);
  } else {
    launchRouterGradient<lanes, 0>(space, data, gradient);
  }
}

}  // namespace Tokkos::Impl

#endif
