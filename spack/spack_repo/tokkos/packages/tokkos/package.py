# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
# SPDX-FileCopyrightText: Copyright Contributors to the Tokkos project

from pathlib import Path

from spack_repo.builtin.build_systems.cmake import CMakePackage
from spack_repo.builtin.build_systems.cuda import CudaPackage
from spack_repo.builtin.build_systems.rocm import ROCmPackage

from spack.package import *


class Tokkos(CMakePackage, CudaPackage, ROCmPackage):
    """Mixture-of-Experts token dispatch on Kokkos: routing, dispatch plan,
    permute and combine with the same bits on every backend."""

    # This recipe lies in a checkout of the sources that it builds.
    git = Path(__file__).resolve().parents[5].as_uri()

    test_requires_compiler = True

    license("Apache-2.0 WITH LLVM-exception")

    version("main", branch="main")

    variant("openmp", default=True, description="Use a Kokkos with OpenMP")
    variant("serial", default=False, description="Use a Kokkos with Serial")
    variant("kokkos_kernels", default=False, description="Kokkos Kernels, to compute experts with")
    variant("shared", default=True, description="Build a shared library")
    variant("tests", default=False, description="Build the unit tests")

    depends_on("cxx", type="build")
    depends_on("cmake@3.22:", type=("build", "test"))
    # Older ones do not pass the C++ standard to nvcc 13.
    depends_on("cmake@3.28:", type=("build", "test"), when="+cuda")
    depends_on("googletest@1.12:", when="+tests")

    # Kokkos decides the backends, and on which device: what is asked of Tokkos
    # is asked of Kokkos.
    depends_on("kokkos@4.7.1:5")
    depends_on("kokkos cxxstd=20", when="^kokkos@4")
    depends_on("kokkos +pic", when="+shared")
    depends_on("kokkos +cuda_lambda", when="+cuda ^kokkos@4")
    depends_on("kokkos +wrapper", when="+cuda %gcc")
    depends_on("kokkos-kernels@4.7.1:5", when="+kokkos_kernels")
    # The experts' products are the vendor's.
    depends_on("kokkos-kernels +blas", when="+kokkos_kernels")
    depends_on("kokkos-kernels +cublas", when="+kokkos_kernels +cuda")
    depends_on("kokkos-kernels +rocblas", when="+kokkos_kernels +rocm")
    for backend in ("openmp", "serial"):
        depends_on(f"kokkos +{backend}", when=f"+{backend}")
        depends_on(f"kokkos-kernels +{backend}", when=f"+kokkos_kernels +{backend}")
    for arch in CudaPackage.cuda_arch_values:
        device = f"+cuda cuda_arch={arch}"
        depends_on(f"kokkos {device}", when=device)
        depends_on(f"kokkos-kernels {device}", when=f"+kokkos_kernels {device}")
    for target in ROCmPackage.amdgpu_targets:
        device = f"+rocm amdgpu_target={target}"
        depends_on(f"kokkos {device}", when=device)

    conflicts("~openmp ~serial", msg="Kokkos needs a host backend: +openmp or +serial")
    conflicts("+cuda", when="+rocm", msg="Kokkos has one device backend")
    conflicts("cuda_arch=none", when="+cuda", msg="+cuda needs a cuda_arch")
    conflicts("amdgpu_target=none", when="+rocm", msg="+rocm needs an amdgpu_target")

    sanity_check_is_file = [
        join_path("include", "Tokkos.hpp"),
        join_path("include", "Tokkos", "Config.hpp"),
        join_path("share", "Tokkos", "examples", "CMakeLists.txt"),
    ]

    def compiler_args(self):
        """The compiler that Kokkos' backend wants."""
        if self.spec.satisfies("+rocm"):
            return [self.define("CMAKE_CXX_COMPILER", self.spec["hip"].hipcc)]
        if self.spec.satisfies("+cuda"):
            return [self.define("CMAKE_CXX_COMPILER", self["kokkos"].kokkos_cxx)]
        return []

    def kernels_args(self):
        """Where Kokkos Kernels is, for what needs it."""
        if self.spec.satisfies("+kokkos_kernels"):
            return [self.define("KokkosKernels_ROOT", self.spec["kokkos-kernels"].prefix)]
        return []

    def cmake_args(self):
        return (
            [
                self.define_from_variant("BUILD_SHARED_LIBS", "shared"),
                self.define_from_variant("Tokkos_ENABLE_UNIT_TESTS", "tests"),
                self.define("Tokkos_ENABLE_EXAMPLES", False),
                self.define("Tokkos_ENABLE_PERF_TESTS", False),
                self.define_from_variant("Tokkos_ENABLE_EXPERTS", "kokkos_kernels"),
                self.define("Kokkos_ROOT", self.spec["kokkos"].prefix),
            ]
            + self.kernels_args()
            + self.compiler_args()
        )

    def test_examples(self):
        """build the installed examples against the installation and run them"""
        cmake = Executable(self.spec["cmake"].prefix.bin.cmake)
        ctest = Executable(self.spec["cmake"].prefix.bin.ctest)
        cmake(
            "-S",
            join_path(self.prefix.share, "Tokkos", "examples"),
            "-B",
            "build",
            self.define("Tokkos_ROOT", self.prefix),
            self.define("Kokkos_ROOT", self.spec["kokkos"].prefix),
            *self.kernels_args(),
            *self.compiler_args(),
        )
        cmake("--build", "build")
        ctest("--test-dir", "build", "--output-on-failure", "--no-tests=error")
