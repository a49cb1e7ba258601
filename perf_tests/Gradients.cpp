// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// SPDX-FileCopyrightText: Copyright Contributors to the Tokkos project

#include "Registry.hpp"

#include "Inputs.hpp"
#include "Measure.hpp"
#include "RowBytes.hpp"
#include "RowsSubject.hpp"
#include "Word.hpp"

#include <Tokkos.hpp>

#include <string>

namespace PerfTest {

/// Counts the tokens whose checked elements are not the sums of their rows.
template <class Rows, class RowOfAssignment>
struct CountWrongPlainSums {
  Rows batch;
  Rows sums;
  RowOfAssignment row_of_assignment;

  KOKKOS_FUNCTION void operator()(int token, int& wrong) const {
    const int width = static_cast<int>(sums.extent(1));
    for (const int h : {0, width / 2, width - 1}) {
      float sum       = 0;
      float magnitude = 0;
      for (int k = 0; k < static_cast<int>(row_of_assignment.extent(1)); ++k) {
        const auto x =
            static_cast<float>(batch(row_of_assignment(token, k), h));
        sum += x;
        magnitude += Kokkos::abs(x);
      }
      const float difference =
          Kokkos::abs(sum - static_cast<float>(sums(token, h)));
      if (!(difference <= 0.01f * magnitude)) ++wrong;
    }
  }
};

/// The gradients of an assignment: checked elements of its row, and its weight.
template <class Rows, class Weights, class RowOfAssignment>
struct CountWrongGradients {
  Rows output_gradient;
  Rows batch;
  Weights weights;
  Rows batch_gradient;
  Weights weights_gradient;
  RowOfAssignment row_of_assignment;

  KOKKOS_FUNCTION void operator()(int a, int& wrong) const {
    const int top_k = static_cast<int>(weights.extent(1));
    const int width = static_cast<int>(batch.extent(1));
    const int token = a / top_k;
    const int k     = a - token * top_k;
    const int row   = row_of_assignment(token, k);
    for (const int h : {0, width / 2, width - 1}) {
      const float expected = weights(token, k) * gradient(token, h);
      const float difference =
          Kokkos::abs(expected - static_cast<float>(batch_gradient(row, h)));
      if (!(difference <= 0.01f * Kokkos::abs(expected))) ++wrong;
    }
    float sum       = 0;
    float magnitude = 0;
    for (int h = 0; h < width; ++h) {
      const float x = gradient(token, h) * static_cast<float>(batch(row, h));
      sum += x;
      magnitude += Kokkos::abs(x);
    }
    if (!(Kokkos::abs(sum - weights_gradient(token, k)) <= 1e-4f * magnitude))
      ++wrong;
  }

 private:
  KOKKOS_FUNCTION float gradient(int token, int h) const {
    return static_cast<float>(output_gradient(token, h));
  }
};

template <class ExecutionSpace, class T>
struct PermuteGradient
    : RowsSubject<PermuteGradient<ExecutionSpace, T>, ExecutionSpace, T> {
  using Base = RowsSubject<PermuteGradient, ExecutionSpace, T>;
  using Set  = typename Base::Set;
  using Base::Base;

  static double minimumBytes(const Workload& workload) {
    return permuteBytes(workload, sizeof(T));
  }

  static void fill(const ExecutionSpace& space, Set& set,
                   const Workload& workload, int i) {
    set.batch = set.memory.template makeRandom<T>(
        space, "batch_gradient", set.plan.max_rows, workload.model.hidden, i);
    set.tokens = set.memory.template allocate<T>(
        space, "tokens_gradient", workload.tokens, workload.model.hidden);
  }

  static void run(const ExecutionSpace& space, const Set& set) {
    Tokkos::permuteGradient(space, set.plan, set.batch, set.tokens);
  }

  static std::string checkSet(const ExecutionSpace& space, const Set& set) {
    return checkRows(space, set.plan.num_tokens,
                     CountWrongPlainSums<decltype(set.batch),
                                         decltype(set.plan.row_of_assignment)>{
                         set.batch, set.tokens, set.plan.row_of_assignment});
  }
};

template <class ExecutionSpace, class T>
struct CombineGradient
    : RowsSubject<CombineGradient<ExecutionSpace, T>, ExecutionSpace, T> {
  using Base = RowsSubject<CombineGradient, ExecutionSpace, T>;
  using Set  = typename Base::Set;
  using Base::Base;

  static double minimumBytes(const Workload& workload) {
    return combineGradientBytes(workload, sizeof(T));
  }

  static void fill(const ExecutionSpace& space, Set& set,
                   const Workload& workload, int i) {
    const int top_k  = workload.model.top_k;
    const int hidden = workload.model.hidden;
    set.batch        = set.memory.template makeRandom<T>(space, "batch",
                                                         set.plan.max_rows, hidden, i);
    set.tokens       = set.memory.template makeRandom<T>(
        space, "output_gradient", workload.tokens, hidden, i + 2000);
    set.weights = set.memory.template makeRandom<float>(
        space, "weights", workload.tokens, top_k, i + 1000);
    set.assignments = set.memory.template allocate<T>(
        space, "batch_gradient", set.plan.max_rows, hidden);
    set.weights_gradient = set.memory.template allocate<float>(
        space, "weights_gradient", workload.tokens, top_k);
  }

  static void run(const ExecutionSpace& space, const Set& set) {
    Tokkos::combineGradient(space, set.plan, set.tokens, set.batch, set.weights,
                            set.assignments, set.weights_gradient);
  }

  static std::string checkSet(const ExecutionSpace& space, const Set& set) {
    return checkRows(
        space, set.plan.max_rows,
        CountWrongGradients<decltype(set.batch), decltype(set.weights),
                            decltype(set.plan.row_of_assignment)>{
            set.tokens, set.batch, set.weights, set.assignments,
            set.weights_gradient, set.plan.row_of_assignment});
  }
};

namespace {

template <class ExecutionSpace, class T>
void addType() {
  for (const Workload& workload : workloads({Routing::uniform})) {
    if (!fits<ExecutionSpace>(combineGradientBytes(workload, sizeof(T))))
      continue;
    add<PermuteGradient<ExecutionSpace, T>>("permuteGradient", workload,
                                            typeName<T>());
    add<CombineGradient<ExecutionSpace, T>>("combineGradient", workload,
                                            typeName<T>());
  }
}

}  // namespace

void addGradients() {
  forEachBackend([](auto type) {
    using ExecutionSpace = typename decltype(type)::type;
    addType<ExecutionSpace, float>();
    if constexpr (has_bhalf) addType<ExecutionSpace, bhalf_t>();
  });
}

}  // namespace PerfTest
