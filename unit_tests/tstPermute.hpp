// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// SPDX-FileCopyrightText: Copyright Contributors to the Tokkos project

#include "TestSupport.hpp"

// permute and unpermute: bytes must arrive, and nothing else be written.
namespace Test {

using PlanOptions = Tokkos::PlanOptions<MemorySpace>;

template <int size>
struct Bytes {
  std::uint8_t byte[size];
};

template <class T>
std::vector<T> randomBits(Random& random, std::size_t n) {
  std::vector<T> values(n);
  auto* const bytes = reinterpret_cast<std::uint8_t*>(values.data());
  for (std::size_t i = 0; i < n * sizeof(T); ++i)
    bytes[i] = static_cast<std::uint8_t>(random.integer(0, 255));
  return values;
}

template <class T>
std::vector<T> firstRows(std::vector<T> rows, std::size_t count) {
  rows.resize(count);
  return rows;
}

/// Everything from element `begin` on is still poison.
template <class T>
testing::AssertionResult untouchedFrom(const std::vector<T>& values,
                                       std::size_t begin) {
  const T untouched = poison<T>();
  for (std::size_t i = begin; i < values.size(); ++i)
    if (std::memcmp(&values[i], &untouched, sizeof(T)) != 0)
      return testing::AssertionFailure() << "element " << i << " was written";
  return testing::AssertionSuccess();
}

template <class T, class Rows>
void testRoundTrip(int num_tokens, int top_k, int num_experts, int width,
                   int capacity, int alignment) {
  SCOPED_TRACE("T=" + std::to_string(num_tokens) + " H=" +
               std::to_string(width) + " bytes=" + std::to_string(sizeof(T)) +
               " b=" + std::to_string(alignment));
  Random random;
  const ExecutionSpace space;
  const auto ids =
      random.ids(std::size_t(num_tokens) * top_k, num_experts, true, true);
  Reference::Options known;
  known.capacity      = capacity;
  known.alignment     = alignment;
  const auto expected = Reference::makePlan(ids, top_k, num_experts, known);
  const auto plan     = Tokkos::buildDispatchPlan(
      space, makeMatrix(ids, top_k), num_experts,
      PlanOptions{.capacity = capacity, .alignment = alignment});

  const auto source = randomBits<T>(random, std::size_t(num_tokens) * width);
  Rows tokens("tokens", num_tokens, width);
  fromVector(tokens, source);
  Rows batch("batch", plan.max_rows + 3, width);
  fromVector(batch, std::vector<T>(batch.size(), poison<T>()));
  Tokkos::permute(space, plan, tokens, batch);

  const auto expected_batch =
      Reference::permute(expected, source, width, top_k);
  const auto actual_batch = toVector(batch);
  EXPECT_TRUE(
      sameBits(expected_batch, firstRows(actual_batch, expected_batch.size())));
  EXPECT_TRUE(untouchedFrom(actual_batch, expected_batch.size()));
  EXPECT_TRUE(sameBits(source, toVector(tokens)));

  Rows assignments("assignments", num_tokens * top_k, width);
  fromVector(assignments, std::vector<T>(assignments.size(), poison<T>()));
  Tokkos::unpermute(space, plan, batch, assignments);
  EXPECT_TRUE(sameBits(Reference::unpermute(expected, expected_batch, width),
                       toVector(assignments)));
}

template <class T>
void testWidths() {
  for (const int width :
       {0, 1, 2, 3, 7, 8, 15, 16, 17, 31, 63, 64, 100, 1000}) {
    testRoundTrip<T, Matrix<T>>(37, 3, 6, width, 0, 1);
    testRoundTrip<T, LeftMatrix<T>>(20, 2, 6, width, 5, 4);
    if (testing::Test::HasFailure()) return;
  }
}

TEST(Permute, ElementsOf1Byte) {
  testWidths<std::uint8_t>();
}
TEST(Permute, ElementsOf2Bytes) {
  testWidths<std::uint16_t>();
}
TEST(Permute, ElementsOf3Bytes) {
  testWidths<Bytes<3>>();
}
TEST(Permute, ElementsOf4Bytes) {
  testWidths<float>();
}
TEST(Permute, ElementsOf8Bytes) {
  testWidths<double>();
}
TEST(Permute, ElementsOf12Bytes) {
  testWidths<Bytes<12>>();
}
TEST(Permute, ElementsOf16Bytes) {
  testWidths<Kokkos::complex<double>>();
}
TEST(Permute, HalfTypes) {
  testWidths<Kokkos::Experimental::half_t>();
  testWidths<Kokkos::Experimental::bhalf_t>();
}

TEST(Permute, PaddingRowsAreZeroedAndNoOthers) {
  testRoundTrip<float, Matrix<float>>(100, 2, 9, 24, 0, 16);
  testRoundTrip<float, Matrix<float>>(100, 2, 9, 24, 7, 5);
  testRoundTrip<float, Matrix<float>>(0, 2, 9, 24, 0, 16);
}

TEST(Permute, ModelSizedRows) {
  testRoundTrip<std::uint16_t, Matrix<std::uint16_t>>(64, 8, 256, 7168, 0, 1);
}

template <class T>
void testStrides(std::size_t row_stride, std::size_t column_stride,
                 std::size_t offset, int width) {
  SCOPED_TRACE("strides " + std::to_string(row_stride) + ", " +
               std::to_string(column_stride) + " offset " +
               std::to_string(offset));
  Random random;
  const ExecutionSpace space;
  const int num_tokens = 40, top_k = 2, num_experts = 5;
  const auto ids = random.ids(num_tokens * top_k, num_experts, false, true);
  const auto expected = Reference::makePlan(ids, top_k, num_experts);
  const auto plan =
      Tokkos::buildDispatchPlan(space, makeMatrix(ids, top_k), num_experts);
  const auto source = randomBits<T>(random, std::size_t(num_tokens) * width);

  StridedMatrix<T> tokens(num_tokens, width, row_stride, column_stride, offset);
  StridedMatrix<T> batch(plan.max_rows, width, row_stride + 1, column_stride,
                         offset + 1);
  StridedMatrix<T> assignments(num_tokens * top_k, width, row_stride + 4,
                               column_stride, 0);
  tokens.set(source);
  Tokkos::permute(space, plan, tokens.view(), batch.view());
  const auto rows = Reference::permute(expected, source, width, top_k);
  EXPECT_TRUE(sameBits(rows, firstRows(batch.get(), rows.size())));
  EXPECT_TRUE(untouchedFrom(batch.get(), rows.size()));
  EXPECT_TRUE(batch.surroundingsUntouched());

  Tokkos::unpermute(space, plan, batch.view(), assignments.view());
  EXPECT_TRUE(
      sameBits(Reference::unpermute(expected, rows, width), assignments.get()));
  EXPECT_TRUE(assignments.surroundingsUntouched());
}

TEST(Permute, AnyStrideAndAlignment) {
  for (const std::size_t offset : {0, 1, 2, 3, 4, 7, 8}) {
    testStrides<std::uint8_t>(40, 1, offset, 33);
    testStrides<std::uint16_t>(64, 1, offset, 64);
    testStrides<float>(20, 1, offset, 16);
    testStrides<double>(12, 3, offset, 4);
    testStrides<Bytes<12>>(9, 2, offset, 4);
  }
}

TEST(Permute, WindowsOfColumnsOfOneMatrixAreNotAliased) {
  const ExecutionSpace space;
  const auto ids  = makeMatrix<int>({1, 0, 1}, 1);
  const auto plan = Tokkos::buildDispatchPlan(space, ids, 2);
  const Matrix<float> both("both", 3, 8);
  fromVector(both, std::vector<float>{1, 1, 1, 1, 9, 9, 9, 9,  //
                                      2, 2, 2, 2, 9, 9, 9, 9,  //
                                      3, 3, 3, 3, 9, 9, 9, 9});
  const auto left = Kokkos::subview(both, Kokkos::ALL, Kokkos::make_pair(0, 4));
  const auto right =
      Kokkos::subview(both, Kokkos::ALL, Kokkos::make_pair(4, 8));
  Tokkos::permute(space, plan, left, right);
  EXPECT_EQ((std::vector<float>{1, 1, 1, 1, 2, 2, 2, 2,  //
                                2, 2, 2, 2, 1, 1, 1, 1,  //
                                3, 3, 3, 3, 3, 3, 3, 3}),
            toVector(both));
}

TEST(Permute, MisuseIsNamed) {
  const ExecutionSpace space;
  const auto plan = Tokkos::buildDispatchPlan(
      space, makeMatrix<int>({1, 0, 1, 1}, 2), 2, PlanOptions{.alignment = 3});
  const Matrix<float> tokens("tokens", 2, 5), batch("batch", 9, 5),
      assignments("assignments", 4, 5);
  const auto permuted = [&](const auto& in, const auto& out) {
    return messageOf([&] { Tokkos::permute(space, plan, in, out); });
  };
  const auto unpermuted = [&](const auto& in, const auto& out) {
    return messageOf([&] { Tokkos::unpermute(space, plan, in, out); });
  };
  EXPECT_EQ(
      "Tokkos::permute: tokens.extent(0): expected 2 (plan.num_tokens), "
      "got 3",
      permuted(Matrix<float>("tokens", 3, 5), batch));
  EXPECT_EQ(
      "Tokkos::permute: batch.extent(0): expected 9 or more "
      "(plan.maxRows(plan.num_tokens)), got 8",
      permuted(tokens, Matrix<float>("batch", 8, 5)));
  EXPECT_EQ(
      "Tokkos::permute: batch.extent(1): expected 5 (tokens.extent(1)), "
      "got 6",
      permuted(tokens, Matrix<float>("batch", 9, 6)));
  const auto shared =
      Kokkos::subview(batch, Kokkos::make_pair(7, 9), Kokkos::ALL);
  EXPECT_EQ(
      "Tokkos::permute: tokens and batch: expected separate memory, got "
      "Views that share memory",
      permuted(shared, batch));
  EXPECT_EQ(
      "Tokkos::unpermute: batch.extent(0): expected 9 or more "
      "(plan.maxRows(plan.num_tokens)), got 8",
      unpermuted(Matrix<float>("batch", 8, 5), assignments));
  EXPECT_EQ(
      "Tokkos::unpermute: assignments.extent(0): expected 4 "
      "(plan.num_tokens * plan.top_k), got 3",
      unpermuted(batch, Matrix<float>("assignments", 3, 5)));
  EXPECT_EQ(
      "Tokkos::unpermute: assignments.extent(1): expected 5 "
      "(batch.extent(1)), got 4",
      unpermuted(batch, Matrix<float>("assignments", 4, 4)));
  EXPECT_EQ(
      "Tokkos::unpermute: batch and assignments: expected separate "
      "memory, got Views that share memory",
      unpermuted(batch,
                 Kokkos::subview(batch, Kokkos::make_pair(0, 4), Kokkos::ALL)));
  const Tokkos::DispatchPlan<MemorySpace> empty;
  EXPECT_EQ(
      "Tokkos::permute: plan: expected a plan that was built, got an "
      "empty one",
      messageOf([&] { Tokkos::permute(space, empty, tokens, batch); }));
}

}  // namespace Test
