// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// SPDX-FileCopyrightText: Copyright Contributors to the Tokkos project

// Checks the reader and the writer of .npy files, and leaves files in the
// folder that it is given, with which the tests of tokkos_cross_check go on.

#include "../common/Npy.hpp"

#include <cmath>
#include <cstdint>
#include <cstdio>
#include <fstream>
#include <numeric>
#include <string>
#include <string_view>
#include <vector>

namespace {

using Examples::BadInput;

int failures = 0;

void check(bool ok, const std::string& what) {
  if (ok) return;
  std::printf("FAILED: %s\n", what.c_str());
  ++failures;
}

void writeFile(const std::string& path, const std::string& bytes) {
  std::ofstream(path, std::ios::binary) << bytes;
}

/// A file as NumPy writes it, with any header.
std::string npyFile(int version, const std::string& header,
                    const std::string& elements) {
  std::string file = "\x93NUMPY";
  file.push_back(static_cast<char>(version));
  file.push_back('\0');
  const std::size_t length_bytes = version == 1 ? 2 : 4;
  for (std::size_t i = 0; i < length_bytes; ++i)
    file.push_back(static_cast<char>(header.size() >> (8 * i) & 255));
  return file + header + elements;
}

template <class T>
std::string bytesOf(const std::vector<T>& values) {
  return {reinterpret_cast<const char*>(values.data()),
          values.size() * sizeof(T)};
}

template <class T>
void checkRoundTrip(const std::string& path,
                    const std::vector<std::size_t>& shape,
                    const std::vector<T>& values) {
  Examples::writeNpy<T>(path, shape, values);
  const Examples::NpyArray array = Examples::readNpy(path);
  check(array.shape == shape, path + ": shape");
  const std::vector<T> read = Examples::npyValues<T>(array);
  check(bytesOf(read) == bytesOf(values), path + ": values");
}

void checkRefused(const std::string& path, const std::string& bytes,
                  const std::string& message) {
  writeFile(path, bytes);
  try {
    Examples::readNpy(path);
    check(false, path + ": was read, expected '" + message + "'");
  } catch (const BadInput& error) {
    check(
        std::string_view(error.what()).find(message) != std::string_view::npos,
        path + ": expected '" + message + "', got '" + error.what() + "'");
  }
}

void checkRoundTrips(const std::string& folder) {
  std::vector<std::int32_t> ids(600 * 4);
  for (std::size_t i = 0; i < ids.size(); ++i)
    ids[i] = static_cast<std::int32_t>(i * i % 13) - 1;  // -1 is a bad id
  checkRoundTrip(folder + "/ids_int32.npy", {600, 4}, ids);
  const std::vector<std::int64_t> wide(ids.begin(), ids.end());
  checkRoundTrip(folder + "/ids_int64.npy", {600, 4}, wide);
  checkRoundTrip(folder + "/ids_rank1.npy", {2400}, ids);
  checkRoundTrip(folder + "/no_tokens.npy", {0, 4}, std::vector<int>{});
  checkRoundTrip(folder + "/scalar.npy", {}, std::vector<int>{7});
  checkRoundTrip(folder + "/cube.npy", {2, 3, 4}, std::vector<int>(24, 1));
  checkRoundTrip(folder + "/floats.npy", {2, 2},
                 std::vector<float>{1.5f, -0.0f, NAN, INFINITY});
}

void checkOrdersAndVersions(const std::string& folder) {
  const std::vector<std::int32_t> rows    = {0, 1, 2, 3, 4, 5};
  const std::vector<std::int32_t> columns = {0, 3, 1, 4, 2, 5};
  const auto header                       = [](const char* order) {
    return std::string("{\"shape\": (2, 3), 'fortran_order': ") + order +
           ", 'descr': '<i4'}  \n";
  };
  for (const int version : {1, 2, 3})
    for (const bool fortran : {false, true}) {
      const std::string path = folder + "/version" + std::to_string(version) +
                               (fortran ? "_fortran.npy" : ".npy");
      writeFile(path, npyFile(version, header(fortran ? "True" : "False"),
                              bytesOf(fortran ? columns : rows)));
      check(Examples::npyValues<std::int32_t>(Examples::readNpy(path)) == rows,
            path);
    }
}

void checkBadFiles(const std::string& folder) {
  const auto header = [](const std::string& type, const std::string& shape) {
    return "{'descr': '" + type +
           "', 'fortran_order': False, 'shape': " + shape + ", }\n";
  };
  const std::string good     = npyFile(1, header("<i4", "(2,)"), "12345678");
  const std::string no_magic = folder + "/text.npy";
  checkRefused(no_magic, "id,id\n1,2\n", "not a .npy file");
  checkRefused(folder + "/cut_magic.npy", good.substr(0, 7), "not a .npy");
  checkRefused(folder + "/cut_length.npy", good.substr(0, 9), "cut off");
  checkRefused(folder + "/cut_header.npy", good.substr(0, 30), "cut off");
  checkRefused(folder + "/cut_elements.npy", good.substr(0, good.size() - 1),
               "needs 8 bytes of elements, the file has 7");
  checkRefused(folder + "/too_long.npy", good + "9", "the file has 9");
  checkRefused(folder + "/version9.npy", npyFile(9, "{}", ""), "version 9");
  std::string minor = good;
  minor[7]          = 1;
  checkRefused(folder + "/minor.npy", minor, "version 1.1");
  checkRefused(folder + "/big_endian.npy",
               npyFile(1, header(">i4", "(2,)"), "12345678"), "'>i4'");
  checkRefused(folder + "/halves.npy",
               npyFile(1, header("<f2", "(4,)"), "12345678"), "'<f2'");
  checkRefused(folder + "/fields.npy",
               npyFile(1,
                       "{'descr': [('a', '<i4')], 'fortran_order': False, "
                       "'shape': (2,), }",
                       "12345678"),
               "several fields");
  // Sizes that overflow when they are multiplied, or are no sizes.
  checkRefused(folder + "/overflow.npy",
               npyFile(1, header("<i4", "(4294967296, 4294967297)"), ""),
               "larger than any memory");
  checkRefused(folder + "/huge.npy",
               npyFile(1, header("<i4", "(99999999999999999999999,)"), ""),
               "a shape");
  checkRefused(folder + "/negative.npy",
               npyFile(1, header("<i4", "(-2,)"), "12345678"), "a shape");
  checkRefused(folder + "/no_dictionary.npy", npyFile(1, "(2,)", ""), "no '{'");
  checkRefused(folder + "/no_shape.npy", npyFile(1, "{'descr': '<i4'}", ""),
               "three keys");
  checkRefused(folder + "/open_string.npy", npyFile(1, "{'descr: ", ""),
               "a string without an end");
  // What Python would not read, or would read as something else.
  checkRefused(
      folder + "/twice.npy",
      npyFile(1, "{'descr': '<f4', 'descr': '<i4', 'shape': (2,)}", "12345678"),
      "'descr' twice");
  checkRefused(folder + "/number.npy",
               npyFile(1, header("<i4", "(2)"), "12345678"),
               "a shape that is none");
  checkRefused(folder + "/zeros.npy",
               npyFile(1, header("<i4", "(02,)"), "12345678"),
               "a shape that is none");
  checkRefused(folder + "/behind.npy",
               npyFile(1, header("<i4", "(2,)") + "2", "12345678"),
               "something behind");
  std::string ones = "(";
  for (int i = 0; i < 65; ++i)
    ones += "1,";
  checkRefused(folder + "/dimensions.npy",
               npyFile(1, header("<i4", ones + ")"), "1234"),
               "more than 64 dimensions");
  checkRefused(folder + "/empty.npy", "", "empty");
}

}  // namespace

int main(int argc, char* argv[]) {
  if (argc != 2) {
    std::printf("usage: %s FOLDER\n", argv[0]);
    return 2;
  }
  checkRoundTrips(argv[1]);
  checkOrdersAndVersions(argv[1]);
  checkBadFiles(argv[1]);
  if (failures == 0) std::printf("OK\n");
  return failures == 0 ? 0 : 1;
}
