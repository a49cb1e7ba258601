// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// SPDX-FileCopyrightText: Copyright Contributors to the Tokkos project

#ifndef TOKKOS_IMPL_EXPERTBLAS_HPP
#define TOKKOS_IMPL_EXPERTBLAS_HPP

#include <KokkosBlas3_gemm.hpp>
#include <Kokkos_Core.hpp>

#include <cstdint>
#include <mutex>
#include <utility>

// KokkosBlas::gemm for row-major matrices whose rows may lie apart.
namespace Tokkos::Impl {

/// Held while calls of Kokkos Kernels are enqueued: it has one BLAS handle,
/// whose stream every call changes.
inline std::mutex& blasMutex() {
  static std::mutex mutex;
  return mutex;
}

template <class Real>
struct BlasMatrix {
  Real* data;
  std::int64_t row_stride;
  int rows;
  int columns;
};

template <class ExecutionSpace, class Real>
auto blasView(const BlasMatrix<Real>& matrix) {
  using Memory = typename ExecutionSpace::memory_space;
  using View   = Kokkos::View<Real**, Kokkos::LayoutRight,
                              Kokkos::Device<ExecutionSpace, Memory>,
                              Kokkos::MemoryTraits<Kokkos::Unmanaged>>;
  const View whole(matrix.data, static_cast<std::size_t>(matrix.rows),
                   static_cast<std::size_t>(matrix.row_stride));
  return View(
      Kokkos::subview(whole, Kokkos::ALL, std::make_pair(0, matrix.columns)));
}

/// c = op(a) * op(b) + beta * c, where op is 'N' or 'T'. pre-condition: no
/// extent is 0, the caller holds the mutex, and where neither factor is
/// transposed the rows of b have no gaps.
template <class ExecutionSpace, class Real>
void gemm(const ExecutionSpace& space, char op_a, BlasMatrix<const Real> a,
          char op_b, BlasMatrix<const Real> b, Real beta,
          const BlasMatrix<Real>& c) {
  // Kokkos Kernels takes a right factor of one column that is not transposed
  // for a vector, and the result for one without gaps. It is a row as well.
  if (op_a == 'N' && op_b == 'N' && b.columns == 1) {
    op_b = 'T';
    b    = {b.data, b.rows, 1, b.rows};
  }
  const char name_a[] = {op_a, '\0'};
  const char name_b[] = {op_b, '\0'};
  KokkosBlas::gemm(space, name_a, name_b, Real(1), blasView<ExecutionSpace>(a),
                   blasView<ExecutionSpace>(b), beta,
                   blasView<ExecutionSpace>(c));
}

}  // namespace Tokkos::Impl

#endif
