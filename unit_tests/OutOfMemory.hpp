// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// SPDX-FileCopyrightText: Copyright Contributors to the Tokkos project

#include "TestSupport.hpp"

#include <cstdlib>
#include <map>
#include <new>

// What is left when memory runs out or a call throws: plans as they were, and
// nothing that nobody owns. A program of its own, because it takes the place
// of the allocation functions through which Kokkos gets the host's memory.

namespace Test {
/// The allocation of Kokkos that fails, counted from 1; 0: none.
inline int failing_allocation = 0;
}  // namespace Test

void* operator new(std::size_t size, std::align_val_t alignment,
                   const std::nothrow_t&) noexcept {
  if (Test::failing_allocation > 0 && --Test::failing_allocation == 0)
    return nullptr;
  const auto unit = static_cast<std::size_t>(alignment);
  return std::aligned_alloc(unit, (size + unit - 1) / unit * unit);
}
void operator delete(void* memory, std::align_val_t,
                     const std::nothrow_t&) noexcept {
  std::free(memory);
}

namespace Test {

using Plan = Tokkos::DispatchPlan<MemorySpace>;

/// Follows the memory and the profiling regions of what runs while it lives.
class Watch {
 public:
  Watch() : m_before(Kokkos::Tools::Experimental::get_callbacks()) {
    namespace Tools = Kokkos::Tools::Experimental;
    live.clear();
    allocations = depth = 0;
    Tools::set_allocate_data_callback([](Kokkos_Profiling_SpaceHandle,
                                         const char* label, const void* data,
                                         std::uint64_t size) {
      ++allocations;
      if (size > 0) live[data] = label;
    });
    // Kokkos tells the label again, and the address.
    Tools::set_deallocate_data_callback(
        [](Kokkos_Profiling_SpaceHandle, const char*, const void* data,
           std::uint64_t) { live.erase(data); });
    Tools::set_push_region_callback([](const char*) { ++depth; });
    Tools::set_pop_region_callback([] { --depth; });
  }
  ~Watch() { Kokkos::Tools::Experimental::set_callbacks(m_before); }
  Watch(const Watch&)            = delete;
  Watch& operator=(const Watch&) = delete;

  static inline std::map<const void*, std::string> live;
  static inline int allocations = 0;
  static inline int depth       = 0;

 private:
  Kokkos::Tools::Experimental::EventSet m_before;
};

/// A case with every array that a plan can have.
struct Routed {
  static constexpr int num_tokens = 50, top_k = 3, num_experts = 9;

  Random random;
  std::vector<int> host_ids =
      random.ids(num_tokens * top_k, num_experts, true, true);
  std::vector<float> host_weights = random.reals<float>(num_tokens * top_k);
  Matrix<int> ids                 = makeMatrix(host_ids, top_k);
  Matrix<float> weights           = makeMatrix(host_weights, top_k);
  Tokkos::PlanOptions<MemorySpace> options{
      .capacity  = 12,
      .drop      = Tokkos::DropPolicy::lowest_weight,
      .alignment = 4};

  Plan build() const {
    return Tokkos::buildDispatchPlan(ExecutionSpace(), ids, weights,
                                     num_experts, options);
  }

  void expectGood(const Plan& plan) const {
    Reference::Options known;
    known.capacity  = 12;
    known.alignment = 4;
    known.drop      = Reference::Drop::lowest_weight;
    known.weights.assign(host_weights.begin(), host_weights.end());
    expectPlan(Reference::makePlan(host_ids, top_k, num_experts, known), plan);
  }
};

template <class F>
bool throws(const F& f) {
  try {
    f();
  } catch (const std::exception&) {
    return true;
  }
  return false;
}

TEST(OutOfMemory, AnAllocationThatFailsLeavesNoTrace) {
  if (!Tokkos::KokkosExt::is_host_execution_space_v<ExecutionSpace>)
    GTEST_SKIP() << "the allocations of a device cannot be made to fail";
  const Routed routed;
  Plan plan        = routed.build();
  const void* data = plan.counts.data();
  const Watch watch;
  int failures = 0;
  for (bool failed = true; failed; failures += failed) {
    const Plan before  = plan;
    failing_allocation = failures + 1;
    failed             = throws([&] { plan = routed.build(); });
    failing_allocation = 0;
    if (!failed) break;
    EXPECT_EQ(data, plan.counts.data());
    EXPECT_TRUE(Watch::live.empty()) << Watch::live.begin()->second;
    EXPECT_EQ(0, Watch::depth);
    routed.expectGood(plan);
  }
  // Each of the plan's arrays, at least.
  EXPECT_GE(failures, 14);
  routed.expectGood(plan);
}

TEST(OutOfMemory, AValidationThatFailsLeavesThePlan) {
  const Routed routed;
  const Plan plan = routed.build();
  // Kokkos' own scratch memory grows at the first call.
  EXPECT_EQ("", Tokkos::validateDispatchPlan(ExecutionSpace(), plan));
  const Watch watch;
  bool failed = true;
  for (int i = 1; failed; ++i) {
    std::string violation;
    failing_allocation = i;
    failed             = throws([&] {
      violation = Tokkos::validateDispatchPlan(ExecutionSpace(), plan);
    });
    failing_allocation = 0;
    EXPECT_EQ("", violation);
    EXPECT_TRUE(Watch::live.empty()) << Watch::live.begin()->second;
    EXPECT_EQ(0, Watch::depth);
  }
  routed.expectGood(plan);
}

TEST(OutOfMemory, ThePlanOfAFullDeviceIsNeverMade) {
  if (Tokkos::KokkosExt::is_host_execution_space_v<ExecutionSpace>)
    GTEST_SKIP() << "a host promises memory that it does not have";
  const Routed routed;
  Plan plan = routed.build();
  Kokkos::fence();
  std::vector<void*> taken;
  for (std::size_t size = std::size_t(1) << 38; size >= std::size_t(1) << 24;)
    try {
      taken.push_back(Kokkos::kokkos_malloc<MemorySpace>("taken", size));
    } catch (const std::exception&) {
      size /= 2;
    }
  {
    const Watch watch;
    // The more arrays fit, the later it fails.
    for (int max_tokens = 1 << 27; max_tokens >= 1 << 22; max_tokens /= 2) {
      EXPECT_TRUE(throws([&] {
        plan = Plan(ExecutionSpace(), max_tokens, 8, 64, {.alignment = 2});
      })) << max_tokens;
      EXPECT_TRUE(Watch::live.empty()) << Watch::live.begin()->second;
    }
    Tokkos::updateDispatchPlan(ExecutionSpace(), plan, routed.ids,
                               routed.weights);
    Kokkos::fence();
  }
  for (void* const memory : taken)
    Kokkos::kokkos_free<MemorySpace>(memory);
  routed.expectGood(plan);
  routed.expectGood(routed.build());
}

TEST(OutOfMemory, NoCallKeepsMemoryThatThrewOrNot) {
  const Routed routed;
  const ExecutionSpace space;
  const Watch watch;
  int thrown        = 0;
  const auto reject = [&](const auto& f) { thrown += throws(f); };
  for (int i = 0; i < 50; ++i) {
    Plan plan = routed.build();
    Plan copy = plan;
    plan      = routed.build();
    copy      = Plan();
    reject([&] { plan = Plan(space, -1, 2, 4); });
    reject([&] { plan = Plan(space, 10, 5, 4); });
    reject([&] { plan = Plan(space, std::int64_t(1) << 40, 2, 4); });
    reject([&] { plan = Plan(space, 10, 2, 4, {.capacity = -1}); });
    reject([&] { plan = Plan(space, 10, 2, 4, {.alignment = 0}); });
    reject([&] {
      const auto map = makeArray<int>({0, 1, 7, -1});
      plan = Plan(space, 10, 2, 4, {.expert_map = map, .num_local_experts = 2});
    });
    reject([&] { Tokkos::updateDispatchPlan(space, plan, routed.ids); });
    reject([&] {
      Tokkos::updateDispatchPlan(space, plan, Matrix<int>("ids", 4, 2));
    });
    const Matrix<float> tokens("tokens", Routed::num_tokens, 4);
    const Matrix<float> batch("batch", static_cast<std::size_t>(plan.max_rows),
                              4);
    reject([&] {
      Tokkos::permute(space, plan, tokens, Matrix<float>("batch", 2, 4));
    });
    reject([&] {
      Tokkos::combine(space, plan, batch, Matrix<float>("weights", 1, 1),
                      tokens);
    });
    EXPECT_EQ("", Tokkos::validateDispatchPlan(space, plan));
    space.fence();
  }
  EXPECT_EQ(50 * 10, thrown);
  EXPECT_TRUE(Watch::live.empty())
      << Watch::live.size() << " left, one of them "
      << Watch::live.begin()->second;
  EXPECT_EQ(0, Watch::depth);
  std::cout << Watch::allocations << " allocations, " << thrown
            << " calls threw\n";
}

}  // namespace Test
