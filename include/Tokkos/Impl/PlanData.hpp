// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// SPDX-FileCopyrightText: Copyright Contributors to the Tokkos project

#ifndef TOKKOS_IMPL_PLANDATA_HPP
#define TOKKOS_IMPL_PLANDATA_HPP

#include <Kokkos_Core.hpp>

#include <cstdint>

// What the kernels of the dispatch plan read and write. Plain pointers, so that
// one kernel serves Views of every layout and stays small enough to be launched
// from the kernel's arguments.
namespace Tokkos::Impl {

/// Which expert of this process an assignment goes to.
template <class Id>
struct PlanKeys {
  enum : int { none = -1, invalid = -2 };

  const Id* ids;
  std::int64_t token_stride;
  std::int64_t choice_stride;
  const bool* mask;       // of a token; null: every token takes part
  const int* expert_map;  // global -> local; null: the range below
  int top_k;
  int num_global_experts;
  int first_expert;
  int num_experts;
  bool contiguous;

  /// The local expert of the assignment; `none` when its token is masked or
  /// its expert is remote, `invalid` when its id names no expert.
  KOKKOS_FUNCTION int operator()(int assignment) const {
    if (contiguous && mask == nullptr) return local(ids[assignment]);
    const int token = assignment / top_k;
    if (mask != nullptr && !mask[token]) return none;
    return local(ids[token * token_stride +
                     (assignment - token * top_k) * choice_stride]);
  }

 private:
  KOKKOS_FUNCTION int local(Id id) const {
    if (id < 0 || id >= static_cast<Id>(num_global_experts)) return invalid;
    if (expert_map != nullptr) return expert_map[id];
    const int expert = static_cast<int>(id) - first_expert;
    return expert >= 0 && expert < num_experts ? expert : int(none);
  }
};

/// The arrays of a plan and the numbers that shape them.
struct PlanData {
  int* counts;
  int* offsets;
  int* dropped;
  int* row_of_assignment;
  int* assignment_of_row;
  int* expert_of_block;
  int* num_rows;
  int* num_dropped;
  int* table;  // tile x bin: see below
  int num_assignments;
  int num_experts;
  int num_blocks;
  int capacity;  // INT_MAX: unlimited
  int alignment;
  int tile_length;
  int num_tiles;

  // The table counts, tile by tile, the assignments of every expert, and in a
  // last bin those whose id is invalid. Scanning it turns the counts into the
  // number of assignments of the expert in earlier tiles.
  KOKKOS_FUNCTION int numBins() const { return num_experts + 1; }
  KOKKOS_FUNCTION int* tableRow(int tile) const {
    return table + static_cast<std::int64_t>(tile) * numBins();
  }
  KOKKOS_FUNCTION int tileBegin(int tile) const { return tile * tile_length; }
  KOKKOS_FUNCTION int tileEnd(int tile) const {
    // tile_length * num_tiles may lie beyond the integers.
    return tile == num_tiles - 1 ? num_assignments : (tile + 1) * tile_length;
  }

  /// Rows that the expert's segment takes, padding included.
  KOKKOS_FUNCTION int paddedRows(int count) const {
    if (alignment == 1) return count;
    return (count + alignment - 1) / alignment * alignment;
  }

  /// Gives the assignment, which is number `rank` among those of its expert,
  /// its row, or none when the expert is full.
  KOKKOS_FUNCTION void place(int assignment, int expert, int rank) const {
    if (rank >= capacity) {
      row_of_assignment[assignment] = -1;
      return;
    }
    const int row                 = offsets[expert] + rank;
    row_of_assignment[assignment] = row;
    assignment_of_row[row]        = assignment;
  }
};

}  // namespace Tokkos::Impl

#endif
