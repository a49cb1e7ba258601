// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// SPDX-FileCopyrightText: Copyright Contributors to the Tokkos project

#ifndef TOKKOS_IMPL_ROWCHECKS_HPP
#define TOKKOS_IMPL_ROWCHECKS_HPP

#include <Tokkos/DispatchPlan.hpp>
#include <Tokkos/Impl/Check.hpp>

#include <cstddef>
#include <string>

// What the verbs that move rows check of their arguments.
namespace Tokkos::Impl {

template <class MemorySpace>
void checkPlanBuilt(const char* function,
                    const DispatchPlan<MemorySpace>& plan) {
  if (plan.top_k == 0)
    throwInvalidArgument(function, "plan", "a plan that was built",
                         "an empty one");
}

/// The batch has a row for every assignment that any routing could give one.
template <class MemorySpace, class Batch>
void checkBatchRows(const char* function, const DispatchPlan<MemorySpace>& plan,
                    const char* name, const Batch& batch) {
  checkExtentAtLeast(function, name, 0, batch.extent(0),
                     static_cast<std::size_t>(plan.maxRows(plan.num_tokens)),
                     "plan.maxRows(plan.num_tokens)");
}

/// What combine and permuteGradient ask of the rows and of the sums.
template <class MemorySpace, class Rows, class Sums>
void checkSums(const char* function, const DispatchPlan<MemorySpace>& plan,
               const char* rows_name, const Rows& rows, const char* sums_name,
               const Sums& sums) {
  checkPlanBuilt(function, plan);
  checkBatchRows(function, plan, rows_name, rows);
  checkExtent(function, sums_name, 0, sums.extent(0),
              static_cast<std::size_t>(plan.num_tokens), "plan.num_tokens");
  checkExtent(function, sums_name, 1, sums.extent(1), rows.extent(1),
              std::string(rows_name) + ".extent(1)");
  checkDisjoint(function, rows_name, memoryRegion(rows), sums_name,
                memoryRegion(sums));
}

template <class MemorySpace, class Weights>
void checkWeights(const char* function, const DispatchPlan<MemorySpace>& plan,
                  const char* name, const Weights& weights) {
  checkExtent(function, name, 0, weights.extent(0),
              static_cast<std::size_t>(plan.num_tokens), "plan.num_tokens");
  checkExtent(function, name, 1, weights.extent(1),
              static_cast<std::size_t>(plan.top_k), "plan.top_k");
}

}  // namespace Tokkos::Impl

#endif
