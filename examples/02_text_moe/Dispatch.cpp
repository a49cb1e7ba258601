// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// SPDX-FileCopyrightText: Copyright Contributors to the Tokkos project

#include "Dispatch.hpp"

#include "FeedForward.hpp"

#include <Tokkos.hpp>

#include <Kokkos_Timer.hpp>

#include <algorithm>

namespace TextMoe {

namespace {

using Space  = Kokkos::DefaultExecutionSpace;
using Memory = Space::memory_space;
template <class Data>
using Array = Kokkos::View<Data, Kokkos::LayoutRight, Memory>;

/// Values of the host as an array of the device, whose extents are n...
template <class Data, class Value, class... Extents>
auto toDevice(const std::vector<Value>& values, Extents... n) {
  using HostView = Kokkos::View<Data, Kokkos::LayoutRight, Kokkos::HostSpace,
                                Kokkos::MemoryUnmanaged>;
  const HostView host(values.data(), static_cast<std::size_t>(n)...);
  // A copy even where the memory spaces are the same: it has its own life.
  Array<typename HostView::non_const_data_type> device(
      Kokkos::view_alloc(Kokkos::WithoutInitializing, "TextMoe::input"),
      static_cast<std::size_t>(n)...);
  Kokkos::deep_copy(device, host);
  return device;
}

template <class View>
std::vector<typename View::non_const_value_type> toHost(const View& view,
                                                        std::size_t size) {
  const auto host =
      Kokkos::create_mirror_view_and_copy(Kokkos::HostSpace(), view);
  return {host.data(), host.data() + size};
}

template <class Work>
double secondsOf(const Space& space, const Work& work) {
  space.fence("TextMoe::timeBegins");
  const Kokkos::Timer timer;
  work();
  space.fence("TextMoe::timeEnds");
  return timer.seconds();
}

/// The best of a few repetitions, after one that warms up.
template <class Work>
double bestSecondsOf(const Space& space, const Work& work) {
  work();
  double best = secondsOf(space, work);
  for (int i = 1; i < 3; ++i)
    best = std::min(best, secondsOf(space, work));
  return best;
}

Plan planOnHost(const Tokkos::DispatchPlan<Memory>& plan,
                const Array<int**>& expert_ids) {
  Plan host;
  host.num_rows    = toHost(plan.num_rows, 1)[0];
  host.num_dropped = toHost(plan.num_dropped, 1)[0];
  host.expert_ids  = toHost(expert_ids, expert_ids.size());
  host.counts      = toHost(plan.counts, plan.counts.size());
  host.offsets     = toHost(plan.offsets, plan.offsets.size());
  host.dropped     = toHost(plan.dropped, plan.dropped.size());
  host.row_of_assignment =
      toHost(plan.row_of_assignment, plan.row_of_assignment.size());
  host.assignment_of_row =
      toHost(plan.assignment_of_row, static_cast<std::size_t>(host.num_rows));
  return host;
}

}  // namespace

/// Every token gets the row of its word. Not in the unnamed namespace: nvcc
/// wants to see the function of a lambda from outside.
void spreadWords(const Space& space, const Array<const int*>& word_of_token,
                 const Array<const float**>& words,
                 const Array<float**>& tokens) {
  Kokkos::parallel_for(
      "TextMoe::spreadWords",
      Kokkos::MDRangePolicy<Space, Kokkos::Rank<2>>(
          space, {0, 0}, {tokens.extent_int(0), tokens.extent_int(1)}),
      KOKKOS_LAMBDA(int t, int h) {
        tokens(t, h) = words(word_of_token(t), h);
      });
}

Result dispatch(const Input& input) {
  const Space space;
  const auto num_tokens  = input.numTokens();
  const auto num_experts = static_cast<std::size_t>(input.num_experts);
  const auto top_k       = static_cast<std::size_t>(input.top_k);
  const auto hidden      = static_cast<std::size_t>(input.hidden);

  const auto word_of_token = toDevice<const int*>(input.tokens, num_tokens);
  Array<float**> tokens("TextMoe::tokens", num_tokens, hidden);
  Array<float**> logits("TextMoe::logits", num_tokens, num_experts);
  spreadWords(space, word_of_token,
              toDevice<const float**>(input.vectors, input.numWords(), hidden),
              tokens);
  spreadWords(
      space, word_of_token,
      toDevice<const float**>(input.logits, input.numWords(), num_experts),
      logits);

  // Which experts a token wants, and how much of each.
  Array<int**> expert_ids("TextMoe::expert_ids", num_tokens, top_k);
  Array<float**> weights("TextMoe::weights", num_tokens, top_k);
  const auto route = [&] {
    Tokkos::routeTopK(space, logits, expert_ids, weights,
                      {.score = Tokkos::Score::softmax, .normalize = true});
  };
  const double route_seconds = bestSecondsOf(space, route);

  // Which row of the batch every choice gets.
  Tokkos::PlanOptions<Memory> options;
  options.capacity = input.capacity;
  auto plan =
      Tokkos::buildDispatchPlan(space, expert_ids, input.num_experts, options);
  const double plan_seconds = bestSecondsOf(
      space, [&] { Tokkos::updateDispatchPlan(space, plan, expert_ids); });

  // There, through the experts, and back. The experts overwrite the batch, so
  // the repetitions of permute prepare what they get the second time.
  Array<float**> batch("TextMoe::batch",
                       static_cast<std::size_t>(plan.max_rows), hidden);
  Array<float**> output("TextMoe::output", num_tokens, hidden);
  const FeedForward<Space> experts{
      toDevice<const float***>(input.inner_layer, num_experts, hidden,
                               Input::inner),
      toDevice<const float***>(input.outer_layer, num_experts, Input::inner,
                               hidden),
      expert_ids,
      plan.assignment_of_row,
      plan.num_rows,
      batch};
  experts.launch(space);
  const double permute_seconds = bestSecondsOf(
      space, [&] { Tokkos::permute(space, plan, tokens, batch); });
  const double experts_seconds =
      secondsOf(space, [&] { experts.launch(space); });
  const double combine_seconds = bestSecondsOf(
      space, [&] { Tokkos::combine(space, plan, batch, weights, output); });

  Result result{
      planOnHost(plan, expert_ids),
      Kokkos::create_mirror_view_and_copy(Kokkos::HostSpace(), output),
      {}};
  const auto t   = static_cast<double>(num_tokens);
  const auto e   = static_cast<double>(num_experts);
  const auto n   = t * static_cast<double>(top_k);
  const auto r   = static_cast<double>(result.plan.num_rows);
  const auto row = static_cast<double>(hidden * sizeof(float));
  result.times   = {{"routeTopK", route_seconds, 4 * t * e + 8 * n},
                    {"updateDispatchPlan", plan_seconds, 12 * n + 8 * e + 4},
                    {"permute", permute_seconds, (r + t) * row + 4 * n},
                    {"experts", experts_seconds,
                     2 * r * row + 2 * std::min(e, r) * row * Input::inner},
                    {"combine", combine_seconds, (r + t) * row + 8 * n}};
  return result;
}

}  // namespace TextMoe
