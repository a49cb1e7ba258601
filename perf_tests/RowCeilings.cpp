// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// SPDX-FileCopyrightText: Copyright Contributors to the Tokkos project

#include "Registry.hpp"

#include "Inputs.hpp"
#include "Measure.hpp"
#include "RowBytes.hpp"
#include "Word.hpp"

#include <Tokkos/KokkosExt/Streaming.hpp>

#include <Kokkos_Core.hpp>

#include <cstdint>
#include <string>
#include <vector>

// What the pattern of permute and of combine can reach at all: as many bytes,
// but every row stands where the last one ended, and no index is read.
namespace PerfTest {

template <class T>
inline constexpr int word_length = sizeof(Word) / sizeof(T);

/// 16 bytes as numbers.
template <class T>
struct alignas(16) Numbers {
  T value[word_length<T>];
};

/// Word i of the tokens, row_words a row, goes to the top_k rows of its token.
template <class T>
struct PermuteInSequence {
  const Numbers<T>* tokens;
  Numbers<T>* batch;
  int row_words;
  int top_k;

  KOKKOS_FUNCTION void operator()(int token, int w) const {
    const auto word = Tokkos::KokkosExt::loadStreaming(
        tokens + std::int64_t(token) * row_words + w);
    for (int k = 0; k < top_k; ++k)
      Tokkos::KokkosExt::storeStreaming(
          batch + (std::int64_t(token) * top_k + k) * row_words + w, word);
  }
};

/// Word i of the output is the sum of those of the top_k rows of its token.
template <class T, int top_k>
struct CombineInSequence {
  const Numbers<T>* batch;
  Numbers<T>* output;
  int row_words;

  KOKKOS_FUNCTION void operator()(int token, int w) const {
    // All reads are under way before the first sum waits for one.
    Numbers<T> word[top_k];
    for (int k = 0; k < top_k; ++k)
      word[k] = batch[(std::int64_t(token) * top_k + k) * row_words + w];
    Numbers<T> result;
    for (int j = 0; j < word_length<T>; ++j) {
      float sum = 0;
      for (int k = 0; k < top_k; ++k)
        sum += static_cast<float>(word[k].value[j]);
      result.value[j] = static_cast<T>(sum);
    }
    Tokkos::KokkosExt::storeStreaming(
        output + std::int64_t(token) * row_words + w, result);
  }
};

/// A thread of a host takes a whole row.
template <class Functor>
struct RowByRow {
  Functor functor;

  KOKKOS_FUNCTION void operator()(int token) const {
    for (int w = 0; w < functor.row_words; ++w)
      functor(token, w);
  }
};

/// A thread of a device takes a word, 256 neighbouring threads words of a row.
template <class Functor>
struct WordByWord {
  Functor functor;
  int tiles_of_row;

  KOKKOS_FUNCTION void operator()(std::int64_t i) const {
    const int tile  = static_cast<int>(i >> 8);
    const int token = tile / tiles_of_row;
    const int part  = tile - token * tiles_of_row;
    const int w     = part * 256 + static_cast<int>(i & 255);
    if (w < functor.row_words) functor(token, w);
  }
};

template <class ExecutionSpace, class Functor>
void runOverWords(const ExecutionSpace& space, int tokens,
                  const Functor& functor) {
  constexpr auto label = "PerfTest::ceiling";
  if constexpr (is_host_v<ExecutionSpace>) {
    Kokkos::parallel_for(
        label,
        Kokkos::RangePolicy<ExecutionSpace, Kokkos::IndexType<int>>(space, 0,
                                                                    tokens),
        RowByRow<Functor>{functor});
  } else {
    const int tiles_of_row = (functor.row_words - 1) / 256 + 1;
    Kokkos::parallel_for(
        label,
        Kokkos::RangePolicy<ExecutionSpace, Kokkos::IndexType<std::int64_t>,
                            Kokkos::LaunchBounds<256>>(
            space, 0, std::int64_t(tokens) * tiles_of_row * 256),
        WordByWord<Functor>{functor, tiles_of_row});
  }
}

template <class ExecutionSpace, class T>
class RowCeiling : public KokkosSubject<ExecutionSpace> {
 public:
  int numSets() const { return static_cast<int>(m_tokens.size()); }

 protected:
  RowCeiling(const ExecutionSpace& space, const Workload& workload,
             double bytes)
      : m_workload(workload) {
    const int hidden = workload.model.hidden;
    for (int i = 0; i < numRowSets(workload, bytes); ++i) {
      m_tokens.push_back(m_memory.template makeRandom<T>(
          space, "tokens", workload.tokens, hidden, i));
      m_batch.push_back(m_memory.template makeRandom<T>(
          space, "batch", workload.numAssignments(), hidden, i + 1000));
    }
  }

  Numbers<T>* tokens(int i) const {
    return reinterpret_cast<Numbers<T>*>(
        m_tokens[static_cast<std::size_t>(i)].data());
  }
  Numbers<T>* batch(int i) const {
    return reinterpret_cast<Numbers<T>*>(
        m_batch[static_cast<std::size_t>(i)].data());
  }
  int rowWords() const { return m_workload.model.hidden / word_length<T>; }

  /// One element says whether the kernel ran: that of the last token in its
  /// first row.
  float lastOf(const ExecutionSpace& space, bool of_batch) const {
    const int t      = m_workload.tokens - 1;
    const auto& rows = of_batch ? m_batch[0] : m_tokens[0];
    T value{};
    Kokkos::deep_copy(
        space, Kokkos::View<T, Kokkos::HostSpace>(&value),
        Kokkos::subview(rows, of_batch ? t * m_workload.model.top_k : t, 0));
    space.fence("PerfTest::check");
    return static_cast<float>(value);
  }

  const Workload m_workload;

 private:
  using Rows = Matrix<T, typename ExecutionSpace::memory_space>;
  AlignedMatrices<typename ExecutionSpace::memory_space> m_memory;
  std::vector<Rows> m_tokens;
  std::vector<Rows> m_batch;
};

template <class ExecutionSpace, class T>
class PermuteCeiling : public RowCeiling<ExecutionSpace, T> {
  using Base = RowCeiling<ExecutionSpace, T>;

 public:
  PermuteCeiling(const ExecutionSpace& space, const Workload& workload)
      : Base(space, workload, minimumBytes(workload)) {}

  static double minimumBytes(const Workload& workload) {
    return permuteBytes(workload, sizeof(T)) - 4. * workload.numAssignments();
  }

  void call(const ExecutionSpace& space, int i) {
    runOverWords(
        space, this->m_workload.tokens,
        PermuteInSequence<T>{this->tokens(i), this->batch(i), this->rowWords(),
                             this->m_workload.model.top_k});
  }

  std::string check(const ExecutionSpace& space) const {
    return this->lastOf(space, true) == this->lastOf(space, false)
               ? ""
               : "a row is not its token";
  }
};

template <class ExecutionSpace, class T>
class CombineCeiling : public RowCeiling<ExecutionSpace, T> {
  using Base = RowCeiling<ExecutionSpace, T>;

 public:
  CombineCeiling(const ExecutionSpace& space, const Workload& workload)
      : Base(space, workload, minimumBytes(workload)),
        m_before(this->lastOf(space, false)) {}

  static double minimumBytes(const Workload& workload) {
    return combineBytes(workload, sizeof(T)) - 8. * workload.numAssignments();
  }

  void call(const ExecutionSpace& space, int i) {
    switch (this->m_workload.model.top_k) {
      case 2:
        return call<2>(space, i);
      case 6:
        return call<6>(space, i);
      default:
        return call<8>(space, i);
    }
  }

  std::string check(const ExecutionSpace& space) const {
    return this->lastOf(space, false) != m_before ? "" : "nothing was written";
  }

 private:
  template <int top_k>
  void call(const ExecutionSpace& space, int i) {
    runOverWords(space, this->m_workload.tokens,
                 CombineInSequence<T, top_k>{this->batch(i), this->tokens(i),
                                             this->rowWords()});
  }

  float m_before;
};

namespace {

template <class ExecutionSpace, class T>
void addType() {
  for (const Workload& workload : workloads({Routing::none})) {
    if (!fits<ExecutionSpace>(permuteBytes(workload, sizeof(T)))) continue;
    add<PermuteCeiling<ExecutionSpace, T>>("permuteCeiling", workload,
                                           typeName<T>());
    add<CombineCeiling<ExecutionSpace, T>>("combineCeiling", workload,
                                           typeName<T>());
  }
}

}  // namespace

void addRowCeilings() {
  forEachBackend([](auto type) {
    using ExecutionSpace = typename decltype(type)::type;
    addType<ExecutionSpace, float>();
    if constexpr (has_bhalf) addType<ExecutionSpace, bhalf_t>();
  });
}

}  // namespace PerfTest
