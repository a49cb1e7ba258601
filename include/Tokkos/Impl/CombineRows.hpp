// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// SPDX-FileCopyrightText: Copyright Contributors to the Tokkos project

#ifndef TOKKOS_IMPL_COMBINEROWS_HPP
#define TOKKOS_IMPL_COMBINEROWS_HPP

#include <Tokkos/Impl/ElementRows.hpp>
#include <Tokkos/Impl/RowMaps.hpp>
#include <Tokkos/Impl/RowTiles.hpp>
#include <Tokkos/KokkosExt/Launch.hpp>
#include <Tokkos/KokkosExt/Rounding.hpp>
#include <Tokkos/KokkosExt/Streaming.hpp>
#include <Tokkos/KokkosExt/Types.hpp>

#include <Kokkos_Core.hpp>

#include <cstddef>
#include <cstdint>
#include <type_traits>

namespace Tokkos::Impl {

/// Sums over a token's choices accumulate in float, of double in double.
template <class Value>
using Accumulator =
    std::conditional_t<std::is_same_v<Value, double>, double, float>;

/// output(t, h) = sum over k of weights(t, k) * batch(row(t, k), h)
///              + beta * output(t, h)
template <class Value, class Weight, class Result>
struct CombineTask {
  using Sum = Accumulator<Value>;

  ElementRows<const Value> batch;
  ElementRows<const Weight> weights;  // without data: all are 1
  ElementRows<Result> output;
  Sum beta;

  KOKKOS_FUNCTION Sum weight(std::int64_t token, int k) const {
    return weights.data != nullptr ? static_cast<Sum>(*weights.at(token, k))
                                   : Sum(1);
  }
};

/// The sums on a device: `length` elements of a token a thread. The usual
/// numbers of choices are known at compile time; with 0 choices top_k is read.
/// Where there are few rows the caches could hold others, and are spared these.
template <class Value, class Weight, class Result, int length, int choices,
          bool few>
struct CombineRows {
  using Task = CombineTask<Value, Weight, Result>;
  using Sum  = typename Task::Sum;

  Task task;
  const int* row_of_assignment;
  int num_tokens;
  int top_k;
  RowTiles tiles;
  std::int64_t num_packs;  // of `length` elements in a row

  KOKKOS_FUNCTION void operator()(int tile, int thread) const {
    const RowTiles::Place place = tiles.place(tile, thread);
    if (place.row >= num_tokens) return;
    for (std::int64_t i = place.word; i < num_packs; i += place.stride)
      combine(place.row, i);
  }

 private:
  // So many reads of a thread are under way at once.
  static constexpr int reads = choices > 0 ? choices : 4;

  using Values = Pack<Value, length>;
  using Raw = std::conditional_t<length == 1, Values, RawPack<sizeof(Values)>>;

  KOKKOS_FUNCTION void combine(std::int64_t token, std::int64_t i) const {
    Sum total[length];
    for (int l = 0; l < length; ++l)
      total[l] = Sum(-0.0);  // what no number changes when it is added to it
    bool empty = true;
    if constexpr (choices > 0)
      addRows(token, i, 0, total, empty);
    else
      for (int k = 0; k < top_k; k += reads)
        addRows(token, i, k, total, empty);
    store(token, i, total, empty);
  }

  /// Adds the rows of choices first, first + 1, ...
  KOKKOS_FUNCTION void addRows(std::int64_t token, std::int64_t i, int first,
                               Sum (&total)[length], bool& empty) const {
    int row[reads];
    Sum weight[reads];
    Raw raw[reads];
    const int* const rows =
        row_of_assignment + token * (choices > 0 ? choices : top_k) + first;
    for (int j = 0; j < reads; ++j) {
      const bool is_choice = choices > 0 || first + j < top_k;
      row[j]               = is_choice ? rows[j] : -1;
      weight[j]            = is_choice ? task.weight(token, first + j) : Sum(0);
    }
    for (int j = 0; j < reads; ++j)
      if (row[j] >= 0) raw[j] = load(row[j], i);
    for (int j = 0; j < reads; ++j) {
      if (row[j] < 0) continue;
      const auto values = Kokkos::bit_cast<Values>(raw[j]);
      for (int l = 0; l < length; ++l)
        total[l] = KokkosExt::add(
            total[l],
            KokkosExt::multiply(weight[j], static_cast<Sum>(values.value[l])));
      empty = false;
    }
  }

  KOKKOS_FUNCTION Raw load(int row, std::int64_t i) const {
    if constexpr (length == 1)
      return Raw{{*task.batch.at(row, i)}};
    else {
      const auto* const p = reinterpret_cast<const Raw*>(
          task.batch.template pack<length>(row, i));
      return few ? KokkosExt::loadStreaming(p) : *p;
    }
  }

  KOKKOS_FUNCTION void store(std::int64_t token, std::int64_t i,
                             Sum (&total)[length], bool empty) const {
    Pack<Result, length> result;
    if (task.beta != 0) {
      if constexpr (length == 1)
        result.value[0] = *task.output.at(token, i);
      else
        result = *task.output.template pack<length>(token, i);
      for (int l = 0; l < length; ++l)
        total[l] = KokkosExt::add(
            total[l],
            KokkosExt::multiply(task.beta, static_cast<Sum>(result.value[l])));
      empty = false;
    }
    for (int l = 0; l < length; ++l)
      result.value[l] = static_cast<Result>(empty ? Sum(0) : total[l]);
    if constexpr (length == 1)
      *task.output.at(token, i) = result.value[0];
    else
      KokkosExt::storeStreaming(task.output.template pack<length>(token, i),
                                result);
  }
};

/// The sums of a token on a host, in pieces so short that all of its rows are
/// read side by side, as the processor's prefetchers want it.
template <class Value, class Weight, class Result>
struct CombineRowsHost {
  using Task = CombineTask<Value, Weight, Result>;
  using Sum  = typename Task::Sum;

  Task task;
  RowMaps maps;
  std::int64_t num_columns;

  void operator()(int token) const {
    for (std::int64_t h = 0; h < num_columns; h += piece_length)
      combine(token, h, Kokkos::min(piece_length, num_columns - h));
  }

 private:
  static constexpr std::int64_t piece_length = 64;

  void combine(int token, std::int64_t begin, std::int64_t length) const {
    const int* const rows =
        maps.row_of_assignment + std::int64_t(token) * maps.top_k;
    Sum total[piece_length];
    bool empty = true;
    for (int k = 0; k < maps.top_k; ++k) {
      if (rows[k] < 0) continue;
      addScaled(task.batch.at(rows[k], begin), task.batch.column_stride, length,
                task.weight(token, k), empty, total);
      empty = false;
    }
    if (task.beta != 0) {
      addScaled(task.output.at(token, begin), task.output.column_stride, length,
                task.beta, empty, total);
      empty = false;
    }
    for (std::int64_t i = 0; i < length; ++i)
      *task.output.at(token, begin + i) =
          static_cast<Result>(empty ? Sum(0) : total[i]);
  }

  /// total[i] += scale * x[i], or = where nothing was added before.
  template <class T>
  static void addScaled(const T* x, std::int64_t stride, std::int64_t length,
                        Sum scale, bool is_first, Sum* total) {
    // Loops of their own, so that the compiler can vectorise the usual ones.
    if (stride == 1 && is_first) {
      for (std::int64_t i = 0; i < length; ++i)
        total[i] = KokkosExt::multiply(scale, static_cast<Sum>(x[i]));
    } else if (stride == 1) {
      for (std::int64_t i = 0; i < length; ++i)
        total[i] = KokkosExt::add(
            total[i], KokkosExt::multiply(scale, static_cast<Sum>(x[i])));
    } else {
      for (std::int64_t i = 0; i < length; ++i) {
        const Sum product =
            KokkosExt::multiply(scale, static_cast<Sum>(x[i * stride]));
        total[i] = is_first ? product : KokkosExt::add(total[i], product);
      }
    }
  }
};

/// Calls f with the number of choices as a std::integral_constant, 0 for an
/// unusual one.
template <class F>
void withChoices(int top_k, const F& f) {
  switch (top_k) {
    case 1:
      return f(std::integral_constant<int, 1>());
    case 2:
      return f(std::integral_constant<int, 2>());
    case 4:
      return f(std::integral_constant<int, 4>());
    case 6:
      return f(std::integral_constant<int, 6>());
    case 8:
      return f(std::integral_constant<int, 8>());
    default:
      return f(std::integral_constant<int, 0>());
  }
}

/// Whether all rows together would find room in a device's second-level cache,
/// or nearly.
template <class Value>
bool areFew(const RowMaps& maps, std::size_t num_columns) {
  constexpr double few_bytes = 128e6;
  return static_cast<double>(sizeof(Value) * num_columns) * maps.num_tokens *
             maps.top_k <=
         few_bytes;
}

template <class ExecutionSpace, class Value, class Weight, class Result>
void combineRows(const char* label, const ExecutionSpace& space,
                 const CombineTask<Value, Weight, Result>& task,
                 std::size_t num_columns, const RowMaps& maps) {
  const auto width = static_cast<std::int64_t>(num_columns);
  if constexpr (KokkosExt::is_host_execution_space_v<ExecutionSpace>) {
    KokkosExt::parallelFor(
        label,
        Kokkos::RangePolicy<ExecutionSpace, Kokkos::IndexType<int>>(
            space, 0, maps.num_tokens),
        CombineRowsHost<Value, Weight, Result>{task, maps, width});
  } else {
    const auto launch = [&](auto length_constant, auto choices_constant,
                            auto few_constant) {
      constexpr int length         = decltype(length_constant)::value;
      constexpr int choices        = decltype(choices_constant)::value;
      constexpr bool few           = decltype(few_constant)::value;
      const std::int64_t num_packs = width / length;
      const RowTiles tiles(maps.num_tokens, num_packs);
      forEachTile(label, space, tiles.numTiles(),
                  CombineRows<Value, Weight, Result, length, choices, few>{
                      task, maps.row_of_assignment, maps.num_tokens, maps.top_k,
                      tiles, num_packs});
    };
    constexpr int length = pack_length<Value, Result>;
    if (isPacked<length>(task.batch, num_columns) &&
        isPacked<length>(task.output, num_columns))
      withChoices(maps.top_k, [&](auto choices) {
        constexpr std::integral_constant<int, length> packed;
        if (areFew<Value>(maps, num_columns))
          launch(packed, choices, std::true_type());
        else
          launch(packed, choices, std::false_type());
      });
    else
      launch(std::integral_constant<int, 1>(), std::integral_constant<int, 0>(),
             std::false_type());
  }
}

}  // namespace Tokkos::Impl

#endif
