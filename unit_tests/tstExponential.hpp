// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// SPDX-FileCopyrightText: Copyright Contributors to the Tokkos project

#include "TestSupport.hpp"

#include <Tokkos/Impl/Exponential.hpp>

// The exponential against the C++ library's in a wider type.
namespace Test {

template <class T>
struct ApplyExponential {
  Array<T> x, y;

  KOKKOS_FUNCTION void operator()(int i) const {
    y(i) = Tokkos::Impl::exponential(x(i));
  }
};

template <class T>
std::vector<T> exponentials(const std::vector<T>& x) {
  const ApplyExponential<T> apply{makeArray(x), Array<T>("y", x.size())};
  Kokkos::parallel_for(
      "Test::exponential",
      Kokkos::RangePolicy<ExecutionSpace>(0, static_cast<int>(x.size())),
      apply);
  return toVector(apply.y);
}

/// In units in the last place of the exact result.
template <class T>
double error(T x, T y) {
  const long double exact = std::exp(static_cast<long double>(x));
  const T rounded         = static_cast<T>(exact);
  const long double unit =
      std::max(static_cast<long double>(
                   std::nextafter(rounded, std::numeric_limits<T>::infinity()) -
                   rounded),
               static_cast<long double>(std::numeric_limits<T>::denorm_min()));
  return static_cast<double>(std::abs(static_cast<long double>(y) - exact) /
                             unit);
}

template <class T>
void testError(double low, double high, double bound) {
  std::vector<T> x;
  const int steps = 400000;
  for (int i = 0; i <= steps; ++i)
    x.push_back(static_cast<T>(low + (high - low) * i / steps));
  const auto y    = exponentials(x);
  double greatest = 0;
  for (std::size_t i = 0; i < x.size(); ++i)
    greatest = std::max(greatest, error(x[i], y[i]));
  EXPECT_LT(greatest, bound) << "on [" << low << ", " << high << "]";
}

TEST(Exponential, ErrorIsBelowTheDocumentedBound) {
  testError<float>(-87.3, 88.7, 1.5);
  testError<float>(-1, 1, 1.5);
  testError<float>(-104, -87.3, 2);
  testError<double>(-708, 709.7, 1.5);
  testError<double>(-1, 1, 1.5);
  testError<double>(-745, -708, 2);
}

template <class T>
void testSpecialValues() {
  const T infinity = std::numeric_limits<T>::infinity();
  const T largest  = std::numeric_limits<T>::max();
  const auto y = exponentials<T>({T(0), T(-0.0), -infinity, -largest, infinity,
                                  largest, std::numeric_limits<T>::quiet_NaN(),
                                  std::numeric_limits<T>::denorm_min()});
  EXPECT_TRUE(sameBits(std::vector<T>{1, 1, 0, 0, infinity, infinity},
                       std::vector<T>(y.begin(), y.begin() + 6)));
  EXPECT_TRUE(std::isnan(y[6]));
  EXPECT_EQ(T(1), y[7]);
}

TEST(Exponential, SpecialValues) {
  testSpecialValues<float>();
  testSpecialValues<double>();
}

TEST(Exponential, SameBitsAsOnTheHost) {
  Random random;
  const auto x = random.reals<float>(100000, -104, 89);
  const auto y = exponentials(x);
  std::vector<float> on_host;
  for (const float value : x)
    on_host.push_back(Tokkos::Impl::exponential(value));
  EXPECT_TRUE(sameBits(on_host, y));
}

}  // namespace Test
