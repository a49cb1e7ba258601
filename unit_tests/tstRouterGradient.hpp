// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// SPDX-FileCopyrightText: Copyright Contributors to the Tokkos project

#include "TestSupport.hpp"

// routeTopKGradient against finite differences of routeTopK, in double.
namespace Test {

using Options = Tokkos::RouterOptions<MemorySpace>;
using Tokkos::GroupScore;
using Tokkos::Score;

const std::vector<Score> all_scores = {Score::softmax, Score::selected_softmax,
                                       Score::sigmoid, Score::sqrt_softplus,
                                       Score::identity};

struct Routed {
  Matrix<int> ids;
  Matrix<double> weights;
};

Routed route(const std::vector<double>& logits, int num_experts, int width,
             const Options& options) {
  const std::size_t num_tokens = logits.size() / num_experts;
  Routed routed{Matrix<int>("ids", num_tokens, width),
                Matrix<double>("weights", num_tokens, width)};
  Tokkos::routeTopK(ExecutionSpace(), makeMatrix(logits, num_experts),
                    routed.ids, routed.weights, options);
  return routed;
}

/// The gradient of the sum of weights_gradient * weights by finite differences:
/// for every logit of a token two tokens more.
std::vector<double> finiteDifferences(const std::vector<double>& logits,
                                      const std::vector<double>& w_gradient,
                                      int num_experts, int width,
                                      Options options) {
  const double step            = 0x1p-18;
  const std::size_t num_tokens = logits.size() / num_experts;
  std::vector<double> moved;
  for (std::size_t t = 0; t < num_tokens; ++t)
    for (int e = 0; e < num_experts; ++e)
      for (const double sign : {1, -1}) {
        const auto first = logits.begin() + t * num_experts;
        moved.insert(moved.end(), first, first + num_experts);
        moved[moved.size() - num_experts + e] += sign * step;
      }
  if (options.mask.extent(0) > 0) {
    const auto mask = toVector(options.mask);
    const Array<bool> repeated("mask", 2 * logits.size());
    const auto host = Kokkos::create_mirror_view(repeated);
    for (std::size_t i = 0; i < 2 * logits.size(); ++i)
      host(i) = mask[i / (2 * num_experts)];
    Kokkos::deep_copy(repeated, host);
    options.mask = repeated;
  }
  const auto weights =
      toVector(route(moved, num_experts, width, options).weights);
  std::vector<double> gradient;
  for (std::size_t i = 0; i < logits.size(); ++i) {
    double difference = 0;
    for (int k = 0; k < width; ++k)
      difference +=
          w_gradient[i / num_experts * width + k] *
          (weights[2 * i * width + k] - weights[(2 * i + 1) * width + k]);
    gradient.push_back(difference / (2 * step));
  }
  return gradient;
}

void testGradient(const std::vector<double>& logits, int num_experts, int top_k,
                  const Options& options) {
  SCOPED_TRACE("E=" + std::to_string(num_experts) +
               " K=" + std::to_string(top_k) + " score " +
               std::to_string(static_cast<int>(options.score)) +
               (options.normalize ? " normalized" : ""));
  Random random;
  const int width              = top_k + options.num_shared_experts;
  const std::size_t num_tokens = logits.size() / num_experts;
  const auto w_gradient = random.reals<double>(num_tokens * width, -1, 1);
  const auto routed     = route(logits, num_experts, width, options);
  const Matrix<double> gradient("gradient", num_tokens, num_experts);
  Kokkos::deep_copy(gradient, -77);
  Tokkos::routeTopKGradient(ExecutionSpace(), makeMatrix(logits, num_experts),
                            routed.ids, makeMatrix(w_gradient, width), gradient,
                            options);
  const auto expected =
      finiteDifferences(logits, w_gradient, num_experts, width, options);
  const auto actual     = toVector(gradient);
  std::size_t num_wrong = 0;
  for (std::size_t i = 0; i < actual.size(); ++i)
    if (!(std::abs(actual[i] - expected[i]) <=
          1e-8 + 1e-7 * std::abs(expected[i])) &&
        num_wrong++ == 0)
      ADD_FAILURE() << "token " << i / num_experts << ", expert "
                    << i % num_experts << ": expected " << expected[i]
                    << ", got " << actual[i];
  EXPECT_EQ(0u, num_wrong);
}

void testScores(const std::vector<double>& logits, int num_experts, int top_k,
                Options options = {}) {
  for (const Score score : all_scores)
    for (const bool normalize : {false, true}) {
      options.score     = score;
      options.normalize = normalize;
      testGradient(logits, num_experts, top_k, options);
    }
}

/// Positive ones keep the sum of identity scores away from 0.
std::vector<double> someLogits(int num_tokens, int num_experts) {
  Random random;
  return random.reals<double>(num_tokens * num_experts, 0.1, 3);
}

TEST(RouterGradient, Scores) {
  testScores(someLogits(5, 6), 6, 3);
  testScores(someLogits(1, 1), 1, 1);
  testScores(someLogits(3, 7), 7, 7);
  testScores(someLogits(0, 4), 4, 2);
}

TEST(RouterGradient, ExcludedExpertsHaveNoneOfAnInfiniteOne) {
  const double infinity = std::numeric_limits<double>::infinity();
  for (const double cap : {0.0, 5.0}) {
    const std::vector<double> logits{1, -infinity, 2, NAN, 0};
    const Options options{.soft_cap = cap};
    const auto routed = route(logits, 5, 2, options);
    const Matrix<double> gradient("gradient", 1, 5);
    Tokkos::routeTopKGradient(ExecutionSpace(), makeMatrix(logits, 5),
                              routed.ids, makeMatrix<double>({infinity, 1}, 2),
                              gradient, options);
    EXPECT_EQ(0, toVector(gradient)[1]);
    EXPECT_EQ(0, toVector(gradient)[3]);
    EXPECT_EQ(-infinity, toVector(gradient)[4]);
  }
}

TEST(RouterGradient, EveryPath) {
  for (const int num_experts : {33, 128, 130, 300, 600})
    testScores(someLogits(2, num_experts), num_experts, 5);
  testScores(someLogits(2, 60), 60, 50);
}

TEST(RouterGradient, NegativeLogits) {
  Random random;
  for (const Score score :
       {Score::softmax, Score::sigmoid, Score::sqrt_softplus, Score::identity})
    testGradient(random.reals<double>(5 * 8, -6, 2), 8, 3, {.score = score});
}

TEST(RouterGradient, Options) {
  Random random;
  const auto logits = someLogits(6, 12);
  const auto floats = [&] {
    return makeArray(random.reals<float>(12, 0.2, 2));
  };
  testScores(logits, 12, 4, {.bias = floats()});
  testScores(logits, 12, 4, {.scale = 2.5, .expert_scale = floats()});
  testScores(logits, 12, 4, {.epsilon = 0.3});
  testScores(logits, 12, 4, {.floor = 50, .epsilon = 0.1});
  testScores(logits, 12, 4, {.soft_cap = 2});
  testScores(logits, 12, 4, {.num_shared_experts = 2, .shared_weight = 3});
  testScores(logits, 12, 4,
             {.bias        = floats(),
              .groups      = 4,
              .kept_groups = 2,
              .group_score = GroupScore::sum_of_best_two});
  const Array<bool> mask("mask", 6);
  const auto host = Kokkos::create_mirror_view(mask);
  for (int t = 0; t < 6; ++t)
    host(t) = t % 3 != 1;
  Kokkos::deep_copy(mask, host);
  testScores(logits, 12, 4, {.mask = mask});
}

TEST(RouterGradient, ExcludedExpertsHaveNone) {
  const double infinity      = std::numeric_limits<double>::infinity();
  std::vector<double> logits = someLogits(3, 6);
  logits[0] = logits[7] = logits[9] = NAN;
  logits[3]                         = -infinity;
  std::fill_n(logits.begin() + 12, 6, NAN);
  testScores(logits, 6, 5);
  auto bias = makeArray<float>(
      {0, 0, 0, 0, 0, -std::numeric_limits<float>::infinity()});
  // Excluded by its key alone: it counts in the softmax.
  testScores(logits, 6, 6, {.bias = bias});
}

TEST(RouterGradient, InvalidIdsHaveNone) {
  const auto logits = makeMatrix<float>({1, 2, 3, 4}, 4);
  Matrix<int> ids("ids", 1, 2);
  fromVector(ids, std::vector<int>{-1, 9});
  const Matrix<float> w_gradient("w", 1, 2), gradient("gradient", 1, 4);
  Kokkos::deep_copy(w_gradient, 1);
  Kokkos::deep_copy(gradient, 1);
  Tokkos::routeTopKGradient(ExecutionSpace(), logits, ids, w_gradient,
                            gradient);
  EXPECT_EQ(std::vector<float>(4, 0), toVector(gradient));
  // The id behind the last expert; what lies there is another token's.
  fromVector(ids, std::vector<int>{4, 4});
  const auto more = makeMatrix<float>({1, 2, 3, 4, 5, 6, 7, 8}, 4);
  const Matrix<float> rows("gradients", 2, 4);
  Kokkos::deep_copy(rows, 9);
  const auto first = Kokkos::make_pair(0, 1);
  Tokkos::routeTopKGradient(
      ExecutionSpace(), Kokkos::subview(more, first, Kokkos::ALL), ids,
      w_gradient, Kokkos::subview(rows, first, Kokkos::ALL));
  EXPECT_EQ((std::vector<float>{0, 0, 0, 0, 9, 9, 9, 9}), toVector(rows));
}

TEST(RouterGradient, TypesAndLayouts) {
  Random random;
  using half_t      = Tokkos::KokkosExt::half_t;
  const auto logits = random.reals<half_t>(40 * 64);
  const auto d      = makeMatrix(logits, 64);
  const Matrix<std::int64_t> ids("ids", 40, 4);
  const Matrix<float> weights("weights", 40, 4);
  const auto w_gradient = makeMatrix(random.reals<float>(40 * 4), 4);
  Tokkos::routeTopK(ExecutionSpace(), d, ids, weights);
  const Matrix<float> gradient("gradient", 40, 64);
  Tokkos::routeTopKGradient(ExecutionSpace(), d, ids, w_gradient, gradient);
  const LeftMatrix<float> left("gradient", 40, 64);
  Tokkos::routeTopKGradient(ExecutionSpace(), d, ids, w_gradient, left);
  EXPECT_TRUE(sameBits(toVector(gradient), toVector(left)));
  const Matrix<half_t> halves("gradient", 40, 64);
  Tokkos::routeTopKGradient(ExecutionSpace(), d, ids, w_gradient, halves);
  std::vector<half_t> rounded;
  for (const float x : toVector(gradient))
    rounded.push_back(static_cast<half_t>(x));
  EXPECT_TRUE(sameBits(rounded, toVector(halves)));
}

TEST(RouterGradient, MisuseIsNamed) {
  const Matrix<float> logits("logits", 5, 4), weights("weights", 5, 2);
  const Matrix<int> ids("ids", 5, 2);
  EXPECT_EQ(
      "Tokkos::routeTopKGradient: logits_gradient.extent(1): expected 4 "
      "(logits.extent(1)), got 3",
      messageOf([&] {
        Tokkos::routeTopKGradient(ExecutionSpace(), logits, ids, weights,
                                  Matrix<float>("gradient", 5, 3));
      }));
  EXPECT_EQ(
      "Tokkos::routeTopKGradient: logits and logits_gradient: expected "
      "separate memory, got Views that share memory",
      messageOf([&] {
        Tokkos::routeTopKGradient(ExecutionSpace(), logits, ids, weights,
                                  logits);
      }));
  EXPECT_EQ(
      "Tokkos::routeTopKGradient: weights_gradient.extent(1): expected 2 "
      "(expert_ids.extent(1)), got 1",
      messageOf([&] {
        Tokkos::routeTopKGradient(ExecutionSpace(), logits, ids,
                                  Matrix<float>("w", 5, 1),
                                  Matrix<float>("gradient", 5, 4));
      }));
}

}  // namespace Test
