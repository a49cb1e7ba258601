// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// SPDX-FileCopyrightText: Copyright Contributors to the Tokkos project

// Does a backend compute what another one does? One input goes through the
// dispatch twice, and every array of the plan and every row must have the same
// bits.
//
//   Input    the tokens, and where they go
//   Run      the dispatch on one backend
//   Compare  the first difference of two results

#include "../common/File.hpp"
#include "Compare.hpp"
#include "Input.hpp"
#include "Options.hpp"
#include "Run.hpp"

#include <Tokkos.hpp>

#include <Kokkos_Core.hpp>

#include <cstdio>
#include <exception>
#include <iostream>
#include <stdexcept>
#include <string>
#include <type_traits>
#include <utility>

namespace CrossCheck {

using Host   = Kokkos::DefaultHostExecutionSpace;
using Device = Kokkos::DefaultExecutionSpace;

template <class Space>
Result runOn(const Space& space, const Input& input) {
  std::string backend = Space::name();
  if constexpr (!std::is_same_v<Space, Device> || std::is_same_v<Host, Device>)
    backend += ", threads: " + std::to_string(space.concurrency());
  return runOn(space, input, backend);
}

/// What a host without a device is compared with.
auto oneThread() {
#if defined(KOKKOS_ENABLE_SERIAL)
  return Kokkos::Serial();
#elif defined(KOKKOS_ENABLE_OPENMP)
  return Kokkos::OpenMP(1);
#else
  return Host();  // a second run is better than none
#endif
}

std::pair<Result, Result> runTwice(const Input& input) {
  if constexpr (std::is_same_v<Host, Device>)
    return {runOn(oneThread(), input), runOn(Host(), input)};
  else
    return {runOn(Host(), input), runOn(Device(), input)};
}

bool compare(const Result& a, const Result& b) {
  bool equal = true;
  for (std::size_t i = 0; i < a.arrays.size(); ++i) {
    const std::string difference = firstDifference(a.arrays[i], b.arrays[i]);
    if (difference.empty()) {
      std::printf("%-20s same bits\n", a.arrays[i].name.c_str());
    } else {
      std::printf("%-20s DIFFERENT, first at %s\n", a.arrays[i].name.c_str(),
                  difference.c_str());
      equal = false;
    }
  }
  return equal;
}

int run(int argc, char* argv[]) {
  const Options options = parseOptions(argc, argv);
  if (options.help) {
    std::cout << usage();
    return 0;
  }
  const Input input = makeInput(options);

  const Kokkos::ScopeGuard kokkos(argc, argv);
  Tokkos::printConfiguration(std::cout);
  std::printf(
      "\n%d tokens, %d experts, %d choices, hidden size %d, ids from %s\n",
      input.num_tokens, input.num_experts, input.top_k, input.hidden,
      options.ids.empty() ? ("a router, " + options.routing).c_str()
                          : options.ids.c_str());
  const auto [a, b] = runTwice(input);
  std::printf("%s\nagainst %s\n\n", a.backend.c_str(), b.backend.c_str());
  const bool equal = compare(a, b);
  std::printf(equal ? "OK\n" : "DIFFERENT\n");
  return equal ? 0 : 1;
}

}  // namespace CrossCheck

int main(int argc, char* argv[]) {
  try {
    return CrossCheck::run(argc, argv);
  } catch (const Examples::BadInput& error) {
    std::cerr << "tokkos_cross_check: " << error.what() << '\n';
    return 2;
  } catch (const std::invalid_argument& error) {  // what Tokkos cannot do
    std::cerr << "tokkos_cross_check: " << error.what() << '\n';
    return 2;
  } catch (const std::exception& error) {
    std::cerr << "tokkos_cross_check: " << error.what() << '\n';
    return 1;
  }
}
