// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// SPDX-FileCopyrightText: Copyright Contributors to the Tokkos project

#include "TestSupport.hpp"

// buildDispatchPlan and updateDispatchPlan against the plain-loop reference.
namespace Test {

using PlanOptions = Tokkos::PlanOptions<MemorySpace>;

template <class Id>
void testBuild(const std::vector<Id>& ids, int top_k, int num_experts,
               const PlanOptions& options      = {},
               const Reference::Options& known = {}) {
  SCOPED_TRACE("n=" + std::to_string(ids.size()) + " K=" +
               std::to_string(top_k) + " E=" + std::to_string(num_experts));
  const ExecutionSpace space;
  const auto d_ids = makeMatrix(ids, top_k);
  const auto plan =
      known.weights.empty()
          ? Tokkos::buildDispatchPlan(space, d_ids, num_experts, options)
          : Tokkos::buildDispatchPlan(space, d_ids,
                                      makeMatrix(known.weights, top_k),
                                      num_experts, options);
  expectPlan(Reference::makePlan(ids, top_k, num_experts, known), plan);
  EXPECT_EQ("", Tokkos::validateDispatchPlan(space, plan));
}

TEST(DispatchPlan, HandWrittenExample) {
  // Two experts a token; written out by hand, not by the reference.
  const std::vector<int> ids = {2, 0,  //
                                1, 2,  //
                                2, 3};
  const auto plan =
      Tokkos::buildDispatchPlan(ExecutionSpace(), makeMatrix(ids, 2), 4);
  EXPECT_EQ((std::vector<int>{1, 1, 3, 1}), toVector(plan.counts));
  EXPECT_EQ((std::vector<int>{0, 1, 2, 5, 6}), toVector(plan.offsets));
  EXPECT_EQ((std::vector<int>{2, 0, 1, 3, 4, 5}),
            toVector(plan.row_of_assignment));
  EXPECT_EQ((std::vector<int>{1, 2, 0, 3, 4, 5}),
            toVector(plan.assignment_of_row));
  EXPECT_EQ((std::vector<int>{6}), toVector(plan.num_rows));
  EXPECT_EQ((std::vector<int>{0}), toVector(plan.num_dropped));
  EXPECT_EQ(6, plan.max_rows);
  EXPECT_EQ(3, plan.num_tokens);
}

TEST(DispatchPlan, SizesAroundTilesAndWarps) {
  Random random;
  for (const int num_tokens : {0, 1, 2, 3, 31, 32, 33, 127, 128, 129, 1023,
                               1024, 1025, 4095, 4096, 4097, 9001})
    testBuild(random.ids(num_tokens, 8, true), 1, 8);
  for (const int top_k : {1, 2, 3, 6, 8, 16})
    testBuild(random.ids(std::size_t(top_k) * 700, 64), top_k, 64);
}

TEST(DispatchPlan, NumbersOfExperts) {
  Random random;
  for (const int num_experts :
       {1,    2,    3,    7,    8,    31,    33,    64,    96,
        128,  255,  256,  257,  384,  1000,  1023,  1024,  2047,
        2048, 4096, 8191, 8192, 9000, 16383, 16384, 20000, 40000}) {
    testBuild(random.ids(1200, num_experts), 1, num_experts);
    testBuild(random.ids(9000, num_experts, true), 1, num_experts);
  }
}

TEST(DispatchPlan, FewExpertsAndFewAssignments) {
  // Around the sizes at which a device turns to another algorithm, with and
  // without options.
  Random random;
  for (const int num_experts : {1, 2, 16, 31, 32, 33, 63, 64, 65})
    for (const int n : {0, 1, 31, 32, 33, 63, 64, 65, 95, 97, 511, 512, 513,
                        767, 769, 1023, 1024, 1025}) {
      testBuild(random.ids(n, num_experts, false, true), 1, num_experts);
      Reference::Options known;
      known.capacity  = random.integer(1, 2 * n / num_experts + 1);
      known.alignment = random.integer(1, 20);
      testBuild(
          random.ids<std::int64_t>(n, num_experts, true, true), 1, num_experts,
          PlanOptions{.capacity = known.capacity, .alignment = known.alignment},
          known);
      if (HasFailure()) return;
    }
}

TEST(DispatchPlan, ManyExpertsWithOptions) {
  Random random;
  for (const int num_experts : {500, 1025, 3000, 4096, 9000, 30000})
    for (const int n : {5, 700, 2500, 20000}) {
      Reference::Options known;
      known.capacity  = random.integer(1, 2 * n / num_experts + 3);
      known.alignment = random.integer(1, 9);
      testBuild(
          random.ids(n, num_experts, random.chance(0.5), true), 1, num_experts,
          PlanOptions{.capacity = known.capacity, .alignment = known.alignment},
          known);
      if (HasFailure()) return;
    }
}

TEST(DispatchPlan, AllExpertsOfAToken) {
  // K = E, and one expert that takes all.
  std::vector<int> ids;
  for (int t = 0; t < 50; ++t)
    for (int e = 0; e < 12; ++e)
      ids.push_back((e + t) % 12);
  testBuild(ids, 12, 12);
  testBuild(std::vector<int>(6000, 3), 2, 9);
  testBuild(std::vector<int>(500, 0), 1, 1);
}

TEST(DispatchPlan, DuplicatesHaveARowEach) {
  testBuild(std::vector<int>{1, 1, 0, 0, 1, 0}, 2, 2);
}

TEST(DispatchPlan, InvalidIdsAreDropped) {
  Random random;
  testBuild(random.ids<int>(4000, 10, false, true), 4, 10);
  testBuild(random.ids<std::int64_t>(20000, 100, true, true), 4, 100);
  testBuild(std::vector<std::int64_t>{INT64_MIN, INT64_MAX, 1LL << 32, 0}, 2,
            2);
  testBuild(std::vector<int>{INT32_MIN, INT32_MAX, -1, 2}, 2, 2);
}

TEST(DispatchPlan, LargerSizes) {
  Random random;
  testBuild(random.ids<int>(200000, 256), 8, 256);
  testBuild(random.ids<std::int64_t>(300000, 128, true, true), 6, 128);
  testBuild(random.ids<int>(270000, 3000, false, true), 3, 3000);
}

TEST(DispatchPlan, StridedAndConstIds) {
  Random random;
  const int num_tokens = 777, top_k = 3, num_experts = 20;
  const auto ids      = random.ids(num_tokens * top_k, num_experts);
  const auto expected = Reference::makePlan(ids, top_k, num_experts);
  const ExecutionSpace space;

  const auto left = makeRows<LeftMatrix<int>>(ids, top_k);
  expectPlan(expected, Tokkos::buildDispatchPlan(space, left, num_experts));

  const Kokkos::View<const int**, Kokkos::LayoutRight, MemorySpace> constant =
      makeMatrix(ids, top_k);
  expectPlan(expected, Tokkos::buildDispatchPlan(space, constant, num_experts));

  StridedMatrix<int> strided(num_tokens, top_k, 11, 2, 5);
  strided.set(ids);
  expectPlan(expected,
             Tokkos::buildDispatchPlan(space, strided.view(), num_experts));
  EXPECT_TRUE(strided.surroundingsUntouched());

  const auto wide = makeMatrix(ids, top_k);
  const auto part =
      Kokkos::subview(wide, Kokkos::make_pair(100, 600), Kokkos::ALL);
  expectPlan(Reference::makePlan(
                 std::vector<int>(ids.begin() + 300, ids.begin() + 1800), top_k,
                 num_experts),
             Tokkos::buildDispatchPlan(space, part, num_experts));
}

TEST(DispatchPlan, MaskTakesTokensOut) {
  Random random;
  const int num_tokens = 3000, top_k = 2, num_experts = 16;
  Reference::Options known;
  for (int t = 0; t < num_tokens; ++t)
    known.mask.push_back(random.chance(0.7));
  const auto ids = random.ids(num_tokens * top_k, num_experts, false, true);
  testBuild(ids, top_k, num_experts, PlanOptions{.mask = makeMask(known.mask)},
            known);
}

TEST(DispatchPlan, LocalExpertsAsARange) {
  Random random;
  Reference::Options known;
  known.first_expert = 5;
  known.num_local    = 7;
  const auto ids     = random.ids(5000, 16, false, true);
  testBuild(ids, 2, 16, PlanOptions{.experts = Tokkos::ExpertRange{5, 12}},
            known);
}

TEST(DispatchPlan, LocalExpertsAsAMap) {
  Random random;
  Reference::Options known;
  known.num_local  = 4;
  known.expert_map = {-1, 3, -1, 0, 1, -1, 2, 3};  // two may share one
  const auto ids   = random.ids(5000, 8, false, true);
  testBuild(ids, 2, 8,
            PlanOptions{.expert_map        = makeArray(known.expert_map),
                        .num_local_experts = 4},
            known);
}

TEST(DispatchPlan, CapacityKeepsTheEarliest) {
  Random random;
  for (const int capacity : {1, 7, 100, 100000}) {
    Reference::Options known;
    known.capacity = capacity;
    testBuild(random.ids(700, 9, true, true), 2, 9,
              PlanOptions{.capacity = capacity}, known);
    testBuild(random.ids(30000, 9, true, true), 3, 9,
              PlanOptions{.capacity = capacity}, known);
  }
}

TEST(DispatchPlan, AlignmentPadsSegments) {
  Random random;
  for (const int alignment : {2, 3, 16, 100, 128}) {
    Reference::Options known;
    known.alignment = alignment;
    testBuild(random.ids(700, 30, true), 2, 30,
              PlanOptions{.alignment = alignment}, known);
    testBuild(random.ids(30000, 30, true, true), 3, 30,
              PlanOptions{.alignment = alignment}, known);
    testBuild(std::vector<int>{}, 2, 30, PlanOptions{.alignment = alignment},
              known);
  }
}

TEST(DispatchPlan, LaterChoicesGiveWay) {
  // Expert 0 has room for two: it keeps the first choices of tokens 1 and 2,
  // though token 0 named it before them.
  const std::vector<int> ids = {1, 0,  //
                                0, 1,  //
                                0, 1,  //
                                1, 0};
  const auto plan            = Tokkos::buildDispatchPlan(
      ExecutionSpace(), makeMatrix(ids, 2), 2,
      PlanOptions{.capacity = 2, .drop = Tokkos::DropPolicy::later_choices});
  EXPECT_EQ((std::vector<int>{2, -1, 0, -1, 1, -1, 3, -1}),
            toVector(plan.row_of_assignment));
  EXPECT_EQ((std::vector<int>{2, 2}), toVector(plan.dropped));
  EXPECT_EQ((std::vector<int>{4}), toVector(plan.num_dropped));
}

TEST(DispatchPlan, LowestWeightsGiveWay) {
  // One expert; of the equal weights the earlier stays, -0 equals 0, and NaN
  // goes first.
  const std::vector<int> ids(8, 0);
  const std::vector<float> weights = {NAN, 0.5f, -0.0f, 0.0f,
                                      -1,  0.5f, 0.25f, -INFINITY};
  const auto rows                  = [&](int capacity) {
    return toVector(Tokkos::buildDispatchPlan(
                        ExecutionSpace(), makeMatrix(ids, 1),
                        makeMatrix(weights, 1), 1,
                        PlanOptions{.capacity = capacity,
                                                     .drop = Tokkos::DropPolicy::lowest_weight})
                                         .row_of_assignment);
  };
  EXPECT_EQ((std::vector<int>{-1, 0, -1, -1, -1, -1, -1, -1}), rows(1));
  EXPECT_EQ((std::vector<int>{-1, 0, -1, -1, -1, 1, 2, -1}), rows(3));
  EXPECT_EQ((std::vector<int>{-1, 0, 1, -1, -1, 2, 3, -1}), rows(4));
  EXPECT_EQ((std::vector<int>{-1, 0, 1, 2, -1, 3, 4, -1}), rows(5));
  EXPECT_EQ((std::vector<int>{-1, 0, 1, 2, 3, 4, 5, 6}), rows(7));
  EXPECT_EQ((std::vector<int>{0, 1, 2, 3, 4, 5, 6, 7}), rows(8));
}

TEST(DispatchPlan, DropPoliciesAtScale) {
  Random random;
  Reference::Options known;
  known.capacity = 500;
  const auto ids = random.ids(60000, 24, true, true);
  known.drop     = Reference::Drop::later_choices;
  testBuild(
      ids, 4, 24,
      PlanOptions{.capacity = 500, .drop = Tokkos::DropPolicy::later_choices},
      known);
  known.drop = Reference::Drop::lowest_weight;
  for (const bool many_ties : {false, true}) {
    known.weights.clear();
    for (std::size_t a = 0; a < ids.size(); ++a)
      known.weights.push_back(many_ties ? 0.25 * random.integer(-3, 3)
                                        : random.real(-1, 1));
    testBuild(
        ids, 4, 24,
        PlanOptions{.capacity = 500, .drop = Tokkos::DropPolicy::lowest_weight},
        known);
  }
}

/// A plan of random size with random options, against the reference.
void testRandomPlan(Random& random) {
  const int num_experts = random.integer(1, random.chance(0.1) ? 300 : 40);
  const int top_k       = random.integer(1, std::min(num_experts, 6));
  const int num_tokens  = random.integer(0, random.chance(0.02) ? 3000 : 60);
  const std::size_t n   = std::size_t(num_tokens) * top_k;
  PlanOptions options;
  Reference::Options known;
  if (random.chance(0.4)) {
    for (int t = 0; t < num_tokens; ++t)
      known.mask.push_back(random.chance(0.6));
    options.mask = makeMask(known.mask);
  }
  const double locality = random.real(0, 1);
  if (locality < 0.3) {
    known.first_expert = random.integer(0, num_experts - 1);
    known.num_local    = random.integer(1, num_experts - known.first_expert);
    options.experts    = Tokkos::ExpertRange{known.first_expert,
                                          known.first_expert + known.num_local};
  } else if (locality < 0.6) {
    known.num_local = random.integer(1, 2 * num_experts);
    for (int e = 0; e < num_experts; ++e)
      known.expert_map.push_back(random.integer(-1, known.num_local - 1));
    options.expert_map        = makeArray(known.expert_map);
    options.num_local_experts = known.num_local;
  }
  if (random.chance(0.6)) {
    options.capacity = known.capacity = random.integer(1, 20);
    switch (random.integer(0, 2)) {
      case 0:
        break;
      case 1:
        known.drop   = Reference::Drop::later_choices;
        options.drop = Tokkos::DropPolicy::later_choices;
        break;
      default:
        known.drop   = Reference::Drop::lowest_weight;
        options.drop = Tokkos::DropPolicy::lowest_weight;
        for (std::size_t a = 0; a < n; ++a)
          known.weights.push_back(random.chance(0.05)  ? NAN
                                  : random.chance(0.5) ? random.integer(-2, 2)
                                                       : random.real(-2, 2));
    }
  }
  if (random.chance(0.5))
    options.alignment = known.alignment = random.integer(2, 20);
  if (known.drop == Reference::Drop::lowest_weight && n == 0) return;
  testBuild(random.ids(n, num_experts, random.chance(0.5), random.chance(0.5)),
            top_k, num_experts, options, known);
}

TEST(DispatchPlan, OptionsTogether) {
  // Tens of thousands of small plans on the host; each costs a device's
  // allocations and copies.
  const bool on_host =
      Tokkos::KokkosExt::is_host_execution_space_v<ExecutionSpace>;
  Random random;
  for (int repeat = 0; repeat < (on_host ? 12000 : 1500); ++repeat) {
    testRandomPlan(random);
    if (HasFailure()) return;
  }
}

TEST(DispatchPlan, CapacityOfFactor) {
  EXPECT_EQ(256, Tokkos::capacityOfFactor(1.0, 1024, 2, 8));
  EXPECT_EQ(320, Tokkos::capacityOfFactor(1.25, 1024, 2, 8));
  EXPECT_EQ(3, Tokkos::capacityOfFactor(1.0, 7, 1, 3));  // 7 / 3, rounded up
  EXPECT_EQ(1, Tokkos::capacityOfFactor(0.1, 1, 1, 64));
  EXPECT_EQ(1, Tokkos::capacityOfFactor(1.0, 0, 2, 8));
  EXPECT_EQ(
      "Tokkos::capacityOfFactor: factor: expected a positive number, got "
      "0.000000",
      messageOf([] { Tokkos::capacityOfFactor(0, 1, 1, 1); }));
  EXPECT_EQ(
      "Tokkos::capacityOfFactor: num_experts: expected 1 to 2147483647, "
      "got 0",
      messageOf([] { Tokkos::capacityOfFactor(1, 1, 1, 0); }));
}

TEST(DispatchPlan, OnePlanServesFewerTokens) {
  Random random;
  const int top_k = 4, num_experts = 32;
  Reference::Options known;
  known.capacity  = 50;
  known.alignment = 8;
  const ExecutionSpace space;
  Tokkos::DispatchPlan<MemorySpace> plan(
      space, 5000, top_k, num_experts,
      PlanOptions{.capacity = 50, .alignment = 8});
  for (const int num_tokens : {5000, 1, 0, 3000, 17, 5000, 2}) {
    const auto ids =
        random.ids(std::size_t(num_tokens) * top_k, num_experts, true, true);
    Tokkos::updateDispatchPlan(space, plan, makeMatrix(ids, top_k));
    EXPECT_EQ(num_tokens, plan.num_tokens);
    expectPlan(Reference::makePlan(ids, top_k, num_experts, known), plan);
  }
}

TEST(DispatchPlan, MaxRowsIsReachedAndNeverExceeded) {
  // Every expert gets one row more than a block: the worst routing there is.
  const std::vector<int> ids = {0, 1, 2, 0, 1, 2, 0, 1, 2};
  const auto plan            = Tokkos::buildDispatchPlan(
      ExecutionSpace(), makeMatrix(ids, 1), 3, PlanOptions{.alignment = 2});
  EXPECT_EQ(12, plan.max_rows);  // 9 assignments + 3 experts * 1, in blocks
  EXPECT_EQ((std::vector<int>{12}), toVector(plan.num_rows));
  EXPECT_EQ(2, plan.maxRows(1));
  EXPECT_EQ(4, plan.maxRows(2));
  EXPECT_EQ(0, plan.maxRows(0));
}

TEST(DispatchPlan, AnotherInstanceGivesTheSamePlan) {
  Random random;
  const auto ids       = random.ids(50000, 48, true);
  const auto expected  = Reference::makePlan(ids, 5, 48);
  const auto d_ids     = makeMatrix(ids, 5);
  const auto instances = makeInstances();
  ExecutionSpace().fence();
  for (const auto& space : instances) {
    const auto plan = Tokkos::buildDispatchPlan(space, d_ids, 48);
    space.fence();
    expectPlan(expected, plan);
  }
}

template <class Function>
void expectInvalid(const std::string& message, const Function& function) {
  EXPECT_EQ(message, messageOf(function));
}

TEST(DispatchPlan, MisuseIsNamed) {
  const ExecutionSpace space;
  using Plan         = Tokkos::DispatchPlan<MemorySpace>;
  const auto options = [](auto change) {
    PlanOptions result;
    change(result);
    return result;
  };
  const std::string name = "Tokkos::DispatchPlan: ";
  expectInvalid(name + "num_experts: expected 1 to 2147483646, got 0",
                [&] { Plan(space, 4, 1, 0); });
  expectInvalid(name + "top_k: expected 1 to 8 (the number of experts), got 0",
                [&] { Plan(space, 4, 0, 8); });
  expectInvalid(name + "top_k: expected 1 to 8 (the number of experts), got 9",
                [&] { Plan(space, 4, 9, 8); });
  expectInvalid(name +
                    "max_tokens: expected 0 to 268435455 ((2^31 - 1) / top_k), "
                    "got 268435456",
                [&] { Plan(space, 1 << 28, 8, 8); });
  expectInvalid(name +
                    "max_tokens: expected 0 to 2147483647 ((2^31 - 1) / top_k),"
                    " got -1",
                [&] { Plan(space, -1, 1, 8); });
  expectInvalid(
      name +
          "options.capacity: expected 0 to 2147483647 (0 for no limit), "
          "got -3",
      [&] { Plan(space, 4, 1, 8, PlanOptions{.capacity = -3}); });
  expectInvalid(name + "options.alignment: expected 1 to 2147483647, got 0",
                [&] { Plan(space, 4, 1, 8, PlanOptions{.alignment = 0}); });
  expectInvalid(
      name +
          "max_rows: expected 0 to 2147483647 (2^31 - 1, with every "
          "expert's padding), got 4294967296",
      [&] { Plan(space, 4, 1, 8, PlanOptions{.alignment = 1 << 30}); });
  expectInvalid(
      name +
          "options.experts.end: expected 1 to 8 (the number of experts), "
          "got 9",
      [&] {
        Plan(space, 4, 1, 8, PlanOptions{.experts = Tokkos::ExpertRange{2, 9}});
      });
  expectInvalid(
      name + "options.experts.begin: expected 0 to 3 (before the end), got 4",
      [&] {
        Plan(space, 4, 1, 8, PlanOptions{.experts = Tokkos::ExpertRange{4, 4}});
      });
  const auto map = makeArray<int>({0, -1, 1, 2});
  expectInvalid(name +
                    "options.expert_map.extent(0): expected 8 (the number "
                    "of global experts), got 4",
                [&] {
                  Plan(space, 4, 1, 8,
                       PlanOptions{.expert_map = map, .num_local_experts = 3});
                });
  expectInvalid(name +
                    "options.expert_map(3): expected -1 to 1, got a value "
                    "outside",
                [&] {
                  Plan(space, 4, 1, 4,
                       PlanOptions{.expert_map = map, .num_local_experts = 2});
                });
  const auto wrong_twice = makeArray<int>({0, -2, 1, 2});  // the first is named
  expectInvalid(
      name + "options.expert_map(1): expected -1 to 1, got a value outside",
      [&] {
        Plan(space, 4, 1, 4,
             PlanOptions{.expert_map = wrong_twice, .num_local_experts = 2});
      });
  expectInvalid(name +
                    "options.experts: expected no value when an expert map "
                    "is given, got a range and a map",
                [&] {
                  Plan(space, 4, 1, 4, options([&](PlanOptions& o) {
                         o.expert_map        = map;
                         o.num_local_experts = 3;
                         o.experts           = Tokkos::ExpertRange{0, 4};
                       }));
                });
  expectInvalid(
      "Tokkos::buildDispatchPlan: expert_ids.extent(1): expected 1 "
      "to 2 (top_k, at most the number of experts), got 3",
      [&] { Tokkos::buildDispatchPlan(space, Matrix<int>("ids", 4, 3), 2); });
}

TEST(DispatchPlan, MisuseOfUpdateLeavesThePlanAsItWas) {
  const ExecutionSpace space;
  const std::vector<int> ids = {1, 0, 1, 1};
  auto plan = Tokkos::buildDispatchPlan(space, makeMatrix(ids, 2), 2);
  const std::string name = "Tokkos::updateDispatchPlan: ";
  expectInvalid(
      name + "expert_ids.extent(1): expected 2 (plan.top_k), got 1", [&] {
        Tokkos::updateDispatchPlan(space, plan, Matrix<int>("ids", 2, 1));
      });
  expectInvalid(
      name + "expert_ids.extent(0): expected 0 to 2 (plan.max_tokens), got 3",
      [&] {
        Tokkos::updateDispatchPlan(space, plan, Matrix<int>("ids", 3, 2));
      });
  expectPlan(Reference::makePlan(ids, 2, 2), plan);

  plan.options.mask = Array<bool>("mask", 1);
  expectInvalid(name +
                    "options.mask.extent(0): expected 2 or more "
                    "(expert_ids.extent(0)), got 1",
                [&] {
                  Tokkos::updateDispatchPlan(space, plan,
                                             Matrix<int>("ids", 2, 2));
                });
  Tokkos::DispatchPlan<MemorySpace> empty;
  expectInvalid(
      name + "plan: expected a plan that was built, got an empty one", [&] {
        Tokkos::updateDispatchPlan(space, empty, Matrix<int>("ids", 2, 2));
      });
}

//----------------------------------------------------------------------------
// validateDispatchPlan: a plan that was damaged in one place.

struct Damaged {
  ExecutionSpace space;
  Matrix<int> ids = makeMatrix<int>({0, 2, 2, 1, 0, 2, 2, 2, 1, 9}, 2);
  Tokkos::DispatchPlan<MemorySpace> plan{
      space, 5, 2, 3, PlanOptions{.capacity = 4, .alignment = 2}};

  Damaged() {
    // after() reads the rows that the plan leaves unspecified, too.
    Kokkos::deep_copy(plan.assignment_of_row, -9);
    Tokkos::updateDispatchPlan(space, plan, ids);
  }

  template <class View>
  std::string after(const View& view, int index, int value) {
    const auto intact = toVector(view);
    auto damaged      = intact;
    damaged[index]    = value;
    set(view, damaged);
    const std::string words = Tokkos::validateDispatchPlan(space, plan);
    set(view, intact);
    EXPECT_EQ("", Tokkos::validateDispatchPlan(space, plan));
    return words;
  }

  template <class View>
  static void set(const View& view, const std::vector<int>& values) {
    if constexpr (View::rank() == 0)
      Kokkos::deep_copy(view, values[0]);
    else
      fromVector(view, values);
  }
};

TEST(DispatchPlan, ValidateNamesTheFirstViolation) {
  // Experts 0, 1, 2 have 2, 2 and 4 rows (one dropped), without padding but
  // for none; expert 2's rows are assignments 1, 2, 5, 6; 7 was dropped.
  Damaged d;
  EXPECT_EQ("", Tokkos::validateDispatchPlan(d.space, d.plan));
  EXPECT_EQ("counts(1) = -1 is negative", d.after(d.plan.counts, 1, -1));
  EXPECT_EQ("counts(0) = 2, but its rows are [0, 3) with alignment 2",
            d.after(d.plan.offsets, 1, 3));
  EXPECT_EQ("dropped(0) = 1 does not fit counts(0) = 2 with capacity 4",
            d.after(d.plan.dropped, 0, 1));
  EXPECT_EQ("num_rows = 6 must be the last offset, 8, and at most max_rows = " +
                std::to_string(d.plan.max_rows),
            d.after(d.plan.num_rows, 0, 6));
  EXPECT_EQ("assignment_of_row(2) = 77 is not in [0, 10)",
            d.after(d.plan.assignment_of_row, 2, 77));
  EXPECT_EQ("assignment_of_row(2) = 0, but that assignment has another row",
            d.after(d.plan.assignment_of_row, 2, 0));
  EXPECT_EQ("row_of_assignment(4, 1) is not in [-1, num_rows = 8)",
            d.after(d.plan.row_of_assignment, 9, 8));
  EXPECT_EQ("row_of_assignment(4, 1) is a row that has another assignment",
            d.after(d.plan.row_of_assignment, 9, 3));
  EXPECT_EQ("expert_of_block(1) = 2 is not the expert that owns the block",
            d.after(d.plan.expert_of_block, 1, 2));
  EXPECT_EQ("counts(0) = 2, but its rows are [2, 2) with alignment 2",
            d.after(d.plan.offsets, 0, 2));
  EXPECT_EQ("dropped(1) = -1 does not fit counts(1) = 2 with capacity 4",
            d.after(d.plan.dropped, 1, -1));
  EXPECT_EQ("assignment_of_row(2) = -1 is not in [0, 10)",
            d.after(d.plan.assignment_of_row, 2, -1));
  EXPECT_EQ("row_of_assignment(4, 1) is not in [-1, num_rows = 8)",
            d.after(d.plan.row_of_assignment, 9, -2));
  fromVector(d.plan.counts, std::vector<int>{2, 2, 5});
  fromVector(d.plan.offsets, std::vector<int>{0, 2, 4, 10});
  EXPECT_EQ("counts(2) = 5 exceeds the capacity 4",
            Tokkos::validateDispatchPlan(d.space, d.plan));
}

TEST(DispatchPlan, ValidateSeesMoreRowsThanThePlanHasRoomFor) {
  const ExecutionSpace space;
  auto plan =
      Tokkos::buildDispatchPlan(space, makeMatrix<int>({0, 1, 1, 0}, 1), 2);
  plan.max_rows = 3;
  EXPECT_EQ("num_rows = 4 must be the last offset, 4, and at most max_rows = 3",
            Tokkos::validateDispatchPlan(space, plan));
}

TEST(DispatchPlan, ValidateSeesOrderAndPadding) {
  const ExecutionSpace space;
  const auto ids = makeMatrix<int>({0, 0, 0, 1}, 1);
  const auto plan =
      Tokkos::buildDispatchPlan(space, ids, 2, PlanOptions{.alignment = 4});
  const auto rows =  // those in use
      Kokkos::subview(plan.assignment_of_row, Kokkos::make_pair(0, 8));
  fromVector(rows, std::vector<int>{0, 2, 1, -1, 3, -1, -1, -1});
  fromVector(plan.row_of_assignment, std::vector<int>{0, 2, 1, 4});
  EXPECT_EQ(
      "assignment_of_row(2) = 1 does not come after that of the row "
      "before it, 2",
      Tokkos::validateDispatchPlan(space, plan));
  fromVector(rows, std::vector<int>{0, 1, 2, 5, 3, -1, -1, -1});
  fromVector(plan.row_of_assignment, std::vector<int>{0, 1, 2, 4});
  EXPECT_EQ("assignment_of_row(3) = 5 in a padding row, must be -1",
            Tokkos::validateDispatchPlan(space, plan));
}

TEST(DispatchPlan, ValidateComparesWithTheIds) {
  const ExecutionSpace space;
  const std::vector<int> ids = {0, 1, 1, 0, 1, 1};
  const auto plan    = Tokkos::buildDispatchPlan(space, makeMatrix(ids, 2), 2,
                                                 PlanOptions{.capacity = 3});
  const auto against = [&](std::vector<int> other) {
    return Tokkos::validateDispatchPlan(space, plan, makeMatrix(other, 2));
  };
  EXPECT_EQ("", against(ids));
  EXPECT_EQ("expert_ids(1, 1) names no expert in [0, 2): it is dropped",
            against({0, 1, 1, -7, 1, 1}));
  EXPECT_EQ("expert_ids(0, 0) has a row of another expert",
            against({1, 1, 1, 0, 1, 1}));
  EXPECT_EQ("expert_ids(0, 1) has a row of another expert",
            against({0, 0, 1, 0, 1, 1}));
  EXPECT_EQ("expert_ids(2, 1) has no row, though its expert dropped nothing",
            against({0, 1, 1, 0, 1, 0}));
  EXPECT_EQ(
      "Tokkos::validateDispatchPlan: expert_ids.extent(0): expected 3 "
      "(plan.num_tokens), got 2",
      messageOf([&] { against({0, 1, 1, 0}); }));

  Kokkos::deep_copy(plan.num_dropped, 5);
  EXPECT_EQ("num_dropped = 5, but the experts dropped 1 and no id is invalid",
            against(ids));
  Kokkos::deep_copy(plan.num_dropped, 1);
  fromVector(plan.dropped, std::vector<int>{0, 2});
  EXPECT_EQ("counts(1) + dropped(1) is not the number of its assignments, 4",
            against(ids));
  Tokkos::DispatchPlan<MemorySpace> empty;
  EXPECT_EQ("the plan is empty: it was never built",
            Tokkos::validateDispatchPlan(space, empty));
  EXPECT_EQ("the plan is empty: it was never built",
            Tokkos::validateDispatchPlan(space, empty, Matrix<int>()));
}

TEST(DispatchPlan, ValidateKnowsMaskAndDropPolicy) {
  const ExecutionSpace space;
  const auto ids = makeMatrix<int>({0, 0, 1}, 1);
  auto plan      = Tokkos::buildDispatchPlan(
      space, ids, 2, PlanOptions{.mask = makeMask({true, false, true})});
  EXPECT_EQ("", Tokkos::validateDispatchPlan(space, plan, ids));
  plan.options.mask = makeMask({true, false, false});
  EXPECT_EQ("expert_ids(2, 0) is masked or remote, but has a row",
            Tokkos::validateDispatchPlan(space, plan, ids));

  // Of two assignments the later one was kept.
  const auto same = makeMatrix<int>({1, 1}, 1);
  auto kept_latest =
      Tokkos::buildDispatchPlan(space, same, 2, PlanOptions{.capacity = 1});
  EXPECT_EQ("", Tokkos::validateDispatchPlan(space, kept_latest, same));
  fromVector(
      Kokkos::subview(kept_latest.assignment_of_row, Kokkos::make_pair(0, 1)),
      std::vector<int>{1});
  fromVector(kept_latest.row_of_assignment, std::vector<int>{-1, 0});
  EXPECT_EQ("expert_ids(0, 0) was dropped, but a later assignment was kept",
            Tokkos::validateDispatchPlan(space, kept_latest, same));
  kept_latest.options.drop = Tokkos::DropPolicy::lowest_weight;
  EXPECT_EQ("", Tokkos::validateDispatchPlan(space, kept_latest, same));
}

}  // namespace Test
