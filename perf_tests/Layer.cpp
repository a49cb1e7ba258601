// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// SPDX-FileCopyrightText: Copyright Contributors to the Tokkos project

#include "Registry.hpp"

#include "Inputs.hpp"
#include "Measure.hpp"
#include "RowBytes.hpp"

#include <Tokkos.hpp>

#include <string>
#include <vector>

namespace PerfTest {

#ifdef TOKKOS_ENABLE_KOKKOSKERNELS

/// What a layer does around its products: choose, plan, permute and combine. It
/// should take what routeTopKNormalized, updateDispatchPlan, permute and
/// combine take by themselves.
template <class ExecutionSpace>
class LayerAround : public KokkosSubject<ExecutionSpace> {
  using Memory = typename ExecutionSpace::memory_space;
  using Layer  = Tokkos::MoELayer<float, ExecutionSpace>;

  struct Set {
    Layer layer;
    Matrix<float, Memory> input, output;
  };

 public:
  LayerAround(const ExecutionSpace& space, const Workload& workload) {
    const auto parameters = makeParameters(space, workload);
    const int num_sets    = numRowSets(workload, minimumBytes(workload));
    for (int i = 0; i < num_sets; ++i)
      m_sets.push_back(makeSet(space, workload, parameters, i));
  }

  static double minimumBytes(const Workload& workload) {
    return 4. * workload.tokens * workload.model.num_experts +
           8. * workload.numAssignments() +
           permuteBytes(workload, sizeof(float)) +
           combineBytes(workload, sizeof(float));
  }

  int numSets() const { return static_cast<int>(m_sets.size()); }

  void call(const ExecutionSpace& space, int i) {
    auto& [layer, input, output] = m_sets[static_cast<std::size_t>(i)];
    layer.dispatch(space, input);
    layer.collect(space, output, false);
  }

  std::string check(const ExecutionSpace& space) const {
    const Layer& layer = m_sets[0].layer;
    return Tokkos::validateDispatchPlan(space, layer.plan(), layer.expertIds());
  }

 private:
  /// The experts are never asked: they are as small as they can be.
  static auto makeParameters(const ExecutionSpace& space,
                             const Workload& workload) {
    using Cube = Kokkos::View<float***, Kokkos::LayoutRight, Memory>;
    const auto [name, num_experts, top_k, hidden] = workload.model;
    Tokkos::MoELayerParameters<float, Memory> parameters;
    parameters.router =
        makeRandom<float>(space, "router", num_experts, hidden, 1);
    parameters.experts.up = allocate<Cube>(space, "up", num_experts, 1, hidden);
    parameters.experts.down =
        allocate<Cube>(space, "down", num_experts, hidden, 1);
    return parameters;
  }

  static Set makeSet(const ExecutionSpace& space, const Workload& workload,
                     const typename Layer::Parameters& parameters, int i) {
    Tokkos::MoELayerOptions<Memory> options;
    options.router.normalize = true;
    Set set{Layer(space, workload.tokens, workload.model.top_k, parameters,
                  options),
            makeRandom<float>(space, "input", workload.tokens,
                              workload.model.hidden, i + 2),
            allocate<Matrix<float, Memory>>(space, "output", workload.tokens,
                                            workload.model.hidden)};
    set.layer.computeLogits(space, set.input);
    fillRandom(space, set.layer.expertOutput(), i);
    return set;
  }

  std::vector<Set> m_sets;
};

#endif

void addLayer() {
#ifdef TOKKOS_ENABLE_KOKKOSKERNELS
  forEachBackend([](auto type) {
    using Subject = LayerAround<typename decltype(type)::type>;
    for (const Workload& workload : workloads({Routing::none}))
      if (workload.tokens <= 4096 && fits<typename decltype(type)::type>(
                                         2 * Subject::minimumBytes(workload)))
        add<Subject>("layerAround", workload);
  });
#endif
}

}  // namespace PerfTest
