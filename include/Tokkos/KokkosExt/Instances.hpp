// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// SPDX-FileCopyrightText: Copyright Contributors to the Tokkos project

#ifndef TOKKOS_KOKKOSEXT_INSTANCES_HPP
#define TOKKOS_KOKKOSEXT_INSTANCES_HPP

#include <Tokkos/KokkosExt/Types.hpp>

#include <Kokkos_Core.hpp>

#include <cstddef>
#include <memory>
#include <stdexcept>
#include <string>
#include <vector>

namespace Tokkos::KokkosExt {

namespace Impl {

/// Orders instances by waiting for them on the host.
template <class ExecutionSpace>
class InstanceOrder {
 public:
  explicit InstanceOrder(std::size_t /*number*/) {}

  void fork(const ExecutionSpace& space,
            const std::vector<ExecutionSpace>& /*instances*/) const {
    space.fence("Tokkos::KokkosExt::Instances::fork");
  }
  void join(const ExecutionSpace& /*space*/,
            const std::vector<ExecutionSpace>& instances) const {
    for (const ExecutionSpace& instance : instances)
      instance.fence("Tokkos::KokkosExt::Instances::join");
  }
};

#ifdef KOKKOS_ENABLE_CUDA
/// Orders instances on the device, with an event each.
template <>
class InstanceOrder<Kokkos::Cuda> {
 public:
  explicit InstanceOrder(std::size_t number) : m_events(number + 1) {
    for (cudaEvent_t& event : m_events)
      check(cudaEventCreateWithFlags(&event, cudaEventDisableTiming));
  }
  InstanceOrder(const InstanceOrder&)            = delete;
  InstanceOrder& operator=(const InstanceOrder&) = delete;
  ~InstanceOrder() {
    for (const cudaEvent_t event : m_events)
      static_cast<void>(cudaEventDestroy(event));
  }

  void fork(const Kokkos::Cuda& space,
            const std::vector<Kokkos::Cuda>& instances) const {
    check(cudaEventRecord(m_events.back(), space.cuda_stream()));
    for (const Kokkos::Cuda& instance : instances)
      check(cudaStreamWaitEvent(instance.cuda_stream(), m_events.back(), 0));
  }
  void join(const Kokkos::Cuda& space,
            const std::vector<Kokkos::Cuda>& instances) const {
    for (std::size_t i = 0; i < instances.size(); ++i) {
      check(cudaEventRecord(m_events[i], instances[i].cuda_stream()));
      check(cudaStreamWaitEvent(space.cuda_stream(), m_events[i], 0));
    }
  }

 private:
  static void check(cudaError_t status) {
    if (status == cudaSuccess) return;
    static_cast<void>(cudaGetLastError());
    throw std::runtime_error(
        std::string("Tokkos: ordering instances of Kokkos::Cuda: ") +
        cudaGetErrorString(status));
  }

  std::vector<cudaEvent_t> m_events;
};
#endif

}  // namespace Impl

/// Instances beside the caller's, on which a device works at the same time.
/// Between fork and join they are used, after what the caller's instance had to
/// do and before what it gets to do. Copies share them.
///
/// Where one is wanted, and on a host, whose threads are all the caller's
/// anyway, there is none: the caller's is used.
template <class ExecutionSpace>
class Instances {
 public:
  Instances() = default;

  Instances(const ExecutionSpace& space, int number) {
    if (number <= 1 || is_host_execution_space_v<ExecutionSpace>) return;
    const auto n = static_cast<std::size_t>(number);
    m_instances =
        Kokkos::Experimental::partition_space(space, std::vector<int>(n, 1));
    m_order = std::make_shared<Impl::InstanceOrder<ExecutionSpace>>(n);
  }

  void fork(const ExecutionSpace& space) const {
    if (m_order) m_order->fork(space, m_instances);
  }
  void join(const ExecutionSpace& space) const {
    if (m_order) m_order->join(space, m_instances);
  }

  /// The instance for piece `i` of the work, of any number of pieces.
  const ExecutionSpace& of(const ExecutionSpace& space, int i) const {
    if (m_instances.empty()) return space;
    return m_instances[static_cast<std::size_t>(i) % m_instances.size()];
  }

 private:
  std::vector<ExecutionSpace> m_instances;
  std::shared_ptr<const Impl::InstanceOrder<ExecutionSpace>> m_order;
};

}  // namespace Tokkos::KokkosExt

#endif
