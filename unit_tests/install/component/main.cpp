// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// SPDX-FileCopyrightText: Copyright Contributors to the Tokkos project

#include <Tokkos.hpp>

#include <Kokkos_Core.hpp>

#include <iostream>

int main(int argc, char* argv[]) {
  Kokkos::ScopeGuard kokkos(argc, argv);
  const Kokkos::DefaultExecutionSpace space;
  using Parameters = Tokkos::MoELayerParameters<float>;
  using Cube       = Tokkos::ExpertWeights<float>::Matrices;
  Parameters parameters;
  parameters.router       = Parameters::Matrix("router", 2, 3);
  parameters.experts.up   = Cube("up", 2, 4, 3);
  parameters.experts.down = Cube("down", 2, 3, 4);
  Tokkos::MoELayer<float> layer(space, 5, 1, parameters);
  const Parameters::Matrix input("input", 5, 3), output("output", 5, 3);
  layer.forward(space, input, output);
  space.fence();
  // Equal logits: every token goes to expert 0.
  const auto counts = Kokkos::create_mirror_view_and_copy(Kokkos::HostSpace(),
                                                          layer.plan().counts);
  std::cout << counts(0) << " tokens went to expert 0\n";
  return counts(0) == 5 && counts(1) == 0 ? 0 : 1;
}
