// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// SPDX-FileCopyrightText: Copyright Contributors to the Tokkos project

#ifndef TOKKOS_IMPL_PERMUTEBULK_HPP
#define TOKKOS_IMPL_PERMUTEBULK_HPP

#include <Tokkos/Impl/Divisor.hpp>
#include <Tokkos/Impl/RowMaps.hpp>
#include <Tokkos/Impl/RowPattern.hpp>
#include <Tokkos/KokkosExt/BulkCopy.hpp>
#include <Tokkos/KokkosExt/Loop.hpp>
#include <Tokkos/KokkosExt/Team.hpp>
#include <Tokkos/KokkosExt/Subgroup.hpp>

#include <Kokkos_Core.hpp>

#include <climits>
#include <cstddef>
#include <cstdint>

namespace Tokkos::Impl {

/// Tokens to rows by the copy engine: a small team brings a part of a token
/// into scratch memory and sends it to all rows of the token, a row a thread.
/// Bursts of kilobytes suit the memory better than the words of PermuteRows.
///
/// A team lives for a microsecond, so it keeps its numbers short: a row has
/// less than 2^31 bytes, and what zeroes padding is only there where padding
/// is.
template <class ExecutionSpace, bool padded>
struct PermuteBulk {
  using Team     = KokkosExt::Team<ExecutionSpace>;
  using Bulk     = KokkosExt::BulkCopy<ExecutionSpace>;
  using Subgroup = KokkosExt::Subgroup<ExecutionSpace>;

  static constexpr int team_size      = Subgroup::lanes;
  static constexpr int max_team_size  = team_size;
  static constexpr int min_part_bytes = 2048;
  static constexpr int max_part_bytes = 16384;
  // The engine wants its memory aligned to 128 bytes; the barrier comes first.
  static constexpr int alignment = 128;

  const std::byte* tokens;
  std::int64_t token_stride;
  std::byte* batch;
  std::int64_t row_stride;
  const int* row_of_assignment;
  int row_bytes;
  int part_bytes;
  Divisor parts_of_row;
  int top_k;
  RowMaps maps;  // of the padding

  KOKKOS_FUNCTION static int scratchBytes(int part_bytes) {
    return part_bytes + 2 * alignment;
  }

  KOKKOS_FUNCTION void operator()(const Team& team) const {
    int item = team.league_rank();
    if constexpr (padded) {
      item -= maps.numPaddingTeams();
      if (item < 0) return zero(team, -1 - item);
    }
    const int token = parts_of_row.divide(item);
    copy(team, token, parts_of_row.remainder(item, token) * part_bytes);
  }

 private:
  /// The bytes of the token from `begin` on.
  KOKKOS_FUNCTION void copy(const Team& team, int token, int begin) const {
    auto* const scratch = static_cast<std::byte*>(team.scratch());
    auto* const barrier = reinterpret_cast<typename Bulk::Barrier*>(scratch);
    // Past the barrier and up to the next multiple of the alignment.
    std::byte* const buffer =
        scratch + 2 * alignment -
        reinterpret_cast<std::uintptr_t>(scratch) % alignment;
    const int bytes = Kokkos::min(part_bytes, row_bytes - begin);
    const int lane  = team.team_rank();
    if (lane == 0) {
      Bulk::makeBarrier(barrier);
      Bulk::load(buffer, tokens + token * token_stride + begin, bytes, barrier);
    }
    // Read while the token is on its way.
    const int* const rows = row_of_assignment + std::int64_t(token) * top_k;
    const int first       = lane < top_k ? rows[lane] : -1;
    Subgroup::sync();
    Bulk::waitForLoad(barrier, 0);
    KokkosExt::rolledLoop(lane, top_k, team_size, [&](int k) {
      const int row = k == lane ? first : rows[k];
      if (row >= 0)
        Bulk::store(batch + row * row_stride + begin, buffer, bytes);
    });
    Bulk::waitUntilRead();
  }

  KOKKOS_FUNCTION void zero(const Team& team, int item) const {
    const RowPattern<std::byte> rows{batch, row_stride, 1};
    const RowShape shape{16, row_bytes / 16, 0};
    zeroPaddingOfTeam(maps, item, [&](int row) {
      zeroWords<WordOf<16>::type, true>(rows, shape, row, team.team_rank(),
                                        team_size);
    });
  }
};

/// The engine moves multiples of 16 bytes between multiples of 16. It takes
/// longer to start than threads do, which shows with few tokens; below some
/// hundred bytes a row its teams would have too little to do. Where a great
/// many tokens have few rows each, threads are as fast or faster.
template <class ExecutionSpace>
bool canPermuteInBulk(const RowShape& shape, const RowMaps& maps) {
  constexpr std::int64_t least_row_bytes = 512;
  constexpr int least_tokens             = 128;
  constexpr int most_tokens_of_few_rows  = 2048;
  constexpr int few_rows                 = 3;
  return KokkosExt::BulkCopy<ExecutionSpace>::is_available &&
         shape.word_bytes == 16 && shape.words_of_element == 0 &&
         shape.rowBytes() >= least_row_bytes && shape.rowBytes() <= INT_MAX &&
         maps.num_tokens >= least_tokens &&
         (maps.top_k > few_rows || maps.num_tokens <= most_tokens_of_few_rows);
}

/// pre-condition: canPermuteInBulk<ExecutionSpace>(shape, maps)
template <class ExecutionSpace, bool padded>
void permuteInBulk(const char* label, const ExecutionSpace& space,
                   const RowPattern<const std::byte>& tokens,
                   const RowPattern<std::byte>& batch, const RowShape& shape,
                   const RowMaps& maps) {
  if constexpr (KokkosExt::BulkCopy<ExecutionSpace>::is_available) {
    using Kernel = PermuteBulk<ExecutionSpace, padded>;
    // Whole rows where there are tokens enough to keep every multiprocessor
    // busy with some; shorter parts where the time is that of one token.
    constexpr int enough_tokens = 512;
    const int wanted            = maps.num_tokens < enough_tokens ? 4 : 1;
    const auto row_bytes        = static_cast<int>(shape.rowBytes());
    const int fewest            = (row_bytes - 1) / Kernel::max_part_bytes + 1;
    const int most              = (row_bytes - 1) / Kernel::min_part_bytes + 1;
    const int parts             = Kokkos::clamp(wanted, fewest, most);
    const int part_bytes        = ((row_bytes - 1) / parts + 16) / 16 * 16;
    KokkosExt::launchTeams(
        label, space, maps.numPaddingTeams() + maps.num_tokens * parts,
        Kernel::team_size, Kernel::scratchBytes(part_bytes),
        Kernel{tokens.data, tokens.row_stride, batch.data, batch.row_stride,
               maps.row_of_assignment, row_bytes, part_bytes, Divisor(parts),
               maps.top_k, maps});
  }
}

}  // namespace Tokkos::Impl

#endif
