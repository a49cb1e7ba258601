// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// SPDX-FileCopyrightText: Copyright Contributors to the Tokkos project

#ifndef TOKKOS_KOKKOSEXT_BULKCOPY_HPP
#define TOKKOS_KOKKOSEXT_BULKCOPY_HPP

#include <Kokkos_Core.hpp>

#include <cstdint>

namespace Tokkos::KokkosExt {

/// The copy engine of a multiprocessor, which moves kilobytes between global
/// and scratch memory for one instruction: no registers, and bursts as long as
/// the copy. CUDA has it from compute capability 9.0 on.
///
/// Addresses and sizes are multiples of 16 bytes. A barrier (in scratch memory)
/// serves one load at a time; its phase is 0 for the first load, 1 for the
/// second, 0 for the third, ...
template <class ExecutionSpace>
struct BulkCopy {
  static constexpr bool is_available = false;

  using Barrier = std::uint64_t;
  KOKKOS_FUNCTION static void makeBarrier(Barrier*) {}
  KOKKOS_FUNCTION static void load(void*, const void*, int, Barrier*) {}
  KOKKOS_FUNCTION static void waitForLoad(Barrier*, int) {}
  KOKKOS_FUNCTION static void store(void*, const void*, int) {}
  KOKKOS_FUNCTION static void waitUntilRead() {}
};

#if defined(KOKKOS_ENABLE_CUDA) &&                                         \
    (defined(KOKKOS_ARCH_HOPPER90) || defined(KOKKOS_ARCH_BLACKWELL100) || \
     defined(KOKKOS_ARCH_BLACKWELL120))
template <>
struct BulkCopy<Kokkos::Cuda> {
  static constexpr bool is_available = true;

  using Barrier = std::uint64_t;

  /// By one thread, before any other call with the barrier.
  KOKKOS_FUNCTION static void makeBarrier([[maybe_unused]] Barrier* barrier) {
#ifdef __CUDA_ARCH__
    asm volatile(
        "mbarrier.init.shared::cta.b64 [%0], 1;" ::"r"(scratchAddress(barrier))
        : "memory");
    asm volatile("fence.mbarrier_init.release.cluster;" ::: "memory");
#endif
  }

  /// From global to scratch memory, by the thread that made the barrier.
  KOKKOS_FUNCTION static void load([[maybe_unused]] void* scratch,
                                   [[maybe_unused]] const void* global,
                                   [[maybe_unused]] int bytes,
                                   [[maybe_unused]] Barrier* barrier) {
#ifdef __CUDA_ARCH__
    asm volatile("mbarrier.arrive.expect_tx.shared::cta.b64 _, [%0], %1;" ::"r"(
                     scratchAddress(barrier)),
                 "r"(bytes)
                 : "memory");
    asm volatile(
        "cp.async.bulk.shared::cluster.global.mbarrier::complete_tx::bytes "
        "[%0], [%1], %2, [%3];" ::"r"(scratchAddress(scratch)),
        "l"(global), "r"(bytes), "r"(scratchAddress(barrier))
        : "memory");
#endif
  }

  /// By every thread that uses what was loaded.
  KOKKOS_FUNCTION static void waitForLoad([[maybe_unused]] Barrier* barrier,
                                          [[maybe_unused]] int phase) {
#ifdef __CUDA_ARCH__
    unsigned done = 0;
    while (done == 0)
      asm volatile(
          "{\n"
          "  .reg .pred p;\n"
          "  mbarrier.try_wait.parity.shared::cta.b64 p, [%1], %2;\n"
          "  selp.u32 %0, 1, 0, p;\n"
          "}"
          : "=r"(done)
          : "r"(scratchAddress(barrier)), "r"(phase)
          : "memory");
#endif
  }

  /// From scratch to global memory, past the second-level cache where it can
  /// be: what is written once should not push out what is read again.
  KOKKOS_FUNCTION static void store([[maybe_unused]] void* global,
                                    [[maybe_unused]] const void* scratch,
                                    [[maybe_unused]] int bytes) {
#ifdef __CUDA_ARCH__
    std::uint64_t policy;
    asm volatile("createpolicy.fractional.L2::evict_first.b64 %0, 1.0;"
                 : "=l"(policy));
    asm volatile(
        "cp.async.bulk.global.shared::cta.bulk_group.L2::cache_hint "
        "[%0], [%1], %2, %3;" ::"l"(global),
        "r"(scratchAddress(scratch)), "r"(bytes), "l"(policy)
        : "memory");
#endif
  }

  /// Until the calling thread's stores have read the scratch memory: it may be
  /// written again, or given back.
  KOKKOS_FUNCTION static void waitUntilRead() {
#ifdef __CUDA_ARCH__
    asm volatile("cp.async.bulk.commit_group;" ::: "memory");
    asm volatile("cp.async.bulk.wait_group.read 0;" ::: "memory");
#endif
  }

 private:
#ifdef __CUDA_ARCH__
  KOKKOS_FUNCTION static unsigned scratchAddress(const void* p) {
    return static_cast<unsigned>(__cvta_generic_to_shared(p));
  }
#endif
};
#endif

}  // namespace Tokkos::KokkosExt

#endif
