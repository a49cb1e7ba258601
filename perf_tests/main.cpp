// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// SPDX-FileCopyrightText: Copyright Contributors to the Tokkos project

#include "Measure.hpp"
#include "Registry.hpp"

#include <Kokkos_Core.hpp>

#include <benchmark/benchmark.h>

#include <algorithm>
#include <cstdlib>
#include <optional>
#include <string_view>

// tokkos_benchmarks: what Tokkos' verbs and the alternatives to them take.
//
// Names are verb/backend/model/tokens:T/routing[/type][/graph];
// --benchmark_filter=REGEX chooses, --benchmark_list_tests lists,
// --benchmark_out=FILE writes JSON. Kokkos' own options (--kokkos-...) work
// too.
int main(int argc, char* argv[]) {
  // Listing works on a build host without a device.
  const bool only_list =
      std::any_of(argv, argv + argc, [](std::string_view argument) {
        return argument.starts_with("--benchmark_list_tests") &&
               argument != "--benchmark_list_tests=false";
      });
  std::optional<Kokkos::ScopeGuard> kokkos;
  if (!only_list) kokkos.emplace(argc, argv);

  // The results name the program, not where it lies.
  char name[] = "tokkos_benchmarks";
  argv[0]     = name;
  benchmark::Initialize(&argc, argv);
  if (benchmark::ReportUnrecognizedArguments(argc, argv)) return EXIT_FAILURE;
  if (!only_list) PerfTest::addContext();

  PerfTest::addPlan();
  PerfTest::addRouter();
  PerfTest::addLayer();
  PerfTest::addRows();
  PerfTest::addRowCeilings();
  PerfTest::addExperts();
  PerfTest::addStages();
  PerfTest::addHostBaselines();
  PerfTest::addSortByKeyBaselines();
  PerfTest::addCubBaselines();
  // A filter that matches nothing is a mistake, not a success.
  const bool any_ran = benchmark::RunSpecifiedBenchmarks() > 0;
  benchmark::Shutdown();
  return any_ran && !PerfTest::anyFailed() ? EXIT_SUCCESS : EXIT_FAILURE;
}
