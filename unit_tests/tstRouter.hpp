// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// SPDX-FileCopyrightText: Copyright Contributors to the Tokkos project

#include "TestSupport.hpp"

// routeTopK against the plain-loop reference: ids exactly, weights to rounding.
namespace Test {

using half_t  = Tokkos::KokkosExt::half_t;
using bhalf_t = Tokkos::KokkosExt::bhalf_t;

template <class Logit, class Id = int, class Weight = float,
          class Logits = Matrix<Logit>>
void testRoute(const std::vector<Logit>& logits, int num_experts, int top_k,
               Tokkos::Score score, bool normalize) {
  SCOPED_TRACE("T=" + std::to_string(logits.size() / num_experts) + " E=" +
               std::to_string(num_experts) + " K=" + std::to_string(top_k) +
               (normalize ? " normalized" : ""));
  const std::size_t num_tokens = logits.size() / num_experts;
  const Matrix<Id> ids("ids", num_tokens, top_k);
  const Matrix<Weight> weights("weights", num_tokens, top_k);
  Kokkos::deep_copy(ids, Id(-77));
  Kokkos::deep_copy(weights, Weight(-77));
  Logits d_logits("logits", num_tokens, num_experts);
  fromVector(d_logits, logits);
  Tokkos::routeTopK(ExecutionSpace(), d_logits, ids, weights,
                    {.score = score, .normalize = normalize});

  using Real = std::conditional_t<std::is_same_v<Logit, double>, double, float>;
  std::vector<Real> values;
  for (const Logit x : logits)
    values.push_back(static_cast<Real>(x));
  const auto expected = Reference::routeTopK(
      values, num_experts, top_k,
      score == Tokkos::Score::softmax ? Reference::Score::softmax
                                      : Reference::Score::selected_softmax,
      normalize);

  const auto actual_ids = toVector(ids);
  EXPECT_EQ(expected.ids,
            std::vector<int>(actual_ids.begin(), actual_ids.end()));
  // A handful of roundings, and one for each term of the partial sums.
  const double unit =
      std::is_same_v<Real, double> && std::is_same_v<Weight, double> ? 0x1p-53
                                                                     : 0x1p-24;
  const double bound     = unit * (16 + num_experts / 32 + 2 * top_k);
  const auto actual      = toVector(weights);
  std::size_t num_beyond = 0;
  for (std::size_t i = 0; i < actual.size(); ++i)
    // Below the smallest normal number a weight has fewer digits.
    if (!(std::abs(actual[i] - expected.weights[i]) <=
          bound * expected.weights[i] + 1e-37) &&
        num_beyond++ == 0)
      ADD_FAILURE() << "weight " << i << ": expected " << expected.weights[i]
                    << ", got " << actual[i];
  EXPECT_EQ(0u, num_beyond);
}

template <class Logit>
void testAllOptions(const std::vector<Logit>& logits, int num_experts,
                    int top_k) {
  for (const auto score :
       {Tokkos::Score::softmax, Tokkos::Score::selected_softmax})
    for (const bool normalize : {false, true})
      testRoute(logits, num_experts, top_k, score, normalize);
}

TEST(Router, HandWrittenExample) {
  const ExecutionSpace space;
  const Matrix<int> ids("ids", 1, 2);
  const Matrix<float> weights("weights", 1, 2);
  // Softmax of (ln 1, ln 2, ln 5, ln 2): 0.1, 0.2, 0.5, 0.2.
  const auto logits = makeMatrix<float>(
      {0.0f, std::log(2.0f), std::log(5.0f), std::log(2.0f)}, 4);
  Tokkos::routeTopK(space, logits, ids, weights);
  EXPECT_EQ((std::vector<int>{2, 1}), toVector(ids));
  EXPECT_NEAR(0.5, toVector(weights)[0], 1e-6);
  EXPECT_NEAR(0.2, toVector(weights)[1], 1e-6);
  Tokkos::routeTopK(space, logits, ids, weights, {.normalize = true});
  EXPECT_NEAR(5.0 / 7, toVector(weights)[0], 1e-6);
  EXPECT_NEAR(2.0 / 7, toVector(weights)[1], 1e-6);
  Tokkos::routeTopK(space, logits, ids, weights,
                    {.score = Tokkos::Score::selected_softmax});
  EXPECT_NEAR(5.0 / 7, toVector(weights)[0], 1e-6);
  EXPECT_NEAR(2.0 / 7, toVector(weights)[1], 1e-6);
}

TEST(Router, EverySmallCaseOfTiesAndSpecialValues) {
  // All rows of up to four experts over a set with ties, both zeros,
  // infinities and NaN.
  const float infinity         = std::numeric_limits<float>::infinity();
  const std::vector<float> set = {0.0f,
                                  -0.0f,
                                  1.0f,
                                  -1.0f,
                                  infinity,
                                  -infinity,
                                  std::numeric_limits<float>::quiet_NaN()};
  for (int num_experts = 1; num_experts <= 4; ++num_experts) {
    std::size_t rows = 1;
    for (int e = 0; e < num_experts; ++e)
      rows *= set.size();
    std::vector<float> logits;
    for (std::size_t row = 0; row < rows; ++row) {
      std::size_t digits = row;
      for (int e = 0; e < num_experts; ++e, digits /= set.size())
        logits.push_back(set[digits % set.size()]);
    }
    for (int top_k = 1; top_k <= num_experts; ++top_k)
      testAllOptions(logits, num_experts, top_k);
  }
}

TEST(Router, NumbersOfTokensAndExperts) {
  Random random;
  for (const int num_tokens : {0, 1, 2, 3, 31, 32, 33, 127, 128, 129, 1025})
    testRoute(random.reals<float>(num_tokens * 16), 16, 2,
              Tokkos::Score::softmax, true);
  for (const int num_experts : {1, 2, 3, 7, 8, 31, 33, 72, 96, 128, 160, 256,
                                257, 384, 512, 1024, 4096})
    testRoute(random.reals<float>(20 * num_experts), num_experts,
              std::min(8, num_experts), Tokkos::Score::softmax, true);
}

TEST(Router, ManyChoices) {
  Random random;
  testAllOptions(random.reals<float>(9 * 40), 40, 40);  // K = E
  testAllOptions(random.reals<float>(9 * 100), 100, 33);
}

TEST(Router, ManyTies) {
  Random random;
  std::vector<float> logits(200 * 64);
  for (float& x : logits)
    x = static_cast<float>(random.integer(-2, 2));
  testAllOptions(logits, 64, 8);
}

TEST(Router, ExcludedExperts) {
  Random random;
  const float infinity = std::numeric_limits<float>::infinity();
  auto logits          = random.reals<float>(100 * 24);
  for (int t = 0; t < 100; ++t)
    for (int e = 0; e < 24; ++e)
      if (random.chance(t * 0.01))
        logits[t * 24 + e] = random.chance(0.5) ? NAN : -infinity;
  for (int e = 0; e < 24; ++e)
    logits[99 * 24 + e] = NAN;
  for (int e = 0; e < 24; ++e)
    logits[98 * 24 + e] = -infinity;
  testAllOptions(logits, 24, 6);
}

TEST(Router, FarApartLogits) {
  testAllOptions(
      std::vector<float>{1e30f, -1e30f, 3e38f, -3e38f, 88, -88, 0, -1000}, 8,
      4);
  testAllOptions(
      std::vector<double>{1e300, -1e300, 1e308, -1e308, 700, -700, 0, -1000}, 8,
      4);
}

TEST(Router, Types) {
  Random random;
  const auto softmax = Tokkos::Score::softmax;
  testRoute<double, std::int64_t, double>(random.reals<double>(300 * 32), 32, 4,
                                          softmax, true);
  testRoute<double>(random.reals<double>(300 * 32), 32, 4, softmax, false);
  testRoute<float, std::int64_t, double>(random.reals<float>(300 * 32), 32, 4,
                                         softmax, false);
  testRoute(random.reals<half_t>(300 * 32), 32, 4, softmax, true);
  testRoute(random.reals<bhalf_t>(300 * 32), 32, 4, softmax, true);
}

TEST(Router, Layouts) {
  Random random;
  const auto logits = random.reals<float>(100 * 12);
  testRoute<float, int, float, LeftMatrix<float>>(logits, 12, 3,
                                                  Tokkos::Score::softmax, true);

  const ExecutionSpace space;
  StridedMatrix<float> in(100, 12, 50, 3, 1), weights(100, 3, 1, 130, 2);
  StridedMatrix<int> ids(100, 3, 7, 2, 3);
  in.set(logits);
  Tokkos::routeTopK(space, in.view(), ids.view(), weights.view());
  const Matrix<int> plain_ids("ids", 100, 3);
  const Matrix<float> plain_weights("weights", 100, 3);
  Tokkos::routeTopK(space, makeMatrix(logits, 12), plain_ids, plain_weights);
  EXPECT_EQ(toVector(plain_ids), ids.get());
  EXPECT_TRUE(sameBits(toVector(plain_weights), weights.get()));
  EXPECT_TRUE(ids.surroundingsUntouched());
  EXPECT_TRUE(weights.surroundingsUntouched());
}

TEST(Router, DoesNotDependOnOtherTokens) {
  Random random;
  const ExecutionSpace space;
  const auto logits = random.reals<float>(70 * 60);
  const Matrix<int> ids("ids", 70, 4), own_ids("ids", 1, 4);
  const Matrix<float> weights("weights", 70, 4), own_weights("weights", 1, 4);
  Tokkos::routeTopK(space, makeMatrix(logits, 60), ids, weights);
  const auto all = toVector(weights);
  for (const int t : {0, 7, 8, 69}) {
    const std::vector<float> row(logits.begin() + t * 60,
                                 logits.begin() + (t + 1) * 60);
    Tokkos::routeTopK(space, makeMatrix(row, 60), own_ids, own_weights);
    EXPECT_TRUE(sameBits(
        std::vector<float>(all.begin() + t * 4, all.begin() + t * 4 + 4),
        toVector(own_weights)));
  }
}

TEST(Router, MisuseIsNamed) {
  const ExecutionSpace space;
  const Matrix<float> logits("logits", 5, 4), weights("weights", 5, 2);
  const Matrix<int> ids("ids", 5, 2);
  const auto routed = [&](const auto& l, const auto& i, const auto& w) {
    return messageOf([&] { Tokkos::routeTopK(space, l, i, w); });
  };
  EXPECT_EQ(
      "Tokkos::routeTopK: logits.extent(1): expected 1 to 2147483646 "
      "(the number of experts), got 0",
      routed(Matrix<float>("logits", 5, 0), ids, weights));
  EXPECT_EQ(
      "Tokkos::routeTopK: expert_ids.extent(1): expected 1 to 4 (K, at "
      "most E = logits.extent(1)), got 5",
      routed(logits, Matrix<int>("ids", 5, 5), Matrix<float>("weights", 5, 5)));
  EXPECT_EQ(
      "Tokkos::routeTopK: expert_ids.extent(1): expected 1 to 4 (K, at "
      "most E = logits.extent(1)), got 0",
      routed(logits, Matrix<int>("ids", 5, 0), weights));
  EXPECT_EQ(
      "Tokkos::routeTopK: expert_ids.extent(0): expected 5 "
      "(logits.extent(0)), got 6",
      routed(logits, Matrix<int>("ids", 6, 2), weights));
  EXPECT_EQ(
      "Tokkos::routeTopK: weights.extent(0): expected 5 "
      "(logits.extent(0)), got 4",
      routed(logits, ids, Matrix<float>("weights", 4, 2)));
  EXPECT_EQ(
      "Tokkos::routeTopK: weights.extent(1): expected 2 "
      "(expert_ids.extent(1)), got 1",
      routed(logits, ids, Matrix<float>("weights", 5, 1)));
  const Matrix<float> square("square", 4, 4);
  EXPECT_EQ(
      "Tokkos::routeTopK: logits and weights: expected separate memory, "
      "got Views that share memory",
      routed(square, Matrix<int>("ids", 4, 4), square));
}

}  // namespace Test
