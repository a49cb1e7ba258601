// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// SPDX-FileCopyrightText: Copyright Contributors to the Tokkos project

#ifndef TOKKOS_EXAMPLES_COMMANDLINE_HPP
#define TOKKOS_EXAMPLES_COMMANDLINE_HPP

#include "File.hpp"

#include <charconv>
#include <functional>
#include <map>
#include <string>
#include <string_view>
#include <vector>

namespace Examples {

/// The options of a program, as `--name VALUE` or `--name=VALUE`, and at most
/// one argument that is none. Options that begin with --kokkos- are left to
/// Kokkos::initialize.
class CommandLine {
 public:
  /// Where the value of an option goes; without the option it is not touched.
  void add(const std::string& name, std::string& value);

  /// A whole number in [low, high].
  template <class Integer>
  void add(const std::string& name, Integer& value, Integer low, Integer high) {
    options_[name] = [=, &value](std::string_view text) {
      Integer number{};
      const auto end    = text.data() + text.size();
      const auto result = std::from_chars(text.data(), end, number);
      if (result.ec != std::errc{} || result.ptr != end || number < low ||
          number > high)
        throw BadInput(name + ": expected a whole number from " +
                       std::to_string(low) + " to " + std::to_string(high) +
                       ", got '" + std::string(text) + "'");
      value = number;
    };
  }

  void addArgument(std::string& value);

  /// \returns false when --help was among the options
  /// \throws BadInput at the first thing that is not understood
  bool parse(int argc, const char* const argv[]);

  bool given(const std::string& name) const;

 private:
  void takeArgument(const std::string& text);

  std::map<std::string, std::function<void(std::string_view)>> options_;
  std::vector<std::string> given_;
  std::string* argument_ = nullptr;
};

}  // namespace Examples

#endif
