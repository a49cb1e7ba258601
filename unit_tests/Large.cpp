// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// SPDX-FileCopyrightText: Copyright Contributors to the Tokkos project

#include <Kokkos_Core.hpp>

namespace Test {
using ExecutionSpace = Kokkos::DefaultExecutionSpace;
}

#include "TestSupport.hpp"

// More elements than 32 bits can number, and the most assignments there may be.
// Run where a device has the memory: up to 40 GB.
namespace Test {

using Byte = std::uint8_t;

/// A value that tells the element's place.
KOKKOS_FUNCTION Byte byteAt(std::int64_t row, std::int64_t column) {
  return static_cast<Byte>((row * 131 + column * 7 + column / 256) % 251);
}

struct FillTokens {
  Matrix<Byte> tokens;

  KOKKOS_FUNCTION void operator()(std::int64_t i) const {
    const auto width             = static_cast<std::int64_t>(tokens.extent(1));
    tokens(i / width, i % width) = byteAt(i / width, i % width);
  }
};

/// Rows of the batch, or assignments, that do not hold their token.
struct CountWrong {
  Matrix<Byte> rows;
  Array<int> assignment_of_row;  // empty: row a holds assignment a
  int top_k;

  KOKKOS_FUNCTION void operator()(std::int64_t i, std::int64_t& wrong) const {
    const auto width       = static_cast<std::int64_t>(rows.extent(1));
    const std::int64_t row = i / width;
    const std::int64_t a =
        assignment_of_row.extent(0) == 0 ? row : assignment_of_row(row);
    wrong += rows(row, i % width) != byteAt(a / top_k, i % width);
  }
};

using Elements =
    Kokkos::RangePolicy<ExecutionSpace, Kokkos::IndexType<std::int64_t>>;

TEST(Large, RowsBeyond32Bits) {
  Random random;
  const ExecutionSpace space;
  const int num_tokens = 38000, top_k = 8, num_experts = 64, width = 7168;
  const auto ids = random.ids(std::size_t(num_tokens) * top_k, num_experts);
  const auto plan =
      Tokkos::buildDispatchPlan(space, makeMatrix(ids, top_k), num_experts);
  const Matrix<Byte> tokens("tokens", num_tokens, width);
  Kokkos::parallel_for("Test::fill",
                       Elements(space, 0, std::int64_t(tokens.size())),
                       FillTokens{tokens});
  const auto num_elements = std::int64_t(num_tokens) * top_k * width;
  ASSERT_GT(num_elements, std::int64_t(1) << 31);

  const Matrix<Byte> batch("batch", plan.max_rows, width);
  Tokkos::permute(space, plan, tokens, batch);
  std::int64_t wrong = -1;
  Kokkos::parallel_reduce("Test::count", Elements(space, 0, num_elements),
                          CountWrong{batch, plan.assignment_of_row, top_k},
                          wrong);
  EXPECT_EQ(0, wrong);

  const Matrix<Byte> assignments("assignments", num_tokens * top_k, width);
  Tokkos::unpermute(space, plan, batch, assignments);
  wrong = -1;
  Kokkos::parallel_reduce("Test::count", Elements(space, 0, num_elements),
                          CountWrong{assignments, Array<int>(), top_k}, wrong);
  EXPECT_EQ(0, wrong);
}

struct FillOnes {
  Matrix<float> batch;

  KOKKOS_FUNCTION void operator()(std::int64_t i) const {
    const auto width            = static_cast<std::int64_t>(batch.extent(1));
    batch(i / width, i % width) = static_cast<float>(i / width % 1024);
  }
};

struct CountWrongSums {
  Matrix<float> output;
  Matrix<int> row_of_assignment;

  KOKKOS_FUNCTION void operator()(std::int64_t i, std::int64_t& wrong) const {
    const auto width = static_cast<std::int64_t>(output.extent(1));
    const auto token = i / width;
    float expected   = 0;  // small integers: exact in any order
    for (std::size_t k = 0; k < row_of_assignment.extent(1); ++k)
      expected += static_cast<float>(row_of_assignment(token, k) % 1024);
    wrong += output(token, i % width) != expected;
  }
};

TEST(Large, SumsBeyond32Bits) {
  Random random;
  const ExecutionSpace space;
  const int num_tokens = 38000, top_k = 8, num_experts = 64, width = 7168;
  const auto ids = random.ids(std::size_t(num_tokens) * top_k, num_experts);
  const auto plan =
      Tokkos::buildDispatchPlan(space, makeMatrix(ids, top_k), num_experts);
  const Matrix<float> batch("batch", plan.max_rows, width);
  const Matrix<float> weights("weights", num_tokens, top_k);
  const Matrix<float> output("output", num_tokens, width);
  Kokkos::deep_copy(weights, 1.0f);
  Kokkos::parallel_for("Test::fill",
                       Elements(space, 0, std::int64_t(batch.size())),
                       FillOnes{batch});
  Tokkos::combine(space, plan, batch, weights, output);
  std::int64_t wrong = -1;
  Kokkos::parallel_reduce(
      "Test::count", Elements(space, 0, std::int64_t(output.size())),
      CountWrongSums{output, plan.row_of_assignment}, wrong);
  EXPECT_EQ(0, wrong);
}

struct FillIds {
  Array<int> ids;
  int num_experts;

  KOKKOS_FUNCTION void operator()(std::int64_t i) const {
    ids(i) = static_cast<int>((i * 2654435761LL >> 7) % num_experts);
  }
};

TEST(Large, TheMostAssignmentsThereMayBe) {
  const ExecutionSpace space;
  const int n = INT_MAX, num_experts = 8;
  const Array<int> ids(Kokkos::view_alloc("ids", Kokkos::WithoutInitializing),
                       n);
  Kokkos::parallel_for("Test::fill", Elements(space, 0, n),
                       FillIds{ids, num_experts});
  const Matrix<int> as_matrix(ids.data(), n, 1);
  const auto plan = Tokkos::buildDispatchPlan(space, as_matrix, num_experts);
  EXPECT_EQ("", Tokkos::validateDispatchPlan(space, plan, as_matrix));
  EXPECT_EQ(n, toVector(plan.num_rows)[0]);
  EXPECT_EQ(
      "Tokkos::DispatchPlan: max_tokens: expected 0 to 1073741823 ((2^31 "
      "- 1) / top_k), got 1073741824",
      messageOf([&] {
        Tokkos::DispatchPlan<MemorySpace>(space, std::int64_t(1) << 30, 2,
                                          num_experts);
      }));
}

}  // namespace Test
