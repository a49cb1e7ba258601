// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// SPDX-FileCopyrightText: Copyright Contributors to the Tokkos project

#include "Guide.hpp"

int main(int argc, char* argv[]) {
  Kokkos::ScopeGuard kokkos(argc, argv);
  if (argc == 2 && runPage(argv[1])) return 0;
  std::cerr << "name a page of the guide\n";
  return 2;
}
