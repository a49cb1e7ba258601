// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// SPDX-FileCopyrightText: Copyright Contributors to the Tokkos project

#include "RowCases.hpp"

#include <Tokkos/Impl/Divisor.hpp>
#include <Tokkos/Impl/RowTiles.hpp>

#include <climits>
#include <cstdint>
#include <vector>

// How the threads of a device share rows among them, and the kernels that move
// rows there, on a host: one thread after the other. A device runs these
// kernels in the tests of their verbs.
namespace Test {

using Tokkos::Impl::Divisor;
using Tokkos::Impl::RowTiles;

constexpr bool is_host =
    Tokkos::KokkosExt::is_host_execution_space_v<ExecutionSpace>;

TEST(RowTiles, Divisor) {
  std::vector<int> divisors = {1 << 20,       (1 << 20) + 1, 1 << 30,
                               (1 << 30) + 1, INT_MAX - 1,   INT_MAX};
  for (int d = 1; d <= 300; ++d)
    divisors.push_back(d);
  Random random;
  for (const int d : divisors) {
    const Divisor divisor(d);
    std::vector<int> dividends = {0, 1, INT_MAX - 1, INT_MAX};
    for (const int quotient : {1, 2, 3, 1000, INT_MAX / d})
      if (quotient <= INT_MAX / d) {
        dividends.push_back(quotient * d);
        dividends.push_back(quotient * d - 1);
      }
    for (int i = 0; i < 100; ++i)
      dividends.push_back(random.integer(0, INT_MAX));
    for (const int n : dividends) {
      ASSERT_EQ(n / d, divisor.divide(n)) << n << " / " << d;
      ASSERT_EQ(n % d, divisor.remainder(n, n / d)) << n << " % " << d;
    }
  }
}

/// Runs a kernel of forEachTile.
template <class Kernel>
void runTiles(int num_tiles, const Kernel& kernel) {
  for (int tile = 0; tile < num_tiles; ++tile)
    for (int thread = 0; thread < RowTiles::tile_size; ++thread)
      kernel(tile, thread);
}

TEST(RowTiles, EveryWordOnce) {
  for (const int num_rows : {1, 2, 7, 255, 257})
    for (const int num_words : {1, 2, 3, 31, 255, 256, 257, 512, 1000}) {
      const RowTiles tiles(num_rows, num_words);
      std::vector<int> visits(std::size_t(num_rows) * num_words, 0);
      runTiles(tiles.numTiles(), [&](int tile, int thread) {
        const RowTiles::Place place = tiles.place(tile, thread);
        if (place.row >= num_rows) return;
        for (std::int64_t w = place.word; w < num_words; w += place.stride)
          ++visits[std::size_t(place.row * num_words + w)];
      });
      EXPECT_EQ(std::vector<int>(visits.size(), 1), visits)
          << num_rows << " rows of " << num_words << " words";
    }
}

/// More choices than a thread reads at once, and than any kernel is made for.
const int num_choices = 10;

Setting setting() {
  return {37, num_choices, 12, 30, 20};
}

/// A batch with room for all rows, all of it poison.
template <class T>
Matrix<T> poisonedRows(std::size_t rows, std::size_t width) {
  return makeMatrix(std::vector<T>(rows * width, poison<T>()), width);
}

template <class T>
void expectBatch(const Setting& s, std::vector<T> expected,
                 const Matrix<T>& batch) {
  expected.resize(batch.size(), poison<T>());
  EXPECT_TRUE(sameBits(expected, toVector(batch))) << s.num_tokens;
}

template <class T>
void testPermuteRows(std::size_t width) {
  using namespace Tokkos::Impl;
  SCOPED_TRACE("H=" + std::to_string(width));
  Setting s          = setting();
  const auto values  = s.random.reals<T>(s.num_tokens * width);
  const auto tokens  = makeMatrix(values, width);
  const auto batch   = poisonedRows<T>(s.plan.max_rows, width);
  const RowMaps maps = rowMaps(s.plan);
  const auto source  = rowPattern(
      Kokkos::View<const T**, Kokkos::LayoutRight, MemorySpace>(tokens));
  const auto destination = rowPattern(batch);
  const RowShape shape   = rowShape(source, destination, sizeof(T), width);
  const RowTiles tiles(s.num_tokens, shape.num_words);
  withRowShape(shape, [&](auto* word, auto contiguous) {
    using Word = std::remove_pointer_t<decltype(word)>;
    runTiles(maps.numPaddingTeams() + tiles.numTiles(),
             PermuteRows<Word, decltype(contiguous)::value, true>{
                 source, destination, tiles, maps.row_of_assignment,
                 maps.num_tokens, maps.top_k, shape, maps});
  });
  expectBatch(
      s,
      Reference::permute(s.expected, values, static_cast<int>(width), s.top_k),
      batch);
}

TEST(RowTiles, PermuteOnAHost) {
  if (!is_host) GTEST_SKIP() << "devices have tests of their own";
  for (const std::size_t width : {1, 3, 8, 300, 1200}) {
    testPermuteRows<float>(width);
    testPermuteRows<double>(width);
  }
}

TEST(RowTiles, UnpermuteOnAHost) {
  using namespace Tokkos::Impl;
  if (!is_host) GTEST_SKIP() << "devices have tests of their own";
  for (const std::size_t width : {1, 3, 8, 300}) {
    Setting s              = setting();
    const auto values      = rowsAmongNan<float>(s, static_cast<int>(width));
    const auto batch       = makeMatrix(values, width);
    const auto assignments = poisonedRows<float>(s.numAssignments(), width);
    const RowMaps maps     = rowMaps(s.plan);
    const auto source      = rowPattern(
        Kokkos::View<const float**, Kokkos::LayoutRight, MemorySpace>(batch));
    const auto destination = rowPattern(assignments);
    const RowShape shape = rowShape(source, destination, sizeof(float), width);
    const RowTiles tiles(static_cast<int>(s.numAssignments()), shape.num_words);
    withRowShape(shape, [&](auto* word, auto contiguous) {
      using Word = std::remove_pointer_t<decltype(word)>;
      runTiles(tiles.numTiles(),
               UnpermuteRows<Word, decltype(contiguous)::value>{
                   source, destination, shape, maps, tiles});
    });
    EXPECT_TRUE(sameBits(
        Reference::unpermute(s.expected, values, static_cast<int>(width)),
        toVector(assignments)));
  }
}

template <int length>
void testConvertRows(std::size_t width) {
  using namespace Tokkos::Impl;
  SCOPED_TRACE("H=" + std::to_string(width));
  Setting s                    = setting();
  const auto values            = s.random.reals<double>(s.num_tokens * width);
  const auto tokens            = makeMatrix(values, width);
  const auto batch             = poisonedRows<float>(s.plan.max_rows, width);
  const RowMaps maps           = rowMaps(s.plan);
  const std::int64_t num_packs = std::int64_t(width) / length;
  const RowTiles tiles(s.num_tokens, num_packs);
  runTiles(maps.numPaddingTeams() + tiles.numTiles(),
           ConvertRows<double, float, length>{constElementRows(tokens),
                                              elementRows(batch), maps, tiles,
                                              num_packs});
  expectBatch(s,
              Reference::permute(s.expected, rounded<float>(values),
                                 static_cast<int>(width), s.top_k),
              batch);
}

TEST(RowTiles, ConvertOnAHost) {
  if (!is_host) GTEST_SKIP() << "devices have tests of their own";
  for (const std::size_t width : {1, 3, 300})
    testConvertRows<1>(width);
  for (const std::size_t width : {4, 12, 1200})
    testConvertRows<4>(width);
}

/// \tparam choices num_choices or, for a number that is read, 0
template <int length, int choices>
void testCombineRows(std::size_t width, float beta, bool zeros) {
  using namespace Tokkos::Impl;
  SCOPED_TRACE("H=" + std::to_string(width));
  Setting s         = setting();
  const int columns = static_cast<int>(width);
  auto values       = rowsAmongNan<float>(s, columns);
  if (zeros)
    for (float& value : values)
      value = -0.0f;
  const auto weights = s.random.reals<float>(s.numAssignments(), 0.1, 1);
  const auto before  = s.random.reals<float>(s.num_tokens * width);
  const auto batch   = makeMatrix(values, width);
  const auto gates   = makeMatrix(weights, num_choices);
  const auto output  = makeMatrix(before, width);
  const RowMaps maps = rowMaps(s.plan);
  const std::int64_t num_packs = columns / length;
  const RowTiles tiles(s.num_tokens, num_packs);
  runTiles(tiles.numTiles(),
           CombineRows<float, float, float, length, choices, true>{
               {constElementRows(batch), constElementRows(gates),
                elementRows(output), beta},
               maps.row_of_assignment,
               maps.num_tokens,
               maps.top_k,
               tiles,
               num_packs});
  auto sums =
      Reference::combine<float>(s.expected, values, weights, columns, s.top_k);
  if (beta != 0)
    Reference::addScaled(s.expected, sums, beta, before, columns, s.top_k);
  EXPECT_TRUE(sameBits(sums, toVector(output)));
}

TEST(RowTiles, CombineOnAHost) {
  if (!is_host) GTEST_SKIP() << "devices have tests of their own";
  for (const bool zeros : {false, true})
    for (const float beta : {0.0f, 0.5f}) {
      for (const std::size_t width : {1, 3, 300})
        testCombineRows<1, 0>(width, beta, zeros);
      for (const std::size_t width : {4, 12, 1200}) {
        testCombineRows<4, 0>(width, beta, zeros);
        testCombineRows<4, num_choices>(width, beta, zeros);
      }
    }
}

TEST(RowTiles, PacksHoldWholeRows) {
  using namespace Tokkos::Impl;
  const Matrix<float> matrix("matrix", 4, 16);
  const auto rows = elementRows(matrix);
  EXPECT_TRUE(isPacked<4>(rows, 16));
  EXPECT_TRUE(isPacked<4>(rows, 12));
  EXPECT_FALSE(isPacked<4>(rows, 13));
  EXPECT_FALSE(isPacked<4>(rows, 14));
  const ElementRows<float> shifted{matrix.data() + 2, 16, 1};
  EXPECT_FALSE(isPacked<4>(shifted, 12));
  EXPECT_TRUE(isPacked<2>(shifted, 12));
  const ElementRows<float> narrow{matrix.data(), 14, 1};
  EXPECT_FALSE(isPacked<4>(narrow, 12));
  const ElementRows<float> by_columns{matrix.data(), 16, 2};
  EXPECT_FALSE(isPacked<4>(by_columns, 8));
}

}  // namespace Test
