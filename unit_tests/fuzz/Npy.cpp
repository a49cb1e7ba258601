// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// SPDX-FileCopyrightText: Copyright Contributors to the Tokkos project

#include "FuzzInput.hpp"

#include "../../examples/common/Npy.hpp"

#include <algorithm>
#include <filesystem>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include <unistd.h>

// Any bytes as a .npy file: the examples' reader takes what a plain parser of
// the format takes, with the same contents, and refuses everything else with
// BadInput. What it took comes back from a file that the writer made of it.
namespace Fuzz {

using Examples::NpyArray;

constexpr std::string_view magic("\x93NUMPY", 6);

/// The marks, words and strings of a header; a string keeps its first quote.
/// Nothing when there is a string without an end or a character of no token.
std::optional<std::vector<std::string>> tokensOf(std::string_view header) {
  const auto isOfWord = [](char c) {
    return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') ||
           (c >= 'A' && c <= 'Z') || c == '_';
  };
  std::vector<std::string> tokens;
  for (std::size_t i = 0; i < header.size();) {
    const char c    = header[i];
    std::size_t end = i + 1;
    if (c == ' ' || c == '\t' || c == '\n' || c == '\r') {
      i = end;
      continue;
    }
    if (c == '\'' || c == '"') {
      end = header.find(c, end);
      if (end == std::string_view::npos) return {};
      tokens.emplace_back("'").append(header.substr(i + 1, end - i - 1));
      i = end + 1;
      continue;
    }
    if (isOfWord(c))
      while (end < header.size() && isOfWord(header[end]))
        ++end;
    else if (std::string_view("{}():,").find(c) == std::string_view::npos)
      return {};
    tokens.emplace_back(header.substr(i, end - i));
    i = end;
  }
  return tokens;
}

/// A Python integer that fits 64 bits.
std::optional<std::size_t> extentOf(const std::string& token) {
  if (token.empty() || token.size() > 20 || (token[0] == '0' && token != "0") ||
      !std::all_of(token.begin(), token.end(),
                   [](char c) { return c >= '0' && c <= '9'; }))
    return {};
  unsigned __int128 value = 0;
  for (const char c : token)
    value = value * 10 + static_cast<unsigned>(c - '0');
  if (value >> 64 != 0) return {};
  return static_cast<std::size_t>(value);
}

/// The extents of a Python tuple: (), (3,), (3, 4) or (3, 4,).
std::optional<std::vector<std::size_t>> shapeOf(
    const std::vector<std::string>& tokens) {
  const std::size_t n = tokens.size();
  if (n < 2 || tokens[0] != "(" || tokens[n - 1] != ")") return {};
  std::vector<std::size_t> shape;
  for (std::size_t i = 1; i + 1 < n; ++i)
    if (i % 2 == 1) {
      const auto extent = extentOf(tokens[i]);
      if (!extent) return {};
      shape.push_back(*extent);
    } else if (tokens[i] != ",") {
      return {};
    }
  if (shape.size() == 1 && n == 3) return {};  // a number in parentheses
  if (shape.size() > 64) return {};            // NumPy's limit
  return shape;
}

/// The value of a key, from behind its colon to the comma that ends it.
std::vector<std::string> valueAt(const std::vector<std::string>& tokens,
                                 std::size_t begin) {
  std::size_t end = begin;
  for (int depth = 0; end < tokens.size(); ++end) {
    if (tokens[end] == "(") ++depth;
    if (tokens[end] == ")") --depth;
    if (depth == 0 && (tokens[end] == "," || tokens[end] == "}")) break;
  }
  return {tokens.begin() + static_cast<std::ptrdiff_t>(begin),
          tokens.begin() + static_cast<std::ptrdiff_t>(end)};
}

struct Header {
  std::optional<std::string> type;
  std::optional<bool> fortran_order;
  std::optional<std::vector<std::size_t>> shape;
};

std::optional<Header> headerOf(std::string_view text) {
  const auto tokens = tokensOf(text);
  if (!tokens || tokens->size() < 2 || tokens->front() != "{" ||
      tokens->back() != "}")
    return {};
  Header header;
  std::size_t i = 1;
  while (i + 1 < tokens->size()) {
    const std::string& key = (*tokens)[i];
    if ((*tokens)[i + 1] != ":") return {};
    const auto value = valueAt(*tokens, i + 2);
    if (key == "'descr" && !header.type && value.size() == 1 &&
        value[0][0] == '\'')
      header.type = value[0].substr(1);
    else if (key == "'fortran_order" && !header.fortran_order &&
             value.size() == 1 && (value[0] == "True" || value[0] == "False"))
      header.fortran_order = value[0] == "True";
    else if (key == "'shape" && !header.shape && shapeOf(value))
      header.shape = shapeOf(value);
    else
      return {};
    i += 2 + value.size();
    if (i + 1 < tokens->size()) {
      if ((*tokens)[i] != ",") return {};
      ++i;
    }
  }
  if (i + 1 != tokens->size() || !header.type || !header.fortran_order ||
      !header.shape)
    return {};
  return header;
}

/// The elements with the last index fastest, in plain loops.
std::vector<std::byte> inRowOrder(std::string_view elements,
                                  const std::vector<std::size_t>& shape,
                                  std::size_t size) {
  std::vector<std::byte> result(elements.size());
  for (std::size_t i = 0; i < elements.size() / size; ++i) {
    std::size_t rest = i, stride = elements.size() / size, from = 0;
    for (std::size_t d = shape.size(); d-- > 0;) {
      stride /= shape[d];
      from += rest % shape[d] * stride;
      rest /= shape[d];
    }
    std::memcpy(&result[i * size], &elements[from * size], size);
  }
  return result;
}

std::optional<NpyArray> readPlainly(std::string_view file) {
  if (file.size() < 10 || file.substr(0, 6) != magic) return {};
  const char version = file[6];
  if (version < 1 || version > 3 || file[7] != 0) return {};
  const std::size_t begin = version == 1 ? 10 : 12;
  if (file.size() < begin) return {};
  std::size_t length = 0;
  for (std::size_t i = begin; i-- > 8;)
    length = length * 256 + static_cast<unsigned char>(file[i]);
  if (file.size() - begin < length) return {};
  const auto header = headerOf(file.substr(begin, length));
  if (!header) return {};
  const auto elements = file.substr(begin + length);

  const std::string& type = *header->type;
  const std::size_t size  = type == "<i4" || type == "<f4" ? 4
                            : type == "<i8"                ? 8
                                                           : 0;
  if (size == 0) return {};
  const auto& shape       = *header->shape;
  unsigned __int128 bytes = size;
  for (const std::size_t extent : shape)  // more than 2^64 are too many already
    bytes = extent == 0 ? 0 : bytes >> 64 != 0 ? bytes : bytes * extent;
  if (std::count(shape.begin(), shape.end(), 0u) > 0) bytes = 0;
  if (bytes != elements.size()) return {};
  NpyArray array{type, shape, {}};
  if (*header->fortran_order) {
    array.bytes = inRowOrder(elements, shape, size);
  } else {
    array.bytes.resize(elements.size());
    if (!elements.empty())
      std::memcpy(array.bytes.data(), elements.data(), elements.size());
  }
  return array;
}

bool areEqual(const NpyArray& a, const NpyArray& b) {
  return a.type == b.type && a.shape == b.shape && a.bytes == b.bytes;
}

std::optional<NpyArray> readByExamples(std::string_view file) {
  try {
    return Examples::parseNpy(file);
  } catch (const Examples::BadInput&) {
    return {};
  }
}

void checkRoundTrip(const NpyArray& array) {
  static const std::string path =
      std::filesystem::temp_directory_path() /
      ("tokkos_fuzz_" + std::to_string(getpid()) + ".npy");
  Examples::writeNpy(path, array.type, array.shape, array.bytes);
  const NpyArray again = Examples::readNpy(path);
  std::filesystem::remove(path);
  require(areEqual(array, again), "the array that was written and read");
}

template <class T>
void checkValues(const NpyArray& array) {
  const auto values = Examples::npyValues<T>(array);
  require(values.size() == array.size() &&
              values.size() * sizeof(T) == array.bytes.size(),
          "the number of values");
}

void checkFile(std::string_view file) {
  const auto array    = readByExamples(file);
  const auto expected = readPlainly(file);
  require(array.has_value() == expected.has_value(),
          array ? "a file that is none was read" : "a file was refused");
  if (!array) return;
  require(areEqual(*array, *expected), "the array");
  if (array->type == "<i4")
    checkValues<std::int32_t>(*array);
  else if (array->type == "<i8")
    checkValues<std::int64_t>(*array);
  else
    checkValues<float>(*array);
  checkRoundTrip(*array);
}

/// A file of a version, with its header up to a zero and its elements behind:
/// changes of the bytes then leave the length of the header right.
std::string framed(std::string_view bytes) {
  const char version = static_cast<char>(1 + bytes.size() % 3);
  const auto header  = bytes.substr(0, bytes.find('\0'));
  std::string file   = std::string(magic) + version + '\0';
  for (int i = 0; i < (version == 1 ? 2 : 4); ++i)
    file.push_back(static_cast<char>(header.size() >> (8 * i) & 255));
  file.append(header);
  if (header.size() < bytes.size()) file.append(bytes, header.size() + 1);
  return file;
}

}  // namespace Fuzz

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data,
                                      std::size_t size) {
  const std::string_view bytes(reinterpret_cast<const char*>(data), size);
  Fuzz::checkFile(bytes);
  Fuzz::checkFile(Fuzz::framed(bytes));
  return 0;
}
