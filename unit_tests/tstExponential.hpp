// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// SPDX-FileCopyrightText: Copyright Contributors to the Tokkos project

#include "TestSupport.hpp"

#include <Tokkos/Impl/Exponential.hpp>
#include <Tokkos/Impl/RouteKeys.hpp>
#include <Tokkos/KokkosExt/Types.hpp>

#include <cstdint>

// The exponential and its kin against the C++ library's in a wider type, and
// approximate sigmoids against exact ones.
namespace Test {

namespace Impl = Tokkos::Impl;

struct Exponential {
  template <class T>
  KOKKOS_FUNCTION T operator()(T x) const {
    return Impl::exponential(x);
  }
  static long double exact(long double x) { return std::exp(x); }
};
struct Logarithm {
  template <class T>
  KOKKOS_FUNCTION T operator()(T x) const {
    return Impl::logarithm(x);
  }
  static long double exact(long double x) { return std::log(x); }
};
struct Sigmoid {
  template <class T>
  KOKKOS_FUNCTION T operator()(T x) const {
    return Impl::sigmoid(x);
  }
  static long double exact(long double x) { return 1 / (1 + std::exp(-x)); }
};
struct Softplus {
  template <class T>
  KOKKOS_FUNCTION T operator()(T x) const {
    return Impl::softplus(x);
  }
  static long double exact(long double x) {
    return x > 0 ? x + std::log1p(std::exp(-x)) : std::log1p(std::exp(x));
  }
};
struct HyperbolicTangent {
  template <class T>
  KOKKOS_FUNCTION T operator()(T x) const {
    return Impl::hyperbolicTangent(x);
  }
  static long double exact(long double x) { return std::tanh(x); }
};

template <class Function, class T>
struct Apply {
  Array<T> x, y;

  KOKKOS_FUNCTION void operator()(int i) const { y(i) = Function()(x(i)); }
};

template <class Function, class T>
std::vector<T> evaluate(const std::vector<T>& x) {
  const Apply<Function, T> apply{makeArray(x), Array<T>("y", x.size())};
  Kokkos::parallel_for(
      "Test::evaluate",
      Kokkos::RangePolicy<ExecutionSpace>(0, static_cast<int>(x.size())),
      apply);
  return toVector(apply.y);
}

/// In units in the last place of the exact result; of the smallest normal
/// number below that.
template <class T>
double error(long double exact, T y) {
  const T rounded =
      std::max(std::abs(static_cast<T>(exact)), std::numeric_limits<T>::min());
  const long double unit =
      std::nextafter(rounded, std::numeric_limits<T>::infinity()) - rounded;
  return static_cast<double>(std::abs(static_cast<long double>(y) - exact) /
                             unit);
}

template <class Function, class T>
void testError(double low, double high, double bound) {
  std::vector<T> x;
  const int steps = 200000;
  for (int i = 0; i <= steps; ++i)
    x.push_back(static_cast<T>(low + (high - low) * i / steps));
  const auto y    = evaluate<Function>(x);
  double greatest = 0;
  for (std::size_t i = 0; i < x.size(); ++i)
    greatest = std::max(
        greatest, error(Function::exact(static_cast<long double>(x[i])), y[i]));
  EXPECT_LT(greatest, bound) << "on [" << low << ", " << high << "]";
}

TEST(Exponential, ErrorIsBelowTheDocumentedBound) {
  testError<Exponential, float>(-87.3, 88, 1.5);
  testError<Exponential, float>(-1, 1, 1.5);
  testError<Exponential, double>(-708, 709, 1.5);
  testError<Exponential, double>(-1, 1, 1.5);
}

TEST(Exponential, ErrorsOfItsKinAreBelowTheDocumentedBounds) {
  testError<Sigmoid, float>(-87, 87, 4);
  testError<Sigmoid, double>(-700, 700, 4);
  testError<Softplus, float>(-87, 30, 6);
  testError<Softplus, float>(-2, 2, 6);
  testError<Softplus, double>(-700, 50, 6);
  testError<HyperbolicTangent, float>(-10, 10, 6);
  testError<HyperbolicTangent, float>(-0.01, 0.01, 6);
  testError<HyperbolicTangent, double>(-20, 20, 6);
  testError<Logarithm, float>(2, 1e6, 3);
  testError<Logarithm, double>(2, 1e6, 3);
  testError<Logarithm, double>(1e-9, 0.5, 3);
}

/// How far approximate sigmoids are from exact ones, of every step-th float.
struct DistanceOfApproximateSigmoid {
  std::int64_t step;

  KOKKOS_FUNCTION void operator()(std::int64_t i, float& greatest) const {
    const auto x =
        Kokkos::bit_cast<float>(static_cast<std::uint32_t>(i * step));
    if (!Kokkos::isfinite(x)) return;
    const float distance =
        Kokkos::abs(Impl::approximateSigmoid(x) - Impl::sigmoid(x));
    // NaN is as far as can be.
    if (!(distance <= greatest))
      greatest = distance > greatest ? distance : 1.0f;
  }
};

// All floats where a device goes through them in no time.
TEST(Exponential, ApproximateSigmoidsAreWithinTheirBound) {
  constexpr bool is_host =
      Tokkos::KokkosExt::is_host_execution_space_v<ExecutionSpace>;
  constexpr std::int64_t step = is_host ? 4099 : 1;
  float greatest              = 0;
  Kokkos::parallel_reduce(
      "Test::distanceOfApproximateSigmoid",
      Kokkos::RangePolicy<ExecutionSpace, Kokkos::IndexType<std::int64_t>>(
          0, (std::int64_t(1) << 32) / step),
      DistanceOfApproximateSigmoid{step}, Kokkos::Max<float>(greatest));
  RecordProperty("greatest", std::to_string(greatest / 0x1p-22f));
  EXPECT_GT(greatest, 0);
  EXPECT_LT(greatest, Impl::approximate_sigmoid_error);
}

TEST(Exponential, LogarithmNearOne) {
  std::vector<double> x;
  for (int i = -1000; i <= 1000; ++i)
    x.push_back(1 + i * 0x1p-11);
  const auto y = evaluate<Logarithm>(x);
  for (std::size_t i = 0; i < x.size(); ++i)
    EXPECT_NEAR(std::log(x[i]), y[i], 3 * 0x1p-52);
  EXPECT_EQ(0, y[1000]);
}

template <class T>
void testSpecialValues() {
  const T infinity = std::numeric_limits<T>::infinity();
  const T largest  = std::numeric_limits<T>::max();
  const T nan      = std::numeric_limits<T>::quiet_NaN();
  EXPECT_TRUE(sameBits(std::vector<T>{1, 1, 0, 0, 0, 1},
                       evaluate<Exponential>(std::vector<T>{
                           T(0), T(-0.0), -infinity, -largest, nan,
                           std::numeric_limits<T>::denorm_min()})));
  EXPECT_TRUE(
      sameBits(std::vector<T>{0, T(0.5), 1},
               evaluate<Sigmoid>(std::vector<T>{-largest, 0, largest})));
  EXPECT_TRUE(sameBits(std::vector<T>{0, largest},
                       evaluate<Softplus>(std::vector<T>{-largest, largest})));
  EXPECT_EQ(
      (std::vector<T>{-1, 0, 1}),
      evaluate<HyperbolicTangent>(std::vector<T>{-infinity, 0, infinity}));
}

TEST(Exponential, SpecialValues) {
  testSpecialValues<float>();
  testSpecialValues<double>();
}

template <class Function>
void testBits(double low, double high) {
  Random random;
  const auto x = random.reals<float>(100000, low, high);
  std::vector<float> on_host;
  for (const float value : x)
    on_host.push_back(Function()(value));
  EXPECT_TRUE(sameBits(on_host, evaluate<Function>(x)));
}

TEST(Exponential, SameBitsAsOnTheHost) {
  testBits<Exponential>(-104, 88);
  testBits<Logarithm>(1e-6, 1e6);
  testBits<Sigmoid>(-100, 100);
  testBits<Softplus>(-100, 100);
  testBits<HyperbolicTangent>(-10, 10);
}

}  // namespace Test
