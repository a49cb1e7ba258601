// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// SPDX-FileCopyrightText: Copyright Contributors to the Tokkos project

// The words of a text go through a Mixture-of-Experts layer: a router sends
// each to K of E experts, the experts work on what they got, and the results
// come back in the order of the text. A plain reference checks everything.
//
//   Text       the words of the file
//   Input      a vector for each (Embedding), the router's logits, the weights
//   Dispatch   the layer with Tokkos; FeedForward is what an expert does
//   Reference  the layer with plain loops
//   Report     who got what, and how long it took

#include "../common/File.hpp"
#include "Dispatch.hpp"
#include "Options.hpp"
#include "Reference.hpp"
#include "Report.hpp"

#include <Tokkos.hpp>

#include <Kokkos_Core.hpp>

#include <cstdio>
#include <exception>
#include <iostream>
#include <stdexcept>

namespace TextMoe {

/// \returns whether the result is what the reference says
bool check(const Input& input, const Result& result) {
  const Reference reference(input);
  const std::string difference = reference.firstDifference(result.plan);
  if (!difference.empty()) {
    std::printf("different from the reference: %s\n", difference.c_str());
    return false;
  }
  const double largest =
      reference.largestDifference({result.output.data(), result.output.size()});
  const double allowed = reference.allowedDifference();
  std::printf(
      "choices and plan: equal to the plain-loop reference\n"
      "output: largest difference to the reference %.1e, allowed %.1e\n",
      largest, allowed);
  return largest <= allowed;
}

int run(int argc, char* argv[]) {
  const Options options = parseOptions(argc, argv);
  if (options.help) {
    std::cout << usage();
    return 0;
  }
  // A bad file is found before Kokkos starts its threads.
  const Text text = readText(options.file);

  const Kokkos::ScopeGuard kokkos(argc, argv);
  Tokkos::printConfiguration(std::cout);
  std::printf("\ntext: %s\n", options.file.c_str());
  std::printf(
      "%zu tokens (%zu distinct words), %d experts, %d choices a token, "
      "hidden size %d\n\n",
      text.tokens.size(), text.words.size(), options.num_experts, options.top_k,
      options.hidden);

  const Input input   = makeInput(text, options);
  const Result result = dispatch(input);
  const auto loads    = loadOfExperts(text, input, result.plan);
  printLoads(loads);
  if (result.plan.num_dropped > 0)
    std::printf("dropped: %d of %zu choices, by a capacity of %d\n",
                result.plan.num_dropped, result.plan.expert_ids.size(),
                options.capacity);
  std::printf("\n");
  printTimes(result.times);
  std::printf("\n");
  if (!options.csv.empty()) writeCsv(options.csv, loads);

  const bool ok = check(input, result);
  std::printf(ok ? "OK\n" : "WRONG\n");
  return ok ? 0 : 1;
}

}  // namespace TextMoe

int main(int argc, char* argv[]) {
  try {
    return TextMoe::run(argc, argv);
  } catch (const Examples::BadInput& error) {
    std::cerr << "tokkos_text_moe: " << error.what() << '\n';
    return 2;
  } catch (const std::invalid_argument& error) {  // what Tokkos cannot do
    std::cerr << "tokkos_text_moe: " << error.what() << '\n';
    return 2;
  } catch (const std::exception& error) {
    std::cerr << "tokkos_text_moe: " << error.what() << '\n';
    return 1;
  }
}
