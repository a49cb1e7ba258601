// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// SPDX-FileCopyrightText: Copyright Contributors to the Tokkos project

#include "Options.hpp"

#include "../common/CommandLine.hpp"

#include <cmath>
#include <cstdlib>
#include <limits>

namespace MoELayer {

std::string usage() {
  return R"(Usage: tokkos_moe_layer [OPTIONS] FOLDER

Sends tokens through a Mixture-of-Experts layer, forward. Tokens and weights are
.npy files of float32 in FOLDER, in C or Fortran order, under the names that
their tensors have in many models:

  input.npy                    T x H, the tokens
  gate.weight.npy              E x H, the router
  gate.e_score_correction_bias.npy
                               E, added to the scores for the choice alone
  experts.gate_up_proj.npy     E x 2F x H, the gate's rows, then the others
  experts.down_proj.npy        E x H x F
  shared_experts.gate_proj.weight.npy, .up_proj., .down_proj.
                               S x H, S x H, H x S: an expert of every token
  shared_expert_gate.weight.npy
                               1 x H, what the shared expert counts

The bias and the shared expert may be missing. The activation is silu(gate) * up.

  --top-k N        experts of a token (default 2)
  --score NAME     softmax, selected_softmax, sigmoid, sqrt_softplus or identity
                   (default softmax)
  --normalize N    1: a token's weights are divided by their sum (default 1)
  --scale X        then multiplied by this (default 1)
  --groups N       groups of experts (default 1)
  --kept-groups N  that have a choice, by the sum of their best two (default 0:
                   all)
  --output FILE    write the output, T x H
  --expected FILE  compare with this array
  --tolerance X    how far off it may be, of its largest number (default 2e-5)
  --help           print this text

Exit code: 0, 1 when the output is not the expected one, 2 for bad input.
)";
}

namespace {

/// A number that is not negative.
double numberOf(const char* name, const std::string& text, double standard) {
  if (text.empty()) return standard;
  char* end          = nullptr;
  const double value = std::strtod(text.c_str(), &end);
  if (*end != '\0' || !std::isfinite(value) || value < 0)
    throw Examples::BadInput(std::string(name) +
                             ": expected a number that is not negative, got '" +
                             text + "'");
  return value;
}

}  // namespace

Options parseOptions(int argc, const char* const argv[]) {
  constexpr int largest = std::numeric_limits<int>::max();
  Options options;
  std::string scale, tolerance;
  Examples::CommandLine line;
  line.addArgument(options.folder);
  line.add("--top-k", options.top_k, 1, largest);
  line.add("--score", options.score);
  line.add("--normalize", options.normalize, 0, 1);
  line.add("--scale", scale);
  line.add("--groups", options.groups, 1, largest);
  line.add("--kept-groups", options.kept_groups, 0, largest);
  line.add("--output", options.output);
  line.add("--expected", options.expected);
  line.add("--tolerance", tolerance);
  options.help = !line.parse(argc, argv);
  if (options.help) return options;
  if (options.folder.empty())
    throw Examples::BadInput("which FOLDER has the arrays? see --help");
  options.scale     = numberOf("--scale", scale, options.scale);
  options.tolerance = numberOf("--tolerance", tolerance, options.tolerance);
  return options;
}

}  // namespace MoELayer
