// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// SPDX-FileCopyrightText: Copyright Contributors to the Tokkos project

#include "TestSupport.hpp"

#include <Tokkos/Impl/PlanHost.hpp>
#include <Tokkos/Impl/PlanSmall.hpp>
#include <Tokkos/Impl/PlanTeam.hpp>

// The algorithms of the plan that run on any device, on every backend: with
// several team sizes and tile lengths, where a host "team" has subgroups of one
// thread.
namespace Test {

template <class Id>
void testTeams(const std::vector<Id>& ids, int top_k, int num_experts,
               int team_size, int tile_length, int capacity, int alignment) {
  SCOPED_TRACE("n=" + std::to_string(ids.size()) +
               " E=" + std::to_string(num_experts) +
               " team=" + std::to_string(team_size) +
               " tile=" + std::to_string(tile_length));
  const ExecutionSpace space;
  const auto d_ids = makeMatrix(ids, top_k);
  Tokkos::DispatchPlan<MemorySpace> plan(
      space, std::int64_t(ids.size()) / top_k, top_k, num_experts,
      {.capacity = capacity, .alignment = alignment});
  // The tiles of the test are not those that the plan was made for.
  const int n     = static_cast<int>(ids.size());
  plan.tile_table = Kokkos::View<int**, Kokkos::LayoutRight, MemorySpace>(
      "table", n / tile_length + 1,
      Tokkos::Impl::PlanData::tableStride(num_experts));
  plan.num_tokens = n / top_k;
  Tokkos::Impl::updatePlanTeam(
      space, Tokkos::Impl::planKeys(plan, d_ids),
      Tokkos::Impl::planData(plan, plan.num_tokens, tile_length), team_size);
  space.fence();

  Reference::Options known;
  known.capacity  = capacity;
  known.alignment = alignment;
  expectPlan(Reference::makePlan(ids, top_k, num_experts, known), plan);
}

TEST(PlanTeam, TeamSizesAndTileLengths) {
  Random random;
  std::vector<int> team_sizes = {32, 64, 256, 512, 1024};
  if (Tokkos::KokkosExt::is_host_execution_space_v<ExecutionSpace>) {
    team_sizes.clear();
    for (int size = 1; size <= ExecutionSpace().concurrency(); ++size)
      team_sizes.push_back(size);
  }
  for (const int team_size : team_sizes)
    for (const int tile_length : {1, 7, 64, 1000, 5000}) {
      testTeams(random.ids(3000, 20, true, true), 2, 20, team_size, tile_length,
                0, 1);
      testTeams(random.ids<std::int64_t>(2000, 300, false, true), 4, 300,
                team_size, tile_length, 9, 16);
      testTeams(random.ids(1500, 9000), 1, 9000, team_size, 500, 0, 3);
      if (testing::Test::HasFailure()) return;
    }
}

// The table of a plan is made for the most tiles that any number of assignments
// up to its own is cut into.
TEST(PlanTeam, FewerAssignmentsNeedNoMoreTiles) {
  const ExecutionSpace space;
  const auto num_tiles = [&](int n, int num_experts) {
    const int length = Tokkos::Impl::planTileLength(space, n, num_experts);
    return (n - 1) / length + 1;
  };
  for (const int num_experts : {1, 64, 1024, 2000, 5000, 20000, 300000})
    for (const int n :
         {1, 5000, 200000, 1 << 20, 3000000, 20000000, 200000000}) {
      const int most = Tokkos::Impl::planMaxTiles(space, n, num_experts);
      for (std::int64_t fewer = n; fewer > 0; fewer -= n / 997 + 1)
        ASSERT_LE(num_tiles(static_cast<int>(fewer), num_experts), most)
            << fewer << " of " << n << " assignments, E=" << num_experts;
    }
}

void testSmall(const std::vector<int>& ids, int top_k, int num_experts,
               int team_size) {
  SCOPED_TRACE("n=" + std::to_string(ids.size()) +
               " E=" + std::to_string(num_experts) +
               " team=" + std::to_string(team_size));
  const ExecutionSpace space;
  const auto d_ids = makeMatrix(ids, top_k);
  Tokkos::DispatchPlan<MemorySpace> plan(
      space, std::int64_t(ids.size()) / top_k, top_k, num_experts);
  plan.num_tokens = static_cast<int>(ids.size()) / top_k;
  Tokkos::Impl::updatePlanSmall(
      space, Tokkos::Impl::PlainPlanKeys<int>{d_ids.data(), num_experts},
      Tokkos::Impl::planData(plan, plan.num_tokens, 1 << 20), team_size);
  space.fence();
  expectPlan(Reference::makePlan(ids, top_k, num_experts), plan);
}

TEST(PlanTeam, SmallPlans) {
  Random random;
  for (const int team_size :
       {1, Tokkos::KokkosExt::is_host_execution_space_v<ExecutionSpace>
               ? std::min(2, int(ExecutionSpace().concurrency()))
               : 96})
    for (const int num_experts : {2, 8, 100, 2000})
      for (const int num_tokens : {0, 1, 2, 3, 15, 16, 17, 64, 128})
        testSmall(random.ids(std::size_t(num_tokens) * 2, num_experts, true,
                             num_tokens > 2),
                  2, num_experts, team_size);
}

// So many sums of tiles and experts that a host shares them out. The library
// makes as many only of a million assignments.
TEST(PlanTeam, HostTilesOfManyExperts) {
  if constexpr (Tokkos::KokkosExt::is_host_execution_space_v<ExecutionSpace>) {
    Random random;
    constexpr int num_experts = 9000, num_tokens = 2500, tile_length = 900;
    for (const int alignment : {1, 3}) {
      const auto ids   = random.ids(2 * num_tokens, num_experts, true, true);
      const auto d_ids = makeMatrix(ids, 2);
      const ExecutionSpace space;
      Tokkos::DispatchPlan<MemorySpace> plan(space, num_tokens, 2, num_experts,
                                             {.alignment = alignment});
      plan.tile_table = Kokkos::View<int**, Kokkos::LayoutRight, MemorySpace>(
          "table", 2 * num_tokens / tile_length + 1,
          Tokkos::Impl::PlanData::tableStride(num_experts));
      plan.num_tokens = num_tokens;
      Tokkos::Impl::updatePlanHost(
          space, Tokkos::Impl::planKeys(plan, d_ids),
          Tokkos::Impl::planData(plan, num_tokens, tile_length));
      space.fence();
      Reference::Options known;
      known.alignment = alignment;
      expectPlan(Reference::makePlan(ids, 2, num_experts, known), plan);
    }
  }
}

}  // namespace Test
