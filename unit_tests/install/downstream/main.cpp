// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// SPDX-FileCopyrightText: Copyright Contributors to the Tokkos project

#include <Tokkos.hpp>

#include <iostream>

int main(int argc, char* argv[]) {
  Kokkos::ScopeGuard kokkos(argc, argv);
  const Kokkos::DefaultExecutionSpace space;
  const Kokkos::View<int**> expert_ids("expert_ids", 10, 2);
  const auto plan = Tokkos::buildDispatchPlan(space, expert_ids, 4);
  const std::string violation =
      Tokkos::validateDispatchPlan(space, plan, expert_ids);
  if (!violation.empty()) {
    std::cout << violation << '\n';
    return 1;
  }
  Tokkos::printConfiguration(std::cout);
}
