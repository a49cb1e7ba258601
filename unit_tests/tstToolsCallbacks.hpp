// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// SPDX-FileCopyrightText: Copyright Contributors to the Tokkos project

#include "TestSupport.hpp"

#include <regex>

// What the verbs do, seen through the callbacks of Kokkos Tools: their labels,
// that all runs on the caller's instance, and that on a prepared plan nothing
// is allocated and nothing waits.
namespace Test {

struct Recorder {
  static inline std::vector<std::string> kernels, regions, allocations, fences;
  static inline std::vector<std::uint32_t> devices;
  static inline std::uint64_t allocated_bytes = 0;

  /// Records what f does.
  template <class F>
  static void record(const F& f) {
    namespace Tools = Kokkos::Tools::Experimental;
    kernels.clear();
    regions.clear();
    allocations.clear();
    fences.clear();
    devices.clear();
    allocated_bytes   = 0;
    const auto before = Tools::get_callbacks();
    Tools::set_begin_parallel_for_callback(kernel);
    Tools::set_begin_parallel_reduce_callback(kernel);
    Tools::set_begin_parallel_scan_callback(kernel);
    Tools::set_push_region_callback(
        [](const char* label) { regions.emplace_back(label); });
    Tools::set_allocate_data_callback([](Kokkos_Profiling_SpaceHandle,
                                         const char* label, const void*,
                                         std::uint64_t size) {
      if (size > 0) allocations.emplace_back(label);
      allocated_bytes += size;
    });
    Tools::set_begin_fence_callback(
        [](const char* label, const std::uint32_t, std::uint64_t*) {
          fences.emplace_back(label);
        });
    f();
    Tools::set_callbacks(before);
  }

 private:
  static void kernel(const char* label, const std::uint32_t device,
                     std::uint64_t*) {
    kernels.emplace_back(label);
    devices.push_back(device);
  }
};

/// A whole dispatch on prepared Views.
struct Step {
  static constexpr int num_tokens = 3000, top_k = 2, num_experts = 8,
                       width = 32;

  ExecutionSpace space;
  Matrix<float> logits{"logits", num_tokens, num_experts};
  Matrix<int> ids{"ids", num_tokens, top_k};
  Matrix<float> weights{"weights", num_tokens, top_k};
  Matrix<float> tokens{"tokens", num_tokens, width};
  Matrix<float> output{"output", num_tokens, width};
  Matrix<float> assignments{"assignments", num_tokens* top_k, width};
  Matrix<float> weights_gradient{"weights_gradient", num_tokens, top_k};
  Tokkos::DispatchPlan<MemorySpace> plan;
  Matrix<float> batch;
  Matrix<float> batch_gradient;
  Array<float> batch_weights;

  explicit Step(const ExecutionSpace& instance)
      : space(instance),
        plan(space, num_tokens, top_k, num_experts,
             {.capacity = 700, .alignment = 8}),
        batch("batch", plan.max_rows, width),
        batch_gradient("batch_gradient", plan.max_rows, width),
        batch_weights("batch_weights", plan.max_rows) {
    Random random;
    fromVector(logits, random.reals<float>(logits.size()));
    Kokkos::fence();
  }

  void run() {
    Tokkos::routeTopK(space, logits, ids, weights);
    Tokkos::updateDispatchPlan(space, plan, ids);
    Tokkos::permute(space, plan, tokens, batch,
                    Tokkos::perAssignment(weights, batch_weights));
    Tokkos::unpermute(space, plan, batch, assignments);
    Tokkos::combine(space, plan, batch, weights, output);
    Tokkos::combineGradient(space, plan, output, batch, weights, batch_gradient,
                            weights_gradient);
    Tokkos::permuteGradient(space, plan, batch_gradient, tokens);
  }
};

TEST(ToolsCallbacks, APreparedPlanAllocatesAndFencesNothing) {
  Step step{ExecutionSpace()};
  step.run();  // Kokkos' own scratch grows at the first call
  Recorder::record([&] { step.run(); });
  EXPECT_EQ(std::vector<std::string>(), Recorder::allocations);
  EXPECT_EQ(std::vector<std::string>(), Recorder::fences);
  EXPECT_GE(Recorder::kernels.size(), 8u);
  EXPECT_EQ((std::vector<std::string>{
                "Tokkos::routeTopK", "Tokkos::updateDispatchPlan",
                "Tokkos::permute", "Tokkos::unpermute", "Tokkos::combine",
                "Tokkos::combineGradient", "Tokkos::permuteGradient"}),
            Recorder::regions);
}

TEST(ToolsCallbacks, KernelsAreLabelledByVerbAndPhase) {
  Step step{ExecutionSpace()};
  Recorder::record([&] { step.run(); });
  const std::regex label("Tokkos::[a-z][A-Za-z]*::[a-z][A-Za-z]*");
  for (const std::string& kernel : Recorder::kernels)
    EXPECT_TRUE(std::regex_match(kernel, label)) << kernel;
}

TEST(ToolsCallbacks, AllocationsOfAPlanAreLabelled) {
  Recorder::record([&] {
    Tokkos::DispatchPlan<MemorySpace>(ExecutionSpace(), 100, 2, 8,
                                      {.alignment = 4});
  });
  EXPECT_EQ(9u, Recorder::allocations.size());
  for (const std::string& label : Recorder::allocations)
    EXPECT_EQ(0u, label.find("Tokkos::DispatchPlan::")) << label;
}

TEST(ToolsCallbacks, BytesTellsBeforehandWhatAPlanAllocates) {
  const ExecutionSpace space;
  using Plan      = Tokkos::DispatchPlan<MemorySpace>;
  const auto test = [&](int max_tokens, int top_k, int num_experts,
                        const Tokkos::PlanOptions<MemorySpace>& options,
                        std::size_t extra) {
    Recorder::record(
        [&] { Plan(space, max_tokens, top_k, num_experts, options); });
    const std::size_t bytes =
        Plan::bytes(space, max_tokens, top_k, num_experts, options);
    EXPECT_EQ(Recorder::allocated_bytes, bytes);
    EXPECT_LE(bytes,
              std::size_t(16) * max_tokens * top_k + (64u << 20) + extra);
  };
  test(4096, 8, 256, {}, 0);
  test(1000, 8, 20000, {}, 0);
  test(2000, 2, 8, {.capacity = 100, .alignment = 16}, 0);
  test(2000, 2, 8, {.capacity = 100, .drop = Tokkos::DropPolicy::later_choices},
       0);
  test(2000, 2, 8, {.capacity = 100, .drop = Tokkos::DropPolicy::lowest_weight},
       8 * 1024);
}

TEST(ToolsCallbacks, EveryKernelRunsOnTheCallersInstance) {
  const auto instances = makeInstances();
  for (const ExecutionSpace& space : instances) {
    const auto expected = Kokkos::Tools::Experimental::device_id(space);
    Step step{space};
    const auto offsets = makeArray(std::vector<int>(Step::num_experts + 1, 0));
    const Array<int> counts("counts", Step::num_experts);
    Recorder::record([&] {
      step.run();
      Tokkos::countExperts(space, step.ids, counts);
      Tokkos::scanCounts(space, counts, offsets);
      Tokkos::permuteByExpert(space, step.tokens, step.batch,
                              Kokkos::subview(step.ids, Kokkos::ALL, 0),
                              offsets);
    });
    space.fence();
    EXPECT_GE(Recorder::devices.size(), 11u);
    for (std::size_t i = 0; i < Recorder::devices.size(); ++i)
      EXPECT_EQ(expected, Recorder::devices[i]) << Recorder::kernels[i];
  }
}

TEST(ToolsCallbacks, NoVerbWaits) {
  // Kokkos may fence where it grows its scratch, but not these on prepared
  // data.
  const ExecutionSpace space;
  Step step{space};
  const auto offsets = makeArray(std::vector<int>(Step::num_experts + 1, 0));
  const Array<int> counts("counts", Step::num_experts);
  const auto stages = [&] {
    Tokkos::countExperts(space, step.ids, counts);
    Tokkos::scanCounts(space, counts, offsets);
    Tokkos::permuteByExpert(space, step.tokens, step.batch,
                            Kokkos::subview(step.ids, Kokkos::ALL, 0), offsets);
  };
  stages();
  Recorder::record(stages);
  EXPECT_EQ(std::vector<std::string>(), Recorder::allocations);
  EXPECT_EQ(std::vector<std::string>(), Recorder::fences);
}

}  // namespace Test
