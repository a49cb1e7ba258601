// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// SPDX-FileCopyrightText: Copyright Contributors to the Tokkos project

#ifndef TOKKOS_KOKKOSEXT_STREAMING_HPP
#define TOKKOS_KOKKOSEXT_STREAMING_HPP

#include <Kokkos_Core.hpp>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstring>

#if defined(__SSE2__)
#include <emmintrin.h>
#endif

/// Memory that is touched once should not push out of the caches what is
/// touched again.
namespace Tokkos::KokkosExt {

namespace Impl {

/// The type in which CUDA moves so many bytes with a hint.
template <std::size_t bytes>
struct CudaWord {
  using type = void;
};
#ifdef KOKKOS_ENABLE_CUDA
template <>
struct CudaWord<1> {
  using type = unsigned char;
};
template <>
struct CudaWord<2> {
  using type = unsigned short;
};
template <>
struct CudaWord<4> {
  using type = unsigned;
};
template <>
struct CudaWord<8> {
  using type = uint2;
};
template <>
struct CudaWord<16> {
  using type = uint4;
};
#endif

}  // namespace Impl

/// *p, which nobody reads again soon.
template <class Word>
KOKKOS_FORCEINLINE_FUNCTION Word loadStreaming(const Word* p) {
#ifdef __CUDA_ARCH__
  if constexpr (sizeof(Word) > 16 && alignof(Word) == 16) {
    struct Parts {
      uint4 part[sizeof(Word) / 16];
    } parts;
    for (int i = 0; i < static_cast<int>(sizeof(Word) / 16); ++i)
      parts.part[i] = __ldcs(reinterpret_cast<const uint4*>(p) + i);
    return Kokkos::bit_cast<Word>(parts);
  }
  using CudaWord = typename Impl::CudaWord<sizeof(Word)>::type;
  if constexpr (!std::is_void_v<CudaWord>)
    return Kokkos::bit_cast<Word>(__ldcs(reinterpret_cast<const CudaWord*>(p)));
#endif
  return *p;
}

/// *p = value, which nobody reads soon.
template <class Word>
KOKKOS_FORCEINLINE_FUNCTION void storeStreaming(Word* p, const Word& value) {
#ifdef __CUDA_ARCH__
  using CudaWord = typename Impl::CudaWord<sizeof(Word)>::type;
  if constexpr (!std::is_void_v<CudaWord>) {
    __stcs(reinterpret_cast<CudaWord*>(p), Kokkos::bit_cast<CudaWord>(value));
    return;
  }
#endif
  *p = value;
}

/// Copies bytes on the host past its caches, which saves reading the lines that
/// are about to be overwritten. To be followed by drainStreams() before another
/// thread is told of them.
inline void copyStreaming(std::byte* destination, const std::byte* source,
                          std::size_t size) {
#if defined(__SSE2__)
  const auto misaligned  = reinterpret_cast<std::uintptr_t>(destination) % 16;
  const std::size_t head = std::min(size, (16 - misaligned) % 16);
  std::memcpy(destination, source, head);
  const std::size_t end = head + (size - head) / 16 * 16;
  for (std::size_t i = head; i < end; i += 16)
    _mm_stream_si128(
        reinterpret_cast<__m128i*>(destination + i),
        _mm_loadu_si128(reinterpret_cast<const __m128i*>(source + i)));
  std::memcpy(destination + end, source + end, size - end);
#else
  std::memcpy(destination, source, size);
#endif
}

/// Orders what copyStreaming wrote before later writes of this thread.
inline void drainStreams() {
#if defined(__SSE2__)
  _mm_sfence();
#endif
}

/// Host results of so many bytes do not stay in a cache anyway.
inline constexpr std::size_t streaming_bytes = std::size_t(16) << 20;

}  // namespace Tokkos::KokkosExt

#endif
