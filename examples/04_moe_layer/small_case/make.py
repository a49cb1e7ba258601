#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
# SPDX-FileCopyrightText: Copyright Contributors to the Tokkos project
"""Makes the arrays in this folder with NumPy: five tokens, four experts, two
choices, a shared expert with a gate. expected.npy comes from the formula below,
in double, rounded to float at the end."""

from pathlib import Path

import numpy as np

T, E, K, H, F, S = 5, 4, 2, 6, 3, 5


def numbers(seed, *shape):
    """Numbers in (-1, 1) that need no generator."""
    n = np.arange(np.prod(shape))
    return np.sin(seed + 1.7 * n + 0.3 * n * n).reshape(shape).astype(np.float32)


def silu(x):
    return x / (1 + np.exp(-x))


def network(x, gate, up, down):
    return down @ (silu(gate @ x) * (up @ x))


arrays = {
    "input": numbers(1, T, H),
    "gate.weight": numbers(2, E, H),
    "experts.gate_up_proj": numbers(3, E, 2 * F, H),
    "experts.down_proj": numbers(4, E, H, F),
    "shared_experts.gate_proj.weight": numbers(5, S, H),
    "shared_experts.up_proj.weight": numbers(6, S, H),
    "shared_experts.down_proj.weight": numbers(7, H, S),
    "shared_expert_gate.weight": numbers(8, 1, H),
}
x, router, gate_up, down, *shared, shared_gate = (a.astype(np.float64) for a in arrays.values())

output = np.empty((T, H))
for t in range(T):
    scores = np.exp(router @ x[t])
    chosen = np.argsort(-scores, kind="stable")[:K]
    weights = scores[chosen] / scores[chosen].sum()
    output[t] = network(x[t], *shared) / (1 + np.exp(-shared_gate[0] @ x[t]))
    for e, weight in zip(chosen, weights):
        output[t] += weight * network(x[t], gate_up[e, :F], gate_up[e, F:], down[e])

arrays["expected"] = output.astype(np.float32)
for name, array in arrays.items():
    np.save(Path(__file__).parent / f"{name}.npy", array)
