// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// SPDX-FileCopyrightText: Copyright Contributors to the Tokkos project

#ifndef TOKKOS_IMPL_CONVERTROWS_HPP
#define TOKKOS_IMPL_CONVERTROWS_HPP

#include <Tokkos/Impl/ElementRows.hpp>
#include <Tokkos/Impl/RowMaps.hpp>
#include <Tokkos/Impl/RowTiles.hpp>
#include <Tokkos/KokkosExt/Launch.hpp>
#include <Tokkos/KokkosExt/Streaming.hpp>
#include <Tokkos/KokkosExt/Types.hpp>

#include <Kokkos_Core.hpp>

#include <cstddef>
#include <cstdint>

namespace Tokkos::Impl {

/// Tokens to rows of another type on a device, `length` elements a thread.
template <class From, class To, int length>
struct ConvertRows {
  ElementRows<const From> tokens;
  ElementRows<To> batch;
  RowMaps maps;
  RowTiles tiles;
  std::int64_t num_packs;  // of `length` elements in a row

  KOKKOS_FUNCTION void operator()(int tile, int thread) const {
    const int item = tile - maps.numPaddingTeams();
    if (item >= 0)
      convert(tiles.place(item, thread));
    else
      pad(-1 - item, thread);
  }

 private:
  KOKKOS_FUNCTION void convert(const RowTiles::Place& place) const {
    if (place.row >= maps.num_tokens) return;
    const int* const rows = maps.row_of_assignment + place.row * maps.top_k;
    for (std::int64_t i = place.word; i < num_packs; i += place.stride) {
      const Pack<To, length> result = load(place.row, i);
      for (int k = 0; k < maps.top_k; ++k)
        if (rows[k] >= 0) store(rows[k], i, result);
    }
  }

  KOKKOS_FUNCTION Pack<To, length> load(std::int64_t token,
                                        std::int64_t i) const {
    Pack<To, length> result;
    if constexpr (length == 1) {
      result.value[0] = convertReal<To>(*tokens.at(token, i));
    } else {
      const auto source =
          KokkosExt::loadStreaming(tokens.template pack<length>(token, i));
      for (int j = 0; j < length; ++j)
        result.value[j] = convertReal<To>(source.value[j]);
    }
    return result;
  }

  KOKKOS_FUNCTION void store(int row, std::int64_t i,
                             const Pack<To, length>& result) const {
    if constexpr (length == 1)
      *batch.at(row, i) = result.value[0];
    else
      KokkosExt::storeStreaming(batch.template pack<length>(row, i), result);
  }

  KOKKOS_FUNCTION void pad(int item, int thread) const {
    zeroPaddingOfTeam(maps, item, [&](int row) {
      zeroElements(batch, row, num_packs * length, thread, RowTiles::tile_size);
    });
  }
};

/// The same on a host: item t converts token t in pieces that a cache holds,
/// later items zero the padding of an expert.
template <class From, class To>
struct ConvertRowsHost {
  ElementRows<const From> tokens;
  ElementRows<To> batch;
  RowMaps maps;
  std::int64_t num_columns;

  void operator()(int item) const {
    if (item < maps.num_tokens) {
      for (std::int64_t h = 0; h < num_columns; h += piece_length)
        convert(item, h, Kokkos::min(piece_length, num_columns - h));
    } else {
      zeroPaddingOfExpert(maps, item - maps.num_tokens, [&](int row) {
        zeroElements(batch, row, num_columns, 0, 1);
      });
    }
  }

 private:
  static constexpr std::int64_t piece_length = 512;

  void convert(int token, std::int64_t begin, std::int64_t length) const {
    To piece[piece_length];
    for (std::int64_t i = 0; i < length; ++i)
      piece[i] = convertReal<To>(*tokens.at(token, begin + i));
    const int* const rows =
        maps.row_of_assignment + std::int64_t(token) * maps.top_k;
    for (int k = 0; k < maps.top_k; ++k) {
      if (rows[k] < 0) continue;
      for (std::int64_t i = 0; i < length; ++i)
        *batch.at(rows[k], begin + i) = piece[i];
    }
  }
};

template <class ExecutionSpace, class From, class To>
void convertRows(const ExecutionSpace& space,
                 const ElementRows<const From>& tokens,
                 const ElementRows<To>& batch, std::size_t num_columns,
                 const RowMaps& maps) {
  constexpr auto label = "Tokkos::permute::convert";
  const auto width     = static_cast<std::int64_t>(num_columns);
  if constexpr (KokkosExt::is_host_execution_space_v<ExecutionSpace>) {
    KokkosExt::parallelFor(
        label,
        Kokkos::RangePolicy<ExecutionSpace, Kokkos::IndexType<int>>(
            space, 0, maps.num_tokens + maps.num_padded_experts),
        ConvertRowsHost<From, To>{tokens, batch, maps, width});
  } else {
    const auto launch = [&](auto length_constant) {
      constexpr int length         = decltype(length_constant)::value;
      const std::int64_t num_packs = width / length;
      const RowTiles tiles(maps.num_tokens, num_packs);
      forEachTile(
          label, space, maps.numPaddingTeams() + tiles.numTiles(),
          ConvertRows<From, To, length>{tokens, batch, maps, tiles, num_packs});
    };
    constexpr int length = pack_length<From, To>;
    if (isPacked<length>(tokens, num_columns) &&
        isPacked<length>(batch, num_columns))
      launch(std::integral_constant<int, length>());
    else
      launch(std::integral_constant<int, 1>());
  }
}

}  // namespace Tokkos::Impl

#endif
