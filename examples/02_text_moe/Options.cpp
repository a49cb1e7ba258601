// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// SPDX-FileCopyrightText: Copyright Contributors to the Tokkos project

#include "Options.hpp"

#include "../common/CommandLine.hpp"

#include <limits>

namespace TextMoe {

namespace {
constexpr int max_experts = 4096;
constexpr int max_hidden  = 16384;
// Keeps the weights of all experts under 2 GB.
constexpr int max_experts_times_hidden = 1 << 22;
}  // namespace

std::string usage() {
  return R"(Usage: tokkos_text_moe [OPTIONS] [FILE]

Sends every word of a UTF-8 text to the experts of a Mixture-of-Experts layer
with random weights, brings the results back, and checks them. Without FILE it
reads the text it was built with, the README of Tokkos.

  --experts N   experts, E (default 16)
  --top-k N     experts of a word, K (default 2)
  --hidden N    length of a word's vector, H (default 256)
  --capacity N  words that an expert takes, the rest is dropped (default 0: all)
  --seed N      of the router's and the experts' weights (default 1)
  --csv FILE    write the load of the experts to FILE
  --help        print this text

Exit code: 0 when the check passed, 1 when it failed, 2 for bad input.
)";
}

Options parseOptions(int argc, const char* const argv[]) {
  using Examples::BadInput;
  Options options;
  options.file = TOKKOS_DEFAULT_TEXT;
  Examples::CommandLine line;
  line.addArgument(options.file);
  line.add("--experts", options.num_experts, 1, max_experts);
  line.add("--top-k", options.top_k, 1, max_experts);
  line.add("--hidden", options.hidden, 1, max_hidden);
  line.add("--capacity", options.capacity, 0, std::numeric_limits<int>::max());
  line.add("--seed", options.seed, std::uint64_t(0),
           std::numeric_limits<std::uint64_t>::max());
  line.add("--csv", options.csv);
  options.help = !line.parse(argc, argv);
  if (options.help) return options;

  if (options.top_k > options.num_experts)
    throw BadInput("--top-k " + std::to_string(options.top_k) +
                   ": more choices than experts (" +
                   std::to_string(options.num_experts) + ")");
  if (options.num_experts > max_experts_times_hidden / options.hidden)
    throw BadInput("--experts times --hidden: expected at most " +
                   std::to_string(max_experts_times_hidden));
  if (line.given("--csv") && options.csv.empty())
    throw BadInput("--csv needs the name of a file");
  return options;
}

}  // namespace TextMoe
