// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// SPDX-FileCopyrightText: Copyright Contributors to the Tokkos project

#include "Models.hpp"

#include <algorithm>
#include <cstdint>
#include <cstdlib>
#include <map>
#include <string_view>
#include <tuple>

namespace PerfTest {

namespace {

/// SplitMix64 (Steele, Lea, Flood 2014). The engines of the standard library
/// are portable, its distributions are not.
class Random {
 public:
  explicit Random(std::uint64_t seed) : m_state(seed) {}

  /// Uniform in [0, 1).
  double operator()() {
    std::uint64_t z = (m_state += 0x9e3779b97f4a7c15u);
    z               = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z               = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return static_cast<double>((z ^ (z >> 31)) >> 11) * 0x1p-53;
  }

 private:
  std::uint64_t m_state;
};

/// Running sums of the probabilities of the experts.
std::vector<double> cumulative(const Workload& workload) {
  std::vector<double> sums;
  double sum = 0;
  for (int e = 0; e < workload.model.num_experts; ++e)
    sums.push_back(sum += workload.routing == Routing::zipf ? 1. / (e + 1) : 1);
  for (double& s : sums)
    s /= sum;
  return sums;
}

std::vector<int> drawExpertIds(const Workload& workload, int seed) {
  const int top_k       = workload.model.top_k;
  const int num_experts = workload.model.num_experts;
  const auto sums       = cumulative(workload);
  Random random(static_cast<std::uint64_t>(seed) * 1000003 + 20260101);
  const auto draw = [&] {
    const double u = random();
    const auto e =
        workload.routing == Routing::zipf
            ? static_cast<int>(std::upper_bound(sums.begin(), sums.end(), u) -
                               sums.begin())
            : static_cast<int>(u * num_experts);
    return std::min(e, num_experts - 1);
  };
  std::vector<int> ids(static_cast<std::size_t>(workload.numAssignments()));
  for (auto token = ids.begin(); token != ids.end(); token += top_k)
    for (auto id = token; id != token + top_k; ++id)
      do
        *id = draw();
      while (std::find(token, id, *id) != id);
  return ids;
}

}  // namespace

std::string Workload::name() const {
  std::string name =
      std::string(model.name) + "/tokens:" + std::to_string(tokens);
  if (routing == Routing::uniform) name += "/uniform";
  if (routing == Routing::zipf) name += "/zipf";
  return name;
}

bool isSmokeRun() {
  const char* const value = std::getenv("TOKKOS_BENCHMARK_SMOKE");
  return value != nullptr && std::string_view(value) != "0" &&
         std::string_view(value) != "";
}

const std::vector<Model>& models() {
  static const std::vector<Model> all = {{"mixtral", 8, 2, 4096},
                                         {"deepseek_v2_lite", 64, 6, 2048},
                                         {"qwen3_235b", 128, 8, 4096},
                                         {"deepseek_v3", 256, 8, 7168},
                                         {"kimi_k2", 384, 8, 7168}};
  return all;
}

std::vector<Workload> workloads(const std::vector<Routing>& routings) {
  if (isSmokeRun()) {
    std::vector<Workload> tiny;
    for (const Routing routing : routings)
      tiny.push_back({models()[1], 16, routing});
    return tiny;
  }
  std::vector<Workload> all;
  for (const Model& model : models())
    for (const int tokens : {1, 16, 256, 4096, 65536})
      for (const Routing routing : routings)
        all.push_back({model, tokens, routing});
  return all;
}

std::vector<Workload> scalingWorkloads() {
  std::vector<Workload> more;
  if (isSmokeRun()) return more;
  for (const std::size_t m : {0, 3, 4})
    for (const int tokens : {4, 64, 1024, 16384, 262144, 1048576})
      more.push_back({models()[m], tokens, Routing::uniform});
  return more;
}

std::vector<Workload> manyExpertsWorkloads() {
  std::vector<Workload> many;
  if (isSmokeRun()) return many;
  for (const Model& model : {Model{"experts_512", 512, 8, 4096},
                             Model{"experts_4096", 4096, 8, 4096},
                             Model{"experts_4096_top_32", 4096, 32, 4096}})
    for (const int tokens : {1, 16, 256, 4096, 65536})
      many.push_back({model, tokens, Routing::uniform});
  return many;
}

const std::vector<int>& expertIds(const Workload& workload, int seed) {
  static std::map<std::tuple<int, int, int, Routing, int>, std::vector<int>>
      known;
  const Model& model = workload.model;
  const auto [place, is_new] =
      known.try_emplace({model.num_experts, model.top_k, workload.tokens,
                         workload.routing, seed});
  if (is_new) place->second = drawExpertIds(workload, seed);
  return place->second;
}

int numSeeds(const Workload& workload) {
  return workload.tokens > 65536 ? 1 : 4;
}

}  // namespace PerfTest
