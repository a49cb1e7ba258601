// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// SPDX-FileCopyrightText: Copyright Contributors to the Tokkos project

#ifndef TOKKOS_IMPL_EXPERTACTIVATION_HPP
#define TOKKOS_IMPL_EXPERTACTIVATION_HPP

#include <Tokkos/ExpertOptions.hpp>
#include <Tokkos/Impl/ExpertData.hpp>
#include <Tokkos/KokkosExt/Team.hpp>

#include <Kokkos_Core.hpp>

namespace Tokkos::Impl {

/// A value of the activation and of its derivative.
template <class Real>
struct Activated {
  Real value;
  Real slope;
};

// Each activation is written once, with its derivative; a compiler leaves out
// what a caller does not look at.

template <class Real>
KOKKOS_INLINE_FUNCTION Activated<Real> silu(Real x) {
  const Real s = 1 / (1 + Kokkos::exp(-x));
  return {x * s, s * (1 + x * (1 - s))};
}

template <class Real>
KOKKOS_INLINE_FUNCTION Activated<Real> gelu(Real x) {
  constexpr Real sqrt_half       = Real(0.70710678118654752440);
  constexpr Real density_of_zero = Real(0.39894228040143267794);
  // erfc keeps the digits of the left tail, where 1 + erf has none.
  const Real below = Kokkos::erfc(-x * sqrt_half) / 2;
  return {x * below, below + x * density_of_zero * Kokkos::exp(-x * x / 2)};
}

template <class Real>
KOKKOS_INLINE_FUNCTION Activated<Real> geluTanh(Real x) {
  constexpr Real sqrt_2_over_pi = Real(0.79788456080286535588);
  constexpr Real cubic          = Real(0.044715);
  const Real t = Kokkos::tanh(sqrt_2_over_pi * (x + cubic * x * x * x));
  const Real inner_slope = sqrt_2_over_pi * (1 + 3 * cubic * x * x);
  return {x * (1 + t) / 2, (1 + t + x * (1 - t * t) * inner_slope) / 2};
}

template <class Real>
KOKKOS_INLINE_FUNCTION Activated<Real> relu(Real x) {
  if (x <= 0) return {0, 0};
  return {x, 1};  // NaN is not hidden
}

template <class Real>
KOKKOS_INLINE_FUNCTION Activated<Real> activated(Activation activation,
                                                 Real x) {
  switch (activation) {
    case Activation::gelu:
      return gelu(x);
    case Activation::gelu_tanh:
      return geluTanh(x);
    case Activation::relu:
      return relu(x);
    default:
      return silu(x);
  }
}

/// What lies between the products of a row: gate may be missing.
template <class Real>
struct ActivationData {
  ExpertRows rows;
  BatchMatrix<Real> gate, up, inner;
  ExpertVectors<const Real> gate_bias, up_bias;
  Activation activation;

  KOKKOS_FUNCTION Real biased(const BatchMatrix<Real>& values,
                              const ExpertVectors<const Real>& bias,
                              const ExpertRow& at, int column) const {
    const Real value = values.row(at.row)[column];
    return bias.exists() ? value + bias.of(at.expert)[column] : value;
  }
};

/// inner = activation(gate) * up, or activation(up); a team takes a row. The
/// result may lie where the first argument was.
template <class Real>
struct ActivateRows {
  ActivationData<Real> data;

  template <class Team>
  KOKKOS_FUNCTION void operator()(const Team& team) const {
    const ExpertRow at = data.rows.place(team.league_rank());
    if (at.row < 0) return;
    const bool gated = data.gate.data != nullptr;
    Real* const to   = data.inner.row(at.row);
    for (int f = team.team_rank(); f < data.inner.columns;
         f += team.team_size()) {
      const Real up = data.biased(data.up, data.up_bias, at, f);
      if (gated) {
        const Real gate = data.biased(data.gate, data.gate_bias, at, f);
        to[f]           = activated(data.activation, gate).value * up;
      } else {
        to[f] = activated(data.activation, up).value;
      }
    }
  }
};

/// Replaces gate and up by their gradients; `inner` holds its own.
template <class Real>
struct ActivateRowsGradient {
  ActivationData<Real> data;

  template <class Team>
  KOKKOS_FUNCTION void operator()(const Team& team) const {
    const ExpertRow at = data.rows.place(team.league_rank());
    if (at.row < 0) return;
    const bool gated           = data.gate.data != nullptr;
    const Real* const gradient = data.inner.row(at.row);
    for (int f = team.team_rank(); f < data.inner.columns;
         f += team.team_size()) {
      const Real up = data.biased(data.up, data.up_bias, at, f);
      if (gated) {
        const Real gate         = data.biased(data.gate, data.gate_bias, at, f);
        const Activated<Real> a = activated(data.activation, gate);
        data.gate.row(at.row)[f] = gradient[f] * up * a.slope;
        data.up.row(at.row)[f]   = gradient[f] * a.value;
      } else {
        data.up.row(at.row)[f] =
            gradient[f] * activated(data.activation, up).slope;
      }
    }
  }
};

/// Runs a functor that takes a row a team.
template <class ExecutionSpace, class Functor>
void forEachExpertRow(const char* label, const ExecutionSpace& space,
                      int num_places, const Functor& functor) {
  if (num_places > 0)
    KokkosExt::launchTeams(label, space, num_places,
                           row_team_size<ExecutionSpace>, 0, functor);
}

}  // namespace Tokkos::Impl

#endif
