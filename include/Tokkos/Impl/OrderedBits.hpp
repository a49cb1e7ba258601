// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// SPDX-FileCopyrightText: Copyright Contributors to the Tokkos project

#ifndef TOKKOS_IMPL_ORDEREDBITS_HPP
#define TOKKOS_IMPL_ORDEREDBITS_HPP

#include <Kokkos_Core.hpp>

#include <cstdint>
#include <type_traits>

namespace Tokkos::Impl {

/// An unsigned integer as wide as the floating point type.
template <class Real>
using BitsOf =
    std::conditional_t<sizeof(Real) == 4, std::uint32_t, std::uint64_t>;

/// The bits of a number as an unsigned integer that grows with it: infinities
/// at the ends, both zeros equal, 0 for NaN alone.
template <class Real>
KOKKOS_FUNCTION BitsOf<Real> orderedBits(Real x) {
  using Bits          = BitsOf<Real>;
  constexpr Bits sign = Bits(1) << (8 * sizeof(Bits) - 1);
  if (x != x) return 0;
  const Bits bits = Kokkos::bit_cast<Bits>(x == 0 ? Real(0) : x);
  return (bits & sign) != 0 ? ~bits : bits | sign;
}

/// The same for a number that is not NaN, in fewer steps: -0 comes right before
/// +0.
template <class Real>
KOKKOS_FORCEINLINE_FUNCTION BitsOf<Real> orderedBitsOfNumber(Real x) {
  using Bits          = BitsOf<Real>;
  constexpr Bits sign = Bits(1) << (8 * sizeof(Bits) - 1);
  const Bits bits     = Kokkos::bit_cast<Bits>(x);
  return bits ^ ((Bits(0) - (bits >> (8 * sizeof(Bits) - 1))) | sign);
}

/// The number that has these ordered bits.
template <class Real>
KOKKOS_FORCEINLINE_FUNCTION Real numberOfOrderedBits(BitsOf<Real> bits) {
  using Bits          = BitsOf<Real>;
  constexpr Bits sign = Bits(1) << (8 * sizeof(Bits) - 1);
  return Kokkos::bit_cast<Real>((bits & sign) != 0 ? bits ^ sign : ~bits);
}

}  // namespace Tokkos::Impl

#endif
