// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// SPDX-FileCopyrightText: Copyright Contributors to the Tokkos project

#ifndef TOKKOS_PERFTEST_REGISTRY_HPP
#define TOKKOS_PERFTEST_REGISTRY_HPP

// Every source registers its benchmarks, for all enabled backends, here.
namespace PerfTest {

void addPlan();                // updateDispatchPlan
void addStages();              // plainStages, countExperts
void addRows();                // permute, unpermute, combine, gradients of rows
void addRowCeilings();         // permuteCeiling, combineCeiling
void addRouter();              // routeTopK
void addLayer();               // layerAround, with Kokkos Kernels
void addExperts();             // applyExperts, where Kokkos Kernels was found
void addHostBaselines();       // countingSort, stableSort, memcpyRows
void addSortByKeyBaselines();  // sortByKey
void addCubBaselines();        // cubRadixSort, where CUDA is enabled

/// Facts about library, machine and environment for the head of the results.
/// Kokkos must be initialised.
void addContext();

}  // namespace PerfTest

#endif
