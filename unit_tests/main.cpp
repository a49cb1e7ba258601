// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// SPDX-FileCopyrightText: Copyright Contributors to the Tokkos project

#include <Kokkos_Core.hpp>

#include <gtest/gtest.h>

#include <cstdint>
#include <string_view>

// Listing the tests must work on a build host without a device, so Kokkos is
// started only to run some.
int main(int argc, char* argv[]) {
  for (int i = 1; i < argc; ++i)
    if (std::string_view(argv[i]) == "--gtest_list_tests") {
      testing::InitGoogleTest(&argc, argv);
      return RUN_ALL_TESTS();
    }
  // Kokkos asks a tool once, while it starts. A tool that wants a fence around
  // its callbacks would hide whether Tokkos fences.
  Kokkos::Tools::Experimental::set_request_tool_settings_callback(
      [](const std::uint32_t, Kokkos_Tools_ToolSettings* settings) {
        settings->requires_global_fencing = false;
      });
  Kokkos::ScopeGuard kokkos(argc, argv);
  testing::InitGoogleTest(&argc, argv);
  const int result = RUN_ALL_TESTS();
  // A filter that matches nothing is a mistake, not a success.
  const auto* const tests = testing::UnitTest::GetInstance();
  return tests->test_to_run_count() > 0 ? result : 1;
}
