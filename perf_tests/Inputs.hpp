// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// SPDX-FileCopyrightText: Copyright Contributors to the Tokkos project

#ifndef TOKKOS_PERFTEST_INPUTS_HPP
#define TOKKOS_PERFTEST_INPUTS_HPP

#include "Models.hpp"

#include <Kokkos_Core.hpp>

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

// The Views that subjects work on.
namespace PerfTest {

template <class T, class MemorySpace>
using Array = Kokkos::View<T*, MemorySpace>;
template <class T, class MemorySpace>
using Matrix = Kokkos::View<T**, Kokkos::LayoutRight, MemorySpace>;

template <class View, class ExecutionSpace, class... Extents>
View allocate(const ExecutionSpace& space, const char* label,
              Extents... extents) {
  return View(Kokkos::view_alloc(space, Kokkos::WithoutInitializing,
                                 std::string("PerfTest::") + label),
              static_cast<std::size_t>(extents)...);
}

/// The ids of the workload, T x K.
template <class ExecutionSpace>
auto makeExpertIds(const ExecutionSpace& space, const Workload& workload,
                   int set) {
  using Ids       = Matrix<int, typename ExecutionSpace::memory_space>;
  const auto& ids = expertIds(workload, set % numSeeds(workload));
  const auto view =
      allocate<Ids>(space, "expert_ids", workload.tokens, workload.model.top_k);
  Kokkos::deep_copy(space, view,
                    Kokkos::View<const int**, Kokkos::LayoutRight,
                                 Kokkos::HostSpace, Kokkos::MemoryUnmanaged>(
                        ids.data(), view.extent(0), view.extent(1)));
  return view;
}

/// Numbers in [-1, 1) from a hash of place and seed.
template <class T>
struct FillRandom {
  T* data;
  std::uint32_t seed;

  KOKKOS_FUNCTION void operator()(std::int64_t i) const {
    // The finalizer of MurmurHash3.
    auto h = static_cast<std::uint32_t>(i) * 0x9e3779b9u + seed;
    h      = (h ^ (h >> 16)) * 0x85ebca6bu;
    h      = (h ^ (h >> 13)) * 0xc2b2ae35u;
    h ^= h >> 16;
    data[i] = static_cast<T>(static_cast<float>(h >> 8) * 0x1p-23f - 1.f);
  }
};

template <class ExecutionSpace, class Rows>
void fillRandom(const ExecutionSpace& space, const Rows& rows, int seed) {
  using T = typename Rows::value_type;
  Kokkos::parallel_for(
      "PerfTest::fill",
      Kokkos::RangePolicy<ExecutionSpace, Kokkos::IndexType<std::int64_t>>(
          space, 0, static_cast<std::int64_t>(rows.size())),
      FillRandom<T>{rows.data(), static_cast<std::uint32_t>(seed)});
}

/// A matrix of random numbers.
template <class T, class ExecutionSpace>
auto makeRandom(const ExecutionSpace& space, const char* label,
                std::int64_t rows, std::int64_t columns, int seed) {
  const auto view = allocate<Matrix<T, typename ExecutionSpace::memory_space>>(
      space, label, rows, columns);
  fillRandom(space, view, seed);
  return view;
}

/// Matrices that begin at a multiple of 2 MB, as the memory does that
/// frameworks allocate for large tensors. A View's own memory begins with 128
/// bytes of Kokkos', and rows that lie 128 bytes past a page's beginning cost a
/// GPU up to 5%; those that lie 4096 bytes past 2 MB, up to 1.5%.
template <class MemorySpace>
class AlignedMatrices {
 public:
  template <class T, class ExecutionSpace>
  Matrix<T, MemorySpace> allocate(const ExecutionSpace& space,
                                  const char* label, std::int64_t rows,
                                  std::int64_t columns) {
    constexpr std::uintptr_t alignment = std::uintptr_t(2) << 20;
    const auto size = static_cast<std::size_t>(rows * columns) * sizeof(T);
    m_memory.push_back(PerfTest::allocate<Array<std::byte, MemorySpace>>(
        space, label, size + alignment));
    const auto begin = reinterpret_cast<std::uintptr_t>(m_memory.back().data());
    std::byte* const aligned =
        m_memory.back().data() + (alignment - begin % alignment) % alignment;
    return Matrix<T, MemorySpace>(reinterpret_cast<T*>(aligned),
                                  static_cast<std::size_t>(rows),
                                  static_cast<std::size_t>(columns));
  }

  template <class T, class ExecutionSpace>
  Matrix<T, MemorySpace> makeRandom(const ExecutionSpace& space,
                                    const char* label, std::int64_t rows,
                                    std::int64_t columns, int seed) {
    const auto matrix = allocate<T>(space, label, rows, columns);
    fillRandom(space, matrix, seed);
    return matrix;
  }

 private:
  std::vector<Array<std::byte, MemorySpace>> m_memory;
};

}  // namespace PerfTest

#endif
