// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// SPDX-FileCopyrightText: Copyright Contributors to the Tokkos project

#ifndef TOKKOS_TEST_EMULATED_THREADS_HPP
#define TOKKOS_TEST_EMULATED_THREADS_HPP

#include <algorithm>
#include <array>
#include <csetjmp>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <memory>
#include <vector>

#include <ucontext.h>

namespace Test {

/// Scratch memory of a team: aligned, exactly as long as asked for, and full of
/// what nobody wrote.
class Scratch {
 public:
  explicit Scratch(int bytes)
      : m_size(bytes),
        m_memory(static_cast<std::byte*>(
            std::aligned_alloc(16, (std::size_t(bytes) + 31) / 16 * 16))) {
    std::memset(m_memory.get(), 0xa5, std::size_t(bytes));
  }
  std::byte* data() const { return m_memory.get(); }
  int size() const { return m_size; }

 private:
  int m_size;
  struct Free {
    void operator()(std::byte* p) const { std::free(p); }
  };
  std::unique_ptr<std::byte, Free> m_memory;
};

/// The threads of a device's team as fibers of one thread of the host: each
/// runs until it has to wait for others, the lowest first or the highest first,
/// by turns. No schedule is further from lockstep, so that a missing barrier
/// shows; threads that wait for each other forever, or of which some meet for
/// one thing and some for another, end the program.
class EmulatedThreads {
 public:
  static constexpr int lanes_of_warp = 32;

  explicit EmulatedThreads(int size) : m_threads(std::size_t(size)) {
    for (int width = 0; width < widths; ++width)
      m_groups[width].resize(m_threads.size() / (std::size_t(1) << width) + 1);
    require(size >= 1 && size <= 1024, "a team's size");
    static bool turn = false;
    turn             = !turn;
    m_descending     = turn;
  }
  EmulatedThreads(const EmulatedThreads&)            = delete;
  EmulatedThreads& operator=(const EmulatedThreads&) = delete;

  /// Returns when all threads have returned from `body`.
  void run(const std::function<void()>& body) {
    m_body         = &body;
    current()      = this;
    const int size = static_cast<int>(m_threads.size());
    for (Thread& thread : m_threads)
      thread.state = State::ready;
    m_num_alive        = size;
    m_team.num_waiting = 0;
    for (auto& groups : m_groups)
      for (Meeting& meeting : groups)
        meeting.num_waiting = 0;
    while (m_num_alive > 0) {
      bool progress = false;
      for (int i = 0; i < size; ++i) {
        m_rank           = m_descending ? size - 1 - i : i;
        const auto state = thread().state;
        if (state == State::done ||
            (state == State::waiting && !thread().waits_for->isOver(thread())))
          continue;
        progress = true;
        resume();
      }
      require(progress, "progress: all threads wait");
    }
    require(m_copies.empty(), "copies that were waited for");
    current() = nullptr;
  }

  // What a thread asks.
  static int rank() { return current()->m_rank; }
  static int size() { return static_cast<int>(current()->m_threads.size()); }
  static void barrier() {
    current()->meet(current()->m_team, "barrier", current()->m_num_alive);
  }

  /// The values of the n lanes around this one, when all lanes among `callers`
  /// have come. Of a lane that has returned from the kernel there is none.
  template <int n, class T>
  static std::array<T, std::size_t(n)> exchange(const char* what,
                                                const T& value, int callers) {
    const int first   = current()->m_rank / n * n % 32;
    const auto* slots = current()->meetLanes(what, &value, sizeof(T), callers);
    std::array<T, std::size_t(n)> values;
    std::memcpy(values.data(), slots + std::size_t(first) * sizeof(T),
                sizeof(values));
    return values;
  }

  /// The same of one lane of the warp.
  template <class T>
  static T fromLane(const char* what, const T& value, int lane, int callers) {
    T other;
    std::memcpy(&other,
                current()->meetLanes(what, &value, sizeof(T), callers) +
                    std::size_t(lane) * sizeof(T),
                sizeof(T));
    return other;
  }

  /// Calls visit(rank, value) for the values of all threads, which all come.
  template <class T, class Visit>
  static void withAll(const T& value, const Visit& visit) {
    EmulatedThreads& self                   = *current();
    self.m_values[std::size_t(self.m_rank)] = &value;
    barrier();
    for (int rank = 0; rank < size(); ++rank)
      visit(rank, *static_cast<const T*>(self.m_values[std::size_t(rank)]));
    barrier();
  }

  /// A copy that the thread (no barrier) or a barrier is waited for.
  static void copyLater(void* to, const void* from, int bytes,
                        std::uint64_t* barrier) {
    const auto is_aligned = [](const void* p) {
      return reinterpret_cast<std::uintptr_t>(p) % 16 == 0;
    };
    require(is_aligned(to) && is_aligned(from) && bytes % 16 == 0,
            "a bulk copy's alignment");
    current()->m_copies.push_back({to, from, bytes, barrier, rank()});
  }
  static void copyNow(std::uint64_t* barrier) {
    auto& copies = current()->m_copies;
    for (std::size_t i = 0; i < copies.size();) {
      const Copy copy = copies[i];
      if (copy.barrier != barrier ||
          (barrier == nullptr && copy.rank != rank())) {
        ++i;
        continue;
      }
      std::memcpy(copy.to, copy.from, std::size_t(copy.bytes));
      if (barrier != nullptr) ++*barrier;
      copies.erase(copies.begin() + static_cast<std::ptrdiff_t>(i));
    }
  }

  static void require(bool condition, const char* what) {
    if (condition) return;
    std::fprintf(stderr, "emulated device: thread %d: no %s\n",
                 current() != nullptr ? rank() : -1, what);
    std::abort();
  }

 private:
  enum class State { ready, waiting, done };

  struct Thread;

  /// Where threads come together, again and again.
  struct Meeting {
    const char* what = "";
    int num_waiting  = 0;
    int generation   = 0;
    std::array<std::byte, 32 * 16> slots[2];

    bool isOver(const Thread& thread) const {
      return generation != thread.generation;
    }
    void end() {
      num_waiting = 0;
      ++generation;
    }
  };

  struct Thread {
    State state        = State::ready;
    Meeting* waits_for = nullptr;
    int generation     = 0;
  };

  /// What a thread is made of, once for all teams. Pages of a stack that no
  /// thread touches cost nothing.
  struct Fiber {
    std::unique_ptr<std::byte[]> stack;
    std::jmp_buf registers;
  };

  struct Copy {
    void* to;
    const void* from;
    int bytes;
    std::uint64_t* barrier;
    int rank;
  };

  static constexpr int widths               = 6;  // 1, 2, 4, ..., 32 lanes
  static constexpr std::size_t stack_length = std::size_t(128) << 10;

  static EmulatedThreads*& current() {
    static thread_local EmulatedThreads* threads = nullptr;
    return threads;
  }

  static Fiber& fiber(int rank) {
    static thread_local std::vector<Fiber> fibers(1024);
    return fibers[std::size_t(rank)];
  }

  Thread& thread() { return m_threads[std::size_t(m_rank)]; }

  int numAlive(int first, int number) const {
    const int end = static_cast<int>(m_threads.size());
    if (m_num_alive == end) return std::min(number, end - first);
    int alive = 0;
    for (int i = first; i < std::min(first + number, end); ++i)
      if (m_threads[std::size_t(i)].state != State::done) ++alive;
    return alive;
  }

  Meeting& meetingOf(int rank, int number) {
    int width = 0;
    while (1 << width < number)
      ++width;
    return m_groups[width][std::size_t(rank / number)];
  }

  /// All values of the lanes of a warp, which stay until the meeting after the
  /// next one.
  const std::byte* meetLanes(const char* what, const void* value,
                             std::size_t size, int callers) {
    require(size <= 16, "value of so many bytes");
    Meeting& meeting = meetingOf(m_rank, callers);
    auto& slots      = meeting.slots[meeting.generation % 2];
    std::memcpy(slots.data() + std::size_t(m_rank % 32) * size, value, size);
    meet(meeting, what, numAlive(m_rank / callers * callers, callers));
    return slots.data();
  }

  void meet(Meeting& meeting, const char* what, int num_expected) {
    require(meeting.num_waiting == 0 || std::strcmp(meeting.what, what) == 0,
            "agreement on what to do together");
    meeting.what        = what;
    thread().generation = meeting.generation;
    if (++meeting.num_waiting == num_expected) {
      meeting.end();
      return;
    }
    thread().waits_for = &meeting;
    thread().state     = State::waiting;
    pause();
  }

  /// Back to the scheduler; returns when that resumes this thread.
  static void pause() {
    EmulatedThreads& self = *current();
    if (_setjmp(fiber(self.m_rank).registers) == 0)
      _longjmp(self.m_scheduler, 1);
  }

  void resume() {
    if (_setjmp(m_scheduler) != 0) return;
    Fiber& next    = fiber(m_rank);
    thread().state = State::ready;
    if (next.stack) _longjmp(next.registers, 1);
    next.stack.reset(new std::byte[stack_length]);
    ucontext_t context;
    getcontext(&context);
    context.uc_stack.ss_sp   = next.stack.get();
    context.uc_stack.ss_size = stack_length;
    context.uc_link          = nullptr;
    makecontext(&context, &EmulatedThreads::live, 0);
    setcontext(&context);
  }

  /// The life of a fiber: the same thread of one team after another.
  static void live() {
    for (;;) {
      (*current()->m_body)();
      current()->leave();
      pause();
    }
  }

  /// Nobody waits for a thread that has returned.
  void leave() {
    thread().state = State::done;
    --m_num_alive;
    if (m_num_alive > 0 && m_team.num_waiting == m_num_alive) m_team.end();
    for (int width = 0; width < widths; ++width) {
      const int number = 1 << width;
      Meeting& meeting = meetingOf(m_rank, number);
      if (meeting.num_waiting > 0 &&
          meeting.num_waiting == numAlive(m_rank / number * number, number))
        meeting.end();
    }
  }

  std::vector<Thread> m_threads;
  std::vector<Meeting> m_groups[widths];
  Meeting m_team;
  std::vector<Copy> m_copies;
  std::array<const void*, 1024> m_values{};
  const std::function<void()>* m_body = nullptr;
  std::jmp_buf m_scheduler;
  int m_rank        = 0;
  int m_num_alive   = 0;
  bool m_descending = false;
};

}  // namespace Test

#endif
