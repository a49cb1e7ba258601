// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// SPDX-FileCopyrightText: Copyright Contributors to the Tokkos project

#include "Registry.hpp"

#include "Inputs.hpp"
#include "Measure.hpp"
#include "RowBytes.hpp"
#include "RowsSubject.hpp"
#include "Word.hpp"

#include <Tokkos.hpp>

#include <cstdint>
#include <string>

namespace PerfTest {

/// Counts wrong elements in the first, the middle and the last column: that of
/// the assignment in the batch should be that of its token.
template <class Tokens, class Rows, class RowOfAssignment>
struct CountWrongCopies {
  using Value = typename Rows::value_type;

  Tokens tokens;
  Rows batch;
  RowOfAssignment row_of_assignment;

  KOKKOS_FUNCTION void operator()(int a, int& wrong) const {
    const int top_k = static_cast<int>(row_of_assignment.extent(1));
    const int width = static_cast<int>(tokens.extent(1));
    const int token = a / top_k;
    const int row   = row_of_assignment(token, a - token * top_k);
    for (const int h : {0, width / 2, width - 1})
      if (static_cast<float>(static_cast<Value>(tokens(token, h))) !=
          static_cast<float>(batch(row, h)))
        ++wrong;
  }
};

/// The same for the rows that unpermute brought back.
template <class Rows, class RowOfAssignment>
struct CountWrongReturns {
  Rows batch;
  Rows assignments;
  RowOfAssignment row_of_assignment;

  KOKKOS_FUNCTION void operator()(int a, int& wrong) const {
    const int top_k = static_cast<int>(row_of_assignment.extent(1));
    const int width = static_cast<int>(batch.extent(1));
    const int row   = row_of_assignment(a / top_k, a % top_k);
    for (const int h : {0, width / 2, width - 1})
      if (static_cast<float>(assignments(a, h)) !=
          static_cast<float>(batch(row, h)))
        ++wrong;
  }
};

/// The same for the weighted sum; the output may have 8 bits of precision.
template <class Rows, class Weights, class RowOfAssignment>
struct CountWrongSums {
  Rows batch;
  Weights weights;
  Rows output;
  RowOfAssignment row_of_assignment;

  KOKKOS_FUNCTION void operator()(int token, int& wrong) const {
    const int width = static_cast<int>(output.extent(1));
    for (const int h : {0, width / 2, width - 1}) {
      float sum = 0;
      for (int k = 0; k < static_cast<int>(weights.extent(1)); ++k)
        sum += weights(token, k) *
               static_cast<float>(batch(row_of_assignment(token, k), h));
      const float difference =
          Kokkos::abs(sum - static_cast<float>(output(token, h)));
      if (!(difference <= 0.01f * Kokkos::abs(sum) + 1e-4f)) ++wrong;
    }
  }
};

template <class ExecutionSpace, class T>
struct Permute : RowsSubject<Permute<ExecutionSpace, T>, ExecutionSpace, T> {
  using Base = RowsSubject<Permute, ExecutionSpace, T>;
  using Set  = typename Base::Set;
  using Base::Base;

  static double minimumBytes(const Workload& workload) {
    return permuteBytes(workload, sizeof(T));
  }

  static void fill(const ExecutionSpace& space, Set& set,
                   const Workload& workload, int i) {
    set.tokens = set.memory.template makeRandom<T>(
        space, "tokens", workload.tokens, workload.model.hidden, i);
    set.batch = set.memory.template allocate<T>(
        space, "batch", set.plan.max_rows, workload.model.hidden);
  }

  static void run(const ExecutionSpace& space, const Set& set) {
    Tokkos::permute(space, set.plan, set.tokens, set.batch);
  }

  static std::string checkSet(const ExecutionSpace& space, const Set& set) {
    return checkRows(space, set.plan.max_rows,
                     CountWrongCopies<decltype(set.tokens), decltype(set.batch),
                                      decltype(set.plan.row_of_assignment)>{
                         set.tokens, set.batch, set.plan.row_of_assignment});
  }
};

/// Tokens of float to rows of T.
template <class ExecutionSpace, class T>
struct PermuteConverted
    : RowsSubject<PermuteConverted<ExecutionSpace, T>, ExecutionSpace, float> {
  using Base = RowsSubject<PermuteConverted, ExecutionSpace, float>;
  using Set  = typename Base::Set;
  using Base::Base;

  static double minimumBytes(const Workload& workload) {
    return permuteBytes(workload, sizeof(T)) + (sizeof(float) - sizeof(T)) *
                                                   1. * workload.tokens *
                                                   workload.model.hidden;
  }

  // The rows need half the memory that `assignments` of float has.
  static Matrix<T, typename Set::Memory> rowsOf(const Set& set) {
    return Matrix<T, typename Set::Memory>(
        reinterpret_cast<T*>(set.assignments.data()), set.assignments.extent(0),
        set.tokens.extent(1));
  }

  static void fill(const ExecutionSpace& space, Set& set,
                   const Workload& workload, int i) {
    set.tokens = set.memory.template makeRandom<float>(
        space, "tokens", workload.tokens, workload.model.hidden, i);
    set.assignments = set.memory.template allocate<float>(
        space, "batch", set.plan.max_rows,
        workload.model.hidden * static_cast<int>(sizeof(T)) /
            static_cast<int>(sizeof(float)));
  }

  static void run(const ExecutionSpace& space, const Set& set) {
    Tokkos::permute(space, set.plan, set.tokens, rowsOf(set));
  }

  static std::string checkSet(const ExecutionSpace& space, const Set& set) {
    return checkRows(
        space, set.plan.max_rows,
        CountWrongCopies<decltype(set.tokens), decltype(rowsOf(set)),
                         decltype(set.plan.row_of_assignment)>{
            set.tokens, rowsOf(set), set.plan.row_of_assignment});
  }
};

template <class ExecutionSpace, class T>
struct Unpermute
    : RowsSubject<Unpermute<ExecutionSpace, T>, ExecutionSpace, T> {
  using Base = RowsSubject<Unpermute, ExecutionSpace, T>;
  using Set  = typename Base::Set;
  using Base::Base;

  static double minimumBytes(const Workload& workload) {
    return unpermuteBytes(workload, sizeof(T));
  }

  static void fill(const ExecutionSpace& space, Set& set,
                   const Workload& workload, int i) {
    set.batch = set.memory.template makeRandom<T>(
        space, "batch", set.plan.max_rows, workload.model.hidden, i);
    set.assignments = set.memory.template allocate<T>(
        space, "assignments", workload.numAssignments(), workload.model.hidden);
  }

  static void run(const ExecutionSpace& space, const Set& set) {
    Tokkos::unpermute(space, set.plan, set.batch, set.assignments);
  }

  static std::string checkSet(const ExecutionSpace& space, const Set& set) {
    return checkRows(
        space, set.plan.max_rows,
        CountWrongReturns<decltype(set.batch),
                          decltype(set.plan.row_of_assignment)>{
            set.batch, set.assignments, set.plan.row_of_assignment});
  }
};

template <class ExecutionSpace, class T>
struct Combine : RowsSubject<Combine<ExecutionSpace, T>, ExecutionSpace, T> {
  using Base = RowsSubject<Combine, ExecutionSpace, T>;
  using Set  = typename Base::Set;
  using Base::Base;

  static double minimumBytes(const Workload& workload) {
    return combineBytes(workload, sizeof(T));
  }

  static void fill(const ExecutionSpace& space, Set& set,
                   const Workload& workload, int i) {
    set.batch = set.memory.template makeRandom<T>(
        space, "batch", set.plan.max_rows, workload.model.hidden, i);
    set.weights = set.memory.template makeRandom<float>(
        space, "weights", workload.tokens, workload.model.top_k, i + 1000);
    set.tokens = set.memory.template allocate<T>(
        space, "output", workload.tokens, workload.model.hidden);
  }

  static void run(const ExecutionSpace& space, const Set& set) {
    Tokkos::combine(space, set.plan, set.batch, set.weights, set.tokens);
  }

  static std::string checkSet(const ExecutionSpace& space, const Set& set) {
    return checkRows(
        space, set.plan.num_tokens,
        CountWrongSums<decltype(set.batch), decltype(set.weights),
                       decltype(set.plan.row_of_assignment)>{
            set.batch, set.weights, set.tokens, set.plan.row_of_assignment});
  }
};

namespace {

template <class ExecutionSpace, class T>
void addType() {
  for (const Workload& workload :
       workloads({Routing::uniform, Routing::zipf})) {
    if (fits<ExecutionSpace>(permuteBytes(workload, sizeof(T)))) {
      add<Permute<ExecutionSpace, T>>("permute", workload, typeName<T>());
      add<Combine<ExecutionSpace, T>>("combine", workload, typeName<T>());
    }
    if (fits<ExecutionSpace>(unpermuteBytes(workload, sizeof(T))))
      add<Unpermute<ExecutionSpace, T>>("unpermute", workload, typeName<T>());
  }
}

/// Rows of one byte an element, as quantised tokens are.
template <class ExecutionSpace>
void addBytes() {
  for (const Workload& workload : workloads({Routing::uniform}))
    if (workload.model.hidden == 7168 &&
        fits<ExecutionSpace>(permuteBytes(workload, 1)))
      add<Permute<ExecutionSpace, std::uint8_t>>("permute", workload, "byte");
}

template <class ExecutionSpace>
void addConversion() {
  using Subject = PermuteConverted<ExecutionSpace, bhalf_t>;
  for (const Workload& workload : workloads({Routing::uniform}))
    if (fits<ExecutionSpace>(Subject::minimumBytes(workload)))
      add<Subject>("permute", workload, "float_to_bhalf");
}

}  // namespace

void addRows() {
  forEachBackend([](auto type) {
    using ExecutionSpace = typename decltype(type)::type;
    addType<ExecutionSpace, float>();
    addBytes<ExecutionSpace>();
    if constexpr (has_bhalf) {
      addType<ExecutionSpace, bhalf_t>();
      addConversion<ExecutionSpace>();
    }
  });
}

}  // namespace PerfTest
