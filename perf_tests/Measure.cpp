// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// SPDX-FileCopyrightText: Copyright Contributors to the Tokkos project

#include "Measure.hpp"

#include "CopyBandwidth.hpp"

#include <cmath>
#include <cstdlib>

namespace PerfTest {

namespace {
bool any_failed = false;
}  // namespace

double median(Times times) {
  const auto middle = static_cast<std::ptrdiff_t>(times.size() / 2);
  std::nth_element(times.begin(), times.begin() + middle, times.end());
  return times[static_cast<std::size_t>(middle)];
}

void report(benchmark::State& state, const std::string& backend, double tokens,
            double minimum_bytes, int calls, const Times& times) {
  const double seconds = median(times);
  state.SetIterationTime(seconds);
  const double rate          = 1e-9 * minimum_bytes / seconds;
  state.counters["bytes"]    = minimum_bytes;
  state.counters["GB/s"]     = rate;
  state.counters["of_copy"]  = rate / copyBandwidth(backend);
  state.counters["tokens/s"] = tokens / seconds;
  state.counters["calls"]    = calls;
}

void fail(benchmark::State& state, const std::string& message) {
  any_failed = true;
  state.SkipWithError(message.c_str());
}

bool anyFailed() {
  return any_failed;
}

int timesWithin(double total_seconds, double seconds, int fewest, int most) {
  if (isSmokeRun()) return 2;
  const double times = std::ceil(total_seconds / std::max(seconds, 1e-7));
  return static_cast<int>(std::clamp(times, double(fewest), double(most)));
}

int numSetsFor(double bytes_of_set, bool past_caches) {
  if (isSmokeRun()) return 2;
  if (!past_caches) return 4;
  // Five times the last-level cache of an H100. Some hosts have a larger one:
  // there only the largest workloads come from memory.
  double rotated_bytes = 256e6;
  if (const char* const bytes = std::getenv("TOKKOS_BENCHMARK_ROTATED_BYTES"))
    rotated_bytes = std::atof(bytes);
  return static_cast<int>(
      std::clamp(std::ceil(rotated_bytes / bytes_of_set), 1., 128.));
}

}  // namespace PerfTest
