// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// SPDX-FileCopyrightText: Copyright Contributors to the Tokkos project

#ifndef TOKKOS_PERFTEST_MODELS_HPP
#define TOKKOS_PERFTEST_MODELS_HPP

#include <string>
#include <vector>

// What is measured: the shapes of well-known models, how many tokens, and how
// the router spreads them. Nothing here needs Kokkos.
namespace PerfTest {

struct Model {
  const char* name;
  int num_experts;  // E
  int top_k;        // K
  int hidden;       // H
};

/// How the tokens choose: K distinct experts, all equally likely, or expert e
/// with a probability that goes as 1 / (e + 1). `none` where ids play no part.
enum class Routing { uniform, zipf, none };

/// One point of the measurements.
struct Workload {
  Model model;
  int tokens;
  Routing routing = Routing::none;

  int numAssignments() const { return tokens * model.top_k; }
  /// The part of a benchmark's name: deepseek_v3/tokens:4096/zipf
  std::string name() const;
};

/// True when TOKKOS_BENCHMARK_SMOKE is set to anything but 0: all families of
/// benchmarks on tiny inputs, to see that they work.
bool isSmokeRun();

const std::vector<Model>& models();

/// Every model with 1, 16, 256, 4096 and 65536 tokens and each of the routings.
std::vector<Workload> workloads(const std::vector<Routing>& routings);

/// The tokens that are missing above in a plot of the cost over the number of
/// tokens, 1 to 1M in steps of 4, for a small, a middle and a large E.
std::vector<Workload> scalingWorkloads();

/// Hundreds and thousands of experts, to see what an expert costs.
std::vector<Workload> manyExpertsWorkloads();

/// The ids of all assignments, T x K with K running fastest. The same on every
/// machine. Made once for every workload and seed and kept.
const std::vector<int>& expertIds(const Workload& workload, int seed);

/// expertIds knows this many seeds that are worth their time; take others
/// modulo it.
int numSeeds(const Workload& workload);

}  // namespace PerfTest

#endif
