// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// SPDX-FileCopyrightText: Copyright Contributors to the Tokkos project

#ifndef TOKKOS_EXAMPLES_TEXT_MOE_DISPATCH_HPP
#define TOKKOS_EXAMPLES_TEXT_MOE_DISPATCH_HPP

#include "Input.hpp"
#include "Plan.hpp"

#include <Kokkos_Core.hpp>

#include <string>
#include <vector>

namespace TextMoe {

/// How long a stage took, and the bytes that it has to move at least.
struct StageTime {
  std::string name;
  double seconds;
  double bytes;
};

struct Result {
  Plan plan;
  Kokkos::View<float**, Kokkos::LayoutRight, Kokkos::HostSpace> output;
  std::vector<StageTime> times;
};

/// The layer with Tokkos, on the default backend.
Result dispatch(const Input& input);

}  // namespace TextMoe

#endif
