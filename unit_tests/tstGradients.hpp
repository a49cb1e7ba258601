// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// SPDX-FileCopyrightText: Copyright Contributors to the Tokkos project

#include "RowCases.hpp"

// permuteGradient and combineGradient: the right derivatives, in a fixed order.
namespace Test {

using half_t  = Tokkos::KokkosExt::half_t;
using bhalf_t = Tokkos::KokkosExt::bhalf_t;

template <class Value, class Result = Value, class Layout = Kokkos::LayoutRight>
void testPermuteGradient(Setting& s, int width,
                         const Placement& placement = {}) {
  SCOPED_TRACE("H=" + std::to_string(width));
  using Sum = std::conditional_t<std::is_same_v<Value, double>, double, float>;
  const auto columns = static_cast<std::size_t>(width);
  const auto rows    = rowsAmongNan<Value>(s, width);
  const auto sums    = Reference::combine<Sum>(
      s.expected, rows, std::vector<float>(s.numAssignments(), 1), width,
      s.top_k);
  auto batch        = placed<Value>(placement, s.plan.max_rows, columns);
  const auto tokens = placed<Result>(placement, s.num_tokens, columns);
  batch.set(rows);
  Tokkos::permuteGradient(s.space, s.plan, viewAs<Layout>(batch),
                          viewAs<Layout>(tokens));
  EXPECT_TRUE(sameBits(rounded<Result>(sums), tokens.get()));
  EXPECT_TRUE(tokens.surroundingsUntouched());
}

template <class Value, class Result = Value>
void testPlacementsOfPermuteGradient() {
  Setting s{9, 3, 4, 5, 4};
  forEachPlacementAndWidth(
      [&]<class Layout>(const Placement& placement, int width) {
        testPermuteGradient<Value, Result, Layout>(s, width, placement);
      });
}

TEST(Gradients, OfPermuteAtEveryPlacementAndWidth) {
  testPlacementsOfPermuteGradient<float>();
  testPlacementsOfPermuteGradient<double>();
  testPlacementsOfPermuteGradient<half_t>();
  testPlacementsOfPermuteGradient<bhalf_t>();
  testPlacementsOfPermuteGradient<half_t, float>();
  testPlacementsOfPermuteGradient<float, bhalf_t>();
  testPlacementsOfPermuteGradient<double, float>();
}

TEST(Gradients, OfPermute) {
  for (const int top_k : {1, 2, 3, 4, 5, 6, 8, 9}) {
    Setting s{120, top_k, 12, 30, 4};
    testPermuteGradient<float>(s, 40);
    testPermuteGradient<bhalf_t>(s, 41);
  }
}

/// The types of output_gradient, batch, weights and of the two results.
template <class Gradient, class Value, class Weight, class RowsGradient = Value,
          class WeightsGradient = Weight>
struct Types {
  using Sum = std::conditional_t<std::is_same_v<Value, double>, double, float>;

  template <class Layout = Kokkos::LayoutRight>
  static void test(Setting& s, int width, const Placement& placement = {}) {
    SCOPED_TRACE("T=" + std::to_string(s.num_tokens) + " K=" +
                 std::to_string(s.top_k) + " H=" + std::to_string(width));
    const auto columns = static_cast<std::size_t>(width);
    const auto gradient =
        s.random.reals<Gradient>(s.num_tokens * columns, -2, 2);
    const auto rows     = rowsAmongNan<Value>(s, width);
    const auto weights  = s.random.reals<Weight>(s.numAssignments(), -1, 1);
    const auto expected = Reference::combineGradient<Sum>(
        s.expected, gradient, rows, weights, width, s.top_k);

    auto output_gradient = placed<Gradient>(placement, s.num_tokens, columns);
    auto batch           = placed<Value>(placement, s.plan.max_rows, columns);
    const auto batch_gradient =
        placed<RowsGradient>(placement, s.plan.max_rows, columns);
    const auto weights_gradient =
        placed<WeightsGradient>({true, 2, 1}, s.num_tokens, s.top_k);
    output_gradient.set(gradient);
    batch.set(rows);
    Tokkos::combineGradient(s.space, s.plan, viewAs<Layout>(output_gradient),
                            viewAs<Layout>(batch), makeMatrix(weights, s.top_k),
                            viewAs<Layout>(batch_gradient),
                            weights_gradient.view());

    // Rows past the last one keep their poison.
    auto rows_gradient = rounded<RowsGradient>(expected.batch);
    rows_gradient.resize(rows.size(), poison<RowsGradient>());
    EXPECT_TRUE(sameBits(rows_gradient, batch_gradient.get()));
    EXPECT_TRUE(batch_gradient.surroundingsUntouched());
    EXPECT_TRUE(sameBits(rounded<WeightsGradient>(expected.weights),
                         weights_gradient.get()));
    EXPECT_TRUE(weights_gradient.surroundingsUntouched());
  }

  static void testPlacements() {
    Setting s{9, 3, 4, 5, 4};
    forEachPlacementAndWidth(
        [&]<class Layout>(const Placement& placement, int width) {
          test<Layout>(s, width, placement);
        });
  }
};

TEST(Gradients, OfCombineAtEveryPlacementAndWidth) {
  Types<float, float, float>::testPlacements();
  Types<double, double, double>::testPlacements();
  Types<half_t, half_t, half_t>::testPlacements();
  Types<bhalf_t, bhalf_t, float>::testPlacements();
  Types<float, bhalf_t, float>::testPlacements();
  Types<float, double, float>::testPlacements();
  Types<bhalf_t, bhalf_t, bhalf_t, float, double>::testPlacements();
}

TEST(Gradients, OfCombine) {
  Setting s{50, 3, 8, 12, 4};
  for (const int width : {17, 64, 1032}) {
    Types<float, float, float>::test(s, width);
    Types<bhalf_t, bhalf_t, float>::test(s, width);
  }
}

TEST(Gradients, OfCombineForAnyNumberOfChoices) {
  for (const int top_k : {1, 2, 4, 5, 7, 8, 9, 16, 17}) {
    Setting s{30, top_k, 20, 0, 1};
    Types<float, float, float>::test(s, 40);
    Types<bhalf_t, bhalf_t, float>::test(s, 40);
  }
}

TEST(Gradients, OfNothing) {
  Setting none{0, 2, 4, 0, 3};
  Types<float, float, float>::test(none, 8);
  testPermuteGradient<float>(none, 8);
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
