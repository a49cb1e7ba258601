// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// SPDX-FileCopyrightText: Copyright Contributors to the Tokkos project

// A whole layer on arrays from files, so that any framework can be compared:
// save its tensors with numpy.save, run this, and look at the output.
//
//   Options  the command line
//   Arrays   .npy files as Views

#include "../common/File.hpp"
#include "../common/Npy.hpp"
#include "Arrays.hpp"
#include "Options.hpp"

#include <Tokkos.hpp>

#include <Kokkos_Core.hpp>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <exception>
#include <iostream>
#include <map>
#include <span>
#include <stdexcept>
#include <string>
#include <vector>

namespace MoELayer {

using Parameters = Tokkos::MoELayerParameters<float>;
using Matrix     = Parameters::Matrix;
using Cube       = Tokkos::ExpertWeights<float>::Matrices;
using Vector     = Kokkos::View<float*>;

Parameters readParameters(const Arrays& arrays) {
  Parameters parameters;
  parameters.router          = arrays.read<Matrix>("gate.weight");
  parameters.experts.gate_up = arrays.read<Cube>("experts.gate_up_proj");
  parameters.experts.down    = arrays.read<Cube>("experts.down_proj");
  if (arrays.has("shared_experts.down_proj.weight")) {
    const auto read = [&](const std::string& name) {
      return arrays.read<Cube>("shared_experts." + name + "_proj.weight");
    };
    parameters.shared.gate = read("gate");
    parameters.shared.up   = read("up");
    parameters.shared.down = read("down");
  }
  if (arrays.has("shared_expert_gate.weight"))
    parameters.shared_gate = arrays.read<Matrix>("shared_expert_gate.weight");
  return parameters;
}

Tokkos::Score scoreOf(const std::string& name) {
  using Tokkos::Score;
  static const std::map<std::string, Score> scores = {
      {"softmax", Score::softmax},
      {"selected_softmax", Score::selected_softmax},
      {"sigmoid", Score::sigmoid},
      {"sqrt_softplus", Score::sqrt_softplus},
      {"identity", Score::identity}};
  const auto found = scores.find(name);
  if (found == scores.end())
    throw Examples::BadInput("--score: there is no '" + name + "', see --help");
  return found->second;
}

Tokkos::MoELayerOptions<> layerOptions(const Options& options,
                                       const Arrays& arrays) {
  Tokkos::MoELayerOptions<> result;
  result.router.score       = scoreOf(options.score);
  result.router.normalize   = options.normalize != 0;
  result.router.scale       = options.scale;
  result.router.groups      = options.groups;
  result.router.kept_groups = options.kept_groups;
  result.router.group_score = Tokkos::GroupScore::sum_of_best_two;
  if (arrays.has("gate.e_score_correction_bias"))
    result.router.bias = arrays.read<Vector>("gate.e_score_correction_bias");
  return result;
}

template <class View>
std::vector<float> onHost(const View& view) {
  const auto host =
      Kokkos::create_mirror_view_and_copy(Kokkos::HostSpace(), view);
  return {host.data(), host.data() + host.size()};
}

/// True when the output is the expected one; says how far off it is.
bool compare(const std::vector<float>& output,
             const std::vector<std::size_t>& shape, const Options& options) {
  const auto array    = Examples::readNpy(options.expected);
  const auto expected = Examples::npyValues<float>(array);
  if (array.shape != shape)
    throw Examples::BadInput(options.expected +
                             ": it has another shape than the output");
  double largest = 0, off = 0;
  for (std::size_t i = 0; i < output.size(); ++i) {
    largest                 = std::max(largest, std::abs(double(expected[i])));
    const double difference = std::abs(double(output[i]) - double(expected[i]));
    // A NaN is as far off as can be.
    off = difference <= off ? off : difference;
    if (std::isnan(difference)) off = INFINITY;
  }
  std::printf("largest number: %g\nlargest difference: %g\n", largest, off);
  return off <= options.tolerance * largest;
}

int run(int argc, char* argv[]) {
  const Options options = parseOptions(argc, argv);
  if (options.help) {
    std::cout << usage();
    return 0;
  }
  const Kokkos::ScopeGuard kokkos(argc, argv);
  const Kokkos::DefaultExecutionSpace space;
  const Arrays arrays(options.folder);
  const auto input      = arrays.read<Matrix>("input");
  const auto parameters = readParameters(arrays);

  Tokkos::MoELayer<float> layer(
      space, static_cast<std::int64_t>(input.extent(0)), options.top_k,
      parameters, layerOptions(options, arrays));
  const Matrix output("output", input.extent(0), input.extent(1));
  layer.forward(space, input, output);

  const std::vector<std::size_t> shape = {output.extent(0), output.extent(1)};
  const std::vector<float> numbers     = onHost(output);
  std::printf("%zu tokens of %zu, tokens of each expert:", shape[0], shape[1]);
  const auto counts = Kokkos::create_mirror_view_and_copy(Kokkos::HostSpace(),
                                                          layer.plan().counts);
  for (std::size_t e = 0; e < counts.extent(0); ++e)
    std::printf(" %d", counts(e));
  std::printf("\n");
  if (!options.output.empty())
    Examples::writeNpy<float>(options.output, shape, numbers);
  const bool equal =
      options.expected.empty() || compare(numbers, shape, options);
  std::printf(equal ? "OK\n" : "DIFFERENT\n");
  return equal ? 0 : 1;
}

}  // namespace MoELayer

int main(int argc, char* argv[]) {
  try {
    return MoELayer::run(argc, argv);
  } catch (const Examples::BadInput& error) {
    std::cerr << "tokkos_moe_layer: " << error.what() << '\n';
    return 2;
  } catch (const std::invalid_argument& error) {  // shapes that do not fit
    std::cerr << "tokkos_moe_layer: " << error.what() << '\n';
    return 2;
  } catch (const std::exception& error) {
    std::cerr << "tokkos_moe_layer: " << error.what() << '\n';
    return 1;
  }
}
