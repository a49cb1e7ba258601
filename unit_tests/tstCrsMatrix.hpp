// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// SPDX-FileCopyrightText: Copyright Contributors to the Tokkos project

#include "TestSupport.hpp"

#include <Tokkos/CrsMatrix.hpp>

#include <KokkosSparse_spmv.hpp>

// The plan as a matrix of Kokkos Kernels, whose product is another combine.
namespace Test {

template <class Real>
void testProduct(int num_tokens, int top_k, int num_experts, int width,
                 const Tokkos::PlanOptions<MemorySpace>& options) {
  SCOPED_TRACE("T=" + std::to_string(num_tokens));
  Random random;
  const ExecutionSpace space;
  const auto n       = static_cast<std::size_t>(num_tokens * top_k);
  const auto ids     = random.ids(n, num_experts, true, true);
  const auto plan    = Tokkos::buildDispatchPlan(space, makeMatrix(ids, top_k),
                                                 num_experts, options);
  const auto weights = makeMatrix(random.reals<Real>(n), top_k);
  const auto rows    = static_cast<std::size_t>(plan.max_rows);
  const auto columns = static_cast<std::size_t>(width);
  const auto batch =
      makeRows<LeftMatrix<Real>>(random.reals<Real>(rows * columns), columns);
  const Matrix<Real> combined("combined", plan.num_tokens, columns);
  const LeftMatrix<Real> product("product", plan.num_tokens, columns);
  Kokkos::deep_copy(product, NAN);

  const auto matrix = Tokkos::crsMatrix(space, plan, weights);
  EXPECT_EQ(num_tokens, matrix.numRows());
  EXPECT_EQ(plan.max_rows, matrix.numCols());
  int with_row = 0;
  for (const int row : toVector(plan.row_of_assignment))
    with_row += row >= 0;
  EXPECT_EQ(with_row, matrix.nnz());
  Tokkos::combine(space, plan, batch, weights, combined);
  if (num_tokens > 0)
    KokkosSparse::spmv(space, "N", Real(1), matrix, batch, Real(0), product);
  space.fence();

  // Terms of at most 16, top_k of them, in any order, fused or not.
  const double bound =
      2. * top_k * top_k * 16 *
      static_cast<double>(Kokkos::Experimental::epsilon_v<Real>);
  const auto expected = toVector(combined), actual = toVector(product);
  for (std::size_t i = 0; i < expected.size(); ++i)
    ASSERT_NEAR(expected[i], actual[i], bound) << "element " << i;
}

TEST(CrsMatrix, ItsProductIsCombine) {
  testProduct<float>(300, 4, 12, 9, {});
  testProduct<double>(300, 4, 12, 9, {.capacity = 70, .alignment = 8});
  testProduct<float>(5, 1, 1, 1, {});
  testProduct<double>(0, 2, 4, 3, {});
}

}  // namespace Test
