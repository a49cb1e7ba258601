// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// SPDX-FileCopyrightText: Copyright Contributors to the Tokkos project

#ifndef TOKKOS_PERFTEST_ROWSSUBJECT_HPP
#define TOKKOS_PERFTEST_ROWSSUBJECT_HPP

#include "Inputs.hpp"
#include "Measure.hpp"
#include "RowBytes.hpp"

#include <Tokkos.hpp>

#include <string>
#include <vector>

// What the benchmarks of the verbs that move rows have in common.
namespace PerfTest {

/// The plan and the matrices of rows; a verb fills those it uses. Tokens may
/// be of another type than rows.
template <class ExecutionSpace, class T, class Token = T>
struct RowsSet {
  using Memory = typename ExecutionSpace::memory_space;
  using Value  = T;
  template <class U>
  using Rows = Matrix<U, Memory>;

  RowsSet(const ExecutionSpace& space, const Workload& workload, int i)
      : plan(Tokkos::buildDispatchPlan(space, makeExpertIds(space, workload, i),
                                       workload.model.num_experts)),
        m_space(space),
        m_hidden(workload.model.hidden),
        m_seed(i) {}

  /// Rows of the workload's width, with random numbers or with any.
  template <class U>
  void makeInput(Rows<U>& rows, int count) {
    rows = m_memory.template makeRandom<U>(m_space, "input", count, m_hidden,
                                           m_seed);
    m_seed += 1000;
  }
  template <class U>
  void makeOutput(Rows<U>& rows, int count) {
    rows = m_memory.template allocate<U>(m_space, "output", count, m_hidden);
  }
  void makeWeights() {
    weights = m_memory.template makeRandom<float>(
        m_space, "weights", plan.num_tokens, plan.top_k, m_seed);
    m_seed += 1000;
  }
  void makeWeightsGradient() {
    weights_gradient = m_memory.template allocate<float>(
        m_space, "weights_gradient", plan.num_tokens, plan.top_k);
  }

  Tokkos::DispatchPlan<Memory> plan;
  Rows<Token> tokens;
  Rows<T> batch;
  Rows<T> batch_gradient;
  Rows<T> assignments;
  Rows<float> weights;
  Rows<float> weights_gradient;

 private:
  AlignedMatrices<Memory> m_memory;
  ExecutionSpace m_space;
  int m_hidden;
  int m_seed;
};

/// A benchmark of a verb, which is a type with
///
///   static double minimumBytes(workload, size of a row's element, of a
///   token's) static void fill(set)                  makes the matrices that
///   run uses static void run(space, set) static std::string check(space, set)
///   what is wrong after run, or nothing
template <class Verb, class ExecutionSpace, class T, class Token = T>
class RowsSubject : public KokkosSubject<ExecutionSpace> {
 public:
  RowsSubject(const ExecutionSpace& space, const Workload& workload) {
    const int num_sets = numRowSets(workload, minimumBytes(workload));
    for (int i = 0; i < num_sets; ++i) {
      m_sets.emplace_back(space, workload, i);
      Verb::fill(m_sets.back());
    }
  }

  static double minimumBytes(const Workload& workload) {
    return Verb::minimumBytes(workload, sizeof(T), sizeof(Token));
  }

  int numSets() const { return static_cast<int>(m_sets.size()); }

  void call(const ExecutionSpace& space, int i) {
    Verb::run(space, m_sets[static_cast<std::size_t>(i)]);
  }

  std::string check(const ExecutionSpace& space) const {
    return Verb::check(space, m_sets[0]);
  }

 private:
  std::vector<RowsSet<ExecutionSpace, T, Token>> m_sets;
};

}  // namespace PerfTest

#endif
