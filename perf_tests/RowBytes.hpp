// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// SPDX-FileCopyrightText: Copyright Contributors to the Tokkos project

#ifndef TOKKOS_PERFTEST_ROWBYTES_HPP
#define TOKKOS_PERFTEST_ROWBYTES_HPP

#include "Backends.hpp"
#include "Measure.hpp"
#include "Models.hpp"

#include <cstddef>

// What the benchmarks of rows and their alternatives have in common.
namespace PerfTest {

inline double rowBytes(const Workload& workload, std::size_t size) {
  return static_cast<double>(size) * workload.model.hidden;
}

/// Read every token, write every row; the row of every assignment.
inline double permuteBytes(const Workload& workload, std::size_t size) {
  const double n = workload.numAssignments();
  return (n + workload.tokens) * rowBytes(workload, size) + 4 * n;
}

/// Read every row, write it again.
inline double unpermuteBytes(const Workload& workload, std::size_t size) {
  const double n = workload.numAssignments();
  return 2 * n * rowBytes(workload, size) + 4 * n;
}

/// Read every row, write every token; row and weight of every assignment.
inline double combineBytes(const Workload& workload, std::size_t size) {
  const double n = workload.numAssignments();
  return (n + workload.tokens) * rowBytes(workload, size) + 8 * n;
}

/// Read every row and every token's gradient, write every row's gradient; row,
/// weight and its gradient of every assignment.
inline double combineGradientBytes(const Workload& workload, std::size_t size) {
  const double n = workload.numAssignments();
  return (2 * n + workload.tokens) * rowBytes(workload, size) + 12 * n;
}

/// Rows come from memory, not from a cache, once there are many of them.
inline int numRowSets(const Workload& workload, double bytes) {
  return numSetsFor(bytes, workload.tokens >= 256);
}

/// Whether inputs and outputs are left out as too large for the backend.
template <class ExecutionSpace>
bool fits(double bytes) {
  return bytes <= (is_host_v<ExecutionSpace> ? 2e9 : 40e9);
}

}  // namespace PerfTest

#endif
