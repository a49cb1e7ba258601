// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// SPDX-FileCopyrightText: Copyright Contributors to the Tokkos project

#include "TestSupport.hpp"

#include "../examples/common/Npy.hpp"

#include <map>

// The decisions of real models' code: the same experts with the same weights
// for every token. The options are those of docs/routers.md.
namespace Test {

using Options = Tokkos::RouterOptions<MemorySpace>;
using Tokkos::GroupScore;
using Tokkos::Score;

/// The tree's files, or where TOKKOS_TEST_DATA says they are.
std::string pathOf(const std::string& model, const std::string& array) {
  const char* const root = std::getenv("TOKKOS_TEST_DATA");
  return std::string(root ? root : TOKKOS_TEST_DATA_DIR) + "/model-routers/" +
         model + "/" + array + ".npy";
}

using Decision = std::map<int, double>;

std::vector<Decision> decisions(const std::vector<int>& ids,
                                const std::vector<float>& weights, int top_k) {
  std::vector<Decision> tokens(ids.size() / top_k);
  for (std::size_t i = 0; i < ids.size(); ++i)
    tokens[i / top_k][ids[i]] = weights[i];
  return tokens;
}

void testModel(const std::string& model, Options options,
               bool has_bias = false) {
  SCOPED_TRACE(model);
  const auto logits    = Examples::readNpy(pathOf(model, "logits"));
  const auto ids       = Examples::readNpy(pathOf(model, "ids"));
  const int num_tokens = static_cast<int>(logits.shape[0]);
  const int top_k      = static_cast<int>(ids.shape[1]);
  if (has_bias)
    options.bias = makeArray(
        Examples::npyValues<float>(Examples::readNpy(pathOf(model, "bias"))));
  const Matrix<int> own_ids("ids", num_tokens, top_k);
  const Matrix<float> own_weights("weights", num_tokens, top_k);
  Tokkos::routeTopK(
      ExecutionSpace(),
      makeMatrix(Examples::npyValues<float>(logits), logits.shape[1]), own_ids,
      own_weights, options);

  const auto expected = decisions(
      Examples::npyValues<int>(ids),
      Examples::npyValues<float>(Examples::readNpy(pathOf(model, "weights"))),
      top_k);
  const auto actual =
      decisions(toVector(own_ids), toVector(own_weights), top_k);
  ASSERT_EQ(61u, expected.size());
  for (std::size_t t = 0; t < expected.size(); ++t) {
    ASSERT_EQ(expected[t].size(), actual[t].size()) << "token " << t;
    for (const auto& [expert, weight] : expected[t]) {
      ASSERT_EQ(1u, actual[t].count(expert))
          << "token " << t << ", expert " << expert;
      EXPECT_NEAR(weight, actual[t].at(expert), 1e-5 * std::abs(weight))
          << "token " << t << ", expert " << expert;
    }
  }
}

TEST(ModelRouters, Mixtral) {
  testModel("mixtral", {.normalize = true});
}

TEST(ModelRouters, Qwen) {
  testModel("qwen2_moe", {});
  testModel("qwen3_moe", {.normalize = true});
}

TEST(ModelRouters, DeepSeekV2) {
  testModel("deepseek_v2_greedy", {});
  testModel("deepseek_v2_groups", {.groups = 8, .kept_groups = 3, .scale = 16});
}

TEST(ModelRouters, DeepSeekV3) {
  testModel("deepseek_v3",
            {.score       = Score::sigmoid,
             .groups      = 8,
             .kept_groups = 4,
             .group_score = GroupScore::sum_of_best_two,
             .normalize   = true,
             .epsilon     = 1e-20,
             .scale       = 2.5},
            true);
}

TEST(ModelRouters, DeepSeekV4) {
  testModel("deepseek_v4",
            {.score     = Score::sqrt_softplus,
             .normalize = true,
             .epsilon   = 1e-20,
             .scale     = 1.5},
            true);
}

TEST(ModelRouters, Glm) {
  testModel("glm4_moe",
            {.score     = Score::sigmoid,
             .normalize = true,
             .epsilon   = 1e-20,
             .scale     = 2.5},
            true);
}

TEST(ModelRouters, GptOss) {
  testModel("gpt_oss", {.score = Score::selected_softmax});
}

TEST(ModelRouters, Granite) {
  testModel("granitemoe", {.score = Score::selected_softmax});
}

TEST(ModelRouters, Ernie) {
  testModel("ernie4_5_moe", {.normalize = true, .floor = 1e-12}, true);
}

TEST(ModelRouters, LongCat) {
  testModel("longcat_flash", {.scale = 6}, true);
}

TEST(ModelRouters, MiMo) {
  testModel("mimo_v2_flash", {.score = Score::sigmoid, .normalize = true},
            true);
}

}  // namespace Test
