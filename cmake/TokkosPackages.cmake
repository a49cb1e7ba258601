# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
# SPDX-FileCopyrightText: Copyright Contributors to the Tokkos project

# What `cpack` makes: tokkos-VERSION-SYSTEM.tar.gz, and a Debian package that is
# good where Kokkos is Debian's too.

# The Debian packages that files belong to, with the version that is installed
# as the lowest one; without duplicates, and without files that dpkg does not
# know.
function(tokkos_debian_packages_of result)
  set(packages "")
  foreach(file ${ARGN})
    file(REAL_PATH ${file} file)
    execute_process(COMMAND ${Tokkos_DPKG_QUERY} --search ${file}
                    OUTPUT_VARIABLE owner ERROR_QUIET)
    if(owner MATCHES "^([^:,]+)(:[a-z0-9]+)?: ")
      set(package ${CMAKE_MATCH_1})
      execute_process(
        COMMAND ${Tokkos_DPKG_QUERY} --show
                "--showformat=\${source:Upstream-Version}" ${package}
        OUTPUT_VARIABLE version)
      list(APPEND packages "${package} (>= ${version})")
    endif()
  endforeach()
  list(REMOVE_DUPLICATES packages)
  list(JOIN packages ", " packages)
  set(${result} "${packages}" PARENT_SCOPE)
endfunction()

set(CPACK_GENERATOR TGZ)
set(CPACK_PACKAGE_NAME tokkos)
set(CPACK_PACKAGE_VENDOR "Tokkos")
set(CPACK_PACKAGE_CONTACT "Contributors to the Tokkos project")
set(CPACK_PACKAGE_DESCRIPTION_SUMMARY "${PROJECT_DESCRIPTION}")
set(CPACK_RESOURCE_FILE_LICENSE ${PROJECT_SOURCE_DIR}/LICENSE)

find_program(Tokkos_DPKG_QUERY dpkg-query)
mark_as_advanced(Tokkos_DPKG_QUERY)
if(Tokkos_DPKG_QUERY)
  list(APPEND CPACK_GENERATOR DEB)
  set(kokkos_files ${Kokkos_DIR}/KokkosConfig.cmake)
  if(TARGET Kokkos::kokkoscore)
    get_target_property(imported Kokkos::kokkoscore IMPORTED)
    if(imported)
      get_target_property(library Kokkos::kokkoscore LOCATION)
      list(APPEND kokkos_files ${library})
    endif()
  endif()
  if(Tokkos_Experts_FOUND)
    list(APPEND kokkos_files ${KokkosKernels_DIR}/KokkosKernelsConfig.cmake)
  endif()
  tokkos_debian_packages_of(CPACK_DEBIAN_PACKAGE_DEPENDS ${kokkos_files})
endif()
set(CPACK_DEBIAN_PACKAGE_NAME libtokkos-dev)
set(CPACK_DEBIAN_PACKAGE_SECTION libdevel)
set(CPACK_DEBIAN_FILE_NAME DEB-DEFAULT)
set(CPACK_DEBIAN_PACKAGE_DESCRIPTION
    "Top-k routing, dispatch plan, permute and combine for the layers of a Mixture
of Experts, with the same results on every backend of Kokkos.")
# The loader's cache, as for any library in a folder of the system.
file(WRITE ${PROJECT_BINARY_DIR}/debian/triggers "activate-noawait ldconfig\n")
set(CPACK_DEBIAN_PACKAGE_CONTROL_EXTRA ${PROJECT_BINARY_DIR}/debian/triggers)
include(CPack)
