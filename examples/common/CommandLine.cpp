// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// SPDX-FileCopyrightText: Copyright Contributors to the Tokkos project

#include "CommandLine.hpp"

#include <algorithm>

namespace Examples {

void CommandLine::add(const std::string& name, std::string& value) {
  options_[name] = [&value](std::string_view text) { value = text; };
}

void CommandLine::addArgument(std::string& value) {
  argument_ = &value;
}

bool CommandLine::given(const std::string& name) const {
  return std::find(given_.begin(), given_.end(), name) != given_.end();
}

void CommandLine::takeArgument(const std::string& text) {
  if (argument_ == nullptr)
    throw BadInput("unexpected argument '" + text + "'; see --help");
  *argument_ = text;
  argument_  = nullptr;
}

bool CommandLine::parse(int argc, const char* const argv[]) {
  const std::vector<std::string> words(argv + std::min(argc, 1), argv + argc);
  bool options_ended = false;
  for (std::size_t i = 0; i < words.size(); ++i) {
    const std::string& word = words[i];
    if (options_ended || word.size() < 2 || word[0] != '-') {
      takeArgument(word);
      continue;
    }
    if (word == "--help" || word == "-h") return false;
    if (word.starts_with("--kokkos-")) continue;
    if (word == "--") {
      options_ended = true;
      continue;
    }
    const std::size_t equals = word.find('=');
    const std::string name   = word.substr(0, equals);
    const auto option        = options_.find(name);
    if (option == options_.end())
      throw BadInput("unknown option " + name + "; see --help");
    if (equals != std::string::npos)
      option->second(std::string_view(word).substr(equals + 1));
    else if (i + 1 < words.size())
      option->second(words[++i]);
    else
      throw BadInput(name + " needs a value");
    given_.push_back(name);
  }
  return true;
}

}  // namespace Examples
