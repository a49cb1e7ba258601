// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// SPDX-FileCopyrightText: Copyright Contributors to the Tokkos project

#ifndef TOKKOS_IMPL_PLANDATA_HPP
#define TOKKOS_IMPL_PLANDATA_HPP

#include <Tokkos/KokkosExt/Load.hpp>

#include <Kokkos_Core.hpp>

#include <climits>
#include <cstdint>
#include <type_traits>

// What the kernels of the dispatch plan read and write. Plain pointers, so that
// one kernel serves Views of every layout and stays small enough to be launched
// from the kernel's arguments.
namespace Tokkos::Impl {

/// What an assignment has instead of an expert of this process.
enum PlanKey : int {
  key_none    = -1,  // its token is masked, or its expert is remote
  key_invalid = -2   // its id names no expert
};

/// The local expert of an assignment, whatever the options and the layout.
template <class Id>
struct PlanKeys {
  static constexpr bool plain = false;

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
  // Numbers the assignments choice by choice instead, when it is not 0.
  int tokens_of_a_choice = 0;
  // Only the assignments that have the mark take part; null: all.
  const unsigned char* marks = nullptr;
  unsigned char mark         = 0;

  KOKKOS_FUNCTION int operator()(int assignment) const {
    if (contiguous && mask == nullptr && marks == nullptr &&
        tokens_of_a_choice == 0)
      return local(ids[assignment]);
    int token = 0, choice = 0;
    if (tokens_of_a_choice == 0) {
      token  = assignment / top_k;
      choice = assignment - token * top_k;
    } else {
      choice = assignment / tokens_of_a_choice;
      token  = assignment - choice * tokens_of_a_choice;
    }
    if (mask != nullptr && !mask[token]) return key_none;
    const int expert =
        local(ids[token * token_stride + choice * choice_stride]);
    if (marks != nullptr && expert >= 0 && marks[assignment] != mark)
      return key_none;
    return expert;
  }

 private:
  KOKKOS_FUNCTION int local(Id id) const {
    if (id < 0 || id >= static_cast<Id>(num_global_experts)) return key_invalid;
    if (expert_map != nullptr) return expert_map[id];
    const int expert = static_cast<int>(id) - first_expert;
    return expert >= 0 && expert < num_experts ? expert : int(key_none);
  }
};

/// The same where ids lie side by side and no option is used, neither one that
/// acts on keys nor a capacity or an alignment.
template <class Id>
struct PlainPlanKeys {
  static constexpr bool plain = true;

  const Id* ids;
  int num_experts;

  KOKKOS_FUNCTION int operator()(int assignment) const {
    return expertOf(ids[assignment]);
  }
  /// The same for a kernel that starts early.
  KOKKOS_FUNCTION int early(int assignment) const {
    return expertOf(KokkosExt::loadCoherent(ids + assignment));
  }

 private:
  KOKKOS_FUNCTION int expertOf(Id id) const {
    using Unsigned = std::make_unsigned_t<Id>;
    return static_cast<Unsigned>(id) < static_cast<Unsigned>(num_experts)
               ? static_cast<int>(id)
               : int(key_invalid);
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
  int table_stride;
  int key_bits;  // low bits that tell the bins, and none, from each other

  KOKKOS_FUNCTION bool hasCapacity() const { return capacity != INT_MAX; }

  // The table counts, tile by tile, the assignments of every expert, and in a
  // last bin those whose id is invalid. Scanning it turns the counts into the
  // number of assignments of the expert in earlier tiles.
  KOKKOS_FUNCTION int numBins() const { return num_experts + 1; }
  static int keyBits(int num_experts) {
    int bits = 1;
    while ((std::int64_t(1) << bits) < std::int64_t(num_experts) + 3)
      ++bits;
    return bits;
  }
  /// The rows of the table begin where a load of 16 bytes may; and no two of
  /// them share a cache line, in which threads of a host would disturb each
  /// other.
  static int tableStride(int num_experts) {
    const std::int64_t stride = (std::int64_t(num_experts) + 36) / 32 * 32;
    return static_cast<int>(Kokkos::min(stride, std::int64_t(INT_MAX)));
  }
  KOKKOS_FUNCTION int* tableRow(int tile) const {
    return table + static_cast<std::int64_t>(tile) * table_stride;
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

  /// Marks the padding of expert e, whose rows begin at \p begin, hold
  /// assignments up to \p limit and end at \p end, and the blocks that it owns.
  /// This is thread `rank` of `size`.
  KOKKOS_FUNCTION void padSegment(int e, int begin, int limit, int end,
                                  int rank, int size) const {
    for (int row = limit + rank; row < end; row += size)
      assignment_of_row[row] = -1;
    for (int block = begin / alignment + rank; block < end / alignment;
         block += size)
      expert_of_block[block] = e;
  }
  /// Marks the blocks behind the last row.
  KOKKOS_FUNCTION void padBlocks(int rows, int rank, int size) const {
    for (int block = rows / alignment + rank; block < num_blocks; block += size)
      expert_of_block[block] = -1;
  }
};

}  // namespace Tokkos::Impl

#endif
