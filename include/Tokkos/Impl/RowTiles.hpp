// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// SPDX-FileCopyrightText: Copyright Contributors to the Tokkos project

#ifndef TOKKOS_IMPL_ROWTILES_HPP
#define TOKKOS_IMPL_ROWTILES_HPP

#include <Tokkos/Impl/Divisor.hpp>
#include <Tokkos/KokkosExt/Team.hpp>

#include <Kokkos_Core.hpp>

#include <climits>
#include <cstdint>

namespace Tokkos::Impl {

/// How the threads of a device share rows of words among them: a tile of
/// neighbouring threads takes a word each of one row, or of several rows where
/// they are short. Many threads with one word keep more of the memory busy than
/// few that loop.
class RowTiles {
 public:
  /// The place of a thread: from `word` on every stride-th word of `row`, which
  /// may lie past the last row.
  struct Place {
    std::int64_t row;
    std::int64_t word;
    std::int64_t stride;
  };

  static constexpr int tile_bits = 8;
  static constexpr int tile_size = 1 << tile_bits;

  RowTiles(int num_rows, std::int64_t num_words)
      : m_word_bits(wordBits(num_words)),
        m_num_groups((num_rows - 1) / (tile_size >> m_word_bits) + 1),
        m_tiles_of_row(static_cast<int>(
            Kokkos::min(((num_words - 1) >> m_word_bits) + 1,
                        std::int64_t(INT_MAX / 4 / m_num_groups)))) {}

  int numTiles() const { return m_num_groups * m_tiles_of_row.value(); }

  KOKKOS_FUNCTION Place place(int tile, int thread) const {
    const int group = m_tiles_of_row.divide(tile);
    const int part  = m_tiles_of_row.remainder(tile, group);
    const int rows  = tile_size >> m_word_bits;
    return {std::int64_t(group) * rows + (thread >> m_word_bits),
            (std::int64_t(part) << m_word_bits) +
                (thread & ((1 << m_word_bits) - 1)),
            std::int64_t(m_tiles_of_row.value()) << m_word_bits};
  }

 private:
  static int wordBits(std::int64_t num_words) {
    int bits = 0;
    while (bits < tile_bits && (std::int64_t(1) << bits) < num_words)
      ++bits;
    return bits;
  }

  int m_word_bits;
  int m_num_groups;
  Divisor m_tiles_of_row;
};

/// A tile is the work of two teams: small teams spread few rows over many
/// multiprocessors.
template <class Functor>
struct ForEachTile {
  static constexpr int max_team_size = RowTiles::tile_size / 2;

  Functor functor;

  template <class Team>
  KOKKOS_FUNCTION void operator()(const Team& team) const {
    const int tile = team.league_rank() / 2;
    const int half = team.league_rank() - 2 * tile;
    functor(tile, half * max_team_size + team.team_rank());
  }
};

/// Runs functor(tile, thread) for so many tiles of threads.
template <class ExecutionSpace, class Functor>
void forEachTile(const char* label, const ExecutionSpace& space, int num_tiles,
                 const Functor& functor) {
  using Kernel = ForEachTile<Functor>;
  KokkosExt::launchTeams(label, space, 2 * num_tiles, Kernel::max_team_size, 0,
                         Kernel{functor});
}

}  // namespace Tokkos::Impl

#endif
