// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// SPDX-FileCopyrightText: Copyright Contributors to the Tokkos project

#include "Registry.hpp"

#include "Inputs.hpp"
#include "Measure.hpp"
#include "RowBytes.hpp"
#include "RowsSubject.hpp"
#include "Word.hpp"

#include <Tokkos.hpp>

#include <cstddef>
#include <cstdint>
#include <string>

namespace PerfTest {

/// Counts, in the first, the middle and the last column, the elements of an
/// assignment's row that are not those of its token, or of the assignment in
/// token order.
template <class Others, class Rows, class RowOfAssignment>
struct CountWrongCopies {
  using Value = typename Rows::value_type;

  Others others;
  Rows batch;
  RowOfAssignment row_of_assignment;
  int assignments_of_other;  // top_k where the others are tokens, else 1

  KOKKOS_FUNCTION void operator()(int a, int& wrong) const {
    const int top_k = static_cast<int>(row_of_assignment.extent(1));
    const int width = static_cast<int>(batch.extent(1));
    const int row   = row_of_assignment(a / top_k, a % top_k);
    const int other = a / assignments_of_other;
    for (const int h : {0, width / 2, width - 1})
      if (static_cast<float>(static_cast<Value>(others(other, h))) !=
          static_cast<float>(batch(row, h)))
        ++wrong;
  }
};

/// The same for the sums of a token's rows, which may have 8 bits of precision.
template <class Rows, class Weights, class RowOfAssignment>
struct CountWrongSums {
  Rows batch;
  Weights weights;  // without extents: all are 1
  Rows sums;
  RowOfAssignment row_of_assignment;

  KOKKOS_FUNCTION void operator()(int token, int& wrong) const {
    const int top_k = static_cast<int>(row_of_assignment.extent(1));
    const int width = static_cast<int>(sums.extent(1));
    for (const int h : {0, width / 2, width - 1}) {
      float sum       = 0;
      float magnitude = 0;
      for (int k = 0; k < top_k; ++k) {
        const float weight = weights.extent(0) > 0 ? weights(token, k) : 1.0f;
        const float x =
            weight * static_cast<float>(batch(row_of_assignment(token, k), h));
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

template <class ExecutionSpace, class Functor>
std::string countWrong(const ExecutionSpace& space, int count,
                       const Functor& functor) {
  int wrong = 0;
  Kokkos::parallel_reduce(
      "PerfTest::check",
      Kokkos::RangePolicy<ExecutionSpace, Kokkos::IndexType<int>>(space, 0,
                                                                  count),
      functor, wrong);
  return wrong == 0 ? "" : std::to_string(wrong) + " checked elements differ";
}

template <class ExecutionSpace, class Set, class Others>
std::string checkCopies(const ExecutionSpace& space, const Set& set,
                        const Others& others, int assignments_of_other) {
  return countWrong(
      space, set.plan.max_rows,
      CountWrongCopies<Others, decltype(set.batch),
                       decltype(set.plan.row_of_assignment)>{
          others, set.batch, set.plan.row_of_assignment, assignments_of_other});
}

struct Permute {
  static double minimumBytes(const Workload& workload, std::size_t size,
                             std::size_t token_size) {
    return permuteBytes(workload, size) +
           workload.tokens *
               (rowBytes(workload, token_size) - rowBytes(workload, size));
  }

  template <class Set>
  static void fill(Set& set) {
    set.makeInput(set.tokens, set.plan.num_tokens);
    set.makeOutput(set.batch, set.plan.max_rows);
  }

  template <class ExecutionSpace, class Set>
  static void run(const ExecutionSpace& space, const Set& set) {
    Tokkos::permute(space, set.plan, set.tokens, set.batch);
  }

  template <class ExecutionSpace, class Set>
  static std::string check(const ExecutionSpace& space, const Set& set) {
    return checkCopies(space, set, set.tokens, set.plan.top_k);
  }
};

struct Unpermute {
  static double minimumBytes(const Workload& workload, std::size_t size,
                             std::size_t /*token_size*/) {
    return unpermuteBytes(workload, size);
  }

  template <class Set>
  static void fill(Set& set) {
    set.makeInput(set.batch, set.plan.max_rows);
    set.makeOutput(set.assignments, set.plan.num_tokens * set.plan.top_k);
  }

  template <class ExecutionSpace, class Set>
  static void run(const ExecutionSpace& space, const Set& set) {
    Tokkos::unpermute(space, set.plan, set.batch, set.assignments);
  }

  template <class ExecutionSpace, class Set>
  static std::string check(const ExecutionSpace& space, const Set& set) {
    return checkCopies(space, set, set.assignments, 1);
  }
};

/// The sums of a token's rows.
struct Sums {
  template <class Set>
  static void fill(Set& set) {
    set.makeInput(set.batch, set.plan.max_rows);
    set.makeOutput(set.tokens, set.plan.num_tokens);
  }

  template <class ExecutionSpace, class Set>
  static std::string check(const ExecutionSpace& space, const Set& set) {
    return countWrong(
        space, set.plan.num_tokens,
        CountWrongSums<decltype(set.batch), decltype(set.weights),
                       decltype(set.plan.row_of_assignment)>{
            set.batch, set.weights, set.tokens, set.plan.row_of_assignment});
  }
};

struct Combine : Sums {
  static double minimumBytes(const Workload& workload, std::size_t size,
                             std::size_t /*token_size*/) {
    return combineBytes(workload, size);
  }

  template <class Set>
  static void fill(Set& set) {
    Sums::fill(set);
    set.makeWeights();
  }

  template <class ExecutionSpace, class Set>
  static void run(const ExecutionSpace& space, const Set& set) {
    Tokkos::combine(space, set.plan, set.batch, set.weights, set.tokens);
  }
};

struct PermuteGradient : Sums {
  static double minimumBytes(const Workload& workload, std::size_t size,
                             std::size_t /*token_size*/) {
    return permuteBytes(workload, size);
  }

  template <class ExecutionSpace, class Set>
  static void run(const ExecutionSpace& space, const Set& set) {
    Tokkos::permuteGradient(space, set.plan, set.batch, set.tokens);
  }
};

struct CombineGradient {
  static double minimumBytes(const Workload& workload, std::size_t size,
                             std::size_t /*token_size*/) {
    return combineGradientBytes(workload, size);
  }

  template <class Set>
  static void fill(Set& set) {
    set.makeInput(set.batch, set.plan.max_rows);
    set.makeInput(set.tokens, set.plan.num_tokens);
    set.makeWeights();
    set.makeOutput(set.batch_gradient, set.plan.max_rows);
    set.makeWeightsGradient();
  }

  template <class ExecutionSpace, class Set>
  static void run(const ExecutionSpace& space, const Set& set) {
    Tokkos::combineGradient(space, set.plan, set.tokens, set.batch, set.weights,
                            set.batch_gradient, set.weights_gradient);
  }

  template <class ExecutionSpace, class Set>
  static std::string check(const ExecutionSpace& space, const Set& set) {
    return countWrong(
        space, set.plan.max_rows,
        CountWrongGradients<decltype(set.batch), decltype(set.weights),
                            decltype(set.plan.row_of_assignment)>{
            set.tokens, set.batch, set.weights, set.batch_gradient,
            set.weights_gradient, set.plan.row_of_assignment});
  }
};

namespace {

/// Adds a verb where the backend has the memory.
template <class Verb, class ExecutionSpace, class T, class Token = T>
void addVerb(const std::string& name, const Workload& workload,
             const std::string& detail) {
  using Subject = RowsSubject<Verb, ExecutionSpace, T, Token>;
  if (fits<ExecutionSpace>(Subject::minimumBytes(workload)))
    add<Subject>(name, workload, detail);
}

template <class ExecutionSpace, class T>
void addType() {
  const char* const type = typeName<T>();
  for (const Workload& workload :
       workloads({Routing::uniform, Routing::zipf})) {
    addVerb<Permute, ExecutionSpace, T>("permute", workload, type);
    addVerb<Combine, ExecutionSpace, T>("combine", workload, type);
    addVerb<Unpermute, ExecutionSpace, T>("unpermute", workload, type);
  }
  for (const Workload& workload : workloads({Routing::uniform})) {
    addVerb<PermuteGradient, ExecutionSpace, T>("permuteGradient", workload,
                                                type);
    addVerb<CombineGradient, ExecutionSpace, T>("combineGradient", workload,
                                                type);
  }
}

/// Rows of one byte an element, as quantised tokens are.
template <class ExecutionSpace>
void addBytes() {
  for (const Workload& workload : workloads({Routing::uniform}))
    if (workload.model.hidden == 7168)
      addVerb<Permute, ExecutionSpace, std::uint8_t>("permute", workload,
                                                     "byte");
}

/// Tokens of float to rows of half the size.
template <class ExecutionSpace>
void addConversion() {
  for (const Workload& workload : workloads({Routing::uniform}))
    addVerb<Permute, ExecutionSpace, bhalf_t, float>("permute", workload,
                                                     "float_to_bhalf");
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
