// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// SPDX-FileCopyrightText: Copyright Contributors to the Tokkos project

#ifndef TOKKOS_IMPL_EXPERTSTEPS_HPP
#define TOKKOS_IMPL_EXPERTSTEPS_HPP

#include <Tokkos/DispatchPlan.hpp>
#include <Tokkos/Impl/ExpertActivation.hpp>
#include <Tokkos/Impl/ExpertBlas.hpp>
#include <Tokkos/Impl/ExpertData.hpp>
#include <Tokkos/Impl/ExpertSums.hpp>
#include <Tokkos/Impl/ExpertTiles.hpp>
#include <Tokkos/KokkosExt/Instances.hpp>
#include <Tokkos/KokkosExt/Launch.hpp>
#include <Tokkos/KokkosExt/Team.hpp>

#include <Kokkos_Core.hpp>

#include <cstddef>
#include <mutex>
#include <type_traits>
#include <vector>

// The steps of experts, forward and back, written once for two ways to run a
// step: all experts in one launch, or the BLAS for one after the other.
namespace Tokkos::Impl {

/// All experts in one launch.
template <class ExecutionSpace, class Real>
class GroupedWay {
 public:
  template <class MemorySpace>
  GroupedWay(const ExecutionSpace& space, const DispatchPlan<MemorySpace>& plan,
             int* expert_of_tile)
      : m_space(space), m_num_experts(plan.num_experts) {
    const int max_rows    = plan.maxRows(plan.num_tokens);
    m_rows.expert_of_tile = expert_of_tile;
    m_rows.offsets        = plan.offsets.data();
    m_rows.counts         = plan.counts.data();
    m_rows.tile_rows      = tileRows(max_rows, m_num_experts);
    m_rows.num_tiles      = numTiles(max_rows, m_num_experts);
    KokkosExt::parallelFor(
        "Tokkos::applyExperts::tiles",
        Kokkos::RangePolicy<ExecutionSpace, Kokkos::IndexType<int>>(
            space, 0, m_rows.num_tiles),
        FindTiles{expert_of_tile, m_rows.offsets, m_rows.counts, m_num_experts,
                  m_rows.tile_rows});
  }

  /// Tile slots that so many rows of so many experts need.
  static int numTiles(int max_rows, int num_experts) {
    return max_rows / tileRows(max_rows, num_experts) + num_experts;
  }

  void start() const {}
  void finish() const {}

  /// to = from * matrix^T + bias
  void multiply(const BatchMatrix<const Real>& from,
                const ExpertMatrices<const Real>& matrices,
                const BatchMatrix<Real>& to,
                const ExpertVectors<const Real>& bias = {}) const {
    launchRows<true>("Tokkos::applyExperts::multiply", from, matrices, to, bias,
                     false);
  }

  /// to = from * matrix, or added to it
  void multiplyBack(const BatchMatrix<const Real>& from,
                    const ExpertMatrices<const Real>& matrices,
                    const BatchMatrix<Real>& to,
                    bool accumulate = false) const {
    launchRows<false>("Tokkos::applyExpertsGradient::multiply", from, matrices,
                      to, {}, accumulate);
  }

  /// matrix = left^T * right
  void multiplyRows(const BatchMatrix<const Real>& left,
                    const BatchMatrix<const Real>& right,
                    const ExpertMatrices<Real>& matrices) const {
    if (!matrices.exists()) return;
    withPacks(isPackable(left.data, left.row_stride, left.columns) &&
                  isPackable(right.data, right.row_stride, right.columns),
              [&](auto packed) {
                launchWeights<decltype(packed)::value>(left, right, matrices);
              });
  }

  void activate(ActivationData<Real> data) const {
    data.rows = m_rows;
    forEachExpertRow("Tokkos::applyExperts::activate", m_space,
                     m_rows.numPlaces(), ActivateRows<Real>{data});
  }
  void activateGradient(ActivationData<Real> data) const {
    data.rows = m_rows;
    forEachExpertRow("Tokkos::applyExpertsGradient::activate", m_space,
                     m_rows.numPlaces(), ActivateRowsGradient<Real>{data});
  }

 private:
  static int tileRows(int max_rows, int num_experts) {
    return max_rows / num_experts <= 2 * few_tile_rows ? few_tile_rows
                                                       : many_tile_rows;
  }

  /// Calls f with whether loads are packed; hosts gain nothing by it.
  template <class F>
  static void withPacks([[maybe_unused]] bool packed, const F& f) {
    if constexpr (!KokkosExt::is_host_execution_space_v<ExecutionSpace>)
      if (packed) return f(std::true_type());
    f(std::false_type());
  }

  template <bool packed>
  void launchWeights(const BatchMatrix<const Real>& left,
                     const BatchMatrix<const Real>& right,
                     const ExpertMatrices<Real>& matrices) const {
    using Kernel        = WeightsProduct<ExecutionSpace, Real, packed>;
    const int row_tiles = (matrices.rows - 1) / many_tile_rows + 1;
    const int column_tiles =
        (matrices.columns - 1) / Kernel::Tile::tile_columns + 1;
    KokkosExt::launchTeams("Tokkos::applyExpertsGradient::weights", m_space,
                           m_num_experts * row_tiles * column_tiles,
                           Kernel::max_team_size, Kernel::Tile::scratch_bytes,
                           Kernel{m_rows.offsets, m_rows.counts, left, right,
                                  matrices, row_tiles, column_tiles});
  }

  template <bool transposed>
  void launchRows(const char* label, const BatchMatrix<const Real>& from,
                  const ExpertMatrices<const Real>& matrices,
                  const BatchMatrix<Real>& to,
                  const ExpertVectors<const Real>& bias,
                  bool accumulate) const {
    const auto launch = [&](const auto& kernel) {
      using Kernel = std::remove_cvref_t<decltype(kernel)>;
      const int column_tiles =
          (to.columns - 1) / Kernel::Tile::tile_columns + 1;
      KokkosExt::launchTeams(label, m_space, m_rows.num_tiles * column_tiles,
                             Kernel::max_team_size, Kernel::Tile::scratch_bytes,
                             kernel);
    };
    const bool packable =
        isPackable(from.data, from.row_stride, from.columns) &&
        isPackable(matrices.data, matrices.row_stride, matrices.columns) &&
        matrices.expert_stride % load_pack<Real> == 0;
    withPacks(packable, [&](auto is_packed) {
      constexpr bool packed = decltype(is_packed)::value;
      if (m_rows.tile_rows == few_tile_rows)
        launch(
            RowsProduct<ExecutionSpace, Real, few_tile_rows, transposed,
                        packed>{m_rows, from, matrices, to, bias, accumulate});
      else
        launch(
            RowsProduct<ExecutionSpace, Real, many_tile_rows, transposed,
                        packed>{m_rows, from, matrices, to, bias, accumulate});
    });
  }

  ExecutionSpace m_space;
  ExpertRows m_rows;
  int m_num_experts;
};

/// The BLAS, an expert after the other, each on one of several instances.
template <class ExecutionSpace, class Real>
class PerExpertWay {
 public:
  PerExpertWay(const ExecutionSpace& space, const std::vector<int>& counts,
               const std::vector<int>& offsets,
               const KokkosExt::Instances<ExecutionSpace>& instances)
      : m_space(space),
        m_counts(counts),
        m_offsets(offsets),
        m_instances(instances),
        m_lock(blasMutex()) {}

  void start() const { m_instances.fork(m_space); }
  void finish() const { m_instances.join(m_space); }

  void multiply(const BatchMatrix<const Real>& from,
                const ExpertMatrices<const Real>& matrices,
                const BatchMatrix<Real>& to,
                const ExpertVectors<const Real>& bias = {}) const {
    forEachExpert([&](const ExecutionSpace& instance, const ExpertRows& rows) {
      if (bias.exists())
        forEachExpertRow("Tokkos::applyExperts::bias", instance, rows.count,
                         FillExpertRows<Real>{rows, bias, to});
      gemm(instance, 'N', rowsOf(from, rows), 'T', matrixOf(matrices, rows),
           Real(bias.exists() ? 1 : 0), rowsOf(to, rows));
    });
  }

  void multiplyBack(const BatchMatrix<const Real>& from,
                    const ExpertMatrices<const Real>& matrices,
                    const BatchMatrix<Real>& to,
                    bool accumulate = false) const {
    forEachExpert([&](const ExecutionSpace& instance, const ExpertRows& rows) {
      gemm(instance, 'N', rowsOf(from, rows), 'N', matrixOf(matrices, rows),
           Real(accumulate ? 1 : 0), rowsOf(to, rows));
    });
  }

  void multiplyRows(const BatchMatrix<const Real>& left,
                    const BatchMatrix<const Real>& right,
                    const ExpertMatrices<Real>& matrices) const {
    if (!matrices.exists()) return;
    for (int e = 0; e < numExperts(); ++e) {
      const ExecutionSpace& instance = m_instances.of(m_space, e);
      const ExpertRows rows          = rowsOfExpert(e);
      if (rows.count == 0)
        zero(instance, matrixOf(matrices, rows));
      else
        gemm(instance, 'T', rowsOf(left, rows), 'N', rowsOf(right, rows),
             Real(0), matrixOf(matrices, rows));
    }
  }

  void activate(ActivationData<Real> data) const {
    forEachExpert([&](const ExecutionSpace& instance, const ExpertRows& rows) {
      data.rows = rows;
      forEachExpertRow("Tokkos::applyExperts::activate", instance, rows.count,
                       ActivateRows<Real>{data});
    });
  }
  void activateGradient(ActivationData<Real> data) const {
    forEachExpert([&](const ExecutionSpace& instance, const ExpertRows& rows) {
      data.rows = rows;
      forEachExpertRow("Tokkos::applyExpertsGradient::activate", instance,
                       rows.count, ActivateRowsGradient<Real>{data});
    });
  }

 private:
  int numExperts() const { return static_cast<int>(m_counts.size()); }

  ExpertRows rowsOfExpert(int e) const {
    ExpertRows rows;
    rows.first  = m_offsets[static_cast<std::size_t>(e)];
    rows.count  = m_counts[static_cast<std::size_t>(e)];
    rows.expert = e;
    return rows;
  }

  /// Calls f(instance, rows) for every expert that has rows.
  template <class F>
  void forEachExpert(const F& f) const {
    for (int e = 0; e < numExperts(); ++e) {
      const ExpertRows rows = rowsOfExpert(e);
      if (rows.count > 0) f(m_instances.of(m_space, e), rows);
    }
  }

  template <class T>
  static BlasMatrix<T> rowsOf(const BatchMatrix<T>& matrix,
                              const ExpertRows& rows) {
    return {matrix.row(rows.first), matrix.row_stride, rows.count,
            matrix.columns};
  }
  template <class T>
  static BlasMatrix<T> matrixOf(const ExpertMatrices<T>& matrices,
                                const ExpertRows& rows) {
    return {matrices.of(rows.expert), matrices.row_stride, matrices.rows,
            matrices.columns};
  }

  static void zero(const ExecutionSpace& instance,
                   const BlasMatrix<Real>& matrix) {
    Kokkos::deep_copy(instance, blasView<ExecutionSpace>(matrix), Real(0));
  }

  ExecutionSpace m_space;
  const std::vector<int>& m_counts;
  const std::vector<int>& m_offsets;
  const KokkosExt::Instances<ExecutionSpace>& m_instances;
  std::unique_lock<std::mutex> m_lock;
};

/// The values between the products, of gate (if any) and up side by side.
template <class Real>
struct InnerValues {
  BatchMatrix<Real> both, gate, up, inner;
};

template <class Workspace>
auto innerValues(const Workspace& workspace) {
  using Real       = typename Workspace::Matrix::value_type;
  const int F      = workspace.shape.inner_size;
  const auto both  = batchMatrix(workspace.projections);
  const bool gated = workspace.shape.gated;
  const auto gate  = gated ? both.window(0, F) : BatchMatrix<Real>{};
  const auto up    = gated ? both.window(F, F) : both;
  // Without gradients nobody needs the values before the activation again.
  const auto inner = workspace.options.gradients ? batchMatrix(workspace.inner)
                                                 : both.window(0, F);
  return InnerValues<Real>{both, gate, up, inner};
}

template <class Real>
BatchMatrix<const Real> readOnly(const BatchMatrix<Real>& matrix) {
  return {matrix.data, matrix.row_stride, matrix.columns};
}

template <class Way, class Real>
void forwardSteps(const Way& way, const ExpertMatrixSet<const Real>& weights,
                  const InnerValues<Real>& values, Activation activation,
                  const BatchMatrix<const Real>& input,
                  const BatchMatrix<Real>& output) {
  way.start();
  if (weights.together.exists()) {
    way.multiply(input, weights.together, values.both);
  } else {
    if (weights.gate.exists()) way.multiply(input, weights.gate, values.gate);
    way.multiply(input, weights.up, values.up);
  }
  way.activate({{},
                values.gate,
                values.up,
                values.inner,
                weights.gate_bias,
                weights.up_bias,
                activation});
  way.multiply(readOnly(values.inner), weights.down, output, weights.down_bias);
  way.finish();
}

/// What a gradient writes.
template <class Real>
struct ExpertGradients {
  ExpertMatrixSet<Real> weights;
  BatchMatrix<Real> input;  // no data: not wanted
};

template <class Way, class Real>
void backwardSteps(const Way& way, const ExpertMatrixSet<const Real>& weights,
                   const InnerValues<Real>& values, Activation activation,
                   const BatchMatrix<const Real>& input,
                   const BatchMatrix<const Real>& output_gradient,
                   const ExpertGradients<Real>& gradients) {
  way.start();
  way.multiplyRows(output_gradient, readOnly(values.inner),
                   gradients.weights.down);
  way.multiplyBack(output_gradient, weights.down, values.inner);
  way.activateGradient({{},
                        values.gate,
                        values.up,
                        values.inner,
                        weights.gate_bias,
                        weights.up_bias,
                        activation});
  const auto both = readOnly(values.both);
  const auto gate = readOnly(values.gate);
  const auto up   = readOnly(values.up);
  way.multiplyRows(both, input, gradients.weights.together);
  way.multiplyRows(gate, input, gradients.weights.gate);
  way.multiplyRows(up, input, gradients.weights.up);
  if (gradients.input.data != nullptr) {
    if (weights.together.exists()) {
      way.multiplyBack(both, weights.together, gradients.input);
    } else {
      way.multiplyBack(up, weights.up, gradients.input);
      if (weights.gate.exists())
        way.multiplyBack(gate, weights.gate, gradients.input, true);
    }
  }
  way.finish();
}

}  // namespace Tokkos::Impl

#endif
