// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// SPDX-FileCopyrightText: Copyright Contributors to the Tokkos project

#include "Registry.hpp"

#include <Tokkos/Config.hpp>

#ifdef TOKKOS_ENABLE_KOKKOSKERNELS

#include "Inputs.hpp"
#include "Measure.hpp"
#include "RowBytes.hpp"

#include <Tokkos.hpp>
#include <Tokkos/Experts.hpp>

#include <KokkosBatched_Gemm_Decl.hpp>
#include <KokkosBatched_Gemm_Team_Impl.hpp>

#ifdef TOKKOS_PERFTEST_CUBLAS
#include <cublas_v2.h>
#endif

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <stdexcept>
#include <string>
#include <vector>

#ifdef TOKKOS_PERFTEST_BLAS
extern "C" void sgemm_(const char*, const char*, const int*, const int*,
                       const int*, const float*, const float*, const int*,
                       const float*, const int*, const float*, float*,
                       const int*);
#endif

// The feed-forward of experts, gated with SiLU, against the same products by
// hand: the BLAS alone, without what lies between them.
namespace PerfTest {

struct ExpertModel {
  Model model;
  int inner;  // F
};

const std::vector<ExpertModel>& expertModels() {
  static const std::vector<ExpertModel> tiny   = {{{"tiny", 4, 2, 32}, 48}};
  static const std::vector<ExpertModel> models = {
      {{"ffn_4096", 8, 2, 1024}, 4096},
      {{"deepseek_v2_lite", 64, 6, 2048}, 1408},
      {{"qwen3_moe", 128, 8, 2048}, 768}};
  return isSmokeRun() ? tiny : models;
}

int innerSize(const Workload& workload) {
  for (const ExpertModel& m : expertModels())
    if (m.model.name == std::string(workload.model.name)) return m.inner;
  throw std::logic_error("an expert model without an inner size");
}

/// Weights, rows and plan of one call.
template <class ExecutionSpace>
struct ExpertSet {
  using Memory  = typename ExecutionSpace::memory_space;
  using Weights = Tokkos::ExpertWeights<float, Memory>;

  ExpertSet(const ExecutionSpace& space, const Workload& workload, int i)
      : plan(Tokkos::buildDispatchPlan(space, makeExpertIds(space, workload, i),
                                       workload.model.num_experts)),
        segments(Tokkos::readExpertSegments(space, plan)),
        input(makeRandom<float>(space, "input", plan.max_rows,
                                workload.model.hidden, i)),
        output(allocate<Matrix<float, Memory>>(space, "output", plan.max_rows,
                                               workload.model.hidden)) {
    const int E = workload.model.num_experts, H = workload.model.hidden;
    const int F  = innerSize(workload);
    weights.gate = makeWeights(space, E, F, H, 3 * i);
    weights.up   = makeWeights(space, E, F, H, 3 * i + 1);
    weights.down = makeWeights(space, E, H, F, 3 * i + 2);
  }

  static auto makeWeights(const ExecutionSpace& space, int experts, int rows,
                          int columns, int seed) {
    const auto view = allocate<typename Weights::Matrices>(
        space, "weights", experts, rows, columns);
    fillRandom(space, view, seed);
    return view;
  }

  Tokkos::DispatchPlan<Memory> plan;
  Tokkos::ExpertSegments segments;
  Weights weights;
  Matrix<float, Memory> input;
  Matrix<float, Memory> output;
};

/// The Views of a set, which a kernel can hold.
template <class ExecutionSpace>
struct ExpertViews {
  using Memory = typename ExecutionSpace::memory_space;
  Tokkos::ExpertWeights<float, Memory> weights;
  Matrix<float, Memory> input, output;
};

/// inner(f) of one row.
template <class Views>
struct ExpertInnerOfRow {
  Views set;
  Array<double, typename Views::Memory> inner;
  int row;
  int expert;

  KOKKOS_FUNCTION void operator()(int f) const {
    double gate = 0, up = 0;
    for (std::size_t h = 0; h < set.input.extent(1); ++h) {
      const double x = static_cast<double>(set.input(row, h));
      gate += x * static_cast<double>(set.weights.gate(expert, f, h));
      up += x * static_cast<double>(set.weights.up(expert, f, h));
    }
    inner(f) = gate / (1 + Kokkos::exp(-gate)) * up;
  }
};

/// The first, a middle and the last column of a row.
template <class Views>
struct CountWrongExpertColumns {
  ExpertInnerOfRow<Views> from;

  KOKKOS_FUNCTION void operator()(int i, int& wrong) const {
    const std::size_t last = from.set.output.extent(1) - 1;
    const std::size_t h    = i == 0 ? 0 : i == 1 ? last / 2 : last;
    double sum = 0, size = 0;
    for (std::size_t f = 0; f < from.inner.extent(0); ++f) {
      const double part =
          from.inner(f) *
          static_cast<double>(from.set.weights.down(from.expert, h, f));
      sum += part;
      size += Kokkos::abs(part);
    }
    const double off =
        Kokkos::abs(sum - static_cast<double>(from.set.output(from.row, h)));
    if (!(off <= 1e-5 * size)) ++wrong;
  }
};

/// What all ways share; Way::run(space, set) computes set.output.
template <class Way, class ExecutionSpace>
class ExpertSubject : public KokkosSubject<ExecutionSpace> {
 public:
  using Set = ExpertSet<ExecutionSpace>;

  ExpertSubject(const ExecutionSpace& space, const Workload& workload)
      : m_workspace(space, Set(space, workload, 0).plan.max_rows,
                    {workload.model.num_experts, workload.model.hidden,
                     innerSize(workload), true}) {
    for (int i = 0; i < 2; ++i)
      m_sets.emplace_back(space, workload, i);
  }

  static double minimumBytes(const Workload& workload) {
    const double H = workload.model.hidden, F = innerSize(workload);
    std::vector<int> ids = expertIds(workload, 0);
    std::sort(ids.begin(), ids.end());
    const auto experts =
        static_cast<double>(std::unique(ids.begin(), ids.end()) - ids.begin());
    return sizeof(float) *
           (experts * 3 * F * H + 2. * workload.numAssignments() * H);
  }

  int numSets() const { return static_cast<int>(m_sets.size()); }

  void call(const ExecutionSpace& space, int i) {
    Way::run(space, m_sets[static_cast<std::size_t>(i)], m_workspace);
  }

  std::string check(const ExecutionSpace& space) const {
    const Set& set = m_sets[0];
    int wrong      = 0;
    for (std::size_t e = 0; e < set.segments.counts.size(); ++e) {
      if (set.segments.counts[e] == 0) continue;
      const int last = set.segments.offsets[e] + set.segments.counts[e] - 1;
      wrong += checkRow(space, {set.weights, set.input, set.output}, last,
                        static_cast<int>(e));
    }
    return wrong == 0 ? "" : std::to_string(wrong) + " checked elements differ";
  }

 private:
  using Views = ExpertViews<ExecutionSpace>;

  static int checkRow(const ExecutionSpace& space, const Views& views, int row,
                      int expert) {
    using Policy = Kokkos::RangePolicy<ExecutionSpace, Kokkos::IndexType<int>>;
    const ExpertInnerOfRow<Views> inner{
        views,
        allocate<Array<double, typename ExecutionSpace::memory_space>>(
            space, "inner", views.weights.down.extent(2)),
        row, expert};
    Kokkos::parallel_for(
        "PerfTest::inner",
        Policy(space, 0, static_cast<int>(inner.inner.extent(0))), inner);
    int wrong = 0;
    Kokkos::parallel_reduce("PerfTest::check", Policy(space, 0, 3),
                            CountWrongExpertColumns<Views>{inner}, wrong);
    return wrong;
  }

  Tokkos::ExpertWorkspace<float, ExecutionSpace> m_workspace;
  std::vector<Set> m_sets;
};

template <class ExecutionSpace>
struct PerExpert : ExpertSubject<PerExpert<ExecutionSpace>, ExecutionSpace> {
  using ExpertSubject<PerExpert, ExecutionSpace>::ExpertSubject;

  template <class Set, class Workspace>
  static void run(const ExecutionSpace& space, const Set& set,
                  Workspace& workspace) {
    Tokkos::applyExperts(space, set.plan, set.segments, set.weights, set.input,
                         workspace, set.output,
                         {.products = Tokkos::ExpertProducts::per_expert});
  }
};

template <class ExecutionSpace>
struct Grouped : ExpertSubject<Grouped<ExecutionSpace>, ExecutionSpace> {
  using ExpertSubject<Grouped, ExecutionSpace>::ExpertSubject;

  template <class Set, class Workspace>
  static void run(const ExecutionSpace& space, const Set& set,
                  Workspace& workspace) {
    Tokkos::applyExperts(space, set.plan, set.weights, set.input, workspace,
                         set.output,
                         {.products = Tokkos::ExpertProducts::grouped});
  }
};

/// The products alone, whose result is not the experts': nothing between them.
template <class Way, class ExecutionSpace>
struct ProductsSubject : ExpertSubject<Way, ExecutionSpace> {
  using ExpertSubject<Way, ExecutionSpace>::ExpertSubject;

  std::string check(const ExecutionSpace& space) const {
    space.fence("PerfTest: products");
    return "";
  }
};

/// One team a tile of 32 x 32 results with KokkosBatched::TeamGemm.
struct TeamGemmTile {
  using Member   = Kokkos::TeamPolicy<>::member_type;
  using Memory   = Kokkos::DefaultExecutionSpace::memory_space;
  using Rows     = Matrix<float, Memory>;
  using Matrices = Kokkos::View<float***, Kokkos::LayoutRight, Memory>;
  static constexpr int tile = 32;

  Rows from, to;
  Matrices matrices;
  Kokkos::View<const int*, Memory> offsets, counts;
  int tiles_of_row;
  int tiles_of_expert;

  KOKKOS_FUNCTION void operator()(const Member& team) const {
    const int column = team.league_rank() % tiles_of_row * tile;
    const int rest   = team.league_rank() / tiles_of_row;
    const int expert = rest / tiles_of_expert;
    const int begin  = rest % tiles_of_expert * tile;
    if (begin >= counts(expert)) return;
    const int first = offsets(expert) + begin;
    const Kokkos::pair<int, int> rows(
        first, first + Kokkos::min(int(tile), counts(expert) - begin));
    const Kokkos::pair<int, int> columns(
        column, Kokkos::min(column + tile, matrices.extent_int(1)));
    KokkosBatched::TeamGemm<Member, KokkosBatched::Trans::NoTranspose,
                            KokkosBatched::Trans::Transpose,
                            KokkosBatched::Algo::Gemm::Blocked>::
        invoke(team, 1.f, Kokkos::subview(from, rows, Kokkos::ALL),
               Kokkos::subview(matrices, expert, columns, Kokkos::ALL), 0.f,
               Kokkos::subview(to, rows, columns));
  }
};

/// Products that KokkosBatched::TeamGemm makes, for Kokkos' default backend.
struct TeamGemm : ProductsSubject<TeamGemm, Kokkos::DefaultExecutionSpace> {
  using Space = Kokkos::DefaultExecutionSpace;
  using ProductsSubject<TeamGemm, Space>::ProductsSubject;

  template <class Set, class Workspace>
  static void run(const Space& space, const Set& set, Workspace& workspace) {
    const int F = workspace.shape.inner_size;
    const TeamGemmTile::Rows gate(workspace.projections.data(),
                                  set.input.extent(0), F);
    const TeamGemmTile::Rows up(gate.data() + gate.size(), set.input.extent(0),
                                F);
    launch(space, set, set.input, set.weights.gate, gate);
    launch(space, set, set.input, set.weights.up, up);
    launch(space, set, up, set.weights.down, set.output);
  }

  template <class Set>
  static void launch(const Space& space, const Set& set,
                     const TeamGemmTile::Rows& from,
                     const TeamGemmTile::Matrices& matrices,
                     const TeamGemmTile::Rows& to) {
    const int tile = TeamGemmTile::tile;
    const int E    = matrices.extent_int(0);
    int most_rows  = 0;
    for (const int count : set.segments.counts)
      most_rows = std::max(most_rows, count);
    const int of_row    = (matrices.extent_int(1) - 1) / tile + 1;
    const int of_expert = (most_rows - 1) / tile + 1;
    const int team_size = is_host_v<Space> ? 1 : 256;
    Kokkos::parallel_for(
        "PerfTest::teamGemm",
        Kokkos::TeamPolicy<Space>(space, E * of_expert * of_row, team_size),
        TeamGemmTile{from, to, matrices, set.plan.offsets, set.plan.counts,
                     of_row, of_expert});
  }
};

#ifdef TOKKOS_PERFTEST_BLAS
/// The host's BLAS, called directly.
template <class ExecutionSpace>
struct HostBlas : ProductsSubject<HostBlas<ExecutionSpace>, ExecutionSpace> {
  using ProductsSubject<HostBlas, ExecutionSpace>::ProductsSubject;

  template <class Set, class Workspace>
  static void run(const ExecutionSpace&, const Set& set, Workspace& workspace) {
    const int H = workspace.shape.hidden_size, F = workspace.shape.inner_size;
    for (std::size_t e = 0; e < set.segments.counts.size(); ++e) {
      const int rows = set.segments.counts[e];
      if (rows == 0) continue;
      const int first    = set.segments.offsets[e];
      float* const inner = &workspace.projections(first, 0);
      product(rows, F, H, &set.input(first, 0), H, &set.weights.gate(e, 0, 0),
              inner, 2 * F);
      product(rows, F, H, &set.input(first, 0), H, &set.weights.up(e, 0, 0),
              inner + F, 2 * F);
      product(rows, H, F, inner + F, 2 * F, &set.weights.down(e, 0, 0),
              &set.output(first, 0), H);
    }
  }

 private:
  /// c = a * b^T of row-major matrices, so columns for Fortran.
  static void product(int m, int n, int k, const float* a, int lda,
                      const float* b, float* c, int ldc) {
    const float one = 1, zero = 0;
    sgemm_("T", "N", &n, &m, &k, &one, b, &k, a, &lda, &zero, c, &ldc);
  }
};
#endif

#ifdef TOKKOS_PERFTEST_CUBLAS
/// cuBLAS by hand: the experts' products on as many streams as the library's, a
/// handle each.
class Cublas : public ProductsSubject<Cublas, Kokkos::Cuda> {
 public:
  using ProductsSubject<Cublas, Kokkos::Cuda>::ProductsSubject;

  template <class Set, class Workspace>
  static void run(const Kokkos::Cuda& space, const Set& set,
                  Workspace& workspace) {
    static Streams streams;
    streams.fork(space.cuda_stream());
    const int H = workspace.shape.hidden_size, F = workspace.shape.inner_size;
    for (std::size_t e = 0; e < set.segments.counts.size(); ++e) {
      const int rows = set.segments.counts[e];
      if (rows == 0) continue;
      const std::size_t first  = set.segments.offsets[e];
      cublasHandle_t handle    = streams.handle(e);
      float* const inner       = workspace.projections.data() + first * 2 * F;
      const float* const input = set.input.data() + first * H;
      const std::size_t matrix = e * F * H;
      product(handle, rows, F, H, input, H, set.weights.gate.data() + matrix,
              inner, 2 * F);
      product(handle, rows, F, H, input, H, set.weights.up.data() + matrix,
              inner + F, 2 * F);
      product(handle, rows, H, F, inner + F, 2 * F,
              set.weights.down.data() + matrix, set.output.data() + first * H,
              H);
    }
    streams.join(space.cuda_stream());
  }

 private:
  static void require(bool good, const char* what) {
    if (!good) throw std::runtime_error(what);
  }

  static void product(cublasHandle_t handle, int m, int n, int k,
                      const float* a, int lda, const float* b, float* c,
                      int ldc) {
    const float one = 1, zero = 0;
    require(cublasSgemm(handle, CUBLAS_OP_T, CUBLAS_OP_N, n, m, k, &one, b, k,
                        a, lda, &zero, c, ldc) == CUBLAS_STATUS_SUCCESS,
            "cublasSgemm failed");
  }

  struct Streams {
    static constexpr std::size_t number = 4;
    cudaStream_t stream[number];
    cublasHandle_t of_stream[number];
    cudaEvent_t event[number + 1];

    Streams() {
      for (std::size_t i = 0; i < number; ++i) {
        require(cudaStreamCreate(&stream[i]) == cudaSuccess, "no stream");
        require(cublasCreate(&of_stream[i]) == CUBLAS_STATUS_SUCCESS &&
                    cublasSetStream(of_stream[i], stream[i]) ==
                        CUBLAS_STATUS_SUCCESS,
                "no cuBLAS");
      }
      for (cudaEvent_t& e : event)
        require(
            cudaEventCreateWithFlags(&e, cudaEventDisableTiming) == cudaSuccess,
            "no event");
    }
    cublasHandle_t handle(std::size_t e) const { return of_stream[e % number]; }
    void fork(cudaStream_t from) {
      require(cudaEventRecord(event[number], from) == cudaSuccess, "fork");
      for (std::size_t i = 0; i < number; ++i)
        require(cudaStreamWaitEvent(stream[i], event[number], 0) == cudaSuccess,
                "fork");
    }
    void join(cudaStream_t to) {
      for (std::size_t i = 0; i < number; ++i)
        require(cudaEventRecord(event[i], stream[i]) == cudaSuccess &&
                    cudaStreamWaitEvent(to, event[i], 0) == cudaSuccess,
                "join");
    }
  };
};
#endif

void addExperts() {
  for (const ExpertModel& m : expertModels())
    for (const int tokens :
         isSmokeRun() ? std::vector<int>{9}
                      : std::vector<int>{16, 64, 256, 512, 1024, 4096})
      for (const Routing routing : {Routing::uniform, Routing::zipf}) {
        const Workload workload{m.model, tokens, routing};
        forEachBackend([&](auto backend) {
          using Space = typename decltype(backend)::type;
          add<PerExpert<Space>>("applyExperts", workload, "per_expert");
          add<Grouped<Space>>("applyExperts", workload, "grouped");
#ifdef TOKKOS_PERFTEST_BLAS
          if constexpr (is_host_v<Space>)
            add<HostBlas<Space>>("expertProducts", workload, "blas");
#endif
        });
        add<TeamGemm>("expertProducts", workload, "team_gemm");
#ifdef TOKKOS_PERFTEST_CUBLAS
        add<Cublas>("expertProducts", workload, "cublas");
#endif
      }
}

}  // namespace PerfTest

#else

namespace PerfTest {
void addExperts() {}
}  // namespace PerfTest

#endif
