// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// SPDX-FileCopyrightText: Copyright Contributors to the Tokkos project

#ifndef TOKKOS_EXPERTOPTIONS_HPP
#define TOKKOS_EXPERTOPTIONS_HPP

namespace Tokkos {

/// The function between the two products of an expert.
enum class Activation {
  silu,       ///< x / (1 + e^-x); with a gate, SwiGLU
  gelu,       ///< x / 2 * (1 + erf(x / sqrt 2))
  gelu_tanh,  ///< x / 2 * (1 + tanh(sqrt(2 / pi) * (x + 0.044715 * x^3)))
  relu        ///< max(x, 0)
};

/// Who computes the matrix products of the experts.
enum class ExpertProducts {
  automatic,   ///< per_expert where the experts have many rows and the host
               ///< knows how many, else grouped
  per_expert,  ///< the BLAS, an expert at a time, several at once on a device
  grouped      ///< Tokkos, all experts in one launch; the host knows no counts
};

/// How the experts compute.
struct ExpertOptions {
  Activation activation   = Activation::silu;           ///< between products
  ExpertProducts products = ExpertProducts::automatic;  ///< who computes them
};

/// The sizes of a layer's experts.
struct ExpertShape {
  int num_experts = 0;      ///< E
  int hidden_size = 0;      ///< H, of the tokens
  int inner_size  = 0;      ///< F, between the products
  bool gated      = false;  ///< whether a gate multiplies the inner values
};

}  // namespace Tokkos

#endif
