#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
# SPDX-FileCopyrightText: Copyright Contributors to the Tokkos project
"""Draws the plots of this folder from the results that lie beside it.

Every file NAME_DEVICE.json is what `tokkos_benchmarks --benchmark_out=FILE`
wrote; the results of a device may be spread over several files. For each device
(h100, host, ...) it writes, as far as there are results for it,

  plan_scaling_DEVICE.svg    cost of updateDispatchPlan over the tokens
  plan_baselines_DEVICE.svg  updateDispatchPlan beside the alternatives
  rows_DEVICE.svg            permute and combine against what memory allows
  peers_DEVICE.svg           every stage beside the best existing implementation,
                             whose times are in peers.json (of an H100)

Usage: plot.py [FOLDER]      needs matplotlib, and no network
"""

import json
import pathlib
import statistics
import sys

import matplotlib

matplotlib.use("svg")
import matplotlib.pyplot as plt  # noqa: E402

MODELS = {  # name: (E, K)
    "mixtral": (8, 2),
    "deepseek_v2_lite": (64, 6),
    "qwen3_235b": (128, 8),
    "deepseek_v3": (256, 8),
    "kimi_k2": (384, 8),
}
SCALING_MODELS = ["mixtral", "deepseek_v3", "kimi_k2"]

PLAN_VERBS = {
    "updateDispatchPlan": "Tokkos",
    "plainStages": "plain stages",
    "sortByKey": "Kokkos sort_by_key",
    "cubRadixSort": "CUB radix sort",
    "countingSort": "counting sort",
    "stableSort": "std::stable_sort",
}
HOST_BACKENDS = ("Serial", "OpenMP", "Threads", "Host")
# Told apart by colour-blind readers too (Okabe and Ito).
COLORS = ["#0072b2", "#e69f00", "#009e73", "#cc79a7", "#56b4e9", "#999999"]
MICROSECONDS = {"ns": 1e-3, "us": 1.0, "ms": 1e3, "s": 1e6}

BESIDE = {"loc": "upper left", "bbox_to_anchor": (1, 1)}
STYLE = {
    "svg.hashsalt": "tokkos",  # the same results give the same file
    "font.size": 10,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "axes.titlesize": 11,
    "grid.color": "#e0e0e0",
    "legend.frameon": False,
    "legend.fontsize": 8,
    "figure.constrained_layout.use": True,
}


class Result:
    """One benchmark: verb/backend/model/tokens:T[/routing][/type][/graph]."""

    def __init__(self, name, runs, context):
        # Google Benchmark adds iterations:1 and manual_time.
        self.verb, self.backend, self.model, tokens, *details = name.split("/")
        self.tokens = int(tokens.removeprefix("tokens:"))
        self.details = set(details)
        self.threads = int(context.get(f"threads of {self.backend}", 1))
        self.time = statistics.median(
            run["real_time"] * MICROSECONDS[run["time_unit"]] for run in runs
        )
        self.of_copy = statistics.median(run["of_copy"] for run in runs)

    @property
    def where(self):
        """Backend and threads, as a legend names them."""
        if self.backend in HOST_BACKENDS:
            plural = "s" if self.threads > 1 else ""
            name = "" if self.backend == "Host" else f"{self.backend}, "
            return f"{name}{self.threads} thread{plural}"
        return self.backend


class Results:
    """The results of a device, and the name of what they were measured on."""

    def __init__(self, device, files):
        self.device = device
        self.machines = set()
        self.all = []
        for file in files:
            content = json.loads(file.read_text())
            self.add(content["context"], content["benchmarks"])

    def add(self, context, benchmarks):
        on_host = self.device == "host"
        prefix = "processor of the host" if on_host else "device of "
        self.machines |= {v for k, v in context.items() if k.startswith(prefix)}
        runs = {}
        for run in benchmarks:
            if run.get("run_type") != "aggregate" and not run.get("error_occurred"):
                runs.setdefault(run["run_name"], []).append(run)
        for name, repetitions in runs.items():
            result = Result(name, repetitions, context)
            if (result.backend in HOST_BACKENDS) == on_host:
                self.all.append(result)

    def find(self, verb, **wanted):
        """Results of the verb; replays of a graph only, if there are any."""
        details = set(wanted.pop("details", ()))
        found = [
            r
            for r in self.all
            if r.verb == verb
            and details <= r.details
            and all(getattr(r, key) == value for key, value in wanted.items())
        ]
        return [r for r in found if "graph" in r.details] or found

    def places(self, *verbs):
        """Where the verbs were measured."""
        return sorted({r.where for r in self.all if r.verb in verbs})

    def figure(self, title, size):
        figure, axes = plt.subplots(figsize=size)
        axes.set_title(f"{title}\n{', '.join(sorted(self.machines))}")
        return figure, axes


def number(value):
    """Three digits, and never an exponent."""
    return f"{value:.0f}" if value >= 100 else f"{value:.3g}"


def save(figure, folder, name):
    figure.savefig(folder / name, metadata={"Date": None})
    plt.close(figure)
    print(name)


def plot_plan_scaling(results, folder):
    """Cost over T for a small, a middle and a large E."""
    curves = []
    places = results.places("updateDispatchPlan")
    for place in places:
        for model in SCALING_MODELS:
            found = results.find(
                "updateDispatchPlan", model=model, where=place, details=["uniform"]
            )
            if len({r.tokens for r in found}) > 1:
                curves.append((place, model, sorted((r.tokens, r.time) for r in found)))
    if not curves:
        return
    figure, axes = results.figure(
        "Cost of updateDispatchPlan, uniform routing", (8.4, 4.4)
    )
    for place, model, points in curves:
        experts, top_k = MODELS[model]
        style = SCALING_MODELS.index(model)
        label = f"E={experts}, K={top_k}"
        axes.plot(
            *zip(*points),
            ["-", "--", ":", "-."][places.index(place) % 4],
            color=COLORS[style],
            marker="os^"[style],
            markersize=4,
            label=f"{label} ({place})" if len(places) > 1 else label,
        )
    last, most = max((points[-1] for _, _, points in curves), key=lambda p: p[1])
    first = last / 4**4
    axes.plot(
        [first, last],
        [2 * most * first / last, 2 * most],
        color="#999999",
        linewidth=1,
        label="proportional to T",
    )
    axes.set_xscale("log", base=4)
    axes.set_yscale("log")
    axes.set_xticks(
        [4**i for i in range(0, 11, 2)], ["1", "16", "256", "4096", "64K", "1M"]
    )
    axes.set_xlabel("tokens")
    axes.set_ylabel("microseconds")
    axes.legend(**BESIDE)
    save(figure, folder, f"plan_scaling_{results.device}.svg")


def plot_plan_baselines(results, folder, model="deepseek_v3"):
    """A group of bars for each number of tokens, a bar for each way."""
    groups = [256, 4096, 65536]
    series = []  # (verb, place, {tokens: microseconds})
    for verb in PLAN_VERBS:
        for place in results.places(verb):
            found = results.find(verb, model=model, where=place, details=["uniform"])
            times = {r.tokens: r.time for r in found if r.tokens in groups}
            if times:
                series.append((verb, place, times))
    if not any(verb != "updateDispatchPlan" for verb, _, _ in series):
        return
    experts, top_k = MODELS[model]
    figure, axes = results.figure(
        f"A dispatch plan: E={experts}, K={top_k}, uniform routing", (9.2, 4.4)
    )
    verbs = [verb for verb, _, _ in series]
    width = 0.86 / len(series)
    for i, (verb, place, times) in enumerate(series):
        label = PLAN_VERBS[verb]
        if results.device == "host":
            label += f" ({place})"
        bars = axes.bar(
            [g + (i - (len(series) - 1) / 2) * width for g in range(len(groups))],
            [times.get(tokens, 0) for tokens in groups],
            0.92 * width,
            color=COLORS[list(PLAN_VERBS).index(verb)],
            # The same way in several places: paler and paler.
            alpha=0.6 ** verbs[:i].count(verb),
            label=label,
        )
        labels = [number(times[t]) if t in times else "" for t in groups]
        axes.bar_label(bars, labels, fontsize=7, rotation=90, padding=2)
    axes.set_yscale("log")
    axes.margins(y=0.12)
    axes.set_ylabel("microseconds")
    axes.set_xticks(range(len(groups)), [f"{tokens} tokens" for tokens in groups])
    axes.grid(axis="x", visible=False)
    axes.legend(**BESIDE)
    save(figure, folder, f"plan_baselines_{results.device}.svg")


def plot_rows(results, folder, tokens=4096):
    """Permute and combine as fractions of a copy, what is possible as a line."""
    found = results.find("permute", tokens=tokens, details=["uniform"])
    if not found:
        return
    # Where there is a choice: 16-bit rows, and the most threads.
    row_type = "bhalf" if any("bhalf" in r.details for r in found) else "float"
    place = max(found, key=lambda r: r.threads).where
    wanted = {"tokens": tokens, "where": place}
    figure, axes = results.figure(
        f"Rows of {tokens} tokens: {row_type}, uniform routing, {place}", (7.6, 4.4)
    )
    width = 0.36
    for i, verb in enumerate(("permute", "combine")):
        label = verb
        for m, model in enumerate(MODELS):
            middle = m + (i - 0.5) * 1.08 * width
            for r in results.find(
                verb, model=model, details=["uniform", row_type], **wanted
            )[:1]:
                bar = axes.bar(middle, r.of_copy, width, color=COLORS[i], label=label)
                axes.bar_label(
                    bar, fmt="%.2f", label_type="center", color="white", fontsize=8
                )
                label = None
            for r in results.find(
                verb + "Ceiling", model=model, details=[row_type], **wanted
            )[:1]:
                axes.hlines(
                    r.of_copy, middle - width / 2, middle + width / 2, color="black"
                )
    axes.plot([], [], color="black", label="rows in sequence, no indices")
    axes.set_ylabel("bandwidth / bandwidth of a large copy")
    axes.set_xticks(
        range(len(MODELS)),
        [f"{model}\nE={e}, K={k}" for model, (e, k) in MODELS.items()],
        fontsize=8,
    )
    axes.grid(axis="x", visible=False)
    axes.margins(y=0.15)
    axes.legend(loc="upper right", ncols=3)
    save(figure, folder, f"rows_{results.device}.svg")


def plot_peers(results, folder):
    """How many times as fast as the best peer, a panel for each stage."""
    file = folder / "peers.json"
    if results.device != "h100" or not file.exists():
        return
    peers = json.loads(file.read_text())
    verbs = ("routeTopK", "updateDispatchPlan", "permute", "combine")
    figure, panels = plt.subplots(2, 2, figsize=(9.2, 6.2), sharex=True)
    figure.suptitle(
        "Speed, the best existing implementation = 1\n"
        + ", ".join(sorted(results.machines)),
        fontsize=11,
    )
    width = 0.86 / len(peers["tokens"])
    for verb, axes in zip(verbs, panels.flat):
        wanted = {
            "routeTopK": [],
            "updateDispatchPlan": ["uniform"],
        }.get(verb, ["uniform", "bhalf"])
        for i, tokens in enumerate(peers["tokens"]):
            places, ratios = [], []
            for m, model in enumerate(MODELS):
                for r in results.find(
                    verb, model=model, tokens=tokens, details=wanted
                )[:1]:
                    places.append(m + (i - (len(peers["tokens"]) - 1) / 2) * width)
                    ratios.append(peers[verb][model][i] / r.time)
            axes.bar(
                places,
                ratios,
                0.92 * width,
                color=COLORS[i],
                label=f"{tokens} token{'s' if tokens > 1 else ''}",
            )
        axes.axhline(1, color="black", linewidth=1)
        axes.set_title(verb)
        axes.set_xticks(range(len(MODELS)), MODELS, fontsize=7)
        axes.grid(axis="x", visible=False)
    figure.legend(
        *panels.flat[0].get_legend_handles_labels(), loc="outside lower center", ncols=5
    )
    save(figure, folder, f"peers_{results.device}.svg")


def main(arguments):
    if len(arguments) > 1 or arguments in (["-h"], ["--help"]):
        print(__doc__)
        return 2 if len(arguments) > 1 else 0
    folder = pathlib.Path(arguments[0] if arguments else __file__)
    folder = folder if folder.is_dir() else folder.parent
    files = {}
    for file in sorted(folder.glob("*_*.json")):
        if file.stem.startswith("layer_"):
            continue  # its stages are in their own files too
        files.setdefault(file.stem.rpartition("_")[2], []).append(file)
    if not files:
        print(f"plot.py: no results in {folder}", file=sys.stderr)
        return 1
    plt.rcParams.update(STYLE)
    for device, device_files in files.items():
        results = Results(device, device_files)
        plot_plan_scaling(results, folder)
        plot_plan_baselines(results, folder)
        plot_rows(results, folder)
        plot_peers(results, folder)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
