// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// SPDX-FileCopyrightText: Copyright Contributors to the Tokkos project

#include <Tokkos.hpp>

// Each CASE is a misuse that a static_assert must name. CASE 0 is none of them
// and must compile: it shows that the others fail for their own reason.
using Space = Kokkos::DefaultHostExecutionSpace;
template <class T>
using Matrix = Kokkos::View<T**, Kokkos::LayoutRight, Kokkos::HostSpace>;
template <class T>
using Array = Kokkos::View<T*, Kokkos::HostSpace>;

/// A memory space that no host thread reaches, whatever Kokkos was built with.
struct Elsewhere {
  using memory_space    = Elsewhere;
  using execution_space = Space;
  using device_type     = Kokkos::Device<Space, Elsewhere>;
  using size_type       = std::size_t;
  static constexpr const char* name() { return "Elsewhere"; }
};

void misuse(const Tokkos::DispatchPlan<Kokkos::HostSpace>& plan) {
  const Space space;
  const Matrix<float> reals;
  const Matrix<int> ids;
  auto writable = plan;
  Tokkos::LoadBalance<Kokkos::HostSpace> balance;
#if CASE == 0
  Tokkos::routeTopK(space, reals, ids, reals);
  Tokkos::updateDispatchPlan(space, writable, ids);
  Tokkos::permute(space, plan, reals, reals);
  Tokkos::combine(space, plan, reals, reals, reals);
  Tokkos::combine(space, plan, reals, reals, {.beta = 1});
  Tokkos::permuteGradient(space, plan, reals, reals);
  Tokkos::combineGradient(space, plan, reals, reals, reals, reals, reals);
  Tokkos::routeTopKGradient(space, reals, ids, reals, reals);
  Tokkos::updateLoadBalance(space, balance, reals, ids);
  Tokkos::loadBalanceGradient(space, balance, reals, {.z = 1}, reals);
  Tokkos::updateRouterBias(space, Array<int>(), 0.001, Array<float>());
#elif CASE == 1
  Tokkos::routeTopK(space, ids, ids, reals);
#elif CASE == 2
  Tokkos::routeTopK(space, reals, Matrix<short>(), reals);
#elif CASE == 3
  Tokkos::updateDispatchPlan(space, writable, reals);
#elif CASE == 4
  Tokkos::updateDispatchPlan(space, writable, Array<int>());
#elif CASE == 5
  Tokkos::permute(space, plan, reals, Matrix<int>());
#elif CASE == 6
  Tokkos::permute(space, plan, reals, Matrix<const float>());
#elif CASE == 7
  Tokkos::unpermute(space, plan, reals, Array<float>());
#elif CASE == 8
  Tokkos::combine(space, plan, ids, reals, reals);
#elif CASE == 9
  Tokkos::combine(space, plan, reals, reals, Matrix<const float>());
#elif CASE == 10
  Tokkos::countExperts(space, Array<float>(), Array<int>());
#elif CASE == 11
  Tokkos::scanCounts(space, Array<int>(), Array<const int>());
#elif CASE == 12
  Tokkos::permuteByExpert(space, Array<float>(), Matrix<float>(), Array<int>(),
                          Array<int>());
#elif CASE == 13
  Tokkos::countExperts(0, Array<int>(), Array<int>());
#elif CASE == 14
  Tokkos::permute(space, plan, reals, reals, reals);
#elif CASE == 15
  Tokkos::permute(space, plan, reals, reals,
                  Tokkos::perToken(Array<float>(), Array<double>()));
#elif CASE == 16
  Tokkos::permuteGradient(space, plan, ids, reals);
#elif CASE == 17
  Tokkos::combineGradient(space, plan, reals, reals, reals,
                          Matrix<const float>(), reals);
#elif CASE == 18
  Tokkos::planToCrs(space, plan, reals, ids, Array<int>(), Array<float>());
#elif CASE == 19
  Tokkos::DispatchPlan<Elsewhere>(space, 3, 2, 4);
#elif CASE == 20
  Tokkos::updateDispatchPlan(space, writable, ids, Array<float>());
#elif CASE == 21
  Tokkos::routeTopKGradient(space, reals, ids, reals, Matrix<const float>());
#elif CASE == 22
  Tokkos::updateLoadBalance(space, balance, reals, Array<int>());
#elif CASE == 23
  Tokkos::loadBalanceGradient(space, balance, reals, {.z = 1},
                              Matrix<const float>());
#elif CASE == 24
  Tokkos::updateRouterBias(space, Array<float>(), 0.001, Array<float>());
#endif
}
