// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// SPDX-FileCopyrightText: Copyright Contributors to the Tokkos project

#ifndef TOKKOS_IMPL_ROUTERGROUPS_HPP
#define TOKKOS_IMPL_ROUTERGROUPS_HPP

#include <Tokkos/Impl/RouterData.hpp>
#include <Tokkos/KokkosExt/Rounding.hpp>

#include <Kokkos_Core.hpp>

#include <cstddef>

namespace Tokkos::Impl {

/// The most groups that a token's scratch memory has room for.
inline constexpr int max_router_groups = 1024;

/// The largest two of some numbers.
template <class Real>
struct BestTwo {
  Real first  = minusInfinity<Real>();
  Real second = minusInfinity<Real>();

  KOKKOS_FORCEINLINE_FUNCTION void take(Real x) {
    second = KokkosExt::larger(KokkosExt::smaller(x, first), second);
    first  = KokkosExt::larger(x, first);
  }

  /// Those of another lane as well.
  template <class Lanes>
  KOKKOS_FORCEINLINE_FUNCTION void takeFrom(int distance) {
    take(BestTwo{Lanes::exchange(first, distance),
                 Lanes::exchange(second, distance)});
  }

  KOKKOS_FORCEINLINE_FUNCTION void take(const BestTwo& other) {
    second = KokkosExt::larger(KokkosExt::smaller(first, other.first),
                               KokkosExt::larger(second, other.second));
    first  = KokkosExt::larger(first, other.first);
  }
};

/// The largest three; of four alone the last one too.
template <class Real>
struct BestThree {
  Real first  = minusInfinity<Real>();
  Real second = minusInfinity<Real>();
  Real third  = minusInfinity<Real>();
  Real fourth = minusInfinity<Real>();

  /// Those of four, by a network of four exchanges.
  KOKKOS_FORCEINLINE_FUNCTION static BestThree of(Real x0, Real x1, Real x2,
                                                  Real x3) {
    const Real high0 = KokkosExt::larger(x0, x1);
    const Real low0  = KokkosExt::smaller(x0, x1);
    const Real high1 = KokkosExt::larger(x2, x3);
    const Real low1  = KokkosExt::smaller(x2, x3);
    const Real high  = KokkosExt::smaller(high0, high1);
    const Real low   = KokkosExt::larger(low0, low1);
    return {KokkosExt::larger(high0, high1), KokkosExt::larger(high, low),
            KokkosExt::smaller(high, low), KokkosExt::smaller(low0, low1)};
  }

  KOKKOS_FORCEINLINE_FUNCTION void take(Real x) {
    const Real not_first  = KokkosExt::smaller(x, first);
    const Real not_second = KokkosExt::smaller(not_first, second);
    first                 = KokkosExt::larger(x, first);
    second                = KokkosExt::larger(not_first, second);
    third                 = KokkosExt::larger(not_second, third);
  }

  /// A bitonic merge.
  KOKKOS_FORCEINLINE_FUNCTION void take(const BestThree& other) {
    const Real x    = KokkosExt::larger(first, other.third);
    const Real y    = KokkosExt::larger(second, other.second);
    const Real z    = KokkosExt::larger(third, other.first);
    const Real high = KokkosExt::larger(x, z);
    const Real low  = KokkosExt::smaller(x, z);
    const Real rest = KokkosExt::smaller(high, y);
    first           = KokkosExt::larger(high, y);
    second          = KokkosExt::larger(rest, low);
    third           = KokkosExt::smaller(rest, low);
  }
};

/// What a group is compared by: the sum of the `best` largest keys, in
/// descending order. key(i) is that of the group's expert i.
template <class Real, class Key>
KOKKOS_FUNCTION Real sumOfBest(int best, int group_size, const Key& key) {
  Real sum = 0, last = 0;
  int expert = -1;
  for (int n = 0; n < best; ++n) {
    Real next     = minusInfinity<Real>();
    int next_from = group_size;
    for (int i = 0; i < group_size; ++i) {
      const Real x       = key(i);
      const bool follows = n == 0 || x < last || (x == last && i > expert);
      if (follows && (next_from == group_size || x > next)) {
        next      = x;
        next_from = i;
      }
    }
    last   = next;
    expert = next_from;
    sum    = n == 0 ? next : KokkosExt::add(sum, next);
  }
  return participating(sum);
}

/// Which groups of a token's experts are kept, found by its lanes together.
/// The memory holds a key and a mark of every group.
template <class Real>
class RouterGroups {
 public:
  template <class Data>
  static std::size_t scratchBytes(const Data& data) {
    return (sizeof(Real) + 1) * static_cast<std::size_t>(data.num_groups);
  }

  /// memory: null where the groups are not limited
  template <class Data>
  KOKKOS_FUNCTION RouterGroups(const Data& data, Real* memory)
      : m_scores(memory),
        m_kept(memory == nullptr ? nullptr
                                 : reinterpret_cast<unsigned char*>(
                                       memory + data.num_groups)) {}

  KOKKOS_FUNCTION bool keeps(int group) const { return m_kept[group] != 0; }
  KOKKOS_FUNCTION const unsigned char* kept() const { return m_kept; }

  /// Finds them; key(e) is the key of expert e.
  template <class Lanes, int lanes, class Data, class Key>
  KOKKOS_FUNCTION void compare(const Data& data, int lane,
                               const Key& key) const {
    score<Lanes, lanes>(data, lane, key);
    Lanes::sync();
    rank<Lanes, lanes>(data, lane);
  }

  /// True when a group is the chunks of four experts of 1, 2, 4, ... lanes side
  /// by side.
  template <class Data>
  KOKKOS_FUNCTION static bool areOfNeighbours(const Data& data, int lanes) {
    const int size = data.group_size;
    return size >= 4 && size <= 4 * lanes && (size & (size - 1)) == 0 &&
           data.best_of_group <= 2;
  }

  template <class Data>
  KOKKOS_FUNCTION void setScore(const Data& data, int group,
                                const BestTwo<Real>& best) const {
    m_scores[group] =
        data.best_of_group == 1
            ? best.first
            : participating(KokkosExt::add(best.first, best.second));
  }

  /// From the scores to the marks.
  template <class Lanes, int lanes, class Data>
  KOKKOS_FUNCTION void rank(const Data& data, int lane) const {
    for (int g = lane; g < data.num_groups; g += lanes) {
      int better = 0;
      for (int other = 0; other < data.num_groups; ++other)
        if (m_scores[other] > m_scores[g] ||
            (m_scores[other] == m_scores[g] && other < g))
          ++better;
      m_kept[g] = better < data.kept_groups ? 1 : 0;
    }
    Lanes::sync();
  }

 private:
  template <class Lanes, int lanes, class Data, class Key>
  KOKKOS_FUNCTION void score(const Data& data, int lane, const Key& key) const {
    if (data.best_of_group <= 2 && data.num_groups <= lanes)
      scoreTogether<Lanes, lanes>(data, lane, key);
    else
      for (int g = lane; g < data.num_groups; g += lanes)
        m_scores[g] = sumOfBest<Real>(
            data.best_of_group, data.group_size,
            [&](int i) { return key(g * data.group_size + i); });
  }

  /// Several lanes to a group.
  template <class Lanes, int lanes, class Data, class Key>
  KOKKOS_FUNCTION void scoreTogether(const Data& data, int lane,
                                     const Key& key) const {
    int shift = 0;
    while ((data.num_groups << (shift + 1)) <= lanes)
      ++shift;
    const int parts = 1 << shift;
    const int group = lane >> shift;
    const int part  = lane & (parts - 1);
    const int steps = (data.group_size + parts - 1) >> shift;
    // Groups start at different steps, where that is simple, so that their
    // lanes read different banks of scratch memory.
    const int turn = (steps & (steps - 1)) == 0 ? steps - 1 : 0;
    BestTwo<Real> best;
    if (group < data.num_groups)
      for (int step = 0; step < steps; ++step) {
        const int turned = turn == 0 ? step : (step + group) & turn;
        const int i      = part + (turned << shift);
        if (i < data.group_size) best.take(key(group * data.group_size + i));
      }
    for (int distance = parts / 2; distance > 0; distance /= 2)
      best.template takeFrom<Lanes>(distance);
    if (part == 0 && group < data.num_groups) setScore(data, group, best);
  }

  Real* m_scores;
  unsigned char* m_kept;
};

}  // namespace Tokkos::Impl

#endif
