// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// SPDX-FileCopyrightText: Copyright Contributors to the Tokkos project

#include "TestSupport.hpp"

// Load statistics and losses against constants that NumPy computed from the
// formulas, gradients against finite differences.
namespace Test {

using Balance = Tokkos::LoadBalance<MemorySpace>;

const std::vector<double> example  = {0.5, -1, 2,    0.25, 1,     1, -0.5,
                                      3,   -2, 0.75, 0.5,  0,     0, 0,
                                      0,   0,  1.5,  -3,   0.125, 2};
const std::vector<int> example_ids = {2, 0, 3, 0, 1, 2, 0, 1, 3, 0};

Tokkos::LoadBalanceResults resultsOf(const Balance& balance) {
  return toVector(balance.results)[0];
}

TEST(LoadBalance, Example) {
  const ExecutionSpace space;
  Balance balance(space, 9, 4);
  Tokkos::updateLoadBalance(space, balance, makeMatrix(example, 4),
                            makeMatrix(example_ids, 2));
  EXPECT_EQ((std::vector<int>{4, 2, 2, 2}), toVector(balance.counts));
  EXPECT_EQ((std::vector<double>{0.4, 0.2, 0.2, 0.2}),
            toVector(balance.fractions));
  const std::vector<double> importance = {0.8792105374766782,
                                          0.8242107517838436, 1.387653796090113,
                                          1.9089249146493654};
  for (int e = 0; e < 4; ++e)
    EXPECT_NEAR(importance[e], toVector(balance.importance)[e], 1e-14);
  const auto results = resultsOf(balance);
  EXPECT_EQ(10, results.num_assignments);
  EXPECT_EQ(5, results.num_tokens);
  EXPECT_NEAR(0.9406736859962685, results.load_balancing_loss, 1e-14);
  EXPECT_NEAR(5.461829225368234, results.z_loss, 1e-14);
  EXPECT_NEAR(0.12350590722216087, results.importance_loss, 1e-14);
  EXPECT_NEAR(1.6, results.maximum_over_mean, 1e-14);
  EXPECT_NEAR(0.34641016151377546, results.coefficient_of_variation, 1e-14);
  EXPECT_NEAR(1.3321790402101223, results.entropy, 1e-14);
}

TEST(LoadBalance, MaskTakesTokensOut) {
  const ExecutionSpace space;
  Balance balance(space, 5, 4);
  Tokkos::updateLoadBalance(space, balance, makeMatrix(example, 4),
                            makeMatrix(example_ids, 2),
                            Kokkos::View<const bool*, MemorySpace>(
                                makeMask({true, true, false, true, true})));
  const auto results = resultsOf(balance);
  EXPECT_EQ(4, results.num_tokens);
  EXPECT_NEAR(0.9703194092245242, results.load_balancing_loss, 1e-14);
  EXPECT_NEAR(6.195698063537859, results.z_loss, 1e-14);
  EXPECT_NEAR(0.2227151287652214, results.importance_loss, 1e-14);
}

TEST(LoadBalance, EvenLoad) {
  const ExecutionSpace space;
  Balance balance(space, 300, 6);
  std::vector<int> ids;
  for (int t = 0; t < 300; ++t)
    ids.push_back(t % 6);
  Tokkos::updateLoadBalance(space, balance,
                            makeMatrix(std::vector<float>(300 * 6, 1.0f), 6),
                            makeMatrix(ids, 1));
  const auto results = resultsOf(balance);
  EXPECT_NEAR(1, results.load_balancing_loss, 1e-7);
  EXPECT_NEAR(0, results.importance_loss, 1e-14);
  EXPECT_EQ(1, results.maximum_over_mean);
  EXPECT_EQ(0, results.coefficient_of_variation);
  EXPECT_NEAR(std::log(6.0), results.entropy, 1e-14);
}

TEST(LoadBalance, NothingAndExcluded) {
  const ExecutionSpace space;
  Balance balance(space, 5, 3);
  Tokkos::updateLoadBalance(space, balance, Matrix<float>("logits", 0, 3),
                            Matrix<int>("ids", 0, 2));
  auto results = resultsOf(balance);
  EXPECT_EQ(0, results.num_tokens);
  EXPECT_EQ(0, results.load_balancing_loss);
  EXPECT_EQ(0, results.z_loss);
  EXPECT_EQ(0, results.importance_loss);
  EXPECT_EQ(0, results.maximum_over_mean);
  EXPECT_EQ(0, results.coefficient_of_variation);
  EXPECT_EQ(0, results.entropy);
  const float infinity = std::numeric_limits<float>::infinity();
  Tokkos::updateLoadBalance(
      space, balance, makeMatrix<float>({NAN, 0, -infinity, NAN, NAN, NAN}, 3),
      makeMatrix<int>({1, -1}, 1));
  results = resultsOf(balance);
  EXPECT_EQ(1, results.num_tokens);
  EXPECT_EQ((std::vector<double>{0, 1, 0}), toVector(balance.importance));
  EXPECT_EQ((std::vector<int>{0, 1, 0}), toVector(balance.counts));
  EXPECT_EQ(0, results.z_loss);
  EXPECT_EQ(3, results.load_balancing_loss);
}

TEST(LoadBalance, SameBitsInEveryRunAndOnTheHost) {
  Random random;
  const int num_tokens = 1000, num_experts = 70;
  const auto logits = random.reals<float>(num_tokens * num_experts);
  const auto ids    = random.ids(num_tokens * 4, num_experts);
  const auto run    = [&](const auto& space) {
    using Memory = typename std::decay_t<decltype(space)>::memory_space;
    Tokkos::LoadBalance<Memory> balance(space, num_tokens, num_experts);
    Tokkos::updateLoadBalance(
        space, balance,
        makeRows<Kokkos::View<float**, Kokkos::LayoutRight, Memory>>(
            logits, num_experts),
        makeRows<Kokkos::View<int**, Kokkos::LayoutRight, Memory>>(ids, 4));
    space.fence();
    return std::make_pair(bytesOf(toVector(balance.results).data(),
                                     sizeof(Tokkos::LoadBalanceResults)),
                             toVector(balance.importance));
  };
  const auto first = run(ExecutionSpace());
  const auto again = run(ExecutionSpace());
  const auto host  = run(Kokkos::DefaultHostExecutionSpace());
  EXPECT_EQ(first.first, again.first);
  EXPECT_TRUE(sameBits(first.second, again.second));
  EXPECT_EQ(first.first, host.first);
  EXPECT_TRUE(sameBits(first.second, host.second));
}

/// The losses of logits, each with its factor.
double lossOf(const std::vector<double>& logits, int num_experts,
              const Matrix<int>& ids, const Tokkos::LossFactors& factors) {
  const ExecutionSpace space;
  Balance balance(space, static_cast<int>(logits.size()) / num_experts,
                  num_experts);
  Tokkos::updateLoadBalance(space, balance, makeMatrix(logits, num_experts),
                            ids);
  const auto results = resultsOf(balance);
  return factors.load_balancing * results.load_balancing_loss +
         factors.z * results.z_loss +
         factors.importance * results.importance_loss;
}

TEST(LoadBalance, GradientAgainstFiniteDifferences) {
  const ExecutionSpace space;
  Random random;
  for (const int num_experts : {1, 4, 40}) {
    auto logits = random.reals<double>(6 * num_experts, -2, 2);
    if (num_experts > 1) logits[1] = NAN;
    const auto ids = makeMatrix(random.ids(6 * 2, num_experts), 2);
    for (const auto& factors :
         {Tokkos::LossFactors{.load_balancing = 1}, Tokkos::LossFactors{.z = 1},
          Tokkos::LossFactors{.importance = 1},
          Tokkos::LossFactors{0.5, 0.25, -2}}) {
      Balance balance(space, 8, num_experts);
      const auto d_logits = makeMatrix(logits, num_experts);
      Tokkos::updateLoadBalance(space, balance, d_logits, ids);
      const Matrix<double> gradient("gradient", 6, num_experts);
      Tokkos::loadBalanceGradient(space, balance, d_logits, factors, gradient);
      const auto actual = toVector(gradient);
      for (std::size_t i = 0; i < logits.size(); ++i) {
        const double step = 0x1p-17;
        auto up = logits, down = logits;
        up[i] += step;
        down[i] -= step;
        const double expected = (lossOf(up, num_experts, ids, factors) -
                                 lossOf(down, num_experts, ids, factors)) /
                                (2 * step);
        EXPECT_NEAR(expected, actual[i], 1e-8);
      }
    }
  }
}

TEST(LoadBalance, BiasMovesTowardsAnEvenLoad) {
  const ExecutionSpace space;
  const auto bias = makeArray<float>({0, 1, -1, 0.5f});
  Tokkos::updateRouterBias(space, makeArray<int>({4, 0, 2, 2}), 0.25, bias);
  EXPECT_EQ((std::vector<float>{-0.25f, 1.25f, -1, 0.5f}), toVector(bias));
  // The mean of 1, 1, 0 is no integer.
  const auto three = makeArray<float>({0, 0, 0});
  Tokkos::updateRouterBias(space, makeArray<int>({1, 1, 0}), 1, three);
  EXPECT_EQ((std::vector<float>{-1, -1, 1}), toVector(three));
  std::vector<int> counts(1000, 7);
  counts[999]     = 8;
  const auto many = Array<float>("bias", 1000);
  Tokkos::updateRouterBias(space, makeArray(counts), 1, many);
  std::vector<float> expected(1000, 1);
  expected[999] = -1;
  EXPECT_EQ(expected, toVector(many));
  // Counts whose sum is no int.
  const auto four = makeArray<float>({0, 0, 0, 0});
  Tokkos::updateRouterBias(
      space, makeArray<int>({1 << 30, 1 << 30, 1 << 29, 1 << 30}), 1, four);
  EXPECT_EQ((std::vector<float>{-1, -1, 1, -1}), toVector(four));
}

TEST(LoadBalance, MisuseIsNamed) {
  const ExecutionSpace space;
  Balance balance(space, 5, 4);
  const Matrix<int> ids("ids", 6, 2);
  EXPECT_EQ(
      "Tokkos::updateLoadBalance: logits.extent(0): expected 0 to 5 "
      "(balance.max_tokens), got 6",
      messageOf([&] {
        Tokkos::updateLoadBalance(space, balance, Matrix<float>("logits", 6, 4),
                                  ids);
      }));
  EXPECT_EQ(
      "Tokkos::updateLoadBalance: logits.extent(1): expected 4 "
      "(balance.num_experts), got 3",
      messageOf([&] {
        Tokkos::updateLoadBalance(space, balance, Matrix<float>("logits", 5, 3),
                                  ids);
      }));
  EXPECT_EQ(
      "Tokkos::updateLoadBalance: expert_ids.extent(0): expected 5 "
      "(logits.extent(0)), got 6",
      messageOf([&] {
        Tokkos::updateLoadBalance(space, balance, Matrix<float>("logits", 5, 4),
                                  ids);
      }));
  Tokkos::updateLoadBalance(space, balance, Matrix<float>("logits", 5, 4),
                            Matrix<int>("ids", 5, 2));
  EXPECT_EQ(
      "Tokkos::loadBalanceGradient: logits.extent(0): expected 5 "
      "(balance.num_tokens), got 4",
      messageOf([&] {
        Tokkos::loadBalanceGradient(space, balance,
                                    Matrix<float>("logits", 4, 4), {},
                                    Matrix<float>("gradient", 4, 4));
      }));
  EXPECT_EQ("Tokkos::LoadBalance: num_experts: expected 1 to 2147482623, got 0",
            messageOf([&] { Balance(space, 5, 0); }));
  EXPECT_EQ(
      "Tokkos::updateRouterBias: bias.extent(0): expected 4 "
      "(counts.extent(0)), got 3",
      messageOf([&] {
        Tokkos::updateRouterBias(space, Array<int>("counts", 4), 1,
                                 Array<float>("bias", 3));
      }));
}

}  // namespace Test
