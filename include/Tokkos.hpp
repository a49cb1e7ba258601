// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// SPDX-FileCopyrightText: Copyright Contributors to the Tokkos project

#ifndef TOKKOS_HPP
#define TOKKOS_HPP

// The one include of an application. The data walks down these floors:
// logits -> routeTopK -> ids, weights -> buildDispatchPlan -> plan
//        -> permute -> batch -> experts -> batch -> combine -> output
#include <Tokkos/Version.hpp>
#include <Tokkos/Router.hpp>
#include <Tokkos/DispatchPlan.hpp>
#include <Tokkos/Permute.hpp>
#include <Tokkos/Combine.hpp>
#include <Tokkos/Gradients.hpp>
#include <Tokkos/LoadBalance.hpp>
#include <Tokkos/Crs.hpp>
#include <Tokkos/Stages.hpp>
#include <Tokkos/Impl/Instances.hpp>
#ifdef TOKKOS_ENABLE_KOKKOSKERNELS
#include <Tokkos/Experts.hpp>
#include <Tokkos/MoELayer.hpp>
#endif

#endif
