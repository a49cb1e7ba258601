// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// SPDX-FileCopyrightText: Copyright Contributors to the Tokkos project

#include "Registry.hpp"

#include "Backends.hpp"

#include <Tokkos/Version.hpp>

#include <Kokkos_Core.hpp>

#include <benchmark/benchmark.h>

#include <cstdlib>
#include <fstream>
#include <map>
#include <sstream>
#include <string>

namespace PerfTest {

namespace {

using Facts = std::map<std::string, std::string>;

std::string trimmed(const std::string& text) {
  const auto begin = text.find_first_not_of(" \t");
  if (begin == std::string::npos) return "";
  return text.substr(begin, text.find_last_not_of(" \t\r") - begin + 1);
}

/// Takes the lines of the form "name: value".
void collect(std::istream& lines, const std::string& prefix, Facts& facts) {
  for (std::string line; std::getline(lines, line);) {
    const auto colon = line.find(": ");
    if (colon == std::string::npos) continue;
    const std::string name  = trimmed(line.substr(0, colon));
    const std::string value = trimmed(line.substr(colon + 2));
    if (!name.empty() && !value.empty()) facts[prefix + name] = value;
  }
}

#ifdef KOKKOS_ENABLE_CUDA
std::string deviceName(const Kokkos::Cuda& space) {
  return space.cuda_device_prop().name;
}
#endif
#ifdef KOKKOS_ENABLE_HIP
std::string deviceName(const Kokkos::HIP& space) {
  return space.hip_device_prop().name;
}
#endif
#ifdef KOKKOS_ENABLE_SYCL
std::string deviceName(const Kokkos::SYCL& space) {
  return space.sycl_queue().get_device().get_info<sycl::info::device::name>();
}
#endif

std::string hostName() {
  std::ifstream file("/proc/cpuinfo");
  Facts facts;
  collect(file, "", facts);
  return facts.count("model name") > 0 ? facts["model name"] : "unknown";
}

}  // namespace

void addContext() {
  Facts facts;
  std::stringstream library;
  Tokkos::printConfiguration(library);
  collect(library, "", facts);
  std::stringstream kokkos;
  Kokkos::print_configuration(kokkos, true);
  collect(kokkos, "Kokkos configuration: ", facts);

  forEachBackend([&](auto type) {
    using ExecutionSpace = typename decltype(type)::type;
    const ExecutionSpace space;
    const std::string backend = ExecutionSpace::name();
    if constexpr (is_host_v<ExecutionSpace>)
      facts["threads of " + backend] = std::to_string(space.concurrency());
    else
      facts["device of " + backend] = deviceName(space);
  });
  facts["processor of the host"] = hostName();
  for (const char* const variable : {"OMP_NUM_THREADS", "OMP_PROC_BIND",
                                     "OMP_PLACES", "KOKKOS_NUM_THREADS"}) {
    const char* const value = std::getenv(variable);
    facts[variable]         = value != nullptr ? value : "unset";
  }
  for (const auto& [name, value] : facts)
    benchmark::AddCustomContext(name, value);
}

}  // namespace PerfTest
