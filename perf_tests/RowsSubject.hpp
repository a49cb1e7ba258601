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

/// The plan and the matrices of rows; a subject fills those it uses.
template <class ExecutionSpace, class T>
struct RowsSet {
  using Memory = typename ExecutionSpace::memory_space;

  RowsSet(const ExecutionSpace& space, const Workload& workload, int i)
      : plan(Tokkos::buildDispatchPlan(space, makeExpertIds(space, workload, i),
                                       workload.model.num_experts)) {}

  Tokkos::DispatchPlan<Memory> plan;
  AlignedMatrices<Memory> memory;
  Matrix<T, Memory> tokens;
  Matrix<T, Memory> batch;
  Matrix<T, Memory> assignments;
  Matrix<float, Memory> weights;
  Matrix<float, Memory> weights_gradient;
};

template <class ExecutionSpace, class Functor>
std::string checkRows(const ExecutionSpace& space, int count,
                      const Functor& functor) {
  int wrong = 0;
  Kokkos::parallel_reduce(
      "PerfTest::check",
      Kokkos::RangePolicy<ExecutionSpace, Kokkos::IndexType<int>>(space, 0,
                                                                  count),
      functor, wrong);
  return wrong == 0 ? "" : std::to_string(wrong) + " checked elements differ";
}

/// What the verbs share: the sets, made by the verb's own `fill`.
template <class Verb, class ExecutionSpace, class T>
class RowsSubject : public KokkosSubject<ExecutionSpace> {
 public:
  using Set = RowsSet<ExecutionSpace, T>;

  RowsSubject(const ExecutionSpace& space, const Workload& workload) {
    const int num_sets = numRowSets(workload, Verb::minimumBytes(workload));
    for (int i = 0; i < num_sets; ++i) {
      m_sets.emplace_back(space, workload, i);
      Verb::fill(space, m_sets.back(), workload, i);
    }
  }

  int numSets() const { return static_cast<int>(m_sets.size()); }

  void call(const ExecutionSpace& space, int i) {
    Verb::run(space, m_sets[static_cast<std::size_t>(i)]);
  }

  std::string check(const ExecutionSpace& space) const {
    return Verb::checkSet(space, m_sets[0]);
  }

 private:
  std::vector<Set> m_sets;
};

}  // namespace PerfTest

#endif
