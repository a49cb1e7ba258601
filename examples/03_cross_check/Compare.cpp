// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// SPDX-FileCopyrightText: Copyright Contributors to the Tokkos project

#include "Compare.hpp"

#include <cstdio>
#include <cstring>

namespace CrossCheck {

namespace {

std::string toString(int value) {
  return std::to_string(value);
}

// Different bits may print as the same number: the bits stand beside it.
std::string toString(float value) {
  unsigned bits;
  static_assert(sizeof(bits) == sizeof(value));
  std::memcpy(&bits, &value, sizeof(value));
  char text[40];
  std::snprintf(text, sizeof(text), "%.9g (0x%08x)", double(value), bits);
  return text;
}

std::string toString(const std::vector<std::size_t>& shape) {
  std::string text;
  for (const std::size_t extent : shape)
    text += (text.empty() ? "" : " x ") + std::to_string(extent);
  return text;
}

std::string place(const Array& array, std::size_t i) {
  if (array.shape.empty()) return array.name;
  if (array.shape.size() == 1)
    return array.name + "(" + std::to_string(i) + ")";
  return array.name + "(" + std::to_string(i / array.shape[1]) + ", " +
         std::to_string(i % array.shape[1]) + ")";
}

template <class Value>
std::string firstDifference(const Array& array, const std::vector<Value>& a,
                            const std::vector<Value>& b) {
  for (std::size_t i = 0; i < a.size(); ++i)
    if (std::memcmp(&a[i], &b[i], sizeof(Value)) != 0)
      return place(array, i) + ": " + toString(a[i]) + " against " +
             toString(b[i]);
  return "";
}

}  // namespace

std::string firstDifference(const Array& a, const Array& b) {
  if (a.shape != b.shape)
    return a.name + ": " + toString(a.shape) + " entries against " +
           toString(b.shape);
  if (std::holds_alternative<std::vector<int>>(a.values))
    return firstDifference(a, std::get<std::vector<int>>(a.values),
                           std::get<std::vector<int>>(b.values));
  return firstDifference(a, std::get<std::vector<float>>(a.values),
                         std::get<std::vector<float>>(b.values));
}

}  // namespace CrossCheck
