// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// SPDX-FileCopyrightText: Copyright Contributors to the Tokkos project

#include "TestSupport.hpp"

#include <algorithm>
#include <atomic>
#include <cstdlib>
#include <iterator>
#include <thread>
#include <utility>

// Several threads of the application, each with a plan and an instance of its
// own, and one step again and again: nothing that runs beside it changes it.
namespace Test {

/// One number for arrays of 32-bit words: a sum, so that its order is no
/// matter.
struct HashWords {
  struct Part {
    const std::uint32_t* words;
    int length;
  };
  Part parts[5];

  int longest() const {
    return std::max_element(
               std::begin(parts), std::end(parts),
               [](const Part& a, const Part& b) { return a.length < b.length; })
        ->length;
  }

  KOKKOS_FUNCTION void operator()(int i, std::uint64_t& sum) const {
    std::uint64_t salt = 0;
    for (const Part& part : parts) {
      ++salt;
      if (i < part.length)
        sum += mixed(mixed(salt << 32 | std::uint64_t(i)) ^ part.words[i]);
    }
  }

 private:
  /// The finaliser of SplitMix64 (Steele, Lea, Flood, 2014).
  KOKKOS_FUNCTION static std::uint64_t mixed(std::uint64_t x) {
    x = (x ^ x >> 30) * 0xbf58476d1ce4e5b9u;
    x = (x ^ x >> 27) * 0x94d049bb133111ebu;
    return x ^ x >> 31;
  }
};

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

  void poison() {
    Kokkos::deep_copy(m_space, m_ids, -7);
    Kokkos::deep_copy(m_space, m_plan.row_of_assignment, -7);
    Kokkos::deep_copy(m_space, m_plan.assignment_of_row, -7);
    Kokkos::deep_copy(m_space, m_batch, -7);
    Kokkos::deep_copy(m_space, m_output, -7);
  }

  /// A step into poisoned arrays; the caller's results as bytes.
  std::vector<std::uint8_t> stepAlone() {
    poison();
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

  /// Enqueues the hash of a step's results, those of num_rows rows.
  void hash(int num_rows, const Kokkos::View<std::uint64_t, MemorySpace>& sum) {
    const HashWords words{
        {part(m_ids, m_ids.size()),
         part(m_plan.row_of_assignment, m_ids.size()),
         part(m_plan.assignment_of_row, static_cast<std::size_t>(num_rows)),
         part(m_batch, static_cast<std::size_t>(num_rows) * width),
         part(m_output, m_output.size())}};
    Kokkos::parallel_reduce(
        "hash",
        Kokkos::RangePolicy<ExecutionSpace>(m_space, 0, words.longest()), words,
        sum);
  }

  int numRows() const { return toVector(m_plan.num_rows)[0]; }

  void expectPlanOfReference() const {
    Reference::Options known;
    known.capacity  = m_plan.options.capacity;
    known.alignment = m_plan.options.alignment;
    expectPlan(Reference::makePlan(toVector(m_ids), top_k, num_experts, known),
               m_plan);
  }

  /// Some steps, and waits for them: the rest would have to wait for many more.
  void keepBusy() {
    for (int i = 0; i < 8; ++i)
      step();
    m_space.fence();
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

  template <class View>
  static HashWords::Part part(const View& view, std::size_t length) {
    static_assert(sizeof(typename View::value_type) == sizeof(std::uint32_t));
    return {reinterpret_cast<const std::uint32_t*>(view.data()),
            static_cast<int>(length)};
  }

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

/// A caller who works all the time, in a thread of his own.
class Neighbour {
 public:
  explicit Neighbour(Caller caller)
      : m_caller(std::move(caller)), m_thread([this] {
          while (!m_done) {
            m_caller.keepBusy();
            ++m_rounds;
          }
        }) {
    while (m_rounds == 0)
      std::this_thread::yield();
  }
  Neighbour(const Neighbour&)            = delete;
  Neighbour& operator=(const Neighbour&) = delete;
  ~Neighbour() {
    m_done = true;
    m_thread.join();
  }

  int rounds() const { return m_rounds; }

 private:
  Caller m_caller;
  std::atomic<bool> m_done  = false;
  std::atomic<int> m_rounds = 0;
  std::thread m_thread;
};

/// TOKKOS_TEST_REPEATS says how often.
int numRepeats() {
  if (const char* const wanted = std::getenv("TOKKOS_TEST_REPEATS"))
    return std::max(1, std::atoi(wanted));
  return Tokkos::KokkosExt::is_host_execution_space_v<ExecutionSpace> ? 500
                                                                      : 10000;
}

TEST(Threads, AStepIsTheSameEveryTimeBesideABusyInstance) {
  const auto repeats   = static_cast<std::size_t>(numRepeats());
  const auto instances = makeInstances();
  Caller caller(instances.front(), 1);
  caller.stepAlone();
  caller.expectPlanOfReference();
  const int num_rows = caller.numRows();
  const Array<std::uint64_t> hashes("hashes", repeats + 1);
  caller.hash(num_rows, Kokkos::subview(hashes, repeats));
  Kokkos::fence();

  const auto repeat = [&] {
    for (std::size_t i = 0; i < repeats; ++i) {
      caller.poison();
      caller.step();
      caller.hash(num_rows, Kokkos::subview(hashes, i));
    }
    instances.front().fence();
  };
  int rounds = 0;
  if (instances.size() > 1) {
    const Neighbour neighbour{Caller(instances.back(), 3)};
    const int before = neighbour.rounds();
    repeat();
    rounds = neighbour.rounds() - before;
    EXPECT_GT(rounds, 0);
  } else {
    repeat();
  }
  const auto all = toVector(hashes);
  EXPECT_NE(0u, all.back());
  EXPECT_EQ(repeats + 1, static_cast<std::size_t>(
                             std::count(all.begin(), all.end(), all.back())));
  caller.expectPlanOfReference();
  std::cout << repeats << " steps beside " << 8 * rounds
            << " steps of another instance\n";
}

}  // namespace Test
