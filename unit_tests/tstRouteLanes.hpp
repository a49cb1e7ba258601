// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// SPDX-FileCopyrightText: Copyright Contributors to the Tokkos project

#include "TestSupport.hpp"

#include <Tokkos/Impl/RouteLanes.hpp>
#include <Tokkos/Impl/RouteTopK.hpp>
#include <Tokkos/Impl/RouterArguments.hpp>
#include <Tokkos/KokkosExt/Team.hpp>

#include <cmath>
#include <string>
#include <vector>

// The router of a device, on a host, with one lane to a token: ids and weights
// are those of the host's router, bit for bit, as on all paths. The suite
// Router compares the latter with the plain loops; a device runs this kernel
// there.
namespace Test {

using Tokkos::Impl::RouterUse;

template <int chunks, RouterUse use, class Data>
void routeByOneLane(const Data& data) {
  if constexpr (Tokkos::KokkosExt::is_host_execution_space_v<ExecutionSpace>) {
    const Tokkos::Impl::RouteLanes<ExecutionSpace, Data, 1, chunks, use> kernel(
        data, false);
    const ExecutionSpace space;
    Tokkos::KokkosExt::launchTeams("lanes", space, data.num_tokens, 1,
                                   kernel.scratch_bytes, kernel);
    space.fence();
  }
}

/// Calls route(data), which must give what routeTopK gives.
template <class Route>
void testLikeTopK(const std::vector<float>& logits, int num_experts, int top_k,
                  const Tokkos::RouterOptions<MemorySpace>& options,
                  const Route& route) {
  const std::size_t num_tokens = logits.size() / num_experts;
  SCOPED_TRACE("T=" + std::to_string(num_tokens) + " E=" +
               std::to_string(num_experts) + " K=" + std::to_string(top_k) +
               " score=" + std::to_string(static_cast<int>(options.score)));
  const auto width    = std::size_t(top_k + options.num_shared_experts);
  const auto d_logits = makeMatrix(logits, num_experts);
  const Matrix<int> ids("ids", num_tokens, width);
  const Matrix<int> known_ids("ids", num_tokens, width);
  const Matrix<float> weights("weights", num_tokens, width);
  const Matrix<float> known_weights("weights", num_tokens, width);
  Kokkos::deep_copy(ids, -77);
  Tokkos::routeTopK(ExecutionSpace(), d_logits, known_ids, known_weights,
                    options);
  route(Tokkos::Impl::makeRouterData(d_logits, ids, weights, options));
  EXPECT_EQ(toVector(known_ids), toVector(ids));
  EXPECT_TRUE(sameBits(toVector(known_weights), toVector(weights)));
}

void testRounds(const std::vector<float>& logits, int num_experts, int top_k,
                const Tokkos::RouterOptions<MemorySpace>& options = {}) {
  testLikeTopK(logits, num_experts, top_k, options, [](const auto& data) {
    const ExecutionSpace space;
    Tokkos::Impl::routeInRounds(space, data);
    space.fence();
  });
}

/// \tparam chunks of four experts: all that there are
template <int chunks>
void testLanes(const std::vector<float>& logits, int num_experts, int top_k,
               const Tokkos::RouterOptions<MemorySpace>& options = {}) {
  ASSERT_LE(num_experts, 4 * chunks);
  testLikeTopK(logits, num_experts, top_k, options, [](const auto& data) {
    switch (data.use()) {
      case RouterUse::softmax:
        routeByOneLane<chunks, RouterUse::softmax>(data.inRows());
        break;
      case RouterUse::sums:
        routeByOneLane<chunks, RouterUse::sums>(data.inRows());
        break;
      default:
        routeByOneLane<chunks, RouterUse::general>(data.withoutCap());
    }
  });
  testRounds(logits, num_experts, top_k, options);
}

/// Logits of few different values, among them those that are excluded.
std::vector<float> tiedLogits(Random& random, std::size_t n, int num_values) {
  std::vector<float> logits(n);
  for (float& x : logits) {
    x = static_cast<float>(random.integer(0, num_values - 1) - num_values / 2);
    if (random.chance(0.05)) x = random.chance(0.5) ? NAN : -INFINITY;
    if (x == 0 && random.chance(0.5)) x = -0.0f;
  }
  return logits;
}

template <int chunks>
void testSizes(Random& random, int num_experts) {
  using Tokkos::Score;
  for (const int top_k : {1, 2, 3, 4, 7, 16, 33, 60}) {
    if (top_k > num_experts) break;
    // Distinct numbers, ties of a few, ties of nearly all, and all equal.
    for (const int num_values : {1 << 20, 40, 5, 2, 1}) {
      const auto logits =
          tiedLogits(random, std::size_t(30) * num_experts, num_values);
      for (const Score score : {Score::softmax, Score::selected_softmax})
        for (const bool normalize : {false, true})
          testLanes<chunks>(logits, num_experts, top_k,
                            {.score = score, .normalize = normalize});
      for (const Score score :
           {Score::softmax, Score::sigmoid, Score::identity})
        testLanes<chunks>(logits, num_experts, top_k,
                          {.score = score,
                           .bias  = makeArray(random.reals<float>(num_experts)),
                           .normalize          = true,
                           .scale              = 2.5,
                           .num_shared_experts = 1});
      if (testing::Test::HasFailure()) return;
    }
  }
}

TEST(RouteLanes, OneLaneOnAHost) {
  if (!Tokkos::KokkosExt::is_host_execution_space_v<ExecutionSpace>)
    GTEST_SKIP() << "devices have tests of their own";
  Random random;
  for (const int num_experts : {1, 3, 4})
    testSizes<1>(random, num_experts);
  for (const int num_experts : {5, 8})
    testSizes<2>(random, num_experts);
  for (const int num_experts : {61, 64})
    testSizes<16>(random, num_experts);
}

TEST(RouteLanes, RoundsOfLongRows) {
  if (!Tokkos::KokkosExt::is_host_execution_space_v<ExecutionSpace>)
    GTEST_SKIP() << "devices have tests of their own";
  Random random;
  for (const int num_experts : {127, 128, 129, 700, 1000})
    for (const int num_values : {1 << 20, 5}) {
      const auto logits =
          tiedLogits(random, std::size_t(5) * num_experts, num_values);
      for (const double soft_cap : {0., 20.})
        for (const auto score :
             {Tokkos::Score::softmax, Tokkos::Score::sqrt_softplus})
          testRounds(logits, num_experts, 8,
                     {.soft_cap = soft_cap, .score = score, .normalize = true});
    }
}

TEST(RouteLanes, GroupsOnAHost) {
  using Tokkos::GroupScore;
  if (!Tokkos::KokkosExt::is_host_execution_space_v<ExecutionSpace>)
    GTEST_SKIP() << "devices have tests of their own";
  Random random;
  for (const int groups : {2, 4, 8, 16})
    for (const auto group_score :
         {GroupScore::maximum, GroupScore::sum_of_best_two,
          GroupScore::sum_of_best})
      for (const int num_values : {1 << 20, 5, 1})
        testLanes<16>(tiedLogits(random, 64 * 30, num_values), 64, 8,
                      {.score       = Tokkos::Score::sigmoid,
                       .groups      = groups,
                       .kept_groups = groups / 2,
                       .group_score = group_score,
                       .normalize   = true});
}

TEST(RouteLanes, MaskOnAHost) {
  if (!Tokkos::KokkosExt::is_host_execution_space_v<ExecutionSpace>)
    GTEST_SKIP() << "devices have tests of their own";
  Random random;
  std::vector<bool> mask;
  for (int t = 0; t < 30; ++t)
    mask.push_back(random.chance(0.5));
  testLanes<2>(tiedLogits(random, 8 * 30, 5), 8, 3,
               {.mask = makeMask(mask), .num_shared_experts = 2});
}

}  // namespace Test
