// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// SPDX-FileCopyrightText: Copyright Contributors to the Tokkos project

#ifndef TOKKOS_IMPL_PERMUTEROWS_HPP
#define TOKKOS_IMPL_PERMUTEROWS_HPP

#include <Tokkos/Impl/PermuteBulk.hpp>
#include <Tokkos/Impl/RowMaps.hpp>
#include <Tokkos/Impl/RowPattern.hpp>
#include <Tokkos/Impl/RowTiles.hpp>
#include <Tokkos/KokkosExt/Launch.hpp>
#include <Tokkos/KokkosExt/Streaming.hpp>
#include <Tokkos/KokkosExt/Types.hpp>

#include <Kokkos_Core.hpp>

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <type_traits>

namespace Tokkos::Impl {

/// Tokens to rows on a device: a thread reads a word of its token once and
/// writes it to the token's rows. Further tiles zero the padding rows.
template <class Word, bool Contiguous, bool padded>
struct PermuteRows {
  RowPattern<const std::byte> tokens;
  RowPattern<std::byte> batch;
  RowTiles tiles;
  const int* row_of_assignment;
  int num_tokens;
  int top_k;
  RowShape shape;
  RowMaps maps;  // of the padding

  KOKKOS_FUNCTION void operator()(int tile, int thread) const {
    if constexpr (padded) {
      tile -= maps.numPaddingTeams();
      if (tile < 0) return pad(-1 - tile, thread);
    }
    copy(tiles.place(tile, thread));
  }

 private:
  // So many of a token's rows are read at once: reading them between the writes
  // would wait for each, since the compiler must think that they may change.
  static constexpr int reads = 8;

  KOKKOS_FUNCTION void copy(const RowTiles::Place& place) const {
    if (place.row >= num_tokens) return;
    const int* const rows = row_of_assignment + place.row * top_k;
    for (std::int64_t w = place.word; w < shape.num_words; w += place.stride) {
      const Word word = KokkosExt::loadStreaming(
          &wordOfRow<Word, Contiguous>(tokens, shape, place.row, w));
      for (int k = 0; k < top_k; k += reads)
        write(word, w, rows + k, top_k - k);
    }
  }

  KOKKOS_FUNCTION void write(const Word& word, std::int64_t w, const int* rows,
                             int count) const {
    int row[reads];
    for (int j = 0; j < reads; ++j)
      row[j] = j < count ? rows[j] : -1;
    for (int j = 0; j < reads; ++j)
      if (row[j] >= 0)
        KokkosExt::storeStreaming(
            &wordOfRow<Word, Contiguous>(batch, shape, row[j], w), word);
  }

  KOKKOS_FUNCTION void pad(int item, int thread) const {
    zeroPaddingOfTeam(maps, item, [&](int row) {
      zeroWords<Word, Contiguous>(batch, shape, row, thread,
                                  RowTiles::tile_size);
    });
  }
};

/// Rows to assignments on a device, zeros for those without a row.
template <class Word, bool Contiguous>
struct UnpermuteRows {
  RowPattern<const std::byte> batch;
  RowPattern<std::byte> assignments;
  RowShape shape;
  RowMaps maps;
  RowTiles tiles;

  KOKKOS_FUNCTION void operator()(int tile, int thread) const {
    const RowTiles::Place place = tiles.place(tile, thread);
    if (place.row >= std::int64_t(maps.num_tokens) * maps.top_k) return;
    const int row = maps.row_of_assignment[place.row];
    for (std::int64_t w = place.word; w < shape.num_words; w += place.stride)
      KokkosExt::storeStreaming(
          &wordOfRow<Word, Contiguous>(assignments, shape, place.row, w),
          row >= 0 ? KokkosExt::loadStreaming(
                         &wordOfRow<Word, Contiguous>(batch, shape, row, w))
                   : Word{});
  }
};

/// Copies rows of a shape on a host.
template <class Word, bool Contiguous>
struct HostRows {
  RowPattern<const std::byte> source;
  RowPattern<std::byte> destination;
  RowShape shape;
  bool streaming;  // the results are too many to stay in a cache

  void copy(std::int64_t from, std::int64_t to) const {
    if constexpr (Contiguous) {
      const auto size          = static_cast<std::size_t>(shape.rowBytes());
      std::byte* const d       = destination.data + to * destination.row_stride;
      const std::byte* const s = source.data + from * source.row_stride;
      if (streaming)
        KokkosExt::copyStreaming(d, s, size);
      else
        std::memcpy(d, s, size);
    } else {
      for (std::int64_t w = 0; w < shape.num_words; ++w)
        wordOfRow<Word, Contiguous>(destination, shape, to, w) =
            wordOfRow<Word, Contiguous>(source, shape, from, w);
    }
  }

  void zero(std::int64_t to) const {
    zeroWords<Word, Contiguous>(destination, shape, to, 0, 1);
  }
};

/// Tokens to rows on a host: item t copies token t, later ones zero the padding
/// of an expert.
template <class Word, bool Contiguous>
struct PermuteRowsHost {
  HostRows<Word, Contiguous> rows;
  RowMaps maps;

  void operator()(int item) const {
    if (item < maps.num_tokens) {
      const int* const row =
          maps.row_of_assignment + std::int64_t(item) * maps.top_k;
      for (int k = 0; k < maps.top_k; ++k)
        if (row[k] >= 0) rows.copy(item, row[k]);
    } else {
      zeroPaddingOfExpert(maps, item - maps.num_tokens,
                          [&](int row) { rows.zero(row); });
    }
    KokkosExt::drainStreams();
  }
};

/// Rows to assignments on a host.
template <class Word, bool Contiguous>
struct UnpermuteRowsHost {
  HostRows<Word, Contiguous> rows;
  RowMaps maps;

  void operator()(int token) const {
    const auto first = std::int64_t(token) * maps.top_k;
    for (std::int64_t a = first; a < first + maps.top_k; ++a) {
      if (maps.row_of_assignment[a] >= 0)
        rows.copy(maps.row_of_assignment[a], a);
      else
        rows.zero(a);
    }
    KokkosExt::drainStreams();
  }
};

/// Whether a host's copies of a row to every assignment go past its caches.
inline bool areStreamed(const RowMaps& maps, const RowShape& shape) {
  return shape.rowBytes() * maps.num_tokens * maps.top_k >=
         static_cast<std::int64_t>(KokkosExt::streaming_bytes);
}

template <class ExecutionSpace>
void permuteRows(const ExecutionSpace& space,
                 const RowPattern<const std::byte>& tokens,
                 const RowPattern<std::byte>& batch, const RowShape& shape,
                 const RowMaps& maps) {
  constexpr auto label = "Tokkos::permute::copy";
  if constexpr (KokkosExt::is_host_execution_space_v<ExecutionSpace>) {
    withRowShape(shape, [&](auto* word, auto contiguous) {
      using Word                  = std::remove_pointer_t<decltype(word)>;
      constexpr bool side_by_side = decltype(contiguous)::value;
      KokkosExt::parallelFor(
          label,
          Kokkos::RangePolicy<ExecutionSpace, Kokkos::IndexType<int>>(
              space, 0, maps.num_tokens + maps.num_padded_experts),
          PermuteRowsHost<Word, side_by_side>{
              {tokens, batch, shape, areStreamed(maps, shape)}, maps});
    });
  } else if (canPermuteInBulk<ExecutionSpace>(shape, maps)) {
    if (maps.num_padded_experts > 0)
      permuteInBulk<ExecutionSpace, true>(label, space, tokens, batch, shape,
                                          maps);
    else
      permuteInBulk<ExecutionSpace, false>(label, space, tokens, batch, shape,
                                           maps);
  } else {
    withRowShape(shape, [&](auto* word, auto contiguous) {
      using Word                  = std::remove_pointer_t<decltype(word)>;
      constexpr bool side_by_side = decltype(contiguous)::value;
      const RowTiles tiles(maps.num_tokens, shape.num_words);
      const auto launch = [&](auto padded) {
        forEachTile(label, space, maps.numPaddingTeams() + tiles.numTiles(),
                    PermuteRows<Word, side_by_side, decltype(padded)::value>{
                        tokens, batch, tiles, maps.row_of_assignment,
                        maps.num_tokens, maps.top_k, shape, maps});
      };
      // Where a microsecond counts nothing is there that is not needed.
      if constexpr (sizeof(Word) == 16 && side_by_side)
        if (maps.num_padded_experts == 0) return launch(std::false_type());
      launch(std::true_type());
    });
  }
}

template <class ExecutionSpace>
void unpermuteRows(const ExecutionSpace& space,
                   const RowPattern<const std::byte>& batch,
                   const RowPattern<std::byte>& assignments,
                   const RowShape& shape, const RowMaps& maps) {
  constexpr auto label = "Tokkos::unpermute::copy";
  withRowShape(shape, [&](auto* word, auto contiguous) {
    using Word                  = std::remove_pointer_t<decltype(word)>;
    constexpr bool side_by_side = decltype(contiguous)::value;
    if constexpr (KokkosExt::is_host_execution_space_v<ExecutionSpace>) {
      KokkosExt::parallelFor(
          label,
          Kokkos::RangePolicy<ExecutionSpace, Kokkos::IndexType<int>>(
              space, 0, maps.num_tokens),
          UnpermuteRowsHost<Word, side_by_side>{
              {batch, assignments, shape, areStreamed(maps, shape)}, maps});
    } else {
      const RowTiles tiles(maps.num_tokens * maps.top_k, shape.num_words);
      forEachTile(label, space, tiles.numTiles(),
                  UnpermuteRows<Word, side_by_side>{batch, assignments, shape,
                                                    maps, tiles});
    }
  });
}

}  // namespace Tokkos::Impl

#endif
