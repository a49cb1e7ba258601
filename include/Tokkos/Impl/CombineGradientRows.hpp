// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// SPDX-FileCopyrightText: Copyright Contributors to the Tokkos project

#ifndef TOKKOS_IMPL_COMBINEGRADIENTROWS_HPP
#define TOKKOS_IMPL_COMBINEGRADIENTROWS_HPP

#include <Tokkos/Impl/CombineRows.hpp>
#include <Tokkos/Impl/ElementRows.hpp>
#include <Tokkos/Impl/RowMaps.hpp>
#include <Tokkos/KokkosExt/Launch.hpp>
#include <Tokkos/KokkosExt/PairwiseSum.hpp>
#include <Tokkos/KokkosExt/Rounding.hpp>
#include <Tokkos/KokkosExt/Streaming.hpp>
#include <Tokkos/KokkosExt/Subgroup.hpp>
#include <Tokkos/KokkosExt/Team.hpp>
#include <Tokkos/KokkosExt/Types.hpp>

#include <Kokkos_Core.hpp>

#include <cstddef>
#include <cstdint>
#include <type_traits>

namespace Tokkos::Impl {

/// batch_gradient(row(t, k), h) = weights(t, k) * output_gradient(t, h)
/// weights_gradient(t, k) = sum over h of output_gradient(t, h)
///                          * batch(row(t, k), h)
///
/// The sum over h is a fixed tree: groups of 8 neighbours are added pairwise;
/// group g goes to partial sum g % 128, in ascending order; the partial sums
/// are added pairwise. Elements that a last group lacks count as zeros.
template <class Gradient, class Value, class Weight, class RowsGradient,
          class WeightsGradient>
struct CombineGradientTask {
  using Sum          = Accumulator<Value>;
  using GradientType = Gradient;
  using ValueType    = Value;

  static constexpr int group_length = 8;
  static constexpr int num_partials = 128;

  ElementRows<const Gradient> output_gradient;
  ElementRows<const Value> batch;
  ElementRows<const Weight> weights;
  ElementRows<RowsGradient> batch_gradient;
  ElementRows<WeightsGradient> weights_gradient;
  RowMaps maps;
  std::int64_t num_columns;

  KOKKOS_FUNCTION std::int64_t numGroups() const {
    return (num_columns + group_length - 1) / group_length;
  }
  KOKKOS_FUNCTION const int* rowsOf(std::int64_t token) const {
    return maps.row_of_assignment + token * maps.top_k;
  }
  KOKKOS_FUNCTION Sum weight(std::int64_t token, int k) const {
    return static_cast<Sum>(*weights.at(token, k));
  }

  template <class T>
  using RawGroup = RawPack<group_length * sizeof(T)>;

  /// A group as it lies in memory.
  template <bool packed, class T>
  KOKKOS_FUNCTION RawGroup<T> load(const ElementRows<const T>& elements,
                                   std::int64_t row, std::int64_t group) const {
    if constexpr (packed) {
      return KokkosExt::loadStreaming(reinterpret_cast<const RawGroup<T>*>(
          elements.template pack<group_length>(row, group)));
    } else {
      Pack<T, group_length> pack;
      for (int i = 0; i < group_length; ++i) {
        const std::int64_t h = group * group_length + i;
        pack.value[i] =
            h < num_columns ? *elements.at(row, h) : static_cast<T>(0.0f);
      }
      return Kokkos::bit_cast<RawGroup<T>>(pack);
    }
  }

  /// A group as numbers to compute with.
  template <class T>
  KOKKOS_FUNCTION static void unpack(const RawGroup<T>& raw,
                                     Sum (&values)[group_length]) {
    const auto pack = Kokkos::bit_cast<Pack<T, group_length>>(raw);
    for (int i = 0; i < group_length; ++i)
      values[i] = static_cast<Sum>(pack.value[i]);
  }

  template <bool packed>
  KOKKOS_FUNCTION void storeScaled(std::int64_t row, std::int64_t group,
                                   const Sum (&values)[group_length],
                                   Sum scale) const {
    Pack<RowsGradient, group_length> result;
    for (int i = 0; i < group_length; ++i)
      result.value[i] =
          static_cast<RowsGradient>(KokkosExt::multiply(scale, values[i]));
    if constexpr (packed) {
      KokkosExt::storeStreaming(
          batch_gradient.template pack<group_length>(row, group), result);
    } else {
      for (int i = 0; i < group_length; ++i) {
        const std::int64_t h = group * group_length + i;
        if (h < num_columns) *batch_gradient.at(row, h) = result.value[i];
      }
    }
  }

  KOKKOS_FUNCTION static Sum dot(const Sum (&a)[group_length],
                                 const Sum (&b)[group_length]) {
    Sum sum[group_length];
    for (int i = 0; i < group_length; ++i)
      sum[i] = KokkosExt::multiply(a[i], b[i]);
    for (int length = group_length / 2; length > 0; length /= 2)
      for (int i = 0; i < length; ++i)
        sum[i] = KokkosExt::add(sum[2 * i], sum[2 * i + 1]);
    return sum[0];
  }
};

/// A team of a device takes a token, a partial sum a thread, and so many rows
/// at once as fill its registers; further teams zero the padding rows.
template <class ExecutionSpace, class Task, bool packed, int rows_at_once>
struct CombineGradientRows {
  using Team      = KokkosExt::Team<ExecutionSpace>;
  using Sum       = typename Task::Sum;
  using Subgroup  = KokkosExt::Subgroup<ExecutionSpace>;
  using RawValues = typename Task::template RawGroup<typename Task::ValueType>;

  static constexpr int team_size     = Task::num_partials;
  static constexpr int max_team_size = team_size;
  static constexpr int num_subgroups = team_size / Subgroup::lanes;

  Task task;

  KOKKOS_FUNCTION static constexpr int scratchBytes() {
    return rows_at_once * num_subgroups * static_cast<int>(sizeof(Sum));
  }

  KOKKOS_FUNCTION void operator()(const Team& team) const {
    const int item = team.league_rank() - task.maps.numPaddingTeams();
    if (item < 0) return pad(team, -1 - item);
    auto* const scratch = static_cast<Sum*>(team.scratch());
    for (int k = 0; k < task.maps.top_k; k += rows_at_once)
      differentiate(team, item, k, scratch);
  }

 private:
  /// Choices k, k + 1, ... of the token.
  KOKKOS_FUNCTION void differentiate(const Team& team, std::int64_t token,
                                     int k, Sum* scratch) const {
    constexpr int length = Task::group_length;
    int row[rows_at_once];
    Sum weight[rows_at_once];
    Sum partial[rows_at_once];
    for (int j = 0; j < rows_at_once; ++j) {
      const bool is_choice = k + j < task.maps.top_k;
      row[j]               = is_choice ? task.rowsOf(token)[k + j] : -1;
      weight[j]            = is_choice ? task.weight(token, k + j) : Sum(0);
      partial[j]           = 0;
    }
    for (std::int64_t g = team.team_rank(); g < task.numGroups();
         g += team_size) {
      const auto raw_gradient =
          task.template load<packed>(task.output_gradient, token, g);
      RawValues raw[rows_at_once];
      for (int j = 0; j < rows_at_once; ++j)
        if (row[j] >= 0)
          raw[j] = task.template load<packed>(task.batch, row[j], g);
      Sum gradient[length];
      Task::template unpack<typename Task::GradientType>(raw_gradient,
                                                         gradient);
      for (int j = 0; j < rows_at_once; ++j) {
        if (row[j] < 0) continue;
        Sum values[length];
        Task::template unpack<typename Task::ValueType>(raw[j], values);
        task.template storeScaled<packed>(row[j], g, gradient, weight[j]);
        partial[j] = KokkosExt::add(partial[j], Task::dot(gradient, values));
      }
    }
    reduce(team, token, k, partial, scratch);
  }

  KOKKOS_FUNCTION void reduce(const Team& team, std::int64_t token, int k,
                              const Sum (&partial)[rows_at_once],
                              Sum* scratch) const {
    const int rank = team.team_rank();
    for (int j = 0; j < rows_at_once; ++j) {
      const Sum sum =
          KokkosExt::PairwiseSum<ExecutionSpace>::ofLanes(partial[j]);
      if (rank % Subgroup::lanes == 0)
        scratch[j * num_subgroups + rank / Subgroup::lanes] = sum;
    }
    team.team_barrier();
    if (rank < rows_at_once && k + rank < task.maps.top_k)
      *task.weights_gradient.at(token, k + rank) = static_cast<
          std::remove_reference_t<decltype(*task.weights_gradient.data)>>(
          KokkosExt::pairwiseSum(scratch + rank * num_subgroups,
                                 num_subgroups));
    team.team_barrier();
  }

  KOKKOS_FUNCTION void pad(const Team& team, int item) const {
    zeroPaddingOfTeam(task.maps, item, [&](int row) {
      zeroElements(task.batch_gradient, row, task.num_columns, team.team_rank(),
                   team_size);
    });
  }
};

/// The same sums on a host: item t is a token, later ones zero the padding of
/// an expert.
template <class Task>
struct CombineGradientRowsHost {
  using Sum = typename Task::Sum;

  Task task;
  bool packed;

  void operator()(int item) const {
    if (item >= task.maps.num_tokens) return pad(item - task.maps.num_tokens);
    for (int k = 0; k < task.maps.top_k; ++k) {
      using Result =
          std::remove_reference_t<decltype(*task.weights_gradient.data)>;
      const int row                      = task.rowsOf(item)[k];
      *task.weights_gradient.at(item, k) = static_cast<Result>(
          row < 0  ? Sum(0)
          : packed ? differentiate<true>(item, row, task.weight(item, k))
                   : differentiate<false>(item, row, task.weight(item, k)));
    }
  }

 private:
  template <bool packed_rows>
  Sum differentiate(int token, int row, Sum weight) const {
    Sum partial[Task::num_partials] = {};
    for (std::int64_t g = 0; g < task.numGroups(); ++g) {
      Sum gradient[Task::group_length];
      Sum values[Task::group_length];
      Task::template unpack<typename Task::GradientType>(
          task.template load<packed_rows>(task.output_gradient, token, g),
          gradient);
      Task::template unpack<typename Task::ValueType>(
          task.template load<packed_rows>(task.batch, row, g), values);
      task.template storeScaled<packed_rows>(row, g, gradient, weight);
      Sum& sum = partial[g % Task::num_partials];
      sum      = KokkosExt::add(sum, Task::dot(gradient, values));
    }
    return KokkosExt::pairwiseSum(partial, Task::num_partials);
  }

  void pad(int expert) const {
    zeroPaddingOfExpert(task.maps, expert, [&](int row) {
      zeroElements(task.batch_gradient, row, task.num_columns, 0, 1);
    });
  }
};

template <class ExecutionSpace, class Task>
void combineGradientRows(const ExecutionSpace& space, const Task& task) {
  constexpr auto label   = "Tokkos::combineGradient::rows";
  constexpr int length   = Task::group_length;
  const RowMaps& maps    = task.maps;
  const auto num_columns = static_cast<std::size_t>(task.num_columns);
  const bool packed = isPacked<length>(task.output_gradient, num_columns) &&
                      isPacked<length>(task.batch, num_columns) &&
                      isPacked<length>(task.batch_gradient, num_columns);
  if constexpr (KokkosExt::is_host_execution_space_v<ExecutionSpace>) {
    KokkosExt::parallelFor(
        label,
        Kokkos::RangePolicy<ExecutionSpace, Kokkos::IndexType<int>>(
            space, 0, maps.num_tokens + maps.num_padded_experts),
        CombineGradientRowsHost<Task>{task, packed});
  } else {
    const auto launch = [&](auto packed_constant, auto rows_constant) {
      using Kernel = CombineGradientRows<ExecutionSpace, Task,
                                         decltype(packed_constant)::value,
                                         decltype(rows_constant)::value>;
      KokkosExt::launchTeams(
          label, space, maps.numPaddingTeams() + maps.num_tokens,
          Kernel::team_size, Kernel::scratchBytes(), Kernel{task});
    };
    // So many rows as registers hold; two where there are no more.
    constexpr int most =
        16 / static_cast<int>(sizeof(typename Task::ValueType));
    if (!packed)
      launch(std::false_type(), std::integral_constant<int, 2>());
    else if (maps.top_k <= 2)
      launch(std::true_type(), std::integral_constant<int, 2>());
    else
      launch(std::true_type(), std::integral_constant<int, most>());
  }
}

}  // namespace Tokkos::Impl

#endif
