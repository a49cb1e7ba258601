// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// SPDX-FileCopyrightText: Copyright Contributors to the Tokkos project

#ifndef TOKKOS_IMPL_EXPERTCHECKS_HPP
#define TOKKOS_IMPL_EXPERTCHECKS_HPP

#include <Tokkos/ExpertOptions.hpp>
#include <Tokkos/Impl/Check.hpp>
#include <Tokkos/Impl/RowChecks.hpp>

#include <Kokkos_Core.hpp>

#include <climits>
#include <cstddef>
#include <cstdint>
#include <string>
#include <type_traits>
#include <vector>

// What the experts' verbs check of their arguments.
namespace Tokkos::Impl {

/// Calls visit(name, view) for every View of a set of weights.
template <class Weights, class Visitor>
void forEachExpertView(const Weights& w, const Visitor& visit) {
  visit("gate", w.gate);
  visit("up", w.up);
  visit("down", w.down);
  visit("gate_up", w.gate_up);
  visit("gate_bias", w.gate_bias);
  visit("up_bias", w.up_bias);
  visit("down_bias", w.down_bias);
  visit("gate_up_bias", w.gate_up_bias);
}

/// A View of weights that is `rows` x `columns` (of a matrix) for every expert.
template <class View>
void checkExpertView(const char* function, const std::string& name,
                     const View& view, std::size_t experts, std::size_t rows,
                     std::size_t columns) {
  checkExtent(function, name, 0, view.extent(0), experts,
              "weights.down.extent(0)");
  checkExtent(function, name, 1, view.extent(1), rows,
              "as weights.down has it");
  if constexpr (View::rank() == 3) {
    checkExtent(function, name, 2, view.extent(2), columns,
                "as weights.down has it");
    if (view.stride(1) != view.extent(2))
      throwInvalidArgument(function, name, "rows without gaps",
                           "stride(1) = " + std::to_string(view.stride(1)) +
                               " for rows of " +
                               std::to_string(view.extent(2)));
  }
}

/// The sizes of the weights, when they are complete and fit together.
template <class Weights>
ExpertShape expertShape(const char* function, const Weights& weights) {
  const auto needs = [&](const char* name, bool there, const char* expected) {
    if (!there)
      throwInvalidArgument(function, std::string("weights.") + name, expected,
                           "an empty View");
  };
  const auto excludes = [&](const char* name, const auto& view,
                            const char* expected) {
    if (view.size() > 0)
      throwInvalidArgument(function, std::string("weights.") + name, expected,
                           std::to_string(view.size()) + " elements");
  };
  needs("down", weights.down.size() > 0, "E x H x F numbers");
  const std::size_t experts = weights.down.extent(0);
  const std::size_t hidden  = weights.down.extent(1);
  const std::size_t inner   = weights.down.extent(2);
  for (int d = 0; d < 3; ++d)
    checkRange(function, "weights.down.extent(" + std::to_string(d) + ")",
               static_cast<std::int64_t>(
                   weights.down.extent(static_cast<std::size_t>(d))),
               1, INT_MAX / 2, "int can hold");

  const bool fused = weights.gate_up.size() > 0;
  const bool gated = fused || weights.gate.size() > 0;
  if (fused) {
    excludes("gate", weights.gate, "an empty View beside gate_up");
    excludes("up", weights.up, "an empty View beside gate_up");
  } else {
    needs("up", weights.up.size() > 0, "E x F x H numbers, or gate_up");
  }
  if (!gated) {
    excludes("gate_bias", weights.gate_bias, "an empty View without a gate");
    excludes("gate_up_bias", weights.gate_up_bias,
             "an empty View without a gate");
  }
  if (weights.gate_up_bias.size() > 0) {
    excludes("gate_bias", weights.gate_bias,
             "an empty View beside gate_up_bias");
    excludes("up_bias", weights.up_bias, "an empty View beside gate_up_bias");
  }
  forEachExpertView(weights, [&](const std::string& name, const auto& view) {
    if (view.size() == 0) return;
    const bool is_down = name.starts_with("down");
    const bool is_both = name.starts_with("gate_up");
    checkExpertView(function, "weights." + name, view, experts,
                    is_down   ? hidden
                    : is_both ? 2 * inner
                              : inner,
                    is_down ? inner : hidden);
  });
  return {static_cast<int>(experts), static_cast<int>(hidden),
          static_cast<int>(inner), gated};
}

/// Every gradient that is wanted has the extents of its weights.
template <class Weights, class Gradients>
void checkExpertGradients(const char* function, const Weights& weights,
                          const Gradients& gradients) {
  forEachExpertView(gradients, [&](const std::string& name, const auto& view) {
    if (view.size() == 0) return;
    using View = std::remove_cvref_t<decltype(view)>;
    forEachExpertView(weights, [&](const std::string& other,
                                   const auto& counterpart) {
      if constexpr (std::remove_cvref_t<decltype(counterpart)>::rank() ==
                    View::rank()) {
        if (name != other) return;
        for (std::size_t d = 0; d < View::rank(); ++d)
          checkExtent(function, "weights_gradient." + name, static_cast<int>(d),
                      view.extent(d), counterpart.extent(d),
                      "weights." + name + ".extent(" + std::to_string(d) + ")");
        if constexpr (View::rank() == 3)
          checkExpertView(function, "weights_gradient." + name, view,
                          view.extent(0), view.extent(1), view.extent(2));
      }
    });
  });
}

inline void checkExpertShape(const char* function, const ExpertShape& shape) {
  checkRange(function, "shape.num_experts", shape.num_experts, 1, INT_MAX / 2,
             "a layer has experts");
  checkRange(function, "shape.hidden_size", shape.hidden_size, 1, INT_MAX / 2,
             "a token has numbers");
  checkRange(function, "shape.inner_size", shape.inner_size, 1, INT_MAX / 2,
             "an expert has inner values");
}

template <class Workspace, class MemorySpace>
void checkExpertWorkspace(const char* function, const Workspace& workspace,
                          const ExpertShape& shape,
                          const DispatchPlan<MemorySpace>& plan) {
  const auto same = [&](const char* name, int actual, int expected) {
    if (actual != expected)
      throwInvalidArgument(function, std::string("workspace.shape.") + name,
                           std::to_string(expected) + " (of the weights)",
                           std::to_string(actual));
  };
  same("num_experts", workspace.shape.num_experts, shape.num_experts);
  same("hidden_size", workspace.shape.hidden_size, shape.hidden_size);
  same("inner_size", workspace.shape.inner_size, shape.inner_size);
  same("gated", workspace.shape.gated, shape.gated);
  checkRange(function, "workspace.max_rows", workspace.max_rows,
             plan.maxRows(plan.num_tokens), INT_MAX,
             "plan.maxRows(plan.num_tokens) at least");
}

/// A batch of H columns that lie side by side.
template <class MemorySpace, class Batch>
void checkExpertBatch(const char* function, const char* name,
                      const DispatchPlan<MemorySpace>& plan, int hidden_size,
                      const Batch& batch) {
  checkBatchRows(function, plan, name, batch);
  checkExtent(function, name, 1, batch.extent(1),
              static_cast<std::size_t>(hidden_size), "weights.down.extent(1)");
  if (batch.stride(1) != 1 && batch.extent(1) > 1)
    throwInvalidArgument(function, std::string(name) + ".stride(1)", "1",
                         std::to_string(batch.stride(1)));
  // A library for matrices takes their strides as int.
  checkRange(function, std::string(name) + ".stride(0)",
             static_cast<std::int64_t>(batch.stride(0)), 0, INT_MAX,
             "int can hold");
}

template <class View>
MemoryRegion expertRegion(const View& view) {
  if constexpr (View::rank() == 3) {
    const std::size_t span =
        view.size() == 0
            ? 0
            : ((view.extent(0) - 1) * view.stride(0) +
               (view.extent(1) - 1) * view.stride(1) + view.extent(2)) *
                  sizeof(typename View::value_type);
    return {reinterpret_cast<std::uintptr_t>(view.data()), 1, span, 0};
  } else {
    return memoryRegion(view);
  }
}

/// Adds the Views that exist.
template <class Weights>
void addExpertRegions(const std::string& prefix, const Weights& weights,
                      std::vector<NamedRegion>& regions) {
  forEachExpertView(weights, [&](const std::string& name, const auto& view) {
    if (view.size() > 0) regions.push_back({prefix + name, expertRegion(view)});
  });
}

}  // namespace Tokkos::Impl

#endif
