# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
# SPDX-FileCopyrightText: Copyright Contributors to the Tokkos project

# Configures, builds and tests the project in DOWNSTREAM_DIR as a user would.
# Without Tokkos_DIR or OPTIONS (separated by |) it first installs BINARY_DIR to
# a fresh prefix, and the project finds that.
set(build ${WORK_DIR}/build)
file(REMOVE_RECURSE ${WORK_DIR})

function(run)
  execute_process(COMMAND ${ARGN} RESULT_VARIABLE failed)
  if(failed)
    list(JOIN ARGN " " command)
    message(FATAL_ERROR "failed: ${command}")
  endif()
endfunction()

if(DEFINED OPTIONS)
  string(REPLACE "|" ";" options "${OPTIONS}")
elseif(DEFINED Tokkos_DIR)
  set(options -DTokkos_DIR=${Tokkos_DIR})
else()
  set(prefix ${WORK_DIR}/prefix)
  set(options -DTokkos_ROOT=${prefix})
  run(${CMAKE_COMMAND} --install ${BINARY_DIR} --prefix ${prefix} --config ${CONFIG})
endif()
# A copy elsewhere finds nothing by a relative path into the sources.
file(COPY ${DOWNSTREAM_DIR}/ DESTINATION ${WORK_DIR}/source)
run(${CMAKE_COMMAND} -S ${WORK_DIR}/source -B ${build} -G ${GENERATOR}
    -DCMAKE_BUILD_TYPE=${CONFIG} ${options} -DKokkos_DIR=${Kokkos_DIR}
    -DKokkosKernels_DIR=${KokkosKernels_DIR}
    -DCMAKE_CXX_COMPILER=${CXX_COMPILER} -DCMAKE_CXX_FLAGS=${CXX_FLAGS})
run(${CMAKE_COMMAND} --build ${build} --config ${CONFIG})
run(${CTEST_COMMAND} --test-dir ${build} -C ${CONFIG} --output-on-failure
    --no-tests=error)
