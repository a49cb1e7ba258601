// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// SPDX-FileCopyrightText: Copyright Contributors to the Tokkos project

#include "Fingerprint.hpp"

#include <Kokkos_Core.hpp>

#include <exception>
#include <fstream>
#include <iostream>
#include <map>
#include <sstream>
#include <string>
#include <vector>

// Runs seeded cases through every verb and prints a hash of what the contracts
// call identical: the same lines on every backend, for every number of threads,
// instance and way to launch.
namespace {

constexpr auto usage = R"(usage: tokkos_fingerprint [options]
  --space NAME        the backend (default: the first that is enabled)
  --instance WHICH    default or partitioned
  --graph             capture the verbs in a CUDA graph and replay it
  --case PREFIX       only the cases whose names begin so
  --compare FILE      print no hash; exit with 1 unless they are those of FILE
                      and every case of FILE was run. Cases with 16-bit reals
                      may be missing on either side.
)";

std::map<std::string, std::string> readLines(std::istream& in) {
  std::map<std::string, std::string> hashes;
  for (std::string name, hash; in >> name >> hash;)
    hashes[name] = hash;
  return hashes;
}

/// Only a Kokkos with a device backend has the cases with 16-bit reals.
bool hasShortReals(const std::string& name) {
  return name.find("half") != std::string::npos;
}

/// The number of differences, which it names.
int compare(const std::map<std::string, std::string>& expected,
            const std::map<std::string, std::string>& actual,
            const std::string& prefix) {
  int differences   = 0;
  const auto report = [&](const std::string& what) {
    if (++differences <= 20) std::cout << what << '\n';
  };
  int unknown = 0;
  for (const auto& [name, hash] : actual)
    if (!expected.contains(name) && hasShortReals(name))
      ++unknown;
    else if (!expected.contains(name))
      report(name + ": not in the file");
    else if (expected.at(name) != hash)
      report(name + ": expected " + expected.at(name) + ", got " + hash);
  for (const auto& [name, hash] : expected)
    if (name.starts_with(prefix) && !actual.contains(name) &&
        !hasShortReals(name))
      report(name + ": was not run");
  std::cout << actual.size() << " cases, " << differences << " differences, "
            << unknown << " with 16-bit reals that the file does not have\n";
  return differences;
}

int run(const std::vector<std::string>& arguments) {
  Fingerprint::Command command{false, false, {}};
  std::string space = Fingerprint::programs().begin()->first;
  std::string prefix, file;
  for (std::size_t i = 0; i < arguments.size(); ++i) {
    const auto value = [&] {
      if (++i == arguments.size()) throw std::invalid_argument(usage);
      return arguments[i];
    };
    if (arguments[i] == "--space")
      space = value();
    else if (arguments[i] == "--instance")
      command.partitioned = value() == "partitioned";
    else if (arguments[i] == "--graph")
      command.graph = true;
    else if (arguments[i] == "--case")
      prefix = value();
    else if (arguments[i] == "--compare")
      file = value();
    else
      throw std::invalid_argument(usage);
  }
  if (!Fingerprint::programs().contains(space))
    throw std::invalid_argument("this build has no backend " + space);
  command.wanted = [&](const std::string& name) {
    return name.starts_with(prefix);
  };

  const auto& program = Fingerprint::programs().at(space);
  if (file.empty()) {
    program(command, std::cout);
    return 0;
  }
  std::ifstream expected(file);
  if (!expected) throw std::invalid_argument("cannot read " + file);
  std::stringstream actual;
  program(command, actual);
  return compare(readLines(expected), readLines(actual), prefix) > 0;
}

}  // namespace

int main(int argc, char* argv[]) {
  Kokkos::ScopeGuard kokkos(argc, argv);
  try {
    return run(std::vector<std::string>(argv + 1, argv + argc));
  } catch (const std::exception& error) {
    std::cerr << error.what() << '\n';
    return 2;
  }
}
