// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// SPDX-FileCopyrightText: Copyright Contributors to the Tokkos project

#include "RowCases.hpp"

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

template <class Layout, class T>
void testPlacement(Setting& s, const Placement& placement, int width) {
  const auto columns     = static_cast<std::size_t>(width);
  const auto source      = randomBits<T>(s.random, s.num_tokens * columns);
  auto tokens            = placed<T>(placement, s.num_tokens, columns);
  const auto batch       = placed<T>(placement, s.plan.max_rows, columns);
  const auto assignments = placed<T>(placement, s.numAssignments(), columns);
  tokens.set(source);

  Tokkos::permute(s.space, s.plan, viewAs<Layout>(tokens),
                  viewAs<Layout>(batch));
  const auto rows = Reference::permute(s.expected, source, width, s.top_k);
  EXPECT_TRUE(sameBits(rows, firstRows(batch.get(), rows.size())));
  EXPECT_TRUE(untouchedFrom(batch.get(), rows.size()));
  EXPECT_TRUE(batch.surroundingsUntouched());

  Tokkos::unpermute(s.space, s.plan, viewAs<Layout>(batch),
                    viewAs<Layout>(assignments));
  EXPECT_TRUE(sameBits(Reference::unpermute(s.expected, rows, width),
                       assignments.get()));
  EXPECT_TRUE(assignments.surroundingsUntouched());
}

template <class T>
void testPlacements() {
  SCOPED_TRACE("bytes=" + std::to_string(sizeof(T)));
  Setting s{4, 3, 3, 0, 4};
  forEachPlacementAndWidth(
      [&]<class Layout>(const Placement& placement, int width) {
        testPlacement<Layout, T>(s, placement, width);
      });
}

TEST(Permute, EveryPlacementAndWidth) {
  testPlacements<std::uint8_t>();
  testPlacements<std::uint16_t>();
  testPlacements<Bytes<3>>();
  testPlacements<float>();
  testPlacements<double>();
  testPlacements<Bytes<12>>();
  testPlacements<Kokkos::complex<double>>();
}

template <class From, class To>
void testConversion(const Placement& from, const Placement& to, int width) {
  SCOPED_TRACE("H=" + std::to_string(width) + " " +
               std::to_string(sizeof(From)) + " to " +
               std::to_string(sizeof(To)) + " bytes");
  Random random;
  const ExecutionSpace space;
  const int num_tokens = 21, top_k = 3, num_experts = 5;
  const auto ids = random.ids(num_tokens * top_k, num_experts, true, true);
  Reference::Options known;
  known.alignment     = 6;
  const auto expected = Reference::makePlan(ids, top_k, num_experts, known);
  const auto plan     = Tokkos::buildDispatchPlan(
      space, makeMatrix(ids, top_k), num_experts, PlanOptions{.alignment = 6});
  const auto source =
      random.reals<From>(std::size_t(num_tokens) * width, -1e3, 1e3);
  // Of two types of 16 bits neither converts to the other.
  using Wide = std::conditional_t<sizeof(From) == 2, float, From>;
  std::vector<To> converted;
  for (const From& x : source)
    converted.push_back(static_cast<To>(Wide(x)));

  auto tokens = placed<From>(from, num_tokens, static_cast<std::size_t>(width));
  auto batch  = placed<To>(to, plan.max_rows, static_cast<std::size_t>(width));
  tokens.set(source);
  Tokkos::permute(space, plan, tokens.view(), batch.view());
  const auto rows = Reference::permute(expected, converted, width, top_k);
  EXPECT_TRUE(sameBits(rows, firstRows(batch.get(), rows.size())));
  EXPECT_TRUE(untouchedFrom(batch.get(), rows.size()));
  EXPECT_TRUE(batch.surroundingsUntouched());
}

template <class From, class To>
void testConversions() {
  for (const int width : {0, 1, 7, 16, 17, 64, 1000, 7168}) {
    testConversion<From, To>({false, 0, 0}, {false, 0, 0}, width);
    testConversion<From, To>({false, 1, 8}, {false, 0, 3}, width);
    testConversion<From, To>({true, 0, 0}, {false, 0, 0}, width);
    testConversion<From, To>({false, 0, 0}, {true, 2, 1}, width);
    if (testing::Test::HasFailure()) return;
  }
}

TEST(Permute, ConvertsRealTypes) {
  using Kokkos::Experimental::bhalf_t;
  using Kokkos::Experimental::half_t;
  testConversions<float, bhalf_t>();
  testConversions<float, half_t>();
  testConversions<bhalf_t, float>();
  testConversions<half_t, float>();
  testConversions<half_t, bhalf_t>();
  testConversions<bhalf_t, half_t>();
  testConversions<double, half_t>();
  testConversions<double, float>();
  testConversions<float, double>();
}

TEST(Permute, ConversionRoundsToNearest) {
  const ExecutionSpace space;
  const auto plan =
      Tokkos::buildDispatchPlan(space, makeMatrix<int>({0}, 1), 1);
  const Matrix<float> batch("batch", 1, 4);
  const double last_bit = std::ldexp(1.0, -23);
  // Ties go to the even neighbour.
  Tokkos::permute(space, plan,
                  makeMatrix<double>({1 + 0.5 * last_bit, 1 + 1.5 * last_bit,
                                      1 + 0.75 * last_bit, -1e300},
                                     4),
                  batch);
  const auto bit = static_cast<float>(last_bit);
  EXPECT_EQ((std::vector<float>{1, 1 + 2 * bit, 1 + bit,
                                -std::numeric_limits<float>::infinity()}),
            toVector(batch));
}

/// Companions of many types and widths, in one call.
void testCompanions(int num_tokens, int width) {
  SCOPED_TRACE("T=" + std::to_string(num_tokens) +
               " H=" + std::to_string(width));
  Random random;
  const ExecutionSpace space;
  const int top_k = 3, num_experts = 7, alignment = 8;
  const auto ids =
      random.ids(std::size_t(num_tokens) * top_k, num_experts, true, true);
  Reference::Options known;
  known.alignment     = alignment;
  const auto expected = Reference::makePlan(ids, top_k, num_experts, known);
  const auto plan =
      Tokkos::buildDispatchPlan(space, makeMatrix(ids, top_k), num_experts,
                                PlanOptions{.alignment = alignment});
  const auto n = std::size_t(num_tokens) * top_k;

  const auto x       = random.reals<float>(std::size_t(num_tokens) * width);
  const auto scales  = random.reals<float>(std::size_t(num_tokens) * 56);
  const auto numbers = randomBits<std::int64_t>(random, num_tokens);
  const auto colours =
      randomBits<Bytes<3>>(random, std::size_t(num_tokens) * 5);
  const auto weights = random.reals<double>(n);
  const auto details = randomBits<std::uint16_t>(random, n * 9);

  const auto poisoned = [&](auto rows) {
    using Value = typename decltype(rows)::value_type;
    fromVector(rows, std::vector<Value>(rows.size(), poison<Value>()));
    return rows;
  };
  const auto batch = poisoned(Matrix<float>("batch", plan.max_rows + 2, width));
  const auto row_scales = poisoned(Matrix<float>("s", plan.max_rows + 2, 56));
  const auto row_numbers =
      poisoned(Array<std::int64_t>("i", plan.max_rows + 2));
  const auto row_colours =
      poisoned(LeftMatrix<Bytes<3>>("c", plan.max_rows + 2, 5));
  const auto row_weights = poisoned(Array<double>("w", plan.max_rows + 2));
  const auto row_details =
      poisoned(Matrix<std::uint16_t>("d", plan.max_rows + 2, 9));

  const Matrix<float> tokens("tokens", num_tokens, width);
  fromVector(tokens, x);
  // A column of a matrix: a companion whose elements do not lie side by side.
  StridedMatrix<double> gates(num_tokens, top_k, 1, num_tokens + 1, 3);
  gates.set(weights);
  Tokkos::permute(space, plan, tokens, batch,
                  Tokkos::perToken(makeMatrix(scales, 56), row_scales),
                  Tokkos::perToken(makeArray(numbers), row_numbers),
                  Tokkos::perToken(makeMatrix(colours, 5), row_colours),
                  Tokkos::perAssignment(gates.view(), row_weights),
                  Tokkos::perAssignment(makeMatrix(details, 9), row_details));

  const auto check = [](const auto& rows, const auto& view) {
    const auto actual = toVector(view);
    EXPECT_TRUE(sameBits(rows, firstRows(actual, rows.size())));
    EXPECT_TRUE(untouchedFrom(actual, rows.size()));
  };
  check(Reference::permute(expected, x, width, top_k), batch);
  check(Reference::permute(expected, scales, 56, top_k), row_scales);
  check(Reference::permute(expected, numbers, 1, top_k), row_numbers);
  check(Reference::permute(expected, colours, 5, top_k), row_colours);
  check(Reference::permuteAssignments(expected, weights, 1), row_weights);
  check(Reference::permuteAssignments(expected, details, 9), row_details);
}

TEST(Permute, CompanionsGoAlong) {
  for (const int num_tokens : {0, 1, 2, 65, 700})
    for (const int width : {0, 24})
      testCompanions(num_tokens, width);
}

TEST(Permute, PaddingRowsAreZeroedAndNoOthers) {
  testRoundTrip<float, Matrix<float>>(100, 2, 9, 24, 0, 16);
  testRoundTrip<float, Matrix<float>>(100, 2, 9, 24, 7, 5);
  testRoundTrip<float, Matrix<float>>(0, 2, 9, 24, 0, 16);
}

TEST(Permute, ModelSizedRows) {
  using Rows = Matrix<std::uint16_t>;
  testRoundTrip<std::uint16_t, Rows>(64, 8, 256, 7168, 0, 1);
  testRoundTrip<std::uint16_t, Rows>(130, 8, 256, 2000, 0, 1);
  testRoundTrip<std::uint16_t, Rows>(130, 2, 9, 1000, 60, 4);
  testRoundTrip<std::uint16_t, Rows>(150, 40, 64, 256, 100, 3);
  testRoundTrip<std::uint16_t, Rows>(1100, 6, 64, 256, 0, 1);
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

TEST(Permute, MisuseOfCompanionsIsNamed) {
  const ExecutionSpace space;
  const auto plan = Tokkos::buildDispatchPlan(
      space, makeMatrix<int>({1, 0, 1, 1}, 2), 2, PlanOptions{.alignment = 3});
  const Matrix<float> tokens("tokens", 2, 5), batch("batch", 9, 5);
  const Array<float> scales("scales", 2), rows("rows", 9);
  const auto permuted = [&](const auto&... companions) {
    return messageOf(
        [&] { Tokkos::permute(space, plan, tokens, batch, companions...); });
  };
  using Tokkos::perAssignment;
  using Tokkos::perToken;
  EXPECT_EQ(
      "Tokkos::permute: companion 1.source.extent(0): expected 2 "
      "(plan.num_tokens), got 3",
      permuted(perToken(Array<float>("scales", 3), rows)));
  EXPECT_EQ(
      "Tokkos::permute: companion 2.destination.extent(0): expected 9 or more "
      "(plan.maxRows(plan.num_tokens)), got 8",
      permuted(perToken(scales, rows),
               perToken(scales, Array<float>("rows", 8))));
  EXPECT_EQ(
      "Tokkos::permute: companion 1.destination.extent(1): expected 3 "
      "(source.extent(1)), got 4",
      permuted(perToken(Matrix<int>("ids", 2, 3), Matrix<int>("rows", 9, 4))));
  EXPECT_EQ(
      "Tokkos::permute: companion 1.source.extent(1): expected 2 "
      "(plan.top_k), got 3",
      permuted(perAssignment(Matrix<float>("weights", 2, 3), rows)));
  EXPECT_EQ(
      "Tokkos::permute: companion 1.source.extent(0): expected 4 "
      "(plan.num_tokens * plan.top_k), got 2",
      permuted(perAssignment(Matrix<float>("weights", 2, 2),
                             Matrix<float>("rows", 9, 2))));
  EXPECT_EQ(
      "Tokkos::permute: companion 1.destination and companion "
      "2.destination: expected separate memory, got Views that share memory",
      permuted(perToken(scales, rows), perToken(scales, rows)));
  EXPECT_EQ(
      "Tokkos::permute: companion 1.source and batch: expected separate "
      "memory, got Views that share memory",
      permuted(
          perToken(Kokkos::subview(batch, Kokkos::make_pair(0, 2), 1), rows)));
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
