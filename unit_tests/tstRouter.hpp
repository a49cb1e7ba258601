// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// SPDX-FileCopyrightText: Copyright Contributors to the Tokkos project

#include "RouterSupport.hpp"

// routeTopK against the plain-loop reference: ids exactly, weights to rounding.
namespace Test {

using half_t  = Tokkos::KokkosExt::half_t;
using bhalf_t = Tokkos::KokkosExt::bhalf_t;

using Options = Reference::RouterOptions;
using Reference::GroupScore;
using Reference::Score;

const std::vector<Score> all_scores = {Score::softmax, Score::selected_softmax,
                                       Score::sigmoid, Score::sqrt_softplus,
                                       Score::identity};

/// Tokens that the reference cannot decide within rounding are passed over.
template <class Logit, class Id = int, class Weight = float,
          class Logits = Matrix<Logit>>
void testRoute(const std::vector<Logit>& logits, int num_experts, int top_k,
               const Options& options = {}) {
  const std::size_t num_tokens = logits.size() / num_experts;
  SCOPED_TRACE("T=" + std::to_string(num_tokens) + " E=" +
               std::to_string(num_experts) + " K=" + std::to_string(top_k) +
               " score " + std::to_string(static_cast<int>(options.score)) +
               (options.normalize ? " normalized" : "") +
               (options.bias.empty() ? "" : " biased") + " groups " +
               std::to_string(options.kept_groups) + " of " +
               std::to_string(options.groups) + " by " +
               std::to_string(static_cast<int>(options.group_score)));
  const std::size_t width = top_k + options.num_shared_experts;
  const Matrix<Id> ids("ids", num_tokens, width);
  const Matrix<Weight> weights("weights", num_tokens, width);
  Kokkos::deep_copy(ids, Id(-77));
  Kokkos::deep_copy(weights, Weight(-77));
  Logits d_logits("logits", num_tokens, num_experts);
  fromVector(d_logits, logits);
  Tokkos::routeTopK(ExecutionSpace(), d_logits, ids, weights,
                    onBackend(options));

  using Real = std::conditional_t<std::is_same_v<Logit, double>, double, float>;
  std::vector<Real> values;
  for (const Logit x : logits)
    values.push_back(static_cast<Real>(x));
  const auto expected =
      Reference::routeTopK(values, num_experts, top_k, options);

  const auto actual_ids = toVector(ids);
  const auto actual     = toVector(weights);
  const std::size_t num_passed_over =
      expectRouted<Real>(expected, actual_ids, actual, num_experts, options);
  EXPECT_LE(num_passed_over, num_tokens / 10 + 1);
}

template <class Logit>
void testScores(const std::vector<Logit>& logits, int num_experts, int top_k,
                Options options = {}) {
  for (const Score score : all_scores)
    for (const bool normalize : {false, true}) {
      options.score     = score;
      options.normalize = normalize;
      testRoute(logits, num_experts, top_k, options);
    }
}

/// All rows of num_experts values of the set.
std::vector<float> everyRow(const std::vector<float>& set, int num_experts) {
  std::size_t rows = 1;
  for (int e = 0; e < num_experts; ++e)
    rows *= set.size();
  std::vector<float> logits;
  for (std::size_t row = 0; row < rows; ++row) {
    std::size_t digits = row;
    for (int e = 0; e < num_experts; ++e, digits /= set.size())
      logits.push_back(set[digits % set.size()]);
  }
  return logits;
}

const float infinity = std::numeric_limits<float>::infinity();

/// Values with ties, both zeros, negative ones, infinities and NaN, fewer of
/// them for more experts.
std::vector<std::vector<float>> setsFor(int num_experts) {
  if (num_experts <= 4) return {{0.0f, -0.0f, 1, -1, infinity, -infinity, NAN}};
  if (num_experts == 5) return {{0, 1, -1, -infinity, NAN}};
  if (num_experts == 6) return {{-0.0f, 0, -1, NAN}, {infinity, 1, -infinity}};
  if (num_experts == 7) return {{-1, -2, -infinity}, {0, NAN, 2}};
  return {{-0.0f, 0, NAN}, {-1, infinity, -infinity}, {1, 2}};
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
  for (int num_experts = 1; num_experts <= 8; ++num_experts)
    for (const auto& set : setsFor(num_experts)) {
      const auto logits = everyRow(set, num_experts);
      for (int top_k = 1; top_k <= num_experts; ++top_k)
        if (num_experts <= 4)
          testScores(logits, num_experts, top_k);
        else
          for (int i = 0; i < 5; ++i)
            testRoute(
                logits, num_experts, top_k,
                {.score = all_scores[i], .normalize = (top_k + i) % 2 == 0});
    }
}

TEST(Router, SumsThatRoundingKeepsAtTheLargestNumber) {
  // Each of the small ones is less than half a digit of the largest number, so
  // the sum, in order, is that; together they are more.
  const int num_experts = 16;
  std::vector<float> logits(num_experts, 1e30f);
  logits[3]             = infinity;
  const Options options = {.score = Score::identity, .normalize = true};
  testRoute(logits, num_experts, num_experts, options);
  const Matrix<int> ids("ids", 1, num_experts);
  const Matrix<float> weights("weights", 1, num_experts);
  Tokkos::routeTopK(ExecutionSpace(), makeMatrix(logits, num_experts), ids,
                    weights, onBackend(options));
  std::vector<float> expected(num_experts, 1e30f / 0x1.fffffep127f);
  expected[0] = 1;
  EXPECT_EQ(expected, toVector(weights));
}

TEST(Router, EverySmallCaseWithBiasAndGroups) {
  // Some that turn the order, two that are equal, one that excludes. No pair of
  // a group has the sum of another group's: rounding would decide there.
  const float biases[] = {-3, 0, 3, -infinity, 2.5, -2, 1, -3};
  for (const int num_experts : {2, 4, 6, 8})
    for (auto set : setsFor(num_experts)) {
      // Beside the largest number a bias is nothing.
      std::replace(set.begin(), set.end(), infinity, 3.0f);
      const auto logits = everyRow(set, num_experts);
      Options options;
      for (const bool biased : {false, true})
        for (const auto score :
             {GroupScore::maximum, GroupScore::sum_of_best_two,
              GroupScore::sum_of_best})
          for (const int groups : {2, num_experts / 2, num_experts})
            for (const int kept : {1, groups - 1}) {
              const int most = kept * (num_experts / groups);
              if (kept < 1) continue;
              for (const int top_k : {kept, most}) {
                options.groups      = groups;
                options.kept_groups = kept;
                options.group_score = score;
                options.bias.clear();
                if (biased) options.bias.assign(biases, biases + num_experts);
                options.score     = all_scores[(groups + kept + top_k) % 5];
                options.normalize = top_k % 2 == 0;
                testRoute(logits, num_experts, top_k, options);
              }
            }
    }
}

TEST(Router, NumbersOfTokens) {
  Random random;
  for (const int num_tokens :
       {0, 1, 2, 3, 31, 32, 33, 127, 128, 129, 4095, 4096, 4097})
    for (const int num_experts : {6, 16, 48, 100}) {
      const auto logits = random.reals<float>(num_tokens * num_experts);
      testRoute(logits, num_experts, 2, {.normalize = true});
      if (num_tokens < 200)
        testRoute(logits, num_experts, 2, {.score = Score::sigmoid});
    }
}

const std::vector<int> numbers_of_experts = {1,   2,   3,   7,   8,    31,
                                             33,  72,  96,  128, 160,  256,
                                             257, 384, 512, 896, 1024, 4096};

TEST(Router, NumbersOfExperts) {
  Random random;
  for (const int num_experts : numbers_of_experts)
    for (const int top_k : {1, 8, 20}) {
      if (top_k > num_experts) continue;
      const auto logits = random.reals<float>(20 * num_experts);
      testRoute(logits, num_experts, top_k, {.normalize = true});
      testRoute(logits, num_experts, top_k,
                {.score = Score::sigmoid,
                 .bias  = random.reals<float>(num_experts, -1, 1)});
    }
}

TEST(Router, MoreExpertsThanAnyRowKept) {
  Random random;
  for (const int num_experts : {8192, 9001}) {
    const auto logits = random.reals<float>(3 * num_experts);
    testRoute(logits, num_experts, 8, {.normalize = true});
    testRoute(logits, num_experts, 3,
              {.score = Score::sqrt_softplus,
               .bias  = random.reals<float>(num_experts, -1, 1)});
  }
  const auto logits = random.reals<float>(2 * 9000);
  testRoute(logits, 9000, 6,
            {.score       = Score::sigmoid,
             .groups      = 9,
             .kept_groups = 2,
             .group_score = GroupScore::sum_of_best_two});
}

TEST(Router, TiesAmongMoreExpertsThanAnyRowKept) {
  Random random;
  const int num_experts = 9000, group_size = 1000;
  std::vector<float> logits(4 * num_experts);
  for (float& x : logits)
    x = static_cast<float>(random.integer(-2, 2));
  std::fill_n(logits.begin(), num_experts, 1.0f);
  // Few that are not excluded, in the third group and in the last.
  std::fill_n(logits.begin() + num_experts, num_experts, NAN);
  for (const int e : {2999, 2000, 8500})
    logits[num_experts + e] = 2;
  testScores(logits, num_experts, 8);
  for (const int kept : {1, 2, 4})
    testRoute(logits, num_experts, 8,
              {.groups = num_experts / group_size, .kept_groups = kept});
}

TEST(Router, ManyChoices) {
  Random random;
  for (const int num_experts : numbers_of_experts)
    if (num_experts <= 512)
      testRoute(random.reals<float>(2 * num_experts), num_experts, num_experts,
                {.normalize = true});
  testScores(random.reals<float>(9 * 40), 40, 40);  // K = E
  testScores(random.reals<float>(9 * 100), 100, 33);
  testScores(random.reals<float>(3 * 300), 300, 290);
  testRoute(random.reals<float>(3 * 1024), 1024, 32);
  testRoute(random.reals<float>(3 * 1024), 1024, 1024, {.normalize = true});
  testRoute(random.reals<float>(2 * 4096), 4096, 600,
            {.score = Score::selected_softmax});
}

TEST(Router, ManyTies) {
  Random random;
  for (const int num_experts : {8, 24, 64, 200, 700}) {
    std::vector<float> logits(100 * num_experts);
    for (float& x : logits)
      x = static_cast<float>(random.integer(-2, 2));
    std::fill_n(logits.begin(), num_experts, 1.0f);
    testScores(logits, num_experts, 8);
    testRoute(std::vector<double>(logits.begin(), logits.end()), num_experts,
              8);
    if (num_experts >= 64) testRoute(logits, num_experts, 40);
    testRoute(logits, num_experts, 8,
              {.score       = Score::sigmoid,
               .bias        = std::vector<float>(num_experts, 0.5f),
               .groups      = 4,
               .kept_groups = 4});
  }
}

TEST(Router, ExcludedExperts) {
  Random random;
  for (const int num_experts : {8, 24, 60, 200}) {
    auto logits = random.reals<float>(100 * num_experts);
    for (int t = 0; t < 100; ++t)
      for (int e = 0; e < num_experts; ++e)
        if (random.chance(t * 0.01))
          logits[t * num_experts + e] = random.chance(0.5) ? NAN : -infinity;
    std::fill_n(logits.end() - num_experts, num_experts, NAN);
    std::fill_n(logits.end() - 2 * num_experts, num_experts, -infinity);
    testScores(logits, num_experts, 6);
    testScores(logits, num_experts, 6,
               {.bias = random.reals<float>(num_experts, -1, 1)});
    testScores(logits, num_experts, 2,
               {.groups      = 4,
                .kept_groups = 2,
                .group_score = GroupScore::sum_of_best_two});
  }
}

// More experts than the rows in registers have, of which few or none may be
// chosen.
TEST(Router, ExcludedExpertsOfMany) {
  Random random;
  constexpr int num_experts = 9000;
  auto logits               = random.reals<float>(3 * num_experts);
  std::fill_n(logits.begin(), num_experts, NAN);
  std::fill_n(logits.begin() + num_experts + 3, num_experts - 3, -infinity);
  testScores(logits, num_experts, 6);
}

// Too many experts for the product that finds an expert's group elsewhere.
TEST(Router, GroupsOfVeryManyExperts) {
  Random random;
  constexpr int num_experts = 70000, num_groups = 7;
  auto logits = random.reals<float>(2 * num_experts, -4, -2);
  for (int g = 0; g < 2 * num_groups; ++g) {  // two experts stand out in each
    logits[g * num_experts / num_groups + 7] = 0.5f * float(g % num_groups);
    logits[(g + 1) * num_experts / num_groups - 1] =
        0.5f * float(g % num_groups) - 0.25f;
  }
  testScores(logits, num_experts, 3,
             {.groups      = num_groups,
              .kept_groups = 2,
              .group_score = GroupScore::sum_of_best_two});
}

TEST(Router, FarApartLogits) {
  testScores(
      std::vector<float>{1e30f, -1e30f, 3e38f, -3e38f, 88, -88, 0, -1000}, 8,
      4);
  testScores(
      std::vector<double>{1e300, -1e300, 1e308, -1e308, 700, -700, 0, -1000}, 8,
      4);
}

TEST(Router, Bias) {
  Random random;
  for (const int num_experts : {8, 64, 300}) {
    const auto logits = random.reals<float>(200 * num_experts);
    auto bias         = random.reals<float>(num_experts, -2, 2);
    testScores(logits, num_experts, 5, {.bias = bias});
    // Turns the order altogether, below the lowest score a padding could have.
    for (int e = 0; e < num_experts; ++e)
      bias[e] = static_cast<float>(-20 * (e + 1));
    testScores(logits, num_experts, 5, {.bias = bias});
    bias[3] = -infinity;
    bias[1] = NAN;
    bias[4] = infinity;
    testScores(logits, num_experts, num_experts == 8 ? 8 : 5, {.bias = bias});
  }
}

TEST(Router, WeightComesFromTheScoreWithoutTheBias) {
  // Subtracting 1e6 from 1e6 + 0.25 would leave few digits of the score.
  const auto logits = makeMatrix<float>({-1.0f, 0.5f}, 2);
  const Matrix<int> ids("ids", 1, 1);
  const Matrix<float> weights("weights", 1, 1);
  Tokkos::routeTopK(ExecutionSpace(), logits, ids, weights,
                    {.score = Tokkos::Score::sigmoid,
                     .bias  = makeArray<float>({1e6f, 0.0f})});
  EXPECT_EQ(0, toVector(ids)[0]);
  EXPECT_NEAR(1 / (1 + std::exp(1.0)), toVector(weights)[0], 1e-7);
}

TEST(Router, Groups) {
  Random random;
  for (const auto& [num_experts, groups, kept, top_k] :
       {std::tuple(8, 4, 2, 4), std::tuple(160, 8, 3, 6),
        std::tuple(256, 8, 4, 8), std::tuple(256, 32, 4, 8),
        std::tuple(96, 48, 6, 12), std::tuple(600, 100, 8, 16),
        std::tuple(1536, 512, 3, 9)}) {
    // Groups with negative scores are not to lose to groups not kept.
    auto logits = random.reals<float>(40 * num_experts, -6, 1);
    for (const auto score : {GroupScore::maximum, GroupScore::sum_of_best_two,
                             GroupScore::sum_of_best}) {
      Options options;
      options.groups      = groups;
      options.kept_groups = kept;
      options.group_score = score;
      if (score == GroupScore::sum_of_best && top_k % kept != 0) continue;
      testScores(logits, num_experts, top_k, options);
      options.bias = random.reals<float>(num_experts, -3, 0);
      testScores(logits, num_experts, top_k, options);
    }
  }
}

// Few tokens, and every way to score groups of every size.
TEST(Router, GroupsBySigmoidAndSoftmax) {
  Random random;
  for (const auto& [num_experts, groups] :
       {std::pair(64, 8), std::pair(96, 48), std::pair(160, 8),
        std::pair(256, 8), std::pair(256, 32), std::pair(600, 100)})
    for (const auto group_score :
         {GroupScore::maximum, GroupScore::sum_of_best_two,
          GroupScore::sum_of_best})
      for (const bool biased : {false, true})
        for (const Score score : {Score::softmax, Score::sigmoid}) {
          const auto logits = random.reals<float>(6 * num_experts);
          Options options{.score       = score,
                          .groups      = groups,
                          .kept_groups = 4,
                          .group_score = group_score};
          if (biased) options.bias = random.reals<float>(num_experts, -0.3, 0);
          testRoute(logits, num_experts, 8, options);
        }
}

TEST(Router, KeptGroupsHoldAllChoices) {
  // Everything in the best group but one expert is excluded.
  std::vector<float> logits(8, -infinity);
  logits[5] = 2;
  testRoute(logits, 8, 4, {.groups = 2, .kept_groups = 1});
  logits[0] = logits[1] = 1;
  testRoute(logits, 8, 4,
            {.groups      = 2,
             .kept_groups = 1,
             .group_score = GroupScore::sum_of_best_two});
}

TEST(Router, Normalization) {
  Random random;
  const auto logits = random.reals<float>(100 * 20);
  testScores(logits, 20, 4, {.floor = 0.5, .scale = 2.5});
  testScores(logits, 20, 4, {.floor = 1e-12, .epsilon = 1e-20, .scale = -3});
  testScores(logits, 20, 4, {.epsilon = 0.25});
  testScores(logits, 20, 4,
             {.scale = 0.5, .expert_scale = random.reals<float>(20, -1, 2)});
  // Scores that vanish, and a sum that is not positive.
  testScores(std::vector<float>(20, -1e30f), 20, 4);
}

TEST(Router, SoftCap) {
  Random random;
  for (const double cap : {0.5, 5.0, 30.0}) {
    testScores(random.reals<float>(100 * 20, -40, 40), 20, 4,
               {.soft_cap = cap});
    testScores(random.reals<double>(100 * 20, -2, 2), 20, 4,
               {.soft_cap = cap, .bias = random.reals<float>(20)});
  }
  // The order is that of the logits, also where tanh is 1.
  testRoute(std::vector<float>{100, 300, 200, 400}, 4, 3, {.soft_cap = 1});
}

TEST(Router, MaskAndSharedExperts) {
  Random random;
  for (const int num_experts : {6, 60, 200}) {
    Options options;
    for (int t = 0; t < 77; ++t)
      options.mask.push_back(random.chance(0.7));
    const auto logits = random.reals<float>(77 * num_experts);
    testScores(logits, num_experts, 4, options);
    options.num_shared_experts = 2;
    options.shared_weight      = 0.75;
    testScores(logits, num_experts, 4, options);
    options.mask.clear();
    options.scale = 2.5;
    testScores(logits, num_experts, 4, options);
  }
}

/// Every path that can route the token gives the same bits.
template <class Real>
void testPaths(const std::vector<Real>& logits, int num_experts, int top_k,
               const Options& options) {
  const int num_tokens = static_cast<int>(logits.size()) / num_experts;
  const auto d_logits  = makeMatrix(logits, num_experts);
  const auto d_options = onBackend(options);
  const int width      = top_k + options.num_shared_experts;
  const Matrix<int> ids("ids", num_tokens, width),
      others_ids("ids", num_tokens, width);
  const Matrix<Real> weights("weights", num_tokens, width),
      others_weights("weights", num_tokens, width);
  Tokkos::routeTopK(ExecutionSpace(), d_logits, ids, weights, d_options);
  Tokkos::Impl::routeInRounds(
      ExecutionSpace(), Tokkos::Impl::makeRouterData(
                            d_logits, others_ids, others_weights, d_options));
  EXPECT_EQ(toVector(ids), toVector(others_ids));
  EXPECT_TRUE(sameBits(toVector(weights), toVector(others_weights)));
}

TEST(Router, PathsAgreeBitForBit) {
  Random random;
  for (const int num_experts : numbers_of_experts) {
    const int top_k   = std::min(8, num_experts);
    const auto logits = random.reals<float>(13 * num_experts);
    const auto bias   = random.reals<float>(num_experts);
    for (const Score score : all_scores) {
      testPaths(logits, num_experts, top_k,
                {.score = score, .normalize = true});
      testPaths(logits, num_experts, top_k, {.score = score, .bias = bias});
      if (num_experts % 8 == 0)
        testPaths(logits, num_experts, top_k,
                  {.soft_cap           = 3,
                   .score              = score,
                   .bias               = bias,
                   .groups             = 8,
                   .kept_groups        = num_experts == 8 ? 8 : 4,
                   .group_score        = GroupScore::sum_of_best_two,
                   .normalize          = true,
                   .epsilon            = 1e-20,
                   .scale              = 2.5,
                   .expert_scale       = bias,
                   .num_shared_experts = 1});
    }
    if (num_experts >= 40)
      testPaths(logits, num_experts, 40, {.normalize = true});
    testPaths(random.reals<double>(13 * num_experts), num_experts, top_k, {});
  }
}

/// The options of DeepSeek-V3 with eight groups, and the same without groups.
std::vector<Options> sigmoidOptions(const std::vector<float>& bias) {
  Options biased{.score     = Score::sigmoid,
                 .bias      = bias,
                 .normalize = true,
                 .epsilon   = 1e-20,
                 .scale     = 2.5};
  Options grouped     = biased;
  grouped.groups      = 8;
  grouped.kept_groups = 4;
  grouped.group_score = GroupScore::sum_of_best_two;
  return {biased, grouped};
}

TEST(Router, SigmoidsOfAllSizes) {
  Random random;
  for (const int num_experts : {32, 64, 128, 160, 256, 320, 384, 448})
    for (const int num_tokens : {1, 3, 129, 700})
      for (const auto& options :
           sigmoidOptions(random.reals<float>(num_experts, -0.3, 0.3))) {
        const auto logits = random.reals<float>(num_tokens * num_experts);
        testPaths(logits, num_experts, 8, options);
        if (num_tokens < 200) testRoute(logits, num_experts, 8, options);
        if (num_tokens == 3) testPaths(logits, num_experts, 16, options);
      }
}

TEST(Router, ManyTokensOfFewExperts) {
  Random random;
  for (const int num_experts : {8, 24}) {
    auto logits = random.reals<float>(16400 * num_experts);
    for (int t = 0; t < 100; ++t)
      logits[random.integer(0, 16400 * num_experts - 1)] =
          random.chance(0.5) ? NAN : infinity;
    for (auto options :
         sigmoidOptions(random.reals<float>(num_experts, -1, 1))) {
      testPaths(logits, num_experts, 4, options);
      for (int t = 0; t < 16400; ++t)
        options.mask.push_back(random.chance(0.7));
      options.num_shared_experts = 1;
      testPaths(logits, num_experts, 4, options);
    }
    testPaths(logits, num_experts, 6, {.normalize = true});
  }
}

// The smallest batches that fill a device with few lanes to a token.
TEST(Router, BatchesOfOneChoice) {
  Random random;
  constexpr int num_tokens = 16384;
  for (const int num_experts : {64, 128})
    testRoute(random.reals<float>(num_tokens * num_experts), num_experts, 1);
  const auto biased = sigmoidOptions(random.reals<float>(32, -1, 1)).front();
  testRoute(random.reals<float>(num_tokens * 32), 32, 1, biased);
}

// Sigmoids with what approximate keys know nothing of.
TEST(Router, SigmoidsThatNeedExactKeys) {
  Random random;
  constexpr int num_tokens = 12, num_experts = 64;
  const auto logits  = random.reals<float>(num_tokens * num_experts);
  const auto bias    = random.reals<float>(num_experts, -0.3, 0.3);
  const Options keys = sigmoidOptions(bias).front();

  Options options = keys;
  for (int t = 0; t < num_tokens; ++t)
    options.mask.push_back(random.chance(0.7));
  testPaths(logits, num_experts, 8, options);
  options          = keys;
  options.soft_cap = 3;
  testPaths(logits, num_experts, 8, options);
  options              = keys;
  options.expert_scale = random.reals<float>(num_experts, 1, 2);
  testPaths(logits, num_experts, 8, options);
  options                    = keys;
  options.num_shared_experts = 2;
  testPaths(logits, num_experts, 8, options);
  testPaths(logits, num_experts, 40, keys);

  Options narrow     = sigmoidOptions(random.reals<float>(256, -0.3, 0.3))[1];
  narrow.groups      = 64;  // of fewer experts than a lane has
  narrow.kept_groups = 8;
  testPaths(random.reals<float>(num_tokens * 256), 256, 8, narrow);
}

/// Rows of which the best eight are certain, and the order of two of them is
/// not: their sigmoids differ, and the sums with the biases are equal but for
/// rounding.
std::vector<float> rowsWithAPair(Random& random, int num_tokens,
                                 const std::vector<float>& bias) {
  const int num_experts = static_cast<int>(bias.size());
  std::vector<float> rows;
  for (int t = 0; t < num_tokens; ++t) {
    std::vector<double> row;
    for (int e = 0; e < num_experts; ++e)
      row.push_back(random.real(-8, -6));
    const int first = random.integer(0, num_experts - 1);
    const int twin  = random.integer(1, 7);
    double key      = 0;
    for (int i = 0; i < 8; ++i) {
      if (i != twin) key = 0.65 - 0.02 * i + random.real(0, 0.01);
      const int expert   = (first + 7 * i) % num_experts;
      const double score = key - bias[expert];
      row[expert]        = std::log(score / (1 - score));
    }
    rows.insert(rows.end(), row.begin(), row.end());
  }
  return rows;
}

// Where an approximate key would choose another expert than the exact one.
TEST(Router, KeysThatLieCloseTogether) {
  Random random;
  for (const int num_experts : {32, 128, 256, 384}) {
    const int num_tokens = 60;
    std::vector<float> units, coarse, equal, clusters;
    double center = 0;
    for (int i = 0; i < num_tokens * num_experts; ++i) {
      // Some twelve of a token, which are its best.
      if (i % num_experts == 0) center = random.real(-6, 6);
      const bool is_close = random.chance(12. / num_experts);
      clusters.push_back(static_cast<float>(
          is_close ? center * (1 + random.integer(0, 40) * 0x1p-23)
                   : center - random.real(0.01, 4)));
      units.push_back(1 + static_cast<float>(random.integer(0, 40)) * 0x1p-22f);
      coarse.push_back(static_cast<float>(random.integer(-8, 8)) / 4);
      equal.push_back(0.25f);
    }
    std::vector<float> few_units, large, huge;
    for (int e = 0; e < num_experts; ++e) {
      few_units.push_back(static_cast<float>(random.integer(-9, 9)) * 0x1p-23f);
      large.push_back(100 +
                      static_cast<float>(random.integer(0, 99)) * 0x1p-17f);
      huge.push_back((e % 3 == 0 ? -1e30f : 1e30f) *
                     (1 + static_cast<float>(random.integer(0, 9)) * 0x1p-23f));
    }
    for (const auto& bias :
         {std::vector<float>(num_experts, 0.0f), few_units, large, huge})
      for (const auto& options : sigmoidOptions(bias))
        for (const auto& logits : {units, coarse, equal, clusters})
          testPaths(logits, num_experts, 8, options);
    const auto biases = random.reals<float>(num_experts, -0.3, 0.3);
    for (const auto& options : sigmoidOptions(biases))
      testPaths(rowsWithAPair(random, 200, biases), num_experts, 8, options);
  }
}

// Groups of one lane's experts up to those of all lanes, and rows that do not
// fill the lanes.
TEST(Router, SigmoidsInGroupsOfAllSizes) {
  Random random;
  const int num_tokens = 40;
  for (const int num_experts : {32, 96, 128, 192, 256, 320, 384})
    for (int size = 4; size < num_experts; size *= 2) {
      if (num_experts % size != 0) continue;
      const int groups = num_experts / size;
      const auto reals = random.reals<float>(num_tokens * num_experts);
      std::vector<float> coarse;
      for (int i = 0; i < num_tokens * num_experts; ++i)
        coarse.push_back(static_cast<float>(random.integer(-8, 8)) / 4);
      for (const int kept : {1, (groups + 1) / 2, groups - 1})
        for (const auto score :
             {GroupScore::maximum, GroupScore::sum_of_best_two}) {
          Options options     = sigmoidOptions({})[1];
          options.groups      = groups;
          options.kept_groups = kept;
          options.group_score = score;
          const int top_k     = std::min(8, kept * size);
          testPaths(coarse, num_experts, top_k, options);
          options.bias = random.reals<float>(num_experts, -0.3, 0.3);
          testRoute(reals, num_experts, top_k, options);
          testPaths(reals, num_experts, top_k, options);
          testPaths(coarse, num_experts, top_k, options);
        }
    }
}

TEST(Router, SigmoidsOfSpecialValues) {
  Random random;
  for (const int num_experts : {32, 128, 256, 384}) {
    const int num_tokens = 60;
    auto logits = random.reals<float>(num_tokens * num_experts, -120, 120);
    for (int t = 0; t < num_tokens; ++t)
      for (int e = 0; e < num_experts; ++e)
        if (random.chance(t * t * 3e-4))
          logits[t * num_experts + e] = random.chance(0.3)   ? infinity
                                        : random.chance(0.5) ? NAN
                                                             : -infinity;
    for (const float x : {infinity, -infinity, NAN}) {
      auto bias = random.reals<float>(num_experts);
      for (const auto& options : sigmoidOptions(bias))
        testPaths(logits, num_experts, 8, options);
      for (int e = 0; e < num_experts; e += 3)
        bias[e] = x;
      for (const auto& options : sigmoidOptions(bias))
        testPaths(logits, num_experts, 8, options);
    }
  }
}

TEST(Router, Types) {
  Random random;
  for (const int num_experts : {8, 30, 60, 160, 600}) {
    const std::size_t n = 100 * num_experts;
    for (const Options& options :
         {Options{.normalize = true},
          Options{.score = Score::sqrt_softplus,
                  .bias  = random.reals<float>(num_experts, -1, 1)}}) {
      testRoute<double, std::int64_t, double>(random.reals<double>(n),
                                              num_experts, 4, options);
      testRoute<double>(random.reals<double>(n), num_experts, 4, options);
      testRoute<float, std::int64_t, double>(random.reals<float>(n),
                                             num_experts, 4, options);
      testRoute(random.reals<half_t>(n), num_experts, 4, options);
      testRoute(random.reals<bhalf_t>(n), num_experts, 4, options);
    }
  }
}

TEST(Router, Layouts) {
  Random random;
  const auto logits = random.reals<float>(100 * 12);
  testRoute<float, int, float, LeftMatrix<float>>(logits, 12, 3,
                                                  {.normalize = true});
  // Both zeros are equal, whatever the layout.
  testRoute<float, int, float, LeftMatrix<float>>(everyRow({0.0f, -0.0f, 1}, 4),
                                                  4, 2);

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

TEST(Router, RowsThatAreNotAligned) {
  Random random;
  for (const int num_experts : {8, 32, 64, 128, 256}) {
    const auto logits = random.reals<float>(20 * num_experts);
    const Matrix<int> ids("ids", 20, 4), own_ids("ids", 20, 4);
    const Matrix<float> weights("weights", 20, 4), own("weights", 20, 4);
    Tokkos::routeTopK(ExecutionSpace(), makeMatrix(logits, num_experts), ids,
                      weights);
    StridedMatrix<float> shifted(20, num_experts, num_experts + 3, 1, 1);
    shifted.set(logits);
    Tokkos::routeTopK(ExecutionSpace(), shifted.view(), own_ids, own);
    EXPECT_EQ(toVector(ids), toVector(own_ids));
    EXPECT_TRUE(sameBits(toVector(weights), toVector(own)));
  }
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
      "Tokkos::routeTopK: logits.extent(1): expected 1 to 2147482623 "
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
  const Kokkos::View<float**, Kokkos::LayoutRight, MemorySpace,
                     Kokkos::MemoryUnmanaged>
      same(reinterpret_cast<float*>(ids.data()), 5, 2);
  EXPECT_EQ(
      "Tokkos::routeTopK: expert_ids and weights: expected separate memory, "
      "got Views that share memory",
      routed(logits, ids, same));
}

TEST(Router, MisuseOfOptionsIsNamed) {
  const Matrix<float> logits("logits", 5, 12);
  const auto routed = [&](const Tokkos::RouterOptions<MemorySpace>& options,
                          int width = 4) {
    const Matrix<int> ids("ids", 5, width);
    const Matrix<float> weights("weights", 5, width);
    const std::string message = messageOf([&] {
      Tokkos::routeTopK(ExecutionSpace(), logits, ids, weights, options);
    });
    const std::string begin   = "Tokkos::routeTopK: ";
    EXPECT_EQ(0u, message.find(begin)) << message;
    return message.substr(std::min(begin.size(), message.size()));
  };
  EXPECT_EQ(
      "options.groups: expected 1 to 12 (at most E and at most 1024), "
      "got 0",
      routed({.groups = 0}));
  EXPECT_EQ("options.groups: expected a divisor of E = 12, got 5",
            routed({.groups = 5, .kept_groups = 2}));
  EXPECT_EQ(
      "options.kept_groups: expected 0 to 3 (at most options.groups), got 4",
      routed({.groups = 3, .kept_groups = 4}));
  EXPECT_EQ("K: expected 1 to 3 (the experts of the kept groups), got 4",
            routed({.groups = 4, .kept_groups = 1}));
  EXPECT_EQ(
      "options.kept_groups: expected a divisor of K = 4 for "
      "GroupScore::sum_of_best, got 3",
      routed({.groups      = 4,
              .kept_groups = 3,
              .group_score = Tokkos::GroupScore::sum_of_best}));
  EXPECT_EQ("options.mask.extent(0): expected 5 (logits.extent(0)), got 4",
            routed({.mask = Array<bool>("mask", 4)}));
  EXPECT_EQ("options.bias.extent(0): expected 12 (logits.extent(1)), got 5",
            routed({.bias = Array<float>("bias", 5)}));
  EXPECT_EQ(
      "options.expert_scale.extent(0): expected 12 (logits.extent(1)), got 5",
      routed({.expert_scale = Array<float>("scale", 5)}));
  EXPECT_EQ(
      "options.soft_cap: expected a finite number of 0 or more, got "
      "-1.000000",
      routed({.soft_cap = -1}));
  EXPECT_EQ("options.scale: expected a finite number, got nan",
            routed({.scale = std::nan("")}));
  EXPECT_EQ(
      "options.scale: expected a number that float can hold, got "
      "-340282366920938463463374607431768211456.000000",
      routed({.scale = -0x1p128}));
  EXPECT_EQ(
      "expert_ids.extent(1): expected 3 to 14 (K and the shared experts, "
      "K at most E = logits.extent(1)), got 2",
      routed({.num_shared_experts = 2}, 2));
}

}  // namespace Test
