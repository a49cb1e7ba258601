// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// SPDX-FileCopyrightText: Copyright Contributors to the Tokkos project

#ifndef TOKKOS_FINGERPRINT_PLANCASES_HPP
#define TOKKOS_FINGERPRINT_PLANCASES_HPP

#include "Fingerprint.hpp"

#include <Tokkos/Crs.hpp>
#include <Tokkos/DispatchPlan.hpp>
#include <Tokkos/Impl/PlanTeam.hpp>
#include <Tokkos/Impl/PlanTiles.hpp>
#include <Tokkos/Impl/PlanUpdate.hpp>
#include <Tokkos/KokkosExt/Subgroup.hpp>
#include <Tokkos/KokkosExt/Team.hpp>
#include <Tokkos/Stages.hpp>

#include <cstdint>
#include <stdexcept>
#include <string>
#include <type_traits>
#include <vector>

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

/// A plan made again and again, in every way to cut it into tiles and teams
/// that the backend has, whatever the library would choose: all make what it
/// makes.
template <class Space>
class Tilings {
 public:
  Tilings(const Setting<Space>& setting, PreparedPlan<Space>& prepared)
      : m_setting(setting), m_prepared(prepared) {
    setting.launch([&] { prepared.reset(); },
                   [&] { prepared.update(setting.space); });
    m_expected = hashOfPlan();
    // The table has room for the tiles of the library alone.
    auto& plan = prepared.plan;
    plan.tile_table =
        Kokkos::View<int**, Kokkos::LayoutRight, typename Space::memory_space>(
            "table", static_cast<std::size_t>(numAssignments()),
            Tokkos::Impl::PlanData::tableStride(plan.num_experts));
  }

  std::uint64_t hash() const { return m_expected; }

  void expectAllEqual() {
    for (const int team_size : teamSizes())
      for (const int tile_length : {3, 64, 1000, 6000})
        expectEqual("any", team_size, tile_length,
                    [&](const auto& keys, const auto& plan) {
                      Tokkos::Impl::updatePlanTeam(m_setting.space, keys, plan,
                                                   team_size);
                    });
    if constexpr (lanes >= 32) {
      for (const int items : {1, 4, 8})
        for (const int team_size : {128, 256, 512})
          scratchTiles({team_size, items});
    }
  }

 private:
  static constexpr int lanes = Tokkos::KokkosExt::Subgroup<Space>::lanes;

  std::vector<int> teamSizes() const {
    if (!Tokkos::KokkosExt::is_host_execution_space_v<Space>)
      return {32, 128, 512, 1024};
    std::vector<int> sizes;
    for (int size = 1; size <= m_setting.space.concurrency(); ++size)
      sizes.push_back(size);
    return sizes;
  }

  int numAssignments() const {
    return m_prepared.shape.num_tokens * m_prepared.shape.top_k;
  }

  Tokkos::Impl::PlanData data(int tile_length) const {
    const auto& plan = m_prepared.plan;
    return Tokkos::Impl::planData(plan, plan.num_tokens, tile_length);
  }

  /// The algorithms whose teams keep their assignments in scratch memory.
  void scratchTiles(const Tokkos::Impl::TileShape& shape) {
    using namespace Tokkos::Impl;
    const auto& space = m_setting.space;
    const TeamLimits limits{lanes, Tokkos::KokkosExt::maxTeamScratch(space)};
    const auto fits = [&](int tile_length, bool single) {
      return fitsIntoScratch<PlanKeys<int>>(shape, data(tile_length), limits,
                                            single);
    };
    const int n = numAssignments();
    if (n <= shape.passLength() && fits(n, true))
      expectEqual("single", shape.team_size, n,
                  [&](const auto& keys, const auto& plan) {
                    updatePlanSingleTile(space, keys, plan, shape);
                  });
    if (shape.items == 1) return;
    for (const int length : {shape.passLength(), 3 * shape.passLength()})
      if (fits(length, false))
        expectEqual("many", shape.team_size, length,
                    [&](const auto& keys, const auto& plan) {
                      updatePlanTiles(space, keys, plan, shape);
                    });
  }

  template <class Update>
  void expectEqual(const char* algorithm, int team_size, int tile_length,
                   const Update& update) {
    const auto keys = Tokkos::Impl::planKeys(m_prepared.plan, m_prepared.ids);
    m_setting.launch([&] { m_prepared.reset(); },
                     [&] { update(keys, data(tile_length)); });
    if (hashOfPlan() != m_expected)
      throw std::runtime_error("another plan from the algorithm for " +
                               std::string(algorithm) + " tiles, teams of " +
                               std::to_string(team_size) + ", tiles of " +
                               std::to_string(tile_length));
  }

  std::uint64_t hashOfPlan() const {
    Hash hash;
    hashPlan(hash, m_prepared.plan);
    return hash.value();
  }

  const Setting<Space>& m_setting;
  PreparedPlan<Space>& m_prepared;
  std::uint64_t m_expected;
};

template <class Space>
void tilingsCase(const Setting<Space>& setting, const Variant& variant,
                 const Shape& shape) {
  setting.run("tilings/" + std::string(variant.name) + '/' + shape.name(),
              [&](Numbers& numbers, Hash& hash) {
                PreparedPlan<Space> prepared(setting.space, variant, shape,
                                             numbers);
                Tilings<Space> tilings(setting, prepared);
                tilings.expectAllEqual();
                hash.add(std::vector<std::uint64_t>{tilings.hash()});
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
       {"plain", "mask", "map", "latest", "range_latest_alignment"})
    for (const Shape s : {Shape{60, 2, 8}, Shape{1000, 2, 20},
                          Shape{500, 4, 300}, Shape{6000, 4, 100}})
      tilingsCase(setting, variant(name), s);
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
