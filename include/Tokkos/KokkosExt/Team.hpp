// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// SPDX-FileCopyrightText: Copyright Contributors to the Tokkos project

#ifndef TOKKOS_KOKKOSEXT_TEAM_HPP
#define TOKKOS_KOKKOSEXT_TEAM_HPP

#include <Tokkos/KokkosExt/Launch.hpp>

#include <Kokkos_Core.hpp>

#include <cstdint>
#include <map>
#include <mutex>
#include <stdexcept>
#include <string>

namespace Tokkos::KokkosExt {

/// A team as the kernels of launchTeams see it.
template <class ExecutionSpace>
class Team {
 public:
  using Member = typename Kokkos::TeamPolicy<ExecutionSpace>::member_type;

  KOKKOS_FUNCTION Team(const Member& member, int scratch_bytes)
      : m_member(member),
        m_scratch(member.team_scratch(0).get_shmem_aligned(
            static_cast<std::size_t>(scratch_bytes), scratch_alignment)) {}

  KOKKOS_FUNCTION int league_rank() const { return m_member.league_rank(); }
  KOKKOS_FUNCTION int league_size() const { return m_member.league_size(); }
  KOKKOS_FUNCTION int team_rank() const { return m_member.team_rank(); }
  KOKKOS_FUNCTION int team_size() const { return m_member.team_size(); }
  KOKKOS_FUNCTION void team_barrier() const { m_member.team_barrier(); }

  /// The team's scratch memory, all of it, where a load of 16 bytes may begin.
  KOKKOS_FUNCTION void* scratch() const { return m_scratch; }

  /// Lets the next kernel start, if that awaits this one.
  KOKKOS_FUNCTION void letNextKernelStart() const {}
  /// Returns when the kernels before this one have ended.
  KOKKOS_FUNCTION void awaitEarlierKernels() const {}

  static constexpr int scratch_alignment = 16;

 private:
  const Member& m_member;
  void* m_scratch;
};

/// The scratch memory in bytes that a team can have.
template <class ExecutionSpace>
int maxTeamScratch(const ExecutionSpace& /*space*/) {
  return Kokkos::TeamPolicy<ExecutionSpace>::scratch_size_max(0) -
         Team<ExecutionSpace>::scratch_alignment;
}

/// On how many multiprocessors the teams of a device run; 1 where it is not
/// known.
template <class ExecutionSpace>
int numMultiprocessors(const ExecutionSpace& /*space*/) {
  return 1;
}

namespace Impl {

template <class ExecutionSpace, class Functor>
struct TeamFunctor {
  Functor functor;
  int scratch_bytes;

  KOKKOS_FUNCTION void operator()(
      const typename Team<ExecutionSpace>::Member& member) const {
    functor(Team<ExecutionSpace>(member, scratch_bytes));
  }
};

template <class ExecutionSpace>
struct TeamLauncher {
  template <class Functor>
  static void launch(const std::string& label, const ExecutionSpace& space,
                     int league_size, int team_size, int scratch_bytes,
                     const Functor& functor) {
    parallelFor(
        label,
        Kokkos::TeamPolicy<ExecutionSpace>(space, league_size, team_size)
            .set_scratch_size(
                0, Kokkos::PerTeam(scratch_bytes +
                                   Team<ExecutionSpace>::scratch_alignment)),
        TeamFunctor<ExecutionSpace, Functor>{functor, scratch_bytes});
  }
};

}  // namespace Impl

/// parallel_for over teams, for kernels that take microseconds. On a GPU that
/// can, it starts while the kernel before it ends, and waits until all of that
/// kernel's writes are visible.
///
/// \param scratch_bytes level-0 scratch of a team, at most maxTeamScratch
/// \param functor callable with a const Team<ExecutionSpace>&
///
/// A functor with `static constexpr int max_team_size` promises no larger
/// teams, for which a compiler may use more registers (1024 threads otherwise).
/// With `static constexpr int min_resident_teams` as well, it may use no more
/// than let so many teams run on a multiprocessor at the same time.
///
/// A functor with `static constexpr bool awaits_earlier_kernels = true` calls
/// Team::awaitEarlierKernels itself, in every thread. Until then it may read,
/// with loadCoherent, what the kernel before it does not write, if that one is
/// no such functor; and it writes nothing but scratch memory.
template <class ExecutionSpace, class Functor>
void launchTeams(const std::string& label, const ExecutionSpace& space,
                 int league_size, int team_size, int scratch_bytes,
                 const Functor& functor) {
  Impl::TeamLauncher<ExecutionSpace>::launch(label, space, league_size,
                                             team_size, scratch_bytes, functor);
}

#ifdef KOKKOS_ENABLE_CUDA

template <>
class Team<Kokkos::Cuda> {
 public:
  KOKKOS_FUNCTION int league_rank() const {
    KOKKOS_IF_ON_DEVICE((return static_cast<int>(blockIdx.x);))
    KOKKOS_IF_ON_HOST((return 0;))
  }
  KOKKOS_FUNCTION int league_size() const {
    KOKKOS_IF_ON_DEVICE((return static_cast<int>(gridDim.x);))
    KOKKOS_IF_ON_HOST((return 1;))
  }
  KOKKOS_FUNCTION int team_rank() const {
    KOKKOS_IF_ON_DEVICE((return static_cast<int>(threadIdx.x);))
    KOKKOS_IF_ON_HOST((return 0;))
  }
  KOKKOS_FUNCTION int team_size() const {
    KOKKOS_IF_ON_DEVICE((return static_cast<int>(blockDim.x);))
    KOKKOS_IF_ON_HOST((return 1;))
  }
  KOKKOS_FUNCTION void team_barrier() const {
    KOKKOS_IF_ON_DEVICE((__syncthreads();))
  }
  KOKKOS_FUNCTION void letNextKernelStart() const {
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 900
    cudaTriggerProgrammaticLaunchCompletion();
#endif
  }
  KOKKOS_FUNCTION void awaitEarlierKernels() const {
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 900
    cudaGridDependencySynchronize();
#endif
  }
  KOKKOS_FUNCTION void* scratch() const {
#ifdef __CUDA_ARCH__
    extern __shared__ int4 tokkos_team_scratch[];
    return tokkos_team_scratch;
#else
    return nullptr;
#endif
  }
};

inline int maxTeamScratch(const Kokkos::Cuda& space) {
  return static_cast<int>(space.cuda_device_prop().sharedMemPerBlockOptin);
}

inline int numMultiprocessors(const Kokkos::Cuda& space) {
  return space.cuda_device_prop().multiProcessorCount;
}

namespace Impl {

template <class Functor>
inline constexpr bool awaits_itself_v = false;
template <class Functor>
  requires(Functor::awaits_earlier_kernels)
inline constexpr bool awaits_itself_v<Functor> = true;

template <class Functor>
inline constexpr int max_team_size_v = 1024;
template <class Functor>
  requires(Functor::max_team_size > 0)
inline constexpr int max_team_size_v<Functor> = Functor::max_team_size;

template <class Functor>
inline constexpr int min_resident_teams_v = 0;
template <class Functor>
  requires(Functor::min_resident_teams > 0)
inline constexpr int min_resident_teams_v<Functor> =
    Functor::min_resident_teams;

// Where it can, the kernel starts before the one before it has ended, and waits
// until it has and its writes are visible.
template <class Functor>
__global__ __launch_bounds__(
    max_team_size_v<Functor>,
    min_resident_teams_v<Functor>) void runTeams(const Functor functor) {
  const Team<Kokkos::Cuda> team;
  if constexpr (!awaits_itself_v<Functor>) team.awaitEarlierKernels();
  functor(team);
}

// CUDA launches, not Kokkos, because only so can a kernel be allowed to start
// early ("programmatic dependent launch"). What follows it, whoever launched
// that, waits as always.
template <>
struct TeamLauncher<Kokkos::Cuda> {
  template <class Functor>
  static void launch(const std::string& label, const Kokkos::Cuda& space,
                     int league_size, int team_size, int scratch_bytes,
                     const Functor& functor) {
    static_assert(sizeof(Functor) < 4096,
                  "Tokkos: a functor must fit into the arguments of a kernel");
    std::uint64_t id = 0;
    Kokkos::Tools::beginParallelFor(
        label, Kokkos::Tools::Experimental::device_id(space), &id);
    check(label, cudaSetDevice(space.cuda_device()));
    const auto kernel = runTeams<Functor>;
    if (scratch_bytes > scratch_without_asking)
      check(label, cudaFuncSetAttribute(
                       kernel, cudaFuncAttributeMaxDynamicSharedMemorySize,
                       scratch_bytes));
    cudaLaunchAttribute early{};
    early.id = cudaLaunchAttributeProgrammaticStreamSerialization;
    early.val.programmaticStreamSerializationAllowed = 1;
    cudaLaunchConfig_t config{};
    config.gridDim          = dim3(static_cast<unsigned>(league_size));
    config.blockDim         = dim3(static_cast<unsigned>(team_size));
    config.dynamicSmemBytes = static_cast<std::size_t>(scratch_bytes);
    config.stream           = space.cuda_stream();
    config.attrs            = &early;
    config.numAttrs         = waits<Functor>(label, space) ? 1 : 0;
    check(label, cudaLaunchKernelEx(&config, kernel, functor));
    Kokkos::Tools::endParallelFor(id);
  }

 private:
  static constexpr int scratch_without_asking = 48 * 1024;

  static void check(const std::string& label, cudaError_t status) {
    if (status == cudaSuccess) return;
    static_cast<void>(cudaGetLastError());
    throw std::runtime_error("Tokkos: launching " + label + ": " +
                             cudaGetErrorString(status));
  }

  /// Whether the kernel was compiled to wait, in the version that the device
  /// runs; asked once. Graphs can hold such kernels since CUDA 12.3.
  template <class Functor>
  static bool waits(const std::string& label, const Kokkos::Cuda& space) {
    static std::mutex mutex;
    static std::map<int, bool> answers;
    const std::lock_guard<std::mutex> lock(mutex);
    const auto [answer, is_new] =
        answers.try_emplace(space.cuda_device(), false);
    if (is_new) {
      cudaFuncAttributes attributes{};
      check(label, cudaFuncGetAttributes(&attributes, runTeams<Functor>));
      answer->second = CUDART_VERSION >= 12030 && attributes.ptxVersion >= 90;
    }
    return answer->second;
  }
};

}  // namespace Impl

#endif

}  // namespace Tokkos::KokkosExt

#endif
