// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// SPDX-FileCopyrightText: Copyright Contributors to the Tokkos project

#ifndef TOKKOS_EXAMPLES_RANDOM_HPP
#define TOKKOS_EXAMPLES_RANDOM_HPP

#include <cstdint>

namespace Examples {

/// Numbers that look random and are the same with every compiler and standard
/// library, which std::uniform_real_distribution does not promise. Sebastiano
/// Vigna's SplitMix64.
class Random {
 public:
  /// Streams of one seed have nothing to do with each other.
  Random(std::uint64_t seed, std::uint64_t stream) : state_(seed) {
    state_ = bits() ^ (stream * 0xd1342543de82ef95u);
  }

  std::uint64_t bits() {
    state_ += 0x9e3779b97f4a7c15u;
    std::uint64_t z = state_;
    z               = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z               = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return z ^ (z >> 31);
  }

  /// In [-1, 1), a multiple of 2^-23.
  float symmetric() {
    return static_cast<float>(bits() >> 40) * 0x1p-23f - 1.0f;
  }

  /// In (0, 1): never zero, so that it has a logarithm.
  double positive() {
    return (static_cast<double>(bits() >> 12) + 0.5) * 0x1p-52;
  }

 private:
  std::uint64_t state_;
};

}  // namespace Examples

#endif
