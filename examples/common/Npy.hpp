// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// SPDX-FileCopyrightText: Copyright Contributors to the Tokkos project

#ifndef TOKKOS_EXAMPLES_NPY_HPP
#define TOKKOS_EXAMPLES_NPY_HPP

#include "File.hpp"

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>
#include <string>
#include <string_view>
#include <type_traits>
#include <vector>

/// NumPy's files of one array (.npy): what numpy.save writes, read and written
/// for three types of elements, in little-endian order.
/// The format: numpy/lib/format.py, "NEP 1", versions 1.0 to 3.0.
namespace Examples {

struct NpyArray {
  std::string type;  ///< "<i4", "<i8" or "<f4"
  std::vector<std::size_t> shape;
  std::vector<std::byte> bytes;  ///< the elements, last index fastest

  std::size_t size() const {
    std::size_t n = 1;
    for (const std::size_t extent : shape)
      n *= extent;
    return n;
  }
};

/// NumPy's name of an element type.
template <class T>
constexpr const char* npyType() {
  if constexpr (std::is_same_v<T, std::int32_t>)
    return "<i4";
  else if constexpr (std::is_same_v<T, std::int64_t>)
    return "<i8";
  else {
    static_assert(std::is_same_v<T, float>, "npyType: unsupported type");
    return "<f4";
  }
}

/// Reads an array in either order of its elements.
/// \throws BadInput when the file is no whole .npy file or holds another type
NpyArray readNpy(const std::string& path);

/// The same of the bytes of a file.
NpyArray parseNpy(std::string_view file);

/// \throws BadInput when the file cannot be written
void writeNpy(const std::string& path, const std::string& type,
              const std::vector<std::size_t>& shape,
              std::span<const std::byte> bytes);

template <class T>
void writeNpy(const std::string& path, const std::vector<std::size_t>& shape,
              std::span<const T> values) {
  writeNpy(path, npyType<T>(), shape, std::as_bytes(values));
}

/// The elements of an array that holds T.
template <class T>
std::vector<T> npyValues(const NpyArray& array) {
  if (array.type != npyType<T>())
    throw BadInput("the array holds " + array.type + ", not " + npyType<T>());
  std::vector<T> values(array.size());
  if (!values.empty())
    std::memcpy(values.data(), array.bytes.data(), array.bytes.size());
  return values;
}

}  // namespace Examples

#endif
