// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// SPDX-FileCopyrightText: Copyright Contributors to the Tokkos project

#include "Npy.hpp"

#include <bit>
#include <charconv>
#include <fstream>
#include <limits>
#include <set>
#include <string_view>

static_assert(std::endian::native == std::endian::little,
              "elements are copied as they lie in the file");

namespace Examples {

namespace {

constexpr std::string_view magic("\x93NUMPY", 6);

/// NumPy's own limit; a header of version 1.0 has room for them.
constexpr std::size_t most_dimensions = 64;

struct Header {
  std::string type;
  bool fortran_order = false;
  std::vector<std::size_t> shape;
};

/// Reads the header, which is a Python dictionary of three known keys:
/// {'descr': '<i4', 'fortran_order': False, 'shape': (3, 4), }
class HeaderParser {
 public:
  explicit HeaderParser(std::string_view text) : rest_(text) {}

  Header parse() {
    Header header;
    std::set<std::string> keys;
    expect("{");
    while (!accept("}")) {
      const std::string key = quoted();
      expect(":");
      if (key == "descr")
        header.type = quoted();
      else if (key == "fortran_order")
        header.fortran_order = boolean();
      else if (key == "shape")
        header.shape = tuple();
      else
        fail("the unknown key '" + key + "'");
      if (!keys.insert(key).second) fail("the key '" + key + "' twice");
      if (!accept(",")) {
        expect("}");
        break;
      }
    }
    if (keys.size() != 3)
      fail("not the three keys descr, fortran_order, shape");
    accept("");  // blanks
    if (!rest_.empty()) fail("something behind its dictionary");
    return header;
  }

 private:
  [[noreturn]] static void fail(const std::string& what) {
    throw BadInput("its header has " + what);
  }

  bool accept(std::string_view token) {
    const std::size_t begin = rest_.find_first_not_of(" \t\n\r");
    rest_.remove_prefix(begin == std::string_view::npos ? rest_.size() : begin);
    if (!rest_.starts_with(token)) return false;
    rest_.remove_prefix(token.size());
    return true;
  }

  void expect(std::string_view token) {
    if (!accept(token))
      fail("no '" + std::string(token) + "' where one belongs");
  }

  std::string quoted() {
    const std::string_view quote = accept("'") ? "'" : "\"";
    if (quote == "\"" && !accept(quote))
      fail("no string where one belongs (several fields are not supported)");
    const std::size_t end = rest_.find(quote);
    if (end == std::string_view::npos) fail("a string without an end");
    const std::string text(rest_.substr(0, end));
    rest_.remove_prefix(end + 1);
    return text;
  }

  bool boolean() {
    if (accept("True")) return true;
    expect("False");
    return false;
  }

  /// (), (3,), (3, 4): Python takes (3) for a number.
  std::vector<std::size_t> tuple() {
    std::vector<std::size_t> extents;
    expect("(");
    while (!accept(")")) {
      extents.push_back(number());
      if (!accept(",")) {
        expect(")");
        if (extents.size() == 1) fail("a shape that is none");
        break;
      }
    }
    if (extents.size() > most_dimensions)
      fail("a shape of more than 64 dimensions");
    return extents;
  }

  std::size_t number() {
    accept("");  // blanks
    std::size_t value       = 0;
    const char* const begin = rest_.data();
    const auto [end, error] =
        std::from_chars(begin, begin + rest_.size(), value);
    const bool has_zeros = end - begin > 1 && *begin == '0';
    if (error != std::errc{} || has_zeros) fail("a shape that is none");
    rest_.remove_prefix(static_cast<std::size_t>(end - begin));
    return value;
  }

  std::string_view rest_;
};

std::size_t elementSize(const std::string& type) {
  if (type == "<i4" || type == "<f4") return 4;
  if (type == "<i8") return 8;
  throw BadInput("it holds elements of type '" + type +
                 "'; supported are <i4, <i8 and <f4");
}

/// The bytes of the array; extents come from the file, so no product is taken
/// on trust.
std::size_t numBytes(const Header& header) {
  // An extent of zero makes an array empty, however large the others are.
  for (const std::size_t extent : header.shape)
    if (extent == 0) return 0;
  std::size_t bytes = elementSize(header.type);
  for (const std::size_t extent : header.shape) {
    if (bytes > std::numeric_limits<std::size_t>::max() / extent)
      throw BadInput("its shape is larger than any memory");
    bytes *= extent;
  }
  return bytes;
}

/// Copies the elements from first-index-fastest to last-index-fastest order.
std::vector<std::byte> reorder(std::string_view source,
                               const std::vector<std::size_t>& shape,
                               std::size_t element) {
  std::vector<std::byte> result(source.size());
  std::vector<std::size_t> index(shape.size(), 0);
  for (std::size_t i = 0; i < source.size(); i += element) {
    std::size_t from = 0;
    for (std::size_t d = shape.size(); d-- > 0;)
      from = from * shape[d] + index[d];
    std::memcpy(&result[i], &source[from * element], element);
    for (std::size_t d = shape.size(); d-- > 0;) {
      if (++index[d] < shape[d]) break;
      index[d] = 0;
    }
  }
  return result;
}

std::size_t littleEndian(std::string_view bytes) {
  std::size_t value = 0;
  for (std::size_t i = bytes.size(); i-- > 0;)
    value = value << 8 | static_cast<unsigned char>(bytes[i]);
  return value;
}

}  // namespace

NpyArray parseNpy(std::string_view file) {
  if (!file.starts_with(magic) || file.size() < magic.size() + 2)
    throw BadInput("not a .npy file");
  const int version = file[magic.size()];
  const int minor   = file[magic.size() + 1];
  if (version < 1 || version > 3 || minor != 0)
    throw BadInput("version " + std::to_string(version) + "." +
                   std::to_string(minor) +
                   " of the .npy format is not supported");
  file.remove_prefix(magic.size() + 2);

  const std::size_t length_bytes = version == 1 ? 2 : 4;
  if (file.size() < length_bytes) throw BadInput("its header is cut off");
  const std::size_t length = littleEndian(file.substr(0, length_bytes));
  file.remove_prefix(length_bytes);
  if (file.size() < length) throw BadInput("its header is cut off");
  const Header header = HeaderParser(file.substr(0, length)).parse();
  file.remove_prefix(length);

  const std::size_t element = elementSize(header.type);
  const std::size_t bytes   = numBytes(header);
  if (file.size() != bytes)
    throw BadInput("its shape needs " + std::to_string(bytes) +
                   " bytes of elements, the file has " +
                   std::to_string(file.size()));
  NpyArray array{header.type, header.shape, {}};
  if (header.fortran_order) {
    array.bytes = reorder(file, header.shape, element);
  } else {
    array.bytes.resize(bytes);
    if (bytes > 0) std::memcpy(array.bytes.data(), file.data(), bytes);
  }
  return array;
}

NpyArray readNpy(const std::string& path) {
  const std::string file = readFile(path);
  try {
    return parseNpy(file);
  } catch (const BadInput& error) {
    throw BadInput(path + ": " + error.what());
  }
}

void writeNpy(const std::string& path, const std::string& type,
              const std::vector<std::size_t>& shape,
              std::span<const std::byte> bytes) {
  std::string header =
      "{'descr': '" + type + "', 'fortran_order': False, 'shape': (";
  for (const std::size_t extent : shape)
    header += std::to_string(extent) + ",";
  header += "), }";
  // The elements begin at a multiple of 64 bytes.
  const std::size_t before = magic.size() + 4;
  header.append(63 - (before + header.size()) % 64, ' ').push_back('\n');

  std::ofstream file(path, std::ios::binary);
  file << magic << '\x01' << '\x00' << static_cast<char>(header.size() & 255)
       << static_cast<char>(header.size() >> 8) << header;
  file.write(reinterpret_cast<const char*>(bytes.data()),
             static_cast<std::streamsize>(bytes.size()));
  if (!file.flush()) throw BadInput(path + ": cannot be written");
}

}  // namespace Examples
