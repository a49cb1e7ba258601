# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
# SPDX-FileCopyrightText: Copyright Contributors to the Tokkos project

# Runs a page of the guide and compares what it prints with what the page says.
execute_process(
  COMMAND ${PROGRAM} ${PAGE} OUTPUT_VARIABLE printed ERROR_VARIABLE errors
  RESULT_VARIABLE failed)
file(READ ${EXPECTED} expected)
if(failed)
  message(FATAL_ERROR "${PAGE} ended with ${failed}:\n${printed}${errors}")
endif()
if(NOT printed STREQUAL expected)
  message(FATAL_ERROR "${PAGE} printed\n${printed}and the page says\n${expected}")
endif()
