// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// SPDX-FileCopyrightText: Copyright Contributors to the Tokkos project

#ifndef TOKKOS_IMPL_ELEMENTROWS_HPP
#define TOKKOS_IMPL_ELEMENTROWS_HPP

#include <Kokkos_Core.hpp>

#include <cstddef>
#include <cstdint>
#include <type_traits>

// Rows of numbers, for what computes with them: where the elements of a View of
// rank 2 lie, whatever its layout.
namespace Tokkos::Impl {

/// `length` numbers that lie side by side and move together.
template <class T, int length>
struct alignas(length * sizeof(T) < 16 ? length * sizeof(T) : 16) Pack {
  T value[length];
};

/// The bytes of a pack, before it is known whether there is one: a compiler
/// keeps words that were read, or not read, in fewer registers than numbers.
template <int bytes>
struct alignas(bytes < 16 ? bytes : 16) RawPack {
  std::uint32_t word[bytes / 4];
};

/// A real number in another type. The two types of 16 bits know each other
/// through float only, which holds every number of both.
template <class To, class From>
KOKKOS_FORCEINLINE_FUNCTION To convertReal(const From& number) {
  constexpr bool both_short = sizeof(To) == 2 && sizeof(From) == 2;
  if constexpr (both_short && !std::is_same_v<To, From>)
    return static_cast<To>(static_cast<float>(number));
  else
    return static_cast<To>(number);
}

template <class T>
struct ElementRows {
  T* data;
  std::int64_t row_stride;
  std::int64_t column_stride;

  KOKKOS_FORCEINLINE_FUNCTION T* at(std::int64_t row,
                                    std::int64_t column) const {
    return data + row * row_stride + column * column_stride;
  }

  /// Pack number `i` of a row. pre-condition: isPacked<length>(*this, ...)
  template <int length>
  KOKKOS_FORCEINLINE_FUNCTION auto* pack(std::int64_t row,
                                         std::int64_t i) const {
    using Packed = Pack<std::remove_const_t<T>, length>;
    using Cell   = std::conditional_t<std::is_const_v<T>, const Packed, Packed>;
    return reinterpret_cast<Cell*>(data + row * row_stride) + i;
  }
};

/// Zeroes every step-th element of a row, from `first` on.
template <class T>
KOKKOS_FUNCTION void zeroElements(const ElementRows<T>& rows, std::int64_t row,
                                  std::int64_t num_columns, int first,
                                  int step) {
  for (std::int64_t h = first; h < num_columns; h += step)
    *rows.at(row, h) = static_cast<T>(0.0f);
}

template <class View>
auto elementRows(const View& view) {
  return ElementRows<typename View::value_type>{
      view.data(), static_cast<std::int64_t>(view.stride(0)),
      static_cast<std::int64_t>(view.stride(1))};
}

template <class View>
auto constElementRows(const View& view) {
  return ElementRows<typename View::const_value_type>{
      view.data(), static_cast<std::int64_t>(view.stride(0)),
      static_cast<std::int64_t>(view.stride(1))};
}

/// Whether rows of so many elements can be taken as packs.
template <int length, class T>
bool isPacked(const ElementRows<T>& rows, std::size_t num_columns) {
  constexpr std::size_t alignment =
      alignof(Pack<std::remove_const_t<T>, length>);
  return rows.column_stride == 1 && num_columns % length == 0 &&
         reinterpret_cast<std::uintptr_t>(rows.data) % alignment == 0 &&
         static_cast<std::size_t>(rows.row_stride) * sizeof(T) % alignment == 0;
}

/// As many numbers as fill 16 bytes of the narrowest type.
template <class... T>
inline constexpr int pack_length =
    16 / static_cast<int>(Kokkos::min({sizeof(T)...}));

}  // namespace Tokkos::Impl

#endif
