// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// SPDX-FileCopyrightText: Copyright Contributors to the Tokkos project

#ifndef TOKKOS_PERFTEST_GRAPH_HPP
#define TOKKOS_PERFTEST_GRAPH_HPP

#include <Kokkos_Core.hpp>

#include <stdexcept>
#include <string>
#include <vector>

// A CUDA graph of many calls: it replays them without the host, and so shows
// what the calls take on the device, gaps from node to node included.
namespace PerfTest {

/// True when calls on the backend can be captured in a graph.
template <class ExecutionSpace>
inline constexpr bool can_capture_v = false;

/// An instance to capture on, and the graph of what was captured.
template <class ExecutionSpace>
class Graph;

#ifdef KOKKOS_ENABLE_CUDA

template <>
inline constexpr bool can_capture_v<Kokkos::Cuda> = true;

template <>
class Graph<Kokkos::Cuda> {
 public:
  Graph() : m_space((createStream(), m_stream)) {}
  Graph(const Graph&)            = delete;
  Graph& operator=(const Graph&) = delete;
  ~Graph() {
    if (m_graph != nullptr) static_cast<void>(cudaGraphExecDestroy(m_graph));
    m_space.fence();
    m_space = Kokkos::Cuda();
    static_cast<void>(cudaStreamDestroy(m_stream));
  }

  const Kokkos::Cuda& space() const { return m_space; }

  /// Records what `enqueue` launches on the instance.
  template <class Function>
  void capture(const Function& enqueue) {
    // The relaxed mode lets other calls to CUDA pass, such as the empty
    // allocation that Kokkos makes for a team without scratch memory.
    check(cudaStreamBeginCapture(m_stream, cudaStreamCaptureModeRelaxed));
    cudaGraph_t graph = nullptr;
    try {
      enqueue();
    } catch (...) {
      static_cast<void>(cudaStreamEndCapture(m_stream, &graph));
      static_cast<void>(cudaGetLastError());
      throw;
    }
    check(cudaStreamEndCapture(m_stream, &graph));
    const cudaError_t status = cudaGraphInstantiate(&m_graph, graph, 0);
    static_cast<void>(cudaGraphDestroy(graph));
    check(status);
  }

  /// Replays the graph and returns the seconds of each replay. The replays are
  /// enqueued behind one another, so that no time of the host lies between the
  /// events around each; the first only covers for the others.
  std::vector<double> replay(int times) {
    std::vector<cudaEvent_t> events(static_cast<std::size_t>(times) + 1);
    for (cudaEvent_t& event : events)
      check(cudaEventCreate(&event));
    for (cudaEvent_t& event : events) {
      check(cudaGraphLaunch(m_graph, m_stream));
      check(cudaEventRecord(event, m_stream));
    }
    check(cudaStreamSynchronize(m_stream));
    std::vector<double> seconds;
    for (std::size_t i = 1; i < events.size(); ++i) {
      float milliseconds = 0;
      check(cudaEventElapsedTime(&milliseconds, events[i - 1], events[i]));
      seconds.push_back(1e-3 * static_cast<double>(milliseconds));
    }
    for (const cudaEvent_t event : events)
      check(cudaEventDestroy(event));
    return seconds;
  }

 private:
  // Kokkos may do something on CUDA's default stream, which must not wait for
  // a stream that is being captured.
  void createStream() {
    check(cudaStreamCreateWithFlags(&m_stream, cudaStreamNonBlocking));
  }

  static void check(cudaError_t status) {
    if (status == cudaSuccess) return;
    static_cast<void>(cudaGetLastError());
    throw std::runtime_error(std::string("CUDA: ") +
                             cudaGetErrorString(status));
  }

  cudaStream_t m_stream   = nullptr;
  cudaGraphExec_t m_graph = nullptr;
  Kokkos::Cuda m_space;
};

#endif

}  // namespace PerfTest

#endif
