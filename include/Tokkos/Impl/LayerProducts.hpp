// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// SPDX-FileCopyrightText: Copyright Contributors to the Tokkos project

#ifndef TOKKOS_IMPL_LAYERPRODUCTS_HPP
#define TOKKOS_IMPL_LAYERPRODUCTS_HPP

#include <Tokkos/Impl/ExpertBlas.hpp>

#include <Kokkos_Core.hpp>

#include <cstdint>
#include <mutex>

// The products of a layer's router, which is a matrix of a row an expert.
namespace Tokkos::Impl {

template <class Real, class View>
BlasMatrix<Real> blasMatrix(const View& view) {
  return {view.data(), static_cast<std::int64_t>(view.stride(0)),
          static_cast<int>(view.extent(0)), static_cast<int>(view.extent(1))};
}

/// c = op(a) * op(b) + beta * c, of any extents.
template <class ExecutionSpace, class A, class B, class C>
void multiplyMatrices(const ExecutionSpace& space, char op_a, const A& a,
                      char op_b, const B& b,
                      typename C::non_const_value_type beta, const C& c) {
  using Real = typename C::value_type;
  if (c.size() == 0) return;
  if (a.size() == 0) {  // a sum of nothing
    if (beta == 0) Kokkos::deep_copy(space, c, Real(0));
    return;
  }
  const std::lock_guard lock(blasMutex());
  gemm<ExecutionSpace, Real>(space, op_a, blasMatrix<const Real>(a), op_b,
                             blasMatrix<const Real>(b), beta,
                             blasMatrix<Real>(c));
}

/// logits = input * router^T
template <class ExecutionSpace, class Input, class Router, class Logits>
void computeLogits(const ExecutionSpace& space, const Input& input,
                   const Router& router, const Logits& logits) {
  multiplyMatrices(space, 'N', input, 'T', router, 0, logits);
}

/// What that hands back: input_gradient += logits_gradient * router and
/// router_gradient = logits_gradient^T * input, unless this is empty.
template <class ExecutionSpace, class Input, class Router, class Logits,
          class Gradient>
void differentiateLogits(const ExecutionSpace& space, const Input& input,
                         const Router& router, const Logits& logits_gradient,
                         const Gradient& input_gradient,
                         const Gradient& router_gradient) {
  multiplyMatrices(space, 'N', logits_gradient, 'N', router, 1, input_gradient);
  multiplyMatrices(space, 'T', logits_gradient, 'N', input, 0, router_gradient);
}

}  // namespace Tokkos::Impl

#endif
