// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// SPDX-FileCopyrightText: Copyright Contributors to the Tokkos project

#include "TestSupport.hpp"

#include <Tokkos/Impl/PlanFewExperts.hpp>
#include <Tokkos/Impl/PlanHost.hpp>
#include <Tokkos/Impl/PlanSmall.hpp>
#include <Tokkos/Impl/PlanTeam.hpp>
#include <Tokkos/Impl/PlanTiles.hpp>

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

// The algorithms of devices whose threads run in lockstep, on a host, where
// such a group of threads is one thread: everything but the questions that the
// threads ask each other. A device runs them in all of its tests.
constexpr bool is_host =
    Tokkos::KokkosExt::is_host_execution_space_v<ExecutionSpace>;

struct DeviceCase {
  int num_tokens, top_k, num_experts, capacity, alignment;
};

/// Calls update(ids, plan) with the plan's data, in tiles of this length, and
/// compares the plan with the reference.
template <class Update>
void testDeviceCase(Random& random, const DeviceCase& c, int tile_length,
                    const Update& update) {
  SCOPED_TRACE("T=" + std::to_string(c.num_tokens) + " K=" +
               std::to_string(c.top_k) + " E=" + std::to_string(c.num_experts) +
               " capacity=" + std::to_string(c.capacity) +
               " alignment=" + std::to_string(c.alignment) + " in " +
               std::to_string(tile_length));
  const ExecutionSpace space;
  const auto ids   = random.ids(std::size_t(c.num_tokens) * c.top_k,
                                c.num_experts, true, true);
  const auto d_ids = makeMatrix(ids, c.top_k);
  Tokkos::DispatchPlan<MemorySpace> plan(
      space, c.num_tokens, c.top_k, c.num_experts,
      {.capacity = c.capacity, .alignment = c.alignment});
  plan.tile_table = Kokkos::View<int**, Kokkos::LayoutRight, MemorySpace>(
      "table", ids.size() / std::size_t(tile_length) + 1,
      Tokkos::Impl::PlanData::tableStride(c.num_experts));
  plan.num_tokens = c.num_tokens;
  for (const auto& array : {plan.counts, plan.offsets, plan.dropped,
                            plan.assignment_of_row, plan.expert_of_block})
    Kokkos::deep_copy(array, -77);
  const auto data = Tokkos::Impl::planData(plan, plan.num_tokens, tile_length);
  if (c.capacity == 0 && c.alignment == 1)
    update(space, Tokkos::Impl::PlainPlanKeys<int>{d_ids.data(), c.num_experts},
           data);
  update(space, Tokkos::Impl::planKeys(plan, d_ids), data);
  space.fence();

  Reference::Options known;
  known.capacity  = c.capacity;
  known.alignment = c.alignment;
  expectPlan(Reference::makePlan(ids, c.top_k, c.num_experts, known), plan);
}

TEST(PlanTeam, FewExpertsOnAHost) {
  if (!is_host) GTEST_SKIP() << "devices have tests of their own";
  Random random;
  for (int repeat = 0; repeat < 200; ++repeat)
    for (const int alignment : {1, 2, 3})
      for (const int capacity : {0, 1, 2}) {
        testDeviceCase(
            random, {random.integer(0, 2), 1, 1, capacity, alignment}, 8,
            [](const auto& space, const auto& keys, const auto& plan) {
              Tokkos::Impl::launchPlanFewExperts<2, 1>(space, keys, plan, 1);
            });
        testDeviceCase(
            random, {random.integer(0, 2), 2, 2, capacity, alignment}, 8,
            [](const auto& space, const auto& keys, const auto& plan) {
              Tokkos::Impl::launchPlanFewExperts<4, 2>(space, keys, plan, 1);
            });
        if (HasFailure()) return;
      }
}

TEST(PlanTeam, FewExpertsOfSeveralSubgroups) {
  if (!is_host) GTEST_SKIP() << "devices have tests of their own";
  Random random;
  const ExecutionSpace space;
  for (int team_size = 1; team_size <= space.concurrency(); ++team_size)
    for (int num_tokens = 0; num_tokens <= 2 * team_size; ++num_tokens) {
      const auto ids   = random.ids(std::size_t(num_tokens) * 2, 2);
      const auto d_ids = makeMatrix(ids, 2);
      Tokkos::DispatchPlan<MemorySpace> plan(space, num_tokens, 2, 2);
      plan.num_tokens = num_tokens;
      Tokkos::Impl::launchPlanFewExperts<4, 2>(
          space, Tokkos::Impl::PlainPlanKeys<int>{d_ids.data(), 2},
          Tokkos::Impl::planData(plan, num_tokens, 1 << 20), team_size);
      space.fence();
      expectPlan(Reference::makePlan(ids, 2, 2), plan);
    }
}

TEST(PlanTeam, TilesOnAHost) {
  if (!is_host) GTEST_SKIP() << "devices have tests of their own";
  Random random;
  for (const int num_experts : {3, 7, 8, 9, 15, 100})
    for (const int capacity : {0, 5})
      for (const int alignment : {1, 4}) {
        const auto test = [&](int num_tokens, int tile_length, int items) {
          const Tokkos::Impl::TileShape shape{1, items};
          testDeviceCase(
              random, {num_tokens, 2, num_experts, capacity, alignment},
              tile_length,
              [&](const auto& space, const auto& keys, const auto& plan) {
                if (num_tokens * 2 <= items)
                  Tokkos::Impl::updatePlanSingleTile(space, keys, plan, shape);
                else
                  Tokkos::Impl::updatePlanTiles(space, keys, plan, shape);
              });
        };
        for (int num_tokens = 0; num_tokens <= 4; ++num_tokens)
          test(num_tokens, 8, 8);
        test(2, 8, 4);
        // One pass and several, of one tile and of several; the last of them
        // full and not.
        for (const int num_tokens : {10, 64, 95})
          for (const int tile_length : {4, 8, 40, 1000})
            for (const int items : {4, 8})
              test(num_tokens, tile_length, items);
        if (HasFailure()) return;
      }
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
