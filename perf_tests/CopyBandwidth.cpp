// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// SPDX-FileCopyrightText: Copyright Contributors to the Tokkos project

#include "CopyBandwidth.hpp"

#include "Backends.hpp"
#include "Models.hpp"
#include "Word.hpp"

#include <Kokkos_Core.hpp>

#include <algorithm>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <exception>
#include <map>
#include <string>

namespace PerfTest {

namespace {

constexpr int repetitions = 5;

std::size_t numWords(bool on_host) {
  if (isSmokeRun()) return 1 << 16;
  return (std::size_t(on_host ? 512 : 4096) << 20) / sizeof(Word);
}

/// The fewest seconds of a few calls.
template <class ExecutionSpace, class Function>
double shortest(const ExecutionSpace& space, const Function& call) {
  using Clock    = std::chrono::steady_clock;
  double seconds = 1e30;
  for (int i = 0; i < repetitions; ++i) {
    space.fence("PerfTest::copyBandwidth: before");
    const auto start = Clock::now();
    call();
    space.fence("PerfTest::copyBandwidth: after");
    seconds = std::min(
        seconds, std::chrono::duration<double>(Clock::now() - start).count());
  }
  return seconds;
}

double bandwidth(std::size_t num_words, double seconds) {
  return 2e-9 * static_cast<double>(num_words * sizeof(Word)) / seconds;
}

}  // namespace

struct CopyWords {
  const Word* source;
  Word* destination;

  KOKKOS_FUNCTION void operator()(std::int64_t i) const {
    destination[i] = source[i];
  }
};

namespace {

template <class ExecutionSpace>
double measureCopy(std::size_t num_words) {
  using Words = Kokkos::View<Word*, typename ExecutionSpace::memory_space>;
  const ExecutionSpace space;
  const Words source(Kokkos::view_alloc(space, "PerfTest::source"), num_words);
  const Words destination(Kokkos::view_alloc(space, "PerfTest::destination"),
                          num_words);
  const double kernel = shortest(space, [&] {
    Kokkos::parallel_for(
        "PerfTest::copy",
        Kokkos::RangePolicy<ExecutionSpace, Kokkos::IndexType<std::int64_t>>(
            space, 0, static_cast<std::int64_t>(num_words)),
        CopyWords{source.data(), destination.data()});
  });
  const double copy =
      shortest(space, [&] { Kokkos::deep_copy(space, destination, source); });
  return bandwidth(num_words, std::min(kernel, copy));
}

template <class ExecutionSpace>
double measureCopy() {
  std::size_t num_words = numWords(is_host_v<ExecutionSpace>);
  while (true) {
    try {
      return measureCopy<ExecutionSpace>(num_words);
    } catch (const std::exception&) {
      // A small device: half the buffers still measure its memory.
      num_words /= 2;
      if (num_words < (1 << 20)) throw;
    }
  }
}

double measureMemcpy() {
  using Words = Kokkos::View<Word*, Kokkos::HostSpace>;
  const Kokkos::DefaultHostExecutionSpace space;
  const std::size_t num_words = numWords(true);
  const Words source("PerfTest::source", num_words);
  const Words destination("PerfTest::destination", num_words);
  return bandwidth(num_words, shortest(space, [&] {
                     std::memcpy(static_cast<void*>(destination.data()),
                                 source.data(), num_words * sizeof(Word));
                   }));
}

}  // namespace

double copyBandwidth(const std::string& backend) {
  static std::map<std::string, double> measured;
  if (measured.count(backend) == 0) {
    if (backend == host_name) measured[backend] = measureMemcpy();
    forEachBackend([&](auto type) {
      using ExecutionSpace = typename decltype(type)::type;
      if (backend == ExecutionSpace::name())
        measured[backend] = measureCopy<ExecutionSpace>();
    });
  }
  return measured.at(backend);
}

}  // namespace PerfTest
