// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// SPDX-FileCopyrightText: Copyright Contributors to the Tokkos project

#include <Tokkos/DispatchPlan.hpp>

#include <cmath>

namespace Tokkos {

int capacityOfFactor(double factor, std::int64_t num_tokens, int top_k,
                     int num_experts) {
  constexpr auto function = "Tokkos::capacityOfFactor";
  Impl::checkRange(function, "num_tokens", num_tokens, 0, INT64_MAX, "");
  Impl::checkRange(function, "top_k", top_k, 1, INT_MAX, "");
  Impl::checkRange(function, "num_experts", num_experts, 1, INT_MAX, "");
  if (!(factor > 0) || std::isinf(factor))
    Impl::throwInvalidArgument(function, "factor", "a positive number",
                               std::to_string(factor));
  const double capacity =
      std::ceil(factor * static_cast<double>(num_tokens) * top_k / num_experts);
  if (capacity > INT_MAX)
    Impl::throwInvalidArgument(function, "the capacity", "2^31 - 1 or less",
                               std::to_string(capacity));
  return capacity < 1 ? 1 : static_cast<int>(capacity);
}

}  // namespace Tokkos
