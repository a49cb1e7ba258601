// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// SPDX-FileCopyrightText: Copyright Contributors to the Tokkos project

#ifndef TOKKOS_IMPL_PERMUTEROWS_HPP
#define TOKKOS_IMPL_PERMUTEROWS_HPP

#include <Tokkos/Impl/RowPattern.hpp>
#include <Tokkos/KokkosExt/Launch.hpp>
#include <Tokkos/KokkosExt/Types.hpp>

#include <Kokkos_Core.hpp>

#include <cstddef>
#include <cstdint>

namespace Tokkos::Impl {

/// What the two copies need of a plan.
struct RowMaps {
  const int* row_of_assignment;
  const int* counts;
  const int* offsets;
  int num_tokens;
  int top_k;
  int num_padded_experts;  // 0 when segments have no padding
};

/// Tokens to rows: team t reads token t once and writes its rows; further teams
/// zero the padding rows, an expert each.
template <class ExecutionSpace, class Word, bool Contiguous>
struct PermuteRows {
  using Team = typename Kokkos::TeamPolicy<ExecutionSpace>::member_type;

  RowPattern<const std::byte> tokens;
  RowPattern<std::byte> batch;
  RowShape shape;
  RowMaps maps;

  KOKKOS_FUNCTION void operator()(const Team& team) const {
    const int item = team.league_rank();
    if (item < maps.num_tokens)
      copy(team, item);
    else
      pad(team, item - maps.num_tokens);
  }

 private:
  KOKKOS_FUNCTION void copy(const Team& team, int token) const {
    const int* const rows =
        maps.row_of_assignment + std::int64_t(token) * maps.top_k;
    Kokkos::parallel_for(
        Kokkos::TeamThreadRange(team, shape.num_words), [&](std::int64_t w) {
          const Word word =
              wordOfRow<Word, Contiguous>(tokens, shape, token, w);
          for (int k = 0; k < maps.top_k; ++k)
            if (rows[k] >= 0)
              wordOfRow<Word, Contiguous>(batch, shape, rows[k], w) = word;
        });
  }

  KOKKOS_FUNCTION void pad(const Team& team, int expert) const {
    const int end = maps.offsets[expert + 1];
    for (int row = maps.offsets[expert] + maps.counts[expert]; row < end; ++row)
      Kokkos::parallel_for(
          Kokkos::TeamThreadRange(team, shape.num_words), [&](std::int64_t w) {
            wordOfRow<Word, Contiguous>(batch, shape, row, w) = Word{};
          });
  }
};

/// Rows to assignments: team a copies the row of assignment a, or writes zeros.
template <class ExecutionSpace, class Word, bool Contiguous>
struct UnpermuteRows {
  using Team = typename Kokkos::TeamPolicy<ExecutionSpace>::member_type;

  RowPattern<const std::byte> batch;
  RowPattern<std::byte> assignments;
  RowShape shape;
  RowMaps maps;

  KOKKOS_FUNCTION void operator()(const Team& team) const {
    const int a   = team.league_rank();
    const int row = maps.row_of_assignment[a];
    Kokkos::parallel_for(
        Kokkos::TeamThreadRange(team, shape.num_words), [&](std::int64_t w) {
          wordOfRow<Word, Contiguous>(assignments, shape, a, w) =
              row >= 0 ? wordOfRow<Word, Contiguous>(batch, shape, row, w)
                       : Word{};
        });
  }
};

/// Threads for a row of so many words, in whole warps.
template <class ExecutionSpace>
int rowTeamSize(std::int64_t num_words) {
  if constexpr (KokkosExt::is_host_execution_space_v<ExecutionSpace>) return 1;
  return static_cast<int>(
      Kokkos::max(std::int64_t(32),
                  Kokkos::min(std::int64_t(256), (num_words + 31) / 32 * 32)));
}

template <class ExecutionSpace>
void permuteRows(const ExecutionSpace& space,
                 const RowPattern<const std::byte>& tokens,
                 const RowPattern<std::byte>& batch, const RowShape& shape,
                 const RowMaps& maps) {
  withRowShape(shape, [&](auto* word, auto contiguous) {
    using Word = std::remove_pointer_t<decltype(word)>;
    KokkosExt::parallelFor(
        "Tokkos::permute::copy",
        Kokkos::TeamPolicy<ExecutionSpace>(
            space, maps.num_tokens + maps.num_padded_experts,
            rowTeamSize<ExecutionSpace>(shape.num_words)),
        PermuteRows<ExecutionSpace, Word, decltype(contiguous)::value>{
            tokens, batch, shape, maps});
  });
}

template <class ExecutionSpace>
void unpermuteRows(const ExecutionSpace& space,
                   const RowPattern<const std::byte>& batch,
                   const RowPattern<std::byte>& assignments,
                   const RowShape& shape, const RowMaps& maps) {
  withRowShape(shape, [&](auto* word, auto contiguous) {
    using Word = std::remove_pointer_t<decltype(word)>;
    KokkosExt::parallelFor(
        "Tokkos::unpermute::copy",
        Kokkos::TeamPolicy<ExecutionSpace>(
            space, maps.num_tokens * maps.top_k,
            rowTeamSize<ExecutionSpace>(shape.num_words)),
        UnpermuteRows<ExecutionSpace, Word, decltype(contiguous)::value>{
            batch, assignments, shape, maps});
  });
}

}  // namespace Tokkos::Impl

#endif
