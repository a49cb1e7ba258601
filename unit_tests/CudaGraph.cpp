// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// SPDX-FileCopyrightText: Copyright Contributors to the Tokkos project

#include <Kokkos_Core.hpp>

namespace Test {
using ExecutionSpace = Kokkos::Cuda;
}

#include "TestSupport.hpp"

// A step captured in a CUDA graph replays with new contents: the verbs neither
// wait nor allocate, and hold no number that belongs to the capture.
namespace Test {

struct Step {
  int num_tokens, top_k, num_experts, width;
  Kokkos::Cuda space;
  Matrix<float> logits{"logits", std::size_t(num_tokens),
                       std::size_t(num_experts)};
  Matrix<int> ids{"ids", std::size_t(num_tokens), std::size_t(top_k)};
  Matrix<float> weights{"weights", std::size_t(num_tokens), std::size_t(top_k)};
  Matrix<float> tokens{"tokens", std::size_t(num_tokens), std::size_t(width)};
  Matrix<float> output{"output", std::size_t(num_tokens), std::size_t(width)};
  Array<bool> mask{"mask", std::size_t(num_tokens)};
  Tokkos::DispatchPlan<MemorySpace> plan{
      space,
      num_tokens,
      top_k,
      num_experts,
      {.mask = mask, .capacity = num_tokens, .alignment = 4}};
  Matrix<float> batch{"batch", std::size_t(plan.max_rows), std::size_t(width)};

  void run() {
    Tokkos::routeTopK(space, logits, ids, weights, {.normalize = true});
    Tokkos::updateDispatchPlan(space, plan, ids);
    Tokkos::permute(space, plan, tokens, batch);
    Tokkos::combine(space, plan, batch, weights, output);
  }

  void setContents(Random& random) {
    fromVector(logits, random.reals<float>(logits.size()));
    fromVector(tokens, random.reals<float>(tokens.size()));
    const auto host = Kokkos::create_mirror_view(mask);
    for (int t = 0; t < num_tokens; ++t)
      host(t) = random.chance(0.8);
    Kokkos::deep_copy(mask, host);
    Kokkos::deep_copy(output, NAN);
  }

  void check() const {
    Reference::Options known;
    known.capacity         = num_tokens;
    known.alignment        = 4;
    const auto taking_part = toVector(mask);
    known.mask.assign(taking_part.begin(), taking_part.end());
    const auto routing = Reference::routeTopK(
        toVector(logits), num_experts, top_k, Reference::Score::softmax, true);
    EXPECT_EQ(routing.ids, toVector(ids));
    const auto expected =
        Reference::makePlan(routing.ids, top_k, num_experts, known);
    expectPlan(expected, plan);
    const auto rows =
        Reference::permute(expected, toVector(tokens), width, top_k);
    EXPECT_TRUE(sameBits(Reference::combine<float>(
                             expected, rows, toVector(weights), width, top_k),
                         toVector(output)));
  }
};

void testReplay(cudaStreamCaptureMode mode, int num_tokens, int top_k,
                int num_experts) {
  SCOPED_TRACE("T=" + std::to_string(num_tokens) +
               " E=" + std::to_string(num_experts) +
               " mode=" + std::to_string(int(mode)));
  Random random;
  cudaStream_t stream;
  ASSERT_EQ(cudaSuccess, cudaStreamCreate(&stream));
  {
    Step step{num_tokens, top_k, num_experts, 24, Kokkos::Cuda(stream)};
    step.setContents(random);
    step.run();  // Kokkos' own scratch grows at the first call
    Kokkos::fence();

    cudaGraph_t graph         = nullptr;
    cudaGraphExec_t execution = nullptr;
    ASSERT_EQ(cudaSuccess, cudaStreamBeginCapture(stream, mode));
    step.run();
    ASSERT_EQ(cudaSuccess, cudaStreamEndCapture(stream, &graph));
    ASSERT_EQ(cudaSuccess, cudaGraphInstantiate(&execution, graph, 0));
    for (int replay = 0; replay < 4; ++replay) {
      step.setContents(random);
      Kokkos::fence();
      ASSERT_EQ(cudaSuccess, cudaGraphLaunch(execution, stream));
      ASSERT_EQ(cudaSuccess, cudaStreamSynchronize(stream));
      step.check();
    }
    cudaGraphExecDestroy(execution);
    cudaGraphDestroy(graph);
  }
  cudaStreamDestroy(stream);
}

void testSizes(cudaStreamCaptureMode mode) {
  testReplay(mode, 3, 2, 8);       // the smallest plan
  testReplay(mode, 300, 4, 64);    // one tile
  testReplay(mode, 5000, 8, 256);  // several tiles
  testReplay(mode, 900, 8, 5000);  // more experts than scratch memory holds
}

TEST(CudaGraph, RelaxedCapture) {
  testSizes(cudaStreamCaptureModeRelaxed);
}
TEST(CudaGraph, ThreadLocalCapture) {
  testSizes(cudaStreamCaptureModeThreadLocal);
}
TEST(CudaGraph, GlobalCapture) {
  testSizes(cudaStreamCaptureModeGlobal);
}

}  // namespace Test
