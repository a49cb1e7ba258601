// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// SPDX-FileCopyrightText: Copyright Contributors to the Tokkos project

#ifndef TOKKOS_EXAMPLES_CROSS_CHECK_COMPARE_HPP
#define TOKKOS_EXAMPLES_CROSS_CHECK_COMPARE_HPP

#include <cstddef>
#include <string>
#include <variant>
#include <vector>

namespace CrossCheck {

/// One array of a result, on the host, in row order.
struct Array {
  std::string name;
  std::vector<std::size_t> shape;  // of rank 0, 1 or 2
  std::variant<std::vector<int>, std::vector<float>> values;
};

/// What one backend made of the input.
struct Result {
  std::string backend;
  std::vector<Array> arrays;
};

/// The first place where two arrays do not have the same bits, with both
/// values; empty when there is none. The arrays have the same name and type.
std::string firstDifference(const Array& a, const Array& b);

}  // namespace CrossCheck

#endif
