# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
# SPDX-FileCopyrightText: Copyright Contributors to the Tokkos project

# Warnings for Tokkos' own sources; private, so that no user inherits them.
# In a CUDA build the host compiler also sees the code that nvcc generates,
# whose line markers -Wpedantic rejects: there the flag is left out, and
# warnings never become errors.
function(tokkos_set_warnings target)
  if(NOT CMAKE_CXX_COMPILER_ID MATCHES "GNU|Clang")
    return()
  endif()
  set(warnings -Wall -Wextra -Wshadow -Wconversion)
  if(CMAKE_CXX_COMPILER_ID MATCHES "Clang")
    list(APPEND warnings -Wno-sign-conversion) # GCC's -Wconversion has no signs
  endif()
  if(NOT Kokkos_ENABLE_CUDA)
    list(APPEND warnings -Wpedantic)
    if(Tokkos_ENABLE_WARNINGS_AS_ERRORS)
      list(APPEND warnings -Werror)
    endif()
  endif()
  target_compile_options(${target} PRIVATE ${warnings})
endfunction()

# A Kokkos that was built with its backend as a CMake language
# (Kokkos_COMPILE_LANGUAGE) hands its flags only to sources of that language.
function(tokkos_mark_language target)
  if(NOT DEFINED Kokkos_COMPILE_LANGUAGE OR Kokkos_COMPILE_LANGUAGE STREQUAL "CXX")
    return()
  endif()
  get_target_property(sources ${target} SOURCES)
  list(FILTER sources INCLUDE REGEX "\\.cpp$")
  set_source_files_properties(${sources} TARGET_DIRECTORY ${target}
                              PROPERTIES LANGUAGE ${Kokkos_COMPILE_LANGUAGE})
endfunction()

# A program of this project: a test, a benchmark or an example.
function(tokkos_add_executable target)
  add_executable(${target} ${ARGN})
  target_link_libraries(${target} PRIVATE Tokkos::Tokkos)
  tokkos_set_warnings(${target})
  tokkos_mark_language(${target})
endfunction()

# Finds Kokkos Kernels, unless the user does not want it, and sets
# Tokkos_KOKKOSKERNELS to its target and Tokkos_Experts_FOUND. It has one name in
# upstream's package and another in Trilinos', which is Debian's.
macro(tokkos_find_kokkos_kernels)
  set(Tokkos_KOKKOSKERNELS "")
  if(Tokkos_ENABLE_EXPERTS AND NOT TARGET Kokkos::kokkoskernels)
    find_package(KokkosKernels CONFIG QUIET)
  endif()
  if(Tokkos_ENABLE_EXPERTS)
    foreach(candidate KokkosKernels::all_libs Kokkos::kokkoskernels)
      if(TARGET ${candidate})
        set(Tokkos_KOKKOSKERNELS ${candidate})
      endif()
    endforeach()
  endif()
  if(Tokkos_KOKKOSKERNELS)
    set(Tokkos_Experts_FOUND TRUE)
    message(STATUS "Kokkos Kernels: ${Tokkos_KOKKOSKERNELS} in ${KokkosKernels_DIR}")
  else()
    set(Tokkos_Experts_FOUND FALSE)
    if(Tokkos_ENABLE_EXPERTS AND NOT Tokkos_ENABLE_EXPERTS STREQUAL "AUTO")
      message(FATAL_ERROR "Tokkos_ENABLE_EXPERTS: found no Kokkos Kernels "
                          "(KokkosKernels_ROOT says where it is). "
                          "${KokkosKernels_NOT_FOUND_MESSAGE}")
    endif()
  endif()
endmacro()
