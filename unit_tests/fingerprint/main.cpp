// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// SPDX-FileCopyrightText: Copyright Contributors to the Tokkos project

#include "Fingerprint.hpp"

#include <Kokkos_Core.hpp>

#include <algorithm>
#include <exception>
#include <fstream>
#include <functional>
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
  --case PREFIX       only the cases whose names begin so; may be repeated
  --compare FILE      print no hash; exit with 1 unless they are those of FILE
                      and every case of FILE was run, but those with 16-bit
                      reals where no backend has them
  --update FILE       write them to FILE, which keeps such cases
)";

using Hashes = std::map<std::string, std::string>;

Hashes readLines(std::istream& in) {
  Hashes hashes;
  for (std::string name, hash; in >> name >> hash;)
    hashes[name] = hash;
  return hashes;
}

bool canRun(const std::string& name) {
  return Fingerprint::has_half || name.find("half") == std::string::npos;
}

/// The number of differences, which it names.
int compare(const Hashes& expected, const Hashes& actual,
            const std::function<bool(const std::string&)>& wanted) {
  int differences = 0, equal = 0, left_out = 0;
  const auto report = [&](const std::string& what) {
    if (++differences <= 20) std::cout << what << '\n';
  };
  for (const auto& [name, hash] : actual)
    if (!expected.contains(name))
      report(name + ": not in the file");
    else if (expected.at(name) != hash)
      report(name + ": expected " + expected.at(name) + ", got " + hash);
    else
      ++equal;
  for (const auto& [name, hash] : expected)
    if (wanted(name) && !actual.contains(name)) {
      if (canRun(name))
        report(name + ": was not run");
      else
        ++left_out;
    }
  std::cout << equal << " hashes equal, " << differences << " different, "
            << left_out << " left out: no 16-bit reals here\n";
  return differences;
}

void update(const std::string& file, Hashes hashes) {
  std::ifstream in(file);
  for (const auto& [name, hash] : readLines(in))
    if (!canRun(name)) hashes[name] = hash;
  in.close();
  std::ofstream out(file);
  for (const auto& [name, hash] : hashes)
    out << name << ' ' << hash << '\n';
  if (!out.flush()) throw std::invalid_argument("cannot write " + file);
}

int run(const std::vector<std::string>& arguments) {
  Fingerprint::Command command{false, false, {}};
  std::string space = Fingerprint::programs().begin()->first;
  std::string expected_file, updated_file;
  std::vector<std::string> prefixes;
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
      prefixes.push_back(value());
    else if (arguments[i] == "--compare")
      expected_file = value();
    else if (arguments[i] == "--update")
      updated_file = value();
    else
      throw std::invalid_argument(usage);
  }
  if (!Fingerprint::programs().contains(space))
    throw std::invalid_argument("this build has no backend " + space);
  command.wanted = [&](const std::string& name) {
    return prefixes.empty() || std::any_of(prefixes.begin(), prefixes.end(),
                                           [&](const auto& prefix) {
                                             return name.starts_with(prefix);
                                           });
  };

  const auto& program = Fingerprint::programs().at(space);
  if (expected_file.empty() && updated_file.empty()) {
    program(command, std::cout);
    return 0;
  }
  std::stringstream actual;
  program(command, actual);
  if (!updated_file.empty()) {
    update(updated_file, readLines(actual));
    return 0;
  }
  std::ifstream expected(expected_file);
  if (!expected) throw std::invalid_argument("cannot read " + expected_file);
  return compare(readLines(expected), readLines(actual), command.wanted) > 0;
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
