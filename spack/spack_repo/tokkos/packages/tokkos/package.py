# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
# SPDX-FileCopyrightText: Copyright Contributors to the Tokkos project

from pathlib import Path

from spack_repo.builtin.build_systems.cmake import CMakePackage
from spack_repo.builtin.build_systems.cuda import CudaPackage

from spack.package import *


class Tokkos(CMakePackage, CudaPackage):
    """Mixture-of-Experts token dispatch on Kokkos: routing, dispatch plan,
    permute and combine with the same bits on every backend."""

    # This recipe lies in a checkout of the sources that it builds.
    git = Path(__file__).resolve().parents[5].as_uri()

    license("Apache-2.0 WITH LLVM-exception")

    version("main", branch="main")

    variant("openmp", default=True, description="Use a Kokkos with OpenMP")
    variant("shared", default=True, description="Build a shared library")
    variant("tests", default=False, description="Build the unit tests")

    depends_on("cxx", type="build")
    depends_on("cmake@3.22:", type="build")
    depends_on("kokkos@4.7.1:5")
    depends_on("kokkos +openmp", when="+openmp")
    depends_on("kokkos +wrapper", when="+cuda %gcc")
    for arch in CudaPackage.cuda_arch_values:
        depends_on(
            f"kokkos +cuda cuda_arch={arch}", when=f"+cuda cuda_arch={arch}"
        )
    depends_on("googletest@1.12:", type=("build", "test"), when="+tests")

    conflicts("cuda_arch=none", when="+cuda", msg="+cuda needs a cuda_arch")

    sanity_check_is_file = [join_path("include", "Tokkos.hpp")]

    def cmake_args(self):
        args = [
            self.define_from_variant("BUILD_SHARED_LIBS", "shared"),
            self.define_from_variant("Tokkos_ENABLE_UNIT_TESTS", "tests"),
            self.define("Tokkos_ENABLE_EXAMPLES", False),
            self.define("Tokkos_ENABLE_PERF_TESTS", False),
        ]
        # The compiler that a Kokkos with CUDA was built with is a wrapper.
        if self.spec.satisfies("+cuda"):
            args.append(
                self.define("CMAKE_CXX_COMPILER", self["kokkos"].kokkos_cxx)
            )
        return args
