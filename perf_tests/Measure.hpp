// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// SPDX-FileCopyrightText: Copyright Contributors to the Tokkos project

#ifndef TOKKOS_PERFTEST_MEASURE_HPP
#define TOKKOS_PERFTEST_MEASURE_HPP

#include "Backends.hpp"
#include "Graph.hpp"
#include "Models.hpp"

#include <Kokkos_Core.hpp>

#include <benchmark/benchmark.h>

#include <algorithm>
#include <chrono>
#include <exception>
#include <string>
#include <vector>

// How a benchmark is registered, timed and reported.
//
// What is measured is a class, here called a subject, that holds inputs and
// outputs of several calls, in sets over which the calls rotate:
//
//   using execution_space
//   static constexpr bool can_be_captured   whether a graph may hold its calls
//   static std::string backend()            the word in the benchmark's name
//   static double minimumBytes(workload)    that any implementation must move
//   Subject(space, workload)                allocates and fills
//   int numSets()
//   void call(space, set)                   enqueues one call
//   std::string check(space)                after call(space, 0): what is wrong
//                                           with its result, or nothing
//
// One iteration of Google Benchmark is a whole measurement of many calls, whose
// median is the iteration's time; --benchmark_repetitions repeats it. Hence
// --benchmark_min_time means nothing here.
namespace PerfTest {

/// What the kinds of subjects that run on a Kokkos backend share.
template <class ExecutionSpace>
struct KokkosSubject {
  using execution_space                 = ExecutionSpace;
  using memory_space                    = typename ExecutionSpace::memory_space;
  static constexpr bool can_be_captured = can_capture_v<ExecutionSpace>;
  static std::string backend() { return ExecutionSpace::name(); }
};

/// Seconds of every single call, or of every replay divided by its calls.
using Times = std::vector<double>;

double median(Times times);

/// Sets the time of the iteration and the counters.
void report(benchmark::State& state, const std::string& backend, double tokens,
            double minimum_bytes, int calls, const Times& times);

/// Ends the benchmark with an error; the program will return 1.
void fail(benchmark::State& state, const std::string& message);
bool anyFailed();

/// How often a call of so many seconds is repeated: about so long altogether.
int timesWithin(double total_seconds, double seconds, int fewest, int most);

/// Sets to rotate over. A few, as the layers of a model use different memory;
/// or so many that a call finds nothing in the caches of what its set held the
/// last time.
int numSetsFor(double bytes_of_set, bool past_caches);

template <class ExecutionSpace, class Function>
double secondsOf(const ExecutionSpace& space, const Function& call) {
  space.fence("PerfTest: before");
  const auto start = std::chrono::steady_clock::now();
  call();
  space.fence("PerfTest: after");
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - start)
      .count();
}

/// Once for every set: memory is touched, Kokkos' own scratch memory has grown.
/// Returns the seconds of one call more.
template <class ExecutionSpace, class Subject>
double warmUp(const ExecutionSpace& space, Subject& subject) {
  for (int set = 0; set < subject.numSets(); ++set)
    subject.call(space, set);
  return secondsOf(space, [&] { subject.call(space, 0); });
}

/// Seconds of one call with a fence before and after.
template <class Subject>
Times timeCalls(const typename Subject::execution_space& space,
                Subject& subject, int& calls) {
  const double seconds = warmUp(space, subject);
  calls                = timesWithin(0.2, seconds, 5, 200);
  Times times;
  for (int i = 0; i < calls; ++i)
    times.push_back(
        secondsOf(space, [&] { subject.call(space, i % subject.numSets()); }));
  return times;
}

/// Seconds of one of many calls in a graph. A graph has some microseconds of
/// its own, which the calls share: a thousand short ones leave little of them.
template <class Subject>
Times timeReplays(Graph<typename Subject::execution_space>& graph,
                  Subject& subject, int& calls) {
  const double seconds = warmUp(graph.space(), subject);
  const int sets       = subject.numSets();
  calls                = timesWithin(2e-2, seconds, 10, 1000);
  calls                = (calls + sets - 1) / sets * sets;
  graph.capture([&] {
    for (int i = 0; i < calls; ++i)
      subject.call(graph.space(), i % sets);
  });
  const double one_replay = graph.replay(1)[0];
  Times times             = graph.replay(timesWithin(0.1, one_replay, 5, 50));
  for (double& time : times)
    time /= calls;
  return times;
}

template <class Subject>
void checkAndReport(benchmark::State& state,
                    const typename Subject::execution_space& space,
                    Subject& subject, const Workload& workload, int calls,
                    const Times& times) {
  const std::string wrong = subject.check(space);
  if (!wrong.empty()) return fail(state, wrong);
  report(state, Subject::backend(), workload.tokens,
         Subject::minimumBytes(workload), calls, times);
}

/// The one iteration of a benchmark.
template <class Function>
void runOnce(benchmark::State& state, const Function& measurement) {
  for ([[maybe_unused]] auto iteration : state) {
    try {
      measurement();
    } catch (const std::exception& error) {
      fail(state, error.what());
    }
  }
}

template <class Subject>
void measure(benchmark::State& state, const Workload& workload) {
  runOnce(state, [&] {
    const typename Subject::execution_space space;
    Subject subject(space, workload);
    int calls         = 0;
    const Times times = timeCalls(space, subject, calls);
    checkAndReport(state, space, subject, workload, calls, times);
  });
}

template <class Subject>
void measureGraph(benchmark::State& state, const Workload& workload) {
  runOnce(state, [&] {
    Graph<typename Subject::execution_space> graph;
    Subject subject(graph.space(), workload);
    int calls         = 0;
    const Times times = timeReplays(graph, subject, calls);
    checkAndReport(state, graph.space(), subject, workload, calls, times);
  });
}

/// Registers the subject as verb/backend/workload[/detail], and where a graph
/// can hold it, once more with /graph. Nothing is allocated before it runs.
template <class Subject>
void add(const std::string& verb, const Workload& workload,
         const std::string& detail = "") {
  const auto add_one = [](const std::string& name, auto function) {
    benchmark::RegisterBenchmark(name.c_str(), function)
        ->UseManualTime()
        ->Iterations(1)
        ->Unit(benchmark::kMicrosecond);
  };
  std::string name = verb + "/" + Subject::backend() + "/" + workload.name();
  if (!detail.empty()) name += "/" + detail;
  add_one(name, [workload](benchmark::State& state) {
    measure<Subject>(state, workload);
  });
  if constexpr (Subject::can_be_captured)
    add_one(name + "/graph", [workload](benchmark::State& state) {
      measureGraph<Subject>(state, workload);
    });
}

}  // namespace PerfTest

#endif
