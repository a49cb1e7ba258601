// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// SPDX-FileCopyrightText: Copyright Contributors to the Tokkos project

#ifndef TOKKOS_EXAMPLES_CROSS_CHECK_RUN_HPP
#define TOKKOS_EXAMPLES_CROSS_CHECK_RUN_HPP

#include "Compare.hpp"
#include "Input.hpp"

#include <Tokkos.hpp>

#include <Kokkos_Core.hpp>

#include <cstddef>
#include <string>
#include <utility>
#include <vector>

namespace CrossCheck {

/// Runs the dispatch on one instance of an execution space and brings all that
/// is specified of the result to the host.
template <class Space>
class Run {
 public:
  Run(const Space& space, const Input& input) : space_(space), input_(input) {}

  Result operator()() {
    if (!input_.ids_32.empty())
      dispatch(toDevice(input_.ids_32, input_.top_k));
    else if (!input_.ids_64.empty())
      dispatch(toDevice(input_.ids_64, input_.top_k));
    else
      dispatch(route());
    return std::move(result_);
  }

 private:
  using Memory = typename Space::memory_space;
  template <class Data>
  using View = Kokkos::View<Data, Kokkos::LayoutRight, Memory>;

  View<int**> route() {
    const auto tokens  = static_cast<std::size_t>(input_.num_tokens);
    const auto choices = static_cast<std::size_t>(input_.top_k);
    const View<int**> ids("CrossCheck::expert_ids", tokens, choices);
    const View<float**> weights("CrossCheck::weights", tokens, choices);
    Tokkos::routeTopK(space_, toDevice(input_.logits, input_.num_experts), ids,
                      weights);
    keep("expert_ids", ids, {tokens, choices});
    keep("weights", weights, {tokens, choices});
    return ids;
  }

  template <class Ids>
  void dispatch(const Ids& ids) {
    Tokkos::PlanOptions<Memory> options;
    options.capacity  = input_.capacity;
    options.alignment = input_.alignment;
    const auto plan =
        Tokkos::buildDispatchPlan(space_, ids, input_.num_experts, options);
    const auto tokens = static_cast<std::size_t>(plan.num_tokens);
    const auto hidden = static_cast<std::size_t>(input_.hidden);
    keep("counts", plan.counts, {plan.counts.extent(0)});
    keep("offsets", plan.offsets, {plan.offsets.extent(0)});
    keep("dropped", plan.dropped, {plan.dropped.extent(0)});
    keep("num_rows", plan.num_rows, {});
    keep("num_dropped", plan.num_dropped, {});
    keep("row_of_assignment", plan.row_of_assignment, {tokens, ids.extent(1)});
    keep("expert_of_block", plan.expert_of_block,
         {plan.expert_of_block.extent(0)});

    // Rows behind num_rows are unspecified.
    int num_rows = 0;
    Kokkos::deep_copy(space_, num_rows, plan.num_rows);
    space_.fence("CrossCheck::numRows");
    const auto rows = static_cast<std::size_t>(num_rows);
    keep("assignment_of_row", plan.assignment_of_row, {rows});

    const View<float**> batch("CrossCheck::batch",
                              static_cast<std::size_t>(plan.max_rows), hidden);
    Tokkos::permute(space_, plan, toDevice(input_.tokens, input_.hidden),
                    batch);
    keep("batch", batch, {rows, hidden});

    const View<float**> output("CrossCheck::output", tokens, hidden);
    Tokkos::combine(space_, plan, batch, toDevice(input_.weights, input_.top_k),
                    output);
    keep("output", output, {tokens, hidden});
  }

  /// An array of input_.num_tokens rows.
  template <class Value>
  View<Value**> toDevice(const std::vector<Value>& values, int width) {
    const auto rows    = static_cast<std::size_t>(input_.num_tokens);
    const auto columns = static_cast<std::size_t>(width);
    using HostView =
        Kokkos::View<const Value**, Kokkos::LayoutRight, Kokkos::HostSpace,
                     Kokkos::MemoryTraits<Kokkos::Unmanaged>>;
    const HostView host(values.data(), rows, columns);
    const View<Value**> device("CrossCheck::input", rows, columns);
    Kokkos::deep_copy(device, host);
    return device;
  }

  /// Takes the first entries of an array, as many as the shape has.
  template <class AnyView>
  void keep(const char* name, const AnyView& view,
            const std::vector<std::size_t>& shape) {
    space_.fence("CrossCheck::keep");
    const auto host =
        Kokkos::create_mirror_view_and_copy(Kokkos::HostSpace(), view);
    std::size_t size = 1;
    for (const std::size_t extent : shape)
      size *= extent;
    using Value = typename AnyView::non_const_value_type;
    result_.arrays.push_back(
        {name, shape, std::vector<Value>(host.data(), host.data() + size)});
  }

  Space space_;
  const Input& input_;
  Result result_;
};

template <class Space>
Result runOn(const Space& space, const Input& input,
             const std::string& backend) {
  Result result  = Run<Space>(space, input)();
  result.backend = backend;
  return result;
}

}  // namespace CrossCheck

#endif
