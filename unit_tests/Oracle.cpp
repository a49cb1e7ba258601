// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// SPDX-FileCopyrightText: Copyright Contributors to the Tokkos project

#include <Kokkos_Core.hpp>

namespace Test {
using ExecutionSpace = Kokkos::DefaultHostExecutionSpace;
}

#include "TestSupport.hpp"

// The same input through the host and through the device: the same bits.
namespace Test {

struct Result {
  std::vector<int> ids;
  std::vector<float> weights;
  std::vector<int> counts, offsets, dropped, row_of_assignment,
      assignment_of_row, num_rows, num_dropped;
  std::vector<float> batch, output;
  std::vector<float> batch_gradient, weights_gradient, tokens_gradient;
};

struct Input {
  int num_tokens, top_k, num_experts, width, capacity, alignment;
  std::vector<float> logits, tokens;
};

template <class Space, class T>
Kokkos::View<T**, Kokkos::LayoutRight, Space> place(
    const std::vector<T>& values, int width) {
  return makeRows<Kokkos::View<T**, Kokkos::LayoutRight, Space>>(values, width);
}

template <class Space>
Result run(const Space& space, const Input& in) {
  using Memory      = typename Space::memory_space;
  using Floats      = Kokkos::View<float**, Kokkos::LayoutRight, Memory>;
  const auto tokens = place<Memory>(in.tokens, in.width);
  const Kokkos::View<int**, Kokkos::LayoutRight, Memory> ids(
      "ids", in.num_tokens, in.top_k);
  const Floats weights("weights", in.num_tokens, in.top_k);
  Tokkos::routeTopK(space, place<Memory>(in.logits, in.num_experts), ids,
                    weights, {.normalize = true});
  const auto plan = Tokkos::buildDispatchPlan(
      space, ids, in.num_experts,
      {.capacity = in.capacity, .alignment = in.alignment});
  const Floats batch("batch", plan.max_rows, in.width);
  const Floats output("output", in.num_tokens, in.width);
  Tokkos::permute(space, plan, tokens, batch);
  Tokkos::combine(space, plan, batch, weights, output);
  const Floats batch_gradient("batch_gradient", plan.max_rows, in.width);
  const Floats weights_gradient("weights_gradient", in.num_tokens, in.top_k);
  const Floats tokens_gradient("tokens_gradient", in.num_tokens, in.width);
  Tokkos::combineGradient(space, plan, output, batch, weights, batch_gradient,
                          weights_gradient);
  Tokkos::permuteGradient(space, plan, batch_gradient, tokens_gradient);
  space.fence();

  Result result{toVector(ids),
                toVector(weights),
                toVector(plan.counts),
                toVector(plan.offsets),
                toVector(plan.dropped),
                toVector(plan.row_of_assignment),
                toVector(plan.assignment_of_row),
                toVector(plan.num_rows),
                toVector(plan.num_dropped),
                toVector(batch),
                toVector(output),
                toVector(batch_gradient),
                toVector(weights_gradient),
                toVector(tokens_gradient)};
  result.assignment_of_row.resize(result.num_rows[0]);
  return result;
}

void expectSame(const Result& a, const Result& b) {
  EXPECT_EQ(a.ids, b.ids);
  EXPECT_TRUE(sameBits(a.weights, b.weights));
  EXPECT_EQ(a.counts, b.counts);
  EXPECT_EQ(a.offsets, b.offsets);
  EXPECT_EQ(a.dropped, b.dropped);
  EXPECT_EQ(a.row_of_assignment, b.row_of_assignment);
  EXPECT_EQ(a.assignment_of_row, b.assignment_of_row);
  EXPECT_EQ(a.num_rows, b.num_rows);
  EXPECT_EQ(a.num_dropped, b.num_dropped);
  EXPECT_TRUE(sameBits(a.batch, b.batch));
  EXPECT_TRUE(sameBits(a.output, b.output));
  EXPECT_TRUE(sameBits(a.batch_gradient, b.batch_gradient));
  EXPECT_TRUE(sameBits(a.weights_gradient, b.weights_gradient));
  EXPECT_TRUE(sameBits(a.tokens_gradient, b.tokens_gradient));
}

TEST(Oracle, HostAndDeviceGiveTheSameBits) {
  Random random;
  for (const auto& [num_tokens, top_k, num_experts, width, capacity,
                    alignment] :
       {std::tuple(1, 1, 1, 1, 0, 1), std::tuple(33, 2, 8, 17, 0, 1),
        std::tuple(4096, 2, 8, 64, 900, 1), std::tuple(3000, 6, 64, 40, 0, 16),
        std::tuple(5000, 8, 256, 96, 150, 128),
        std::tuple(777, 8, 384, 200, 0, 1), std::tuple(0, 2, 4, 8, 0, 4)}) {
    Input in{num_tokens, top_k,     num_experts, width,
             capacity,   alignment, {},          {}};
    in.logits = random.reals<float>(std::size_t(num_tokens) * num_experts);
    in.tokens = random.reals<float>(std::size_t(num_tokens) * width);
    for (float& x : in.logits) {
      if (random.chance(0.02)) x = 0;
      if (random.chance(0.01)) x = NAN;
    }
    const Result host = run(Kokkos::DefaultHostExecutionSpace(), in);
    expectSame(host, run(Kokkos::DefaultExecutionSpace(), in));
#ifdef KOKKOS_ENABLE_SERIAL
    expectSame(host, run(Kokkos::Serial(), in));
#endif
  }
}

}  // namespace Test
