// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// SPDX-FileCopyrightText: Copyright Contributors to the Tokkos project

#ifndef TOKKOS_IMPL_ROUTERTOURNAMENT_HPP
#define TOKKOS_IMPL_ROUTERTOURNAMENT_HPP

#include <Tokkos/Impl/OrderedBits.hpp>
#include <Tokkos/Impl/RouterData.hpp>
#include <Tokkos/Impl/RouterLoops.hpp>

#include <Kokkos_Core.hpp>

#include <cstdint>
#include <type_traits>

namespace Tokkos::Impl {

/// One expert after the other by descending key, equal keys by ascending id, on
/// a host: a tree of winners (Knuth, The Art of Computer Programming 3, 5.4.1)
/// over 32 columns of the row, without a branch that depends on a key. A taken
/// key leaves its column to be looked at again and five matches.
///
/// The row is padded to a multiple of the columns with nothing(), and -0 does
/// not occur in it.
template <class Real>
class RouterTournament {
 public:
  static constexpr int columns = 32;

  /// In the place of what cannot be chosen: the NaN with ordered bits of 0.
  static Real nothing() { return Kokkos::bit_cast<Real>(~BitsOf<Real>(0)); }

  void start(Real* x, int size) {
    m_x    = x;
    m_size = size;
    Real best[columns];
    int expert[columns];
    RouterLoops::findBestOfColumns(x, size, best, expert);
    for (int c = 0; c < columns; ++c)
      m_node[columns + c] = Player::of(best[c], expert[c]);
    for (int i = columns - 1; i > 0; --i)
      m_node[i] = m_node[2 * i].better(m_node[2 * i + 1]);
    m_winner = m_node[1];
  }

  int expert() const { return m_winner.expert(); }

  /// True when the key is -infinity.
  bool isExcluded() const {
    return m_winner.key() <= orderedBitsOfNumber(minusInfinity<Real>());
  }

  /// Takes the expert out.
  void take() {
    const int taken = expert();
    m_x[taken]      = nothing();
    const int c     = taken % columns;
    Player best     = Player::of(m_x[c], c);
    for (int e = c + columns; e < m_size; e += columns)
      best = best.better(Player::of(m_x[e], e));
    // What goes up is not read again: a store would hold up the next match.
    for (int i = columns + c; i > 1; i /= 2) {
      m_node[i] = best;
      best      = best.better(m_node[i ^ 1]);
    }
    m_winner = best;
  }

 private:
  /// A key and its expert in one integer, so that the greater is before the
  /// other.
  struct Packed {
    std::uint64_t bits;

    static Packed of(Real x, int e) {
      return {static_cast<std::uint64_t>(orderedBitsOfNumber(x)) << 32 |
              ~static_cast<std::uint32_t>(e)};
    }
    Packed better(Packed other) const {
      return {other.bits > bits ? other.bits : bits};
    }
    int expert() const {
      return static_cast<int>(~static_cast<std::uint32_t>(bits));
    }
    std::uint64_t key() const { return bits >> 32; }
  };

  /// The same where a key alone has 64 bits.
  struct Pair {
    std::uint64_t bits;
    int e;

    static Pair of(Real x, int expert) {
      return {orderedBitsOfNumber(x), expert};
    }
    Pair better(const Pair& other) const {
      return other.bits > bits || (other.bits == bits && other.e < e) ? other
                                                                      : *this;
    }
    int expert() const { return e; }
    std::uint64_t key() const { return bits; }
  };

  using Player = std::conditional_t<sizeof(Real) == 4, Packed, Pair>;

  Player m_node[2 * columns];
  Player m_winner;
  Real* m_x;
  int m_size;
};

}  // namespace Tokkos::Impl

#endif
