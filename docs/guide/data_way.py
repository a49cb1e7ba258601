#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
# SPDX-FileCopyrightText: Copyright Contributors to the Tokkos project
"""Draws data_way.svg: four tokens on their way to three experts and back.

The numbers are those of concepts.md; where the rows go is computed here.

Usage: data_way.py [--check]     with --check compares, and writes nothing
"""

import os
import sys

E, K = 3, 2
IDS = [[0, 2], [2, 1], [0, 1], [2, 0]]
TOKEN_COLORS = ["#56b4e9", "#e69f00", "#009e73", "#cc79a7"]  # Okabe and Ito
EXPERT_NAMES = [f"expert {e}" for e in range(E)]
TOKENS_X, BATCH_X, EXPERTS_X, OUTPUT_X, END_X = 40, 270, 430, 560, 740
CELL, HEIGHT, GAP = 90, 26, 8


def text(x, y, words, anchor="middle", weight="normal", fill="#222222"):
    return (f'<text x="{x}" y="{y}" text-anchor="{anchor}" '
            f'font-weight="{weight}" fill="{fill}">{words}</text>')


def cell(x, y, fill, words):
    return (f'<rect x="{x}" y="{y}" width="{CELL}" height="{HEIGHT}" '
            f'fill="{fill}" stroke="#444444"/>'
            + text(x + CELL / 2, y + HEIGHT / 2 + 5, words))


def curve(x0, y0, x1, y1, color):
    middle = (x0 + x1) / 2
    return (f'<path d="M{x0},{y0} C{middle},{y0} {middle},{y1} {x1},{y1}" '
            f'fill="none" stroke="{color}" stroke-width="2.5"/>')


def draw():
    assignments = [(t, k) for t in range(len(IDS)) for k in range(K)]
    rows = [a for e in range(E) for a in assignments if IDS[a[0]][a[1]] == e]
    counts = [sum(IDS[t][k] == e for t, k in assignments) for e in range(E)]
    offsets = [sum(counts[:e]) for e in range(E + 1)]

    def row_y(r):
        expert = max(e for e in range(E) if offsets[e] <= r)
        return 70 + r * HEIGHT + expert * GAP

    def token_y(t):
        return 96 + t * (HEIGHT + 26)

    shapes = []
    for t, k in assignments:
        r = rows.index((t, k))
        y, color = row_y(r) + HEIGHT / 2, TOKEN_COLORS[t]
        side = token_y(t) + HEIGHT * (k + 1) / (K + 1)
        shapes.append(curve(TOKENS_X + CELL, side, BATCH_X, y, color))
        shapes.append(curve(EXPERTS_X + CELL, y, OUTPUT_X + 60, side, color))
    for t, ids in enumerate(IDS):
        y, fill = token_y(t), TOKEN_COLORS[t]
        shapes.append(cell(TOKENS_X, y, fill, f"token {t}"))
        shapes.append(text(TOKENS_X, y + HEIGHT + 15,
                           "experts " + ", ".join(map(str, ids)), "start"))
        shapes.append(cell(OUTPUT_X + 60, y, fill, f"output {t}"))
    for r, (t, k) in enumerate(rows):
        shapes.append(cell(BATCH_X, row_y(r), TOKEN_COLORS[t],
                           f"{r}: t{t}, k{k}"))
    for e, name in enumerate(EXPERT_NAMES):
        top, height = row_y(offsets[e]), counts[e] * HEIGHT
        shapes.append(f'<rect x="{EXPERTS_X}" y="{top}" width="{CELL}" '
                      f'height="{height}" fill="#f0f0f0" stroke="#444444"/>')
        shapes.append(text(EXPERTS_X + CELL / 2, top + height / 2 + 5, name))
        shapes.append(f'<path d="M{BATCH_X + CELL},{top + height / 2} '
                      f'H{EXPERTS_X}" stroke="#444444" stroke-width="2"/>')

    for x, words in ((TOKENS_X + CELL / 2, "tokens, T x H"),
                     (BATCH_X + CELL / 2, "batch, rows x H"),
                     (EXPERTS_X + CELL / 2, "experts, yours"),
                     (OUTPUT_X + 60 + CELL / 2, "output, T x H")):
        shapes.append(text(x, 50, words, weight="bold"))
    shapes.append(text(TOKENS_X, 22, "routeTopK chose every token's experts; "
                       "buildDispatchPlan knows every row", "start"))
    bottom = row_y(len(rows) - 1) + HEIGHT + 28
    shapes.append(text((TOKENS_X + CELL + BATCH_X) / 2, bottom, "permute",
                       weight="bold"))
    shapes.append(text((EXPERTS_X + CELL + OUTPUT_X + 60) / 2, bottom, "combine",
                       weight="bold"))
    shapes.append(text(BATCH_X + CELL / 2, bottom,
                       "offsets " + " ".join(map(str, offsets))))

    lines = [f'<svg xmlns="http://www.w3.org/2000/svg" width="{END_X}" '
             f'height="{bottom + 16}" viewBox="0 0 {END_X} {bottom + 16}" '
             'font-family="sans-serif" font-size="14">',
             "<title>Four tokens go to two of three experts each, in a batch "
             "sorted by expert, and back</title>",
             f'<rect width="{END_X}" height="{bottom + 16}" fill="white"/>',
             *shapes, "</svg>", ""]
    return "\n".join(lines)


def main():
    path = os.path.join(os.path.dirname(os.path.abspath(__file__)),
                        "data_way.svg")
    drawn = draw()
    if "--check" not in sys.argv[1:]:
        with open(path, "w", encoding="utf-8") as file:
            file.write(drawn)
        return
    with open(path, encoding="utf-8") as file:
        if file.read() != drawn:
            sys.exit("data_way.svg is not what data_way.py draws: run it")


if __name__ == "__main__":
    main()
