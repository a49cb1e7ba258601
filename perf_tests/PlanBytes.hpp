// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// SPDX-FileCopyrightText: Copyright Contributors to the Tokkos project

#ifndef TOKKOS_PERFTEST_PLANBYTES_HPP
#define TOKKOS_PERFTEST_PLANBYTES_HPP

#include "Backends.hpp"
#include "Measure.hpp"
#include "Models.hpp"

// What the benchmarks of the plan and of its alternatives have in common.
namespace PerfTest {

/// Read the ids, write both maps, counts and offsets: 4 bytes each. The same
/// for every alternative, also for those that make less.
inline double planBytes(const Workload& workload) {
  return 12. * workload.numAssignments() + 8. * workload.model.num_experts + 4;
}

/// In a layer the ids come from the router just before and lie in the cache of
/// a device, unless they are too many; a host has a cache for all of them.
template <class ExecutionSpace>
int numPlanSets(const Workload& workload) {
  return numSetsFor(planBytes(workload),
                    !is_host_v<ExecutionSpace> && workload.tokens > 4096);
}

}  // namespace PerfTest

#endif
