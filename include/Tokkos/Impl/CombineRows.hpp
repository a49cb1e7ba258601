// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// SPDX-FileCopyrightText: Copyright Contributors to the Tokkos project

#ifndef TOKKOS_IMPL_COMBINEROWS_HPP
#define TOKKOS_IMPL_COMBINEROWS_HPP

#include <Tokkos/KokkosExt/Rounding.hpp>

#include <Kokkos_Core.hpp>

#include <cstdint>
#include <type_traits>

namespace Tokkos::Impl {

/// Sums over a token's choices accumulate in float, of double in double.
template <class Value>
using Accumulator =
    std::conditional_t<std::is_same_v<Value, double>, double, float>;

/// Rows to tokens: team t sums the rows of token t, times their weights, in the
/// order of the choices.
template <class ExecutionSpace, class Batch, class Weights, class Output>
struct CombineRows {
  using Team = typename Kokkos::TeamPolicy<ExecutionSpace>::member_type;
  using Sum  = Accumulator<typename Batch::non_const_value_type>;

  Batch batch;
  Weights weights;
  Output output;
  const int* row_of_assignment;
  int top_k;

  KOKKOS_FUNCTION void operator()(const Team& team) const {
    using Value           = typename Output::value_type;
    const int token       = team.league_rank();
    const int* const rows = row_of_assignment + std::int64_t(token) * top_k;
    const auto width      = static_cast<std::int64_t>(output.extent(1));
    Kokkos::parallel_for(
        Kokkos::TeamThreadRange(team, width), [&](std::int64_t h) {
          output(token, h) = static_cast<Value>(sum(rows, token, h));
        });
  }

 private:
  KOKKOS_FUNCTION Sum sum(const int* rows, int token, std::int64_t h) const {
    Sum total  = 0;
    bool empty = true;
    for (int k = 0; k < top_k; ++k) {
      if (rows[k] < 0) continue;
      const Sum product =
          KokkosExt::multiply(static_cast<Sum>(weights(token, k)),
                              static_cast<Sum>(batch(rows[k], h)));
      // Not 0 + product, which would turn -0 into +0.
      total = empty ? product : KokkosExt::add(total, product);
      empty = false;
    }
    return total;
  }
};

}  // namespace Tokkos::Impl

#endif
