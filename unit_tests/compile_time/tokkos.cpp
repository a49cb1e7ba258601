// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// SPDX-FileCopyrightText: Copyright Contributors to the Tokkos project

// The four verbs of a layer, each once.
#include <Tokkos.hpp>

int main(int argc, char* argv[]) {
  Kokkos::ScopeGuard kokkos(argc, argv);
  using Space     = Kokkos::DefaultExecutionSpace;
  using Reals     = Kokkos::View<float**, Kokkos::LayoutRight>;
  constexpr int T = 64, E = 8, K = 2, H = 32;
  const Space space;
  const Reals logits("logits", T, E), weights("weights", T, K);
  const Reals tokens("tokens", T, H), output("output", T, H);
  const Kokkos::View<int**, Kokkos::LayoutRight> expert_ids("ids", T, K);
  Tokkos::DispatchPlan<Space::memory_space> plan(space, T, K, E);
  const Reals batch("batch", plan.max_rows, H);
  Tokkos::routeTopK(space, logits, expert_ids, weights);
  Tokkos::updateDispatchPlan(space, plan, expert_ids);
  Tokkos::permute(space, plan, tokens, batch);
  Tokkos::combine(space, plan, batch, weights, output);
  Kokkos::fence();
}
