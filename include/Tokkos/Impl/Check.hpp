// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// SPDX-FileCopyrightText: Copyright Contributors to the Tokkos project

#ifndef TOKKOS_IMPL_CHECK_HPP
#define TOKKOS_IMPL_CHECK_HPP

#include <Kokkos_Core.hpp>

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>

/// Checks of arguments on the host. Each throws std::invalid_argument with
/// "Tokkos::verb: argument: expected ..., got ...".
namespace Tokkos::Impl {

[[noreturn]] void throwInvalidArgument(std::string_view function,
                                       std::string_view argument,
                                       std::string_view expected,
                                       std::string_view actual);

/// view.extent(dimension) must equal `expected`, which is known to the user as
/// `meaning`.
void checkExtent(std::string_view function, std::string_view view,
                 int dimension, std::size_t actual, std::size_t expected,
                 std::string_view meaning);

/// view.extent(dimension) must be `minimum` or more.
void checkExtentAtLeast(std::string_view function, std::string_view view,
                        int dimension, std::size_t actual, std::size_t minimum,
                        std::string_view meaning);

/// low <= value <= high; `meaning` says where the bounds come from.
void checkRange(std::string_view function, std::string_view argument,
                std::int64_t value, std::int64_t low, std::int64_t high,
                std::string_view meaning);

/// The bytes behind a View of rank 1 or 2: `rows` runs of `row_bytes` each,
/// `stride` bytes from one to the next.
struct MemoryRegion {
  std::uintptr_t begin;
  std::size_t rows;
  std::size_t row_bytes;
  std::size_t stride;
};

template <class View>
MemoryRegion memoryRegion(const View& view) {
  static_assert(View::rank() == 1 || View::rank() == 2);
  constexpr std::size_t size = sizeof(typename View::value_type);
  MemoryRegion region{reinterpret_cast<std::uintptr_t>(view.data()), 1, 0, 0};
  // Not view.size(), which may be 0 where only the memory is missing.
  for (std::size_t d = 0; d < View::rank(); ++d)
    if (view.extent(d) == 0) return region;
  const auto last = [&](int d) {
    return (view.extent(d) - 1) * view.stride(d);
  };
  if constexpr (View::rank() == 1) {
    region.row_bytes = (last(0) + 1) * size;
  } else {
    const int outer  = view.stride(0) >= view.stride(1) ? 0 : 1;
    region.rows      = view.extent(outer);
    region.stride    = view.stride(outer) * size;
    region.row_bytes = (last(1 - outer) + 1) * size;
  }
  return region;
}

/// A View that has elements must have memory too.
void checkMemory(std::string_view function, std::string_view name,
                 const MemoryRegion& region);

/// Both arguments have memory, and must not share a byte. Two windows of
/// columns of one matrix are told apart; of other interleaved Views the whole
/// span counts.
void checkDisjoint(std::string_view function, std::string_view first_name,
                   const MemoryRegion& first, std::string_view second_name,
                   const MemoryRegion& second);

struct NamedRegion {
  std::string name;
  MemoryRegion region;
};

/// No output may share a byte with an input or with another output.
void checkAllDisjoint(std::string_view function,
                      std::span<const NamedRegion> inputs,
                      std::span<const NamedRegion> outputs);

}  // namespace Tokkos::Impl

#endif
