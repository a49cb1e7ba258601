// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// SPDX-FileCopyrightText: Copyright Contributors to the Tokkos project

#include "Registry.hpp"

#include <Kokkos_Core.hpp>

#ifdef KOKKOS_ENABLE_CUDA

#include "Inputs.hpp"
#include "Measure.hpp"
#include "PlanBytes.hpp"

#include <cub/device/device_radix_sort.cuh>

#include <bit>
#include <cstddef>
#include <stdexcept>
#include <string>
#include <vector>

namespace PerfTest {

using CubInts = Array<int, Kokkos::CudaSpace>;
using CubIds  = Matrix<int, Kokkos::CudaSpace>;

struct CubSet {
  CubIds expert_ids;
  CubInts sorted_ids;
  CubInts offsets;
  CubInts row_of_assignment;
  CubInts assignment_of_row;
};

struct CubNumber {
  CubInts numbers;

  KOKKOS_FUNCTION void operator()(int i) const { numbers(i) = i; }
};

/// The way back of every row, and the offsets of the experts between the key
/// before it and its own.
struct CubFinish {
  CubSet set;
  int num_rows;

  KOKKOS_FUNCTION void operator()(int row) const {
    const int num_experts = static_cast<int>(set.offsets.extent(0)) - 1;
    const int expert      = set.sorted_ids(row);
    const int before      = row > 0 ? set.sorted_ids(row - 1) : -1;
    for (int e = before + 1; e <= expert; ++e)
      set.offsets(e) = row;
    if (row == num_rows - 1)
      for (int e = expert + 1; e <= num_experts; ++e)
        set.offsets(e) = num_rows;
    set.row_of_assignment(set.assignment_of_row(row)) = row;
  }
};

struct CubCountWrong {
  CubSet set;

  KOKKOS_FUNCTION void operator()(int row, int& wrong) const {
    const int a      = set.assignment_of_row(row);
    const int expert = set.expert_ids.data()[a];
    const bool right =
        set.row_of_assignment(a) == row && set.offsets(expert) <= row &&
        row < set.offsets(expert + 1) &&
        (row == set.offsets(expert) || set.assignment_of_row(row - 1) < a);
    if (!right) ++wrong;
  }
};

/// CUB's radix sort on the bits that an id has, and one kernel that makes the
/// way back and the offsets. (The counts are the differences of the offsets; it
/// does not write them.)
class CubRadixSort : public KokkosSubject<Kokkos::Cuda> {
  using Policy = Kokkos::RangePolicy<Kokkos::Cuda, Kokkos::IndexType<int>>;

 public:
  CubRadixSort(const Kokkos::Cuda& space, const Workload& workload)
      : m_num_rows(workload.numAssignments()),
        m_num_bits(static_cast<int>(std::bit_width(
            static_cast<unsigned>(workload.model.num_experts - 1)))),
        m_numbers(allocate<CubInts>(space, "numbers", m_num_rows)) {
    for (int i = 0; i < numPlanSets<Kokkos::Cuda>(workload); ++i)
      m_sets.push_back(
          {makeExpertIds(space, workload, i),
           allocate<CubInts>(space, "sorted_ids", m_num_rows),
           allocate<CubInts>(space, "offsets", workload.model.num_experts + 1),
           allocate<CubInts>(space, "row_of_assignment", m_num_rows),
           allocate<CubInts>(space, "assignment_of_row", m_num_rows)});
    Kokkos::parallel_for("PerfTest::number", Policy(space, 0, m_num_rows),
                         CubNumber{m_numbers});
    std::size_t bytes = 0;
    sort(space, m_sets[0], nullptr, bytes);
    m_scratch = allocate<Scratch>(space, "scratch", bytes);
  }

  static double minimumBytes(const Workload& workload) {
    return planBytes(workload);
  }

  int numSets() const { return static_cast<int>(m_sets.size()); }

  void call(const Kokkos::Cuda& space, int i) {
    const CubSet& set = m_sets[static_cast<std::size_t>(i)];
    std::size_t bytes = m_scratch.extent(0);
    sort(space, set, m_scratch.data(), bytes);
    Kokkos::parallel_for("PerfTest::finish", Policy(space, 0, m_num_rows),
                         CubFinish{set, m_num_rows});
  }

  std::string check(const Kokkos::Cuda& space) const {
    int wrong = 0;
    Kokkos::parallel_reduce("PerfTest::check", Policy(space, 0, m_num_rows),
                            CubCountWrong{m_sets[0]}, wrong);
    return wrong == 0 ? "" : "the plan is wrong";
  }

 private:
  using Scratch = Array<std::byte, Kokkos::CudaSpace>;

  /// Without scratch memory it only says how much it needs.
  void sort(const Kokkos::Cuda& space, const CubSet& set, void* scratch,
            std::size_t& bytes) const {
    const cudaError_t status = cub::DeviceRadixSort::SortPairs(
        scratch, bytes, set.expert_ids.data(), set.sorted_ids.data(),
        m_numbers.data(), set.assignment_of_row.data(), m_num_rows, 0,
        m_num_bits, space.cuda_stream());
    if (status != cudaSuccess)
      throw std::runtime_error(cudaGetErrorString(status));
  }

  int m_num_rows;
  int m_num_bits;
  CubInts m_numbers;
  Scratch m_scratch;
  std::vector<CubSet> m_sets;
};

void addCubBaselines() {
  for (const Workload& workload : workloads({Routing::uniform, Routing::zipf}))
    add<CubRadixSort>("cubRadixSort", workload);
}

}  // namespace PerfTest

#else

void PerfTest::addCubBaselines() {}

#endif
