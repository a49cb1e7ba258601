// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// SPDX-FileCopyrightText: Copyright Contributors to the Tokkos project

#ifndef TOKKOS_MOELAYER_HPP
#define TOKKOS_MOELAYER_HPP

#include <Tokkos/Config.hpp>

#ifndef TOKKOS_ENABLE_KOKKOSKERNELS
#error \
    "Tokkos/MoELayer.hpp needs Kokkos Kernels, which was not found when Tokkos was configured: set KokkosKernels_ROOT and configure again, or do not include this header"
#else

#include <Tokkos/Combine.hpp>
#include <Tokkos/DispatchPlan.hpp>
#include <Tokkos/Experts.hpp>
#include <Tokkos/Gradients.hpp>
#include <Tokkos/Impl/Check.hpp>
#include <Tokkos/Impl/LayerProducts.hpp>
#include <Tokkos/LoadBalance.hpp>
#include <Tokkos/Permute.hpp>
#include <Tokkos/Router.hpp>

#include <Kokkos_Core.hpp>
#include <Kokkos_Profiling_ScopedRegion.hpp>

#include <climits>
#include <cstddef>
#include <cstdint>
#include <string>
#include <type_traits>
#include <utility>

namespace Tokkos {

/// The weights of a layer, or their gradients: a bundle of Views. Those that a
/// layer does not have are left empty.
///
/// \tparam Real float or double; const where they are only read
template <class Real,
          class MemorySpace = Kokkos::DefaultExecutionSpace::memory_space>
struct MoELayerParameters {
  using Matrix =
      Kokkos::View<Real**, Kokkos::LayoutRight, MemorySpace>;  ///< row-major

  Matrix router = {};  ///< E x H: logits = router x

  ExpertWeights<Real, MemorySpace> experts = {};  ///< of the local experts
  /// One expert of any inner size that every token goes to; several shared
  /// experts are one whose inner size is the sum of theirs.
  ExpertWeights<Real, MemorySpace> shared = {};
  /// 1 x H: the shared expert's output counts sigmoid(shared_gate x) times.
  /// Empty: once.
  Matrix shared_gate = {};

  /// The same parameters, to be read.
  template <class Other>
    requires(!std::is_const_v<Real> && std::is_same_v<Other, const Real>)
  operator MoELayerParameters<Other, MemorySpace>() const {
    return {router, experts, shared, shared_gate};
  }
};

/// How a layer works.
template <class MemorySpace = Kokkos::DefaultExecutionSpace::memory_space>
struct MoELayerOptions {
  /// num_shared_experts must be 0: a layer's shared expert is a parameter.
  RouterOptions<MemorySpace> router = {};
  /// Local experts, capacity, alignment and masks. The shared expert is not
  /// concerned: it works on every token.
  PlanOptions<MemorySpace> plan = {};
  ExpertOptions experts         = {};  ///< of the shared expert too
  /// Whether backward will be called; it takes memory.
  bool gradients = false;
  /// See ExpertWorkspaceOptions.
  int num_instances = 4;
};

/// A Mixture-of-Experts layer: router, plan, permute, experts, combine, with
/// all memory that lies between.
///
///     output(t) = sum over k of weights(t, k) * expert_{ids(t, k)}(input(t))
///                 [+ [sigmoid(shared_gate input(t)) *] shared(input(t))]
///
/// where routeTopK finds ids and weights from the logits input * router^T.
///
/// A layer reads the caller's parameters where they lie, at every call; an
/// optimizer may change their numbers between calls. It is used on one instance
/// at a time. Copies share all memory, as copies of a View do.
///
/// The products of the router go to KokkosBlas::gemm, so logits are as
/// reproducible as the BLAS. What follows has the contracts of its stages.
///
/// \tparam Real float or double: of parameters, tokens and sums
template <class Real, class ExecutionSpace = Kokkos::DefaultExecutionSpace>
class MoELayer {
  static_assert(std::is_same_v<Real, float> || std::is_same_v<Real, double>,
                "Tokkos::MoELayer: Real must be float or double");
  static_assert(Kokkos::is_execution_space_v<ExecutionSpace>,
                "Tokkos::MoELayer: ExecutionSpace must be an execution space");

 public:
  using execution_space = ExecutionSpace;  ///< of all work
  using memory_space =
      typename ExecutionSpace::memory_space;  ///< of all memory
  using Matrix      = Kokkos::View<Real**, Kokkos::LayoutRight,
                                   memory_space>;  ///< row-major, any row stride
  using ConstMatrix = Kokkos::View<const Real**, Kokkos::LayoutRight,
                                   memory_space>;  ///< the same, to be read
  using Parameters =
      MoELayerParameters<const Real, memory_space>;          ///< what it reads
  using Gradients = MoELayerParameters<Real, memory_space>;  ///< and writes
  using Options   = MoELayerOptions<memory_space>;           ///< how it works

  /// An empty layer, good for assigning to.
  MoELayer() = default;

  /// Allocates on the instance all that the calls need.
  ///
  /// \param max_tokens no call may have more
  /// \param top_k experts of a token
  /// \throws std::invalid_argument when sizes do not fit, something is missing
  ///   or out of its range
  MoELayer(const ExecutionSpace& space, std::int64_t max_tokens, int top_k,
           const Parameters& parameters, const Options& options = {});

  /// The bytes that the constructor allocates for these arguments, without what
  /// Kokkos keeps for the instances that products per expert run on; the
  /// parameters' extents count, not their memory. Allocates nothing.
  ///
  /// \throws std::invalid_argument as the constructor does
  static std::size_t bytes(const ExecutionSpace& space, std::int64_t max_tokens,
                           int top_k, const Parameters& parameters,
                           const Options& options = {});

  /// Sends the tokens through the layer.
  ///
  /// \param input T x H, T <= max_tokens
  /// \param output T x H, overwritten; must not overlap the input
  /// \throws std::invalid_argument when extents do not fit or memory overlaps
  ///
  /// Enqueues on the instance and returns: no allocation; no synchronisation
  /// where the products are grouped, and can then be captured in a CUDA graph.
  /// Products per expert need the counts on the host: needsExpertSegments says
  /// when they are read, which waits for the router. The first call makes the
  /// BLAS' handle, which allocates and synchronises.
  void forward(const ExecutionSpace& space, const ConstMatrix& input,
               const Matrix& output);

  /// The gradients of the last forward, once.
  ///
  /// \param input that of forward
  /// \param output_gradient T x H
  /// \param input_gradient T x H, overwritten; must not overlap the others
  /// \param gradients Views as in the parameters, each overwritten; those left
  ///   empty are not computed
  /// \throws std::invalid_argument when extents do not fit, memory overlaps,
  ///   options.gradients is false or there was no forward
  ///
  /// The choice of the experts counts as given. Asynchrony is that of forward.
  void backward(const ExecutionSpace& space, const ConstMatrix& input,
                const ConstMatrix& output_gradient,
                const Matrix& input_gradient, const Gradients& gradients = {});

  /// \name The parts of forward, in their order
  /// For who puts something between them or in their place.
  ///@{

  /// logits() from the input: the router's product.
  void computeLogits(const ExecutionSpace& space, const ConstMatrix& input);
  /// expertIds(), weights(), plan() and batch() from logits() and input.
  void dispatch(const ExecutionSpace& space, const ConstMatrix& input);
  /// expertOutput() from batch().
  void computeExperts(const ExecutionSpace& space);
  /// The shared expert's part into output; false and nothing without one.
  bool computeShared(const ExecutionSpace& space, const ConstMatrix& input,
                     const Matrix& output);
  /// Combines expertOutput(), onto what output holds or not.
  void collect(const ExecutionSpace& space, const Matrix& output, bool add);
  ///@}

  /// \name Of the last forward
  ///@{
  int numTokens() const { return m_num_tokens; }         ///< T
  Matrix logits() const { return rows(m_logits); }       ///< T x E
  auto expertIds() const { return rows(m_expert_ids); }  ///< T x K
  Matrix weights() const { return rows(m_weights); }     ///< T x K
  /// Its counts are the load of the experts, `dropped` what was dropped.
  const DispatchPlan<memory_space>& plan() const { return m_plan; }
  Matrix batch() const { return m_batch; }                 ///< R x H
  Matrix expertOutput() const { return m_expert_output; }  ///< R x H

  /// Statistics and losses, see updateLoadBalance, which this calls.
  ///
  /// \param balance made for max_tokens and all experts of the router
  void updateStatistics(const ExecutionSpace& space,
                        LoadBalance<memory_space>& balance) const {
    updateLoadBalance(space, balance, logits(), expertIds(),
                      m_options.router.mask);
  }
  ///@}

 private:
  using IdMatrix = Kokkos::View<int**, Kokkos::LayoutRight, memory_space>;

  bool hasShared() const { return m_shared_shape.num_experts > 0; }
  bool hasSharedGate() const { return m_parameters.shared_gate.size() > 0; }

  /// Checks the arguments and sets everything that is not memory.
  void setShape(std::int64_t max_tokens, int top_k,
                const Parameters& parameters, const Options& options);
  void setSharedShape();

  /// Calls visit(view, label, extents...) for every array of the layer's own.
  template <class Visitor>
  void forEachArray(const Visitor& visit);

  ExpertWorkspaceOptions workspaceOptions() const {
    return {.gradients     = m_options.gradients,
            .num_instances = m_options.num_instances};
  }

  /// The shared expert is a dispatch of its own, in which each token has one
  /// choice of one expert: its row is the token itself, its weight the gate.
  static RouterOptions<memory_space> gateOptions() {
    return {.score = Score::sigmoid};
  }
  ExpertSegments sharedSegments() const {
    return {{m_num_tokens}, {0, m_num_tokens}};
  }

  template <class View>
  View rows(const View& view) const {
    return Kokkos::subview(view, std::pair(0, m_num_tokens), Kokkos::ALL);
  }

  void checkInput(const char* function, const ConstMatrix& input) const;
  void checkTokens(const char* function, const char* name,
                   const ConstMatrix& tokens, std::size_t expected,
                   const char* meaning) const;
  void checkGradients(const char* function, const Gradients& gradients) const;

  void differentiateExperts(const ExecutionSpace& space,
                            const Gradients& gradients);
  void differentiateShared(const ExecutionSpace& space,
                           const ConstMatrix& input,
                           const ConstMatrix& output_gradient,
                           const Matrix& input_gradient,
                           const Gradients& gradients);

  Parameters m_parameters;
  Options m_options;
  ExpertShape m_shape, m_shared_shape;
  int m_max_tokens = 0;
  int m_num_tokens = 0;
  int m_top_k      = 0;
  int m_max_rows   = 0;
  /// What the host knows of the plan, where it asked.
  bool m_has_segments  = false;
  bool m_holds_forward = false;
  ExpertSegments m_segments;

  DispatchPlan<memory_space> m_plan, m_shared_plan;
  ExpertWorkspace<Real, ExecutionSpace> m_workspace, m_shared_workspace;
  Matrix m_logits, m_weights, m_batch, m_expert_output;
  IdMatrix m_expert_ids;
  Matrix m_shared_logits, m_shared_weights, m_shared_output;
  IdMatrix m_shared_ids;
  Matrix m_logits_gradient, m_weights_gradient, m_batch_gradient;
  Matrix m_shared_logits_gradient, m_shared_weights_gradient,
      m_shared_output_gradient;
};

//----------------------------------------------------------------------------

template <class Real, class ExecutionSpace>
void MoELayer<Real, ExecutionSpace>::setShape(std::int64_t max_tokens,
                                              int top_k,
                                              const Parameters& parameters,
                                              const Options& options) {
  constexpr auto function = "Tokkos::MoELayer";
  m_parameters            = parameters;
  m_options               = options;
  m_shape                 = parameters.experts.shape();
  const auto num_experts  = static_cast<int>(parameters.router.extent(0));
  Impl::checkRange(function, "parameters.router.extent(0)", num_experts, 1,
                   INT_MAX - 1, "the number of experts");
  Impl::checkExtent(function, "parameters.router", 1,
                    parameters.router.extent(1),
                    static_cast<std::size_t>(m_shape.hidden_size),
                    "the experts' hidden size");
  Impl::checkRange(function, "options.router.num_shared_experts",
                   options.router.num_shared_experts, 0, 0,
                   "the shared expert is a parameter of its own");
  Impl::checkRange(function, "top_k", top_k, 1, num_experts,
                   "the number of experts");
  Impl::checkRange(function, "max_tokens", max_tokens, 0, INT_MAX / top_k,
                   "(2^31 - 1) / top_k");
  setSharedShape();
  m_max_tokens = static_cast<int>(max_tokens);
  m_top_k      = top_k;
}

template <class Real, class ExecutionSpace>
void MoELayer<Real, ExecutionSpace>::setSharedShape() {
  constexpr auto function = "Tokkos::MoELayer";
  if (m_parameters.shared.down.extent(0) > 0) {
    m_shared_shape = m_parameters.shared.shape();
    Impl::checkRange(function, "parameters.shared.down.extent(0)",
                     m_shared_shape.num_experts, 1, 1, "one expert");
    Impl::checkRange(function, "the shared expert's hidden size",
                     m_shared_shape.hidden_size, m_shape.hidden_size,
                     m_shape.hidden_size, "that of the experts");
  }
  if (!hasSharedGate()) return;
  Impl::checkExtent(function, "parameters.shared_gate", 0,
                    m_parameters.shared_gate.extent(0), hasShared() ? 1u : 0u,
                    hasShared() ? "one expert" : "no shared expert");
  Impl::checkExtent(function, "parameters.shared_gate", 1,
                    m_parameters.shared_gate.extent(1),
                    static_cast<std::size_t>(m_shape.hidden_size),
                    "the experts' hidden size");
}

template <class Real, class ExecutionSpace>
template <class Visitor>
void MoELayer<Real, ExecutionSpace>::forEachArray(const Visitor& visit) {
  const auto num_experts = static_cast<int>(m_parameters.router.extent(0));
  const int hidden       = m_shape.hidden_size;
  const bool gradients   = m_options.gradients;
  visit(m_logits, "logits", m_max_tokens, num_experts);
  visit(m_expert_ids, "expert_ids", m_max_tokens, m_top_k);
  visit(m_weights, "weights", m_max_tokens, m_top_k);
  visit(m_batch, "batch", m_max_rows, hidden);
  visit(m_expert_output, "expert_output", m_max_rows, hidden);
  if (gradients) {
    visit(m_logits_gradient, "logits_gradient", m_max_tokens, num_experts);
    visit(m_weights_gradient, "weights_gradient", m_max_tokens, m_top_k);
    visit(m_batch_gradient, "batch_gradient", m_max_rows, hidden);
  }
  if (hasShared()) visit(m_shared_ids, "shared_ids", m_max_tokens, 1);
  if (!hasSharedGate()) return;
  visit(m_shared_logits, "shared_logits", m_max_tokens, 1);
  visit(m_shared_weights, "shared_weights", m_max_tokens, 1);
  visit(m_shared_output, "shared_output", m_max_tokens, hidden);
  if (gradients) {
    visit(m_shared_logits_gradient, "shared_logits_gradient", m_max_tokens, 1);
    visit(m_shared_weights_gradient, "shared_weights_gradient", m_max_tokens,
          1);
    visit(m_shared_output_gradient, "shared_output_gradient", m_max_tokens,
          hidden);
  }
}

template <class Real, class ExecutionSpace>
MoELayer<Real, ExecutionSpace>::MoELayer(const ExecutionSpace& space,
                                         std::int64_t max_tokens, int top_k,
                                         const Parameters& parameters,
                                         const Options& options) {
  setShape(max_tokens, top_k, parameters, options);
  const auto num_experts = static_cast<int>(parameters.router.extent(0));
  m_plan = DispatchPlan<memory_space>(space, max_tokens, top_k, num_experts,
                                      options.plan);
  Impl::checkRange("Tokkos::MoELayer", "parameters.experts.down.extent(0)",
                   m_shape.num_experts, m_plan.num_experts, m_plan.num_experts,
                   "the plan's local experts");
  m_max_rows  = m_plan.max_rows;
  m_workspace = {space, m_max_rows, m_shape, workspaceOptions()};
  if (hasShared()) {
    m_shared_plan      = DispatchPlan<memory_space>(space, max_tokens, 1, 1);
    m_shared_workspace = {space, m_max_tokens, m_shared_shape,
                          workspaceOptions()};
  }
  forEachArray([&space](auto& view, const char* name, auto... extents) {
    view = std::remove_reference_t<decltype(view)>(
        Kokkos::view_alloc(space, Kokkos::WithoutInitializing,
                           std::string("Tokkos::MoELayer::") + name),
        static_cast<std::size_t>(extents)...);
  });
  if (hasShared()) Kokkos::deep_copy(space, m_shared_ids, 0);
}

template <class Real, class ExecutionSpace>
std::size_t MoELayer<Real, ExecutionSpace>::bytes(const ExecutionSpace& space,
                                                  std::int64_t max_tokens,
                                                  int top_k,
                                                  const Parameters& parameters,
                                                  const Options& options) {
  using Plan = DispatchPlan<memory_space>;
  MoELayer layer;
  layer.setShape(max_tokens, top_k, parameters, options);
  std::size_t sum =
      Plan::bytes(space, max_tokens, top_k,
                  static_cast<int>(parameters.router.extent(0)), options.plan);
  layer.m_max_rows = static_cast<int>(
      Plan::maxRows(max_tokens, top_k, layer.m_shape.num_experts,
                    options.plan.capacity, options.plan.alignment));
  using Workspace    = ExpertWorkspace<Real, ExecutionSpace>;
  const auto working = layer.workspaceOptions();
  sum += Workspace::bytes(layer.m_max_rows, layer.m_shape, working);
  if (layer.hasShared())
    sum += Plan::bytes(space, max_tokens, 1, 1) +
           Workspace::bytes(layer.m_max_tokens, layer.m_shared_shape, working);
  layer.forEachArray([&sum](const auto& view, const char*, auto... extents) {
    using Value = typename std::remove_cvref_t<decltype(view)>::value_type;
    // Kokkos allocates whole 8 bytes.
    sum +=
        ((sizeof(Value) * ... * static_cast<std::size_t>(extents)) + 7) / 8 * 8;
  });
  return sum;
}

template <class Real, class ExecutionSpace>
void MoELayer<Real, ExecutionSpace>::checkTokens(const char* function,
                                                 const char* name,
                                                 const ConstMatrix& tokens,
                                                 std::size_t expected,
                                                 const char* meaning) const {
  Impl::checkExtent(function, name, 0, tokens.extent(0), expected, meaning);
  Impl::checkExtent(function, name, 1, tokens.extent(1),
                    m_parameters.router.extent(1),
                    "parameters.router.extent(1)");
  Impl::checkMemory(function, name, Impl::memoryRegion(tokens));
}

template <class Real, class ExecutionSpace>
void MoELayer<Real, ExecutionSpace>::checkInput(
    const char* function, const ConstMatrix& input) const {
  Impl::checkRange(function, "input.extent(0)",
                   static_cast<std::int64_t>(input.extent(0)), 0, m_max_tokens,
                   "max_tokens");
  checkTokens(function, "input", input, input.extent(0), "");
}

template <class Real, class ExecutionSpace>
void MoELayer<Real, ExecutionSpace>::forward(const ExecutionSpace& space,
                                             const ConstMatrix& input,
                                             const Matrix& output) {
  constexpr auto function = "Tokkos::MoELayer::forward";
  checkInput(function, input);
  checkTokens(function, "output", output, input.extent(0), "input.extent(0)");
  Impl::checkDisjoint(function, "input", Impl::memoryRegion(input), "output",
                      Impl::memoryRegion(output));

  Kokkos::Profiling::ScopedRegion region(function);
  m_holds_forward = false;
  computeLogits(space, input);
  dispatch(space, input);
  computeExperts(space);
  const bool has_shared = computeShared(space, input, output);
  collect(space, output, has_shared);
  m_holds_forward = m_options.gradients;
}

template <class Real, class ExecutionSpace>
void MoELayer<Real, ExecutionSpace>::computeLogits(const ExecutionSpace& space,
                                                   const ConstMatrix& input) {
  checkInput("Tokkos::MoELayer::computeLogits", input);
  m_num_tokens = static_cast<int>(input.extent(0));
  Impl::computeLogits(space, input, m_parameters.router, logits());
}

template <class Real, class ExecutionSpace>
void MoELayer<Real, ExecutionSpace>::dispatch(const ExecutionSpace& space,
                                              const ConstMatrix& input) {
  checkInput("Tokkos::MoELayer::dispatch", input);
  m_num_tokens = static_cast<int>(input.extent(0));
  routeTopK(space, logits(), expertIds(), weights(), m_options.router);
  updateDispatchPlan(space, m_plan, expertIds(), weights());
  permute(space, m_plan, input, m_batch);
}

template <class Real, class ExecutionSpace>
void MoELayer<Real, ExecutionSpace>::computeExperts(
    const ExecutionSpace& space) {
  m_has_segments = needsExpertSegments(m_plan, m_shape, m_options.experts);
  if (m_has_segments) {
    m_segments = readExpertSegments(space, m_plan);
    applyExperts(space, m_plan, m_segments, m_parameters.experts, m_batch,
                 m_workspace, m_expert_output, m_options.experts);
  } else {
    applyExperts(space, m_plan, m_parameters.experts, m_batch, m_workspace,
                 m_expert_output, m_options.experts);
  }
}

template <class Real, class ExecutionSpace>
bool MoELayer<Real, ExecutionSpace>::computeShared(const ExecutionSpace& space,
                                                   const ConstMatrix& input,
                                                   const Matrix& output) {
  if (!hasShared()) return false;
  checkInput("Tokkos::MoELayer::computeShared", input);
  m_num_tokens   = static_cast<int>(input.extent(0));
  const auto ids = rows(m_shared_ids);
  if (hasSharedGate()) {
    Impl::computeLogits(space, input, m_parameters.shared_gate,
                        rows(m_shared_logits));
    routeTopK(space, rows(m_shared_logits), ids, rows(m_shared_weights),
              gateOptions());
  }
  updateDispatchPlan(space, m_shared_plan, ids);
  const Matrix shared = hasSharedGate() ? rows(m_shared_output) : output;
  applyExperts(space, m_shared_plan, sharedSegments(), m_parameters.shared,
               input, m_shared_workspace, shared, m_options.experts);
  if (hasSharedGate())
    combine(space, m_shared_plan, shared, rows(m_shared_weights), output);
  return true;
}

template <class Real, class ExecutionSpace>
void MoELayer<Real, ExecutionSpace>::collect(const ExecutionSpace& space,
                                             const Matrix& output, bool add) {
  combine(space, m_plan, m_expert_output, weights(), output,
          {.beta = add ? 1. : 0.});
}

template <class Real, class ExecutionSpace>
void MoELayer<Real, ExecutionSpace>::checkGradients(
    const char* function, const Gradients& gradients) const {
  const auto check = [&](const char* name, const auto& gradient,
                         const auto& parameter) {
    if (gradient.size() == 0) return;
    for (int d = 0; d < 2; ++d)
      Impl::checkExtent(function, name, d, gradient.extent(d),
                        parameter.extent(d), "that of the parameter");
  };
  check("gradients.router", gradients.router, m_parameters.router);
  check("gradients.shared_gate", gradients.shared_gate,
        m_parameters.shared_gate);
}

template <class Real, class ExecutionSpace>
void MoELayer<Real, ExecutionSpace>::backward(
    const ExecutionSpace& space, const ConstMatrix& input,
    const ConstMatrix& output_gradient, const Matrix& input_gradient,
    const Gradients& gradients) {
  constexpr auto function = "Tokkos::MoELayer::backward";
  if (!m_holds_forward)
    Impl::throwInvalidArgument(
        function, "layer",
        "one made with options.gradients, after a call of forward", "none");
  const auto num_tokens     = static_cast<std::size_t>(m_num_tokens);
  const char* const meaning = "the tokens of forward";
  checkTokens(function, "input", input, num_tokens, meaning);
  checkTokens(function, "output_gradient", output_gradient, num_tokens,
              meaning);
  checkTokens(function, "input_gradient", input_gradient, num_tokens, meaning);
  checkGradients(function, gradients);
  const auto written = Impl::memoryRegion(input_gradient);
  Impl::checkDisjoint(function, "input", Impl::memoryRegion(input),
                      "input_gradient", written);
  Impl::checkDisjoint(function, "output_gradient",
                      Impl::memoryRegion(output_gradient), "input_gradient",
                      written);

  Kokkos::Profiling::ScopedRegion region(function);
  m_holds_forward = false;
  combineGradient(space, m_plan, output_gradient, m_expert_output, weights(),
                  m_batch_gradient, rows(m_weights_gradient));
  differentiateExperts(space, gradients);
  if (hasShared())
    differentiateShared(space, input, output_gradient, input_gradient,
                        gradients);
  // The gradient of permute, onto the shared expert's. The rows of the experts'
  // output were used up; they hold the batch's gradient now.
  combine(space, m_plan, m_expert_output, input_gradient,
          {.beta = hasShared() ? 1. : 0.});
  routeTopKGradient(space, logits(), expertIds(), rows(m_weights_gradient),
                    rows(m_logits_gradient), m_options.router);
  Impl::differentiateLogits(space, input, m_parameters.router,
                            rows(m_logits_gradient), input_gradient,
                            gradients.router);
  if (hasSharedGate()) {
    routeTopKGradient(space, rows(m_shared_logits), rows(m_shared_ids),
                      rows(m_shared_weights_gradient),
                      rows(m_shared_logits_gradient), gateOptions());
    Impl::differentiateLogits(space, input, m_parameters.shared_gate,
                              rows(m_shared_logits_gradient), input_gradient,
                              gradients.shared_gate);
  }
}

template <class Real, class ExecutionSpace>
void MoELayer<Real, ExecutionSpace>::differentiateExperts(
    const ExecutionSpace& space, const Gradients& gradients) {
  if (m_has_segments)
    applyExpertsGradient(space, m_plan, m_segments, m_parameters.experts,
                         m_batch, m_batch_gradient, m_workspace,
                         m_expert_output, gradients.experts, m_options.experts);
  else
    applyExpertsGradient(space, m_plan, m_parameters.experts, m_batch,
                         m_batch_gradient, m_workspace, m_expert_output,
                         gradients.experts, m_options.experts);
}

template <class Real, class ExecutionSpace>
void MoELayer<Real, ExecutionSpace>::differentiateShared(
    const ExecutionSpace& space, const ConstMatrix& input,
    const ConstMatrix& output_gradient, const Matrix& input_gradient,
    const Gradients& gradients) {
  ConstMatrix shared_gradient = output_gradient;
  if (hasSharedGate()) {
    combineGradient(space, m_shared_plan, output_gradient,
                    rows(m_shared_output), rows(m_shared_weights),
                    rows(m_shared_output_gradient),
                    rows(m_shared_weights_gradient));
    shared_gradient = rows(m_shared_output_gradient);
  }
  applyExpertsGradient(space, m_shared_plan, sharedSegments(),
                       m_parameters.shared, input, shared_gradient,
                       m_shared_workspace, input_gradient, gradients.shared,
                       m_options.experts);
}

}  // namespace Tokkos

#endif  // TOKKOS_ENABLE_KOKKOSKERNELS

#endif
