// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// SPDX-FileCopyrightText: Copyright Contributors to the Tokkos project

#include "TestSupport.hpp"

#include <Tokkos/Experts.hpp>

#include <algorithm>
#include <cmath>
#include <limits>
#include <memory>
#include <thread>

// Experts: against plain loops in double, with a bound for what rounding can
// do; gradients against finite differences of those loops.
namespace Test {

using Tokkos::Activation;
using Tokkos::ExpertProducts;

template <class T>
using Cube = Kokkos::View<T***, Kokkos::LayoutRight, MemorySpace>;

inline void expectContains(const std::string& message,
                           const std::string& part) {
  EXPECT_NE(message.find(part), std::string::npos) << message;
}

struct ExpertCase {
  int num_tokens, top_k, num_experts, hidden, inner;
  bool gated            = true;
  bool fused            = false;
  bool biased           = true;
  Activation activation = Activation::silu;
  int alignment         = 1;
  bool skewed           = false;
};

/// A value that was computed in double, and how far the same in float may be
/// from it, in units of float's rounding, to first order: a sum of n products
/// is off by n units of the sum of their magnitudes.
struct Bounded {
  double value = 0;
  double error = 0;
};

/// sum over i of a[i] * x[i], and a bias
inline Bounded dot(const double* a, const std::vector<Bounded>& x,
                   double bias) {
  Bounded result{bias, std::abs(bias)};
  double magnitude = std::abs(bias);
  for (std::size_t i = 0; i < x.size(); ++i) {
    result.value += a[i] * x[i].value;
    magnitude += std::abs(a[i] * x[i].value);
    result.error += std::abs(a[i]) * x[i].error;
  }
  result.error += static_cast<double>(x.size() + 1) * magnitude;
  return result;
}

inline double plainActivation(Activation activation, double x) {
  switch (activation) {
    case Activation::silu:
      return x / (1 + std::exp(-x));
    case Activation::gelu:
      return x * (1 + std::erf(x / std::sqrt(2.))) / 2;
    case Activation::gelu_tanh:
      return x *
             (1 + std::tanh(std::sqrt(2 / std::acos(-1.)) *
                            (x + 0.044715 * x * x * x))) /
             2;
    case Activation::relu:
      return x > 0 ? x : 0;
  }
  return NAN;
}

/// No activation has a slope beyond 1.13. Its own evaluation is a handful of
/// operations, and functions that are right to a few units, of numbers no
/// larger than x * (1 + x^2).
inline Bounded boundedActivation(Activation activation, const Bounded& x) {
  const double size = std::abs(x.value);
  return {plainActivation(activation, x.value),
          1.13 * x.error + 16 * size * (1 + size * size)};
}

inline Bounded product(const Bounded& a, const Bounded& b) {
  const double value = a.value * b.value;
  return {value, std::abs(a.value) * b.error + std::abs(b.value) * a.error +
                     std::abs(value)};
}

/// The weights in double, each a number that float holds too.
struct PlainWeights {
  std::vector<double> gate, up, down, gate_bias, up_bias, down_bias;

  template <class F>
  static void forEach(PlainWeights& w, const F& f) {
    f("gate", w.gate), f("up", w.up), f("down", w.down);
    f("gate_bias", w.gate_bias), f("up_bias", w.up_bias);
    f("down_bias", w.down_bias);
  }
};

/// One row through one expert.
inline std::vector<Bounded> plainExpert(const ExpertCase& c,
                                        const PlainWeights& w, int expert,
                                        const double* x) {
  const auto e = static_cast<std::size_t>(expert);
  const auto H = static_cast<std::size_t>(c.hidden);
  const auto F = static_cast<std::size_t>(c.inner);
  std::vector<Bounded> input(H);
  for (std::size_t h = 0; h < H; ++h)
    input[h].value = x[h];
  const auto bias = [](const std::vector<double>& b, std::size_t i) {
    return b.empty() ? 0 : b[i];
  };
  std::vector<Bounded> inner(F);
  for (std::size_t f = 0; f < F; ++f) {
    const std::size_t i = e * F + f;
    const Bounded up    = dot(&w.up[i * H], input, bias(w.up_bias, i));
    inner[f]            = boundedActivation(c.activation, up);
    if (c.gated) {
      const Bounded gate = dot(&w.gate[i * H], input, bias(w.gate_bias, i));
      inner[f]           = product(boundedActivation(c.activation, gate), up);
    }
  }
  std::vector<Bounded> output(H);
  for (std::size_t h = 0; h < H; ++h)
    output[h] =
        dot(&w.down[(e * H + h) * F], inner, bias(w.down_bias, e * H + h));
  return output;
}

template <class Real>
Cube<Real> makeCube(const std::vector<double>& values, int experts, int rows,
                    int columns) {
  const Cube<Real> cube("cube", values.empty() ? 0 : experts, rows, columns);
  const auto host  = Kokkos::create_mirror_view(cube);
  std::size_t next = 0;
  for (std::size_t e = 0; e < cube.extent(0); ++e)
    for (std::size_t i = 0; i < cube.extent(1); ++i)
      for (std::size_t j = 0; j < cube.extent(2); ++j)
        host(e, i, j) = static_cast<Real>(values[next++]);
  Kokkos::deep_copy(cube, host);
  return cube;
}

template <class Real>
std::vector<double> cubeValues(const Cube<Real>& cube) {
  const auto host =
      Kokkos::create_mirror_view_and_copy(Kokkos::HostSpace(), cube);
  std::vector<double> values;
  for (std::size_t e = 0; e < cube.extent(0); ++e)
    for (std::size_t i = 0; i < cube.extent(1); ++i)
      for (std::size_t j = 0; j < cube.extent(2); ++j)
        values.push_back(static_cast<double>(host(e, i, j)));
  return values;
}

/// Gate and up of every expert behind each other; `each` numbers an expert.
inline std::vector<double> joined(const std::vector<double>& gate,
                                  const std::vector<double>& up,
                                  std::size_t each) {
  std::vector<double> both;
  for (std::size_t i = 0; i < gate.size(); i += each) {
    both.insert(both.end(), gate.begin() + static_cast<std::ptrdiff_t>(i),
                gate.begin() + static_cast<std::ptrdiff_t>(i + each));
    both.insert(both.end(), up.begin() + static_cast<std::ptrdiff_t>(i),
                up.begin() + static_cast<std::ptrdiff_t>(i + each));
  }
  return both;
}

/// And apart again: part 0 is the gate, 1 is up.
inline std::vector<double> part(const std::vector<double>& both,
                                std::size_t each, std::size_t number) {
  std::vector<double> result;
  for (std::size_t i = number * each; i < both.size(); i += 2 * each)
    result.insert(result.end(), both.begin() + static_cast<std::ptrdiff_t>(i),
                  both.begin() + static_cast<std::ptrdiff_t>(i + each));
  return result;
}

template <class Real>
Tokkos::ExpertWeights<Real, MemorySpace> onDevice(const ExpertCase& c,
                                                  const PlainWeights& w) {
  const int E = c.num_experts, H = c.hidden, F = c.inner;
  const auto FH = static_cast<std::size_t>(F) * static_cast<std::size_t>(H);
  const auto vectors = [&](const std::vector<double>& values, int length) {
    const Matrix<Real> matrix("vectors", values.empty() ? 0 : E, length);
    fromVector(matrix, std::vector<Real>(values.begin(), values.end()));
    return matrix;
  };
  Tokkos::ExpertWeights<Real, MemorySpace> result;
  if (c.fused) {
    result.gate_up      = makeCube<Real>(joined(w.gate, w.up, FH), E, 2 * F, H);
    result.gate_up_bias = vectors(
        joined(w.gate_bias, w.up_bias, static_cast<std::size_t>(F)), 2 * F);
  } else {
    result.gate      = makeCube<Real>(w.gate, E, F, H);
    result.up        = makeCube<Real>(w.up, E, F, H);
    result.gate_bias = vectors(w.gate_bias, F);
    result.up_bias   = vectors(w.up_bias, F);
  }
  result.down      = makeCube<Real>(w.down, E, H, F);
  result.down_bias = vectors(w.down_bias, H);
  return result;
}

/// Gradients as the library left them, in the plain form.
template <class Real>
PlainWeights toPlain(const ExpertCase& c,
                     const Tokkos::ExpertWeights<Real, MemorySpace>& w) {
  const auto F       = static_cast<std::size_t>(c.inner);
  const auto FH      = F * static_cast<std::size_t>(c.hidden);
  const auto vectors = [](const auto& view) {
    const auto values = toVector(view);
    return std::vector<double>(values.begin(), values.end());
  };
  PlainWeights result;
  result.down      = cubeValues<Real>(w.down);
  result.down_bias = vectors(w.down_bias);
  if (c.fused) {
    const auto both   = cubeValues<Real>(w.gate_up);
    const auto biases = vectors(w.gate_up_bias);
    result.gate       = part(both, FH, 0);
    result.up         = part(both, FH, 1);
    result.gate_bias  = part(biases, F, 0);
    result.up_bias    = part(biases, F, 1);
  } else {
    result.gate      = cubeValues<Real>(w.gate);
    result.up        = cubeValues<Real>(w.up);
    result.gate_bias = vectors(w.gate_bias);
    result.up_bias   = vectors(w.up_bias);
  }
  return result;
}

/// The inputs of a case, its plan, and rows among NaN that nobody may read.
struct ExpertSetting {
  explicit ExpertSetting(const ExpertCase& of) : c(of) {
    const std::size_t E = size(c.num_experts), H = size(c.hidden);
    const std::size_t F = size(c.inner);
    const auto numbers  = [&](std::size_t n, double scale, bool wanted) {
      const auto values = random.reals<float>(wanted ? n : 0, -scale, scale);
      return std::vector<double>(values.begin(), values.end());
    };
    const double scale = 1 / std::sqrt(static_cast<double>(H));
    weights.gate       = numbers(E * F * H, 2 * scale, c.gated);
    weights.up         = numbers(E * F * H, 2 * scale, true);
    weights.down =
        numbers(E * H * F, 2 / std::sqrt(static_cast<double>(F)), true);
    weights.gate_bias = numbers(E * F, 1, c.biased && c.gated);
    weights.up_bias   = numbers(E * F, 1, c.biased);
    weights.down_bias = numbers(E * H, 1, c.biased);
    input             = amongNan();
    output_gradient   = amongNan();
  }

  static std::size_t size(int n) { return static_cast<std::size_t>(n); }
  std::size_t numRows() const { return expected.assignment_of_row.size(); }
  bool isReal(std::size_t row) const {
    return row < numRows() && expected.assignment_of_row[row] >= 0;
  }
  int expertOf(std::size_t row) const {
    return ids[size(expected.assignment_of_row[row])];
  }

  std::vector<double> amongNan() {
    const std::size_t H = size(c.hidden);
    const auto values = random.reals<float>(size(plan.max_rows) * H, -1.5, 1.5);
    std::vector<double> rows(values.begin(), values.end());
    for (std::size_t r = 0; r < size(plan.max_rows); ++r)
      if (!isReal(r)) std::fill_n(&rows[r * H], H, NAN);
    return rows;
  }

  Reference::Options known() const {
    Reference::Options options;
    options.alignment = c.alignment;
    return options;
  }

  ExpertCase c;
  Random random{};
  ExecutionSpace space{};
  std::vector<int> ids = random.ids(size(c.num_tokens) * size(c.top_k),
                                    c.num_experts, c.skewed, false);
  Reference::Plan expected =
      Reference::makePlan(ids, c.top_k, c.num_experts, known());
  Tokkos::DispatchPlan<MemorySpace> plan = Tokkos::buildDispatchPlan(
      space, makeMatrix(ids, size(c.top_k)), c.num_experts,
      Tokkos::PlanOptions<MemorySpace>{.alignment = c.alignment});
  PlainWeights weights;
  std::vector<double> input, output_gradient;
};

/// Rows inside a buffer with gaps and a margin.
template <class Real>
StridedMatrix<Real> makeBatch(const ExpertSetting& s, std::size_t gap,
                              const std::vector<double>* values = nullptr) {
  const auto H = static_cast<std::size_t>(s.c.hidden);
  StridedMatrix<Real> batch(static_cast<std::size_t>(s.plan.max_rows), H,
                            H + gap, 1, gap);
  if (values != nullptr)
    batch.set(std::vector<Real>(values->begin(), values->end()));
  return batch;
}

template <class Real>
auto makeWorkspace(const ExpertSetting& s, bool gradients) {
  return Tokkos::ExpertWorkspace<Real, ExecutionSpace>(
      s.space, s.plan.max_rows,
      {s.c.num_experts, s.c.hidden, s.c.inner, s.c.gated},
      {.gradients = gradients, .num_instances = 3});
}

/// Calls f as the way asks for: with segments or without.
template <class F>
void withWay(const ExpertSetting& s, ExpertProducts way, const F& f) {
  const Tokkos::ExpertOptions options{s.c.activation, way};
  if (way == ExpertProducts::grouped)
    f(options);
  else
    f(Tokkos::readExpertSegments(s.space, s.plan), options);
}

template <class Real, class Workspace, class Input, class Output>
void forward(const ExpertSetting& s, ExpertProducts way, Workspace& workspace,
             const Input& input, const Output& output) {
  const auto weights = onDevice<Real>(s.c, s.weights);
  withWay(s, way, [&](const auto&... arguments) {
    if constexpr (sizeof...(arguments) == 2)
      [&](const auto& segments, const auto& options) {
        Tokkos::applyExperts(s.space, s.plan, segments, weights, input,
                             workspace, output, options);
      }(arguments...);
    else
      Tokkos::applyExperts(s.space, s.plan, weights, input, workspace, output,
                           arguments...);
  });
}

template <class Real>
void expectRows(const ExpertSetting& s, const std::vector<Real>& actual) {
  const auto H     = static_cast<std::size_t>(s.c.hidden);
  const double eps = std::numeric_limits<Real>::epsilon() / 2;
  // Second-order terms, and the oracle's own rounding where Real is double.
  const double slack   = std::is_same_v<Real, float> ? 1.01 : 2;
  const Real untouched = poison<Real>();
  double worst         = 0;
  for (std::size_t r = 0; r < static_cast<std::size_t>(s.plan.max_rows); ++r) {
    if (s.isReal(r)) {
      const auto expected =
          plainExpert(s.c, s.weights, s.expertOf(r), &s.input[r * H]);
      for (std::size_t h = 0; h < H; ++h) {
        const double off = std::abs(static_cast<double>(actual[r * H + h]) -
                                    expected[h].value);
        worst = std::max(worst, off / (slack * eps * expected[h].error));
        ASSERT_LE(off, slack * eps * expected[h].error)
            << "row " << r << " column " << h << ": expected "
            << expected[h].value << ", got " << actual[r * H + h];
      }
    } else {
      for (std::size_t h = 0; h < H; ++h) {
        const Real& value = actual[r * H + h];
        ASSERT_TRUE(r < s.numRows()
                        ? value == Real(0)
                        : std::memcmp(&value, &untouched, sizeof(Real)) == 0)
            << "row " << r << " of " << s.numRows() << ", " << value;
      }
    }
  }
  // A bound that nothing comes near would not find anything.
  if (s.plan.num_tokens > 0) {
    EXPECT_GT(worst, 1e-5);
  }
}

inline std::string nameOf(const ExpertCase& c, ExpertProducts way) {
  return "T=" + std::to_string(c.num_tokens) + " K=" + std::to_string(c.top_k) +
         " E=" + std::to_string(c.num_experts) +
         " H=" + std::to_string(c.hidden) + " F=" + std::to_string(c.inner) +
         " gated=" + std::to_string(c.gated) +
         " fused=" + std::to_string(c.fused) +
         " biased=" + std::to_string(c.biased) +
         " activation=" + std::to_string(int(c.activation)) +
         " alignment=" + std::to_string(c.alignment) +
         " way=" + std::to_string(int(way));
}

template <class Real>
void testForward(const ExpertCase& c, std::size_t gap = 0) {
  ExpertSetting s(c);
  for (const auto way : {ExpertProducts::per_expert, ExpertProducts::grouped})
    for (const bool gradients : {false, true}) {
      SCOPED_TRACE(nameOf(c, way) + " gap=" + std::to_string(gap) +
                   " gradients=" + std::to_string(gradients));
      auto workspace   = makeWorkspace<Real>(s, gradients);
      const auto input = makeBatch<Real>(s, gap, &s.input);
      auto first       = makeBatch<Real>(s, gap);
      auto second      = makeBatch<Real>(s, gap);
      forward<Real>(s, way, workspace, input.view(), first.view());
      expectRows(s, first.get());
      EXPECT_TRUE(first.surroundingsUntouched());
      forward<Real>(s, way, workspace, input.view(), second.view());
      if (ExecutionSpace().concurrency() == 1 ||
          way == ExpertProducts::grouped) {
        EXPECT_TRUE(sameBits(first.get(), second.get()));
      }
    }
}

constexpr Activation all_activations[] = {Activation::silu, Activation::gelu,
                                          Activation::gelu_tanh,
                                          Activation::relu};

TEST(Experts, EveryActivationGatedAndNot) {
  for (const Activation activation : all_activations)
    for (const bool gated : {true, false}) {
      testForward<float>({40, 2, 5, 33, 70, gated, false, true, activation});
      testForward<double>({40, 2, 5, 33, 70, gated, false, true, activation});
    }
}

TEST(Experts, GateAndUpTogetherOrApartWithBiasesAndWithout) {
  for (const bool fused : {true, false})
    for (const bool biased : {true, false})
      testForward<float>({30, 3, 4, 20, 24, true, fused, biased});
  testForward<float>({30, 3, 4, 20, 24, false, false, false});
}

TEST(Experts, EverySize) {
  for (const int n : {1, 2, 31, 64, 65, 130}) {
    testForward<float>({25, 2, 3, n, 7});
    testForward<float>({25, 2, 3, 7, n});
    testForward<double>({n, 1, 2, 5, 6});
  }
  testForward<float>({200, 2, 4, 65, 67});  // tiles of many rows
  testForward<double>({200, 2, 4, 65, 67, true, true});
}

TEST(Experts, EmptyExpertsAndOneThatTakesAll) {
  testForward<float>({3, 1, 40, 8, 9});
  testForward<float>({90, 1, 1, 16, 16});
  testForward<float>(
      {50, 2, 30, 16, 16, true, true, true, Activation::silu, 1, true});
  testForward<float>({0, 2, 4, 8, 8});
  testForward<float>({12, 4, 4, 8, 8});  // K = E
}

TEST(Experts, PaddingRowsBecomeZerosAndAreNotRead) {
  for (const int alignment : {2, 8, 16, 64, 100}) {
    ExpertCase c{60, 2, 6, 20, 30};
    c.alignment = alignment;
    testForward<float>(c);
    testForward<double>(c, 3);
  }
}

TEST(Experts, RowsWithGaps) {
  testForward<float>({40, 2, 5, 33, 70}, 3);
  testForward<float>({40, 2, 5, 1, 3}, 5);
  testForward<double>({40, 2, 5, 1, 1}, 1);
}

/// A loss: the sum of all outputs times `output_gradient`, over one expert.
inline double lossOf(const ExpertSetting& s, const PlainWeights& weights,
                     const std::vector<double>& input, int expert) {
  const auto H = static_cast<std::size_t>(s.c.hidden);
  double loss  = 0;
  for (std::size_t r = 0; r < s.numRows(); ++r) {
    if (!s.isReal(r) || s.expertOf(r) != expert) continue;
    const auto output = plainExpert(s.c, weights, expert, &input[r * H]);
    for (std::size_t h = 0; h < H; ++h)
      loss += output[h].value * s.output_gradient[r * H + h];
  }
  return loss;
}

template <class Real>
struct GradientResult {
  std::vector<double> input;
  PlainWeights weights;
};

template <class Real>
GradientResult<Real> gradientsOf(const ExpertSetting& s, ExpertProducts way,
                                 std::size_t gap) {
  auto workspace             = makeWorkspace<Real>(s, true);
  const auto input           = makeBatch<Real>(s, gap, &s.input);
  const auto output_gradient = makeBatch<Real>(s, gap, &s.output_gradient);
  auto output                = makeBatch<Real>(s, gap);
  auto input_gradient        = makeBatch<Real>(s, gap);
  const auto weights         = onDevice<Real>(s.c, s.weights);
  PlainWeights nan           = s.weights;
  PlainWeights::forEach(nan, [](const char*, std::vector<double>& values) {
    std::fill(values.begin(), values.end(), NAN);
  });
  const auto weights_gradient = onDevice<Real>(s.c, nan);
  forward<Real>(s, way, workspace, input.view(), output.view());
  const Tokkos::ExpertOptions options{s.c.activation, way};
  if (way == ExpertProducts::grouped)
    Tokkos::applyExpertsGradient(
        s.space, s.plan, weights, input.view(), output_gradient.view(),
        workspace, input_gradient.view(), weights_gradient, options);
  else
    Tokkos::applyExpertsGradient(
        s.space, s.plan, Tokkos::readExpertSegments(s.space, s.plan), weights,
        input.view(), output_gradient.view(), workspace, input_gradient.view(),
        weights_gradient, options);
  EXPECT_TRUE(input_gradient.surroundingsUntouched());
  const auto rows      = input_gradient.get();
  const Real untouched = poison<Real>();
  const auto H         = static_cast<std::size_t>(s.c.hidden);
  for (std::size_t r = 0; r < static_cast<std::size_t>(s.plan.max_rows); ++r)
    for (std::size_t h = 0; h < H && !s.isReal(r); ++h) {
      const Real& value = rows[r * H + h];
      EXPECT_TRUE(r < s.numRows()
                      ? value == Real(0)
                      : std::memcmp(&value, &untouched, sizeof(Real)) == 0)
          << "row " << r << " of " << s.numRows() << ", " << value;
    }
  return {std::vector<double>(rows.begin(), rows.end()),
          toPlain<Real>(s.c, weights_gradient)};
}

/// Some elements of every gradient against (loss(x + d) - loss(x - d)) / 2d.
/// The difference is off by a third derivative times d^2 / 6, about 1e-9 here,
/// and by rounding of the loss over d, about 1e-10.
inline void expectFiniteDifferences(ExpertSetting& s, PlainWeights actual,
                                    const std::vector<double>& input) {
  constexpr double step = 1e-5, tolerance = 1e-7;
  const auto H       = static_cast<std::size_t>(s.c.hidden);
  PlainWeights moved = s.weights;
  std::vector<std::vector<double>*> gradients;
  PlainWeights::forEach(actual, [&](const char*, std::vector<double>& values) {
    gradients.push_back(&values);
  });
  std::size_t number = 0;
  PlainWeights::forEach(
      moved, [&](const char* name, std::vector<double>& values) {
        const std::vector<double>& gradient = *gradients[number++];
        ASSERT_EQ(values.size(), gradient.size()) << name;
        const int each =
            static_cast<int>(values.size()) / std::max(1, s.c.num_experts);
        for (int sample = 0; sample < 25 && each > 0; ++sample) {
          const auto i = static_cast<std::size_t>(
              s.random.integer(0, each * s.c.num_experts - 1));
          const int expert   = static_cast<int>(i) / each;
          const double value = values[i];
          values[i]          = value + step;
          const double above = lossOf(s, moved, s.input, expert);
          values[i]          = value - step;
          const double below = lossOf(s, moved, s.input, expert);
          values[i]          = value;
          const double slope = (above - below) / (2 * step);
          EXPECT_NEAR(slope, gradient[i], tolerance * (1 + std::abs(slope)))
              << name << "[" << i << "]";
        }
      });
  std::vector<double> changed = s.input;
  for (int sample = 0; sample < 40 && s.numRows() > 0; ++sample) {
    const auto r = static_cast<std::size_t>(
        s.random.integer(0, static_cast<int>(s.numRows()) - 1));
    if (!s.isReal(r)) continue;
    const std::size_t i =
        r * H + static_cast<std::size_t>(s.random.integer(0, s.c.hidden - 1));
    changed[i]         = s.input[i] + step;
    const double above = lossOf(s, s.weights, changed, s.expertOf(r));
    changed[i]         = s.input[i] - step;
    const double below = lossOf(s, s.weights, changed, s.expertOf(r));
    changed[i]         = s.input[i];
    const double slope = (above - below) / (2 * step);
    EXPECT_NEAR(slope, input[i], tolerance * (1 + std::abs(slope)))
        << "input row " << r;
  }
}

/// Float against double with the same numbers. Both the values and the sums
/// that lead to a gradient have at most H + F + rows terms, so that the largest
/// gradient is off by so many roundings times a constant of the chain of four
/// products.
inline void expectClose(const ExpertSetting& s, const char* name,
                        const std::vector<double>& expected,
                        const std::vector<double>& actual) {
  ASSERT_EQ(expected.size(), actual.size()) << name;
  double largest = 0;
  for (const double value : expected)
    largest = std::max(largest, std::abs(value));
  const double terms = s.c.hidden + s.c.inner + s.c.num_tokens;
  const double bound =
      4 * std::sqrt(terms) * std::numeric_limits<float>::epsilon() * largest;
  for (std::size_t i = 0; i < expected.size(); ++i)
    ASSERT_LE(std::abs(expected[i] - actual[i]), bound) << name << " " << i;
}

/// The rows that have an assignment.
inline std::vector<double> realRows(const ExpertSetting& s,
                                    const std::vector<double>& rows) {
  const auto H = static_cast<std::size_t>(s.c.hidden);
  std::vector<double> result;
  for (std::size_t i = 0; i < rows.size(); ++i)
    if (s.isReal(i / H)) result.push_back(rows[i]);
  return result;
}

inline void testGradient(const ExpertCase& c, std::size_t gap = 0) {
  ExpertSetting s(c);
  for (const auto way : {ExpertProducts::per_expert, ExpertProducts::grouped}) {
    SCOPED_TRACE(nameOf(c, way));
    auto exact = gradientsOf<double>(s, way, gap);
    expectFiniteDifferences(s, exact.weights, exact.input);
    auto rounded = gradientsOf<float>(s, way, gap);
    std::vector<std::vector<double>*> other;
    PlainWeights::forEach(rounded.weights, [&](const char*, auto& values) {
      other.push_back(&values);
    });
    std::size_t number = 0;
    PlainWeights::forEach(exact.weights, [&](const char* name, auto& values) {
      expectClose(s, name, values, *other[number++]);
    });
    expectClose(s, "input", realRows(s, exact.input),
                realRows(s, rounded.input));
  }
}

TEST(Experts, GradientsOfEveryActivation) {
  for (const Activation activation : all_activations)
    for (const bool gated : {true, false})
      testGradient({30, 2, 4, 9, 11, gated, false, true, activation});
}

TEST(Experts, GradientsOfEveryForm) {
  for (const bool fused : {true, false})
    for (const bool biased : {true, false})
      testGradient({24, 2, 3, 12, 10, true, fused, biased});
  testGradient({40, 2, 3, 70, 66, true, true});
  testGradient({200, 2, 3, 5, 6});
  ExpertCase padded{30, 2, 4, 9, 11};
  padded.alignment = 8;
  testGradient(padded, 2);
  testGradient({20, 2, 3, 1, 4}, 3);
}

TEST(Experts, GradientsOfEmptyExpertsAreZero) {
  testGradient({2, 1, 12, 5, 6});
  testGradient({0, 1, 3, 5, 6});
  ExpertSetting s({2, 1, 12, 5, 6});
  for (const auto way : {ExpertProducts::per_expert, ExpertProducts::grouped}) {
    auto result = gradientsOf<float>(s, way, 0);
    PlainWeights::forEach(
        result.weights, [&](const char* name, std::vector<double>& values) {
          const std::size_t each = values.size() / 12;
          for (std::size_t i = 0; i < values.size(); ++i)
            if (s.expected.counts[i / each] == 0) {
              EXPECT_EQ(values[i], 0) << name << "[" << i << "]";
            }
        });
  }
}

TEST(Experts, GradientsThatAreNotWantedAreNotComputed) {
  ExpertSetting s({20, 2, 3, 6, 7});
  const auto full = gradientsOf<double>(s, ExpertProducts::grouped, 0);
  for (const auto way : {ExpertProducts::per_expert, ExpertProducts::grouped}) {
    auto workspace      = makeWorkspace<double>(s, true);
    const auto input    = makeBatch<double>(s, 0, &s.input);
    const auto gradient = makeBatch<double>(s, 0, &s.output_gradient);
    auto output         = makeBatch<double>(s, 0);
    forward<double>(s, way, workspace, input.view(), output.view());
    Tokkos::ExpertWeights<double, MemorySpace> wanted;
    wanted.up = Cube<double>("up", 3, 7, 6);
    Tokkos::applyExpertsGradient(
        s.space, s.plan, Tokkos::readExpertSegments(s.space, s.plan),
        onDevice<double>(s.c, s.weights), input.view(), gradient.view(),
        workspace, Matrix<double>(), wanted, {s.c.activation, way});
    const auto actual = cubeValues<double>(wanted.up);
    for (std::size_t i = 0; i < actual.size(); ++i)
      EXPECT_NEAR(full.weights.up[i], actual[i],
                  1e-13 * (1 + std::abs(actual[i])));
  }
}

TEST(Experts, SegmentsAreThoseOfThePlan) {
  ExpertSetting s({50, 2, 6, 4, 4, true, false, true, Activation::silu, 8});
  const auto segments = Tokkos::readExpertSegments(s.space, s.plan);
  EXPECT_EQ(s.expected.counts, segments.counts);
  EXPECT_EQ(s.expected.offsets, segments.offsets);
}

TEST(Experts, AutomaticTakesEitherWay) {
  // On a device many rows an expert go to the BLAS, few do not.
  const bool on_host =
      Tokkos::KokkosExt::is_host_execution_space_v<ExecutionSpace>;
  for (const int tokens : {4, 600}) {
    ExpertSetting s({tokens, 2, 4, 8, 8});
    const Tokkos::ExpertShape shape{4, 8, 8, true};
    EXPECT_EQ(on_host || tokens == 600,
              Tokkos::needsExpertSegments(s.plan, shape));
    EXPECT_FALSE(Tokkos::needsExpertSegments(
        s.plan, shape, {.products = ExpertProducts::grouped}));
    EXPECT_TRUE(Tokkos::needsExpertSegments(
        s.plan, shape, {.products = ExpertProducts::per_expert}));
    auto workspace   = makeWorkspace<float>(s, false);
    const auto input = makeBatch<float>(s, 0, &s.input);
    auto output      = makeBatch<float>(s, 0);
    forward<float>(s, ExpertProducts::automatic, workspace, input.view(),
                   output.view());
    expectRows(s, output.get());
  }
}

/// A caller with an instance of its own, and all that a step needs.
struct ExpertCaller {
  ExpertCaller(const ExecutionSpace& instance, const ExpertCase& of) : s(of) {
    Kokkos::fence();
    s.space   = instance;
    workspace = makeWorkspace<float>(s, false);
  }

  void step(ExpertProducts way) {
    const Tokkos::ExpertOptions options{s.c.activation, way};
    Kokkos::deep_copy(s.space, output, poison<float>());
    if (way == ExpertProducts::grouped)
      Tokkos::applyExperts(s.space, s.plan, weights, input, workspace, output,
                           options);
    else
      Tokkos::applyExperts(s.space, s.plan, segments, weights, input, workspace,
                           output, options);
    // What follows on the caller's instance sees the result.
    Kokkos::deep_copy(s.space, result, output);
    Kokkos::deep_copy(s.space, output, 0.f);
  }

  void check() {
    s.space.fence();
    expectRows(s, toVector(result));
  }

  ExpertSetting s;
  Tokkos::ExpertSegments segments =
      Tokkos::readExpertSegments(ExecutionSpace(), s.plan);
  Tokkos::ExpertWeights<float, MemorySpace> weights =
      onDevice<float>(s.c, s.weights);
  Tokkos::ExpertWorkspace<float, ExecutionSpace> workspace;
  Matrix<float> input =
      makeMatrix(std::vector<float>(s.input.begin(), s.input.end()),
                 static_cast<std::size_t>(s.c.hidden));
  Matrix<float> output{"output", input.extent(0), input.extent(1)};
  Matrix<float> result{"result", input.extent(0), input.extent(1)};
};

TEST(Experts, CallersOnTheirInstancesDoNotMeet) {
  const auto instances = makeInstances();
  std::vector<std::unique_ptr<ExpertCaller>> callers;
  for (std::size_t i = 0; i < instances.size(); ++i)
    callers.push_back(std::make_unique<ExpertCaller>(
        instances[i],
        ExpertCase{i == 0 ? 300 : 80, 2, 5, 64, i == 0 ? 96 : 40}));
  for (const auto way : {ExpertProducts::per_expert, ExpertProducts::grouped}) {
    for (int repetition = 0; repetition < 5; ++repetition)
      for (const auto& caller : callers)
        caller->step(way);
    for (const auto& caller : callers)
      caller->check();
  }
  // And from threads: Kokkos Kernels' one BLAS handle is shared in turns.
  for (const auto way : {ExpertProducts::per_expert, ExpertProducts::grouped}) {
    std::vector<std::thread> threads;
    for (const auto& caller : callers)
      threads.emplace_back([&caller, way] {
        for (int repetition = 0; repetition < 10; ++repetition)
          caller->step(way);
      });
    for (std::thread& thread : threads)
      thread.join();
    for (const auto& caller : callers)
      caller->check();
  }
}

TEST(Experts, WorkspaceTakesTheBytesItSays) {
  const Tokkos::ExpertShape shapes[] = {{4, 8, 16, true}, {7, 5, 3, false}};
  for (const auto& shape : shapes)
    for (const bool gradients : {false, true}) {
      const Tokkos::ExpertWorkspaceOptions options{gradients, 2};
      using Workspace = Tokkos::ExpertWorkspace<double, ExecutionSpace>;
      const Workspace w(ExecutionSpace(), 100, shape, options);
      // Kokkos allocates whole 8 bytes.
      EXPECT_EQ(Workspace::bytes(100, shape, options),
                (w.projections.span() + w.inner.span()) * sizeof(double) +
                    (w.expert_of_tile.span() + 1) / 2 * 2 * sizeof(int));
    }
}

TEST(Experts, AWorkspaceServesSmallerBatches) {
  ExpertSetting s({10, 2, 4, 6, 8});
  Tokkos::ExpertWorkspace<float, ExecutionSpace> workspace(s.space, 1000,
                                                           {4, 6, 8, true});
  const auto input = makeBatch<float>(s, 0, &s.input);
  for (const auto way : {ExpertProducts::per_expert, ExpertProducts::grouped}) {
    auto output = makeBatch<float>(s, 0);
    forward<float>(s, way, workspace, input.view(), output.view());
    expectRows(s, output.get());
  }
}

TEST(Experts, MisuseThrows) {
  ExpertSetting s({10, 2, 4, 6, 8});
  const auto weights = onDevice<float>(s.c, s.weights);
  auto workspace     = makeWorkspace<float>(s, false);
  const Matrix<float> input("input", s.plan.max_rows, 6);
  const Matrix<float> output("output", s.plan.max_rows, 6);
  const auto call = [&](const auto& w, const auto& in, auto& work,
                        const auto& out,
                        const Tokkos::ExpertOptions& options = {}) {
    return messageOf([&] {
      Tokkos::applyExperts(s.space, s.plan, w, in, work, out, options);
    });
  };
  EXPECT_EQ(call(weights, input, workspace, output,
                 {.products = ExpertProducts::per_expert}),
            "Tokkos::applyExperts: options.products: expected automatic or "
            "grouped without segments, got per_expert");
  expectContains(call(weights, Matrix<float>("few", s.plan.max_rows - 1, 6),
                      workspace, output),
                 "Tokkos::applyExperts: input.extent(0): expected " +
                     std::to_string(s.plan.max_rows) + " or more");
  expectContains(call(weights, input, workspace,
                      Matrix<float>("wide", s.plan.max_rows, 7)),
                 "output.extent(1): expected 6");
  expectContains(
      call(weights, LeftMatrix<float>("left", s.plan.max_rows, 6), workspace,
           output),
      "input.stride(1): expected 1, got " + std::to_string(s.plan.max_rows));
  expectContains(call(weights, input, workspace, input),
                 "Tokkos::applyExperts: input and output: expected "
                 "separate memory");

  auto changed = weights;
  changed.down = {};
  expectContains(call(changed, input, workspace, output),
                 "weights.down: expected E x H x F numbers, got an empty "
                 "View");
  changed    = weights;
  changed.up = Cube<float>("up", 4, 8, 5);
  expectContains(call(changed, input, workspace, output),
                 "weights.up.extent(2): expected 6");
  changed         = weights;
  changed.gate_up = Cube<float>("gate_up", 4, 16, 6);
  expectContains(call(changed, input, workspace, output),
                 "weights.gate: expected an empty View beside gate_up");
  changed      = weights;
  changed.gate = {};
  expectContains(call(changed, input, workspace, output),
                 "weights.gate_bias: expected an empty View without a gate");

  Tokkos::ExpertWorkspace<float, ExecutionSpace> small(
      s.space, s.plan.max_rows - 1, {4, 6, 8, true});
  expectContains(call(weights, input, small, output),
                 "workspace.max_rows: expected");
  Tokkos::ExpertWorkspace<float, ExecutionSpace> other(s.space, s.plan.max_rows,
                                                       {4, 6, 9, true});
  expectContains(
      call(weights, input, other, output),
      "workspace.shape.inner_size: expected 8 (of the weights), got 9");
  expectContains(messageOf([&] {
                   Tokkos::ExpertWorkspace<float, ExecutionSpace>(
                       s.space, -1, {4, 6, 9, true});
                 }),
                 "Tokkos::ExpertWorkspace: max_rows: expected");

  auto segments = Tokkos::readExpertSegments(s.space, s.plan);
  segments.counts[3] += 1000;
  expectContains(messageOf([&] {
                   Tokkos::applyExperts(s.space, s.plan, segments, weights,
                                        input, workspace, output);
                 }),
                 "segments.counts[3]: expected");
}

TEST(Experts, AGradientNeedsAForwardPass) {
  ExpertSetting s({10, 2, 4, 6, 8});
  const auto weights = onDevice<float>(s.c, s.weights);
  auto workspace     = makeWorkspace<float>(s, true);
  const Matrix<float> input("input", s.plan.max_rows, 6);
  const Matrix<float> output("output", s.plan.max_rows, 6);
  const Matrix<float> gradient("gradient", s.plan.max_rows, 6);
  auto to             = onDevice<float>(s.c, s.weights);
  const auto backward = [&] {
    return messageOf([&] {
      Tokkos::applyExpertsGradient(s.space, s.plan, weights, input, output,
                                   workspace, gradient, to);
    });
  };
  expectContains(backward(), "one without a forward pass");
  Tokkos::applyExperts(s.space, s.plan, weights, input, workspace, output);
  EXPECT_EQ(backward(), "(nothing was thrown)");
  expectContains(backward(), "one without a forward pass");
  Tokkos::applyExperts(s.space, s.plan, weights, input, workspace, output);
  to.down = weights.down;
  expectContains(backward(), "weights_gradient.down");
  to.down = Cube<float>("down", 4, 6, 9);
  expectContains(backward(), "weights_gradient.down.extent(2): expected 8");
  workspace = makeWorkspace<float>(s, false);
  Tokkos::applyExperts(s.space, s.plan, weights, input, workspace, output);
  to = onDevice<float>(s.c, s.weights);
  expectContains(backward(), "one made without gradients");
}

}  // namespace Test
