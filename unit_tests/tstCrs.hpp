// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// SPDX-FileCopyrightText: Copyright Contributors to the Tokkos project

#include "TestSupport.hpp"

// The plan as a sparse matrix: its product with the batch is combine.
namespace Test {

TEST(Crs, ProductWithTheBatchIsCombine) {
  Random random;
  const ExecutionSpace space;
  const int num_tokens = 400, top_k = 4, num_experts = 12, width = 9;
  const auto ids     = random.ids(num_tokens * top_k, num_experts, true, true);
  const auto weights = random.reals<float>(num_tokens * top_k);
  const auto plan    = Tokkos::buildDispatchPlan(space, makeMatrix(ids, top_k),
                                                 num_experts, {.capacity = 120});
  const auto rows    = random.reals<float>(std::size_t(plan.max_rows) * width);
  const auto d_weights = makeMatrix(weights, top_k);

  const Array<std::int64_t> d_row_map("row_map", num_tokens + 1);
  const Array<int> d_entries("entries", num_tokens * top_k + 2);
  const Array<float> d_values("values", num_tokens * top_k + 2);
  Kokkos::deep_copy(d_entries, -5);
  Tokkos::planToCrs(space, plan, d_weights, d_row_map, d_entries, d_values);
  const auto row_map = toVector(d_row_map);
  const auto entries = toVector(d_entries);
  const auto values  = toVector(d_values);

  // The plain product over compressed rows.
  std::vector<float> product;
  for (int t = 0; t < num_tokens; ++t)
    for (int h = 0; h < width; ++h) {
      float sum  = 0;
      bool first = true;
      for (auto i = row_map[t]; i < row_map[t + 1]; ++i) {
        sum = Reference::multiplyThenAdd(
            values[i], rows[std::size_t(entries[i]) * width + h],
            first ? -0.0f : sum);
        first = false;
      }
      product.push_back(sum);
    }
  const Matrix<float> output("output", num_tokens, width);
  Tokkos::combine(space, plan, makeMatrix(rows, width), d_weights, output);
  EXPECT_TRUE(sameBits(product, toVector(output)));

  EXPECT_EQ(0, row_map[0]);
  std::int64_t with_row = 0;
  for (const int row : toVector(plan.row_of_assignment))
    with_row += row >= 0;
  EXPECT_EQ(with_row, row_map[num_tokens]);
  EXPECT_LT(with_row, num_tokens * top_k);  // some were dropped
  for (std::size_t i = with_row; i < entries.size(); ++i)
    EXPECT_EQ(-5, entries[i]);
}

TEST(Crs, WithoutTokens) {
  const ExecutionSpace space;
  const auto plan =
      Tokkos::buildDispatchPlan(space, Matrix<int>("ids", 0, 2), 4);
  const Array<int> row_map("row_map", 1), entries("entries", 0);
  Kokkos::deep_copy(row_map, 7);
  Tokkos::planToCrs(space, plan, Matrix<float>("weights", 0, 2), row_map,
                    entries, Array<float>("values", 0));
  EXPECT_EQ((std::vector<int>{0}), toVector(row_map));
}

TEST(Crs, ValuesOfAnyRealType) {
  using Tokkos::KokkosExt::bhalf_t;
  using Tokkos::KokkosExt::half_t;
  const ExecutionSpace space;
  const auto plan =
      Tokkos::buildDispatchPlan(space, makeMatrix<int>({1, 0, 1, 1}, 2), 2);
  const Array<int> row_map("row_map", 3), entries("entries", 4);
  const auto test = [&](auto from, auto to) {
    using To = decltype(to);
    // All types hold these.
    const std::vector<float> numbers{0.5f, -3, 0.25f, 96};
    std::vector<decltype(from)> weights;
    std::vector<To> expected;
    for (const float x : numbers) {
      weights.push_back(static_cast<decltype(from)>(x));
      expected.push_back(static_cast<To>(x));
    }
    const Array<To> values("values", 4);
    Tokkos::planToCrs(space, plan, makeMatrix(weights, 2), row_map, entries,
                      values);
    EXPECT_TRUE(sameBits(expected, toVector(values)));
  };
  test(half_t(), bhalf_t());
  test(bhalf_t(), half_t());
  test(bhalf_t(), double());
  test(double(), half_t());
}

TEST(Crs, MisuseIsNamed) {
  const ExecutionSpace space;
  const auto plan =
      Tokkos::buildDispatchPlan(space, makeMatrix<int>({1, 0, 1, 1}, 2), 2);
  const Matrix<float> weights("weights", 2, 2);
  const Array<int> row_map("row_map", 3), entries("entries", 4);
  const Array<float> values("values", 4);
  const auto exported = [&](const auto& w, const auto& r, const auto& e,
                            const auto& v) {
    return messageOf([&] { Tokkos::planToCrs(space, plan, w, r, e, v); });
  };
  EXPECT_EQ(
      "Tokkos::planToCrs: weights.extent(0): expected 2 "
      "(plan.num_tokens), got 3",
      exported(Matrix<float>("weights", 3, 2), row_map, entries, values));
  EXPECT_EQ(
      "Tokkos::planToCrs: row_map.extent(0): expected 3 "
      "(plan.num_tokens + 1), got 2",
      exported(weights, Array<int>("row_map", 2), entries, values));
  EXPECT_EQ(
      "Tokkos::planToCrs: entries.extent(0): expected 4 or more "
      "(plan.num_tokens * plan.top_k), got 3",
      exported(weights, row_map, Array<int>("entries", 3), values));
  EXPECT_EQ(
      "Tokkos::planToCrs: values.extent(0): expected 4 or more "
      "(plan.num_tokens * plan.top_k), got 3",
      exported(weights, row_map, entries, Array<float>("values", 3)));
  EXPECT_EQ(
      "Tokkos::planToCrs: weights and values: expected separate memory, got "
      "Views that share memory",
      exported(weights, row_map, entries, Array<float>(weights.data(), 4)));
  EXPECT_EQ(
      "Tokkos::planToCrs: row_map and entries: expected separate memory, got "
      "Views that share memory",
      exported(weights, Kokkos::subview(entries, Kokkos::make_pair(0, 3)),
               entries, values));
}

}  // namespace Test
