// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// SPDX-FileCopyrightText: Copyright Contributors to the Tokkos project

#ifndef TOKKOS_IMPL_EXPERTTILES_HPP
#define TOKKOS_IMPL_EXPERTTILES_HPP

#include <Tokkos/Impl/ElementRows.hpp>
#include <Tokkos/Impl/ExpertData.hpp>
#include <Tokkos/KokkosExt/Team.hpp>
#include <Tokkos/KokkosExt/Types.hpp>

#include <Kokkos_Core.hpp>

#include <cstddef>
#include <cstdint>

// The products of all experts in one launch: a team computes a tile of one
// expert's result.
namespace Tokkos::Impl {

/// Rows of a tile of the batch: few where the experts have few.
inline constexpr int few_tile_rows  = 16;
inline constexpr int many_tile_rows = 64;

/// Tile slots that any number of rows up to this needs.
inline std::size_t maxExpertTiles(int max_rows, int num_experts) {
  return static_cast<std::size_t>(max_rows / few_tile_rows) +
         static_cast<std::size_t>(num_experts);
}

/// Fills expert_of_tile: which expert a tile slot belongs to, -1 for none.
struct FindTiles {
  int* expert_of_tile;
  const int* offsets;
  const int* counts;
  int num_experts;
  int tile_rows;

  KOKKOS_FUNCTION void operator()(int tile) const {
    int expert = 0;
    int end    = num_experts;  // the last expert that begins at or before it
    while (end - expert > 1) {
      const int middle = (expert + end) / 2;
      if (first(middle) <= tile)
        expert = middle;
      else
        end = middle;
    }
    const bool used =
        (tile - first(expert)) * std::int64_t(tile_rows) < counts[expert];
    expert_of_tile[tile] = used ? expert : -1;
  }

 private:
  KOKKOS_FUNCTION int first(int expert) const {
    return ExpertRows::firstTile(offsets[expert], tile_rows, expert);
  }
};

/// Numbers that are loaded at once where addresses allow it: 16 bytes.
template <class Real>
inline constexpr int load_pack = 16 / static_cast<int>(sizeof(Real));

/// Whether rows of so many numbers can be loaded so.
template <class Real>
bool isPackable(const Real* data, std::int64_t stride, int columns) {
  return reinterpret_cast<std::uintptr_t>(data) % 16 == 0 &&
         stride % load_pack<Real> == 0 && columns % load_pack<Real> == 0;
}

/// A factor of a product, seen as `outer` vectors of `depth` numbers each.
/// Either the numbers of a vector lie side by side or the vectors do; packed:
/// where isPackable.
template <class Number, bool depth_is_contiguous, bool packed>
struct Factor {
  using Real                       = Number;
  static constexpr bool contiguous = depth_is_contiguous;
  static constexpr int pack        = packed ? load_pack<Real> : 1;

  const Real* data;
  std::int64_t stride;
  int outer;

  KOKKOS_FORCEINLINE_FUNCTION Real at(int o, int d) const {
    return contiguous ? data[o * stride + d] : data[d * stride + o];
  }
};

/// c(m, n) = sum over d of a(m, d) * b(n, d), a tile of it.
///
/// A team of a device brings slices of the factors to scratch memory while it
/// computes with those before; a thread sums rows_of_thread x
/// columns_of_thread results, in ascending order of d. A thread of a host
/// computes the tile alone.
template <class ExecutionSpace, class Real, int tile_rows>
struct TileProduct {
  static constexpr int tile_columns      = 64;
  static constexpr int column_threads    = 16;
  static constexpr int row_threads       = 8;
  static constexpr int rows_of_thread    = tile_rows / row_threads;
  static constexpr int columns_of_thread = tile_columns / column_threads;
  static constexpr bool on_host =
      KokkosExt::is_host_execution_space_v<ExecutionSpace>;
  static constexpr int team_size = on_host ? 1 : column_threads * row_threads;

  // Four numbers are read from scratch memory at once; four more between
  // vectors keep the threads of a warp out of each other's banks.
  static constexpr int pack   = 4;
  static constexpr int slice  = sizeof(Real) == 4 ? 32 : 16;
  static constexpr int stride = slice + pack;
  static constexpr int scratch_bytes =
      on_host ? 0
              : (tile_rows + tile_columns) * stride *
                    static_cast<int>(sizeof(Real));

  /// Calls write(m, n, sum) for every element of the tile.
  template <class Team, class A, class B, class Write>
  KOKKOS_FORCEINLINE_FUNCTION static void compute(const Team& team, const A& a,
                                                  const B& b, int depth,
                                                  const Write& write) {
    if constexpr (on_host)
      computeAlone(a, b, depth, write);
    else
      computeTogether(team, a, b, depth, write);
  }

 private:
  template <class A, class B, class Write>
  KOKKOS_FUNCTION static void computeAlone(const A& a, const B& b, int depth,
                                           const Write& write) {
    const int rows    = a.outer < tile_rows ? a.outer : tile_rows;
    const int columns = b.outer < tile_columns ? b.outer : tile_columns;
    for (int m = 0; m < rows; ++m) {
      Real sums[tile_columns] = {};
      for (int d = 0; d < depth; ++d) {
        const Real factor = a.at(m, d);
        for (int n = 0; n < columns; ++n)
          sums[n] += factor * b.at(n, d);
      }
      for (int n = 0; n < columns; ++n)
        write(m, n, sums[n]);
    }
  }

  /// One thread's part of a slice, on its way to scratch memory: packs of
  /// numbers side by side, each so many vectors or numbers behind the last.
  template <int outer, class From>
  struct Slice {
    static constexpr int line = (From::contiguous ? slice : outer) / From::pack;
    static constexpr int lines = team_size / line;
    static constexpr int packs = outer * slice / team_size / From::pack;
    static_assert(team_size % line == 0 && packs > 0);
    using Values = Pack<Real, From::pack>;

    Values values[packs];

    KOKKOS_FORCEINLINE_FUNCTION void load(int rank, const From& from, int begin,
                                          int depth) {
      const int along    = rank % line * From::pack;
      const int across   = rank / line;
      const int o        = From::contiguous ? across : along;
      const int d        = begin + (From::contiguous ? along : across);
      const Real* source = from.data +
                           (From::contiguous ? o : d) * from.stride +
                           (From::contiguous ? d : o);
      for (int i = 0; i < packs; ++i) {
        const bool inside = From::contiguous
                                ? o + i * lines < from.outer && d < depth
                                : o < from.outer && d + i * lines < depth;
        values[i] =
            inside ? *reinterpret_cast<const Values*>(source) : Values{};
        source += lines * from.stride;
      }
    }
    KOKKOS_FORCEINLINE_FUNCTION void store(int rank, Real* scratch) const {
      const int along  = rank % line * From::pack;
      const int across = rank / line;
      for (int i = 0; i < packs; ++i)
        if constexpr (From::contiguous)
          *reinterpret_cast<Values*>(scratch + (across + i * lines) * stride +
                                     along) = values[i];
        else
          for (int p = 0; p < From::pack; ++p)
            scratch[(along + p) * stride + across + i * lines] =
                values[i].value[p];
    }
  };

  template <class Team, class A, class B, class Write>
  KOKKOS_FORCEINLINE_FUNCTION static void computeTogether(const Team& team,
                                                          const A& a,
                                                          const B& b, int depth,
                                                          const Write& write) {
    using Values            = Pack<Real, pack>;
    Real* const x           = static_cast<Real*>(team.scratch());
    Real* const y           = x + tile_rows * stride;
    const int rank          = team.team_rank();
    const int thread_row    = rank / column_threads;
    const int thread_column = rank % column_threads;

    Slice<tile_rows, A> next_a;
    Slice<tile_columns, B> next_b;
    Real sums[rows_of_thread][columns_of_thread] = {};
    next_a.load(rank, a, 0, depth);
    next_b.load(rank, b, 0, depth);
    for (int begin = 0; begin < depth; begin += slice) {
      team.team_barrier();
      next_a.store(rank, x);
      next_b.store(rank, y);
      team.team_barrier();
      if (begin + slice < depth) {
        next_a.load(rank, a, begin + slice, depth);
        next_b.load(rank, b, begin + slice, depth);
      }
      for (int d = 0; d < slice; d += pack) {
        Values from_b[columns_of_thread];
        for (int j = 0; j < columns_of_thread; ++j)
          from_b[j] = *reinterpret_cast<const Values*>(
              y + (thread_column + column_threads * j) * stride + d);
        for (int i = 0; i < rows_of_thread; ++i) {
          const Values from_a = *reinterpret_cast<const Values*>(
              x + (thread_row + row_threads * i) * stride + d);
          for (int p = 0; p < pack; ++p)
            for (int j = 0; j < columns_of_thread; ++j)
              sums[i][j] += from_a.value[p] * from_b[j].value[p];
        }
      }
    }
    for (int i = 0; i < rows_of_thread; ++i)
      for (int j = 0; j < columns_of_thread; ++j) {
        const int m = thread_row + row_threads * i;
        const int n = thread_column + column_threads * j;
        if (m < a.outer && n < b.outer) write(m, n, sums[i][j]);
      }
  }
};

/// Rows of the batch times the matrix of their expert: to = from * matrix^T, or
/// from * matrix. With a bias, or added to what was there.
template <class ExecutionSpace, class Real, int tile_rows, bool transposed,
          bool packed>
struct RowsProduct {
  using Tile = TileProduct<ExecutionSpace, Real, tile_rows>;
  static constexpr int max_team_size = Tile::team_size;

  ExpertRows tiles;
  BatchMatrix<const Real> from;
  ExpertMatrices<const Real> matrices;
  BatchMatrix<Real> to;
  ExpertVectors<const Real> bias;
  bool accumulate;

  template <class Team>
  KOKKOS_FUNCTION void operator()(const Team& team) const {
    const int column_tile = team.league_rank() / tiles.num_tiles;
    const int tile        = team.league_rank() - column_tile * tiles.num_tiles;
    const ExpertRows rows = tiles.ofTile(tile);
    if (rows.expert < 0) return;

    const int first = column_tile * Tile::tile_columns;
    const int width = to.columns - first;
    const Factor<Real, true, packed> a{from.row(rows.first), from.row_stride,
                                       rows.count};
    const Real* const matrix = matrices.of(rows.expert);
    const Factor<Real, transposed, packed> b{
        transposed ? matrix + first * matrices.row_stride : matrix + first,
        matrices.row_stride, width};
    const auto write = [&](int m, int n, Real sum) {
      Real* const element = to.row(rows.first + m) + first + n;
      if (bias.exists()) sum += bias.of(rows.expert)[first + n];
      *element = accumulate ? *element + sum : sum;
    };
    Tile::compute(team, a, b, from.columns, write);
  }
};

/// matrix = a^T * b over the rows of every expert; zeros without rows.
template <class ExecutionSpace, class Real, bool packed>
struct WeightsProduct {
  using Tile = TileProduct<ExecutionSpace, Real, many_tile_rows>;
  static constexpr int max_team_size = Tile::team_size;

  const int* offsets;
  const int* counts;
  BatchMatrix<const Real> left, right;
  ExpertMatrices<Real> matrices;
  int row_tiles, column_tiles;

  template <class Team>
  KOKKOS_FUNCTION void operator()(const Team& team) const {
    const int line    = team.league_rank() / column_tiles;
    const int expert  = line / row_tiles;
    const int m_first = (line - expert * row_tiles) * many_tile_rows;
    const int n_first =
        (team.league_rank() - line * column_tiles) * Tile::tile_columns;
    const int row = offsets[expert];
    const Factor<Real, false, packed> a{
        left.row(row) + m_first, left.row_stride, matrices.rows - m_first};
    const Factor<Real, false, packed> b{
        right.row(row) + n_first, right.row_stride, matrices.columns - n_first};
    Real* const matrix = matrices.of(expert);
    const auto write   = [&](int m, int n, Real sum) {
      matrix[(m_first + m) * matrices.row_stride + n_first + n] = sum;
    };
    Tile::compute(team, a, b, counts[expert], write);
  }
};

}  // namespace Tokkos::Impl

#endif
