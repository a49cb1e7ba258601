// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// SPDX-FileCopyrightText: Copyright Contributors to the Tokkos project

#ifndef TOKKOS_EXAMPLES_TEXT_MOE_PLAN_HPP
#define TOKKOS_EXAMPLES_TEXT_MOE_PLAN_HPP

#include <vector>

namespace TextMoe {

/// Who goes where, on the host: what routeTopK and buildDispatchPlan decide.
struct Plan {
  std::vector<int> expert_ids;  // tokens x choices
  std::vector<int> counts, offsets, dropped;
  std::vector<int> row_of_assignment, assignment_of_row;
  int num_rows    = 0;
  int num_dropped = 0;
};

}  // namespace TextMoe

#endif
