// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// SPDX-FileCopyrightText: Copyright Contributors to the Tokkos project

#include "FuzzKokkos.hpp"

#include <Tokkos/Impl/PlanSmall.hpp>
#include <Tokkos/Impl/PlanTeam.hpp>

#include <algorithm>
#include <memory>
#include <optional>
#include <string>
#include <vector>

// Plans of any arguments: those that the contract excludes are refused, and
// only those; all others give what the plain loops give, again and again, in
// any tiles and teams, and so do the rows that follow them.
namespace Fuzz {

using Test::ExecutionSpace;
using Test::MemorySpace;
using Plan    = Tokkos::DispatchPlan<MemorySpace>;
using Options = Tokkos::PlanOptions<MemorySpace>;

constexpr std::int64_t largest_int = std::numeric_limits<int>::max();

/// Around the sizes at which an algorithm changes.
constexpr std::array few_experts  = {1, 2, 3, 4, 5, 8, 16, 31, 32, 33, 64};
constexpr std::array many_experts = {65, 127, 128, 255, 256, 257, 600, 1025};

/// The arguments of a plan. Where `wild` is set, each may be anything.
struct Arguments {
  std::int64_t max_tokens;
  int top_k, num_experts, capacity, alignment, drop;
  std::optional<Tokkos::ExpertRange> range;
  std::vector<int> map;
  int num_local = 0;
  bool has_mask;

  explicit Arguments(Input& input) {
    const bool wild   = input.oneIn(4);
    const auto number = [&](int low, int high) {
      return wild && input.oneIn(4) ? input.wild() : input.integer(low, high);
    };
    num_experts = wild && input.oneIn(4) ? input.wild()
                  : input.oneIn(16)      ? input.oneOf(many_experts)
                  : input.flag()         ? input.oneOf(few_experts)
                                         : input.integer(1, 24);
    top_k       = number(1, std::clamp(num_experts, 1, 8));
    max_tokens  = number(0, input.oneIn(16) ? 300 : 16);
    if (wild && input.oneIn(8)) max_tokens *= input.raw<std::int16_t>();
    capacity  = input.flag() ? number(1, 9) : number(0, 0);
    drop      = number(0, 2);
    alignment = input.flag() ? number(1, 17) : number(1, 1);
    has_mask  = input.oneIn(3);
    if (input.oneIn(3)) {
      const int most  = std::clamp(num_experts, 1, 1 << 20);
      const int begin = number(0, std::min(most, 1025) - 1);
      range           = Tokkos::ExpertRange{
          begin, number(std::clamp(begin, 0, most - 1) + 1, most)};
    }
    if (input.oneIn(3) && (wild || !range) && num_experts > 0) {
      num_local        = number(1, std::min(num_experts, 40));
      const int extent = wild && input.oneIn(4) ? input.integer(1, 40)
                                                : std::min(num_experts, 2000);
      for (int e = 0; e < extent; ++e)
        map.push_back(
            wild && input.oneIn(64)
                ? input.wild()
                : input.integer(-1, std::clamp(num_local, 1, 100) - 1));
    }
  }

  int numLocal() const {
    return range          ? range->end - range->begin
           : !map.empty() ? num_local
                          : num_experts;
  }

  bool isValidRange() const {
    return !range || (map.empty() && 0 <= range->begin &&
                      range->begin < range->end && range->end <= num_experts);
  }

  bool isValidMap() const {
    return map.empty() ||
           (std::int64_t(map.size()) == num_experts && num_local >= 1 &&
            num_local < largest_int &&
            std::all_of(
                map.begin(), map.end(),
                [&](int e) { return -1 <= e && e < num_local; }));
  }

  /// The rows that no routing exceeds, as the contract gives them.
  std::int64_t maxRows() const {
    const std::int64_t experts = numLocal(), block = alignment;
    std::int64_t rows = max_tokens * top_k;
    if (capacity > 0) rows = std::min(rows, experts * capacity);
    rows += std::min(experts, rows) * (block - 1);
    return (rows + block - 1) / block * block;
  }

  bool isValid() const {
    return 1 <= num_experts && num_experts < largest_int && 1 <= top_k &&
           top_k <= num_experts && 0 <= max_tokens &&
           max_tokens <= largest_int / top_k && 0 <= capacity &&
           1 <= alignment && 0 <= drop && drop <= 2 && isValidRange() &&
           isValidMap() && maxRows() <= largest_int &&
           // A histogram of 256 bins an expert has to be counted in an int.
           (capacity == 0 || drop != 2 || numLocal() <= largest_int / 256);
  }

  std::string name() const {
    return "max_tokens=" + std::to_string(max_tokens) +
           " K=" + std::to_string(top_k) + " E=" + std::to_string(num_experts) +
           " capacity=" + std::to_string(capacity) +
           " drop=" + std::to_string(drop) +
           " alignment=" + std::to_string(alignment) +
           (range ? " range " + std::to_string(range->begin) + " to " +
                        std::to_string(range->end)
                  : "") +
           (map.empty() ? ""
                        : " map of " + std::to_string(map.size()) + " to " +
                              std::to_string(num_local)) +
           (has_mask ? " mask" : "");
  }

  Options options(const Test::Array<bool>& mask) const {
    Options options;
    if (has_mask) options.mask = mask;
    options.experts = range;
    if (!map.empty()) options.expert_map = Test::makeArray(map);
    options.num_local_experts = num_local;
    options.capacity          = capacity;
    options.drop              = static_cast<Tokkos::DropPolicy>(drop);
    options.alignment         = alignment;
    return options;
  }

  Reference::Options known() const {
    Reference::Options known;
    known.first_expert = range ? range->begin : 0;
    known.num_local    = numLocal();
    known.expert_map   = map;
    known.capacity     = capacity;
    known.alignment    = alignment;
    known.drop         = static_cast<Reference::Drop>(drop);
    return known;
  }
};

/// What an update gets: ids and weights of some tokens, and a mask.
template <class Id>
struct Step {
  int num_tokens;
  std::vector<Id> ids;
  std::vector<float> weights;
  std::vector<bool> mask;

  Step(Input& input, const Arguments& arguments)
      : num_tokens(input.flag() ? static_cast<int>(arguments.max_tokens)
                                : input.integer(0, int(arguments.max_tokens))) {
    const int experts = arguments.num_experts, n = num_tokens * arguments.top_k;
    const int margin    = input.oneIn(3) ? 1 : 0;  // ids just out of range
    const bool any_ids  = input.oneIn(16);
    const int favourite = input.integer(0, experts - 1);
    const bool skewed   = input.oneIn(3);
    for (int a = 0; a < n; ++a)
      ids.push_back(
          any_ids && input.flag() ? input.raw<Id>()
          : skewed && input.flag()
              ? static_cast<Id>(favourite)
              : static_cast<Id>(input.integer(-margin, experts - 1 + margin)));
    const bool any_weights = input.oneIn(4);
    for (int a = 0; a < n && arguments.drop == 2; ++a)
      weights.push_back(any_weights ? input.raw<float>()
                                    : float(input.integer(-3, 3)) / 3);
    weights.resize(ids.size(), 1);
    for (int t = 0; t < num_tokens && arguments.has_mask; ++t)
      mask.push_back(!input.oneIn(3));
  }

  Reference::Plan expected(const Arguments& arguments) const {
    auto known = arguments.known();
    known.mask = mask;
    known.weights.assign(weights.begin(), weights.end());
    return Reference::makePlan(ids, arguments.top_k, arguments.num_experts,
                               known);
  }

  bool hasBadId(const Arguments& arguments) const {
    for (std::size_t a = 0; a < ids.size(); ++a)
      if ((mask.empty() || mask[a / std::size_t(arguments.top_k)]) &&
          (ids[a] < 0 || ids[a] >= arguments.num_experts))
        return true;
    return false;
  }
};

void setMask(const Test::Array<bool>& mask, const std::vector<bool>& values) {
  for (std::size_t t = 0; t < values.size(); ++t)
    mask(t) = values[t];
}

/// Where an update wrote nothing, yesterday's values must not look right.
void poison(Plan& plan) {
  const auto fill = [](const auto& view) { Kokkos::deep_copy(view, -77); };
  fill(plan.counts), fill(plan.offsets), fill(plan.dropped);
  fill(plan.row_of_assignment), fill(plan.assignment_of_row);
  fill(plan.expert_of_block), fill(plan.num_rows), fill(plan.num_dropped);
  fill(plan.tile_table);
}

template <class Ids, class Weights>
void update(Plan& plan, const Ids& ids, const Weights& weights) {
  if (plan.options.drop == Tokkos::DropPolicy::lowest_weight)
    Tokkos::updateDispatchPlan(ExecutionSpace(), plan, ids, weights);
  else
    Tokkos::updateDispatchPlan(ExecutionSpace(), plan, ids);
}

/// updateDispatchPlan with tiles of another length.
template <class Ids, class Weights>
void updateInTiles(Plan& plan, const Ids& ids, const Weights& weights,
                   int tile_length) {
  using namespace Tokkos;
  const ExecutionSpace space;
  const auto keys = Impl::planKeys(plan, ids);
  const auto data = Impl::planData(plan, plan.num_tokens, tile_length);
  const auto drop = Impl::dropData(plan);
  const Impl::PlanDropper<ExecutionSpace> dropper(space, data, drop);
  if (plan.options.capacity == 0 || plan.options.drop == DropPolicy::latest ||
      plan.num_tokens == 0)
    Impl::updatePlan(space, keys, data);
  else if (plan.options.drop == DropPolicy::later_choices)
    dropper.dropLaterChoices(keys, plan.num_tokens);
  else
    dropper.dropLowestWeights(keys, weights);
}

/// The algorithms of a device, which run on a host too; without drop policies.
template <class Ids>
void updateInTeams(Plan& plan, const Ids& ids, int tile_length) {
  using namespace Tokkos;
  const ExecutionSpace space;
  Impl::updatePlanTeam(space, Impl::planKeys(plan, ids),
                       Impl::planData(plan, plan.num_tokens, tile_length), 1);
}

/// Permute, unpermute, combine and its gradient on the plan.
class Rows {
 public:
  Rows(Input& input, const Plan& plan, const Reference::Plan& expected)
      : m_plan(plan),
        m_expected(expected),
        m_width(static_cast<std::size_t>(input.integer(0, 9))),
        m_tokens(static_cast<std::size_t>(plan.num_tokens)),
        m_rows(static_cast<std::size_t>(plan.max_rows)),
        m_top_k(plan.top_k) {
    const auto n = m_tokens * std::size_t(m_top_k);
    for (std::size_t i = 0; i < m_tokens * m_width; ++i)
      m_values.push_back(float(input.integer(-20, 20)) / 7);
    for (std::size_t a = 0; a < n; ++a)
      m_weights.push_back(float(input.integer(-9, 9)) / 9);
  }

  void check(Input& input) {
    auto tokens = makeStrided<float>(input, m_tokens, m_width);
    auto batch  = makeStrided<float>(input, m_rows, m_width);
    auto output = makeStrided<float>(input, m_tokens, m_width);
    const auto weights =
        Test::makeMatrix(m_weights, static_cast<std::size_t>(m_top_k));
    tokens.set(m_values);
    const std::vector<float> before(m_rows * m_width, 77.0f);
    batch.set(before);
    Tokkos::permute(m_space, m_plan, tokens.view(), batch.view());
    auto rows = Reference::permute(m_expected, m_values, int(m_width), m_top_k);
    const auto known = rows;
    rows.resize(before.size(), 77.0f);  // behind num_rows nothing is written
    EXPECT_TRUE(Test::sameBits(rows, batch.get()));
    EXPECT_TRUE(batch.surroundingsUntouched());

    Tokkos::combine(m_space, m_plan, batch.view(), weights, output.view());
    EXPECT_TRUE(
        Test::sameBits(Reference::combine<float>(m_expected, known, m_weights,
                                                 int(m_width), m_top_k),
                       output.get()));
    EXPECT_TRUE(output.surroundingsUntouched());

    const Test::Matrix<float> back("back", m_weights.size(), m_width);
    Tokkos::unpermute(m_space, m_plan, batch.view(), back);
    EXPECT_TRUE(
        Test::sameBits(Reference::unpermute(m_expected, known, int(m_width)),
                       Test::toVector(back)));
    checkGradient(tokens.view(), batch.view(), weights, known);
  }

 private:
  template <class View, class Weights>
  void checkGradient(const View& tokens, const View& batch,
                     const Weights& weights, const std::vector<float>& known) {
    const Test::Matrix<float> by_batch("by_batch", m_rows, m_width);
    const Test::Matrix<float> by_weights("by_weights", m_tokens,
                                         static_cast<std::size_t>(m_top_k));
    Tokkos::combineGradient(m_space, m_plan, tokens, batch, weights, by_batch,
                            by_weights);
    auto expected = Reference::combineGradient<float>(
        m_expected, m_values, known, m_weights, int(m_width), m_top_k);
    expected.batch.resize(by_batch.size(), 0);
    EXPECT_TRUE(Test::sameBits(expected.batch, Test::toVector(by_batch)));
    EXPECT_TRUE(Test::sameBits(expected.weights, Test::toVector(by_weights)));
  }

  ExecutionSpace m_space;
  const Plan& m_plan;
  const Reference::Plan& m_expected;
  std::size_t m_width, m_tokens, m_rows;
  int m_top_k;
  std::vector<float> m_values, m_weights;
};

/// A specified number of the plan that is not what it was is found, whatever it
/// is, without a step beyond any array.
template <class Ids>
void checkCorrupted(Input& input, const Plan& plan,
                    const Reference::Plan& expected, const Ids& ids) {
  std::vector<int*> numbers{plan.num_rows.data(), plan.num_dropped.data()};
  const auto add = [&](const auto& view, std::size_t n) {
    for (std::size_t i = 0; i < n; ++i)
      numbers.push_back(view.data() + i);
  };
  add(plan.counts, plan.counts.extent(0));
  add(plan.offsets, plan.offsets.extent(0));
  add(plan.dropped, plan.dropped.extent(0));
  add(plan.row_of_assignment, expected.row_of_assignment.size());
  add(plan.assignment_of_row, expected.assignment_of_row.size());
  add(plan.expert_of_block, plan.expert_of_block.extent(0));
  int& number     = *numbers[static_cast<std::size_t>(
      input.integer(0, int(numbers.size()) - 1))];
  const int right = number;
  number          = input.flag() ? input.wild() : right + input.integer(-2, 2);
  const auto violation =
      Tokkos::validateDispatchPlan(ExecutionSpace(), plan, ids);
  if (number != right) {
    EXPECT_NE("", violation) << number << " instead of " << right;
  }
  number = right;
}

/// Arguments of an update that do not fit are refused, and change nothing.
template <class Id>
void checkBadUpdate(Input& input, Plan& plan, const Arguments& arguments,
                    const Reference::Plan& expected) {
  const auto about = [&](int n) {
    return static_cast<std::size_t>(std::max(0, n + input.integer(-1, 1)));
  };
  const auto tokens  = about(int(arguments.max_tokens)),
             choices = about(arguments.top_k);
  const Test::Matrix<Id> ids("ids", tokens, choices);
  const Test::Matrix<double> weights("weights", about(int(tokens)),
                                     about(int(choices)));
  const bool fits = std::int64_t(tokens) <= arguments.max_tokens &&
                    choices == std::size_t(arguments.top_k);
  const bool fits_weights =
      weights.extent(0) == tokens && weights.extent(1) == choices;
  const bool wants_weights = arguments.drop == 2 && arguments.capacity > 0;
  if (!fits || !fits_weights)
    EXPECT_TRUE(refuses([&] {
      Tokkos::updateDispatchPlan(ExecutionSpace(), plan, ids, weights);
    }));
  if (!fits || wants_weights)
    EXPECT_TRUE(refuses(
        [&] { Tokkos::updateDispatchPlan(ExecutionSpace(), plan, ids); }));
  Test::expectPlan(expected, plan);
}

template <class Id>
void checkStep(Input& input, Plan& plan, const Arguments& arguments) {
  const Step<Id> step(input, arguments);
  const auto expected = step.expected(arguments);
  const auto tokens   = static_cast<std::size_t>(step.num_tokens);
  const auto choices  = static_cast<std::size_t>(arguments.top_k);
  auto ids            = makeStrided<Id>(input, tokens, choices);
  auto weights        = makeStrided<float>(input, tokens, choices);
  ids.set(step.ids);
  weights.set(step.weights);
  const Test::Array<bool> mask("mask", tokens);  // with no entry to spare
  if (arguments.has_mask) plan.options.mask = mask;
  setMask(mask, step.mask);

  poison(plan);
  update(plan, ids.view(), weights.view());
  Test::expectPlan(expected, plan);

  const auto n          = static_cast<int>(step.ids.size());
  const int tile_length = n / input.integer(1, 9) + input.integer(1, 2);
  plan.tile_table       = Kokkos::View<int**, Kokkos::LayoutRight, MemorySpace>(
      "table", n / tile_length + 1,
      Tokkos::Impl::PlanData::tableStride(plan.num_experts));
  poison(plan);
  updateInTiles(plan, ids.view(), weights.view(), tile_length);
  Test::expectPlan(expected, plan);
  if (arguments.capacity == 0 || arguments.drop == 0) {
    poison(plan);
    updateInTeams(plan, ids.view(), tile_length);
    Test::expectPlan(expected, plan);
  }

  EXPECT_EQ("", Tokkos::validateDispatchPlan(ExecutionSpace(), plan));
  EXPECT_EQ(
      step.hasBadId(arguments),
      Tokkos::validateDispatchPlan(ExecutionSpace(), plan, ids.view()) != "");
  Rows(input, plan, expected).check(input);
  checkCorrupted(input, plan, expected, ids.view());
  checkBadUpdate<Id>(input, plan, arguments, expected);
}

void checkPlan(Input& input, const Arguments& arguments) {
  const bool has_wide_ids = input.oneIn(3);
  const Test::Array<bool> mask("mask", 1);  // every step has its own
  const Options options = arguments.options(mask);
  const auto bytes      = [&] {
    return Plan::bytes(ExecutionSpace(), arguments.max_tokens, arguments.top_k,
                            arguments.num_experts, options);
  };
  const auto build = [&] {
    return Plan(ExecutionSpace(), arguments.max_tokens, arguments.top_k,
                arguments.num_experts, options);
  };
  if (!arguments.isValid()) {
    // Before memory is asked for; but the values of a map cost a kernel.
    EXPECT_TRUE(refuses(bytes) || (!arguments.isValidMap() && refuses(build)));
    return;
  }
  if (bytes() > 3 << 20 || arguments.top_k > 1000 ||
      arguments.max_tokens * arguments.top_k > 3000)
    return;
  Plan plan           = build();
  const int num_steps = input.integer(1, 2);
  for (int i = 0; i < num_steps; ++i)
    if (has_wide_ids)
      checkStep<std::int64_t>(input, plan, arguments);
    else
      checkStep<int>(input, plan, arguments);
}

}  // namespace Fuzz

extern "C" int LLVMFuzzerInitialize(int*, char***) {
  Fuzz::initialize();
  return 0;
}

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data,
                                      std::size_t size) {
  Fuzz::Input input(data, size);
  const Fuzz::Arguments arguments(input);
  Fuzz::explain([&] { Fuzz::checkPlan(input, arguments); },
                [&] { return arguments.name(); });
  return 0;
}
