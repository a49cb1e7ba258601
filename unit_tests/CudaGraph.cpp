// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// SPDX-FileCopyrightText: Copyright Contributors to the Tokkos project

#include <Kokkos_Core.hpp>

namespace Test {
using ExecutionSpace = Kokkos::Cuda;
}

#include "TestSupport.hpp"

#include <tuple>

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

/// Makes the ids of a step, and takes its time.
struct MakeIds {
  Matrix<const int> first_ids;
  Matrix<int> ids;
  int num_experts, step;

  KOKKOS_FUNCTION void operator()(int a) const {
    const int top_k = static_cast<int>(ids.extent(1));
    unsigned waste  = static_cast<unsigned>(a);
    for (int i = 0; i < 3000; ++i)
      waste = waste * 1664525u + 1013904223u;
    const int id = first_ids(a / top_k, a % top_k) + step % num_experts +
                   (waste == 0x12345678u && a < 0 ? 1 : 0);
    ids(a / top_k, a % top_k) = id < num_experts ? id : id - num_experts;
  }
};

// Kernels of a plan may start early. They must wait for whatever makes the ids,
// a kernel or a copy, and whatever reads the plan must wait for them.
struct Chain {
  static constexpr int num_steps = 24;

  int num_tokens, top_k, num_experts;
  Kokkos::Cuda space;
  std::vector<int> first_ids = Random().ids(
      std::size_t(num_tokens) * std::size_t(top_k), num_experts, true);
  Matrix<int> d_first_ids = makeMatrix(first_ids, top_k);
  Matrix<int> ids{"ids", std::size_t(num_tokens), std::size_t(top_k)};
  Matrix<int> copied{"copied", std::size_t(num_tokens), std::size_t(top_k)};
  Tokkos::DispatchPlan<MemorySpace> plan{space, num_tokens, top_k, num_experts};
  std::vector<Matrix<int>> ids_of_step{}, rows_of_step{};

  void allocate() {
    for (int step = 0; step < num_steps; ++step) {
      ids_of_step.push_back(makeMatrix(idsOf(step), top_k));
      rows_of_step.emplace_back("rows", std::size_t(num_tokens),
                                std::size_t(top_k));
    }
  }

  std::vector<int> idsOf(int step) const {
    std::vector<int> result = first_ids;
    for (int& id : result)
      id = (id + step) % num_experts;
    return result;
  }

  void runBehindKernels() {
    for (int step = 0; step < num_steps; ++step) {
      Kokkos::parallel_for(
          Kokkos::RangePolicy<Kokkos::Cuda>(space, 0, num_tokens * top_k),
          MakeIds{d_first_ids, ids, num_experts, step});
      Tokkos::updateDispatchPlan(space, plan, ids);
      if (step % 2 == 0) Tokkos::updateDispatchPlan(space, plan, ids);
      Kokkos::deep_copy(space, rows_of_step[std::size_t(step)],
                        plan.row_of_assignment);
    }
  }

  void runBehindCopies() {
    for (int step = 0; step < num_steps; ++step) {
      Kokkos::deep_copy(space, copied, ids_of_step[std::size_t(step)]);
      Tokkos::updateDispatchPlan(space, plan, copied);
      Kokkos::deep_copy(space, rows_of_step[std::size_t(step)],
                        plan.row_of_assignment);
    }
  }

  void check() const {
    for (int step = 0; step < num_steps; ++step) {
      const auto& rows = rows_of_step[std::size_t(step)];
      EXPECT_EQ(Reference::makePlan(idsOf(step), top_k, num_experts)
                    .row_of_assignment,
                toVector(rows))
          << "step " << step;
      Kokkos::deep_copy(rows, -7);
    }
  }
};

/// As it is, then three times from a graph.
template <class Run>
void testChain(Chain& chain, cudaStream_t stream, const Run& run) {
  Kokkos::fence();
  run();
  Kokkos::fence();
  chain.check();

  cudaGraph_t graph         = nullptr;
  cudaGraphExec_t execution = nullptr;
  Kokkos::fence();
  ASSERT_EQ(cudaSuccess,
            cudaStreamBeginCapture(stream, cudaStreamCaptureModeRelaxed));
  run();
  ASSERT_EQ(cudaSuccess, cudaStreamEndCapture(stream, &graph));
  ASSERT_EQ(cudaSuccess, cudaGraphInstantiate(&execution, graph, 0));
  for (int replay = 0; replay < 3; ++replay)
    ASSERT_EQ(cudaSuccess, cudaGraphLaunch(execution, stream));
  ASSERT_EQ(cudaSuccess, cudaStreamSynchronize(stream));
  chain.check();
  cudaGraphExecDestroy(execution);
  cudaGraphDestroy(graph);
}

TEST(CudaGraph, APlanComesBetweenWhatItReadsAndWhatReadsIt) {
  cudaStream_t stream;
  ASSERT_EQ(cudaSuccess, cudaStreamCreate(&stream));
  for (const auto& [num_tokens, top_k, num_experts] :
       {std::tuple(3, 2, 8), std::tuple(256, 2, 8), std::tuple(4, 8, 256),
        std::tuple(100, 8, 256), std::tuple(3000, 6, 64),
        std::tuple(4096, 8, 256), std::tuple(40000, 4, 128),
        std::tuple(4000, 2, 5000), std::tuple(2000, 1, 60000)}) {
    SCOPED_TRACE("T=" + std::to_string(num_tokens) +
                 " E=" + std::to_string(num_experts));
    Chain chain{num_tokens, top_k, num_experts, Kokkos::Cuda(stream)};
    chain.allocate();
    testChain(chain, stream, [&] { chain.runBehindKernels(); });
    testChain(chain, stream, [&] { chain.runBehindCopies(); });
    if (HasFailure()) break;
  }
  cudaStreamDestroy(stream);
}

TEST(CudaGraph, PlansOnTwoStreamsThatMeet) {
  cudaStream_t streams[2];
  cudaEvent_t forked, joined;
  for (cudaStream_t& stream : streams)
    ASSERT_EQ(cudaSuccess, cudaStreamCreate(&stream));
  ASSERT_EQ(cudaSuccess, cudaEventCreate(&forked));
  ASSERT_EQ(cudaSuccess, cudaEventCreate(&joined));
  for (const auto& [num_tokens, num_experts] :
       {std::pair(200, 8), std::pair(5000, 64)}) {
    const int top_k = 4;
    Kokkos::Cuda first(streams[0]), second(streams[1]);
    const auto ids = Random().ids(std::size_t(num_tokens) * top_k, num_experts);
    const auto d_first_ids = makeMatrix(ids, top_k);
    const Matrix<int> d_ids("ids", std::size_t(num_tokens), top_k);
    std::vector<Tokkos::DispatchPlan<MemorySpace>> plans;
    for (int i = 0; i < 3; ++i)
      plans.emplace_back(first, num_tokens, top_k, num_experts);
    Kokkos::fence();

    cudaGraph_t graph         = nullptr;
    cudaGraphExec_t execution = nullptr;
    ASSERT_EQ(cudaSuccess,
              cudaStreamBeginCapture(streams[0], cudaStreamCaptureModeRelaxed));
    Kokkos::deep_copy(first, d_ids, 0);
    Kokkos::parallel_for(
        Kokkos::RangePolicy<Kokkos::Cuda>(first, 0, num_tokens * top_k),
        MakeIds{d_first_ids, d_ids, num_experts, 0});
    ASSERT_EQ(cudaSuccess, cudaEventRecord(forked, streams[0]));
    ASSERT_EQ(cudaSuccess, cudaStreamWaitEvent(streams[1], forked, 0));
    Tokkos::updateDispatchPlan(second, plans[1], d_ids);
    ASSERT_EQ(cudaSuccess, cudaEventRecord(joined, streams[1]));
    Tokkos::updateDispatchPlan(first, plans[0], d_ids);
    ASSERT_EQ(cudaSuccess, cudaStreamWaitEvent(streams[0], joined, 0));
    Tokkos::updateDispatchPlan(first, plans[2], d_ids);
    ASSERT_EQ(cudaSuccess, cudaStreamEndCapture(streams[0], &graph));
    ASSERT_EQ(cudaSuccess, cudaGraphInstantiate(&execution, graph, 0));
    for (int replay = 0; replay < 3; ++replay)
      ASSERT_EQ(cudaSuccess, cudaGraphLaunch(execution, streams[0]));
    ASSERT_EQ(cudaSuccess, cudaStreamSynchronize(streams[0]));
    for (const auto& plan : plans)
      expectPlan(Reference::makePlan(ids, top_k, num_experts), plan);
    cudaGraphExecDestroy(execution);
    cudaGraphDestroy(graph);
  }
  cudaEventDestroy(joined);
  cudaEventDestroy(forked);
  for (cudaStream_t& stream : streams)
    cudaStreamDestroy(stream);
}

}  // namespace Test
