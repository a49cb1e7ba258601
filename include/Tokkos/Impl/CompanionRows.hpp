// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// SPDX-FileCopyrightText: Copyright Contributors to the Tokkos project

#ifndef TOKKOS_IMPL_COMPANIONROWS_HPP
#define TOKKOS_IMPL_COMPANIONROWS_HPP

#include <Tokkos/Impl/RowMaps.hpp>
#include <Tokkos/Impl/RowPattern.hpp>
#include <Tokkos/Impl/RowTiles.hpp>
#include <Tokkos/KokkosExt/Launch.hpp>
#include <Tokkos/KokkosExt/Types.hpp>

#include <Kokkos_Core.hpp>

#include <cstddef>
#include <cstdint>
#include <tuple>

namespace Tokkos::Impl {

/// One array that goes along with the tokens: (t, k)'s row of it, at
/// t * token_stride + k * choice_stride bytes, becomes a row of the
/// destination.
struct Companion {
  const std::byte* source;
  std::int64_t token_stride;
  std::int64_t choice_stride;
  std::int64_t source_column_stride;
  RowPattern<std::byte> destination;
  RowShape shape;
};

/// The rows of all companions: batch row r takes those of its assignment, zeros
/// where it is padding. These arrays are small, so one kernel moves all of
/// them, and finds the size of their words as it goes.
template <int count>
struct CompanionRows {
  Companion companion[count];
  RowMaps maps;
  RowTiles tiles;

  /// Words of all companions in a row.
  KOKKOS_FUNCTION std::int64_t numWords() const {
    std::int64_t sum = 0;
    for (int c = 0; c < count; ++c)
      sum += companion[c].shape.num_words;
    return sum;
  }

  KOKKOS_FUNCTION void operator()(int tile, int thread) const {
    const RowTiles::Place place = tiles.place(tile, thread);
    if (place.row < *maps.num_rows)
      copyRow(place.row, place.word, place.stride);
  }

  /// One row, on a host.
  KOKKOS_FUNCTION void operator()(int row) const {
    if (row < *maps.num_rows) copyRow(row, 0, 1);
  }

 private:
  KOKKOS_FUNCTION void copyRow(std::int64_t row, std::int64_t first,
                               std::int64_t step) const {
    const int assignment   = maps.assignment_of_row[row];
    const std::int64_t end = numWords();
    for (std::int64_t i = first; i < end; i += step) {
      std::int64_t w = i;
      int c          = 0;
      while (w >= companion[c].shape.num_words)
        w -= companion[c++].shape.num_words;
      copyWord(companion[c], assignment, row, w);
    }
  }

  KOKKOS_FUNCTION void copyWord(const Companion& c, int assignment,
                                std::int64_t row, std::int64_t w) const {
    const std::int64_t per_column = c.shape.words_of_element == 0
                                        ? c.shape.num_words
                                        : c.shape.words_of_element;
    const std::int64_t column     = w / per_column;
    const std::int64_t offset = (w - column * per_column) * c.shape.word_bytes;
    std::byte* const to = c.destination.data + row * c.destination.row_stride +
                          column * c.destination.column_stride + offset;
    const std::byte* from = nullptr;
    if (assignment >= 0) {
      const int token  = assignment / maps.top_k;
      const int choice = assignment - token * maps.top_k;
      from = c.source + token * c.token_stride + choice * c.choice_stride +
             column * c.source_column_stride + offset;
    }
    switch (c.shape.word_bytes) {
      case 1:
        return move<1>(from, to);
      case 2:
        return move<2>(from, to);
      case 4:
        return move<4>(from, to);
      case 8:
        return move<8>(from, to);
      default:
        return move<16>(from, to);
    }
  }

  template <int bytes>
  KOKKOS_FUNCTION static void move(const std::byte* from, std::byte* to) {
    using Word = typename WordOf<bytes>::type;
    *reinterpret_cast<Word*>(to) =
        from != nullptr ? *reinterpret_cast<const Word*>(from) : Word{};
  }
};

/// \param companions an array of what has a Companion as its member `rows`
/// \param max_rows no batch has more rows than this
template <class ExecutionSpace, class Companions>
void moveCompanions(const ExecutionSpace& space, const Companions& companions,
                    int max_rows, const RowMaps& maps) {
  constexpr auto label   = "Tokkos::permute::companions";
  constexpr int count    = static_cast<int>(std::tuple_size_v<Companions>);
  std::int64_t num_words = 0;
  for (const auto& companion : companions)
    num_words += companion.rows.shape.num_words;
  if (num_words == 0 || max_rows == 0) return;
  CompanionRows<count> kernel{{}, maps, RowTiles(max_rows, num_words)};
  for (int c = 0; c < count; ++c)
    kernel.companion[c] = companions[static_cast<std::size_t>(c)].rows;
  if constexpr (KokkosExt::is_host_execution_space_v<ExecutionSpace>)
    KokkosExt::parallelFor(
        label,
        Kokkos::RangePolicy<ExecutionSpace, Kokkos::IndexType<int>>(space, 0,
                                                                    max_rows),
        kernel);
  else
    forEachTile(label, space, kernel.tiles.numTiles(), kernel);
}

}  // namespace Tokkos::Impl

#endif
