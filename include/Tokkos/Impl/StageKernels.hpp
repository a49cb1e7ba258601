// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// SPDX-FileCopyrightText: Copyright Contributors to the Tokkos project

#ifndef TOKKOS_IMPL_STAGEKERNELS_HPP
#define TOKKOS_IMPL_STAGEKERNELS_HPP

#include <Kokkos_Core.hpp>

#include <cstdint>

// The kernels of Stages.hpp, written the plain way.
namespace Tokkos::Impl {

/// expert_ids of rank 1 has one choice a token, of rank 2 any number.
template <class ExpertIds>
KOKKOS_FUNCTION std::int64_t numChoices(const ExpertIds& expert_ids) {
  if constexpr (ExpertIds::rank() == 1)
    return 1;
  else
    return static_cast<std::int64_t>(expert_ids.extent(1));
}

/// The expert of the choice as an index into a View of num_experts entries, or
/// -1 when the id is outside.
template <class ExpertIds>
KOKKOS_FUNCTION std::int64_t expertOf(const ExpertIds& expert_ids,
                                      std::int64_t token, std::int64_t choice,
                                      std::int64_t num_experts) {
  std::int64_t expert = 0;
  if constexpr (ExpertIds::rank() == 1)
    expert = static_cast<std::int64_t>(expert_ids(token));
  else
    expert = static_cast<std::int64_t>(expert_ids(token, choice));
  return expert >= 0 && expert < num_experts ? expert : -1;
}

template <class ExpertIds, class Counts>
struct CountExperts {
  ExpertIds expert_ids;
  Counts counts;

  KOKKOS_FUNCTION void operator()(std::int64_t token) const {
    using Count            = typename Counts::value_type;
    const auto num_experts = static_cast<std::int64_t>(counts.extent(0));
    for (std::int64_t k = 0; k < numChoices(expert_ids); ++k) {
      const auto expert = expertOf(expert_ids, token, k, num_experts);
      if (expert >= 0) Kokkos::atomic_fetch_add(&counts(expert), Count(1));
    }
  }
};

template <class Counts, class Offsets>
struct ScanCounts {
  using value_type = typename Offsets::value_type;

  Counts counts;
  Offsets offsets;

  // One step more than there are experts when the total is asked for.
  KOKKOS_FUNCTION void operator()(std::int64_t expert, value_type& sum,
                                  bool is_final) const {
    if (is_final) offsets(expert) = sum;
    if (expert < static_cast<std::int64_t>(counts.extent(0)))
      sum += static_cast<value_type>(counts(expert));
  }
};

template <class Source, class Destination, class ExpertIds, class Offsets>
struct PermuteByExpert {
  Source source;
  Destination destination;
  ExpertIds expert_ids;
  Offsets offsets;
  std::int64_t num_experts;

  KOKKOS_FUNCTION void operator()(std::int64_t token) const {
    using Offset = typename Offsets::value_type;
    for (std::int64_t k = 0; k < numChoices(expert_ids); ++k) {
      const auto expert = expertOf(expert_ids, token, k, num_experts);
      if (expert < 0) continue;
      const auto row = static_cast<std::int64_t>(
          Kokkos::atomic_fetch_add(&offsets(expert), Offset(1)));
      if (row >= 0 && row < static_cast<std::int64_t>(destination.extent(0)))
        copy(token, row);
    }
  }

 private:
  KOKKOS_FUNCTION void copy(std::int64_t token, std::int64_t row) const {
    if constexpr (Source::rank() == 1) {
      destination(row) = source(token);
    } else {
      const auto width = static_cast<std::int64_t>(source.extent(1));
      for (std::int64_t h = 0; h < width; ++h)
        destination(row, h) = source(token, h);
    }
  }
};

}  // namespace Tokkos::Impl

#endif
