// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// SPDX-FileCopyrightText: Copyright Contributors to the Tokkos project

#include "TestSupport.hpp"

#include <thread>

// Several threads of the application, each with a plan and an instance of its
// own, and one plan again and again: nothing that runs beside a plan changes
// it.
namespace Test {

/// One caller: his own instance, plan and data.
class Caller {
 public:
  Caller(const ExecutionSpace& space, int number)
      : m_space(space),
        m_num_tokens(700 + 1500 * number),
        m_weights("weights", tokens(), top_k),
        m_ids("ids", tokens(), top_k),
        m_plan(space, m_num_tokens, top_k, num_experts,
               {.capacity = 60 * (number + 2), .alignment = 1 << number}),
        m_batch("batch", static_cast<std::size_t>(m_plan.max_rows), width),
        m_output("output", tokens(), width) {
    Random random;
    for (int i = 0; i <= number; ++i)
      m_logits =
          makeMatrix(random.reals<float>(tokens() * std::size_t(num_experts)),
                     num_experts);
    m_rows = makeMatrix(random.reals<float>(tokens() * width), width);
  }

  void step() {
    Tokkos::routeTopK(m_space, m_logits, m_ids, m_weights);
    Tokkos::updateDispatchPlan(m_space, m_plan, m_ids);
    Tokkos::permute(m_space, m_plan, m_rows, m_batch);
    Tokkos::combine(m_space, m_plan, m_batch, m_weights, m_output);
  }

  /// A step into poisoned arrays; the caller's results as bytes.
  std::vector<std::uint8_t> stepAlone() {
    Kokkos::deep_copy(m_space, m_plan.row_of_assignment, -7);
    Kokkos::deep_copy(m_space, m_output, -7);
    step();
    m_space.fence();
    std::vector<std::uint8_t> bytes;
    append(bytes, toVector(m_ids));
    append(bytes, toVector(m_plan.offsets));
    append(bytes, toVector(m_plan.dropped));
    append(bytes, toVector(m_plan.row_of_assignment));
    append(bytes, toVector(m_output));
    return bytes;
  }

  /// Builds and throws away plans beside what the others do.
  void churn() {
    for (int i = 0; i < 5; ++i)
      Tokkos::buildDispatchPlan(m_space, m_ids, num_experts,
                                {.alignment = i + 1});
  }

 private:
  static constexpr int top_k = 4, num_experts = 48;
  static constexpr std::size_t width = 24;

  std::size_t tokens() const { return static_cast<std::size_t>(m_num_tokens); }

  template <class T>
  static void append(std::vector<std::uint8_t>& bytes,
                     const std::vector<T>& values) {
    const auto more = bytesOf(values.data(), values.size() * sizeof(T));
    bytes.insert(bytes.end(), more.begin(), more.end());
  }

  ExecutionSpace m_space;
  int m_num_tokens;
  Matrix<float> m_logits, m_weights, m_rows;
  Matrix<int> m_ids;
  Tokkos::DispatchPlan<MemorySpace> m_plan;
  Matrix<float> m_batch, m_output;
};

TEST(Threads, PlansOnDifferentInstancesAtOnceAreAsAlone) {
  const auto instances = makeInstances();
  if (instances.size() < 2) GTEST_SKIP() << "only one instance to be had";
  std::vector<Caller> callers;
  std::vector<std::vector<std::uint8_t>> alone;
  for (std::size_t i = 0; i < instances.size(); ++i) {
    callers.emplace_back(instances[i], static_cast<int>(i));
    alone.push_back(callers[i].stepAlone());
  }
  EXPECT_NE(alone[0], alone[1]);

  std::vector<int> differences(instances.size(), 0);
  std::vector<std::thread> threads;
  for (std::size_t i = 0; i < instances.size(); ++i)
    threads.emplace_back([&, i] {
      for (int round = 0; round < 25; ++round) {
        callers[i].churn();
        differences[i] += callers[i].stepAlone() != alone[i];
      }
    });
  for (std::thread& thread : threads)
    thread.join();
  EXPECT_EQ(std::vector<int>(instances.size(), 0), differences);
}

/// Counts the entries in which the plan is not what it was.
struct CountChanges {
  const int* row_of_assignment;
  const int* expected;
  int* changes;

  KOKKOS_FUNCTION void operator()(int a) const {
    if (row_of_assignment[a] != expected[a]) Kokkos::atomic_inc(changes);
  }
};

TEST(Threads, APlanIsTheSameEveryTimeBesideABusyInstance) {
  const bool on_host =
      Tokkos::KokkosExt::is_host_execution_space_v<ExecutionSpace>;
  const int repeats    = on_host ? 500 : 10000;
  const int num_tokens = 2048, top_k = 8, num_experts = 128;
  const auto instances        = makeInstances();
  const ExecutionSpace& space = instances.front();
  Caller neighbour(instances.back(), 3);

  Random random;
  const auto ids =
      random.ids(std::size_t(num_tokens) * top_k, num_experts, true, true);
  Reference::Options known;
  known.capacity      = 150;
  const auto plain    = Reference::makePlan(ids, top_k, num_experts, known);
  const auto expected = makeArray(plain.row_of_assignment);
  const auto d_ids    = makeMatrix(ids, top_k);
  auto plan           = Tokkos::buildDispatchPlan(space, d_ids, num_experts,
                                                  {.capacity = known.capacity});
  const Kokkos::View<int, MemorySpace> changes("changes");
  for (int i = 0; i < repeats; ++i) {
    Kokkos::deep_copy(space, plan.row_of_assignment, -7);
    Tokkos::updateDispatchPlan(space, plan, d_ids);
    Kokkos::parallel_for(
        "compare",
        Kokkos::RangePolicy<ExecutionSpace>(space, 0, num_tokens * top_k),
        CountChanges{plan.row_of_assignment.data(), expected.data(),
                     changes.data()});
    if (i % 4 == 0) neighbour.step();
  }
  Kokkos::fence();
  EXPECT_EQ(0, toVector(changes)[0]);
  expectPlan(plain, plan);
}

}  // namespace Test
