// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// SPDX-FileCopyrightText: Copyright Contributors to the Tokkos project

#ifndef TOKKOS_TEST_FUZZINPUT_HPP
#define TOKKOS_TEST_FUZZINPUT_HPP

#include <array>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <limits>

/// Freed memory is watched for some time, not for as long as memory lasts.
extern "C" [[gnu::used]] inline const char* __asan_default_options() {
  return "quarantine_size_mb=16:malloc_context_size=6";
}

namespace Fuzz {

/// What must hold; where it does not, the fuzzer keeps the case.
inline void require(bool holds, const char* what) {
  if (holds) return;
  std::fprintf(stderr, "not so: %s\n", what);
  std::abort();
}

/// The bytes of a fuzzer as numbers. They are read from the front and each
/// number takes few of them, so that a small change of the bytes is a small
/// change of the case. Behind the end follow the bytes of a generator whose
/// seed is the first byte, zeros for a seed of zero: so a few bytes make a
/// large case too.
class Input {
 public:
  Input(const std::uint8_t* data, std::size_t size)
      : m_data(data), m_size(size), m_state(0), m_has_tail(false) {
    m_state    = byte();
    m_has_tail = m_state != 0;
  }

  std::uint8_t byte() {
    if (m_next < m_size) return m_data[m_next++];
    return m_has_tail ? static_cast<std::uint8_t>(generate() >> 56)
                      : std::uint8_t(0);
  }

  /// In any of its bits.
  template <class T>
  T raw() {
    std::array<std::uint8_t, sizeof(T)> bytes;
    for (auto& b : bytes)
      b = byte();
    T value;
    std::memcpy(&value, bytes.data(), sizeof(T));
    return value;
  }

  /// In [low, high], from as few bytes as can tell them apart.
  int integer(int low, int high) {
    const std::int64_t count = std::int64_t(high) - low + 1;
    std::int64_t value       = 0;
    for (std::int64_t range = 1; range < count; range *= 256)
      value = value * 256 + byte();
    return static_cast<int>(low + value % count);
  }

  /// True for one byte in `many`, and not for zero.
  bool oneIn(int many) { return integer(0, many - 1) == many - 1; }
  bool flag() { return oneIn(2); }

  template <class T, std::size_t N>
  T oneOf(const std::array<T, N>& values) {
    return values[static_cast<std::size_t>(
        integer(0, static_cast<int>(N) - 1))];
  }

  /// A number that nobody would choose: of any size, or at an end.
  int wild() {
    constexpr int most  = std::numeric_limits<int>::max();
    constexpr int least = std::numeric_limits<int>::min();
    const auto any      = raw<std::int32_t>();
    return oneOf(std::array{-1, 0, most, most - 1, most - 1024, least,
                            most / 256, most / 256 + 1, 1 << 16, 1 << 24, any,
                            any >> 8 & 0xffff});
  }

 private:
  /// SplitMix64 (Steele, Lea, Flood, 2014).
  std::uint64_t generate() {
    std::uint64_t x = m_state += 0x9e3779b97f4a7c15u;
    x               = (x ^ x >> 30) * 0xbf58476d1ce4e5b9u;
    x               = (x ^ x >> 27) * 0x94d049bb133111ebu;
    return x ^ x >> 31;
  }

  const std::uint8_t* m_data;
  std::size_t m_size, m_next = 0;
  std::uint64_t m_state;
  bool m_has_tail;
};

}  // namespace Fuzz

#endif
