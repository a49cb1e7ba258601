// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// SPDX-FileCopyrightText: Copyright Contributors to the Tokkos project

#ifndef TOKKOS_IMPL_ROWPATTERN_HPP
#define TOKKOS_IMPL_ROWPATTERN_HPP

#include <Kokkos_Core.hpp>

#include <cstddef>
#include <cstdint>
#include <type_traits>

// Copying rows needs no knowledge of their type: a row is so many words.
namespace Tokkos::Impl {

/// 16 bytes that move in one instruction.
struct alignas(16) Word16 {
  std::uint64_t half[2];
};

template <int bytes>
struct WordOf;
template <>
struct WordOf<1> {
  using type = std::uint8_t;
};
template <>
struct WordOf<2> {
  using type = std::uint16_t;
};
template <>
struct WordOf<4> {
  using type = std::uint32_t;
};
template <>
struct WordOf<8> {
  using type = std::uint64_t;
};
template <>
struct WordOf<16> {
  using type = Word16;
};

/// Where the rows of a View of rank 2 lie, in bytes.
template <class Byte>
struct RowPattern {
  Byte* data;
  std::int64_t row_stride;
  std::int64_t column_stride;
};

template <class View>
auto rowPattern(const View& view) {
  using Value = typename View::value_type;
  using Byte =
      std::conditional_t<std::is_const_v<Value>, const std::byte, std::byte>;
  constexpr auto size = static_cast<std::int64_t>(sizeof(Value));
  return RowPattern<Byte>{
      reinterpret_cast<Byte*>(view.data()),
      // A single row has no distance to the next, a single column neither.
      view.extent(0) > 1 ? static_cast<std::int64_t>(view.stride(0)) * size : 0,
      view.extent(1) > 1 ? static_cast<std::int64_t>(view.stride(1)) * size
                         : size};
}

/// A row as words: `words_of_element` of them in every element, or, when the
/// elements of both Views lie side by side, in every row.
struct RowShape {
  int word_bytes;
  std::int64_t num_words;
  std::int64_t words_of_element;  // 0: contiguous rows

  KOKKOS_FUNCTION std::int64_t rowBytes() const {
    return num_words * word_bytes;
  }
};

template <class Source, class Destination>
RowShape rowShape(const RowPattern<Source>& source,
                  const RowPattern<Destination>& destination,
                  std::size_t element_bytes, std::size_t num_elements) {
  const auto size = static_cast<std::int64_t>(element_bytes);
  const bool contiguous =
      source.column_stride == size && destination.column_stride == size;
  const std::int64_t run =
      contiguous ? size * static_cast<std::int64_t>(num_elements) : size;
  std::uint64_t bits = reinterpret_cast<std::uintptr_t>(source.data) |
                       reinterpret_cast<std::uintptr_t>(destination.data) |
                       static_cast<std::uint64_t>(source.row_stride |
                                                  destination.row_stride | run);
  if (!contiguous)
    bits |= static_cast<std::uint64_t>(source.column_stride |
                                       destination.column_stride);
  // The largest power of two, up to 16, that divides all of them.
  bits |= 16;
  const auto word = static_cast<int>(bits & (~bits + 1));
  return {
      word,
      run / word * (contiguous ? 1 : static_cast<std::int64_t>(num_elements)),
      contiguous ? 0 : run / word};
}

/// Word `w` of row `row`.
template <class Word, bool Contiguous, class Byte>
KOKKOS_FORCEINLINE_FUNCTION auto& wordOfRow(const RowPattern<Byte>& rows,
                                            const RowShape& shape,
                                            std::int64_t row, std::int64_t w) {
  using Cell = std::conditional_t<std::is_const_v<Byte>, const Word, Word>;
  Byte* const begin = rows.data + row * rows.row_stride;
  if constexpr (Contiguous) {
    return reinterpret_cast<Cell*>(begin)[w];
  } else {
    const std::int64_t column = w / shape.words_of_element;
    const std::int64_t part   = w - column * shape.words_of_element;
    return reinterpret_cast<Cell*>(begin + column * rows.column_stride)[part];
  }
}

/// Zeroes every step-th word of a row, from `first` on.
template <class Word, bool Contiguous>
KOKKOS_FUNCTION void zeroWords(const RowPattern<std::byte>& rows,
                               const RowShape& shape, std::int64_t row,
                               int first, int step) {
  for (std::int64_t w = first; w < shape.num_words; w += step)
    wordOfRow<Word, Contiguous>(rows, shape, row, w) = Word{};
}

/// Calls f with the word type (as a null pointer) and with whether rows are
/// contiguous (as a std::bool_constant).
template <class F>
void withRowShape(const RowShape& shape, const F& f) {
  const auto with_layout = [&](auto* word) {
    if (shape.words_of_element == 0)
      f(word, std::true_type());
    else
      f(word, std::false_type());
  };
  switch (shape.word_bytes) {
    case 1:
      return with_layout(static_cast<WordOf<1>::type*>(nullptr));
    case 2:
      return with_layout(static_cast<WordOf<2>::type*>(nullptr));
    case 4:
      return with_layout(static_cast<WordOf<4>::type*>(nullptr));
    case 8:
      return with_layout(static_cast<WordOf<8>::type*>(nullptr));
    default:
      return with_layout(static_cast<WordOf<16>::type*>(nullptr));
  }
}

}  // namespace Tokkos::Impl

#endif
