// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// SPDX-FileCopyrightText: Copyright Contributors to the Tokkos project

#include "File.hpp"

#include <filesystem>
#include <fstream>
#include <iterator>
#include <system_error>

namespace Examples {

std::string readFile(const std::string& path) {
  std::error_code ignored;
  if (!std::filesystem::exists(path, ignored))
    throw BadInput(path + ": no such file");
  // Opening a folder succeeds, and reading it looks like an empty file.
  if (std::filesystem::is_directory(path, ignored))
    throw BadInput(path + ": a folder, not a file");
  std::ifstream file(path, std::ios::binary);
  if (!file) throw BadInput(path + ": cannot be opened");
  std::string bytes((std::istreambuf_iterator<char>(file)),
                    std::istreambuf_iterator<char>());
  if (bytes.empty()) throw BadInput(path + ": the file is empty");
  return bytes;
}

}  // namespace Examples
