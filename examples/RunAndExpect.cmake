# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
# SPDX-FileCopyrightText: Copyright Contributors to the Tokkos project

# Runs a program and checks how it ends and what it says:
#   cmake -DEXIT=2 "-DEXPECT=REGEX" [-DFILE=F "-DFILE_EXPECT=REGEX"]
#         -P RunAndExpect.cmake -- PROGRAM ARGUMENTS...
# Bad input (exit code 2) must give one line on stderr.

set(command "")
set(seen FALSE)
math(EXPR last "${CMAKE_ARGC} - 1")
foreach(i RANGE ${last})
  if(seen)
    list(APPEND command "${CMAKE_ARGV${i}}")
  elseif(CMAKE_ARGV${i} STREQUAL "--")
    set(seen TRUE)
  endif()
endforeach()

if(DEFINED FILE)
  file(REMOVE "${FILE}")
endif()
execute_process(COMMAND ${command} RESULT_VARIABLE exit OUTPUT_VARIABLE out
                ERROR_VARIABLE err)
message("${out}${err}")
if(NOT exit STREQUAL EXIT)
  message(FATAL_ERROR "exit code ${exit}, expected ${EXIT}")
endif()
if(NOT "${out}${err}" MATCHES "${EXPECT}")
  message(FATAL_ERROR "no '${EXPECT}' in the output")
endif()
if(EXIT EQUAL 2 AND NOT err MATCHES "^[^\n]+\n$")
  message(FATAL_ERROR "expected one line on stderr")
endif()
if(DEFINED FILE)
  file(READ "${FILE}" contents)
  if(NOT contents MATCHES "${FILE_EXPECT}")
    message(FATAL_ERROR "no '${FILE_EXPECT}' in ${FILE}:\n${contents}")
  endif()
endif()
