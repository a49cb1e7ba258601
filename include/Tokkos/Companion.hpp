// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// SPDX-FileCopyrightText: Copyright Contributors to the Tokkos project

#ifndef TOKKOS_COMPANION_HPP
#define TOKKOS_COMPANION_HPP

#include <Tokkos/DispatchPlan.hpp>
#include <Tokkos/Impl/Check.hpp>
#include <Tokkos/Impl/CompanionRows.hpp>
#include <Tokkos/Impl/RowPattern.hpp>
#include <Tokkos/KokkosExt/Types.hpp>

#include <Kokkos_Core.hpp>

#include <cstddef>
#include <cstdint>
#include <string>
#include <type_traits>

namespace Tokkos {

/// A further array with a row for every token, which permute moves along with
/// the tokens; made by perToken.
template <class Source, class Destination>
struct PerToken {
  Source source;            ///< in the order of the tokens
  Destination destination;  ///< in the order of the batch
};

/// A further array with a row for every assignment, which permute brings into
/// the order of the batch; made by perAssignment.
template <class Source, class Destination>
struct PerAssignment {
  Source source;            ///< in the order of the assignments
  Destination destination;  ///< in the order of the batch
};

/// Names an array that goes along with the tokens: scales of a quantised type,
/// positions, masks.
///
/// \param source T, or T x W; any trivially copyable type, layout and stride
/// \param destination R, or R x W, with R as in the batch; of the same type.
///   Row row_of_assignment(t, k) becomes row t of the source.
template <class Source, class Destination>
PerToken<Source, Destination> perToken(const Source& source,
                                       const Destination& destination) {
  return {source, destination};
}

/// Names an array that has a value of its own for every choice of a token:
/// weights, ranks.
///
/// \param source T x K with a destination of rank 1, or T * K x W, with row
///   t * K + k for assignment (t, k), with a destination of rank 2
/// \param destination R, or R x W, with R as in the batch; of the same type.
///   Row row_of_assignment(t, k) becomes the assignment's of the source.
template <class Source, class Destination>
PerAssignment<Source, Destination> perAssignment(
    const Source& source, const Destination& destination) {
  return {source, destination};
}

namespace Impl {

template <class T>
inline constexpr bool is_companion_v = false;
template <class S, class D>
inline constexpr bool is_companion_v<PerToken<S, D>> = true;
template <class S, class D>
inline constexpr bool is_companion_v<PerAssignment<S, D>> = true;

/// What holds of every companion of permute, whatever it belongs to.
template <class ExecutionSpace, class Source, class Destination>
constexpr void requireCompanion() {
  static_assert(Kokkos::is_view_v<Source> && Kokkos::is_view_v<Destination>,
                "Tokkos::permute: a companion must have two Views");
  static_assert(Destination::rank() == 1 || Destination::rank() == 2,
                "Tokkos::permute: a companion's destination must have rank 1 "
                "or 2");
  using Value = typename Destination::value_type;
  static_assert(std::is_same_v<typename Source::non_const_value_type, Value>,
                "Tokkos::permute: a companion's destination must hold its "
                "source's type, non-const");
  static_assert(std::is_trivially_copyable_v<Value>,
                "Tokkos::permute: a companion's elements must be trivially "
                "copyable");
  static_assert(KokkosExt::is_accessible_v<ExecutionSpace, Source> &&
                    KokkosExt::is_accessible_v<ExecutionSpace, Destination>,
                "Tokkos::permute: the execution space must reach every View");
}

template <class MemorySpace, class Destination>
void checkCompanionRows(const std::string& name,
                        const DispatchPlan<MemorySpace>& plan,
                        const Destination& destination) {
  checkExtentAtLeast("Tokkos::permute", name + ".destination", 0,
                     destination.extent(0),
                     static_cast<std::size_t>(plan.maxRows(plan.num_tokens)),
                     "plan.maxRows(plan.num_tokens)");
}

/// \param token_stride, choice_stride of the source, in bytes
template <class Source, class Destination>
Companion companionOf(const Source& source, const Destination& destination,
                      std::int64_t token_stride, std::int64_t choice_stride,
                      std::int64_t column_stride, std::size_t width) {
  constexpr auto size = sizeof(typename Destination::value_type);
  // Both strides count when the size of a word is chosen.
  const RowPattern<const std::byte> from{
      reinterpret_cast<const std::byte*>(source.data()),
      token_stride | choice_stride, column_stride};
  RowPattern<std::byte> to;
  if constexpr (Destination::rank() == 2)
    to = rowPattern(destination);
  else
    to = {reinterpret_cast<std::byte*>(destination.data()),
          static_cast<std::int64_t>(destination.stride(0) * size),
          static_cast<std::int64_t>(size)};
  return {from.data,          token_stride, choice_stride,
          from.column_stride, to,           rowShape(from, to, size, width)};
}

template <class MemorySpace, class Source, class Destination>
Companion companionRows(const std::string& name,
                        const DispatchPlan<MemorySpace>& plan,
                        const PerToken<Source, Destination>& companion) {
  static_assert(Source::rank() == Destination::rank(),
                "Tokkos::permute: the Views of perToken must have one rank");
  const auto& [source, destination] = companion;
  checkExtent("Tokkos::permute", name + ".source", 0, source.extent(0),
              static_cast<std::size_t>(plan.num_tokens), "plan.num_tokens");
  checkCompanionRows(name, plan, destination);
  constexpr auto size =
      static_cast<std::int64_t>(sizeof(typename Destination::value_type));
  if constexpr (Source::rank() == 2) {
    checkExtent("Tokkos::permute", name + ".destination", 1,
                destination.extent(1), source.extent(1), "source.extent(1)");
    const auto rows = rowPattern(source);
    return companionOf(source, destination, rows.row_stride, 0,
                       rows.column_stride, source.extent(1));
  } else {
    return companionOf(source, destination,
                       static_cast<std::int64_t>(source.stride(0)) * size, 0,
                       size, 1);
  }
}

template <class MemorySpace, class Source, class Destination>
Companion companionRows(const std::string& name,
                        const DispatchPlan<MemorySpace>& plan,
                        const PerAssignment<Source, Destination>& companion) {
  static_assert(Source::rank() == 2,
                "Tokkos::permute: the source of perAssignment must have rank "
                "2: T x K, or T * K x W");
  const auto& [source, destination] = companion;
  const auto num_tokens             = static_cast<std::size_t>(plan.num_tokens);
  const auto top_k                  = static_cast<std::size_t>(plan.top_k);
  constexpr auto size =
      static_cast<std::int64_t>(sizeof(typename Destination::value_type));
  if constexpr (Destination::rank() == 1) {
    checkExtent("Tokkos::permute", name + ".source", 0, source.extent(0),
                num_tokens, "plan.num_tokens");
    checkExtent("Tokkos::permute", name + ".source", 1, source.extent(1), top_k,
                "plan.top_k");
    checkCompanionRows(name, plan, destination);
    const auto rows = rowPattern(source);
    return companionOf(source, destination, rows.row_stride, rows.column_stride,
                       size, 1);
  } else {
    checkExtent("Tokkos::permute", name + ".source", 0, source.extent(0),
                num_tokens * top_k, "plan.num_tokens * plan.top_k");
    checkCompanionRows(name, plan, destination);
    checkExtent("Tokkos::permute", name + ".destination", 1,
                destination.extent(1), source.extent(1), "source.extent(1)");
    const auto rows = rowPattern(source);
    return companionOf(source, destination, rows.row_stride * plan.top_k,
                       rows.row_stride, rows.column_stride, source.extent(1));
  }
}

/// The rows of a companion, and the memory on both sides, for the error text.
struct CheckedCompanion {
  Companion rows;
  NamedRegion source;
  NamedRegion destination;
};

template <class ExecutionSpace, class MemorySpace, class AnyCompanion>
CheckedCompanion checkCompanion(int number,
                                const DispatchPlan<MemorySpace>& plan,
                                const AnyCompanion& companion) {
  requireCompanion<ExecutionSpace, decltype(companion.source),
                   decltype(companion.destination)>();
  const std::string name = "companion " + std::to_string(number);
  return {companionRows(name, plan, companion),
          {name + ".source", memoryRegion(companion.source)},
          {name + ".destination", memoryRegion(companion.destination)}};
}

}  // namespace Impl

}  // namespace Tokkos

#endif
