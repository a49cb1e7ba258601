// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// SPDX-FileCopyrightText: Copyright Contributors to the Tokkos project

#include <Tokkos/Impl/Check.hpp>

#include <stdexcept>
#include <utility>

namespace Tokkos::Impl {

void throwInvalidArgument(std::string_view function, std::string_view argument,
                          std::string_view expected, std::string_view actual) {
  std::string message;
  message.append(function).append(": ").append(argument);
  message.append(": expected ").append(expected);
  message.append(", got ").append(actual);
  throw std::invalid_argument(message);
}

namespace {

std::string extentName(std::string_view view, int dimension) {
  return std::string(view) + ".extent(" + std::to_string(dimension) + ")";
}

std::string withMeaning(std::string expected, std::string_view meaning) {
  if (!meaning.empty()) expected.append(" (").append(meaning).append(")");
  return expected;
}

}  // namespace

void checkExtent(std::string_view function, std::string_view view,
                 int dimension, std::size_t actual, std::size_t expected,
                 std::string_view meaning) {
  if (actual == expected) return;
  throwInvalidArgument(function, extentName(view, dimension),
                       withMeaning(std::to_string(expected), meaning),
                       std::to_string(actual));
}

void checkExtentAtLeast(std::string_view function, std::string_view view,
                        int dimension, std::size_t actual, std::size_t minimum,
                        std::string_view meaning) {
  if (actual >= minimum) return;
  throwInvalidArgument(
      function, extentName(view, dimension),
      withMeaning(std::to_string(minimum) + " or more", meaning),
      std::to_string(actual));
}

void checkRange(std::string_view function, std::string_view argument,
                std::int64_t value, std::int64_t low, std::int64_t high,
                std::string_view meaning) {
  if (low <= value && value <= high) return;
  throwInvalidArgument(
      function, argument,
      withMeaning(std::to_string(low) + " to " + std::to_string(high), meaning),
      std::to_string(value));
}

namespace {

bool overlap(MemoryRegion a, MemoryRegion b) {
  if (a.row_bytes == 0 || b.row_bytes == 0 || a.rows == 0 || b.rows == 0)
    return false;
  if (a.begin > b.begin) std::swap(a, b);
  const std::uintptr_t end_of_a =
      a.begin + (a.rows - 1) * a.stride + a.row_bytes;
  if (end_of_a <= b.begin) return false;
  // A single run lies in the pattern of the other View.
  if (a.rows == 1) a.stride = b.stride;
  if (b.rows == 1) b.stride = a.stride;
  if (a.stride != b.stride || a.stride == 0) return true;
  const std::size_t shift = (b.begin - a.begin) % a.stride;
  return !(a.row_bytes <= shift && shift + b.row_bytes <= a.stride);
}

}  // namespace

void checkMemory(std::string_view function, std::string_view name,
                 const MemoryRegion& region) {
  if (region.begin != 0 || region.rows == 0 || region.row_bytes == 0) return;
  throwInvalidArgument(function, name, "a View with memory", "a null pointer");
}

void checkDisjoint(std::string_view function, std::string_view first_name,
                   const MemoryRegion& first, std::string_view second_name,
                   const MemoryRegion& second) {
  checkMemory(function, first_name, first);
  checkMemory(function, second_name, second);
  if (!overlap(first, second)) return;
  throwInvalidArgument(
      function, std::string(first_name) + " and " + std::string(second_name),
      "separate memory", "Views that share memory");
}

void checkAllDisjoint(std::string_view function,
                      std::span<const NamedRegion> inputs,
                      std::span<const NamedRegion> outputs) {
  for (std::size_t i = 0; i < outputs.size(); ++i) {
    const auto& [name, region] = outputs[i];
    for (const NamedRegion& input : inputs)
      checkDisjoint(function, input.name, input.region, name, region);
    for (std::size_t j = 0; j < i; ++j)
      checkDisjoint(function, outputs[j].name, outputs[j].region, name, region);
  }
}

}  // namespace Tokkos::Impl
