// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// SPDX-FileCopyrightText: Copyright Contributors to the Tokkos project

#ifndef TOKKOS_IMPL_DIVISOR_HPP
#define TOKKOS_IMPL_DIVISOR_HPP

#include <Kokkos_Core.hpp>

#include <cstdint>

namespace Tokkos::Impl {

/// Divides by a number that the host knows, in a few instructions where a
/// device has no instruction to divide (Granlund and Montgomery, "Division by
/// invariant integers using multiplication", 1994).
class Divisor {
 public:
  /// \param divisor 1 or more
  explicit Divisor(int divisor) : m_divisor(divisor) {
    while ((std::int64_t(1) << m_shift) < divisor)
      ++m_shift;
    const auto d               = static_cast<std::uint64_t>(divisor);
    const std::uint64_t excess = (std::uint64_t(1) << m_shift) - d;
    m_multiplier = static_cast<std::uint32_t>((excess << 32) / d + 1);
  }

  KOKKOS_FUNCTION int value() const { return m_divisor; }

  /// The quotient. pre-condition: dividend >= 0
  KOKKOS_FUNCTION int divide(int dividend) const {
    const auto n = static_cast<std::uint32_t>(dividend);
    const auto high =
        static_cast<std::uint32_t>((std::uint64_t(n) * m_multiplier) >> 32);
    return static_cast<int>((high + n) >> m_shift);
  }

  KOKKOS_FUNCTION int remainder(int dividend, int quotient) const {
    return dividend - quotient * m_divisor;
  }

 private:
  std::uint32_t m_multiplier;
  int m_shift = 0;
  int m_divisor;
};

}  // namespace Tokkos::Impl

#endif
