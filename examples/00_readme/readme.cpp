// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// SPDX-FileCopyrightText: Copyright Contributors to the Tokkos project

#include <Tokkos.hpp>

template <class T>  // a token's values lie side by side, also on a device
using Matrix = Kokkos::View<T**, Kokkos::LayoutRight>;

int main(int argc, char* argv[]) {
  Kokkos::ScopeGuard kokkos(argc, argv);
  Kokkos::DefaultExecutionSpace space;  // or one on your own stream
  constexpr int T = 1024, E = 8, K = 2, H = 256;
  Matrix<float> logits("logits", T, E), tokens("tokens", T, H);
  Matrix<float> weights("weights", T, K), output("output", T, H);
  Matrix<int> expert_ids("expert_ids", T, K);

  Tokkos::routeTopK(space, logits, expert_ids, weights, {.normalize = true});
  auto plan = Tokkos::buildDispatchPlan(space, expert_ids, E);
  Matrix<float> batch("batch", plan.max_rows, H);
  Tokkos::permute(space, plan, tokens, batch);
  // expert e works on the rows plan.offsets(e) ... of the batch
  Tokkos::combine(space, plan, batch, weights, output);

  Tokkos::updateDispatchPlan(space, plan, expert_ids);  // the next step
  space.fence();
}
