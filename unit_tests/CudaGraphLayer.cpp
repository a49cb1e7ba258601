// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// SPDX-FileCopyrightText: Copyright Contributors to the Tokkos project

#include <Kokkos_Core.hpp>

namespace Test {
using ExecutionSpace = Kokkos::Cuda;
}

#include "TestSupport.hpp"

#include <cmath>

// A whole layer in a CUDA graph, forward and backward.
namespace Test {

using Parameters = Tokkos::MoELayerParameters<float, MemorySpace>;

struct LayerStep {
  static constexpr int num_tokens = 300, num_experts = 16, top_k = 4,
                       hidden = 64, inner = 48;

  Kokkos::Cuda space;
  Parameters parameters, gradients;
  Matrix<float> input{"input", num_tokens, hidden};
  Matrix<float> output_gradient{"output_gradient", num_tokens, hidden};
  Matrix<float> output{"output", num_tokens, hidden};
  Matrix<float> input_gradient{"input_gradient", num_tokens, hidden};
  Tokkos::MoELayer<float, Kokkos::Cuda> layer;

  LayerStep(const Kokkos::Cuda& instance, Random& random)
      : space(instance),
        parameters(makeParameters(random)),
        gradients(makeParameters(random)) {
    Tokkos::MoELayerOptions<MemorySpace> options;
    options.router.normalize = true;
    options.plan.alignment   = 16;
    options.experts.products = Tokkos::ExpertProducts::grouped;
    options.gradients        = true;
    layer                    = {space, num_tokens, top_k, parameters, options};
  }

  static Parameters makeParameters(Random& random) {
    const auto cube = [&](int n, int rows, int columns) {
      const decltype(Parameters().experts.down) view("weights", n, rows,
                                                     columns);
      fromVector(Array<float>(view.data(), view.size()),
                 random.reals<float>(view.size(), -0.2, 0.2));
      return view;
    };
    Parameters made;
    made.router =
        makeMatrix(random.reals<float>(num_experts * hidden, -1, 1), hidden);
    made.experts.gate_up = cube(num_experts, 2 * inner, hidden);
    made.experts.down    = cube(num_experts, hidden, inner);
    made.shared.gate_up  = cube(1, 2 * inner, hidden);
    made.shared.down     = cube(1, hidden, inner);
    made.shared_gate = makeMatrix(random.reals<float>(hidden, -1, 1), hidden);
    return made;
  }

  void setContents(Random& random) {
    fromVector(input, random.reals<float>(input.size(), -1, 1));
    fromVector(output_gradient, random.reals<float>(input.size(), -1, 1));
    for (const auto& view : {output, input_gradient, gradients.router})
      Kokkos::deep_copy(view, NAN);
  }

  void run() {
    layer.forward(space, input, output);
    layer.backward(space, input, output_gradient, input_gradient, gradients);
  }

  std::vector<std::vector<float>> results() const {
    const auto& down = gradients.experts.down;
    return {toVector(output), toVector(input_gradient),
            toVector(gradients.router),
            toVector(Array<float>(down.data(), down.size()))};
  }
};

void testLayerCapture(cudaStreamCaptureMode mode) {
  Random random;
  cudaStream_t stream;
  ASSERT_EQ(cudaSuccess, cudaStreamCreate(&stream));
  {
    LayerStep step(Kokkos::Cuda(stream), random);
    step.setContents(random);
    step.run();  // Kokkos' own scratch grows, and the BLAS makes its handle
    Kokkos::fence();

    cudaGraph_t graph         = nullptr;
    cudaGraphExec_t execution = nullptr;
    ASSERT_EQ(cudaSuccess, cudaStreamBeginCapture(stream, mode));
    step.run();
    ASSERT_EQ(cudaSuccess, cudaStreamEndCapture(stream, &graph));
    ASSERT_EQ(cudaSuccess, cudaGraphInstantiate(&execution, graph, 0));
    for (int replay = 0; replay < 3; ++replay) {
      step.setContents(random);
      step.run();
      Kokkos::fence();
      const auto expected = step.results();
      for (const auto& view : {step.output, step.input_gradient})
        Kokkos::deep_copy(view, NAN);
      Kokkos::fence();
      ASSERT_EQ(cudaSuccess, cudaGraphLaunch(execution, stream));
      ASSERT_EQ(cudaSuccess, cudaStreamSynchronize(stream));
      const auto actual = step.results();
      // The same kernels on the same numbers.
      for (std::size_t i = 0; i < expected.size(); ++i)
        EXPECT_TRUE(sameBits(expected[i], actual[i])) << "array " << i;
      EXPECT_FALSE(std::isnan(actual[0][0]));
    }
    cudaGraphExecDestroy(execution);
    cudaGraphDestroy(graph);
  }
  cudaStreamDestroy(stream);
}

TEST(CudaGraph, AWholeLayerInRelaxedMode) {
  testLayerCapture(cudaStreamCaptureModeRelaxed);
}
TEST(CudaGraph, AWholeLayerInThreadLocalMode) {
  testLayerCapture(cudaStreamCaptureModeThreadLocal);
}
TEST(CudaGraph, AWholeLayerInGlobalMode) {
  testLayerCapture(cudaStreamCaptureModeGlobal);
}

}  // namespace Test
