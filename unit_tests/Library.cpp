// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// SPDX-FileCopyrightText: Copyright Contributors to the Tokkos project

#include <Tokkos.hpp>
#include <Tokkos/Impl/Check.hpp>
#include <Tokkos/KokkosExt/Streaming.hpp>

#include <gtest/gtest.h>

#include <cstddef>
#include <cstdint>
#include <sstream>
#include <stdexcept>
#include <string>
#include <vector>

// The compiled part of the library: version, configuration, checks.
namespace {

TEST(Library, VersionAgreesWithItsMacros) {
  const std::string expected = std::to_string(TOKKOS_VERSION_MAJOR) + "." +
                               std::to_string(TOKKOS_VERSION_MINOR) + "." +
                               std::to_string(TOKKOS_VERSION_PATCH);
  EXPECT_EQ(expected, Tokkos::version());
  EXPECT_EQ(TOKKOS_VERSION, TOKKOS_VERSION_MAJOR * 10000 +
                                TOKKOS_VERSION_MINOR * 100 +
                                TOKKOS_VERSION_PATCH);
}

TEST(Library, ConfigurationNamesWhatThisBuildIs) {
  std::ostringstream out;
  Tokkos::printConfiguration(out);
  const std::string text = out.str();
  const auto has         = [&](const std::string& line) {
    return text.find(line) != std::string::npos;
  };
  EXPECT_TRUE(has("Tokkos version: " TOKKOS_VERSION_STRING "\n")) << text;
  EXPECT_TRUE(has("Tokkos commit: " + std::string(Tokkos::gitCommitHash())))
      << text;
  EXPECT_TRUE(has("Kokkos version: " + std::to_string(KOKKOS_VERSION_MAJOR) +
                  "." + std::to_string(KOKKOS_VERSION_MINOR) + "." +
                  std::to_string(KOKKOS_VERSION_PATCH) + "\n"))
      << text;
  EXPECT_TRUE(has(std::string("Kokkos default backend: ") +
                  Kokkos::DefaultExecutionSpace::name() + "\n"))
      << text;
}

using Tokkos::Impl::MemoryRegion;

bool disjoint(const MemoryRegion& a, const MemoryRegion& b) {
  try {
    Tokkos::Impl::checkDisjoint("f", "a", a, "b", b);
    Tokkos::Impl::checkDisjoint("f", "b", b, "a", a);
  } catch (const std::invalid_argument&) {
    return false;
  }
  return true;
}

TEST(Library, OverlapOfMemory) {
  // {begin, rows, bytes of a row, stride}
  EXPECT_TRUE(disjoint({1000, 1, 40, 0}, {1040, 1, 40, 0}));
  EXPECT_FALSE(disjoint({1000, 1, 41, 0}, {1040, 1, 40, 0}));
  EXPECT_FALSE(disjoint({1000, 1, 40, 0}, {1000, 1, 40, 0}));
  EXPECT_TRUE(disjoint({1000, 1, 0, 0}, {1000, 1, 40, 0}));
  EXPECT_TRUE(disjoint({1000, 0, 40, 40}, {1000, 5, 40, 40}));
  // Two windows of columns of one matrix.
  EXPECT_TRUE(disjoint({1000, 5, 10, 20}, {1010, 5, 10, 20}));
  EXPECT_TRUE(disjoint({1000, 5, 10, 20}, {1030, 3, 10, 20}));
  EXPECT_FALSE(disjoint({1000, 5, 11, 20}, {1010, 5, 10, 20}));
  EXPECT_FALSE(disjoint({1000, 5, 10, 20}, {1010, 5, 11, 20}));
  EXPECT_FALSE(disjoint({1000, 5, 10, 20}, {1010, 5, 10, 30}));
  // A block in the gap between two rows, and one across.
  EXPECT_TRUE(disjoint({1000, 5, 10, 20}, {1030, 1, 10, 0}));
  EXPECT_FALSE(disjoint({1000, 5, 10, 20}, {1030, 1, 11, 0}));
}

TEST(Library, NoMemoryIsNeededForNothing) {
  const auto needs_memory = [](const MemoryRegion& region) {
    try {
      Tokkos::Impl::checkMemory("f", "a", region);
    } catch (const std::invalid_argument&) {
      return true;
    }
    return false;
  };
  EXPECT_FALSE(needs_memory({0, 0, 8, 8}));
  EXPECT_FALSE(needs_memory({0, 3, 0, 0}));
  EXPECT_TRUE(needs_memory({0, 3, 8, 8}));
  EXPECT_FALSE(needs_memory({1000, 3, 8, 8}));
}

TEST(Library, RegionsOfViews) {
  const Kokkos::View<float**, Kokkos::LayoutRight, Kokkos::HostSpace> a("a", 6,
                                                                        8);
  const auto region = Tokkos::Impl::memoryRegion(
      Kokkos::subview(a, Kokkos::make_pair(1, 4), Kokkos::make_pair(2, 5)));
  EXPECT_EQ(reinterpret_cast<std::uintptr_t>(&a(1, 2)), region.begin);
  EXPECT_EQ(3u, region.rows);
  EXPECT_EQ(12u, region.row_bytes);
  EXPECT_EQ(32u, region.stride);
  const auto column = Tokkos::Impl::memoryRegion(
      Kokkos::subview(a, Kokkos::make_pair(1, 4), 2));
  EXPECT_EQ(reinterpret_cast<std::uintptr_t>(&a(1, 2)), column.begin);
  EXPECT_EQ(1u, column.rows);
  EXPECT_EQ(68u, column.row_bytes);
}

TEST(Library, RowsOfARouterAreWhatShortStridesReach) {
  const auto fits = [](std::int64_t row_stride, std::int64_t column_stride) {
    Tokkos::Impl::RouterMatrix<float> matrix;
    matrix.row_stride    = row_stride;
    matrix.column_stride = column_stride;
    return Tokkos::Impl::RouterRows<float>::fits(matrix);
  };
  EXPECT_TRUE(fits(0, 1));
  EXPECT_TRUE(fits(2147483647, 1));
  EXPECT_FALSE(fits(2147483648, 1));
  EXPECT_FALSE(fits(-1, 1));
  EXPECT_FALSE(fits(8, 2));
}

TEST(Library, StreamingCopiesExactlyItsBytes) {
  constexpr std::byte untouched{0xee};
  std::vector<std::byte> source(160);
  for (std::size_t i = 0; i < source.size(); ++i)
    source[i] = static_cast<std::byte>(i + 1);
  for (std::size_t from = 0; from < 3; ++from)
    for (std::size_t to = 0; to < 17; ++to)
      for (const std::size_t size : {0, 1, 15, 16, 17, 31, 48, 100}) {
        std::vector<std::byte> destination(160, untouched),
            expected(destination);
        for (std::size_t i = 0; i < size; ++i)
          expected[to + i] = source[from + i];
        Tokkos::KokkosExt::copyStreaming(destination.data() + to,
                                         source.data() + from, size);
        Tokkos::KokkosExt::drainStreams();
        ASSERT_EQ(expected, destination)
            << "from " << from << " to " << to << ", " << size << " bytes";
      }
}

}  // namespace
