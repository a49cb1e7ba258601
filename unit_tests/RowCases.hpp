// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// SPDX-FileCopyrightText: Copyright Contributors to the Tokkos project

#ifndef TOKKOS_TEST_ROWCASES_HPP
#define TOKKOS_TEST_ROWCASES_HPP

#include "TestSupport.hpp"

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <string>
#include <type_traits>
#include <vector>

// What the tests of the verbs that move rows have in common.
namespace Test {

/// A plan with bad ids, drops and padding, and what the reference says of it.
struct Setting {
  int num_tokens, top_k, num_experts, capacity, alignment;
  Random random{};
  ExecutionSpace space{};
  std::vector<int> ids =
      random.ids(std::size_t(num_tokens) * top_k, num_experts, true, true);
  Reference::Plan expected =
      Reference::makePlan(ids, top_k, num_experts, options());
  Tokkos::DispatchPlan<MemorySpace> plan =
      Tokkos::buildDispatchPlan(space, makeMatrix(ids, top_k), num_experts,
                                {.capacity = capacity, .alignment = alignment});

  Reference::Options options() const {
    Reference::Options known;
    known.capacity  = capacity;
    known.alignment = alignment;
    return known;
  }

  std::size_t numAssignments() const { return std::size_t(num_tokens) * top_k; }
};

/// Rows for the whole batch, of which those that the plan does not use, padding
/// among them, are NaN: nobody may read them.
template <class Value>
std::vector<Value> rowsAmongNan(Setting& s, int width) {
  auto rows =
      s.random.reals<Value>(std::size_t(s.plan.max_rows) * width, -2, 2);
  for (std::size_t r = 0; r < std::size_t(s.plan.max_rows); ++r)
    if (r >= s.expected.assignment_of_row.size() ||
        s.expected.assignment_of_row[r] < 0)
      std::fill_n(rows.begin() + r * width, width, static_cast<Value>(NAN));
  return rows;
}

template <class To, class From>
std::vector<To> rounded(const std::vector<From>& values) {
  std::vector<To> result;
  for (const From& value : values)
    result.push_back(static_cast<To>(value));
  return result;
}

/// Where a matrix lies: elements before it, and between its lines.
struct Placement {
  bool by_columns    = false;
  std::size_t offset = 0;
  std::size_t gap    = 0;

  std::string name() const {
    return (by_columns ? "by columns, offset=" : "by rows, offset=") +
           std::to_string(offset) + " gap=" + std::to_string(gap);
  }
};

template <class T>
StridedMatrix<T> placed(const Placement& placement, std::size_t rows,
                        std::size_t columns) {
  if (placement.by_columns)
    return {rows, columns, 1, rows + placement.gap, placement.offset};
  return {rows, columns, columns + placement.gap, 1, placement.offset};
}

/// The matrix as a View of a layout, whose strides must be the matrix's.
template <class Layout, class T>
auto viewAs(const StridedMatrix<T>& matrix) {
  const auto view = matrix.view();
  if constexpr (std::is_same_v<Layout, Kokkos::LayoutStride>)
    return view;
  else
    return Kokkos::View<T**, Layout, MemorySpace, Kokkos::MemoryUnmanaged>(
        view.data(), view.extent(0), view.extent(1));
}

/// Calls f<Layout>(placement, width) for every layout, alignment of the first
/// element and width at which the verbs take another way; stops at the first
/// failure.
template <class F>
void forEachPlacementAndWidth(const F& f) {
  const auto with = [&]<class Layout>(const Placement& placement, Layout) {
    for (const int width :
         {0, 1, 2, 3, 7, 8, 15, 16, 17, 31, 63, 64, 100, 1000, 7168}) {
      if (testing::Test::HasFailure()) return;
      SCOPED_TRACE(placement.name() + " H=" + std::to_string(width));
      f.template operator()<Layout>(placement, width);
    }
  };
  for (const std::size_t offset : {0, 1, 2, 3, 4, 8})
    with({false, offset, 0}, Kokkos::LayoutRight());
  with({false, 3, 5}, Kokkos::LayoutStride());
  with({false, 8, 16}, Kokkos::LayoutStride());
  with({true, 0, 0}, Kokkos::LayoutLeft());
  with({true, 1, 0}, Kokkos::LayoutLeft());
  with({true, 1, 2}, Kokkos::LayoutStride());
}

}  // namespace Test

#endif
