// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// SPDX-FileCopyrightText: Copyright Contributors to the Tokkos project

#ifndef TOKKOS_IMPL_ROUTERDATA_HPP
#define TOKKOS_IMPL_ROUTERDATA_HPP

#include <Tokkos/Impl/Exponential.hpp>
#include <Tokkos/KokkosExt/Rounding.hpp>
#include <Tokkos/RouterOptions.hpp>

#include <Kokkos_Core.hpp>

#include <cstddef>
#include <cstdint>
#include <type_traits>

namespace Tokkos::Impl {

/// Logits are computed with in float, double in double.
template <class Logit>
using RouterReal =
    std::conditional_t<std::is_same_v<std::remove_const_t<Logit>, double>,
                       double, float>;

/// A rank-2 View of any layout, so that kernels need not know the layout.
template <class T>
struct RouterMatrix {
  T* data                    = nullptr;
  std::int64_t row_stride    = 0;
  std::int64_t column_stride = 0;

  RouterMatrix() = default;
  template <class View>
  explicit RouterMatrix(const View& view)
      : data(view.data()),
        row_stride(static_cast<std::int64_t>(view.stride(0))),
        column_stride(static_cast<std::int64_t>(view.stride(1))) {}

  KOKKOS_FUNCTION T& operator()(std::int64_t row, std::int64_t column) const {
    return data[row * row_stride + column * column_stride];
  }
};

/// The same with neighbouring columns: fewer instructions.
template <class T>
struct RouterRows {
  T* data                  = nullptr;
  std::uint32_t row_stride = 0;

  static constexpr std::int64_t column_stride = 1;

  RouterRows() = default;
  explicit RouterRows(const RouterMatrix<T>& matrix)
      : data(matrix.data),
        row_stride(static_cast<std::uint32_t>(matrix.row_stride)) {}

  static bool fits(const RouterMatrix<T>& matrix) {
    return matrix.column_stride == 1 && matrix.row_stride >= 0 &&
           matrix.row_stride <= 0x7fffffff;
  }

  KOKKOS_FORCEINLINE_FUNCTION T& operator()(int row, int column) const {
    return data[static_cast<std::uint64_t>(static_cast<std::uint32_t>(row)) *
                    row_stride +
                static_cast<std::uint32_t>(column)];
  }
};

template <class Real>
KOKKOS_FORCEINLINE_FUNCTION Real minusInfinity() {
  return -Kokkos::Experimental::infinity_v<Real>;
}

/// A logit or a key as it takes part: excluded ones, NaN among them, are
/// -infinity, and +infinity is the largest finite number.
template <class Real>
KOKKOS_FORCEINLINE_FUNCTION Real participating(Real x) {
  constexpr Real largest = Kokkos::Experimental::finite_max_v<Real>;
  return KokkosExt::smaller(KokkosExt::larger(x, minusInfinity<Real>()),
                            largest);
}

template <class Real>
KOKKOS_FORCEINLINE_FUNCTION bool isExcluded(Real x) {
  return !(x > minusInfinity<Real>());
}

/// What makes scores of a row of logits: for a softmax, the largest logit
/// (after the soft cap) and the sum of the exponentials.
template <class Real>
struct ScoreOfRow {
  Real maximum     = 0;
  Real denominator = 1;
};

/// What a kernel is made for: options cost only where they are used.
enum class RouterUse {
  softmax,  ///< a softmax over all experts and nothing else
  sums,     ///< a softmax and a sum over the choices
  general   ///< everything
};

/// The arguments of routeTopK that every kernel needs.
template <class Logit_, class Id_, class Weight_,
          template <class> class Matrix = RouterMatrix>
struct RouterData {
  using Logit  = Logit_;
  using Id     = Id_;
  using Weight = Weight_;
  using Real   = RouterReal<Logit>;

  static constexpr bool has_options = false;

  Matrix<const Logit> logits;
  Matrix<Id> expert_ids;
  Matrix<Weight> weights;
  int num_tokens, num_experts, top_k;
  Score score;
  bool normalize;

  KOKKOS_FORCEINLINE_FUNCTION Real logit(int token, int expert) const {
    return participating(static_cast<Real>(logits(token, expert)));
  }

  KOKKOS_FORCEINLINE_FUNCTION void write(int token, int k, int expert,
                                         Real w) const {
    expert_ids(token, k) = static_cast<Id>(expert);
    weights(token, k)    = static_cast<Weight>(w);
  }
};

/// The arguments with all options. A soft cap makes long code, which most
/// kernels leave out.
template <class Logit, class Id, class Weight, bool can_cap = true,
          template <class> class Matrix = RouterMatrix>
struct FullRouterData : RouterData<Logit, Id, Weight, Matrix> {
  using Base = RouterData<Logit, Id, Weight, Matrix>;
  using Base::logit;
  using Base::normalize;
  using Base::num_experts;
  using Base::score;
  using Base::top_k;
  using Base::write;
  using typename Base::Real;

  static constexpr bool has_options = true;

  const bool* mask;
  Real soft_cap;  // 0: none
  const float* bias;
  int num_groups, kept_groups, group_size;
  std::uint64_t inverse_group_size;  // 2^32 / group_size, rounded up
  int best_of_group;    // the group's score is the sum of its best so many
  bool limits_groups;   // some groups are not kept
  bool keyed_by_score;  // the selection key is score + bias, not the logit
  Real floor, epsilon, scale;
  const float* expert_scale;
  int num_shared;
  Real shared_weight;

  /// True when all rows have neighbouring columns.
  bool hasRows() const {
    return RouterRows<const Logit>::fits(Base::logits) &&
           RouterRows<Id>::fits(Base::expert_ids) &&
           RouterRows<Weight>::fits(Base::weights);
  }

  /// pre-condition: hasRows()
  RouterData<Logit, Id, Weight, RouterRows> inRows() const {
    RouterData<Logit, Id, Weight, RouterRows> data{};
    copyBase(data);
    return data;
  }

  /// pre-condition: soft_cap == 0
  template <template <class> class OtherMatrix = RouterMatrix>
  FullRouterData<Logit, Id, Weight, false, OtherMatrix> withoutCap() const {
    FullRouterData<Logit, Id, Weight, false, OtherMatrix> data{};
    copyBase(data);
    data.mask               = mask;
    data.bias               = bias;
    data.num_groups         = num_groups;
    data.kept_groups        = kept_groups;
    data.group_size         = group_size;
    data.inverse_group_size = inverse_group_size;
    data.best_of_group      = best_of_group;
    data.limits_groups      = limits_groups;
    data.keyed_by_score     = keyed_by_score;
    data.floor              = floor;
    data.epsilon            = epsilon;
    data.scale              = scale;
    data.expert_scale       = expert_scale;
    data.num_shared         = num_shared;
    data.shared_weight      = shared_weight;
    return data;
  }

  RouterUse use() const {
    const bool is_plain =
        mask == nullptr && soft_cap == 0 &&
        (score == Score::softmax || score == Score::selected_softmax) &&
        bias == nullptr && !limits_groups && floor == 0 && epsilon == 0 &&
        scale == 1 && expert_scale == nullptr && num_shared == 0;
    if (!is_plain) return RouterUse::general;
    return score == Score::softmax && !normalize ? RouterUse::softmax
                                                 : RouterUse::sums;
  }

  KOKKOS_FORCEINLINE_FUNCTION Real capped(Real x) const {
    if constexpr (can_cap) {
      if (soft_cap != 0)
        return KokkosExt::multiply(
            soft_cap, hyperbolicTangent(KokkosExt::divide(x, soft_cap)));
    }
    return x;
  }

  /// The derivative of capped(x).
  KOKKOS_FORCEINLINE_FUNCTION Real slopeOfCap(Real x) const {
    if constexpr (can_cap) {
      if (soft_cap != 0) {
        const Real y = hyperbolicTangent(KokkosExt::divide(x, soft_cap));
        return KokkosExt::add(Real(1), -KokkosExt::multiply(y, y));
      }
    }
    return Real(1);
  }

  /// The derivative of scoreOf by the capped logit, for the scores of one
  /// expert alone; `score_of_x` is scoreOf(x).
  KOKKOS_FUNCTION Real slopeOfScore(Real x, Real score_of_x) const {
    if (score == Score::sigmoid)
      return KokkosExt::multiply(score_of_x,
                                 KokkosExt::add(Real(1), -score_of_x));
    if (score == Score::sqrt_softplus)
      return score_of_x == 0
                 ? Real(0)
                 : KokkosExt::divide(sigmoid(capped(x)),
                                     KokkosExt::add(score_of_x, score_of_x));
    return Real(1);
  }

  /// The term of a softmax; 0 for an excluded expert.
  KOKKOS_FORCEINLINE_FUNCTION Real term(Real x, Real maximum) const {
    const Real y = exponential(KokkosExt::add(capped(x), -maximum));
    return isExcluded(x) ? Real(0) : y;
  }

  /// Calls f with the function that gives the score of a logit that is not
  /// excluded, before any softmax over the chosen.
  template <class F>
  KOKKOS_FORCEINLINE_FUNCTION void withScore(const ScoreOfRow<Real>& row,
                                             const F& f) const {
    switch (score) {
      case Score::softmax:
        f([&](Real x) {
          return KokkosExt::divide(term(x, row.maximum), row.denominator);
        });
        break;
      case Score::sigmoid:
        f([&](Real x) { return sigmoid(capped(x)); });
        break;
      case Score::sqrt_softplus:
        f([&](Real x) { return KokkosExt::squareRoot(softplus(capped(x))); });
        break;
      default:
        f([&](Real x) { return KokkosExt::add(capped(x), Real(0)); });
    }
  }

  KOKKOS_FUNCTION Real scoreOf(Real x, const ScoreOfRow<Real>& row) const {
    Real result = 0;
    withScore(row, [&](const auto& score_of) { result = score_of(x); });
    return result;
  }

  /// What an expert is chosen by where that is its score and bias; x is its
  /// participating logit.
  KOKKOS_FORCEINLINE_FUNCTION Real keyOfScore(Real x, Real score_of_x,
                                              int expert) const {
    if (isExcluded(x)) return x;
    return participating(
        bias == nullptr
            ? score_of_x
            : KokkosExt::add(score_of_x, static_cast<Real>(bias[expert])));
  }

  KOKKOS_FUNCTION Real keyOf(Real x, int expert,
                             const ScoreOfRow<Real>& row) const {
    return keyed_by_score ? keyOfScore(x, scoreOf(x, row), expert) : x;
  }

  /// expert / group_size, by a product where that is exact.
  KOKKOS_FUNCTION int groupOf(int expert) const {
    if (num_experts >= 65536) return expert / group_size;
    return static_cast<int>(
        static_cast<std::uint64_t>(expert) * inverse_group_size >> 32);
  }

  /// The weight that is left of w after the division by `total`, the sum of the
  /// token's weights.
  KOKKOS_FUNCTION Real normalized(Real w, Real total) const {
    const Real divisor =
        KokkosExt::add(KokkosExt::larger(total, floor), epsilon);
    return divisor == 0 ? Real(0) : KokkosExt::divide(w, divisor);
  }

  KOKKOS_FUNCTION Real scaled(Real w, int expert) const {
    w = KokkosExt::multiply(w, scale);
    return expert_scale == nullptr
               ? w
               : KokkosExt::multiply(w,
                                     static_cast<Real>(expert_scale[expert]));
  }

  KOKKOS_FUNCTION bool isMasked(int token) const {
    return mask != nullptr && !mask[token];
  }

  /// Column k of a token that takes no part, or a column of a shared expert.
  KOKKOS_FUNCTION void writeMasked(int token, int k) const {
    write(token, k, -1, Real(0));
  }
  KOKKOS_FUNCTION void writeShared(int token, int i) const {
    write(token, top_k + i, num_experts + i, shared_weight);
  }

 private:
  template <class Other>
  void copyBase(Other& other) const {
    other.logits      = decltype(other.logits)(Base::logits);
    other.expert_ids  = decltype(other.expert_ids)(Base::expert_ids);
    other.weights     = decltype(other.weights)(Base::weights);
    other.num_tokens  = Base::num_tokens;
    other.num_experts = num_experts;
    other.top_k       = top_k;
    other.score       = score;
    other.normalize   = normalize;
  }
};

}  // namespace Tokkos::Impl

#endif
