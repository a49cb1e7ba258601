// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// SPDX-FileCopyrightText: Copyright Contributors to the Tokkos project

#include <Tokkos.hpp>

// As misuse.cpp, of what needs Kokkos Kernels.
using Space = Kokkos::DefaultHostExecutionSpace;

#if CASE == 0
Tokkos::MoELayer<float, Space> layer;
#elif CASE == 1
Tokkos::MoELayer<int, Space> layer;
#elif CASE == 2
Tokkos::MoELayer<float, Kokkos::HostSpace> layer;
#endif
