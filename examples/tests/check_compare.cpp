// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// SPDX-FileCopyrightText: Copyright Contributors to the Tokkos project

// A cross-check that finds no difference proves something only if it would
// have found one.

#include "../03_cross_check/Compare.hpp"

#include <cmath>
#include <cstdio>
#include <string>
#include <vector>

namespace {

int failures = 0;

void check(const CrossCheck::Array& a, const CrossCheck::Array& b,
           const std::string& expected) {
  const std::string found = CrossCheck::firstDifference(a, b);
  if (found == expected) return;
  std::printf("FAILED: expected '%s', got '%s'\n", expected.c_str(),
              found.c_str());
  ++failures;
}

}  // namespace

int main() {
  using Ints   = std::vector<int>;
  using Floats = std::vector<float>;
  check({"same", {2, 3}, Ints(6)}, {"same", {2, 3}, Ints(6)}, "");
  check({"ints", {2, 3}, Ints{0, 1, 2, 3, 4, 5}},
        {"ints", {2, 3}, Ints{0, 1, 2, 3, -1, -1}}, "ints(1, 1): 4 against -1");
  check({"list", {3}, Ints{0, 1, 2}}, {"list", {3}, Ints{0, 1, 3}},
        "list(2): 2 against 3");
  check({"scalar", {}, Ints{1}}, {"scalar", {}, Ints{2}},
        "scalar: 1 against 2");
  check({"shape", {3}, Ints(3)}, {"shape", {2}, Ints(2)},
        "shape: 3 entries against 2");
  check({"zeros", {2}, Floats{1, 0.0f}}, {"zeros", {2}, Floats{1, -0.0f}},
        "zeros(1): 0 (0x00000000) against -0 (0x80000000)");
  check({"nan", {1}, Floats{NAN}}, {"nan", {1}, Floats{NAN}}, "");
  if (failures == 0) std::printf("OK\n");
  return failures == 0 ? 0 : 1;
}
