// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// SPDX-FileCopyrightText: Copyright Contributors to the Tokkos project

#include "TestSupport.hpp"

#include <numeric>

// countExperts, scanCounts, permuteByExpert: each on its own.
namespace Test {

template <class Id, class Count>
void testCount(int num_tokens, int top_k, int num_experts) {
  Random random;
  const auto ids = random.ids<Id>(std::size_t(num_tokens) * top_k, num_experts,
                                  true, std::is_signed_v<Id>);
  std::vector<Count> expected(num_experts, 0);
  for (const Id id : ids)
    if (const auto e = static_cast<std::int64_t>(id); e >= 0 && e < num_experts)
      ++expected[e];

  const Array<Count> counts("counts", num_experts);
  Kokkos::deep_copy(counts, Count(77));
  Tokkos::countExperts(ExecutionSpace(), makeMatrix(ids, top_k), counts);
  EXPECT_EQ(expected, toVector(counts));

  Kokkos::deep_copy(counts, Count(77));
  Tokkos::countExperts(ExecutionSpace(), makeArray(ids), counts);
  EXPECT_EQ(expected, toVector(counts));
}

TEST(Stages, CountExpertsOverwritesWithTheHistogram) {
  testCount<int, int>(1000, 2, 8);
  testCount<std::int64_t, std::int64_t>(333, 8, 60);
  testCount<std::uint32_t, std::uint32_t>(5000, 1, 3);
  testCount<std::uint8_t, int>(100, 3, 250);
}

TEST(Stages, CountExpertsOfNothingIsZero) {
  const Array<int> counts("counts", 4);
  Kokkos::deep_copy(counts, 5);
  Tokkos::countExperts(ExecutionSpace(), Matrix<int>("ids", 0, 2), counts);
  EXPECT_EQ((std::vector<int>{0, 0, 0, 0}), toVector(counts));
}

TEST(Stages, ScanCountsIsExclusive) {
  const auto counts = makeArray<int>({3, 0, 2, 7});
  const Array<int> offsets("offsets", 5);
  Tokkos::scanCounts(ExecutionSpace(), counts, offsets);
  EXPECT_EQ((std::vector<int>{0, 3, 3, 5, 12}), toVector(offsets));

  const Array<std::int64_t> without_total("offsets", 4);
  Tokkos::scanCounts(ExecutionSpace(), counts, without_total);
  EXPECT_EQ((std::vector<std::int64_t>{0, 3, 3, 5}), toVector(without_total));
}

TEST(Stages, ScanCountsOfManyExperts) {
  Random random;
  std::vector<std::uint32_t> counts(5003);
  for (auto& count : counts)
    count = static_cast<std::uint32_t>(random.integer(0, 100));
  std::vector<std::uint32_t> expected(counts.size() + 1, 0);
  std::partial_sum(counts.begin(), counts.end(), expected.begin() + 1);
  const Array<std::uint32_t> offsets("offsets", expected.size());
  Tokkos::scanCounts(ExecutionSpace(), makeArray(counts), offsets);
  EXPECT_EQ(expected, toVector(offsets));
}

/// Twelve bytes without padding: no power of two.
struct Triple {
  std::uint32_t token;
  float x, y;
  bool operator==(const Triple&) const = default;
};

template <class Value>
Value valueOf(int token) {
  if constexpr (std::is_same_v<Value, Triple>)
    return Triple{std::uint32_t(token), 0.5f * float(token), -1.0f};
  else
    return static_cast<Value>(token);
}

template <class Value>
void testPermuteValues(int num_tokens, int num_experts) {
  Random random;
  const auto ids = random.ids(num_tokens, num_experts);
  std::vector<Value> source(num_tokens);
  for (int t = 0; t < num_tokens; ++t)
    source[t] = valueOf<Value>(t);

  const auto plan      = Reference::makePlan(ids, 1, num_experts);
  auto offsets         = plan.offsets;
  const auto d_offsets = makeArray(offsets);
  const Array<Value> destination("destination", num_tokens);
  Tokkos::permuteByExpert(ExecutionSpace(), makeArray(source), destination,
                          makeArray(ids), d_offsets);

  // The first free row has moved behind the expert's rows; the total has not.
  std::vector<int> advanced(plan.offsets.begin() + 1, plan.offsets.end());
  advanced.push_back(num_tokens);
  EXPECT_EQ(advanced, toVector(d_offsets));

  // The same values in every segment, in any order.
  const auto rows = toVector(destination);
  for (int e = 0; e < num_experts; ++e)
    for (int r = plan.offsets[e]; r < plan.offsets[e + 1]; ++r) {
      const Value expected = source[plan.assignment_of_row[r]];
      EXPECT_EQ(1, std::count(rows.begin() + plan.offsets[e],
                              rows.begin() + plan.offsets[e + 1], expected))
          << "expert " << e;
    }
}

TEST(Stages, PermuteByExpertMovesEveryValueToItsExpert) {
  testPermuteValues<std::uint32_t>(1000, 7);
  testPermuteValues<double>(513, 64);
  testPermuteValues<std::int16_t>(300, 2);
  testPermuteValues<Triple>(257, 5);
}

TEST(Stages, PermuteByExpertMovesRowsOnceForEveryChoice) {
  Random random;
  const int num_tokens = 200, top_k = 3, num_experts = 10, width = 5;
  const auto ids  = random.ids(num_tokens * top_k, num_experts, false, true);
  const auto plan = Reference::makePlan(ids, top_k, num_experts);
  std::vector<float> source(num_tokens * width);
  std::iota(source.begin(), source.end(), 0.0f);

  const Matrix<float> destination("destination", num_tokens * top_k, width);
  Tokkos::permuteByExpert(ExecutionSpace(), makeMatrix(source, width),
                          destination, makeMatrix(ids, top_k),
                          makeArray(plan.offsets));
  const auto rows = toVector(destination);
  for (int e = 0; e < num_experts; ++e) {
    std::vector<float> expected, actual;
    for (int r = plan.offsets[e]; r < plan.offsets[e + 1]; ++r) {
      expected.push_back(source[plan.assignment_of_row[r] / top_k * width]);
      actual.push_back(rows[r * width]);
      for (int h = 1; h < width; ++h)  // a row stays together
        EXPECT_EQ(rows[r * width] + float(h), rows[r * width + h]);
    }
    std::sort(expected.begin(), expected.end());
    std::sort(actual.begin(), actual.end());
    EXPECT_EQ(expected, actual) << "expert " << e;
  }
}

TEST(Stages, WithoutTokensNothingIsTouched) {
  const auto offsets = makeArray<int>({0, 0});
  const Array<int> destination("destination", 3);
  Kokkos::deep_copy(destination, 9);
  Tokkos::permuteByExpert(ExecutionSpace(), Array<int>("source", 0),
                          destination, Array<int>("ids", 0), offsets);
  EXPECT_EQ((std::vector<int>{9, 9, 9}), toVector(destination));
}

TEST(Stages, OffsetsBehindTheDestinationWriteNothing) {
  const Array<int> rows("rows", 6);
  Kokkos::deep_copy(rows, 9);
  const auto offsets = makeArray<int>({1, 4, -1});
  Tokkos::permuteByExpert(
      ExecutionSpace(), makeArray<int>({1, 2, 3, 4}),
      Kokkos::subview(rows, Kokkos::make_pair(1, 5)),  // rows 0 to 3
      makeArray<int>({1, 0, 1, 2}), offsets);
  EXPECT_EQ((std::vector<int>{9, 9, 2, 9, 9, 9}), toVector(rows));
  EXPECT_EQ((std::vector<int>{2, 6, 0}), toVector(offsets));
}

TEST(Stages, ScanCountsOfNoExpertsWritesNothing) {
  const Array<int> offsets("offsets", 0);
  Tokkos::scanCounts(ExecutionSpace(), Array<int>("counts", 0), offsets);
  EXPECT_EQ(0u, offsets.extent(0));
}

// Offsets that scanCounts did not make: rows that there are not, are not
// written.
TEST(Stages, PermuteByExpertStaysInsideItsDestination) {
  const auto offsets = makeArray<int>({-1, 2, 0});
  const Array<int> destination("destination", 4);
  Kokkos::deep_copy(destination, 9);
  Tokkos::permuteByExpert(ExecutionSpace(), makeArray<int>({1, 2, 3, 4}),
                          destination, makeArray<int>({0, 1, 1, 1}), offsets);
  EXPECT_EQ((std::vector<int>{0, 5, 0}), toVector(offsets));
  auto rows = toVector(destination);
  EXPECT_EQ((std::vector<int>{9, 9}), (std::vector<int>{rows[0], rows[1]}));
  for (const int row : {rows[2], rows[3]})
    EXPECT_TRUE(2 <= row && row <= 4) << row;
  EXPECT_NE(rows[2], rows[3]);
}

TEST(Stages, MisuseIsNamed) {
  const ExecutionSpace space;
  const Array<int> ids("ids", 4), offsets("offsets", 3), destination("d", 4);
  EXPECT_EQ(messageOf([&] {
              Tokkos::scanCounts(space, ids, Array<int>("offsets", 3));
            }),
            "Tokkos::scanCounts: offsets.extent(0): expected 5 "
            "(counts.extent(0) + 1), got 3");
  EXPECT_EQ(messageOf([&] {
              Tokkos::permuteByExpert(space, Array<int>("source", 5),
                                      destination, ids, offsets);
            }),
            "Tokkos::permuteByExpert: expert_ids.extent(0): expected 5 "
            "(source.extent(0)), got 4");
  EXPECT_EQ(messageOf([&] {
              Tokkos::permuteByExpert(space, Array<int>("source", 4),
                                      Array<int>("destination", 3), ids,
                                      offsets);
            }),
            "Tokkos::permuteByExpert: destination.extent(0): expected 4 or "
            "more (the number of assignments), got 3");
  EXPECT_EQ(messageOf([&] {
              Tokkos::permuteByExpert(space, destination, destination, ids,
                                      offsets);
            }),
            "Tokkos::permuteByExpert: source and destination: expected "
            "separate memory, got Views that share memory");
  EXPECT_EQ(messageOf([&] {
              Tokkos::permuteByExpert(space, Array<int>("source", 4),
                                      destination, ids, destination);
            }),
            "Tokkos::permuteByExpert: destination and offsets: expected "
            "separate memory, got Views that share memory");
}

}  // namespace Test
