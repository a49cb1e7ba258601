// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// SPDX-FileCopyrightText: Copyright Contributors to the Tokkos project

// The three building blocks of a dispatch: count how many tokens each expert
// gets, scan the counts into offsets, move the tokens to their experts' rows.
// Then the way back: each expert works on its rows and returns the results.

#include <Tokkos/Stages.hpp>

#include <Kokkos_Core.hpp>

#include <cstdint>
#include <cstdio>

// What travels: the token's number comes along, so that its result finds home.
struct Item {
  std::uint32_t token;
  float value;
};

int main(int argc, char* argv[]) {
  const Kokkos::ScopeGuard kokkos(argc, argv);
  const Kokkos::DefaultExecutionSpace space;
  constexpr int num_tokens = 10, num_experts = 4;

  Kokkos::View<Item*> items("items", num_tokens);
  Kokkos::View<int*> expert_ids("expert_ids", num_tokens);
  Kokkos::parallel_for(
      "makeTokens", Kokkos::RangePolicy(space, 0, num_tokens),
      KOKKOS_LAMBDA(int t) {
        items(t)      = {std::uint32_t(t), 0.5f * float(t)};
        expert_ids(t) = t * t % num_experts;  // expert 0 or 1: some stay idle
      });

  // There: expert e owns the rows [begin(e), begin(e + 1)) of the batch.
  Kokkos::View<int*> counts("counts", num_experts);
  Kokkos::View<int*> begin("begin", num_experts + 1);
  Tokkos::countExperts(space, expert_ids, counts);
  Tokkos::scanCounts(space, counts, begin);

  // permuteByExpert advances the offsets that it is given: hand it a copy.
  Kokkos::View<int*> next("next", num_experts + 1);
  Kokkos::deep_copy(space, next, begin);
  Kokkos::View<Item*> batch("batch", num_tokens);
  Tokkos::permuteByExpert(space, items, batch, expert_ids, next);

  // And back: expert e multiplies by e + 1, and each result goes to its token.
  Kokkos::View<float*> output("output", num_tokens);
  Kokkos::parallel_for(
      "experts", Kokkos::RangePolicy(space, 0, num_experts),
      KOKKOS_LAMBDA(int e) {
        for (int r = begin(e); r < begin(e + 1); ++r)
          output(batch(r).token) = float(e + 1) * batch(r).value;
      });

  const Kokkos::HostSpace host;
  const auto offset = Kokkos::create_mirror_view_and_copy(host, begin);
  const auto row    = Kokkos::create_mirror_view_and_copy(host, batch);
  const auto result = Kokkos::create_mirror_view_and_copy(host, output);
  for (int e = 0; e < num_experts; ++e) {
    std::printf("expert %d, rows %2d to %2d: tokens", e, offset(e),
                offset(e + 1));
    for (int r = offset(e); r < offset(e + 1); ++r)
      std::printf(" %u", row(r).token);
    std::printf("\n");
  }
  bool ok = offset(num_experts) == num_tokens;
  for (int t = 0; t < num_tokens; ++t) {
    const float expected = float(t * t % num_experts + 1) * 0.5f * float(t);
    std::printf("token %d: %.1f\n", t, result(t));
    ok = ok && result(t) == expected;
  }
  std::printf(ok ? "OK\n" : "WRONG\n");
  return ok ? 0 : 1;
}
