// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// SPDX-FileCopyrightText: Copyright Contributors to the Tokkos project

#ifndef TOKKOS_IMPL_ROUTERTOKENROW_HPP
#define TOKKOS_IMPL_ROUTERTOKENROW_HPP

#include <Tokkos/Impl/RouterData.hpp>
#include <Tokkos/Impl/RouterGroups.hpp>
#include <Tokkos/KokkosExt/Loop.hpp>
#include <Tokkos/KokkosExt/Rounding.hpp>

#include <Kokkos_Core.hpp>

#include <cstdint>

/// The logits or keys of a token, in registers, in scratch memory or computed
/// from memory, with the same ways to go through them.
namespace Tokkos::Impl {

/// The rest of a sum over experts: the lanes' sums pairwise, l and l + lanes /
/// 2 and so on. All lanes get the sum.
template <class Lanes, int lanes, class Real>
KOKKOS_FORCEINLINE_FUNCTION Real addLanes(Real sum) {
  for (int distance = lanes / 2; distance > 0; distance /= 2)
    sum = KokkosExt::add(sum, Lanes::exchange(sum, distance));
  return sum;
}

/// The logits or keys of a token as its lanes hold them: lane l has the chunks
/// of four neighbouring experts l, l + lanes, l + 2 * lanes, ... Excluded
/// experts are -infinity, and so are places behind the last expert.
template <class Data, int lanes, int chunks>
class RouterRegisters {
  using Real = typename Data::Real;

 public:
  static constexpr int size = 4 * chunks;

  /// `aligned`: a chunk can be read as one word.
  KOKKOS_FORCEINLINE_FUNCTION RouterRegisters(const Data& data, bool aligned,
                                              int token, int lane) {
    if (aligned)
      loadChunks(data, &data.logits(token, 0), lane);
    else
      loadNumbers(data, &data.logits(token, 0), lane);
  }

  /// fill(expert, x, ...) gives the four numbers from this expert on.
  template <class Fill>
  KOKKOS_FORCEINLINE_FUNCTION RouterRegisters(int lane, const Fill& fill) {
    forEachChunk(lane, fill);
  }

  /// Calls f(x, expert) for everything that the lane has.
  template <class F>
  KOKKOS_FORCEINLINE_FUNCTION void forEach(int lane, const F& f) const {
    KokkosExt::unrolledLoop<size>([&](int i) { f(m_x[i], expertAt(i, lane)); });
  }

  /// Calls f(expert, x, ...) with the first expert of every chunk and its four
  /// numbers.
  template <class F>
  KOKKOS_FORCEINLINE_FUNCTION void forEachChunk(int lane, const F& f) {
    KokkosExt::unrolledLoop<chunks>([&](int c) {
      f(expertAt(4 * c, lane), m_x[4 * c], m_x[4 * c + 1], m_x[4 * c + 2],
        m_x[4 * c + 3]);
    });
  }

  template <class F>
  KOKKOS_FORCEINLINE_FUNCTION void forEachChunk(int lane, const F& f) const {
    KokkosExt::unrolledLoop<chunks>([&](int c) {
      f(expertAt(4 * c, lane), m_x[4 * c], m_x[4 * c + 1], m_x[4 * c + 2],
        m_x[4 * c + 3]);
    });
  }

  /// Replaces x by f(x, expert).
  template <class F>
  KOKKOS_FORCEINLINE_FUNCTION void transform(int lane, const F& f) {
    KokkosExt::unrolledLoop<size>(
        [&](int i) { m_x[i] = f(m_x[i], expertAt(i, lane)); });
  }

  /// The sum over all experts of f(x): 32 partial sums, number p over the
  /// chunks p, p + 32, ..., each of four sums that are added pairwise; then
  /// the partial sums pairwise, p and p + 16, then p and p + 8, ...
  template <class Lanes, class F>
  KOKKOS_FORCEINLINE_FUNCTION Real sum(int /*lane*/, const F& f) const {
    constexpr int columns = 32 / lanes;
    constexpr int used    = columns < chunks ? columns : chunks;
    Real partial[4 * used];
    KokkosExt::unrolledLoop<size>([&](int i) {
      const Real y = f(m_x[i]);
      Real& sum    = partial[i % (4 * columns)];
      sum          = i < 4 * columns ? y : KokkosExt::add(sum, y);
    });
    Real sums[used];
    KokkosExt::unrolledLoop<used>([&](int c) {
      sums[c] = KokkosExt::add(
          KokkosExt::add(partial[4 * c], partial[4 * c + 1]),
          KokkosExt::add(partial[4 * c + 2], partial[4 * c + 3]));
    });
    // Columns that are not used would add 0.
    KokkosExt::unrolledLoop<5>([&](int step) {
      const int width = 16 >> step;
      KokkosExt::unrolledLoop<used>([&](int c) {
        if (c < width && 2 * width <= columns && c + width < used)
          sums[c] = KokkosExt::add(sums[c], sums[c + width]);
      });
    });
    return addLanes<Lanes, lanes>(sums[0]);
  }

  /// The lane's largest three.
  KOKKOS_FORCEINLINE_FUNCTION BestThree<Real> best(int lane) const {
    BestThree<Real> all;
    int chunk = 0;
    forEachChunk(lane, [&](int, Real x0, Real x1, Real x2, Real x3) {
      const auto best = BestThree<Real>::of(x0, x1, x2, x3);
      if (chunk++ == 0)
        all = best;
      else
        all.take(best);
    });
    return all;
  }

  /// The expert that stands in place i.
  KOKKOS_FORCEINLINE_FUNCTION static int expertAt(int i, int lane) {
    return 4 * (lane + lanes * (i / 4)) + i % 4;
  }

  /// Puts the lane's numbers where `find` looks for them: those of expert e
  /// into memory[e], which has room for 4 * lanes * chunks.
  KOKKOS_FORCEINLINE_FUNCTION void save(Real* memory, int lane) const {
    struct alignas(4 * sizeof(Real)) Chunk {
      Real x[4];
    };
    KokkosExt::unrolledLoop<chunks>([&](int c) {
      *reinterpret_cast<Chunk*>(memory + expertAt(4 * c, lane)) =
          Chunk{{m_x[4 * c], m_x[4 * c + 1], m_x[4 * c + 2], m_x[4 * c + 3]}};
    });
  }

  /// The first of the lane's experts that has this number.
  KOKKOS_FORCEINLINE_FUNCTION static int find(const Real* memory, int lane,
                                              Real number) {
    struct alignas(4 * sizeof(Real)) Chunk {
      Real x[4];
    };
    int expert = 0;
    KokkosExt::unrolledLoop<chunks>([&](int i) {
      const int first   = expertAt(4 * (chunks - 1 - i), lane);
      const Chunk chunk = *reinterpret_cast<const Chunk*>(memory + first);
      KokkosExt::unrolledLoop<4>([&](int j) {
        if (chunk.x[3 - j] == number) expert = first + 3 - j;
      });
    });
    return expert;
  }

  /// Writes the numbers of the experts that there are. `aligned`: a chunk can
  /// be written as one word.
  template <class T>
  KOKKOS_FORCEINLINE_FUNCTION void store(const RouterMatrix<T>& matrix,
                                         bool aligned, int num_experts,
                                         int token, int lane) const {
    struct alignas(4 * sizeof(T)) Chunk {
      T x[4];
    };
    KokkosExt::unrolledLoop<chunks>([&](int c) {
      const int first = expertAt(4 * c, lane);
      if (first >= num_experts) return;
      if (aligned) {
        Chunk chunk;
        KokkosExt::unrolledLoop<4>(
            [&](int i) { chunk.x[i] = static_cast<T>(m_x[4 * c + i]); });
        *reinterpret_cast<Chunk*>(&matrix(token, first)) = chunk;
      } else {
        KokkosExt::unrolledLoop<4>([&](int i) {
          if (first + i < num_experts)
            matrix(token, first + i) = static_cast<T>(m_x[4 * c + i]);
        });
      }
    });
  }

 private:
  KOKKOS_FORCEINLINE_FUNCTION void loadChunks(const Data& data,
                                              const typename Data::Logit* row,
                                              int lane) {
    struct alignas(4 * sizeof(typename Data::Logit)) Chunk {
      typename Data::Logit x[4];
    };
    KokkosExt::unrolledLoop<chunks>([&](int c) {
      const int first = expertAt(4 * c, lane);
      if (first < data.num_experts) {
        const Chunk chunk = *reinterpret_cast<const Chunk*>(row + first);
        KokkosExt::unrolledLoop<4>([&](int i) {
          m_x[4 * c + i] = participating(static_cast<Real>(chunk.x[i]));
        });
      } else {
        KokkosExt::unrolledLoop<4>(
            [&](int i) { m_x[4 * c + i] = minusInfinity<Real>(); });
      }
    });
  }

  KOKKOS_FORCEINLINE_FUNCTION void loadNumbers(const Data& data,
                                               const typename Data::Logit* row,
                                               int lane) {
    KokkosExt::unrolledLoop<size>([&](int i) {
      const int expert = expertAt(i, lane);
      m_x[i]           = minusInfinity<Real>();
      if (expert < data.num_experts)
        m_x[i] = participating(
            static_cast<Real>(row[expert * data.logits.column_stride]));
    });
  }

  Real m_x[size];
};

/// The same in scratch memory, for rows too long for registers.
template <class Data, int lanes>
class RouterScratch {
  using Real = typename Data::Real;

 public:
  /// pre-condition: the memory has room for numPlaces(num_experts)
  KOKKOS_FUNCTION RouterScratch(const Data& data, int token, int lane,
                                Real* memory)
      : m_x(memory), m_size(numPlaces(data.num_experts) / lanes) {
    KokkosExt::rolledLoop(0, m_size, 1, [&](int i) {
      const int expert      = expertAt(i, lane);
      m_x[i * lanes + lane] = expert < data.num_experts
                                  ? data.logit(token, expert)
                                  : minusInfinity<Real>();
    });
  }

  KOKKOS_FUNCTION static int numPlaces(int num_experts) {
    return (num_experts + 4 * lanes - 1) / (4 * lanes) * (4 * lanes);
  }

  KOKKOS_FUNCTION Real at(int expert) const {
    const int chunk = expert / 4;
    return m_x[(chunk / lanes * 4 + expert % 4) * lanes + chunk % lanes];
  }

  template <class F>
  KOKKOS_FORCEINLINE_FUNCTION void forEach(int lane, const F& f) const {
    KokkosExt::rolledLoop(0, m_size, 1, [&](int i) {
      f(m_x[i * lanes + lane], expertAt(i, lane));
    });
  }

  template <class F>
  KOKKOS_FORCEINLINE_FUNCTION void transform(int lane, const F& f) {
    KokkosExt::rolledLoop(0, m_size, 1, [&](int i) {
      Real& x = m_x[i * lanes + lane];
      x       = f(x, expertAt(i, lane));
    });
  }

  KOKKOS_FORCEINLINE_FUNCTION BestThree<Real> best(int lane) const {
    BestThree<Real> all;
    forEach(lane, [&](Real x, int) { all.take(x); });
    return all;
  }

  template <class Lanes, class F>
  KOKKOS_FORCEINLINE_FUNCTION Real sum(int lane, const F& f) const {
    static_assert(lanes == 32);
    Real partial[4] = {};
    KokkosExt::rolledLoop(0, m_size, 4, [&](int first) {
      KokkosExt::unrolledLoop<4>([&](int i) {
        partial[i] =
            KokkosExt::add(partial[i], f(m_x[(first + i) * lanes + lane]));
      });
    });
    return addLanes<Lanes, lanes>(
        KokkosExt::add(KokkosExt::add(partial[0], partial[1]),
                       KokkosExt::add(partial[2], partial[3])));
  }

 private:
  KOKKOS_FORCEINLINE_FUNCTION static int expertAt(int i, int lane) {
    return 4 * (lane + lanes * (i / 4)) + i % 4;
  }

  Real* m_x;
  int m_size;
};

/// The same without a copy: what is asked for is computed from the logits every
/// time.
template <class Data, int lanes>
class RouterMemory {
  using Real = typename Data::Real;

 public:
  KOKKOS_FUNCTION RouterMemory(const Data& data, int token)
      : m_data(data), m_token(token) {}

  /// From here on forEach calls with keys, or -infinity in a dropped group.
  KOKKOS_FUNCTION void useKeys(const ScoreOfRow<Real>& score,
                               const unsigned char* kept) {
    m_score = score;
    m_keyed = true;
    m_kept  = kept;
  }

  KOKKOS_FUNCTION Real at(int expert) const {
    const Real x = m_data.logit(m_token, expert);
    if constexpr (Data::has_options) {
      if (m_kept != nullptr && m_kept[m_data.groupOf(expert)] == 0)
        return minusInfinity<Real>();
      if (m_keyed) return m_data.keyOf(x, expert, m_score);
    }
    return x;
  }

  template <class F>
  KOKKOS_FORCEINLINE_FUNCTION void forEach(int lane, const F& f) const {
    const int size = (m_data.num_experts + 4 * lanes - 1) / (4 * lanes) * 4;
    KokkosExt::rolledLoop(0, size, 1, [&](int i) {
      const int expert = 4 * (lane + lanes * (i / 4)) + i % 4;
      f(expert < m_data.num_experts ? at(expert) : minusInfinity<Real>(),
        expert);
    });
  }

  /// The sum of f(x, expert), in the same order.
  template <class Lanes, class F>
  KOKKOS_FUNCTION Real sum(int lane, const F& f) const {
    constexpr int columns = 32 / lanes;
    Real sums[columns];
    for (int c = 0; c < columns; ++c) {
      Real partial[4] = {};
      for (std::int64_t first = 4 * (lane + lanes * c);
           first < m_data.num_experts; first += 128)
        for (int i = 0; i < 4; ++i)
          if (first + i < m_data.num_experts)
            partial[i] =
                KokkosExt::add(partial[i], f(at(static_cast<int>(first) + i),
                                             static_cast<int>(first) + i));
      sums[c] = KokkosExt::add(KokkosExt::add(partial[0], partial[1]),
                               KokkosExt::add(partial[2], partial[3]));
    }
    for (int width = columns / 2; width > 0; width /= 2)
      for (int c = 0; c < width; ++c)
        sums[c] = KokkosExt::add(sums[c], sums[c + width]);
    return addLanes<Lanes, lanes>(sums[0]);
  }

 private:
  const Data& m_data;
  int m_token;
  bool m_keyed = false;
  ScoreOfRow<Real> m_score;
  const unsigned char* m_kept = nullptr;
};

}  // namespace Tokkos::Impl

#endif
