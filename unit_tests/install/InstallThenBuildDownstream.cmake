# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
# SPDX-FileCopyrightText: Copyright Contributors to the Tokkos project

# Installs BINARY_DIR to a fresh prefix, then configures, builds and tests the
# project in DOWNSTREAM_DIR against it, as a user would.
set(prefix ${WORK_DIR}/prefix)
set(build ${WORK_DIR}/build)
file(REMOVE_RECURSE ${WORK_DIR})

function(run)
  execute_process(COMMAND ${ARGN} RESULT_VARIABLE failed)
  if(failed)
    list(JOIN ARGN " " command)
    message(FATAL_ERROR "failed: ${command}")
  endif()
endfunction()

run(${CMAKE_COMMAND} --install ${BINARY_DIR} --prefix ${prefix} --config ${CONFIG})
# A copy elsewhere finds nothing by a relative path into the sources.
file(COPY ${DOWNSTREAM_DIR}/ DESTINATION ${WORK_DIR}/source)
run(${CMAKE_COMMAND} -S ${WORK_DIR}/source -B ${build} -G ${GENERATOR}
    -DCMAKE_BUILD_TYPE=${CONFIG} -DTokkos_ROOT=${prefix} -DKokkos_DIR=${Kokkos_DIR}
    -DCMAKE_CXX_COMPILER=${CXX_COMPILER} -DCMAKE_CXX_FLAGS=${CXX_FLAGS})
run(${CMAKE_COMMAND} --build ${build} --config ${CONFIG})
run(${CTEST_COMMAND} --test-dir ${build} -C ${CONFIG} --output-on-failure
    --no-tests=error)
