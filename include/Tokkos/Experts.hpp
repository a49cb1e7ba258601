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
#include <Tokkos/ExpertOptions.hpp>
#include <Tokkos/Impl/Check.hpp>
#include <Tokkos/Impl/ExpertChecks.hpp>
#include <Tokkos/Impl/ExpertData.hpp>
#include <Tokkos/Impl/ExpertSteps.hpp>
#include <Tokkos/Impl/ExpertSums.hpp>
#include <Tokkos/Impl/ExpertTiles.hpp>
#include <Tokkos/Impl/RowChecks.hpp>
#include <Tokkos/KokkosExt/Instances.hpp>
#include <Tokkos/KokkosExt/Types.hpp>

#include <Kokkos_Core.hpp>
#include <Kokkos_Profiling_ScopedRegion.hpp>

#include <climits>
#include <cstddef>
#include <cstdint>
#include <string>
#include <type_traits>
#include <vector>

namespace Tokkos {

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
  using Matrices = Kokkos::View<Real***, Kokkos::LayoutRight,
                                MemorySpace>;  ///< a matrix an expert
  using Vectors  = Kokkos::View<Real**, Kokkos::LayoutRight,
                                MemorySpace>;  ///< a vector an expert

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
  template <class Other>
    requires(std::is_same_v<Other, const Real> && !std::is_const_v<Real>)
  operator ExpertWeights<Other, MemorySpace>() const {
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
  using execution_space = ExecutionSpace;  ///< of all work
  using memory_space =
      typename ExecutionSpace::memory_space;  ///< of all memory
  using Matrix = Kokkos::View<Real**, Kokkos::LayoutRight,
                              memory_space>;  ///< row-major

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

  int max_rows = 0;                ///< no batch may have more
  ExpertShape shape;               ///< of the experts
  ExpertWorkspaceOptions options;  ///< as it was made with

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

//----------------------------------------------------------------------------

template <class Real, class MemorySpace>
ExpertShape ExpertWeights<Real, MemorySpace>::shape() const {
  return Impl::expertShape("Tokkos::ExpertWeights::shape", *this);
}

template <class ExecutionSpace, class MemorySpace>
ExpertSegments readExpertSegments(const ExecutionSpace& space,
                                  const DispatchPlan<MemorySpace>& plan) {
  static_assert(Kokkos::is_execution_space_v<ExecutionSpace>,
                "Tokkos::readExpertSegments: space must be an execution space "
                "instance");
  constexpr auto function = "Tokkos::readExpertSegments";
  Impl::checkPlanBuilt(function, plan);
  Kokkos::Profiling::ScopedRegion region(function);
  const auto copy = [&](std::vector<int>& to, const auto& from) {
    to.resize(from.extent(0));
    Kokkos::deep_copy(space,
                      Kokkos::View<int*, Kokkos::HostSpace,
                                   Kokkos::MemoryTraits<Kokkos::Unmanaged>>(
                          to.data(), to.size()),
                      from);
  };
  ExpertSegments segments;
  copy(segments.counts, plan.counts);
  copy(segments.offsets, plan.offsets);
  space.fence("Tokkos::readExpertSegments: counts and offsets are here");
  return segments;
}

template <class MemorySpace>
bool needsExpertSegments(const DispatchPlan<MemorySpace>& plan,
                         const ExpertShape& shape,
                         const ExpertOptions& options) {
  if (options.products != ExpertProducts::automatic)
    return options.products == ExpertProducts::per_expert;
  if (KokkosExt::is_host_execution_space_v<
          typename MemorySpace::execution_space>)
    return true;
  // Below, a device has done the grouped products before the host has enqueued
  // the others.
  constexpr std::int64_t rows_of_expert = 128;
  return std::int64_t(plan.num_tokens) * plan.top_k >=
         rows_of_expert * shape.num_experts;
}

template <class Real, class ExecutionSpace>
ExpertWorkspace<Real, ExecutionSpace>::ExpertWorkspace(
    const ExecutionSpace& space, int rows, const ExpertShape& sizes,
    const ExpertWorkspaceOptions& choices)
    : max_rows(rows), shape(sizes), options(choices) {
  static_cast<void>(bytes(rows, sizes, choices));  // checks
  const auto allocate = [&](const char* label) {
    return Kokkos::view_alloc(space,
                              std::string("Tokkos::ExpertWorkspace::") + label,
                              Kokkos::WithoutInitializing);
  };
  const auto R = static_cast<std::size_t>(rows);
  const auto F = static_cast<std::size_t>(sizes.inner_size);
  projections  = Matrix(allocate("projections"), R, sizes.gated ? 2 * F : F);
  if (choices.gradients) inner = Matrix(allocate("inner"), R, F);
  expert_of_tile = Kokkos::View<int*, memory_space>(
      allocate("expert_of_tile"),
      Impl::maxExpertTiles(rows, sizes.num_experts));
  instances =
      KokkosExt::Instances<ExecutionSpace>(space, choices.num_instances);
}

template <class Real, class ExecutionSpace>
std::size_t ExpertWorkspace<Real, ExecutionSpace>::bytes(
    int max_rows, const ExpertShape& shape,
    const ExpertWorkspaceOptions& options) {
  constexpr auto function = "Tokkos::ExpertWorkspace";
  Impl::checkRange(function, "max_rows", max_rows, 0, INT_MAX,
                   "a number of rows");
  Impl::checkExpertShape(function, shape);
  Impl::checkRange(function, "options.num_instances", options.num_instances, 1,
                   1024, "a number of instances");
  // Kokkos allocates whole 8 bytes.
  const auto whole  = [](std::size_t size) { return (size + 7) / 8 * 8; };
  const auto matrix = static_cast<std::size_t>(max_rows) *
                      static_cast<std::size_t>(shape.inner_size) * sizeof(Real);
  return whole(shape.gated ? 2 * matrix : matrix) +
         (options.gradients ? whole(matrix) : 0) +
         whole(Impl::maxExpertTiles(max_rows, shape.num_experts) * sizeof(int));
}

namespace Impl {

template <class ExecutionSpace, class PlanSpace, class Weights, class Real>
constexpr void requireExperts() {
  static_assert(Kokkos::is_execution_space_v<ExecutionSpace>,
                "Tokkos::applyExperts: space must be an execution space "
                "instance");
  static_assert(
      std::is_same_v<
          std::remove_const_t<typename Weights::Matrices::value_type>, Real>,
      "Tokkos::applyExperts: weights and workspace must have the same type");
  static_assert(
      KokkosExt::is_accessible_v<ExecutionSpace, typename Weights::Matrices> &&
          Kokkos::SpaceAccessibility<ExecutionSpace, PlanSpace>::accessible,
      "Tokkos::applyExperts: the execution space must reach every View");
}

template <class ExecutionSpace, class Real, class Batch>
constexpr void requireExpertBatch() {
  static_assert(Kokkos::is_view_v<Batch> && Batch::rank() == 2,
                "Tokkos::applyExperts: batches must be Views of rank 2");
  static_assert(std::is_same_v<typename Batch::non_const_value_type, Real>,
                "Tokkos::applyExperts: batches must hold the weights' type");
  static_assert(
      KokkosExt::is_accessible_v<ExecutionSpace, Batch>,
      "Tokkos::applyExperts: the execution space must reach every View");
}

inline void checkSegments(const char* function, const ExpertSegments& segments,
                          int num_experts, int max_rows) {
  const auto experts = static_cast<std::size_t>(num_experts);
  checkExtent(function, "segments.counts", 0, segments.counts.size(), experts,
              "plan.num_experts");
  checkExtent(function, "segments.offsets", 0, segments.offsets.size(),
              experts + 1, "plan.num_experts + 1");
  int end = 0;
  for (std::size_t e = 0; e < experts; ++e) {
    const auto name = "[" + std::to_string(e) + "]";
    checkRange(function, "segments.offsets" + name, segments.offsets[e], end,
               max_rows, "behind the expert before it, within the batch");
    checkRange(function, "segments.counts" + name, segments.counts[e], 0,
               max_rows - segments.offsets[e], "rows within the batch");
    end = segments.offsets[e] + segments.counts[e];
  }
}

/// Calls f with the way that options and segments (may be null) ask for.
template <class ExecutionSpace, class PlanSpace, class Real, class F>
void withExpertWay(const ExecutionSpace& space,
                   const DispatchPlan<PlanSpace>& plan,
                   const ExpertSegments* segments,
                   const ExpertWorkspace<Real, ExecutionSpace>& workspace,
                   const ExpertOptions& options, const F& f) {
  if (segments != nullptr &&
      needsExpertSegments(plan, workspace.shape, options))
    f(PerExpertWay<ExecutionSpace, Real>(
        space, segments->counts, segments->offsets, workspace.instances));
  else
    f(GroupedWay<ExecutionSpace, Real>(space, plan,
                                       workspace.expert_of_tile.data()));
}

/// What forward and gradient check alike.
template <class PlanSpace, class Weights, class Input, class Workspace>
ExpertShape checkExperts(const char* function,
                         const DispatchPlan<PlanSpace>& plan,
                         const ExpertSegments* segments, const Weights& weights,
                         const Input& input, const Workspace& workspace,
                         const ExpertOptions& options) {
  checkPlanBuilt(function, plan);
  const ExpertShape shape = expertShape(function, weights);
  checkExtent(function, "weights.down", 0, weights.down.extent(0),
              static_cast<std::size_t>(plan.num_experts), "plan.num_experts");
  checkExpertWorkspace(function, workspace, shape, plan);
  checkExpertBatch(function, "input", plan, shape.hidden_size, input);
  if (segments != nullptr)
    checkSegments(function, *segments, plan.num_experts,
                  plan.maxRows(plan.num_tokens));
  else if (options.products == ExpertProducts::per_expert)
    throwInvalidArgument(function, "options.products",
                         "automatic or grouped without segments", "per_expert");
  return shape;
}

template <class ExecutionSpace, class PlanSpace, class WeightReal,
          class WeightSpace, class Input, class Real, class Output>
void forwardExperts(const ExecutionSpace& space,
                    const DispatchPlan<PlanSpace>& plan,
                    const ExpertSegments* segments,
                    const ExpertWeights<WeightReal, WeightSpace>& weights,
                    const Input& input,
                    ExpertWorkspace<Real, ExecutionSpace>& workspace,
                    const Output& output, const ExpertOptions& options) {
  using Weights = ExpertWeights<const Real, WeightSpace>;
  requireExperts<ExecutionSpace, PlanSpace,
                 ExpertWeights<WeightReal, WeightSpace>, Real>();
  requireExpertBatch<ExecutionSpace, Real, Input>();
  requireExpertBatch<ExecutionSpace, Real, Output>();
  static_assert(!std::is_const_v<typename Output::value_type>,
                "Tokkos::applyExperts: output must be non-const");
  constexpr auto function = "Tokkos::applyExperts";
  const Weights read      = weights;
  const ExpertShape shape =
      checkExperts(function, plan, segments, read, input, workspace, options);
  checkExpertBatch(function, "output", plan, shape.hidden_size, output);
  std::vector<NamedRegion> inputs = {{"input", memoryRegion(input)}};
  addExpertRegions("weights.", read, inputs);
  const NamedRegion outputs[] = {{"output", memoryRegion(output)}};
  checkAllDisjoint(function, inputs, outputs);

  Kokkos::Profiling::ScopedRegion region(function);
  workspace.holds_forward = workspace.options.gradients;
  if (plan.num_tokens == 0) return;
  zeroExpertPadding(space, plan, batchMatrix(output));
  withExpertWay(space, plan, segments, workspace, options,
                [&](const auto& way) {
                  forwardSteps(way, expertMatrixSet(read, shape.inner_size),
                               innerValues(workspace), options.activation,
                               constBatchMatrix(input), batchMatrix(output));
                });
}

template <class ExecutionSpace, class PlanSpace, class WeightReal,
          class WeightSpace, class Input, class OutputGradient, class Real,
          class InputGradient>
void backwardExperts(const ExecutionSpace& space,
                     const DispatchPlan<PlanSpace>& plan,
                     const ExpertSegments* segments,
                     const ExpertWeights<WeightReal, WeightSpace>& weights,
                     const Input& input, const OutputGradient& output_gradient,
                     ExpertWorkspace<Real, ExecutionSpace>& workspace,
                     const InputGradient& input_gradient,
                     const ExpertWeights<Real, WeightSpace>& weights_gradient,
                     const ExpertOptions& options) {
  using Weights = ExpertWeights<const Real, WeightSpace>;
  requireExperts<ExecutionSpace, PlanSpace,
                 ExpertWeights<WeightReal, WeightSpace>, Real>();
  requireExpertBatch<ExecutionSpace, Real, Input>();
  requireExpertBatch<ExecutionSpace, Real, OutputGradient>();
  requireExpertBatch<ExecutionSpace, Real, InputGradient>();
  static_assert(!std::is_const_v<typename InputGradient::value_type>,
                "Tokkos::applyExpertsGradient: input_gradient must be "
                "non-const");
  constexpr auto function = "Tokkos::applyExpertsGradient";
  const Weights read      = weights;
  const ExpertShape shape =
      checkExperts(function, plan, segments, read, input, workspace, options);
  checkExpertBatch(function, "output_gradient", plan, shape.hidden_size,
                   output_gradient);
  const bool wants_input = input_gradient.extent(1) > 0;
  if (wants_input)
    checkExpertBatch(function, "input_gradient", plan, shape.hidden_size,
                     input_gradient);
  checkExpertGradients(function, read, weights_gradient);
  if (!workspace.holds_forward)
    throwInvalidArgument(function, "workspace",
                         "made with gradients, as applyExperts left it",
                         workspace.options.gradients
                             ? "one without a forward pass since the last "
                               "gradient"
                             : "one made without gradients");
  std::vector<NamedRegion> inputs = {
      {"input", memoryRegion(input)},
      {"output_gradient", memoryRegion(output_gradient)}};
  addExpertRegions("weights.", read, inputs);
  std::vector<NamedRegion> outputs;
  if (wants_input)
    outputs.push_back({"input_gradient", memoryRegion(input_gradient)});
  addExpertRegions("weights_gradient.", weights_gradient, outputs);
  checkAllDisjoint(function, inputs, outputs);

  Kokkos::Profiling::ScopedRegion region(function);
  workspace.holds_forward = false;
  const auto values       = innerValues(workspace);
  const auto from         = constBatchMatrix(output_gradient);
  ExpertGradients<Real> gradients;
  gradients.weights = expertMatrixSet(weights_gradient, shape.inner_size);
  if (wants_input && plan.num_tokens > 0) {
    gradients.input = batchMatrix(input_gradient);
    zeroExpertPadding(space, plan, gradients.input);
  }
  sumExpertRows(space, plan, from, gradients.weights.down_bias);
  withExpertWay(space, plan, segments, workspace, options,
                [&](const auto& way) {
                  backwardSteps(way, expertMatrixSet(read, shape.inner_size),
                                values, options.activation,
                                constBatchMatrix(input), from, gradients);
                });
  sumExpertRows(space, plan, readOnly(values.gate),
                gradients.weights.gate_bias);
  sumExpertRows(space, plan, readOnly(values.up), gradients.weights.up_bias);
}

}  // namespace Impl

template <class ExecutionSpace, class PlanSpace, class WeightReal,
          class WeightSpace, class Input, class Real, class Output>
void applyExperts(const ExecutionSpace& space,
                  const DispatchPlan<PlanSpace>& plan,
                  const ExpertWeights<WeightReal, WeightSpace>& weights,
                  const Input& input,
                  ExpertWorkspace<Real, ExecutionSpace>& workspace,
                  const Output& output, const ExpertOptions& options) {
  Impl::forwardExperts(space, plan, nullptr, weights, input, workspace, output,
                       options);
}

template <class ExecutionSpace, class PlanSpace, class WeightReal,
          class WeightSpace, class Input, class Real, class Output>
void applyExperts(const ExecutionSpace& space,
                  const DispatchPlan<PlanSpace>& plan,
                  const ExpertSegments& segments,
                  const ExpertWeights<WeightReal, WeightSpace>& weights,
                  const Input& input,
                  ExpertWorkspace<Real, ExecutionSpace>& workspace,
                  const Output& output, const ExpertOptions& options) {
  Impl::forwardExperts(space, plan, &segments, weights, input, workspace,
                       output, options);
}

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
    const ExpertOptions& options) {
  Impl::backwardExperts(space, plan, nullptr, weights, input, output_gradient,
                        workspace, input_gradient, weights_gradient, options);
}

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
    const ExpertOptions& options) {
  Impl::backwardExperts(space, plan, &segments, weights, input, output_gradient,
                        workspace, input_gradient, weights_gradient, options);
}

}  // namespace Tokkos

#endif
