// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// SPDX-FileCopyrightText: Copyright Contributors to the Tokkos project

#ifndef TOKKOS_EXAMPLES_TEXT_MOE_FEEDFORWARD_HPP
#define TOKKOS_EXAMPLES_TEXT_MOE_FEEDFORWARD_HPP

#include <Kokkos_Core.hpp>

namespace TextMoe {

/// The experts: every row x of the batch becomes
/// outer_layer(e) * relu(inner_layer(e) * x), where e is the row's expert.
///
/// A thread with its vector lanes takes a row. Sums go in ascending order of
/// the index, one after the other, so that the reference can do the same; the
/// lanes share the results among them. Real experts are matrix products over
/// all rows of an expert.
template <class Space>
struct FeedForward {
  using Team   = typename Kokkos::TeamPolicy<Space>::member_type;
  using Memory = typename Space::memory_space;
  template <class Data>
  using Array = Kokkos::View<Data, Kokkos::LayoutRight, Memory>;

  Array<const float***> inner_layer;  // experts x hidden x inner
  Array<const float***> outer_layer;  // experts x inner x hidden
  Array<const int**> expert_ids;      // tokens x choices
  Array<const int*> assignment_of_row;
  Kokkos::View<const int, Memory> num_rows;
  Array<float**> batch;

  KOKKOS_FUNCTION void operator()(const Team& team) const {
    const int row = team.league_rank() * team.team_size() + team.team_rank();
    if (row >= num_rows()) return;
    const int top_k      = expert_ids.extent_int(1);
    const int assignment = assignment_of_row(row);
    const int expert     = expert_ids(assignment / top_k, assignment % top_k);
    const int hidden     = batch.extent_int(1);
    const int inner      = inner_layer.extent_int(2);
    float* const x       = &batch(row, 0);
    float* const y       = static_cast<float*>(
        team.thread_scratch(0).get_shmem(scratchBytes(inner)));

    product(team, &inner_layer(expert, 0, 0), x, hidden, y, inner);
    Kokkos::parallel_for(Kokkos::ThreadVectorRange(team, inner),
                         [=](int i) { y[i] = y[i] > 0 ? y[i] : 0; });
    product(team, &outer_layer(expert, 0, 0), y, inner, x, hidden);
  }

  /// Enqueues the work on all rows.
  void launch(const Space& space) const {
    using Policy = Kokkos::TeamPolicy<Space>;
    // The host need not know how many rows there are: the others do nothing.
    const int all = batch.extent_int(0);
    if (all == 0) return;
    // Threads of the host are few and wide already.
    constexpr bool on_host =
        Kokkos::SpaceAccessibility<Space, Kokkos::HostSpace>::accessible;
    constexpr int rows  = on_host ? 1 : 8;  // of a team
    constexpr int lanes = on_host ? 1 : 32;
    Kokkos::parallel_for(
        "TextMoe::feedForward",
        Policy(space, (all + rows - 1) / rows, rows, lanes)
            .set_scratch_size(
                0, Kokkos::PerThread(scratchBytes(inner_layer.extent_int(2)))),
        *this);
  }

 private:
  KOKKOS_FUNCTION static int scratchBytes(int inner) {
    return inner * static_cast<int>(sizeof(float));
  }

  /// to(j) = sum over i of matrix(i, j) * from(i)
  KOKKOS_FUNCTION static void product(const Team& team, const float* matrix,
                                      const float* from, int rows, float* to,
                                      int columns) {
    Kokkos::parallel_for(Kokkos::ThreadVectorRange(team, columns),
                         [=](int j) { to[j] = 0; });
    for (int i = 0; i < rows; ++i) {
      const float factor     = from[i];
      const float* const row = matrix + i * columns;
      if (factor == 0) continue;  // as most of a word's vector, and after relu
      Kokkos::parallel_for(Kokkos::ThreadVectorRange(team, columns),
                           [=](int j) { to[j] += row[j] * factor; });
    }
  }
};

}  // namespace TextMoe

#endif
