// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// SPDX-FileCopyrightText: Copyright Contributors to the Tokkos project

#ifndef TOKKOS_EXPERTS_HPP
#define TOKKOS_EXPERTS_HPP

#include <Tokkos/Config.hpp>

#ifndef TOKKOS_ENABLE_KOKKOSKERNELS
#error \
    "Tokkos/Experts.hpp needs Kokkos Kernels, which was not found when Tokkos was configured: set KokkosKernels_ROOT and configure again, or do not include this header"
#endif

#include <Tokkos/DispatchPlan.hpp>
#include <Tokkos/Impl/Check.hpp>
#include <Tokkos/Impl/ExpertData.hpp>
#include <Tokkos/KokkosExt/Instances.hpp>
#include <Tokkos/KokkosExt/Types.hpp>

#include <Kokkos_Core.hpp>

#include <cstddef>
#include <type_traits>
#include <vector>

namespace Tokkos {

/// The function between the two products of an expert.
enum class Activation {
  silu,       ///< x / (1 + e^-x); with a gate, SwiGLU
  gelu,       ///< x / 2 * (1 + erf(x / sqrt 2))
  gelu_tanh,  ///< x / 2 * (1 + tanh(sqrt(2 / pi) * (x + 0.044715 * x^3)))
  relu        ///< max(x, 0)
};

/// Who computes the matrix products of the experts.
enum class ExpertProducts {
  automatic,   ///< per_expert where the experts have many rows and the host
               ///< knows how many, else grouped
  per_expert,  ///< the BLAS, an expert at a time, several at once on a device
  grouped      ///< Tokkos, all experts in one launch; the host knows no counts
};

/// How the experts compute.
struct ExpertOptions {
  Activation activation   = Activation::silu;
  ExpertProducts products = ExpertProducts::automatic;
};

/// The sizes of a layer's experts.
struct ExpertShape {
  int num_experts = 0;      ///< E
  int hidden_size = 0;      ///< H, of the tokens
  int inner_size  = 0;      ///< F, between the products
  bool gated      = false;  ///< whether a gate multiplies the inner values
};

/// The weights of all experts, or their gradients: a bundle of Views, each with
/// one row-major matrix an expert, of which row j makes output j. Those that a
/// layer does not have are left empty.
///
///     inner  = activation(up x + up_bias), or with a gate
///     inner  = activation(gate x + gate_bias) * (up x + up_bias)
///     output = down inner + down_bias
///
/// \tparam Real float or double; const where they are only read
template <class Real,
          class MemorySpace = Kokkos::DefaultExecutionSpace::memory_space>
struct ExpertWeights {
  static_assert(std::is_same_v<std::remove_const_t<Real>, float> ||
                    std::is_same_v<std::remove_const_t<Real>, double>,
                "Tokkos::ExpertWeights: Real must be float or double");
  using Matrices = Kokkos::View<Real***, Kokkos::LayoutRight, MemorySpace>;
  using Vectors  = Kokkos::View<Real**, Kokkos::LayoutRight, MemorySpace>;

  Matrices gate = {};  ///< E x F x H
  Matrices up   = {};  ///< E x F x H
  Matrices down = {};  ///< E x H x F
  /// E x 2F x H: the gate's rows and then those of `up`, as many models store
  /// them; excludes `gate` and `up`.
  Matrices gate_up = {};

  Vectors gate_bias    = {};  ///< E x F
  Vectors up_bias      = {};  ///< E x F
  Vectors down_bias    = {};  ///< E x H
  Vectors gate_up_bias = {};  ///< E x 2F; excludes gate_bias and up_bias

  /// The sizes, which `down` and the others agree on.
  ///
  /// \throws std::invalid_argument when they do not, or when a View is missing
  ExpertShape shape() const;

  /// The same weights, to be read.
  operator ExpertWeights<const Real, MemorySpace>() const
    requires(!std::is_const_v<Real>)
  {
    return {gate,      up,      down,      gate_up,
            gate_bias, up_bias, down_bias, gate_up_bias};
  }
};

/// What the host knows of a plan's rows: expert e owns the rows [offsets[e],
/// offsets[e] + counts[e]).
struct ExpertSegments {
  std::vector<int> counts;   ///< E
  std::vector<int> offsets;  ///< E + 1
};

/// Copies counts and offsets of the plan to the host. Synchronises the
/// instance: what was enqueued on it before has ended.
///
/// \throws std::invalid_argument when the plan was not built
template <class ExecutionSpace, class MemorySpace>
ExpertSegments readExpertSegments(const ExecutionSpace& space,
                                  const DispatchPlan<MemorySpace>& plan);

/// Whether applyExperts takes the way per expert when it is given the segments,
/// as far as it depends on the caller's choice and on numbers that the host
/// knows. Where not, they need not be read.
template <class MemorySpace>
bool needsExpertSegments(const DispatchPlan<MemorySpace>& plan,
                         const ExpertShape& shape,
                         const ExpertOptions& options = {});

/// What a workspace is good for.
struct ExpertWorkspaceOptions {
  /// Whether applyExpertsGradient will be called. Without it less is kept: R x
  /// F numbers, or R x 2F with a gate, instead of R x 2F or R x 3F.
  bool gradients = false;
  /// On how many instances of the execution space the experts' products run at
  /// once when it is a device's and they are computed per expert.
  int num_instances = 4;
};

/// The memory between the products, made once for a layer or for several of the
/// same shape that follow each other. Copies share it, as copies of a View do.
///
/// applyExperts leaves here what applyExpertsGradient needs, and that uses it
/// up: one gradient a forward pass.
template <class Real, class ExecutionSpace = Kokkos::DefaultExecutionSpace>
struct ExpertWorkspace {
  static_assert(std::is_same_v<Real, float> || std::is_same_v<Real, double>,
                "Tokkos::ExpertWorkspace: Real must be float or double");
  using execution_space = ExecutionSpace;
  using memory_space    = typename ExecutionSpace::memory_space;
  using Matrix = Kokkos::View<Real**, Kokkos::LayoutRight, memory_space>;

  /// An empty workspace, good for assigning to.
  ExpertWorkspace() = default;

  /// Allocates it on the instance, which is partitioned for the experts'
  /// products where that is possible.
  ///
  /// \param max_rows no batch may have more rows in use: plan.max_rows
  /// \throws std::invalid_argument when a number is out of its range
  ExpertWorkspace(const ExecutionSpace& space, int max_rows,
                  const ExpertShape& shape,
                  const ExpertWorkspaceOptions& options = {});

  /// The bytes that the constructor allocates for these arguments. Allocates
  /// nothing.
  ///
  /// \throws std::invalid_argument as the constructor does
  static std::size_t bytes(int max_rows, const ExpertShape& shape,
                           const ExpertWorkspaceOptions& options = {});

  int max_rows = 0;
  ExpertShape shape;
  ExpertWorkspaceOptions options;

  ///@{
  /// Work array, not for callers. R x F or, with a gate, R x 2F: the products
  /// before the activation; then R x F: after it.
  Matrix projections;
  Matrix inner;
  /// The expert of every tile of rows, -1 where there is none.
  Kokkos::View<int*, memory_space> expert_of_tile;
  KokkosExt::Instances<ExecutionSpace> instances;
  /// Whether the products before the activation are those of a forward pass.
  bool holds_forward = false;
  ///@}
};

/// Sends every row of the batch through its expert; the products grouped, on
/// the device, without the host knowing any count.
///
/// \param plan of the last updateDispatchPlan on this instance
/// \param weights of plan.num_experts experts
/// \param input R x H with R >= plan.maxRows(plan.num_tokens), columns side by
///   side (stride(1) = 1), any row stride: what permute wrote. Padding rows are
///   not read.
/// \param workspace of this shape, for at least as many rows
/// \param output R x H, columns side by side. Padding rows become zeros, rows
///   from num_rows on are not touched.
/// \throws std::invalid_argument when extents do not fit, memory overlaps, a
///   column stride is not 1, or options.products is per_expert
///
/// Computes in Real. A row depends on nothing but itself, its expert's weights
/// and the way that is taken, so that the same call gives the same bits again.
///
/// Enqueues on the instance and returns: no allocation, no synchronisation; can
/// be captured in a CUDA graph.
template <class ExecutionSpace, class PlanSpace, class WeightReal,
          class WeightSpace, class Input, class Real, class Output>
void applyExperts(const ExecutionSpace& space,
                  const DispatchPlan<PlanSpace>& plan,
                  const ExpertWeights<WeightReal, WeightSpace>& weights,
                  const Input& input,
                  ExpertWorkspace<Real, ExecutionSpace>& workspace,
                  const Output& output, const ExpertOptions& options = {});

/// The same, where the host knows how many rows each expert has, so that the
/// products may go to KokkosBlas::gemm, an expert at a time.
///
/// \param segments what readExpertSegments says after the last update of the
///   plan
///
/// The experts' products run on the workspace's instances, which wait for the
/// caller's and which the caller's waits for: on the device with CUDA, on the
/// host with other devices. On a host they run on the caller's instance, and
/// the BLAS has threads of its own. Results are as reproducible as the BLAS:
/// cuBLAS promises the same bits again on one instance (num_instances = 1).
///
/// Kokkos Kernels has one BLAS handle for the whole process, so calls from
/// several host threads take turns: this holds a mutex while it enqueues. Other
/// uses of Kokkos Kernels at the same time are the caller's to prevent. The
/// first call makes the handle, which allocates and synchronises.
template <class ExecutionSpace, class PlanSpace, class WeightReal,
          class WeightSpace, class Input, class Real, class Output>
void applyExperts(const ExecutionSpace& space,
                  const DispatchPlan<PlanSpace>& plan,
                  const ExpertSegments& segments,
                  const ExpertWeights<WeightReal, WeightSpace>& weights,
                  const Input& input,
                  ExpertWorkspace<Real, ExecutionSpace>& workspace,
                  const Output& output, const ExpertOptions& options = {});

/// The gradients of applyExperts, after it with the same plan, weights, input,
/// workspace and options.
///
/// \param output_gradient R x H, columns side by side. Padding rows are not
///   read.
/// \param workspace made with gradients, as the forward pass left it
/// \param input_gradient R x H, columns side by side. Padding rows become
///   zeros, rows from num_rows on are not touched. Empty (no rows and no
///   columns): not wanted.
/// \param weights_gradient Views as in weights, each overwritten: zeros for an
///   expert without rows. Views left empty are not computed.
/// \throws std::invalid_argument as applyExperts, and when the workspace does
///   not hold a forward pass
///
/// Asynchrony, reproducibility and cost are those of applyExperts; twice its
/// operations.
template <class ExecutionSpace, class PlanSpace, class WeightReal,
          class WeightSpace, class Input, class OutputGradient, class Real,
          class InputGradient>
void applyExpertsGradient(
    const ExecutionSpace& space, const DispatchPlan<PlanSpace>& plan,
    const ExpertWeights<WeightReal, WeightSpace>& weights, const Input& input,
    const OutputGradient& output_gradient,
    ExpertWorkspace<Real, ExecutionSpace>& workspace,
    const InputGradient& input_gradient,
    const ExpertWeights<Real, WeightSpace>& weights_gradient,
    const ExpertOptions& options = {});

/// The same with segments, as for applyExperts.
template <class ExecutionSpace, class PlanSpace, class WeightReal,
          class WeightSpace, class Input, class OutputGradient, class Real,
          class InputGradient>
void applyExpertsGradient(
    const ExecutionSpace& space, const DispatchPlan<PlanSpace>& plan,
    const ExpertSegments& segments,
    const ExpertWeights<WeightReal, WeightSpace>& weights, const Input& input,
    const OutputGradient& output_gradient,
    ExpertWorkspace<Real, ExecutionSpace>& workspace,
    const InputGradient& input_gradient,
    const ExpertWeights<Real, WeightSpace>& weights_gradient,
    const ExpertOptions& options = {});

}  // namespace Tokkos

#endif
