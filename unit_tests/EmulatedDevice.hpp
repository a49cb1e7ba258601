// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// SPDX-FileCopyrightText: Copyright Contributors to the Tokkos project

#ifndef TOKKOS_TEST_EMULATED_DEVICE_HPP
#define TOKKOS_TEST_EMULATED_DEVICE_HPP

#include "EmulatedThreads.hpp"

#include <Tokkos/KokkosExt/BulkCopy.hpp>
#include <Tokkos/KokkosExt/Lanes.hpp>
#include <Tokkos/KokkosExt/PairwiseSum.hpp>
#include <Tokkos/KokkosExt/Subgroup.hpp>
#include <Tokkos/KokkosExt/Team.hpp>
#include <Tokkos/KokkosExt/Types.hpp>

#include <Kokkos_Core.hpp>

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <string>
#include <type_traits>
#include <vector>

// A device that is none: to everything that Tokkos asks through KokkosExt it
// answers as one with warps of 32 lanes and a copy engine does, so that the
// kernels and choices meant for devices run on a host, under its sanitizers and
// in its coverage. Include it before Tokkos.hpp.
namespace Test {

class EmulatedDevice : public Kokkos::DefaultHostExecutionSpace {
 public:
  using execution_space = EmulatedDevice;
  using device_type     = Kokkos::Device<EmulatedDevice, memory_space>;

  EmulatedDevice() = default;
  int concurrency() const { return 2048 * 4; }
  static constexpr const char* name() { return "EmulatedDevice"; }

  friend bool operator==(const EmulatedDevice&, const EmulatedDevice&) {
    return true;
  }
};

/// A thread as Kokkos' own team kernels see it.
class EmulatedMember {
 public:
  using execution_space = EmulatedDevice;
  using scratch_memory_space =
      Kokkos::DefaultHostExecutionSpace::scratch_memory_space;

  EmulatedMember(int league_rank, int league_size, const Scratch& scratch)
      : m_league_rank(league_rank),
        m_league_size(league_size),
        m_scratch(scratch.data(), scratch.size()) {}

  int league_rank() const { return m_league_rank; }
  int league_size() const { return m_league_size; }
  int team_rank() const { return EmulatedThreads::rank(); }
  int team_size() const { return EmulatedThreads::size(); }
  void team_barrier() const { EmulatedThreads::barrier(); }
  const scratch_memory_space& team_scratch(int /*level*/) const {
    return m_scratch;
  }

  /// The sum of the values of all threads before this one.
  template <class T>
  T team_scan(const T& value) const {
    T sum = 0;
    EmulatedThreads::withAll(value, [&](int rank, const T& other) {
      if (rank < team_rank()) sum += other;
    });
    return sum;
  }
  template <class Reducer>
  void team_reduce(const Reducer& reducer) const {
    using Value      = typename Reducer::value_type;
    const Value mine = reducer.reference();
    Value all;
    reducer.init(all);
    EmulatedThreads::withAll(
        mine, [&](int, const Value& other) { reducer.join(all, other); });
    reducer.reference() = all;
  }
  template <class Reducer, class Value>
  void impl_team_reduce(const Reducer& reducer, Value& value) const {
    const Value mine = value;
    reducer.init(&value);
    EmulatedThreads::withAll(
        mine, [&](int, const Value& other) { reducer.join(&value, &other); });
  }

 private:
  int m_league_rank;
  int m_league_size;
  scratch_memory_space m_scratch;
};

}  // namespace Test

namespace Kokkos {

template <>
struct Impl::is_thread_team_member<Test::EmulatedMember> : std::true_type {};
template <>
struct Impl::is_host_thread_team_member<Test::EmulatedMember> : std::true_type {
};

template <class... Properties>
class TeamPolicy<Test::EmulatedDevice, Properties...> {
 public:
  using execution_policy = TeamPolicy;
  using execution_space  = Test::EmulatedDevice;
  using member_type      = Test::EmulatedMember;
  using work_tag         = void;

  TeamPolicy(const execution_space&, int league_size, int team_size,
             int /*vector_length*/ = 1)
      : m_league_size(league_size), m_team_size(team_size) {}
  template <class... Others>
  explicit TeamPolicy(const TeamPolicy<execution_space, Others...>& other)
      : m_league_size(other.league_size()),
        m_team_size(other.team_size()),
        m_scratch(other.scratch_size(0)) {}

  TeamPolicy& set_scratch_size(int /*level*/,
                               const Kokkos::Impl::PerTeamValue& bytes) {
    m_scratch = static_cast<int>(bytes.value);
    return *this;
  }
  template <class Functor, class Tag>
  int team_size_max(const Functor&, const Tag&) const {
    return 1024;
  }
  execution_space space() const { return {}; }
  int league_size() const { return m_league_size; }
  int team_size() const { return m_team_size; }
  int scratch_size(int /*level*/) const { return m_scratch; }

 private:
  int m_league_size;
  int m_team_size;
  int m_scratch = 0;
};

template <>
struct Tools::Experimental::DeviceTypeTraits<Test::EmulatedDevice> {
  static constexpr DeviceType id = DeviceType::Unknown;
  static int device_id(const Test::EmulatedDevice&) { return 0; }
};

namespace Impl {

template <>
struct DeepCopy<HostSpace, HostSpace, Test::EmulatedDevice> {
  DeepCopy(void* to, const void* from, std::size_t bytes) {
    std::memcpy(to, from, bytes);
  }
  DeepCopy(const Test::EmulatedDevice&, void* to, const void* from,
           std::size_t bytes)
      : DeepCopy(to, from, bytes) {}
};

// Kernels without teams: a loop, over no more than an int counts.

template <class Functor, class... Traits>
class ParallelFor<Functor, Kokkos::RangePolicy<Traits...>,
                  Test::EmulatedDevice> {
  using Policy = Kokkos::RangePolicy<Traits...>;

 public:
  ParallelFor(const Functor& functor, const Policy& policy)
      : m_functor(functor), m_policy(policy) {}

  void execute() const {
    for (auto i = m_policy.begin(); i < m_policy.end(); ++i)
      m_functor(static_cast<int>(i));
  }

 private:
  Functor m_functor;
  Policy m_policy;
};

template <class Functor, class... Properties>
class ParallelFor<Functor,
                  Kokkos::TeamPolicy<Test::EmulatedDevice, Properties...>,
                  Test::EmulatedDevice> {
  using Policy = Kokkos::TeamPolicy<Test::EmulatedDevice, Properties...>;

 public:
  ParallelFor(const Functor& functor, const Policy& policy)
      : m_functor(functor), m_policy(policy) {}

  void execute() const {
    Test::EmulatedThreads threads(m_policy.team_size());
    for (int team = 0; team < m_policy.league_size(); ++team) {
      // What several requests have, to a boundary of 8 bytes each.
      const Test::Scratch scratch(m_policy.scratch_size(0) + 64);
      threads.run([&] {
        m_functor(Test::EmulatedMember(team, m_policy.league_size(), scratch));
      });
    }
  }

 private:
  Functor m_functor;
  Policy m_policy;
};

template <class Combined, class... Traits>
class ParallelReduce<Combined, Kokkos::RangePolicy<Traits...>,
                     Test::EmulatedDevice> {
  using Policy = Kokkos::RangePolicy<Traits...>;
  using Value  = typename Combined::reducer_type::value_type;

 public:
  template <class Result>
  ParallelReduce(const Combined& functor_reducer, const Policy& policy,
                 const Result& result)
      : m_functor_reducer(functor_reducer),
        m_policy(policy),
        m_result(result.data()) {}

  void execute() const {
    Value here;
    Value* const result = m_result != nullptr ? m_result : &here;
    auto& update        = m_functor_reducer.get_reducer().init(result);
    for (auto i = m_policy.begin(); i < m_policy.end(); ++i)
      m_functor_reducer.get_functor()(static_cast<int>(i), update);
    m_functor_reducer.get_reducer().final(result);
  }

 private:
  Combined m_functor_reducer;
  Policy m_policy;
  Value* m_result;
};

template <class Functor, class... Traits>
class ParallelScan<Functor, Kokkos::RangePolicy<Traits...>,
                   Test::EmulatedDevice> {
  using Policy = Kokkos::RangePolicy<Traits...>;

 public:
  ParallelScan(const Functor& functor, const Policy& policy)
      : m_functor(functor), m_policy(policy) {}

  void execute() const {
    using Analysis =
        FunctorAnalysis<FunctorPatternInterface::SCAN, Policy, Functor, void>;
    typename Analysis::value_type sum;
    typename Analysis::Reducer(m_functor).init(&sum);
    for (auto i = m_policy.begin(); i < m_policy.end(); ++i)
      m_functor(static_cast<int>(i), sum, true);
  }

 private:
  Functor m_functor;
  Policy m_policy;
};

}  // namespace Impl
}  // namespace Kokkos

namespace Tokkos::KokkosExt {

template <>
inline constexpr bool is_host_execution_space_v<Test::EmulatedDevice> = false;

template <>
inline constexpr int max_lanes_v<Test::EmulatedDevice> =
    Test::EmulatedThreads::lanes_of_warp;

template <int n, bool together>
struct Lanes<Test::EmulatedDevice, n, together> {
  static_assert(n >= 1 && n <= 32 && (n & (n - 1)) == 0);

  using Alone = Lanes<Test::EmulatedDevice, n, false>;

  template <class T>
  static T exchange(T value, int distance) {
    return fromLane("exchange", value, lane() ^ distance);
  }
  template <class T>
  static T broadcast(T value, int lane) {
    return fromLane("broadcast", value, lane);
  }
  template <class T>
  static T maximum(T value) {
    const auto values = meet("maximum", value);
    for (int i = 0; i < n; ++i)
      if (values[std::size_t(i)] > value) value = values[std::size_t(i)];
    return value;
  }
  static int sum(int value) {
    const auto values = meet("sum", value);
    value             = 0;
    for (int i = 0; i < n; ++i)
      value += values[std::size_t(i)];
    return value;
  }
  static unsigned ballot(bool value, int /*lane*/) {
    const auto values = meet("ballot", value);
    unsigned bits     = 0;
    for (int i = 0; i < n; ++i)
      bits |= values[std::size_t(i)] ? 1u << i : 0u;
    return bits;
  }
  static void sync() { meet("sync", 0); }

 private:
  static int lane() { return Test::EmulatedThreads::rank() % n; }

  /// Of another of the n lanes, or of all. The whole warp comes where it comes
  /// together.
  template <class T>
  static T fromLane(const char* what, const T& value, int other) {
    const int lane_of_warp = Test::EmulatedThreads::rank() % 32;
    return Test::EmulatedThreads::fromLane(
        what, value, lane_of_warp / n * n + other, together ? 32 : n);
  }
  template <class T>
  static auto meet(const char* what, const T& value) {
    return Test::EmulatedThreads::exchange<n>(what, value, together ? 32 : n);
  }
};

template <>
struct Subgroup<Test::EmulatedDevice> {
  static constexpr int lanes = 32;

  using Lanes = unsigned;
  using Warp  = KokkosExt::Lanes<Test::EmulatedDevice, 32>;

  static int count(Lanes set) { return __builtin_popcount(set); }
  static int countBefore(Lanes set, int lane) {
    return count(set & ((1u << lane) - 1u));
  }
  static Lanes ballot(bool condition) { return Warp::ballot(condition, 0); }
  template <int N>
  static void findEqual(const int (&key)[N], int bits, Lanes (&equal)[N]) {
    for (int i = 0; i < N; ++i) {
      const int counting = static_cast<int>(key[i] & ((1ll << bits) - 1));
      const auto keys =
          Test::EmulatedThreads::exchange<32>("findEqual", counting, 32);
      equal[i] = 0;
      for (int lane = 0; lane < lanes; ++lane)
        if (keys[std::size_t(lane)] == counting) equal[i] |= 1u << lane;
    }
  }
  static int inclusiveSum(int lane, int value) {
    const auto values =
        Test::EmulatedThreads::exchange<32>("inclusiveSum", value, 32);
    int sum = 0;
    for (int i = 0; i <= lane; ++i)
      sum += values[std::size_t(i)];
    return sum;
  }
  static int fromLane(int value, int lane) {
    return Warp::broadcast(value, lane);
  }
  static void sync() { Warp::sync(); }
};

template <>
struct PairwiseSum<Test::EmulatedDevice> {
  template <class Real>
  static Real ofLanes(const Real& value) {
    auto values = Test::EmulatedThreads::exchange<32>("pairwise", value, 32);
    return pairwiseSum(values.data(), 32);
  }
};

/// Loads happen as late as they may, when they are waited for, and stores when
/// the thread waits until their source may be written again.
template <>
struct BulkCopy<Test::EmulatedDevice> {
  static constexpr bool is_available = true;

  using Barrier = std::uint64_t;
  static void makeBarrier(Barrier* barrier) { *barrier = 0; }
  static void load(void* scratch, const void* global, int bytes,
                   Barrier* barrier) {
    Test::EmulatedThreads::copyLater(scratch, global, bytes, barrier);
  }
  static void waitForLoad(Barrier* barrier, int phase) {
    Test::EmulatedThreads::copyNow(barrier);
    Test::EmulatedThreads::require(*barrier % 2 != std::uint64_t(phase),
                                   "a load's phase");
  }
  static void store(void* global, const void* scratch, int bytes) {
    Test::EmulatedThreads::copyLater(global, scratch, bytes, nullptr);
  }
  static void waitUntilRead() { Test::EmulatedThreads::copyNow(nullptr); }
};

template <>
class Team<Test::EmulatedDevice> {
 public:
  Team(int league_rank, int league_size, std::byte* scratch)
      : m_league_rank(league_rank),
        m_league_size(league_size),
        m_scratch(scratch) {}

  int league_rank() const { return m_league_rank; }
  int league_size() const { return m_league_size; }
  int team_rank() const { return Test::EmulatedThreads::rank(); }
  int team_size() const { return Test::EmulatedThreads::size(); }
  void team_barrier() const { Test::EmulatedThreads::barrier(); }
  void* scratch() const { return m_scratch; }
  void letNextKernelStart() const {}
  void awaitEarlierKernels() const {}

 private:
  int m_league_rank;
  int m_league_size;
  std::byte* m_scratch;
};

template <>
inline int maxTeamScratch(const Test::EmulatedDevice&) {
  return 227 * 1024;
}
template <>
inline int numMultiprocessors(const Test::EmulatedDevice&) {
  return 4;
}

template <>
struct Impl::TeamLauncher<Test::EmulatedDevice> {
  template <class Functor>
  static void launch(const std::string& label, const Test::EmulatedDevice&,
                     int league_size, int team_size, int scratch_bytes,
                     const Functor& functor) {
    std::uint64_t id = 0;
    Kokkos::Tools::beginParallelFor(label, 0, &id);
    Test::EmulatedThreads threads(team_size);
    for (int team = 0; team < league_size; ++team) {
      Test::Scratch scratch(scratch_bytes);
      threads.run([&] {
        functor(Team<Test::EmulatedDevice>(team, league_size, scratch.data()));
      });
    }
    Kokkos::Tools::endParallelFor(id);
  }
};

}  // namespace Tokkos::KokkosExt

#endif
