// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// SPDX-FileCopyrightText: Copyright Contributors to the Tokkos project

#include "TestSupport.hpp"

#include <algorithm>
#include <chrono>
#include <type_traits>

// Very many very small random cases against the plain loops: what no list of
// cases thinks of. TOKKOS_TEST_CASES says how many. The host reads and writes
// the memory of the cases directly, so that a device is not held up by copies.
namespace Test {

using SharedSpace = std::conditional_t<
    Tokkos::KokkosExt::is_host_execution_space_v<ExecutionSpace>,
    Kokkos::HostSpace, Kokkos::SharedHostPinnedSpace>;
template <class T>
using Shared = Kokkos::View<T*, SharedSpace>;
template <class T>
using Slice = Kokkos::View<T**, Kokkos::LayoutRight, SharedSpace,
                           Kokkos::MemoryUnmanaged>;

struct PlanPointers {
  const int *num_rows, *num_dropped, *counts, *dropped, *offsets,
      *expert_of_block, *row_of_assignment, *assignment_of_row;
  int num_experts, num_blocks, num_assignments;
};

/// All integers of a plan, one array behind the other.
struct CopyPlan {
  PlanPointers plan;
  int* integers;

  KOKKOS_FUNCTION void operator()(int) const {
    int* next       = integers;
    const auto copy = [&](const int* from, std::int64_t n) {
      for (std::int64_t i = 0; i < n; ++i)
        *next++ = from[i];
    };
    copy(plan.num_rows, 1);
    copy(plan.num_dropped, 1);
    copy(plan.counts, plan.num_experts);
    copy(plan.dropped, plan.num_experts);
    copy(plan.offsets, plan.num_experts + 1);
    copy(plan.expert_of_block, plan.num_blocks);
    copy(plan.row_of_assignment, plan.num_assignments);
    copy(plan.assignment_of_row, *plan.num_rows);
  }
};

/// The same of the reference's plan.
inline std::vector<int> integersOf(const Reference::Plan& plan,
                                   std::size_t num_blocks) {
  auto blocks = plan.expert_of_block;
  blocks.resize(num_blocks, -1);
  const std::vector<int> scalars{plan.num_rows, plan.num_dropped};
  std::vector<int> integers;
  for (const auto* const part : std::initializer_list<const std::vector<int>*>{
           &scalars, &plan.counts, &plan.dropped, &plan.offsets, &blocks,
           &plan.row_of_assignment, &plan.assignment_of_row})
    for (const int value : *part)
      integers.push_back(value);
  return integers;
}

/// Cases that share a plan: the same shape and options, other contents.
class Group {
 public:
  static constexpr int size = 32;

  explicit Group(Random& random)
      : m_top_k(random.integer(1, 4)),
        m_num_experts(m_top_k + random.integer(0, random.chance(0.3) ? 0 : 9)),
        m_max_tokens(random.integer(0, 12)),
        m_width(random.integer(1, 5)),
        m_beta(random.chance(0.3) ? 0.5f : 0),
        m_has_weights(random.chance(0.7)) {
    setOptions(random);
    m_plan =
        Plan(ExecutionSpace(), m_max_tokens, m_top_k, m_num_experts, m_options);
    for (Case& c : m_cases)
      makeCase(random, c);
  }

  /// Enqueues the verbs of all cases.
  void run(const ExecutionSpace& space) {
    for (int i = 0; i < size; ++i)
      run(space, i);
  }

  void check() const {
    for (int i = 0; i < size; ++i) {
      check(i);
      if (testing::Test::HasFailure()) return;
    }
  }

  std::string name() const {
    return "T<=" + std::to_string(m_max_tokens) +
           " K=" + std::to_string(m_top_k) +
           " E=" + std::to_string(m_num_experts) +
           " H=" + std::to_string(m_width) +
           " capacity=" + std::to_string(m_options.capacity) +
           " drop=" + std::to_string(static_cast<int>(m_options.drop)) +
           " alignment=" + std::to_string(m_options.alignment) +
           (m_options.experts ? " range" : "") +
           (m_known.expert_map.empty() ? "" : " map") +
           (m_has_mask ? " mask" : "");
  }

 private:
  using Plan = Tokkos::DispatchPlan<MemorySpace>;

  struct Case {
    int num_tokens;
    std::vector<int> ids;
    std::vector<float> weights, tokens, before;
    std::vector<bool> mask;
  };

  /// The memory of all cases, allocated once.
  struct Arena {
    static constexpr int max_assignments = 64, max_values = 1024,
                         max_integers = 1024;
    Shared<int> ids{"ids", size* max_assignments};
    Shared<float> weights{"weights", size* max_assignments};
    Shared<float> tokens{"tokens", size* max_assignments};
    Shared<float> batch{"batch", size* max_values};
    Shared<float> output{"output", size* max_assignments};
    Shared<int> integers{"integers", size* max_integers};
    Matrix<bool> mask{"mask", size, max_assignments};
    Array<int> expert_map{"expert_map", max_assignments};
  };

  static Arena& arena() {
    static Arena* const arena = [] {
      auto* const made = new Arena;
      Kokkos::push_finalize_hook([made] { delete made; });
      return made;
    }();
    return *arena;
  }

  void setOptions(Random& random) {
    m_has_mask = random.chance(0.4);
    if (random.chance(0.25)) {
      const int begin      = random.integer(0, m_num_experts - 1);
      const int end        = random.integer(begin + 1, m_num_experts);
      m_options.experts    = {begin, end};
      m_known.first_expert = begin;
      m_known.num_local    = end - begin;
    } else if (random.chance(0.3)) {
      m_options.num_local_experts = random.integer(1, m_num_experts);
      m_known.num_local           = m_options.num_local_experts;
      for (int e = 0; e < m_num_experts; ++e)
        m_known.expert_map.push_back(
            random.integer(-1, m_options.num_local_experts - 1));
      m_options.expert_map = Kokkos::subview(
          arena().expert_map, Kokkos::make_pair(0, m_num_experts));
      fromVector(Kokkos::subview(arena().expert_map,
                                 Kokkos::make_pair(0, m_num_experts)),
                 m_known.expert_map);
    }
    if (random.chance(0.5)) m_options.capacity = random.integer(1, 6);
    m_options.drop      = static_cast<Tokkos::DropPolicy>(random.integer(0, 2));
    m_options.alignment = random.chance(0.5) ? 1 : random.integer(1, 8);
    if (m_has_mask)
      m_options.mask = Kokkos::subview(arena().mask, 0, Kokkos::ALL);
    m_known.capacity  = m_options.capacity;
    m_known.drop      = static_cast<Reference::Drop>(m_options.drop);
    m_known.alignment = m_options.alignment;
  }

  void makeCase(Random& random, Case& c) {
    c.num_tokens =
        random.chance(0.5) ? m_max_tokens : random.integer(0, m_max_tokens);
    const auto tokens = static_cast<std::size_t>(c.num_tokens);
    const auto n      = tokens * static_cast<std::size_t>(m_top_k);
    c.ids =
        random.ids(n, m_num_experts, random.chance(0.5), random.chance(0.3));
    for (std::size_t a = 0; a < n; ++a)
      c.weights.push_back(static_cast<float>(random.integer(-3, 3)) / 3);
    c.tokens = random.reals<float>(tokens * static_cast<std::size_t>(m_width));
    c.before = random.reals<float>(c.tokens.size());
    for (std::size_t t = 0; t < tokens; ++t)
      c.mask.push_back(random.chance(0.8));
    const auto i      = &c - m_cases;
    const auto values = [](const auto& from, const auto& to) {
      std::copy(from.begin(), from.end(), to.data());
    };
    values(c.ids, slice(arena().ids, i, 1, 1));
    values(c.weights, slice(arena().weights, i, 1, 1));
    values(c.tokens, slice(arena().tokens, i, 1, 1));
    values(c.before, slice(arena().output, i, 1, 1));
    if (m_has_mask && i == size - 1) copyMasks();
  }

  void copyMasks() {
    const auto host = Kokkos::create_mirror_view(arena().mask);
    for (int i = 0; i < size; ++i)
      for (std::size_t t = 0; t < m_cases[i].mask.size(); ++t)
        host(i, t) = m_cases[i].mask[t];
    Kokkos::deep_copy(arena().mask, host);
  }

  /// The part of the i-th case of the arena's array.
  template <class T>
  static Slice<T> slice(const Shared<T>& array, std::ptrdiff_t i, int rows,
                        int columns) {
    const std::size_t part = array.extent(0) / size;
    return Slice<T>(array.data() + part * static_cast<std::size_t>(i),
                    static_cast<std::size_t>(rows),
                    static_cast<std::size_t>(columns));
  }

  void run(const ExecutionSpace& space, int i) {
    const int T        = m_cases[i].num_tokens;
    const auto ids     = slice(arena().ids, i, T, m_top_k);
    const auto weights = slice(arena().weights, i, T, m_top_k);
    const auto tokens  = slice(arena().tokens, i, T, m_width);
    const auto batch   = slice(arena().batch, i, m_plan.max_rows, m_width);
    const auto output  = slice(arena().output, i, T, m_width);
    if (m_has_mask)
      m_plan.options.mask = Kokkos::subview(arena().mask, i, Kokkos::ALL);
    if (m_options.drop == Tokkos::DropPolicy::lowest_weight)
      Tokkos::updateDispatchPlan(space, m_plan, ids, weights);
    else
      Tokkos::updateDispatchPlan(space, m_plan, ids);
    Tokkos::permute(space, m_plan, tokens, batch);
    if (m_has_weights)
      Tokkos::combine(space, m_plan, batch, weights, output, {.beta = m_beta});
    else
      Tokkos::combine(space, m_plan, batch, output, {.beta = m_beta});
    const PlanPointers pointers{
        m_plan.num_rows.data(),
        m_plan.num_dropped.data(),
        m_plan.counts.data(),
        m_plan.dropped.data(),
        m_plan.offsets.data(),
        m_plan.expert_of_block.data(),
        m_plan.row_of_assignment.data(),
        m_plan.assignment_of_row.data(),
        m_plan.num_experts,
        static_cast<int>(m_plan.expert_of_block.extent(0)),
        T * m_top_k};
    Kokkos::parallel_for(
        "copyPlan", Kokkos::RangePolicy<ExecutionSpace>(space, 0, 1),
        CopyPlan{pointers, slice(arena().integers, i, 1, 1).data()});
  }

  void check(int i) const {
    const Case& c            = m_cases[i];
    Reference::Options known = m_known;
    if (m_has_mask) known.mask = c.mask;
    known.weights.assign(c.weights.begin(), c.weights.end());
    const auto expected =
        Reference::makePlan(c.ids, m_top_k, m_num_experts, known);
    const auto integers =
        integersOf(expected, m_plan.expert_of_block.extent(0));
    ASSERT_TRUE(
        sameBits(integers, values(arena().integers, i, integers.size())));
    const auto batch = Reference::permute(expected, c.tokens, m_width, m_top_k);
    ASSERT_TRUE(sameBits(batch, values(arena().batch, i, batch.size())));
    const auto weights =
        m_has_weights ? c.weights : std::vector<float>(c.ids.size(), 1);
    auto sums =
        Reference::combine<float>(expected, batch, weights, m_width, m_top_k);
    if (m_beta != 0)
      Reference::addScaled(expected, sums, m_beta, c.before, m_width, m_top_k);
    ASSERT_TRUE(sameBits(sums, values(arena().output, i, sums.size())));
  }

  template <class T>
  static std::vector<T> values(const Shared<T>& array, int i, std::size_t n) {
    const T* const begin = slice(array, i, 1, 1).data();
    return std::vector<T>(begin, begin + n);
  }

  int m_top_k, m_num_experts, m_max_tokens, m_width;
  float m_beta;
  bool m_has_weights, m_has_mask = false;
  Tokkos::PlanOptions<MemorySpace> m_options;
  Reference::Options m_known;
  Plan m_plan;
  Case m_cases[size];
};

TEST(Scale, SmallCasesAgreeWithPlainLoops) {
  const char* const wanted = std::getenv("TOKKOS_TEST_CASES");
  const int num_cases      = wanted ? std::atoi(wanted) : 20000;
  Random random;
  const ExecutionSpace space;
  const auto begin = std::chrono::steady_clock::now();
  int done         = 0;
  for (; done < num_cases; done += Group::size) {
    Group group(random);
    group.run(space);
    space.fence();
    group.check();
    ASSERT_FALSE(HasFailure())
        << "in the group behind case " << done << ": " << group.name();
  }
  const std::chrono::duration<double> seconds =
      std::chrono::steady_clock::now() - begin;
  std::cout << done << " cases, " << static_cast<int>(done / seconds.count())
            << " per second\n";
}

}  // namespace Test
