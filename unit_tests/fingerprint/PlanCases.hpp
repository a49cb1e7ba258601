// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// SPDX-FileCopyrightText: Copyright Contributors to the Tokkos project

#ifndef TOKKOS_FINGERPRINT_PLANCASES_HPP
#define TOKKOS_FINGERPRINT_PLANCASES_HPP

#include "Fingerprint.hpp"

#include <Tokkos/Crs.hpp>
#include <Tokkos/DispatchPlan.hpp>
#include <Tokkos/Stages.hpp>

#include <string>

namespace Fingerprint {

struct Shape {
  int num_tokens, top_k, num_experts;

  std::string name() const {
    return "T" + std::to_string(num_tokens) + ",K" + std::to_string(top_k) +
           ",E" + std::to_string(num_experts);
  }
};

/// A set of options, in terms of a shape.
struct Variant {
  const char* name;
  bool mask               = false;
  bool range              = false;
  bool map                = false;
  int capacity_percent    = 0;  // of an expert's fair share
  Tokkos::DropPolicy drop = Tokkos::DropPolicy::latest;
  int alignment           = 1;
};

using Tokkos::DropPolicy;
inline constexpr Variant variants[] = {
    {.name = "plain"},
    {.name = "mask", .mask = true},
    {.name = "range", .range = true},
    {.name = "map", .map = true},
    {.name = "latest", .capacity_percent = 90},
    {.name             = "later_choices",
     .capacity_percent = 90,
     .drop             = DropPolicy::later_choices},
    {.name             = "lowest_weight",
     .capacity_percent = 90,
     .drop             = DropPolicy::lowest_weight},
    {.name = "alignment", .alignment = 16},
    {.name             = "range_latest_alignment",
     .mask             = true,
     .range            = true,
     .capacity_percent = 110,
     .alignment        = 3},
    {.name             = "map_later_choices_alignment",
     .mask             = true,
     .map              = true,
     .capacity_percent = 70,
     .drop             = DropPolicy::later_choices,
     .alignment        = 128},
    {.name             = "map_lowest_weight_alignment",
     .mask             = true,
     .map              = true,
     .capacity_percent = 50,
     .drop             = DropPolicy::lowest_weight,
     .alignment        = 8},
};

inline const Variant& variant(const std::string& name) {
  for (const Variant& v : variants)
    if (name == v.name) return v;
  throw std::logic_error("no variant " + name);
}

template <class Space>
auto makeOptions(const Variant& variant, const Shape& shape, Numbers& numbers) {
  const auto [num_tokens, top_k, num_experts] = shape;
  Tokkos::PlanOptions<typename Space::memory_space> options;
  options.drop      = variant.drop;
  options.alignment = variant.alignment;
  if (variant.mask) {
    const Array<bool, Space> mask("mask", num_tokens);
    fill(mask, [&] { return !numbers.oneIn(5); });
    options.mask = mask;
  }
  if (variant.range)
    options.experts = {num_experts / 4, num_experts - num_experts / 3};
  if (variant.map) {
    options.num_local_experts = num_experts - num_experts / 3;
    const Array<int, Space> map("map", num_experts);
    fill(map, [&] { return numbers.below(options.num_local_experts + 1) - 1; });
    options.expert_map = map;
  }
  if (variant.capacity_percent > 0)
    options.capacity =
        1 + num_tokens * top_k / num_experts * variant.capacity_percent / 100;
  return options;
}

/// Ids, uniform or with few experts taking most; one in fifty is invalid.
template <class Ids>
void fillIds(const Ids& ids, int num_experts, bool skewed, Numbers& numbers) {
  fill(ids, [&] {
    int id = numbers.below(num_experts);
    if (skewed) id = numbers.below(numbers.below(id + 1) + 1);
    if (numbers.oneIn(50)) id = numbers.oneIn(2) ? -1 - id : num_experts + id;
    return static_cast<typename Ids::value_type>(id);
  });
}

/// Weights with ties, zeros of both signs, and now and then a NaN.
template <class Weights>
void fillWeights(const Weights& weights, Numbers& numbers, bool nan) {
  using Weight = typename Weights::value_type;
  fill(weights, [&]() -> Weight {
    if (nan && numbers.oneIn(40))
      return Kokkos::Experimental::quiet_NaN_v<Weight>;
    if (numbers.oneIn(20)) return static_cast<Weight>(-0.0f);
    if (numbers.oneIn(4)) return static_cast<Weight>(0.25 * numbers.below(4));
    return static_cast<Weight>(numbers.real());
  });
}

template <class Plan>
void hashPlan(Hash& hash, const Plan& plan) {
  const auto num_rows = toVector(plan.num_rows);
  hash.add(num_rows);
  hash.add(toVector(plan.num_dropped));
  hash.add(toVector(plan.counts));
  hash.add(toVector(plan.offsets));
  hash.add(toVector(plan.dropped));
  hash.add(toVector(plan.expert_of_block));
  hash.add(toVector(plan.row_of_assignment,
                    static_cast<std::size_t>(plan.num_tokens)));
  hash.add(
      toVector(plan.assignment_of_row, static_cast<std::size_t>(num_rows[0])));
}

/// A plan with all that it needs for an update.
template <class Space, class Ids = Matrix<int, Space>>
struct PreparedPlan {
  Shape shape;
  Ids ids;
  Matrix<float, Space> weights;
  Tokkos::DispatchPlan<typename Space::memory_space> plan;

  PreparedPlan(const Space& space, const Variant& variant, const Shape& s,
               Numbers& numbers, bool skewed = false, int spare_tokens = 0)
      : shape(s),
        ids("ids", s.num_tokens, s.top_k),
        weights("weights", s.num_tokens, s.top_k),
        plan(space, s.num_tokens + spare_tokens, s.top_k, s.num_experts,
             makeOptions<Space>(variant, s, numbers)) {
    fillIds(ids, s.num_experts, skewed, numbers);
    fillWeights(weights, numbers, true);
  }

  void update(const Space& space) {
    if (plan.options.drop == DropPolicy::lowest_weight)
      Tokkos::updateDispatchPlan(space, plan, ids, weights);
    else
      Tokkos::updateDispatchPlan(space, plan, ids);
  }

  void reset() const {
    poison(plan.counts);
    poison(plan.offsets);
    poison(plan.dropped);
    poison(plan.row_of_assignment);
    poison(plan.assignment_of_row);
    poison(plan.expert_of_block);
  }
};

template <class Ids, class Space>
void planCase(const Setting<Space>& setting, const std::string& kind,
              const Variant& variant, const Shape& shape, bool skewed,
              int spare_tokens = 0) {
  setting.run("plan/" + kind + variant.name + '/' + shape.name() +
                  (skewed ? ",skewed" : ""),
              [&](Numbers& numbers, Hash& hash) {
                PreparedPlan<Space, Ids> prepared(setting.space, variant, shape,
                                                  numbers, skewed,
                                                  spare_tokens);
                setting.launch([&] { prepared.reset(); },
                               [&] { prepared.update(setting.space); });
                hashPlan(hash, prepared.plan);
              });
}

template <class Value, class Space>
void crsCase(const Setting<Space>& setting, const std::string& kind,
             const Variant& variant, const Shape& shape) {
  setting.run("planToCrs/" + kind + variant.name + '/' + shape.name(),
              [&](Numbers& numbers, Hash& hash) {
                PreparedPlan<Space> prepared(setting.space, variant, shape,
                                             numbers);
                const Matrix<float, Space> weights("weights", shape.num_tokens,
                                                   shape.top_k);
                fillWeights(weights, numbers, false);
                const Array<std::int64_t, Space> row_map("row_map",
                                                         shape.num_tokens + 1);
                const int size = shape.num_tokens * shape.top_k;
                const Array<int, Space> entries("entries", size);
                const Array<Value, Space> values("values", size);
                setting.launch(
                    [&] {
                      prepared.reset();
                      poison(row_map);
                      poison(entries);
                      poison(values);
                    },
                    [&] {
                      prepared.update(setting.space);
                      Tokkos::planToCrs(setting.space, prepared.plan, weights,
                                        row_map, entries, values);
                    });
                hash.add(toVector(row_map));
                hash.add(toVector(entries));
                hash.add(toVector(values));
              });
}

template <class Space>
void stagesCase(const Setting<Space>& setting, const Shape& shape) {
  setting.run("stages/" + shape.name(), [&](Numbers& numbers, Hash& hash) {
    const Matrix<int, Space> ids("ids", shape.num_tokens, shape.top_k);
    fillIds(ids, shape.num_experts, false, numbers);
    const Array<int, Space> counts("counts", shape.num_experts);
    const Array<int, Space> offsets("offsets", shape.num_experts + 1);
    setting.launch(
        [&] {
          poison(counts);
          poison(offsets);
        },
        [&] {
          Tokkos::countExperts(setting.space, ids, counts);
          Tokkos::scanCounts(setting.space, counts, offsets);
        });
    hash.add(toVector(counts));
    hash.add(toVector(offsets));
  });
}

template <class Space>
void runPlanCases(const Setting<Space>& setting) {
  using Ids = Matrix<int, Space>;
  // From the smallest launch to many tiles; few experts and more than scratch
  // memory holds.
  for (const Shape shape :
       {Shape{0, 2, 4}, Shape{1, 1, 1}, Shape{1, 8, 256}, Shape{3, 2, 8},
        Shape{33, 2, 8}, Shape{300, 4, 64}, Shape{1000, 6, 64},
        Shape{2048, 1, 16}, Shape{4096, 8, 128}, Shape{900, 8, 5000},
        Shape{20000, 8, 256}, Shape{50000, 2, 8}, Shape{700, 3, 30000}})
    for (const Variant& variant : variants)
      for (const bool skewed : {false, true})
        planCase<Ids>(setting, "", variant, shape, skewed);

  const Shape shape{1234, 6, 160};
  for (const Variant& variant : variants) {
    planCase<Matrix<std::int64_t, Space>>(setting, "int64/", variant, shape,
                                          false);
    planCase<Matrix<int, Space, Kokkos::LayoutLeft>>(setting, "left/", variant,
                                                     shape, true);
    planCase<Ids>(setting, "fewer_tokens/", variant, shape, false, 1000);
  }
  for (const char* const name :
       {"plain", "latest", "map_lowest_weight_alignment"}) {
    crsCase<float>(setting, "", variant(name), {0, 2, 4});
    crsCase<float>(setting, "", variant(name), {37, 2, 8});
    crsCase<double>(setting, "double/", variant(name), {3000, 6, 64});
  }
  stagesCase(setting, {1000, 2, 8});
  stagesCase(setting, {5000, 8, 384});
}

}  // namespace Fingerprint

#endif
