// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// SPDX-FileCopyrightText: Copyright Contributors to the Tokkos project

#include "TestSupport.hpp"

// permuteGradient and combineGradient: the right derivatives, in a fixed order.
namespace Test {

using half_t  = Tokkos::KokkosExt::half_t;
using bhalf_t = Tokkos::KokkosExt::bhalf_t;

/// A plan with bad ids, drops and padding, and what the reference says of it.
struct Setting {
  int num_tokens, top_k, num_experts, capacity, alignment;
  Random random{};
  ExecutionSpace space{};
  std::vector<int> ids =
      random.ids(std::size_t(num_tokens) * top_k, num_experts, true, true);
  Reference::Plan expected =
      Reference::makePlan(ids, top_k, num_experts, options());
  Tokkos::DispatchPlan<MemorySpace> plan =
      Tokkos::buildDispatchPlan(space, makeMatrix(ids, top_k), num_experts,
                                {.capacity = capacity, .alignment = alignment});

  Reference::Options options() const {
    Reference::Options known;
    known.capacity  = capacity;
    known.alignment = alignment;
    return known;
  }

  std::size_t numAssignments() const { return std::size_t(num_tokens) * top_k; }
};

template <class To, class From>
std::vector<To> rounded(const std::vector<From>& values) {
  std::vector<To> result;
  for (const From& value : values)
    result.push_back(static_cast<To>(value));
  return result;
}

/// Rows for the whole batch, of which those that the plan does not use, padding
/// among them, are NaN: nobody may read them.
template <class Value>
std::vector<Value> rowsAmongNan(Setting& s, int width) {
  auto rows =
      s.random.reals<Value>(std::size_t(s.plan.max_rows) * width, -2, 2);
  for (std::size_t r = 0; r < std::size_t(s.plan.max_rows); ++r)
    if (r >= s.expected.assignment_of_row.size() ||
        s.expected.assignment_of_row[r] < 0)
      std::fill_n(rows.begin() + r * width, width, static_cast<Value>(NAN));
  return rows;
}

template <class Value, class Result>
void testPermuteGradient(Setting& s, int width) {
  SCOPED_TRACE("H=" + std::to_string(width));
  using Sum = std::conditional_t<std::is_same_v<Value, double>, double, float>;
  const auto rows = rowsAmongNan<Value>(s, width);
  const auto sums = Reference::combine<Sum>(
      s.expected, rows, std::vector<float>(s.numAssignments(), 1), width,
      s.top_k);
  const Matrix<Value> batch("batch", s.plan.max_rows, width);
  fromVector(batch, rows);
  const Matrix<Result> tokens("tokens", s.num_tokens, width);
  fromVector(tokens, std::vector<Result>(tokens.size(), poison<Result>()));
  Tokkos::permuteGradient(s.space, s.plan, batch, tokens);
  EXPECT_TRUE(sameBits(rounded<Result>(sums), toVector(tokens)));
}

TEST(Gradients, OfPermute) {
  Setting s{120, 3, 8, 20, 4};
  for (const int width :
       {0, 1, 2, 3, 7, 8, 15, 16, 17, 31, 63, 64, 100, 1000}) {
    testPermuteGradient<float, float>(s, width);
    testPermuteGradient<bhalf_t, bhalf_t>(s, width);
  }
  testPermuteGradient<double, double>(s, 40);
  testPermuteGradient<half_t, float>(s, 40);
  testPermuteGradient<float, bhalf_t>(s, 40);
}

template <class Gradient, class Value, class Weight>
void testCombineGradient(Setting& s, int width, std::size_t gap = 0,
                         std::size_t offset = 0) {
  SCOPED_TRACE("T=" + std::to_string(s.num_tokens) +
               " K=" + std::to_string(s.top_k) + " H=" + std::to_string(width) +
               " gap=" + std::to_string(gap));
  using Sum = std::conditional_t<std::is_same_v<Value, double>, double, float>;
  const auto columns  = static_cast<std::size_t>(width);
  const auto gradient = s.random.reals<Gradient>(s.num_tokens * columns, -2, 2);
  const auto rows     = rowsAmongNan<Value>(s, width);
  const auto weights  = s.random.reals<Weight>(s.numAssignments(), -1, 1);
  const auto expected = Reference::combineGradient<Sum>(
      s.expected, gradient, rows, weights, width, s.top_k);

  StridedMatrix<Gradient> output_gradient(s.num_tokens, columns, columns + gap,
                                          1, offset);
  StridedMatrix<Value> batch(s.plan.max_rows, columns, columns + gap, 1,
                             offset);
  StridedMatrix<Value> batch_gradient(s.plan.max_rows, columns, columns + gap,
                                      1, offset);
  StridedMatrix<Weight> weights_gradient(s.num_tokens, s.top_k, 1,
                                         s.num_tokens + 1, 2);
  output_gradient.set(gradient);
  batch.set(rows);
  Tokkos::combineGradient(s.space, s.plan, output_gradient.view(), batch.view(),
                          makeMatrix(weights, s.top_k), batch_gradient.view(),
                          weights_gradient.view());

  auto rows_gradient = rounded<Value>(expected.batch);
  rows_gradient.resize(rows.size(), poison<Value>());
  EXPECT_TRUE(sameBits(rows_gradient, batch_gradient.get()));
  EXPECT_TRUE(batch_gradient.surroundingsUntouched());
  EXPECT_TRUE(
      sameBits(rounded<Weight>(expected.weights), weights_gradient.get()));
  EXPECT_TRUE(weights_gradient.surroundingsUntouched());
}

TEST(Gradients, OfCombine) {
  Setting s{50, 3, 8, 12, 4};
  for (const int width :
       {0, 1, 2, 3, 7, 8, 15, 16, 17, 31, 63, 64, 100, 1000, 1032, 7168}) {
    testCombineGradient<float, float, float>(s, width);
    testCombineGradient<bhalf_t, bhalf_t, float>(s, width);
    if (testing::Test::HasFailure()) return;
  }
  testCombineGradient<float, float, float>(s, 48, 3, 1);
  testCombineGradient<double, double, double>(s, 200);
  testCombineGradient<float, double, float>(s, 200);
  testCombineGradient<half_t, half_t, half_t>(s, 200);
  testCombineGradient<float, bhalf_t, float>(s, 200);
}

TEST(Gradients, OfCombineForAnyNumberOfChoices) {
  for (const int top_k : {1, 2, 4, 5, 7, 8, 9, 16, 17}) {
    Setting s{30, top_k, 20, 0, 1};
    testCombineGradient<float, float, float>(s, 40);
    testCombineGradient<bhalf_t, bhalf_t, float>(s, 40);
  }
}

TEST(Gradients, OfNothing) {
  Setting none{0, 2, 4, 0, 3};
  testCombineGradient<float, float, float>(none, 8);
  testPermuteGradient<float, float>(none, 8);
}

/// sum over t, h of c(t, h) * combine(permute(x), weights)(t, h), a number
/// whose derivatives the two verbs give together.
double objective(const Setting& s, const std::vector<double>& x,
                 const std::vector<double>& weights,
                 const std::vector<double>& c, int width) {
  const auto rows = Reference::permute(s.expected, x, width, s.top_k);
  const auto sums =
      Reference::combine<double>(s.expected, rows, weights, width, s.top_k);
  double sum = 0;
  for (std::size_t i = 0; i < sums.size(); ++i)
    sum += c[i] * sums[i];
  return sum;
}

TEST(Gradients, AgreeWithFiniteDifferences) {
  Setting s{9, 2, 4, 5, 2};
  const int width = 6;
  auto x          = s.random.reals<double>(s.num_tokens * width, -1, 1);
  auto weights    = s.random.reals<double>(s.numAssignments(), -1, 1);
  const auto c    = s.random.reals<double>(s.num_tokens * width, -1, 1);

  const Matrix<double> batch("batch", s.plan.max_rows, width),
      batch_gradient("batch_gradient", s.plan.max_rows, width),
      tokens_gradient("tokens_gradient", s.num_tokens, width),
      weights_gradient("weights_gradient", s.num_tokens, s.top_k);
  Tokkos::permute(s.space, s.plan, makeMatrix(x, width), batch);
  Tokkos::combineGradient(s.space, s.plan, makeMatrix(c, width), batch,
                          makeMatrix(weights, s.top_k), batch_gradient,
                          weights_gradient);
  Tokkos::permuteGradient(s.space, s.plan, batch_gradient, tokens_gradient);

  // The objective is linear in x and in the weights, so that a difference has
  // no error but that of rounding, some 1e-16 / step.
  const double step  = 1e-3;
  const auto compare = [&](std::vector<double>& argument,
                           const std::vector<double>& gradient) {
    ASSERT_EQ(argument.size(), gradient.size());
    for (std::size_t i = 0; i < argument.size(); ++i) {
      const double value = argument[i];
      argument[i]        = value + step;
      const double above = objective(s, x, weights, c, width);
      argument[i]        = value - step;
      const double below = objective(s, x, weights, c, width);
      argument[i]        = value;
      EXPECT_NEAR((above - below) / (2 * step), gradient[i], 1e-11);
    }
  };
  compare(x, toVector(tokens_gradient));
  compare(weights, toVector(weights_gradient));
}

TEST(Gradients, MisuseIsNamed) {
  const ExecutionSpace space;
  const auto plan =
      Tokkos::buildDispatchPlan(space, makeMatrix<int>({1, 0, 1, 1}, 2), 2);
  const Matrix<float> batch("batch", 4, 5), batch_gradient("gradient", 4, 5),
      tokens("tokens", 2, 5), weights("weights", 2, 2),
      weights_gradient("gradient", 2, 2);
  const auto permuted = [&](const auto& b, const auto& t) {
    return messageOf([&] { Tokkos::permuteGradient(space, plan, b, t); });
  };
  EXPECT_EQ(
      "Tokkos::permuteGradient: batch_gradient.extent(0): expected 4 or more "
      "(plan.maxRows(plan.num_tokens)), got 3",
      permuted(Matrix<float>("b", 3, 5), tokens));
  EXPECT_EQ(
      "Tokkos::permuteGradient: tokens_gradient.extent(1): expected 5 "
      "(batch_gradient.extent(1)), got 4",
      permuted(batch, Matrix<float>("t", 2, 4)));
  EXPECT_EQ(
      "Tokkos::permuteGradient: batch_gradient and tokens_gradient: expected "
      "separate memory, got Views that share memory",
      permuted(batch,
               Kokkos::subview(batch, Kokkos::make_pair(0, 2), Kokkos::ALL)));

  const auto combined = [&](const auto& g, const auto& w, const auto& bg,
                            const auto& wg) {
    return messageOf(
        [&] { Tokkos::combineGradient(space, plan, g, batch, w, bg, wg); });
  };
  EXPECT_EQ(
      "Tokkos::combineGradient: output_gradient.extent(0): expected 2 "
      "(plan.num_tokens), got 3",
      combined(Matrix<float>("g", 3, 5), weights, batch_gradient,
               weights_gradient));
  EXPECT_EQ(
      "Tokkos::combineGradient: batch_gradient.extent(1): expected 5 "
      "(batch.extent(1)), got 6",
      combined(tokens, weights, Matrix<float>("b", 4, 6), weights_gradient));
  EXPECT_EQ(
      "Tokkos::combineGradient: weights_gradient.extent(1): expected 2 "
      "(plan.top_k), got 3",
      combined(tokens, weights, batch_gradient, Matrix<float>("w", 2, 3)));
  EXPECT_EQ(
      "Tokkos::combineGradient: weights and weights_gradient: expected "
      "separate memory, got Views that share memory",
      combined(tokens, weights, batch_gradient, weights));
  EXPECT_EQ(
      "Tokkos::combineGradient: batch and batch_gradient: expected separate "
      "memory, got Views that share memory",
      combined(tokens, weights, batch, weights_gradient));
}

}  // namespace Test
