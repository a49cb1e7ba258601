// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// SPDX-FileCopyrightText: Copyright Contributors to the Tokkos project

#ifndef TOKKOS_FINGERPRINT_ROWCASES_HPP
#define TOKKOS_FINGERPRINT_ROWCASES_HPP

#include "Fingerprint.hpp"
#include "PlanCases.hpp"

#include <Tokkos/Combine.hpp>
#include <Tokkos/Gradients.hpp>
#include <Tokkos/Permute.hpp>

#include <cstdint>
#include <string>

namespace Fingerprint {

struct Triple {
  int x, y, z;
};

template <class T>
T makeValue(Numbers& numbers) {
  if constexpr (std::is_same_v<T, Triple>)
    return {numbers.below(1000), numbers.below(1000), numbers.below(1000)};
  else if constexpr (std::is_integral_v<T>)
    return static_cast<T>(numbers.below(200));
  else
    return static_cast<T>(static_cast<float>(numbers.real()));
}

template <class View>
void fillValues(const View& view, Numbers& numbers) {
  fill(view, [&] { return makeValue<typename View::value_type>(numbers); });
}

/// A shape with options, named for what it stresses.
struct Routing {
  const char* name;
  Shape shape;
  const char* variant;
};

inline constexpr Routing routings[] = {
    {"dense", {301, 2, 8}, "plain"},
    {"padded", {500, 8, 64}, "map_later_choices_alignment"},
    {"dropped", {260, 6, 48}, "latest"},
    {"few", {2, 4, 16}, "alignment"},
};

/// The prepared plan and its batches; runs what it is given behind an update.
template <class Space>
struct Dispatch {
  const Setting<Space>& setting;
  PreparedPlan<Space> prepared;

  Dispatch(const Setting<Space>& s, const Routing& routing, Numbers& numbers)
      : setting(s),
        prepared(s.space, variant(routing.variant), routing.shape, numbers) {}

  std::size_t tokens() const {
    return static_cast<std::size_t>(prepared.shape.num_tokens);
  }
  std::size_t choices() const {
    return static_cast<std::size_t>(prepared.shape.top_k);
  }
  std::size_t rows() const {
    return static_cast<std::size_t>(prepared.plan.max_rows);
  }

  template <class Reset, class Verbs>
  void launch(const Reset& reset, const Verbs& verbs) {
    setting.launch(
        [&] {
          prepared.reset();
          reset();
        },
        [&] {
          prepared.update(setting.space);
          verbs(setting.space, prepared.plan);
        });
  }
};

template <class Space, class Case>
void forRoutings(const Setting<Space>& setting, const std::string& name,
                 const Case& hash_outputs) {
  for (const Routing& routing : routings)
    setting.run(name + '/' + routing.name, [&](Numbers& numbers, Hash& hash) {
      Dispatch<Space> dispatch(setting, routing, numbers);
      hash_outputs(dispatch, numbers, hash);
    });
}

template <class Token, class Value, class Layout = Kokkos::LayoutRight,
          class Space>
void permuteCases(const Setting<Space>& setting, const std::string& type,
                  std::size_t width) {
  forRoutings(setting, "permute/" + type + ",H" + std::to_string(width),
              [&](Dispatch<Space>& dispatch, Numbers& numbers, Hash& hash) {
                const Matrix<Token, Space, Layout> tokens(
                    "tokens", dispatch.tokens(), width);
                const Matrix<Value, Space, Layout> batch(
                    "batch", dispatch.rows(), width);
                fillValues(tokens, numbers);
                dispatch.launch([&] { poison(batch); },
                                [&](const Space& space, const auto& plan) {
                                  Tokkos::permute(space, plan, tokens, batch);
                                });
                hash.add(toVector(batch));
              });
}

template <class Value, class Layout = Kokkos::LayoutRight, class Space>
void unpermuteCases(const Setting<Space>& setting, const std::string& type,
                    std::size_t width) {
  forRoutings(
      setting, "unpermute/" + type + ",H" + std::to_string(width),
      [&](Dispatch<Space>& dispatch, Numbers& numbers, Hash& hash) {
        const Matrix<Value, Space, Layout> batch("batch", dispatch.rows(),
                                                 width);
        const Matrix<Value, Space, Layout> assignments(
            "assignments", dispatch.tokens() * dispatch.choices(), width);
        fillValues(batch, numbers);
        dispatch.launch([&] { poison(assignments); },
                        [&](const Space& space, const auto& plan) {
                          Tokkos::unpermute(space, plan, batch, assignments);
                        });
        hash.add(toVector(assignments));
      });
}

template <class Space>
void companionCases(const Setting<Space>& setting) {
  forRoutings(
      setting, "permute/companions",
      [&](Dispatch<Space>& dispatch, Numbers& numbers, Hash& hash) {
        const std::size_t tokens = dispatch.tokens(), rows = dispatch.rows(),
                          choices = dispatch.choices();
        const Matrix<std::uint8_t, Space> x("x", tokens, 40), y("y", rows, 40);
        const Array<float, Space> scale("scale", tokens),
            batch_scale("batch_scale", rows);
        const Matrix<double, Space> ranks("ranks", tokens * choices, 3),
            batch_ranks("batch_ranks", rows, 3);
        const Matrix<float, Space> weights("weights", tokens, choices);
        const Array<float, Space> batch_weights("batch_weights", rows);
        fillValues(x, numbers);
        fillValues(scale, numbers);
        fillValues(ranks, numbers);
        fillValues(weights, numbers);
        dispatch.launch(
            [&] {
              poison(y);
              poison(batch_scale);
              poison(batch_ranks);
              poison(batch_weights);
            },
            [&](const Space& space, const auto& plan) {
              Tokkos::permute(space, plan, x, y,
                              Tokkos::perToken(scale, batch_scale),
                              Tokkos::perAssignment(ranks, batch_ranks),
                              Tokkos::perAssignment(weights, batch_weights));
            });
        hash.add(toVector(y));
        hash.add(toVector(batch_scale));
        hash.add(toVector(batch_ranks));
        hash.add(toVector(batch_weights));
      });
}

template <class Value, class Weight, class Result,
          class Layout = Kokkos::LayoutRight, class Space>
void combineCases(const Setting<Space>& setting, const std::string& types,
                  std::size_t width) {
  for (const bool weighted : {false, true})
    for (const double beta : {0.0, 1.0, 0.375})
      forRoutings(
          setting,
          "combine/" + types + ",H" + std::to_string(width) +
              (weighted ? ",weights" : ",plain") +
              (beta == 0 ? "" : ",beta" + std::to_string(int(beta * 1000))),
          [&](Dispatch<Space>& dispatch, Numbers& numbers, Hash& hash) {
            const Matrix<Value, Space, Layout> batch("batch", dispatch.rows(),
                                                     width);
            const Matrix<Weight, Space> weights("weights", dispatch.tokens(),
                                                dispatch.choices());
            const Matrix<Result, Space, Layout> before(
                "before", dispatch.tokens(), width),
                output("output", dispatch.tokens(), width);
            fillValues(batch, numbers);
            fillValues(before, numbers);
            fillWeights(weights, numbers, false);
            dispatch.launch([&] { Kokkos::deep_copy(output, before); },
                            [&](const Space& space, const auto& plan) {
                              if (weighted)
                                Tokkos::combine(space, plan, batch, weights,
                                                output, {.beta = beta});
                              else
                                Tokkos::combine(space, plan, batch, output,
                                                {.beta = beta});
                            });
            hash.add(toVector(output));
          });
}

template <class Value, class Result, class Space>
void permuteGradientCases(const Setting<Space>& setting,
                          const std::string& types, std::size_t width) {
  forRoutings(
      setting, "permuteGradient/" + types + ",H" + std::to_string(width),
      [&](Dispatch<Space>& dispatch, Numbers& numbers, Hash& hash) {
        const Matrix<Value, Space> batch("batch", dispatch.rows(), width);
        const Matrix<Result, Space> tokens("tokens", dispatch.tokens(), width);
        fillValues(batch, numbers);
        dispatch.launch([&] { poison(tokens); },
                        [&](const Space& space, const auto& plan) {
                          Tokkos::permuteGradient(space, plan, batch, tokens);
                        });
        hash.add(toVector(tokens));
      });
}

template <class Value, class Weight, class Space>
void combineGradientCases(const Setting<Space>& setting,
                          const std::string& types, std::size_t width) {
  forRoutings(
      setting, "combineGradient/" + types + ",H" + std::to_string(width),
      [&](Dispatch<Space>& dispatch, Numbers& numbers, Hash& hash) {
        const Matrix<Value, Space> gradient("gradient", dispatch.tokens(),
                                            width),
            batch("batch", dispatch.rows(), width),
            batch_gradient("batch_gradient", dispatch.rows(), width);
        const Matrix<Weight, Space> weights("weights", dispatch.tokens(),
                                            dispatch.choices()),
            weights_gradient("weights_gradient", dispatch.tokens(),
                             dispatch.choices());
        fillValues(gradient, numbers);
        fillValues(batch, numbers);
        fillWeights(weights, numbers, false);
        dispatch.launch(
            [&] {
              poison(batch_gradient);
              poison(weights_gradient);
            },
            [&](const Space& space, const auto& plan) {
              Tokkos::combineGradient(space, plan, gradient, batch, weights,
                                      batch_gradient, weights_gradient);
            });
        hash.add(toVector(batch_gradient));
        hash.add(toVector(weights_gradient));
      });
}

template <class Space>
void runRowCases(const Setting<Space>& setting) {
  for (const std::size_t width : {0, 1, 3, 16, 130})
    permuteCases<std::uint8_t, std::uint8_t>(setting, "uint8", width);
  for (const std::size_t width : {1, 17, 128, 1000, 2048, 4099})
    permuteCases<float, float>(setting, "float", width);
  permuteCases<double, double>(setting, "double", 33);
  permuteCases<Triple, Triple>(setting, "12_bytes", 21);
  permuteCases<float, float, Kokkos::LayoutLeft>(setting, "float,left", 19);
  permuteCases<double, float>(setting, "double_to_float", 70);
  permuteCases<float, double>(setting, "float_to_double", 64);
  companionCases(setting);

  unpermuteCases<std::uint8_t>(setting, "uint8", 13);
  for (const std::size_t width : {1, 130, 2048})
    unpermuteCases<float>(setting, "float", width);
  unpermuteCases<Triple, Kokkos::LayoutLeft>(setting, "12_bytes,left", 9);

  for (const std::size_t width : {1, 17, 64, 200, 1028})
    combineCases<float, float, float>(setting, "float", width);
  combineCases<double, double, double>(setting, "double", 50);
  combineCases<float, double, double>(setting, "float_double_double", 24);
  combineCases<float, float, float, Kokkos::LayoutLeft>(setting, "float,left",
                                                        40);
  for (const std::size_t width : {1, 9, 96, 514})
    permuteGradientCases<float, float>(setting, "float", width);
  permuteGradientCases<double, double>(setting, "double", 30);
  for (const std::size_t width : {1, 8, 13, 200, 1024, 2055})
    combineGradientCases<float, float>(setting, "float", width);
  combineGradientCases<double, float>(setting, "double_float", 77);

  if constexpr (has_half) {
    for (const std::size_t width : {1, 72, 514}) {
      permuteCases<half_t, half_t>(setting, "half", width);
      permuteCases<bhalf_t, bhalf_t>(setting, "bhalf", width);
      combineCases<half_t, float, half_t>(setting, "half", width);
      combineCases<bhalf_t, float, bhalf_t>(setting, "bhalf", width);
      combineGradientCases<half_t, float>(setting, "half", width);
      combineGradientCases<bhalf_t, float>(setting, "bhalf", width);
      permuteGradientCases<bhalf_t, float>(setting, "bhalf", width);
    }
    permuteCases<float, half_t>(setting, "float_to_half", 65);
    permuteCases<float, bhalf_t>(setting, "float_to_bhalf", 65);
    permuteCases<bhalf_t, half_t>(setting, "bhalf_to_half", 64);
    permuteCases<double, half_t>(setting, "double_to_half", 64);
    permuteCases<double, bhalf_t>(setting, "double_to_bhalf", 64);
    permuteCases<half_t, double>(setting, "half_to_double", 64);
  }
}

}  // namespace Fingerprint

#endif
