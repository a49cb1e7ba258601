// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// SPDX-FileCopyrightText: Copyright Contributors to the Tokkos project

#ifndef TOKKOS_FINGERPRINT_HPP
#define TOKKOS_FINGERPRINT_HPP

#include <Tokkos/KokkosExt/Types.hpp>

#include <Kokkos_Core.hpp>

#include <cstdint>
#include <cstdio>
#include <cstring>
#include <functional>
#include <map>
#include <ostream>
#include <random>
#include <stdexcept>
#include <string>
#include <type_traits>
#include <vector>

// What every part of the fingerprint needs: numbers and hashes that are the
// same on every platform, a way to run the verbs, and the list of backends.
namespace Fingerprint {

using Tokkos::KokkosExt::bhalf_t;
using Tokkos::KokkosExt::half_t;

/// Where no backend has 16-bit reals Kokkos makes them float; the cases with
/// them, which have `half` in their names, are left out there.
inline constexpr bool has_half = !std::is_same_v<half_t, float>;

/// FNV-1a with 64 bits (Fowler, Noll, Vo, 1991), over the bytes of values.
class Hash {
 public:
  template <class T>
  void add(const std::vector<T>& values) {
    const auto* const bytes =
        reinterpret_cast<const unsigned char*>(values.data());
    for (std::size_t i = 0; i < values.size() * sizeof(T); ++i)
      m_value = (m_value ^ bytes[i]) * 1099511628211u;
  }
  std::uint64_t value() const { return m_value; }

 private:
  std::uint64_t m_value = 14695981039346656037u;
};

/// Random numbers that depend on the name of the case alone. The engine is
/// portable, the distributions of the standard library are not.
class Numbers {
 public:
  explicit Numbers(const std::string& name) {
    Hash hash;
    hash.add(std::vector<char>(name.begin(), name.end()));
    m_engine.seed(hash.value());
  }

  int below(int n) {
    return static_cast<int>((m_engine() >> 11) % static_cast<std::uint64_t>(n));
  }
  bool oneIn(int n) { return below(n) == 0; }

  /// In [-4, 4), a multiple of 2^-20: exact in float and double.
  double real() { return below(1 << 23) / double(1 << 20) - 4; }

 private:
  std::mt19937_64 m_engine;
};

/// Where and how the cases run.
template <class Space>
struct Setting {
  Space space;
  bool graph;  // capture the verbs in a CUDA graph, replay it
  std::function<bool(const std::string&)> wanted;
  std::ostream& out;

  /// Prints the hash of a case, unless it is not wanted:
  /// hash_outputs(numbers, hash) runs it.
  template <class Case>
  void run(const std::string& name, const Case& hash_outputs) const {
    if (!wanted(name)) return;
    Numbers numbers(name);
    Hash hash;
    hash_outputs(numbers, hash);
    char digits[17];
    std::snprintf(digits, sizeof(digits), "%016llx",
                  static_cast<unsigned long long>(hash.value()));
    out << name << ' ' << digits << std::endl;
  }

  /// Resets the outputs and runs the verbs, directly or as a replayed graph.
  template <class Reset, class Verbs>
  void launch(const Reset& reset, const Verbs& verbs) const {
    if (graph) {
      replay(reset, verbs);
    } else {
      reset();
      verbs();
    }
    space.fence();
  }

 private:
  template <class Reset, class Verbs>
  void replay(const Reset& reset, const Verbs& verbs) const {
#ifdef KOKKOS_ENABLE_CUDA
    if constexpr (std::is_same_v<Space, Kokkos::Cuda>) {
      reset();
      verbs();  // Kokkos' own scratch grows at the first call
      Kokkos::fence();
      const auto require = [](cudaError_t status) {
        if (status != cudaSuccess)
          throw std::runtime_error(cudaGetErrorString(status));
      };
      cudaGraph_t captured      = nullptr;
      cudaGraphExec_t execution = nullptr;
      require(cudaStreamBeginCapture(space.cuda_stream(),
                                     cudaStreamCaptureModeRelaxed));
      verbs();
      require(cudaStreamEndCapture(space.cuda_stream(), &captured));
      require(cudaGraphInstantiate(&execution, captured, 0));
      reset();
      Kokkos::fence();
      require(cudaGraphLaunch(execution, space.cuda_stream()));
      require(cudaStreamSynchronize(space.cuda_stream()));
      require(cudaGraphExecDestroy(execution));
      require(cudaGraphDestroy(captured));
      return;
    }
#endif
    (void)reset;
    (void)verbs;
    throw std::runtime_error("only CUDA has graphs");
  }
};

/// All cases, on this space; one translation unit a backend.
template <class Space>
void runPlanCases(const Setting<Space>&);
template <class Space>
void runRowCases(const Setting<Space>&);
template <class Space>
void runRouterCases(const Setting<Space>&);

struct Command {
  bool partitioned;
  bool graph;
  std::function<bool(const std::string&)> wanted;
};

using Program = std::function<void(const Command&, std::ostream&)>;

inline std::map<std::string, Program>& programs() {
  static std::map<std::string, Program> all;
  return all;
}

/// An instance of its own, as far as the backend has threads to divide.
template <class Space>
Space partitionedInstance() {
  if (Space().concurrency() < 2) return Space();
  return Kokkos::Experimental::partition_space(Space(),
                                               std::vector<int>{1, 1})[1];
}

template <class Space>
struct Registration {
  explicit Registration(const std::string& name) {
    programs()[name] = [](const Command& command, std::ostream& out) {
      const Setting<Space> setting{
          command.partitioned ? partitionedInstance<Space>() : Space(),
          command.graph, command.wanted, out};
      runPlanCases(setting);
      runRowCases(setting);
      runRouterCases(setting);
    };
  }
};

//----------------------------------------------------------------------------

template <class T, class Space>
using Array = Kokkos::View<T*, typename Space::memory_space>;
template <class T, class Space, class Layout = Kokkos::LayoutRight>
using Matrix = Kokkos::View<T**, Layout, typename Space::memory_space>;

/// The first `rows` rows of a View, in row order.
template <class View>
auto toVector(const View& view, std::size_t rows) {
  const auto host =
      Kokkos::create_mirror_view_and_copy(Kokkos::HostSpace(), view);
  std::vector<typename View::non_const_value_type> values;
  for (std::size_t i = 0; i < rows; ++i)
    if constexpr (View::rank() == 1) {
      values.push_back(host(i));
    } else {
      for (std::size_t j = 0; j < view.extent(1); ++j)
        values.push_back(host(i, j));
    }
  return values;
}
template <class View>
auto toVector(const View& view) {
  return toVector(view, view.extent(0));
}
template <class T, class... Properties>
std::vector<T> toVector(const Kokkos::View<T, Properties...>& view)
  requires(std::is_arithmetic_v<T>)
{
  const auto host =
      Kokkos::create_mirror_view_and_copy(Kokkos::HostSpace(), view);
  return {host()};
}

/// Every element becomes next().
template <class View, class Next>
void fill(const View& view, const Next& next) {
  const auto host = Kokkos::create_mirror_view(view);
  for (std::size_t i = 0; i < view.extent(0); ++i)
    if constexpr (View::rank() == 1) {
      host(i) = next();
    } else {
      for (std::size_t j = 0; j < view.extent(1); ++j)
        host(i, j) = next();
    }
  Kokkos::deep_copy(view, host);
}

/// What no verb writes: shows in the hash what was left alone.
template <class View>
void poison(const View& view) {
  using Value = typename View::value_type;
  Value value;
  std::memset(static_cast<void*>(&value), 0xA5, sizeof(Value));
  fill(view, [&] { return value; });
}

}  // namespace Fingerprint

#endif
