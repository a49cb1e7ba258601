// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// SPDX-FileCopyrightText: Copyright Contributors to the Tokkos project

#ifndef TOKKOS_TEST_FUZZKOKKOS_HPP
#define TOKKOS_TEST_FUZZKOKKOS_HPP

#include "FuzzInput.hpp"

#include <Kokkos_Core.hpp>

#include <cstdio>
#include <cstdlib>
#include <stdexcept>

namespace Test {
using ExecutionSpace = Kokkos::DefaultHostExecutionSpace;
}

#include <TestSupport.hpp>

/// LLVM's OpenMP runtime keeps what it has of its threads.
extern "C" [[gnu::used]] inline const char* __lsan_default_suppressions() {
  return "leak:libomp.so\n";
}

// What the targets that run kernels share: Kokkos, and expectations that end
// the program, so that the fuzzer keeps the case.
namespace Fuzz {

/// One thread, or OMP_NUM_THREADS.
inline void initialize() {
  const char* const threads = std::getenv("OMP_NUM_THREADS");
  Kokkos::initialize(Kokkos::InitializationSettings()
                         .set_num_threads(threads ? std::atoi(threads) : 1)
                         .set_disable_warnings(true));
  std::atexit(Kokkos::finalize);
  GTEST_FLAG_SET(throw_on_failure, true);
}

/// Whether f refuses its arguments.
template <class F>
bool refuses(const F& f) {
  try {
    f();
  } catch (const std::invalid_argument&) {
    return true;
  }
  return false;
}

/// Runs f, and says what the case was where an expectation fails.
template <class F, class Describe>
void explain(const F& f, const Describe& describe) {
  try {
    f();
  } catch (...) {
    std::fprintf(stderr, "%s\n", describe().c_str());
    throw;
  }
}

/// A matrix of which only the number of columns is known, in rows, in columns,
/// or with gaps, inside a buffer that knows what was written outside.
template <class T>
Test::StridedMatrix<T> makeStrided(Input& input, std::size_t rows,
                                   std::size_t columns) {
  const auto gap    = static_cast<std::size_t>(input.integer(0, 3));
  const auto offset = static_cast<std::size_t>(input.integer(0, 3));
  switch (input.integer(0, 3)) {
    case 2:
      return {rows, columns, 1, rows + gap, offset};
    case 3:
      return {rows, columns, columns * (gap + 1) + gap, gap + 1, offset};
    default:
      return {rows, columns, columns + gap, 1, offset};
  }
}

}  // namespace Fuzz

#endif
