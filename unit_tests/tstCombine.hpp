// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// SPDX-FileCopyrightText: Copyright Contributors to the Tokkos project

#include "RowCases.hpp"

// combine: sums in the order of the choices, bit for bit.
namespace Test {

using half_t  = Tokkos::KokkosExt::half_t;
using bhalf_t = Tokkos::KokkosExt::bhalf_t;

template <class Value, class Weight, class Result, class Rows = Matrix<Value>,
          class Output = Matrix<Result>>
void testCombine(int num_tokens, int top_k, int num_experts, int width,
                 int capacity = 0) {
  SCOPED_TRACE("T=" + std::to_string(num_tokens) +
               " K=" + std::to_string(top_k) + " H=" + std::to_string(width));
  using Sum = std::conditional_t<std::is_same_v<Value, double>, double, float>;
  Random random;
  const ExecutionSpace space;
  const auto ids =
      random.ids(std::size_t(num_tokens) * top_k, num_experts, true, true);
  Reference::Options known;
  known.capacity      = capacity;
  const auto expected = Reference::makePlan(ids, top_k, num_experts, known);
  const auto plan     = Tokkos::buildDispatchPlan(
      space, makeMatrix(ids, top_k), num_experts, {.capacity = capacity});

  auto rows = random.reals<Value>(std::size_t(expected.num_rows) * width);
  const auto weights =
      random.reals<Weight>(std::size_t(num_tokens) * top_k, -1, 1);
  const auto sums =
      Reference::combine<Sum>(expected, rows, weights, width, top_k);

  Rows batch("batch", plan.max_rows, width);
  rows.resize(batch.size(), poison<Value>());
  fromVector(batch, rows);
  Output output("output", num_tokens, width);
  fromVector(output, std::vector<Result>(output.size(), poison<Result>()));
  Tokkos::combine(space, plan, batch, makeMatrix(weights, top_k), output);
  EXPECT_TRUE(sameBits(rounded<Result>(sums), toVector(output)));
}

TEST(Combine, WidthsAndChoices) {
  for (const int width : {0, 1, 2, 3, 7, 8, 15, 16, 17, 31, 63, 64, 100, 1000})
    testCombine<float, float, float>(50, 2, 8, width);
  for (const int top_k : {1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 17})
    testCombine<float, float, float>(64, top_k, 20, 40);
  testCombine<float, float, float>(300, 8, 64, 512);
}

TEST(Combine, TypesAndMixes) {
  testCombine<double, double, double>(40, 3, 8, 70);
  testCombine<double, float, float>(40, 3, 8, 70);
  testCombine<float, double, double>(40, 3, 8, 70);
  testCombine<half_t, float, half_t>(40, 3, 8, 70);
  testCombine<bhalf_t, float, bhalf_t>(40, 8, 16, 70);
  testCombine<bhalf_t, bhalf_t, float>(40, 3, 8, 70);
  testCombine<float, float, bhalf_t>(40, 3, 8, 70);
}

template <class Value, class Result>
void testPlainSumOnto(int width, double beta, int capacity) {
  SCOPED_TRACE("H=" + std::to_string(width) + " beta=" + std::to_string(beta));
  using Sum = std::conditional_t<std::is_same_v<Value, double>, double, float>;
  Random random;
  const ExecutionSpace space;
  const int num_tokens = 90, top_k = 3, num_experts = 8;
  const auto ids = random.ids(num_tokens * top_k, num_experts, true, true);
  Reference::Options known;
  known.capacity      = capacity;
  const auto expected = Reference::makePlan(ids, top_k, num_experts, known);
  const auto plan     = Tokkos::buildDispatchPlan(
      space, makeMatrix(ids, top_k), num_experts, {.capacity = capacity});
  auto rows = random.reals<Value>(std::size_t(expected.num_rows) * width);
  const auto weights = random.reals<float>(num_tokens * top_k);
  const auto before =
      random.reals<Result>(std::size_t(num_tokens) * width, -3, 3);
  auto plain = Reference::combine<Sum>(
      expected, rows, std::vector<float>(weights.size(), 1), width, top_k);
  auto weighted =
      Reference::combine<Sum>(expected, rows, weights, width, top_k);
  if (beta != 0) {
    const auto scale = static_cast<Sum>(beta);
    Reference::addScaled(expected, plain, scale, before, width, top_k);
    Reference::addScaled(expected, weighted, scale, before, width, top_k);
  }

  Matrix<Value> batch("batch", plan.max_rows, width);
  rows.resize(batch.size(), poison<Value>());
  fromVector(batch, rows);
  const auto output = makeMatrix(before, std::max(width, 1));
  Tokkos::combine(space, plan, batch, output, {.beta = beta});
  EXPECT_TRUE(sameBits(rounded<Result>(plain), toVector(output)));
  fromVector(output, before);
  Tokkos::combine(space, plan, batch, makeMatrix(weights, top_k), output,
                  {.beta = beta});
  EXPECT_TRUE(sameBits(rounded<Result>(weighted), toVector(output)));
}

TEST(Combine, PlainSumsAndSumsOntoTheOutput) {
  for (const double beta : {0.0, 1.0, -0.7})
    for (const int capacity : {0, 4}) {
      testPlainSumOnto<float, float>(64, beta, capacity);
      testPlainSumOnto<float, float>(17, beta, capacity);
      testPlainSumOnto<double, double>(33, beta, capacity);
      testPlainSumOnto<bhalf_t, bhalf_t>(40, beta, capacity);
      testPlainSumOnto<bhalf_t, float>(1000, beta, capacity);
      testPlainSumOnto<float, half_t>(24, beta, capacity);
    }
}

TEST(Combine, WithoutBetaTheOutputIsNotRead) {
  const ExecutionSpace space;
  const auto plan =
      Tokkos::buildDispatchPlan(space, makeMatrix<int>({0, -1}, 1), 2);
  const Matrix<float> output("output", 2, 8);
  fromVector(output, std::vector<float>(16, NAN));
  Tokkos::combine(space, plan, makeMatrix(std::vector<float>(16, 3), 8),
                  output);
  std::vector<float> expected(8, 3);
  expected.resize(16, 0);
  EXPECT_TRUE(sameBits(expected, toVector(output)));
}

template <class Value, class Result>
void testModelSizedRows() {
  testCombine<Value, float, Result>(6, 8, 20, 7168);
  testCombine<Value, float, Result>(3, 2, 4, 7167);
}

TEST(Combine, ModelSizedRows) {
  testModelSizedRows<float, float>();
  testModelSizedRows<bhalf_t, bhalf_t>();
  testModelSizedRows<half_t, float>();
  testModelSizedRows<float, bhalf_t>();
  testModelSizedRows<double, float>();
}

TEST(Combine, Layouts) {
  testCombine<float, float, float, LeftMatrix<float>, LeftMatrix<float>>(60, 3,
                                                                         8, 33);
  testCombine<bhalf_t, float, float, Matrix<bhalf_t>, LeftMatrix<float>>(60, 3,
                                                                         8, 33);
}

TEST(Combine, TokensWithoutRowsGetZeros) {
  testCombine<float, float, float>(500, 2, 4, 12, 3);
  const ExecutionSpace space;
  const auto plan =
      Tokkos::buildDispatchPlan(space, makeMatrix<int>({-1, 7}, 2), 4);
  const Matrix<float> batch("batch", 2, 3), output("output", 1, 3);
  fromVector(batch, std::vector<float>(6, NAN));
  fromVector(output, std::vector<float>(3, NAN));
  Tokkos::combine(space, plan, batch, makeMatrix<float>({1, 1}, 2), output);
  EXPECT_TRUE(sameBits(std::vector<float>(3, 0.0f), toVector(output)));
}

TEST(Combine, UndoesPermuteWithOneChoiceAndWeightOne) {
  Random random;
  const ExecutionSpace space;
  const int num_tokens = 333, width = 21;
  auto x          = random.reals<float>(num_tokens * width);
  x[0]            = -0.0f;
  x[1]            = std::numeric_limits<float>::infinity();
  x[2]            = std::numeric_limits<float>::denorm_min();
  const auto plan = Tokkos::buildDispatchPlan(
      space, makeMatrix(random.ids(num_tokens, 12), 1), 12);
  const Matrix<float> batch("batch", plan.max_rows, width);
  const Matrix<float> output("output", num_tokens, width);
  Tokkos::permute(space, plan, makeMatrix(x, width), batch);
  Tokkos::combine(space, plan, batch,
                  makeMatrix(std::vector<float>(num_tokens, 1.0f), 1), output);
  EXPECT_TRUE(sameBits(x, toVector(output)));
}

TEST(Combine, AWeightOfZeroIsAWeight) {
  const ExecutionSpace space;
  const auto plan =
      Tokkos::buildDispatchPlan(space, makeMatrix<int>({0, 1}, 2), 2);
  const auto batch =
      makeMatrix<float>({std::numeric_limits<float>::infinity(), 1.0f}, 1);
  const Matrix<float> output("output", 1, 1);
  Tokkos::combine(space, plan, batch, makeMatrix<float>({0, 1}, 2), output);
  EXPECT_TRUE(std::isnan(toVector(output)[0]));  // 0 * infinity
}

TEST(Combine, RoundsAfterEveryOperation) {
  // a * a = 1 + 2^-11 + 2^-24 rounds to 1 + 2^-11; a fused multiply-add would
  // keep the 2^-24.
  const float a        = 1 + std::ldexp(1.0f, -12);
  const float a_square = 1 + std::ldexp(1.0f, -11);
  const ExecutionSpace space;
  const auto plan =
      Tokkos::buildDispatchPlan(space, makeMatrix<int>({0, 1}, 2), 2);
  const Matrix<float> output("output", 1, 64);
  std::vector<float> rows(64, 1.0f);
  rows.resize(128, a);
  Tokkos::combine(space, plan, makeMatrix(rows, 64),
                  makeMatrix<float>({-a_square, a}, 2), output);
  EXPECT_TRUE(sameBits(std::vector<float>(64, 0.0f), toVector(output)));
}

TEST(Combine, AnyStride) {
  Random random;
  const ExecutionSpace space;
  const int num_tokens = 30, top_k = 3, width = 19;
  const auto ids      = random.ids(num_tokens * top_k, 6, false, true);
  const auto expected = Reference::makePlan(ids, top_k, 6);
  const auto plan = Tokkos::buildDispatchPlan(space, makeMatrix(ids, top_k), 6);
  auto rows       = random.reals<float>(std::size_t(plan.max_rows) * width);
  const auto weights = random.reals<float>(num_tokens * top_k);
  StridedMatrix<float> batch(plan.max_rows, width, 60, 3, 1);
  StridedMatrix<float> gates(num_tokens, top_k, 1, num_tokens + 2, 4);
  StridedMatrix<float> output(num_tokens, width, 23, 1, 2);
  batch.set(rows);
  gates.set(weights);
  Tokkos::combine(space, plan, batch.view(), gates.view(), output.view());
  EXPECT_TRUE(
      sameBits(Reference::combine<float>(expected, rows, weights, width, top_k),
               output.get()));
  EXPECT_TRUE(output.surroundingsUntouched());
}

template <class Layout, class Value, class Weight, class Result>
void testPlacement(Setting& s, const Placement& placement, int width) {
  using Sum = std::conditional_t<std::is_same_v<Value, double>, double, float>;
  const auto columns = static_cast<std::size_t>(width);
  const auto rows    = rowsAmongNan<Value>(s, width);
  const auto weights = s.random.reals<Weight>(s.numAssignments(), -1, 1);
  auto batch         = placed<Value>(placement, s.plan.max_rows, columns);
  const auto output  = placed<Result>(placement, s.num_tokens, columns);
  batch.set(rows);
  Tokkos::combine(s.space, s.plan, viewAs<Layout>(batch),
                  makeMatrix(weights, s.top_k), viewAs<Layout>(output));
  EXPECT_TRUE(sameBits(rounded<Result>(Reference::combine<Sum>(
                           s.expected, rows, weights, width, s.top_k)),
                       output.get()));
  EXPECT_TRUE(output.surroundingsUntouched());
}

template <class Value, class Weight = float, class Result = Value>
void testPlacements() {
  Setting s{9, 3, 4, 5, 4};
  forEachPlacementAndWidth(
      [&]<class Layout>(const Placement& placement, int width) {
        testPlacement<Layout, Value, Weight, Result>(s, placement, width);
      });
}

TEST(Combine, EveryPlacementAndWidth) {
  testPlacements<float>();
  testPlacements<double, double>();
  testPlacements<half_t>();
  testPlacements<bhalf_t>();
  testPlacements<half_t, half_t, float>();
  testPlacements<bhalf_t, bhalf_t, half_t>();
  testPlacements<float, double, bhalf_t>();
  testPlacements<double, float, float>();
}

TEST(Combine, DoesNotDependOnOtherTokens) {
  Random random;
  const ExecutionSpace space;
  const int num_tokens = 200, top_k = 4, width = 37, num_experts = 10;
  const auto ids      = random.ids(num_tokens * top_k, num_experts);
  const auto x        = random.reals<float>(num_tokens * width);
  const auto weights  = random.reals<float>(num_tokens * top_k);
  const auto outputOf = [&](int begin, int end) {
    const auto part = [&](const auto& all, int columns) {
      return makeMatrix(
          std::remove_cvref_t<decltype(all)>(all.begin() + begin * columns,
                                             all.begin() + end * columns),
          columns);
    };
    const auto plan =
        Tokkos::buildDispatchPlan(space, part(ids, top_k), num_experts);
    const Matrix<float> batch("batch", plan.max_rows, width);
    const Matrix<float> output("output", end - begin, width);
    Tokkos::permute(space, plan, part(x, width), batch);
    Tokkos::combine(space, plan, batch, part(weights, top_k), output);
    return toVector(output);
  };
  const auto all = outputOf(0, num_tokens);
  for (const int t : {0, 1, 99, 199})
    EXPECT_TRUE(sameBits(std::vector<float>(all.begin() + t * width,
                                            all.begin() + (t + 1) * width),
                         outputOf(t, t + 1)));
}

TEST(Combine, MisuseIsNamed) {
  const ExecutionSpace space;
  const auto plan =
      Tokkos::buildDispatchPlan(space, makeMatrix<int>({1, 0, 1, 1}, 2), 2);
  const Matrix<float> batch("batch", 4, 5), weights("weights", 2, 2),
      output("output", 2, 5);
  const auto combined = [&](const auto& b, const auto& w, const auto& o) {
    return messageOf([&] { Tokkos::combine(space, plan, b, w, o); });
  };
  EXPECT_EQ(
      "Tokkos::combine: batch.extent(0): expected 4 or more "
      "(plan.maxRows(plan.num_tokens)), got 3",
      combined(Matrix<float>("batch", 3, 5), weights, output));
  EXPECT_EQ(
      "Tokkos::combine: weights.extent(0): expected 2 "
      "(plan.num_tokens), got 1",
      combined(batch, Matrix<float>("weights", 1, 2), output));
  EXPECT_EQ(
      "Tokkos::combine: weights.extent(1): expected 2 (plan.top_k), got 3",
      combined(batch, Matrix<float>("weights", 2, 3), output));
  EXPECT_EQ(
      "Tokkos::combine: output.extent(0): expected 2 (plan.num_tokens), "
      "got 3",
      combined(batch, weights, Matrix<float>("output", 3, 5)));
  EXPECT_EQ(
      "Tokkos::combine: output.extent(1): expected 5 (batch.extent(1)), "
      "got 4",
      combined(batch, weights, Matrix<float>("output", 2, 4)));
  EXPECT_EQ(
      "Tokkos::combine: batch and output: expected separate memory, got "
      "Views that share memory",
      combined(batch, weights,
               Kokkos::subview(batch, Kokkos::make_pair(1, 3), Kokkos::ALL)));
  const Matrix<float> narrow("narrow", 2, 2), thin("thin", 4, 2);
  EXPECT_EQ(
      "Tokkos::combine: weights and output: expected separate memory, "
      "got Views that share memory",
      combined(thin, narrow, narrow));
}

}  // namespace Test
