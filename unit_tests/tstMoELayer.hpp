// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// SPDX-FileCopyrightText: Copyright Contributors to the Tokkos project

#include "PlainLayer.hpp"
#include "TestSupport.hpp"

#include "../examples/common/Npy.hpp"

#include <functional>
#include <map>
#include <tuple>

// The whole layer: against plain loops in double, its gradients against finite
// differences, the blocks of real models, its memory.
namespace Test {

using Tokkos::Activation;
using Tokkos::ExpertProducts;

template <class Real>
using Layer = Tokkos::MoELayer<Real, ExecutionSpace>;
template <class Real>
using Parameters = Tokkos::MoELayerParameters<Real, MemorySpace>;
template <class Real>
using Weights = Tokkos::ExpertWeights<Real, MemorySpace>;
template <class Real>
using Cube         = Kokkos::View<Real***, Kokkos::LayoutRight, MemorySpace>;
using LayerOptions = Tokkos::MoELayerOptions<MemorySpace>;

/// Every element of a View without gaps.
template <class View>
auto flat(const View& view) {
  return Array<typename View::non_const_value_type>(
      const_cast<typename View::non_const_value_type*>(view.data()),
      view.size());
}

/// The shape of a layer under test.
struct Case {
  int num_tokens = 40, num_experts = 8, top_k = 2, hidden = 24, inner = 16;
  bool gated = true, fused = false, biases = false;
  int shared_inner        = 0;  // of the shared expert, 0 for none
  bool shared_gate        = false;
  double preference       = 0;  // how much expert 0 is liked more than others
  ExpertProducts products = ExpertProducts::grouped;
  int alignment           = 1;

  std::string name() const {
    std::string text;
    for (const int number : {num_tokens, num_experts, top_k, hidden, inner,
                             int(gated), int(fused), int(biases), shared_inner,
                             int(shared_gate), int(products), alignment})
      text += " " + std::to_string(number);
    return text;
  }

  LayerOptions options(bool gradients = false) const {
    LayerOptions result;
    result.router.normalize   = true;
    result.plan.alignment     = alignment;
    result.experts.activation = gated ? Activation::silu : Activation::relu;
    result.experts.products   = products;
    result.gradients          = gradients;
    return result;
  }
};

/// Random weights of `num_experts` networks.
template <class Real>
Weights<Real> makeWeights(Random& random, const Case& shape, int num_experts,
                          int inner) {
  const auto cube = [&](int rows, int columns) {
    const Cube<Real> view("weights", num_experts, rows, columns);
    const double size = 1.5 / std::sqrt(columns);
    fromVector(flat(view), random.reals<Real>(view.size(), -size, size));
    return view;
  };
  const auto biases = [&](int width) {
    return makeMatrix(random.reals<Real>(
                          static_cast<std::size_t>(num_experts * width), -1, 1),
                      width);
  };
  Weights<Real> weights;
  const int hidden = shape.hidden;
  if (shape.gated && shape.fused) {
    weights.gate_up = cube(2 * inner, hidden);
    if (shape.biases) weights.gate_up_bias = biases(2 * inner);
  } else {
    weights.up = cube(inner, hidden);
    if (shape.biases) weights.up_bias = biases(inner);
    if (shape.gated) {
      weights.gate = cube(inner, hidden);
      if (shape.biases) weights.gate_bias = biases(inner);
    }
  }
  weights.down = cube(hidden, inner);
  if (shape.biases) weights.down_bias = biases(hidden);
  return weights;
}

template <class Real>
Parameters<Real> makeParameters(Random& random, const Case& shape) {
  Parameters<Real> parameters;
  std::vector<Real> router = random.reals<Real>(
      static_cast<std::size_t>(shape.num_experts * shape.hidden), -1, 1);
  // Inputs are positive in the first column when there is a preference.
  router[0] += static_cast<Real>(shape.preference);
  parameters.router = makeMatrix(router, shape.hidden);
  parameters.experts =
      makeWeights<Real>(random, shape, shape.num_experts, shape.inner);
  if (shape.shared_inner > 0)
    parameters.shared = makeWeights<Real>(random, shape, 1, shape.shared_inner);
  if (shape.shared_gate)
    parameters.shared_gate = makeMatrix(
        random.reals<Real>(static_cast<std::size_t>(shape.hidden), -1, 1),
        shape.hidden);
  return parameters;
}

template <class Real>
Matrix<Real> makeInput(Random& random, const Case& shape) {
  std::vector<Real> input = random.reals<Real>(
      static_cast<std::size_t>(shape.num_tokens * shape.hidden), -1, 1);
  if (shape.preference != 0)
    for (int t = 0; t < shape.num_tokens; ++t)
      input[static_cast<std::size_t>(t * shape.hidden)] = 1;
  return makeMatrix(input, shape.hidden);
}

/// Part `i` of `parts` equal ones.
std::vector<float> part(const std::vector<float>& all, int i, int parts) {
  const auto size  = static_cast<std::ptrdiff_t>(all.size()) / parts;
  const auto begin = all.begin() + i * size;
  return {begin, begin + size};
}

Plain::Network plainNetwork(const Weights<float>& weights, int e,
                            int num_experts, int hidden, int inner) {
  const auto own = [&](const auto& view) {
    return part(toVector(flat(view)), e, num_experts);
  };
  Plain::Network network;
  network.hidden    = hidden;
  network.inner     = inner;
  network.down      = own(weights.down);
  network.down_bias = own(weights.down_bias);
  if (weights.gate_up.size() > 0) {
    network.gate      = part(own(weights.gate_up), 0, 2);
    network.up        = part(own(weights.gate_up), 1, 2);
    network.gate_bias = part(own(weights.gate_up_bias), 0, 2);
    network.up_bias   = part(own(weights.gate_up_bias), 1, 2);
  } else {
    network.gate      = own(weights.gate);
    network.up        = own(weights.up);
    network.gate_bias = own(weights.gate_bias);
    network.up_bias   = own(weights.up_bias);
  }
  return network;
}

Plain::Layer plainLayer(const Parameters<float>& parameters,
                        const Case& shape) {
  Plain::Layer layer;
  layer.hidden = shape.hidden;
  layer.top_k  = shape.top_k;
  layer.router = toVector(parameters.router);
  for (int e = 0; e < shape.num_experts; ++e)
    layer.experts.push_back(plainNetwork(
        parameters.experts, e, shape.num_experts, shape.hidden, shape.inner));
  if (shape.shared_inner > 0)
    layer.shared.push_back(plainNetwork(parameters.shared, 0, 1, shape.hidden,
                                        shape.shared_inner));
  layer.shared_gate = toVector(flat(parameters.shared_gate));
  return layer;
}

/// Every element of the output differs from the plain loops' by no more than
/// the bound that these compute.
void expectPlainOutput(const Case& shape, const Parameters<float>& parameters,
                       const Matrix<float>& input,
                       const Matrix<float>& output) {
  const auto plain     = plainLayer(parameters, shape);
  const auto tokens    = toVector(input);
  const auto actual    = toVector(output);
  const auto width     = static_cast<std::size_t>(shape.hidden);
  int ambiguous        = 0;
  double largest_sum   = 0;
  double largest_error = 0;
  for (std::size_t t = 0; t < output.extent(0); ++t) {
    double margin = 0;
    const auto expected =
        plain(Plain::exact(&tokens[t * width], width), margin);
    if (margin <= 0) {
      ++ambiguous;
      continue;
    }
    for (std::size_t h = 0; h < width; ++h) {
      const double error =
          std::abs(expected[h].value - double(actual[t * width + h]));
      ASSERT_LE(error, expected[h].error) << "token " << t << ", column " << h;
      largest_sum   = std::max(largest_sum, std::abs(expected[h].value));
      largest_error = std::max(largest_error, expected[h].error);
    }
  }
  // The bound, a worst case of three sums in a row, says something, and nearly
  // every token was looked at.
  EXPECT_LE(largest_error, 1e-3 * largest_sum);
  EXPECT_LE(ambiguous, shape.num_tokens / 10);
}

void testAgainstPlainLoops(const Case& shape) {
  SCOPED_TRACE(shape.name());
  Random random;
  const ExecutionSpace space;
  const auto parameters = makeParameters<float>(random, shape);
  const auto input      = makeInput<float>(random, shape);
  Layer<float> layer(space, shape.num_tokens + 3, shape.top_k, parameters,
                     shape.options());
  const Matrix<float> output("output", shape.num_tokens, shape.hidden);
  Kokkos::deep_copy(output, NAN);
  layer.forward(space, input, output);
  space.fence();
  expectPlainOutput(shape, parameters, input, output);
  EXPECT_EQ(
      "", Tokkos::validateDispatchPlan(space, layer.plan(), layer.expertIds()));
}

TEST(MoELayer, AgreesWithPlainLoopsToFloatRounding) {
  for (const auto products :
       {ExpertProducts::grouped, ExpertProducts::per_expert}) {
    testAgainstPlainLoops({.products = products});
    testAgainstPlainLoops(
        {.fused = true, .products = products, .alignment = 8});
    testAgainstPlainLoops(
        {.gated = false, .biases = true, .products = products});
    testAgainstPlainLoops({.hidden       = 33,
                           .inner        = 7,
                           .biases       = true,
                           .shared_inner = 20,
                           .products     = products});
    testAgainstPlainLoops({.fused        = true,
                           .biases       = true,
                           .shared_inner = 9,
                           .shared_gate  = true,
                           .products     = products});
  }
  testAgainstPlainLoops({.num_tokens = 200,
                         .hidden     = 64,
                         .inner      = 96,
                         .products   = ExpertProducts::automatic});
}

TEST(MoELayer, ExtremeRoutings) {
  for (const auto products :
       {ExpertProducts::grouped, ExpertProducts::per_expert}) {
    // Every token to all experts; one expert takes all, all others are empty;
    // one expert; more experts than tokens.
    testAgainstPlainLoops({.num_experts = 4, .top_k = 4, .products = products});
    testAgainstPlainLoops({.top_k = 1, .preference = 30, .products = products});
    testAgainstPlainLoops({.num_experts = 1, .top_k = 1, .products = products});
    testAgainstPlainLoops(
        {.num_tokens = 1, .num_experts = 60, .top_k = 3, .products = products});
  }
}

TEST(MoELayer, WithoutTokens) {
  Random random;
  const ExecutionSpace space;
  Case shape;
  shape.shared_inner    = 5;
  shape.shared_gate     = true;
  const auto parameters = makeParameters<float>(random, shape);
  for (const auto products :
       {ExpertProducts::grouped, ExpertProducts::per_expert}) {
    shape.products = products;
    Layer<float> layer(space, 0, shape.top_k, parameters, shape.options(true));
    const Matrix<float> nothing("nothing", 0, shape.hidden);
    const Matrix<float> also_nothing("nothing", 0, shape.hidden);
    layer.forward(space, nothing, also_nothing);
    // What has no tokens has no gradient: zeros, not what was there.
    auto gradients = makeParameters<float>(random, shape);
    layer.backward(space, nothing, nothing, also_nothing, gradients);
    space.fence();
    const auto zeros = [](const auto& view) {
      return std::vector<float>(view.size(), 0.f);
    };
    EXPECT_EQ(zeros(gradients.router), toVector(gradients.router));
    EXPECT_EQ(zeros(gradients.shared_gate), toVector(gradients.shared_gate));
    EXPECT_EQ(zeros(gradients.experts.down),
              toVector(flat(gradients.experts.down)));
    EXPECT_EQ(zeros(gradients.shared.up), toVector(flat(gradients.shared.up)));
    EXPECT_EQ(std::vector<int>(8, 0), toVector(layer.plan().counts));
  }
}

/// Fewer tokens than the layer was made for, and then more again.
TEST(MoELayer, AnyNumberOfTokensUpToTheMost) {
  Random random;
  const ExecutionSpace space;
  Case shape;
  shape.shared_inner    = 6;
  const auto parameters = makeParameters<float>(random, shape);
  Layer<float> layer(space, 90, shape.top_k, parameters, shape.options());
  for (const int num_tokens : {90, 1, 0, 17, 90}) {
    shape.num_tokens = num_tokens;
    const auto input = makeInput<float>(random, shape);
    const Matrix<float> output("output", num_tokens, shape.hidden);
    layer.forward(space, input, output);
    space.fence();
    EXPECT_EQ(num_tokens, layer.numTokens());
    if (num_tokens > 0) expectPlainOutput(shape, parameters, input, output);
  }
}

/// Rows that lie apart, inside other memory.
TEST(MoELayer, AnyRowStride) {
  Random random;
  const ExecutionSpace space;
  Case shape;
  shape.shared_inner    = 6;
  shape.shared_gate     = true;
  const auto parameters = makeParameters<float>(random, shape);
  const auto input      = makeInput<float>(random, shape);
  const auto window     = [&](const Matrix<float>& wide) {
    return Matrix<float>(
        Kokkos::subview(wide, Kokkos::ALL, std::pair(0, shape.hidden)));
  };
  const Matrix<float> wide_input("input", shape.num_tokens, shape.hidden + 9);
  const Matrix<float> wide_output("output", shape.num_tokens, shape.hidden + 5);
  Kokkos::deep_copy(wide_output, -7);
  Kokkos::deep_copy(window(wide_input), input);
  Layer<float> layer(space, shape.num_tokens, shape.top_k, parameters,
                     shape.options());
  layer.forward(space, window(wide_input), window(wide_output));
  space.fence();
  const Matrix<float> output("output", shape.num_tokens, shape.hidden);
  Kokkos::deep_copy(output, window(wide_output));
  expectPlainOutput(shape, parameters, input, output);
  const auto all     = toVector(wide_output);
  const auto columns = wide_output.extent(1);
  for (std::size_t i = 0; i < all.size(); ++i)
    if (i % columns >= output.extent(1)) {
      EXPECT_EQ(-7, all[i]);
    }
}

/// The loss sum(c * output) of a layer in double, and its gradients.
class Differentiated {
 public:
  Differentiated(const Case& shape, const LayerOptions& options)
      : m_shape(shape),
        m_parameters(makeParameters<double>(m_random, shape)),
        m_gradients(makeParameters<double>(m_random, shape)),
        m_input(makeInput<double>(m_random, shape)),
        m_layer(m_space, shape.num_tokens, shape.top_k, m_parameters, options),
        m_output("output", shape.num_tokens, shape.hidden),
        m_output_gradient(makeInput<double>(m_random, shape)),
        m_input_gradient("input_gradient", shape.num_tokens, shape.hidden) {
    Kokkos::deep_copy(m_input_gradient, NAN);
  }

  void check() {
    m_layer.forward(m_space, m_input, m_output);
    m_layer.backward(m_space, m_input, m_output_gradient, m_input_gradient,
                     m_gradients);
    checkView("input", m_input, m_input_gradient);
    checkView("router", m_parameters.router, m_gradients.router);
    checkView("shared_gate", m_parameters.shared_gate, m_gradients.shared_gate);
    checkWeights("experts.", m_parameters.experts, m_gradients.experts);
    checkWeights("shared.", m_parameters.shared, m_gradients.shared);
    EXPECT_GT(m_checked, 0);
  }

 private:
  double loss() {
    m_layer.forward(m_space, m_input, m_output);
    m_space.fence();
    const auto output = toVector(m_output), c = toVector(m_output_gradient);
    double sum = 0;
    for (std::size_t i = 0; i < output.size(); ++i)
      sum += c[i] * output[i];
    return sum;
  }

  /// Central differences: off by the third derivative times step^2 and by
  /// the loss' rounding over the step.
  template <class View>
  void checkView(const std::string& name, const View& parameter,
                 const View& gradient) {
    SCOPED_TRACE(name);
    const double step    = 1e-5;
    const auto memory    = flat(parameter);
    const auto values    = toVector(memory);
    const auto gradients = toVector(flat(gradient));
    for (std::size_t i = 0; i < values.size(); ++i) {
      const auto lossWith = [&](double value) {
        Kokkos::deep_copy(Kokkos::subview(memory, i), value);
        return loss();
      };
      const double difference =
          (lossWith(values[i] + step) - lossWith(values[i] - step)) /
          (2 * step);
      Kokkos::deep_copy(Kokkos::subview(memory, i), values[i]);
      ASSERT_NEAR(difference, gradients[i], 2e-8 * (1 + std::abs(difference)))
          << "element " << i;
      ++m_checked;
    }
  }

  void checkWeights(const std::string& name, const Weights<double>& weights,
                    const Weights<double>& gradients) {
    checkView(name + "gate", weights.gate, gradients.gate);
    checkView(name + "up", weights.up, gradients.up);
    checkView(name + "gate_up", weights.gate_up, gradients.gate_up);
    checkView(name + "down", weights.down, gradients.down);
    checkView(name + "gate_bias", weights.gate_bias, gradients.gate_bias);
    checkView(name + "up_bias", weights.up_bias, gradients.up_bias);
    checkView(name + "gate_up_bias", weights.gate_up_bias,
              gradients.gate_up_bias);
    checkView(name + "down_bias", weights.down_bias, gradients.down_bias);
  }

  Random m_random;
  ExecutionSpace m_space;
  Case m_shape;
  Parameters<double> m_parameters, m_gradients;
  Matrix<double> m_input;
  Layer<double> m_layer;
  Matrix<double> m_output, m_output_gradient, m_input_gradient;
  int m_checked = 0;
};

void testGradients(const Case& shape) {
  SCOPED_TRACE(shape.name());
  Differentiated(shape, shape.options(true)).check();
}

TEST(MoELayer, GradientsAreTheSlopes) {
  for (const auto products :
       {ExpertProducts::grouped, ExpertProducts::per_expert}) {
    testGradients({.num_tokens   = 6,
                   .num_experts  = 4,
                   .hidden       = 5,
                   .inner        = 3,
                   .biases       = true,
                   .shared_inner = 2,
                   .shared_gate  = true,
                   .products     = products,
                   .alignment    = 4});
    testGradients({.num_tokens   = 5,
                   .num_experts  = 3,
                   .hidden       = 4,
                   .inner        = 3,
                   .fused        = true,
                   .shared_inner = 3,
                   .products     = products});
    // All tokens to one expert; every token to all experts.
    testGradients({.num_tokens  = 5,
                   .num_experts = 3,
                   .top_k       = 1,
                   .hidden      = 4,
                   .inner       = 2,
                   .preference  = 30,
                   .products    = products});
    testGradients({.num_tokens  = 4,
                   .num_experts = 3,
                   .top_k       = 3,
                   .hidden      = 4,
                   .inner       = 2,
                   .fused       = true,
                   .biases      = true,
                   .products    = products});
  }
}

TEST(MoELayer, GradientsOfSigmoidScoresWithCapacity) {
  Case shape;
  shape.num_tokens = 8, shape.num_experts = 4, shape.hidden = 4;
  shape.inner                = 3;
  LayerOptions options       = shape.options(true);
  options.router.score       = Tokkos::Score::sigmoid;
  options.router.scale       = 2.5;
  options.plan.capacity      = 3;
  options.experts.activation = Activation::silu;
  Differentiated(shape, options).check();
}

/// Two halves of the experts, each in a layer of its own: the outputs' sum is
/// the whole layer's output.
TEST(MoELayer, LocalExpertsAddUp) {
  Random random;
  const ExecutionSpace space;
  const Case shape;
  const auto parameters = makeParameters<float>(random, shape);
  const auto input      = makeInput<float>(random, shape);
  const Matrix<float> sum("sum", shape.num_tokens, shape.hidden);
  const int half = shape.num_experts / 2;
  for (const int begin : {0, half}) {
    const auto own = [&](const Cube<float>& all) {
      return Cube<float>(Kokkos::subview(all, std::pair(begin, begin + half),
                                         Kokkos::ALL, Kokkos::ALL));
    };
    auto local           = parameters;
    local.experts.gate   = own(parameters.experts.gate);
    local.experts.up     = own(parameters.experts.up);
    local.experts.down   = own(parameters.experts.down);
    auto options         = shape.options();
    options.plan.experts = Tokkos::ExpertRange{begin, begin + half};
    Layer<float> layer(space, shape.num_tokens, shape.top_k, local, options);
    layer.computeLogits(space, input);
    layer.dispatch(space, input);
    layer.computeExperts(space);
    layer.collect(space, sum, begin > 0);
    space.fence();
  }
  expectPlainOutput(shape, parameters, input, sum);
}

TEST(MoELayer, StatisticsOfTheLastStep) {
  Random random;
  const ExecutionSpace space;
  const Case shape;
  const auto parameters = makeParameters<float>(random, shape);
  auto options          = shape.options();
  options.plan.capacity = 7;
  Layer<float> layer(space, shape.num_tokens, shape.top_k, parameters, options);
  const Matrix<float> output("output", shape.num_tokens, shape.hidden);
  layer.forward(space, makeInput<float>(random, shape), output);
  Tokkos::LoadBalance<MemorySpace> balance(space, shape.num_tokens,
                                           shape.num_experts);
  layer.updateStatistics(space, balance);
  space.fence();

  std::vector<int> load(static_cast<std::size_t>(shape.num_experts), 0);
  for (const int id : toVector(layer.expertIds()))
    ++load[static_cast<std::size_t>(id)];
  EXPECT_EQ(load, toVector(balance.counts));
  EXPECT_EQ(shape.num_tokens, toVector(balance.results)[0].num_tokens);
  std::vector<int> kept, dropped;
  for (const int n : load) {
    kept.push_back(std::min(n, 7));
    dropped.push_back(n - std::min(n, 7));
  }
  EXPECT_EQ(kept, toVector(layer.plan().counts));
  EXPECT_EQ(dropped, toVector(layer.plan().dropped));
}

/// What Kokkos allocates, and where it waits, while f runs.
struct Watcher {
  static inline std::uint64_t bytes = 0;
  static inline std::vector<std::string> allocations, fences;

  template <class F>
  static void watch(const F& f) {
    namespace Tools = Kokkos::Tools::Experimental;
    bytes           = 0;
    allocations.clear();
    fences.clear();
    const auto before = Tools::get_callbacks();
    Tools::set_allocate_data_callback([](Kokkos_Profiling_SpaceHandle,
                                         const char* label, const void*,
                                         std::uint64_t size) {
      // An instance that Kokkos makes has scratch memory of its own.
      if (std::string(label).starts_with("Kokkos::InternalScratch")) return;
      if (size > 0) allocations.emplace_back(label);
      bytes += size;
    });
    Tools::set_begin_fence_callback(
        [](const char* label, const std::uint32_t, std::uint64_t*) {
          fences.emplace_back(label);
        });
    f();
    Tools::set_callbacks(before);
  }
};

TEST(MoELayer, BytesTellsBeforehandWhatALayerAllocates) {
  Random random;
  const ExecutionSpace space;
  for (const bool gradients : {false, true})
    for (const bool gate : {false, true})
      for (const auto products :
           {ExpertProducts::grouped, ExpertProducts::per_expert}) {
        Case shape{.num_tokens = 301,
                   .biases     = true,
                   .products   = products,
                   .alignment  = 16};
        shape.shared_inner    = gate ? 11 : 0;
        shape.shared_gate     = gate;
        const auto parameters = makeParameters<float>(random, shape);
        const auto options    = shape.options(gradients);
        space.fence();
        Watcher::watch([&] {
          Layer<float>(space, shape.num_tokens, shape.top_k, parameters,
                       options);
        });
        EXPECT_EQ(Watcher::bytes,
                  Layer<float>::bytes(space, shape.num_tokens, shape.top_k,
                                      parameters, options));
        for (const std::string& label : Watcher::allocations)
          EXPECT_EQ(0u, label.find("Tokkos::")) << label;
      }
}

TEST(MoELayer, CallsAllocateNothingAndWaitForNothing) {
  Random random;
  const ExecutionSpace space;
  const Case shape{.biases = true, .shared_inner = 8, .shared_gate = true};
  const auto parameters = makeParameters<float>(random, shape);
  const auto gradients  = makeParameters<float>(random, shape);
  const auto input      = makeInput<float>(random, shape);
  Layer<float> layer(space, shape.num_tokens, shape.top_k, parameters,
                     shape.options(true));
  const Matrix<float> output("output", shape.num_tokens, shape.hidden);
  const Matrix<float> input_gradient("gradient", shape.num_tokens,
                                     shape.hidden);
  const auto step = [&] {
    layer.forward(space, input, output);
    layer.backward(space, input, output, input_gradient, gradients);
  };
  step();  // Kokkos' own scratch grows, and the BLAS makes its handle
  space.fence();
  Watcher::watch(step);
  EXPECT_EQ(std::vector<std::string>(), Watcher::allocations);
  EXPECT_EQ(std::vector<std::string>(), Watcher::fences);
}

TEST(MoELayer, MisuseIsNamed) {
  Random random;
  const ExecutionSpace space;
  const Case shape;
  const auto parameters = makeParameters<float>(random, shape);
  const auto made       = [&](const Parameters<float>& p, int top_k,
                        const LayerOptions& options) {
    return messageOf([&] { Layer<float>(space, 40, top_k, p, options); });
  };
  EXPECT_EQ(
      "Tokkos::MoELayer: top_k: expected 1 to 8 (the number of experts), got 9",
      made(parameters, 9, shape.options()));
  auto wrong   = parameters;
  wrong.router = Matrix<float>("router", 8, 23);
  EXPECT_EQ(
      "Tokkos::MoELayer: parameters.router.extent(1): expected 24 (the "
      "experts' hidden size), got 23",
      made(wrong, 2, shape.options()));
  wrong.router = Matrix<float>("router", 9, 24);
  EXPECT_EQ(
      "Tokkos::MoELayer: parameters.experts.down.extent(0): expected 9 to 9 "
      "(the plan's local experts), got 8",
      made(wrong, 2, shape.options()));
  wrong             = parameters;
  wrong.shared_gate = Matrix<float>("shared_gate", 1, 24);
  EXPECT_EQ(
      "Tokkos::MoELayer: parameters.shared_gate.extent(0): expected 0 (no "
      "shared expert), got 1",
      made(wrong, 2, shape.options()));
  auto options                      = shape.options();
  options.router.num_shared_experts = 1;
  EXPECT_EQ(
      "Tokkos::MoELayer: options.router.num_shared_experts: expected 0 to 0 "
      "(the shared expert is a parameter of its own), got 1",
      made(parameters, 2, options));

  Layer<float> layer(space, 40, 2, parameters, shape.options());
  const Matrix<float> tokens("tokens", 41, 24), output("output", 40, 24);
  EXPECT_EQ(
      "Tokkos::MoELayer::forward: input.extent(0): expected 0 to 40 "
      "(max_tokens), got 41",
      messageOf([&] { layer.forward(space, tokens, output); }));
  EXPECT_EQ(
      "Tokkos::MoELayer::dispatch: input.extent(1): expected 24 "
      "(parameters.router.extent(1)), got 25",
      messageOf(
          [&] { layer.dispatch(space, Matrix<float>("tokens", 40, 25)); }));
  EXPECT_EQ(
      "Tokkos::MoELayer::forward: output.extent(0): expected 40 "
      "(input.extent(0)), got 41",
      messageOf([&] { layer.forward(space, output, tokens); }));
  EXPECT_EQ(
      "Tokkos::MoELayer::forward: input and output: expected separate memory, "
      "got Views that share memory",
      messageOf([&] { layer.forward(space, output, output); }));
  EXPECT_EQ(
      "Tokkos::MoELayer::backward: layer: expected one made with "
      "options.gradients, after a call of forward, got none",
      messageOf([&] { layer.backward(space, output, output, output); }));

  // A backward pass uses up what forward left.
  Layer<float> trained(space, 40, 2, parameters, shape.options(true));
  const Matrix<float> input("input", 40, 24), sum("sum", 40, 24),
      gradient("gradient", 40, 24);
  trained.forward(space, input, sum);
  trained.backward(space, input, sum, gradient);
  EXPECT_EQ(
      "Tokkos::MoELayer::backward: layer: expected one made with "
      "options.gradients, after a call of forward, got none",
      messageOf([&] { trained.backward(space, input, sum, gradient); }));
}

/// Arrays of one folder of the data.
class Data {
 public:
  explicit Data(const std::string& folder) {
    const char* const root = std::getenv("TOKKOS_TEST_DATA");
    m_folder = std::string(root ? root : TOKKOS_TEST_DATA_DIR) + "/" + folder;
  }

  std::vector<float> values(const std::string& name) const {
    return Examples::npyValues<float>(read(name));
  }
  Matrix<float> matrix(const std::string& name) const {
    return makeMatrix(values(name), read(name).shape[1]);
  }
  /// One matrix an expert; of a single expert where the file has one matrix.
  Cube<float> cube(const std::string& name) const {
    auto shape = read(name).shape;
    if (shape.size() == 2) shape.insert(shape.begin(), 1);
    const Cube<float> view("cube", shape[0], shape[1], shape[2]);
    fromVector(flat(view), values(name));
    return view;
  }

 private:
  Examples::NpyArray read(const std::string& name) const {
    return Examples::readNpy(m_folder + "/" + name + ".npy");
  }

  std::string m_folder;
};

/// The block's output to 2e-5 of the largest, which is what the data promise.
void testBlock(const std::string& name, int top_k,
               const Tokkos::RouterOptions<MemorySpace>& router,
               bool has_shared = false) {
  const Data data("model-routers/" + name);
  Parameters<float> parameters;
  parameters.router          = data.matrix("gate.weight");
  parameters.experts.gate_up = data.cube("experts.gate_up_proj");
  parameters.experts.down    = data.cube("experts.down_proj");
  if (has_shared) {
    parameters.shared.gate = data.cube("shared_experts.gate_proj.weight");
    parameters.shared.up   = data.cube("shared_experts.up_proj.weight");
    parameters.shared.down = data.cube("shared_experts.down_proj.weight");
  }
  const auto input    = data.matrix("input");
  const auto expected = data.values("output");
  float largest       = 0;
  for (const float x : expected)
    largest = std::max(largest, std::abs(x));
  for (const auto products :
       {ExpertProducts::grouped, ExpertProducts::per_expert}) {
    LayerOptions options;
    options.router           = router;
    options.experts.products = products;
    const ExecutionSpace space;
    Layer<float> layer(space, static_cast<std::int64_t>(input.extent(0)), top_k,
                       parameters, options);
    const Matrix<float> output("output", input.extent(0), input.extent(1));
    layer.forward(space, input, output);
    space.fence();
    const auto actual = toVector(output);
    ASSERT_EQ(expected.size(), actual.size());
    for (std::size_t i = 0; i < expected.size(); ++i)
      ASSERT_NEAR(expected[i], actual[i], 2e-5f * largest) << "element " << i;
  }
}

TEST(MoELayer, MixtralBlock) {
  testBlock("mixtral_block", 2, {.normalize = true});
}

TEST(MoELayer, Qwen3Block) {
  testBlock("qwen3_moe_block", 4, {.normalize = true});
}

TEST(MoELayer, DeepSeekV3Block) {
  testBlock("deepseek_v3_block", 4,
            {.score       = Tokkos::Score::sigmoid,
             .bias        = makeArray(Data("model-routers/deepseek_v3_block")
                                          .values("gate.e_score_correction_bias")),
             .groups      = 4,
             .kept_groups = 2,
             .group_score = Tokkos::GroupScore::sum_of_best_two,
             .normalize   = true,
             .epsilon     = 1e-20,
             .scale       = 2.5},
            true);
}

}  // namespace Test
