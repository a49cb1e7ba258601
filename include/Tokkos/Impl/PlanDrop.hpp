// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// SPDX-FileCopyrightText: Copyright Contributors to the Tokkos project

#ifndef TOKKOS_IMPL_PLANDROP_HPP
#define TOKKOS_IMPL_PLANDROP_HPP

#include <Tokkos/Impl/OrderedBits.hpp>
#include <Tokkos/Impl/PlanData.hpp>
#include <Tokkos/Impl/PlanUpdate.hpp>
#include <Tokkos/KokkosExt/Launch.hpp>

#include <Kokkos_Core.hpp>

#include <climits>
#include <cstdint>
#include <string>
#include <type_traits>

// Which assignments a full expert keeps when they are not its earliest. Each
// policy marks every assignment; the plan is then made of those that are kept,
// which stand in ascending order again.
//
// Both build on the plan itself. later_choices makes one with the assignments
// numbered choice by choice, which drops what comes last in that order.
// lowest_weight finds every expert's smallest kept weight by a radix select,
// eight bits at a time, and makes a plan of the assignments that have just that
// weight to learn which of them are the earliest.
namespace Tokkos::Impl {

/// What the marks say.
enum DropMark : unsigned char { mark_dropped, mark_kept, mark_tied };

/// The work arrays of a policy; some of them are empty.
struct PlanDropData {
  unsigned char* marks;       // of every assignment
  int* totals;                // assignments of every expert
  int* wanted;                // that the expert still has to choose
  std::uint64_t* thresholds;  // leading digits of its smallest kept weight
  int* histogram;             // expert x digit
};

inline constexpr int drop_digits = 256;

struct TakeTotals {
  PlanData plan;
  PlanDropData drop;

  KOKKOS_FUNCTION void operator()(int e) const {
    drop.totals[e] = plan.counts[e] + plan.dropped[e];
  }
};

/// After a plan of the assignments in the order of their choices.
struct MarkByChoice {
  PlanData plan;
  PlanDropData drop;
  int top_k;
  int num_tokens;

  KOKKOS_FUNCTION void operator()(int a) const {
    const int token  = a / top_k;
    const int choice = a - token * top_k;
    drop.marks[a]    = plan.row_of_assignment[choice * num_tokens + token] >= 0
                           ? mark_kept
                           : mark_dropped;
  }
};

template <class Weights>
struct WeightBits {
  using Weight = typename Weights::non_const_value_type;
  using Real =
      std::conditional_t<std::is_same_v<Weight, double>, double, float>;
  static constexpr int num_digits = sizeof(Real);

  Weights weights;
  int top_k;

  KOKKOS_FUNCTION std::uint64_t operator()(int a) const {
    const int token = a / top_k;
    return orderedBits(static_cast<Real>(weights(token, a - token * top_k)));
  }
};

struct StartSelection {
  PlanDropData drop;
  int capacity;

  KOKKOS_FUNCTION void operator()(int e) const {
    drop.wanted[e]     = capacity;
    drop.thresholds[e] = 0;
  }
};

struct ClearHistogram {
  int* histogram;

  KOKKOS_FUNCTION void operator()(int i) const { histogram[i] = 0; }
};

template <class Keys, class Bits>
struct CountDigits {
  Keys keys;
  Bits bits;
  PlanDropData drop;
  int shift;  // of the digit

  KOKKOS_FUNCTION void operator()(int a) const {
    const int e = keys(a);
    if (e < 0) return;
    const std::uint64_t leading = bits(a) >> shift;
    if (leading / drop_digits == drop.thresholds[e])
      Kokkos::atomic_inc(
          &drop.histogram[e * drop_digits +
                          static_cast<int>(leading % drop_digits)]);
  }
};

/// Finds the digit at which the expert has what it wants.
struct SelectDigit {
  PlanDropData drop;
  bool is_first;

  KOKKOS_FUNCTION void operator()(int e) const {
    const int* const count = drop.histogram + std::int64_t(e) * drop_digits;
    if (is_first) {
      int total = 0;
      for (int d = 0; d < drop_digits; ++d)
        total += count[d];
      drop.totals[e] = total;
    }
    int digit  = drop_digits - 1;
    int wanted = drop.wanted[e];
    for (; digit > 0 && count[digit] < wanted; --digit)
      wanted -= count[digit];
    drop.wanted[e] = wanted;
    drop.thresholds[e] =
        drop.thresholds[e] * drop_digits + static_cast<std::uint64_t>(digit);
  }
};

template <class Keys, class Bits>
struct MarkByWeight {
  Keys keys;
  Bits bits;
  PlanDropData drop;
  int capacity;

  KOKKOS_FUNCTION void operator()(int a) const {
    const int e = keys(a);
    if (e < 0) return;
    const std::uint64_t own = bits(a);
    if (drop.totals[e] <= capacity || own > drop.thresholds[e])
      drop.marks[a] = mark_kept;
    else
      drop.marks[a] = own == drop.thresholds[e] ? mark_tied : mark_dropped;
  }
};

/// After a plan of the tied assignments.
template <class Keys>
struct BreakTies {
  Keys keys;
  PlanData plan;
  PlanDropData drop;

  KOKKOS_FUNCTION void operator()(int a) const {
    const int e = keys(a);
    if (e < 0 || drop.marks[a] != mark_tied) return;
    // No expert wants more of them than its capacity.
    const int row = plan.row_of_assignment[a];
    drop.marks[a] = row >= 0 && row - plan.offsets[e] < drop.wanted[e]
                        ? mark_kept
                        : mark_dropped;
  }
};

/// The plan of the kept ones knows nothing of the others.
struct CountDropped {
  PlanData plan;
  PlanDropData drop;

  KOKKOS_FUNCTION void operator()(int e) const {
    const int dropped = drop.totals[e] - plan.counts[e];
    plan.dropped[e]   = dropped;
    if (dropped > 0) Kokkos::atomic_add(plan.num_dropped, dropped);
  }
};

template <class ExecutionSpace>
class PlanDropper {
 public:
  PlanDropper(const ExecutionSpace& space, const PlanData& plan,
              const PlanDropData& drop)
      : m_space(space), m_plan(plan), m_drop(drop) {}

  template <class Id>
  void dropLaterChoices(PlanKeys<Id> keys, int num_tokens) const;

  template <class Id, class Weights>
  void dropLowestWeights(PlanKeys<Id> keys, const Weights& weights) const {
    using Bits = WeightBits<Weights>;
    const Bits bits{weights, keys.top_k};
    forExperts("startSelection", StartSelection{m_drop, m_plan.capacity});
    for (int digit = Bits::num_digits - 1; digit >= 0; --digit) {
      run("clearHistogram", m_plan.num_experts * drop_digits,
          ClearHistogram{m_drop.histogram});
      forAssignments("countDigits", CountDigits<PlanKeys<Id>, Bits>{
                                        keys, bits, m_drop, 8 * digit});
      forExperts("selectDigit",
                 SelectDigit{m_drop, digit == Bits::num_digits - 1});
    }
    forAssignments("markByWeight", MarkByWeight<PlanKeys<Id>, Bits>{
                                       keys, bits, m_drop, m_plan.capacity});
    updatePlan(m_space, withMark(keys, mark_tied), withoutPadding());
    forAssignments("breakTies", BreakTies<PlanKeys<Id>>{keys, m_plan, m_drop});
    planKept(keys);
  }

 private:
  PlanData withoutPadding() const {
    PlanData plan        = m_plan;
    plan.alignment       = 1;
    plan.expert_of_block = nullptr;
    plan.num_blocks      = 0;
    return plan;
  }

  template <class Id>
  PlanKeys<Id> withMark(PlanKeys<Id> keys, DropMark mark) const {
    keys.marks = m_drop.marks;
    keys.mark  = mark;
    return keys;
  }

  template <class Id>
  void planKept(const PlanKeys<Id>& keys) const {
    updatePlan(m_space, withMark(keys, mark_kept), m_plan);
    forExperts("countDropped", CountDropped{m_plan, m_drop});
  }

  template <class Functor>
  void run(const char* phase, int count, const Functor& functor) const {
    KokkosExt::parallelFor(
        std::string("Tokkos::updateDispatchPlan::") + phase,
        Kokkos::RangePolicy<ExecutionSpace, Kokkos::IndexType<std::int64_t>>(
            m_space, 0, count),
        functor);
  }
  template <class Functor>
  void forExperts(const char* phase, const Functor& functor) const {
    run(phase, m_plan.num_experts, functor);
  }
  template <class Functor>
  void forAssignments(const char* phase, const Functor& functor) const {
    run(phase, m_plan.num_assignments, functor);
  }

  const ExecutionSpace& m_space;
  const PlanData& m_plan;
  const PlanDropData& m_drop;
};

// Not inside the class, where it would be inline and compiled everywhere.
template <class ExecutionSpace>
template <class Id>
void PlanDropper<ExecutionSpace>::dropLaterChoices(PlanKeys<Id> keys,
                                                   int num_tokens) const {
  PlanKeys<Id> by_choice       = keys;
  by_choice.tokens_of_a_choice = num_tokens;
  updatePlan(m_space, by_choice, m_plan);
  forExperts("takeTotals", TakeTotals{m_plan, m_drop});
  forAssignments("markByChoice",
                 MarkByChoice{m_plan, m_drop, keys.top_k, num_tokens});
  planKept(keys);
}

}  // namespace Tokkos::Impl

#endif
