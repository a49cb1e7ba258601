// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// SPDX-FileCopyrightText: Copyright Contributors to the Tokkos project

#ifndef TOKKOS_TEST_SUPPORT_HPP
#define TOKKOS_TEST_SUPPORT_HPP

#include "Reference.hpp"

#include <Tokkos.hpp>

#include <Kokkos_Core.hpp>

#include <gtest/gtest.h>

#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <iostream>
#include <random>
#include <stdexcept>
#include <string>
#include <vector>

// Every test source is compiled once for every enabled backend; the file that
// CMake generates says which and defines Test::ExecutionSpace before this.
namespace Test {

using MemorySpace = ExecutionSpace::memory_space;

template <class T>
using Array = Kokkos::View<T*, MemorySpace>;
template <class T>
using Matrix = Kokkos::View<T**, Kokkos::LayoutRight, MemorySpace>;
template <class T>
using LeftMatrix = Kokkos::View<T**, Kokkos::LayoutLeft, MemorySpace>;

/// Random numbers for one test; TOKKOS_TEST_SEED replaces the seed. A failing
/// test prints it.
class Random {
 public:
  Random()
      : m_seed(std::getenv("TOKKOS_TEST_SEED")
                   ? std::strtoull(std::getenv("TOKKOS_TEST_SEED"), nullptr, 0)
                   : 20260101),
        m_engine(m_seed),
        m_trace(__FILE__, __LINE__,
                "TOKKOS_TEST_SEED=" + std::to_string(m_seed)) {}

  /// Uniform in [low, high].
  int integer(int low, int high) {
    return std::uniform_int_distribution<int>(low, high)(m_engine);
  }
  double real(double low, double high) {
    return std::uniform_real_distribution<double>(low, high)(m_engine);
  }
  bool chance(double probability) { return real(0, 1) < probability; }

  /// Expert ids of n assignments, uniform or, with skew, few experts taking
  /// most; one in a hundred is invalid when asked for.
  template <class Id = int>
  std::vector<Id> ids(std::size_t n, int num_experts, bool skew = false,
                      bool invalid = false) {
    std::vector<Id> result(n);
    for (Id& id : result) {
      const double u = real(0, 1);
      id = static_cast<Id>((skew ? u * u * u * u : u) * num_experts);
      id = std::min<Id>(id, static_cast<Id>(num_experts - 1));
      if (invalid && chance(0.01))
        id = chance(0.5) ? static_cast<Id>(-1 - integer(0, 3))
                         : static_cast<Id>(num_experts + integer(0, 3));
    }
    return result;
  }

  template <class Real>
  std::vector<Real> reals(std::size_t n, double low = -4, double high = 4) {
    std::vector<Real> result(n);
    for (Real& x : result)
      x = static_cast<Real>(real(low, high));
    return result;
  }

 private:
  std::uint64_t m_seed;
  std::mt19937_64 m_engine;
  testing::ScopedTrace m_trace;
};

/// Two instances of their own; one where a single thread cannot be divided.
inline std::vector<ExecutionSpace> makeInstances() {
  if (Tokkos::KokkosExt::is_host_execution_space_v<ExecutionSpace> &&
      ExecutionSpace().concurrency() < 2)
    return {ExecutionSpace()};
  return Kokkos::Experimental::partition_space(ExecutionSpace(),
                                               std::vector<int>{1, 1});
}

/// Copies a whole View (in row order) to the host, and back.
template <class View>
auto toVector(const View& view) {
  using Value = typename View::non_const_value_type;
  const auto host =
      Kokkos::create_mirror_view_and_copy(Kokkos::HostSpace(), view);
  std::vector<Value> values;
  values.reserve(view.size());
  if constexpr (View::rank() == 0) {
    values.push_back(host());
  } else if constexpr (View::rank() == 1) {
    for (std::size_t i = 0; i < view.extent(0); ++i)
      values.push_back(host(i));
  } else {
    for (std::size_t i = 0; i < view.extent(0); ++i)
      for (std::size_t j = 0; j < view.extent(1); ++j)
        values.push_back(host(i, j));
  }
  return values;
}

template <class View, class Value>
void fromVector(const View& view, const std::vector<Value>& values) {
  if (values.size() != view.size())
    throw std::logic_error("fromVector: the sizes differ");
  const auto host  = Kokkos::create_mirror_view(view);
  std::size_t next = 0;
  if constexpr (View::rank() == 1) {
    for (std::size_t i = 0; i < view.extent(0); ++i)
      host(i) = values[next++];
  } else {
    for (std::size_t i = 0; i < view.extent(0); ++i)
      for (std::size_t j = 0; j < view.extent(1); ++j)
        host(i, j) = values[next++];
  }
  Kokkos::deep_copy(view, host);
}

template <class T>
Array<T> makeArray(const std::vector<T>& values) {
  Array<T> array("array", values.size());
  fromVector(array, values);
  return array;
}

template <class View, class T>
View makeRows(const std::vector<T>& values, std::size_t width) {
  View rows("rows", width == 0 ? 0 : values.size() / width, width);
  fromVector(rows, values);
  return rows;
}

template <class T>
Matrix<T> makeMatrix(const std::vector<T>& values, std::size_t width) {
  return makeRows<Matrix<T>>(values, width);
}

inline Array<bool> makeMask(const std::vector<bool>& mask) {
  const Array<bool> result("mask", mask.size());
  const auto host = Kokkos::create_mirror_view(result);
  for (std::size_t t = 0; t < mask.size(); ++t)
    host(t) = mask[t];
  Kokkos::deep_copy(result, host);
  return result;
}

inline std::vector<std::uint8_t> bytesOf(const void* data, std::size_t size) {
  const auto* const bytes = static_cast<const std::uint8_t*>(data);
  return std::vector<std::uint8_t>(bytes, bytes + size);
}

/// Fills a value with a pattern that no computation makes.
template <class T>
T poison() {
  T value;
  std::memset(static_cast<void*>(&value), 0xA5, sizeof(T));
  return value;
}

/// A matrix with arbitrary strides inside a buffer of poison, which knows
/// whether anything outside the matrix was written.
template <class T>
class StridedMatrix {
 public:
  using View = Kokkos::View<T**, Kokkos::LayoutStride, MemorySpace,
                            Kokkos::MemoryUnmanaged>;

  StridedMatrix(std::size_t rows, std::size_t columns, std::size_t row_stride,
                std::size_t column_stride, std::size_t offset)
      : m_rows(rows),
        m_columns(columns),
        m_row_stride(row_stride),
        m_column_stride(column_stride),
        m_offset(offset),
        m_buffer("buffer",
                 offset + rows * row_stride + columns * column_stride + 7) {
    std::vector<T> host(m_buffer.extent(0), poison<T>());
    copyIn(host);
  }

  View view() const {
    return View(
        m_buffer.data() + m_offset,
        Kokkos::LayoutStride(m_rows, m_row_stride, m_columns, m_column_stride));
  }

  void set(const std::vector<T>& values) {
    std::vector<T> host = toVector(m_buffer);
    for (std::size_t i = 0; i < m_rows; ++i)
      for (std::size_t j = 0; j < m_columns; ++j)
        host[index(i, j)] = values[i * m_columns + j];
    copyIn(host);
  }

  /// The matrix in row order.
  std::vector<T> get() const {
    const std::vector<T> host = toVector(m_buffer);
    std::vector<T> values;
    for (std::size_t i = 0; i < m_rows; ++i)
      for (std::size_t j = 0; j < m_columns; ++j)
        values.push_back(host[index(i, j)]);
    return values;
  }

  bool surroundingsUntouched() const {
    const std::vector<T> host = toVector(m_buffer);
    std::vector<bool> inside(host.size(), false);
    for (std::size_t i = 0; i < m_rows; ++i)
      for (std::size_t j = 0; j < m_columns; ++j)
        inside[index(i, j)] = true;
    const T untouched = poison<T>();
    for (std::size_t i = 0; i < host.size(); ++i)
      if (!inside[i] && std::memcmp(&host[i], &untouched, sizeof(T)) != 0)
        return false;
    return true;
  }

 private:
  std::size_t index(std::size_t i, std::size_t j) const {
    return m_offset + i * m_row_stride + j * m_column_stride;
  }

  void copyIn(const std::vector<T>& host) { fromVector(m_buffer, host); }

  std::size_t m_rows, m_columns, m_row_stride, m_column_stride, m_offset;
  Array<T> m_buffer;
};

/// Bits, not values: NaN equals itself, and -0 is not +0.
template <class T>
testing::AssertionResult sameBits(const std::vector<T>& expected,
                                  const std::vector<T>& actual) {
  if (expected.size() != actual.size())
    return testing::AssertionFailure() << "sizes " << expected.size() << " and "
                                       << actual.size() << " differ";
  for (std::size_t i = 0; i < expected.size(); ++i)
    if (std::memcmp(&expected[i], &actual[i], sizeof(T)) != 0) {
      auto failure = testing::AssertionFailure()
                     << "element " << i << " differs";
      if constexpr (std::is_convertible_v<T, double>)
        failure << ": expected " << static_cast<double>(expected[i]) << ", got "
                << static_cast<double>(actual[i]);
      return failure;
    }
  return testing::AssertionSuccess();
}

/// Runs f, which must throw std::invalid_argument, and returns its message.
template <class F>
std::string messageOf(const F& f) {
  try {
    f();
  } catch (const std::invalid_argument& error) {
    return error.what();
  }
  return "(nothing was thrown)";
}

/// The plan's arrays, as far as they are specified, against the reference.
template <class Plan>
void expectPlan(const Reference::Plan& expected, const Plan& plan) {
  EXPECT_EQ(expected.counts, toVector(plan.counts));
  EXPECT_EQ(expected.offsets, toVector(plan.offsets));
  EXPECT_EQ(expected.dropped, toVector(plan.dropped));
  EXPECT_EQ(expected.num_rows, toVector(plan.num_rows)[0]);
  EXPECT_EQ(expected.num_dropped, toVector(plan.num_dropped)[0]);
  EXPECT_LE(expected.num_rows, plan.maxRows(plan.num_tokens));

  // What lies behind the last assignment and the last row is unspecified, and
  // nobody reads it.
  const auto num_tokens = static_cast<std::size_t>(plan.num_tokens);
  ASSERT_LE(num_tokens, plan.row_of_assignment.extent(0));
  EXPECT_EQ(expected.row_of_assignment,
            toVector(Kokkos::subview(
                plan.row_of_assignment,
                Kokkos::make_pair(std::size_t(0), num_tokens), Kokkos::ALL)));
  const std::size_t num_rows = expected.assignment_of_row.size();
  ASSERT_LE(num_rows, plan.assignment_of_row.extent(0));
  EXPECT_EQ(
      expected.assignment_of_row,
      toVector(Kokkos::subview(plan.assignment_of_row,
                               Kokkos::make_pair(std::size_t(0), num_rows))));

  if (plan.options.alignment > 1) {
    auto blocks = expected.expert_of_block;
    ASSERT_LE(blocks.size(), plan.expert_of_block.extent(0));
    blocks.resize(plan.expert_of_block.extent(0), -1);
    EXPECT_EQ(blocks, toVector(plan.expert_of_block));
  } else {
    EXPECT_EQ(0u, plan.expert_of_block.extent(0));
  }
}

}  // namespace Test

#endif
