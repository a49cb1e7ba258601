// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// SPDX-FileCopyrightText: Copyright Contributors to the Tokkos project

#include "Options.hpp"

#include "../common/CommandLine.hpp"

#include <limits>

namespace CrossCheck {

std::string usage() {
  return R"(Usage: tokkos_cross_check [OPTIONS]

Runs one dispatch on two backends of Kokkos and compares the plan and the rows
bit by bit: the default device with the host or, without a device, many threads
with one.

  --tokens N      tokens, T (default 4096)
  --experts N     experts, E (default 64; with --ids: as many as the ids name)
  --top-k N       experts of a token, K (default 8)
  --hidden N      length of a token's row, H (default 256)
  --routing KIND  uniform, zipf (expert e is wanted 1/(e+1) times as often as
                  the first) or one (all tokens want one expert)
                  (default uniform)
  --ids FILE      expert ids instead of a router: a .npy file, T x K or T, of
                  int32 or int64
  --capacity N    rows of an expert, the rest is dropped (default 0: no limit)
  --alignment N   pad every expert's rows to a multiple (default 1)
  --seed N        of all random numbers (default 1)
  --help          print this text

Exit code: 0 when all bits are equal, 1 when not, 2 for bad input.
)";
}

Options parseOptions(int argc, const char* const argv[]) {
  using Examples::BadInput;
  constexpr int largest = std::numeric_limits<int>::max();
  Options options;
  Examples::CommandLine line;
  line.add("--tokens", options.num_tokens, 0, largest);
  line.add("--experts", options.num_experts, 1, largest - 1);
  line.add("--top-k", options.top_k, 1, largest - 1);
  line.add("--hidden", options.hidden, 0, largest);
  line.add("--capacity", options.capacity, 0, largest);
  line.add("--alignment", options.alignment, 1, largest);
  line.add("--seed", options.seed, std::uint64_t(0),
           std::numeric_limits<std::uint64_t>::max());
  line.add("--routing", options.routing);
  line.add("--ids", options.ids);
  options.help = !line.parse(argc, argv);
  if (options.help) return options;

  options.experts_given = line.given("--experts");
  if (options.routing != "uniform" && options.routing != "zipf" &&
      options.routing != "one")
    throw BadInput("--routing: expected uniform, zipf or one, got '" +
                   options.routing + "'");
  if (line.given("--ids")) {
    for (const char* name : {"--tokens", "--top-k", "--routing"})
      if (line.given(name))
        throw BadInput(std::string(name) + " and --ids exclude each other");
    if (options.ids.empty()) throw BadInput("--ids needs the name of a file");
  } else if (options.top_k > options.num_experts) {
    throw BadInput("--top-k " + std::to_string(options.top_k) +
                   ": more choices than experts (" +
                   std::to_string(options.num_experts) + ")");
  }
  return options;
}

}  // namespace CrossCheck
