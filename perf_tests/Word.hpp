// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// SPDX-FileCopyrightText: Copyright Contributors to the Tokkos project

#ifndef TOKKOS_PERFTEST_WORD_HPP
#define TOKKOS_PERFTEST_WORD_HPP

#include <Kokkos_Core.hpp>

#include <cstdint>
#include <type_traits>

namespace PerfTest {

/// 16 bytes, the most that a thread of a GPU moves in one instruction.
struct alignas(16) Word {
  std::uint64_t half[2];
};

using Kokkos::Experimental::bhalf_t;

/// Where no enabled backend has a 16-bit type Kokkos makes it float: measuring
/// it would measure float twice.
inline constexpr bool has_bhalf = !std::is_same_v<bhalf_t, float>;

/// The type in the names of the benchmarks.
template <class T>
constexpr const char* typeName() {
  if constexpr (std::is_same_v<T, float>)
    return "float";
  else
    return "bhalf";
}

}  // namespace PerfTest

#endif
