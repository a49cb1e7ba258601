# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
# SPDX-FileCopyrightText: Copyright Contributors to the Tokkos project

# Every line of README's text block must be one that the demo prints for TEXT.
file(READ ${README} readme)
string(REGEX MATCH "```text\n([^`]*)```" block "${readme}")
set(shown "${CMAKE_MATCH_1}")
execute_process(COMMAND ${PROGRAM} ${TEXT} OUTPUT_VARIABLE printed
                COMMAND_ERROR_IS_FATAL ANY)
if(shown STREQUAL "")
  message(FATAL_ERROR "README.md shows nothing of the demo")
endif()
string(REPLACE "\n" ";" lines "${shown}")
foreach(line ${lines})
  string(FIND "\n${printed}" "\n${line}\n" place)
  if(place EQUAL -1 AND NOT line STREQUAL "...")
    message(FATAL_ERROR "the demo does not print '${line}':\n${printed}")
  endif()
endforeach()
