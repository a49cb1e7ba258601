// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// SPDX-FileCopyrightText: Copyright Contributors to the Tokkos project

#ifndef TOKKOS_GUIDE_HPP
#define TOKKOS_GUIDE_HPP

#include <Tokkos.hpp>

#include <cmath>
#include <cstdlib>
#include <initializer_list>
#include <iostream>
#include <source_location>
#include <string>
#include <string_view>
#include <type_traits>
#include <vector>

// What the programs of the guide take for granted.

/// A token's values lie side by side, also on a device.
template <class T>
using Matrix = Kokkos::View<T**, Kokkos::LayoutRight>;
template <class T>
using Array = Kokkos::View<T*>;

/// The View says of what type the numbers are.
template <class T>
using Values = std::initializer_list<std::type_identity_t<T>>;

template <class T>
void fill(const Matrix<T>& view, std::initializer_list<Values<T>> rows) {
  const auto host = Kokkos::create_mirror_view(view);
  std::size_t i   = 0;
  for (const auto& row : rows) {
    std::size_t j = 0;
    for (const T value : row)
      host(i, j++) = value;
    ++i;
  }
  Kokkos::deep_copy(view, host);
}

template <class T>
void fill(const Array<T>& view, Values<T> values) {
  const auto host = Kokkos::create_mirror_view(view);
  std::size_t i   = 0;
  for (const T value : values)
    host(i++) = value;
  Kokkos::deep_copy(view, host);
}

/// Waits for the device and copies.
template <class View>
auto onHost(const View& view) {
  Kokkos::fence();
  const auto host = Kokkos::create_mirror(Kokkos::HostSpace(), view);
  Kokkos::deep_copy(host, view);
  return host;
}

/// One line: the name and the values, the rows of a matrix apart.
template <class View>
void print(const char* name, const View& view) {
  const auto host = onHost(view);
  std::cout << name << ':';
  if constexpr (View::rank() == 0) {
    std::cout << ' ' << host();
  } else if constexpr (View::rank() == 1) {
    for (std::size_t i = 0; i < host.extent(0); ++i)
      std::cout << ' ' << host(i);
  } else {
    for (std::size_t i = 0; i < host.extent(0); ++i) {
      if (i > 0) std::cout << "  |";
      for (std::size_t j = 0; j < host.extent(1); ++j)
        std::cout << ' ' << host(i, j);
    }
  }
  std::cout << '\n';
}

/// Both are contiguous and have their values in the same order.
template <class Left, class Right>
bool sameValues(const Left& left, const Right& right) {
  const auto a = onHost(left);
  const auto b = onHost(right);
  for (std::size_t i = 0; i < a.size(); ++i)
    if (a.data()[i] != b.data()[i]) return false;
  return a.size() == b.size();
}

/// Ends the program when the guide is wrong.
inline void check(bool holds, const std::source_location& where =
                                  std::source_location::current()) {
  if (holds) return;
  std::cerr << where.file_name() << ':' << where.line() << ": does not hold\n";
  std::exit(1);
}

/// Runs the program of a page; false when there is none of that name.
bool runPage(std::string_view page);

#endif
