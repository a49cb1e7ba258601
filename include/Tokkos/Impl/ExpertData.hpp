// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// SPDX-FileCopyrightText: Copyright Contributors to the Tokkos project

#ifndef TOKKOS_IMPL_EXPERTDATA_HPP
#define TOKKOS_IMPL_EXPERTDATA_HPP

#include <Tokkos/KokkosExt/Types.hpp>

#include <Kokkos_Core.hpp>

#include <cstdint>
#include <type_traits>

// What the experts' kernels see: matrices of rows of the batch, a matrix or a
// vector for every expert, and which rows are whose.
namespace Tokkos::Impl {

/// Rows of the batch; the columns lie side by side.
template <class Real>
struct BatchMatrix {
  Real* data              = nullptr;
  std::int64_t row_stride = 0;
  int columns             = 0;

  KOKKOS_FUNCTION Real* row(std::int64_t r) const {
    return data + r * row_stride;
  }
  BatchMatrix window(int first, int width) const {
    return {data + first, row_stride, width};
  }
};

/// A row-major matrix for every expert.
template <class Real>
struct ExpertMatrices {
  Real* data                 = nullptr;
  std::int64_t expert_stride = 0;
  std::int64_t row_stride    = 0;
  int rows                   = 0;
  int columns                = 0;

  bool exists() const { return data != nullptr; }
  KOKKOS_FUNCTION Real* of(std::int64_t expert) const {
    return data + expert * expert_stride;
  }
  ExpertMatrices rowWindow(int first, int number) const {
    if (!exists()) return {};
    return {data + first * row_stride, expert_stride, row_stride, number,
            columns};
  }
};

/// A vector for every expert, or none at all.
template <class Real>
struct ExpertVectors {
  Real* data                 = nullptr;
  std::int64_t expert_stride = 0;
  int length                 = 0;

  KOKKOS_FUNCTION bool exists() const { return data != nullptr; }
  KOKKOS_FUNCTION Real* of(std::int64_t expert) const {
    return data + expert * expert_stride;
  }
  ExpertVectors window(int first, int number) const {
    if (!exists()) return {};
    return {data + first, expert_stride, number};
  }
};

template <class View>
auto batchMatrix(const View& view) {
  return BatchMatrix<typename View::value_type>{
      view.data(), static_cast<std::int64_t>(view.stride(0)),
      static_cast<int>(view.extent(1))};
}

template <class View>
auto constBatchMatrix(const View& view) {
  return BatchMatrix<typename View::const_value_type>{
      view.data(), static_cast<std::int64_t>(view.stride(0)),
      static_cast<int>(view.extent(1))};
}

template <class View>
ExpertMatrices<typename View::value_type> expertMatrices(const View& view) {
  if (view.size() == 0) return {};
  return {view.data(), static_cast<std::int64_t>(view.stride(0)),
          static_cast<std::int64_t>(view.stride(1)),
          static_cast<int>(view.extent(1)), static_cast<int>(view.extent(2))};
}

template <class View>
ExpertVectors<typename View::value_type> expertVectors(const View& view) {
  if (view.size() == 0) return {};
  return {view.data(), static_cast<std::int64_t>(view.stride(0)),
          static_cast<int>(view.extent(1))};
}

/// The weights of a layer. `together` are gate and up where they are kept so,
/// else those two exist; their biases are taken apart in any case.
template <class Real>
struct ExpertMatrixSet {
  ExpertMatrices<Real> together, gate, up, down;
  ExpertVectors<Real> gate_bias, up_bias, down_bias;
};

template <class Weights>
auto expertMatrixSet(const Weights& w, int inner_size) {
  using Real = typename Weights::Matrices::value_type;
  ExpertMatrixSet<Real> set;
  set.together         = expertMatrices(w.gate_up);
  set.gate             = expertMatrices(w.gate);
  set.up               = expertMatrices(w.up);
  set.down             = expertMatrices(w.down);
  set.down_bias        = expertVectors(w.down_bias);
  const auto biases    = expertVectors(w.gate_up_bias);
  const bool has_pairs = biases.exists();
  set.gate_bias =
      has_pairs ? biases.window(0, inner_size) : expertVectors(w.gate_bias);
  set.up_bias = has_pairs ? biases.window(inner_size, inner_size)
                          : expertVectors(w.up_bias);
  return set;
}

/// A row that a kernel works on, and its expert; row < 0: none.
struct ExpertRow {
  int row;
  int expert;
};

/// The rows of one expert, or those of all in tiles.
///
/// Tile slots of expert e begin at offsets[e] / tile_rows + e: so they never
/// overlap, need no scan, and at most one slot an expert stays empty.
struct ExpertRows {
  // Of one expert.
  int first  = 0;
  int count  = 0;
  int expert = 0;

  // Of all.
  const int* expert_of_tile = nullptr;
  const int* offsets        = nullptr;
  const int* counts         = nullptr;
  int tile_rows             = 1;
  int num_tiles             = 0;

  KOKKOS_FUNCTION static int firstTile(int offset, int tile_rows, int expert) {
    return offset / tile_rows + expert;
  }

  /// The rows of a tile slot; none when it is empty.
  KOKKOS_FUNCTION ExpertRows ofTile(int tile) const {
    ExpertRows rows;
    rows.expert = expert_of_tile[tile];
    if (rows.expert < 0) return rows;
    const int offset = offsets[rows.expert];
    const int begin =
        (tile - firstTile(offset, tile_rows, rows.expert)) * tile_rows;
    rows.first = offset + begin;
    rows.count = Kokkos::min(tile_rows, counts[rows.expert] - begin);
    return rows;
  }

  /// How many rows a kernel has to look at, a bound where all are meant.
  int numPlaces() const {
    return expert_of_tile == nullptr ? count : num_tiles * tile_rows;
  }

  KOKKOS_FUNCTION ExpertRow place(int i) const {
    if (expert_of_tile == nullptr) return {first + i, expert};
    const int tile        = i / tile_rows;
    const ExpertRows rows = ofTile(tile);
    const int m           = i - tile * tile_rows;
    return {m < rows.count ? rows.first + m : -1, rows.expert};
  }
};

/// Threads of a team that share the columns of a row among them.
template <class ExecutionSpace>
inline constexpr int row_team_size =
    KokkosExt::is_host_execution_space_v<ExecutionSpace> ? 1 : 128;

}  // namespace Tokkos::Impl

#endif
