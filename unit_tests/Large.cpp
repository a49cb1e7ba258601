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

template <class Rows>
struct FillTokens {
  Rows tokens;

  KOKKOS_FUNCTION void operator()(std::int64_t i) const {
    const auto width             = static_cast<std::int64_t>(tokens.extent(1));
    tokens(i / width, i % width) = byteAt(i / width, i % width);
  }
};

/// Rows of the batch, or assignments, that do not hold their token.
template <class Rows>
struct CountWrong {
  Rows rows;
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

constexpr int num_tokens = 38000, top_k = 8, num_experts = 64, width = 7168;
constexpr auto num_elements = std::int64_t(num_tokens) * top_k * width;
static_assert(num_elements > std::int64_t(1) << 31);

Tokkos::DispatchPlan<MemorySpace> makePlan(int tokens  = num_tokens,
                                           int choices = top_k) {
  Random random;
  const auto ids = random.ids(std::size_t(tokens) * choices, num_experts);
  return Tokkos::buildDispatchPlan(ExecutionSpace(), makeMatrix(ids, choices),
                                   num_experts);
}

template <class Functor>
std::int64_t count(std::int64_t n, const Functor& functor) {
  std::int64_t wrong = -1;
  Kokkos::parallel_reduce("Test::count", Elements(ExecutionSpace(), 0, n),
                          functor, wrong);
  return wrong;
}

/// Rows whose bytes begin at a multiple of 16, or not, and few or many of a
/// token: ways to copy them.
void testRows(const Tokkos::DispatchPlan<MemorySpace>& plan,
              std::size_t offset) {
  const ExecutionSpace space;
  const std::int64_t n = std::int64_t(plan.max_rows) * width;
  ASSERT_GT(n, std::int64_t(1) << 31);
  const auto window = [&](const std::string& label, int rows) {
    const Matrix<Byte> all(label, rows, width + 16);
    return Kokkos::subview(
        all, Kokkos::ALL,
        Kokkos::make_pair(offset, offset + std::size_t(width)));
  };
  const auto tokens = window("tokens", plan.num_tokens);
  Kokkos::parallel_for("Test::fill",
                       Elements(space, 0, std::int64_t(tokens.size())),
                       FillTokens<decltype(tokens)>{tokens});
  const auto batch = window("batch", plan.max_rows);
  Tokkos::permute(space, plan, tokens, batch);
  EXPECT_EQ(0, count(n, CountWrong<decltype(batch)>{
                            batch, plan.assignment_of_row, plan.top_k}));

  const auto assignments = window("assignments", plan.num_tokens * plan.top_k);
  Tokkos::unpermute(space, plan, batch, assignments);
  EXPECT_EQ(0, count(n, CountWrong<decltype(batch)>{assignments, Array<int>(),
                                                    plan.top_k}));
}

TEST(Large, RowsBeyond32Bits) {
  testRows(makePlan(), 0);
}
TEST(Large, FewRowsOfATokenBeyond32Bits) {
  testRows(makePlan(4 * num_tokens, top_k / 4), 0);
}
TEST(Large, MisalignedRowsBeyond32Bits) {
  testRows(makePlan(), 3);
}

TEST(Large, CompanionsBeyond32Bits) {
  const ExecutionSpace space;
  const auto plan = makePlan();
  const Matrix<Byte> tokens("tokens", num_tokens, width);
  Kokkos::parallel_for("Test::fill",
                       Elements(space, 0, std::int64_t(tokens.size())),
                       FillTokens<Matrix<Byte>>{tokens});
  const Matrix<Byte> batch("batch", plan.max_rows, width);
  const Matrix<int> one("one", num_tokens, 1), rows("rows", plan.max_rows, 1);
  Tokkos::permute(space, plan, one, rows, Tokkos::perToken(tokens, batch));
  EXPECT_EQ(0, count(num_elements, CountWrong<Matrix<Byte>>{
                                       batch, plan.assignment_of_row, top_k}));
}

/// A small integer, exact in every type, that tells the element's place.
KOKKOS_FUNCTION float numberAt(std::int64_t row, std::int64_t column) {
  return static_cast<float>((row * 13 + column * 7) % 16);
}

template <class T>
struct FillNumbers {
  Matrix<T> rows;

  KOKKOS_FUNCTION void operator()(std::int64_t i) const {
    const auto n       = static_cast<std::int64_t>(rows.extent(1));
    rows(i / n, i % n) = static_cast<T>(numberAt(i / n, i % n));
  }
};

template <class T>
void fillNumbers(const Matrix<T>& rows) {
  Kokkos::parallel_for("Test::fill",
                       Elements(ExecutionSpace(), 0, std::int64_t(rows.size())),
                       FillNumbers<T>{rows});
}

/// Rows that do not hold the numbers of their token, times scale.
template <class T>
struct CountWrongNumbers {
  Matrix<T> rows;
  Array<int> assignment_of_row;
  float scale;

  KOKKOS_FUNCTION void operator()(std::int64_t i, std::int64_t& wrong) const {
    const std::int64_t row = i / width;
    wrong += static_cast<float>(rows(row, i % width)) !=
             scale * numberAt(assignment_of_row(row) / top_k, i % width);
  }
};

using bhalf_t = Kokkos::Experimental::bhalf_t;

TEST(Large, ConvertedRowsBeyond32Bits) {
  const ExecutionSpace space;
  const auto plan = makePlan();
  const Matrix<float> tokens("tokens", num_tokens, width);
  fillNumbers(tokens);
  const Matrix<bhalf_t> batch("batch", plan.max_rows, width);
  Tokkos::permute(space, plan, tokens, batch);
  EXPECT_EQ(0, count(num_elements, CountWrongNumbers<bhalf_t>{
                                       batch, plan.assignment_of_row, 1}));
}

/// With the numbers in the gradient and ones in the batch, and weights of 2.
struct CountWrongWeightGradients {
  Matrix<float> weights_gradient;

  KOKKOS_FUNCTION void operator()(std::int64_t a, std::int64_t& wrong) const {
    float sum = 0;  // integers below 2^24: exact in any order
    for (int h = 0; h < width; ++h)
      sum += numberAt(a / top_k, h);
    wrong += weights_gradient(a / top_k, a % top_k) != sum;
  }
};

struct CountWrongTokenGradients {
  Matrix<float> tokens_gradient;

  KOKKOS_FUNCTION void operator()(std::int64_t i, std::int64_t& wrong) const {
    wrong += tokens_gradient(i / width, i % width) !=
             2 * top_k * numberAt(i / width, i % width);
  }
};

TEST(Large, GradientsBeyond32Bits) {
  const ExecutionSpace space;
  const auto plan = makePlan();
  const Matrix<bhalf_t> output_gradient("output_gradient", num_tokens, width),
      batch("batch", plan.max_rows, width),
      batch_gradient("batch_gradient", plan.max_rows, width);
  const Matrix<float> weights("weights", num_tokens, top_k),
      weights_gradient("weights_gradient", num_tokens, top_k),
      tokens_gradient("tokens_gradient", num_tokens, width);
  fillNumbers(output_gradient);
  Kokkos::deep_copy(batch, static_cast<bhalf_t>(1.0f));
  Kokkos::deep_copy(weights, 2.0f);
  Tokkos::combineGradient(space, plan, output_gradient, batch, weights,
                          batch_gradient, weights_gradient);
  EXPECT_EQ(
      0, count(num_elements, CountWrongNumbers<bhalf_t>{
                                 batch_gradient, plan.assignment_of_row, 2}));
  EXPECT_EQ(0, count(std::int64_t(num_tokens) * top_k,
                     CountWrongWeightGradients{weights_gradient}));
  Tokkos::permuteGradient(space, plan, batch_gradient, tokens_gradient);
  EXPECT_EQ(0, count(std::int64_t(num_tokens) * width,
                     CountWrongTokenGradients{tokens_gradient}));
}

struct FillOnes {
  Matrix<float> batch;

  KOKKOS_FUNCTION void operator()(std::int64_t i) const {
    batch(i / width, i % width) = static_cast<float>(i / width % 1024);
  }
};

struct CountWrongSums {
  Matrix<float> output;
  Matrix<int> row_of_assignment;

  KOKKOS_FUNCTION void operator()(std::int64_t i, std::int64_t& wrong) const {
    const auto token = i / width;
    float expected   = 0;  // small integers: exact in any order
    for (std::size_t k = 0; k < row_of_assignment.extent(1); ++k)
      expected += static_cast<float>(row_of_assignment(token, k) % 1024);
    wrong += output(token, i % width) != expected;
  }
};

TEST(Large, SumsBeyond32Bits) {
  const ExecutionSpace space;
  const auto plan = makePlan();
  const Matrix<float> batch("batch", plan.max_rows, width);
  const Matrix<float> weights("weights", num_tokens, top_k);
  const Matrix<float> output("output", num_tokens, width);
  Kokkos::deep_copy(weights, 1.0f);
  Kokkos::parallel_for("Test::fill",
                       Elements(space, 0, std::int64_t(batch.size())),
                       FillOnes{batch});
  Tokkos::combine(space, plan, batch, weights, output);
  EXPECT_EQ(0, count(std::int64_t(output.size()),
                     CountWrongSums{output, plan.row_of_assignment}));
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
  const int n = INT_MAX, few_experts = 8;
  const Array<int> ids(Kokkos::view_alloc("ids", Kokkos::WithoutInitializing),
                       n);
  Kokkos::parallel_for("Test::fill", Elements(space, 0, n),
                       FillIds{ids, few_experts});
  const Matrix<int> as_matrix(ids.data(), n, 1);
  const auto plan = Tokkos::buildDispatchPlan(space, as_matrix, few_experts);
  EXPECT_EQ("", Tokkos::validateDispatchPlan(space, plan, as_matrix));
  EXPECT_EQ(n, toVector(plan.num_rows)[0]);
  EXPECT_EQ(
      "Tokkos::DispatchPlan: max_tokens: expected 0 to 1073741823 ((2^31 "
      "- 1) / top_k), got 1073741824",
      messageOf([&] {
        Tokkos::DispatchPlan<MemorySpace>(space, std::int64_t(1) << 30, 2,
                                          few_experts);
      }));
}

}  // namespace Test
