"""Write the tables of the book that come from stored JSON: benchmarks and provenance."""

from collections import Counter
from inspect import isclass
from pathlib import Path

import matplotlib.pyplot as plt
import pandas as pd
from matplotlib.ticker import NullFormatter

import cosmolib
from cosmolib.plots import style
from cosmolib.study.io import read_json
from cosmolib.study.profile import load_profile
from cosmolib.study.provenance import short_commit
from workflow.status import study_status

ROOT = Path(__file__).resolve().parent.parent

BENCHMARKS = ROOT / "results" / "benchmarks"
# Speed-up that the project requires on two CPU cores and on one H200 GPU.
TARGETS = {"train": (1.8, 8), "prepare": (3, 3), "cut": (15, 200), "ig": (1.5, 10)}
GROWTH = {  # label of each task that is timed against the number of maps
    "prepare": "open, scale, split, 256 x 256",
    "cut": "kmax:10 from the file, 256 x 256",
    "train": "epoch of the demo network, 64 x 64",
    "evaluate": "prediction, 64 x 64",
}
GROWTH_FIGURE = """
```{figure} _static/growth.png
:alt: Three panels with logarithmic axes: time and peak memory rise with the number of maps, and \
time per map rises with its number of pixels.

Scaling of the cost. Left and middle: time and peak memory of a process against the number of \
maps; right: time per map against its number of pixels, relative to 64 x 64. Grey lines are linear.
```
"""


def write_benchmarks(tables, figures, benchmarks=None):
    """Write ``NAME.md`` per benchmark to the folder ``tables``, ``growth.png`` to ``figures``."""
    for name, (make, command) in BENCHES.items():
        path = Path(benchmarks or BENCHMARKS, f"{name}.json")
        text = f"*Not measured: `make {command}` makes this table.*"
        if path.is_file():
            text = make(result := read_json(path))
            if "growth" in result:
                style.use_style()
                fig, _ = growth(result["growth"])
                fig.savefig(Path(figures, "growth.png"), dpi=200)
                plt.close(fig)
        Path(tables, f"{name}.md").write_text(text + "\n", encoding="utf-8")


def write_api(tables):
    """Write ``api.md``, directives for the public names and for all modules."""
    lines = ["```{eval-rst}", ".. currentmodule:: cosmolib"]
    for name in cosmolib.__all__:
        value = getattr(cosmolib, name)
        kind = "class" if isclass(value) else "function" if callable(value) else "data"
        lines += [f".. auto{kind}:: {name}", "   :no-index:"]
        lines += [*["   :members: parse"] * isclass(value), ""]
    lines += ["```", "", "## Modules", ""]
    for path in sorted((ROOT / "cosmolib").glob("*/[!_]*.py")):
        module = f"cosmolib.{path.parent.name}.{path.stem}"
        lines += [f"### {module}", "", "```{eval-rst}", f".. automodule:: {module}", "   :members:"]
        lines += ["```", ""]
    Path(tables, "api.md").write_text("\n".join(lines), encoding="utf-8")


def write_provenance(profile, tables, root=ROOT / "runs"):
    """Write ``provenance.md``, which lists runs and chapters, to the folder ``tables``."""
    profile = load_profile(profile)
    statuses = study_status(profile, root)
    parts = [summary(profile, statuses), runs(statuses), chapters(profile, root)]
    Path(tables, "provenance.md").write_text("\n\n".join(parts) + "\n", encoding="utf-8")


def table(heads, rows):
    """Return a Markdown table; columns whose head ends with ``:`` are aligned right."""
    rule = ["---:" if head.endswith(":") else "---" for head in heads]
    lines = [f"| {' | '.join(head.rstrip(':') for head in heads)} |", f"|{'|'.join(rule)}|"]
    return "\n".join(lines + [f"| {' | '.join(map(str, row))} |" for row in rows])


def table_of(rows, columns):
    """Return a table of dicts; `columns` maps each head to a format such as ``{seconds:.1f}``."""
    return table(columns, [[text.format(**row) for text in columns.values()] for row in rows])


# --------------------------------------------------------------------------------------------------
# Benchmarks
# --------------------------------------------------------------------------------------------------
def camels(bench):
    """Return the table of time and memory of every stage on a full-size CMD file."""
    machine, size, rows = bench["hardware"], bench["file_bytes"], bench["rows"]
    n, grid = bench["size"]
    made = [row.get("provenance", bench["provenance"]) for row in rows]
    days = _joined(sorted(one["utc"][:10] for one in made))
    commits = _joined(short_commit(one["git"]) for one in made)
    base = sum(row["base_mb"] for row in rows) / len(rows)
    peak = {row["stage"]: row["above_base_mb"] * 1e6 for row in rows}
    parts = [
        f"A file of {15 * n} maps of {grid} x {grid} pixels, {size / 1e9:.2f} GB, made of tiled "
        f"and perturbed *Lite* maps, on {machine['cores']} cores of {machine['cpu']} with "
        f"{machine['memory_gb']:.0f} GB, {machine['gpu'] or 'no GPU'}; {days}, commit {commits}. "
        f"Each stage is a separate process; its memory is the peak above the {base:.0f} MB of "
        "Python with torch. Seconds of training, evaluation and attribution do not include the "
        "preparation of the maps.",
        table_of(
            [row | {"ratio": row["above_base_mb"] * 1e6 / size} for row in rows],
            {"stage": "{what}", "maps:": "{maps}", "seconds:": "{seconds:.1f}",
             "peak [MB]:": "{above_base_mb:.0f}", "peak / file:": "{ratio:.2f}"},
        ),
    ]  # fmt: skip
    if "chain" in peak and "chain_disk" in peak:
        parts.append(
            "From the file to the first step at batch 8, with a cut file written on the way, a "
            f"process needs {peak['chain'] / size:.2f} times the file with the maps in memory "
            f"and {peak['chain_disk'] / 1e9:.2f} GB with `storage: disk`."
        )
    whole = peak.get("chain_128", peak.get("train"))
    if whole and "train_disk" in peak:
        parts.append(
            "At the published batch of 128 the activations of `o3` on a CPU come on top: "
            f"{whole / size:.2f} times the file, or {peak['train_disk'] / 1e9:.2f} GB with "
            "`storage: disk`."
        )
    return "\n\n".join(parts)


def attribution(bench):
    """Return the table of speed and completeness of each attribution method."""
    rows = []
    for row in bench["rows"]:
        error = complete = ""
        if "median_error" in row:
            error = "{reference_median_error:.2%}, {median_error:.2%}".format(**row)
            complete = "{reference_complete:.2f}, {complete:.2f}".format(**row)
        rows.append(row | {"error": error.replace("%", " %"), "both_complete": complete})
    columns = {
        "attribution": "{work}", "plain loop [maps/s]:": "{reference_maps_per_second:.1f}",
        "`attribute` [maps/s]:": "{maps_per_second:.1f}", "ratio:": "{ratio:.1f}",
        "median error:": "{error}", "maps complete to 1 %:": "{both_complete}",
    }  # fmt: skip
    return (
        f"Maps of {bench['grid']} x {bench['grid']} pixels, on {bench['machine']}; "
        f"{bench['provenance']['utc'][:10]}, commit {short_commit(bench['provenance']['git'])}."
        f"\n\n{table_of(rows, columns)}"
    )


def speed(bench):
    """Return the comparison with the published recipe, and the figure of scaling."""
    machine = bench["hardware"]
    gpu = machine["gpu"] is not None
    rows = []
    for name, row in bench["rows"].items():
        floor = "{seconds:.3g}|{fraction:.0%}".format(**row["floor"]) if row["floor"] else "|"
        seconds, fraction = floor.replace("%", " %").split("|")
        required = f"{TARGETS[name][gpu]:g}" if name in TARGETS else ""
        rows.append(row | {"floor": seconds, "fraction": fraction, "required": required})
    columns = {
        "work": "{work}", "ours [s]:": "{ours[seconds]:.3g}",
        "reference [s]:": "{reference[seconds]:.3g}", "ratio:": "{ratio:.2f}",
        "required:": "{required}",
        "peak, ours and reference [MB]:": "{ours[peak_mb]:.0f}, {reference[peak_mb]:.0f}",
        "floor [s]:": "{floor}", "reached:": "{fraction}",
    }  # fmt: skip
    demo = "not measured (`benchmarks/speed.py --only demo`)"
    if "demo" in bench:
        demo = f"{bench['demo']['seconds'] / 60:.1f} minutes"
    parts = [
        f"On {machine['gpu'] or 'no GPU'}, {machine['cores']} cores of {machine['cpu']}; "
        f"{bench['provenance']['utc'][:10]}. Seconds are medians; both sides are timed in turn. "
        "*Floor* is the time that the counted operations and bytes would take at the machine's "
        "measured rates.",
        table_of(rows, columns),
        f"The whole demo study: {demo}.",
    ]
    if not gpu:
        parts.append(
            "On a GPU: **not measured**. `make bench` on a machine with a GPU measures it."
        )
    if "accuracy" in bench:
        score = "{r2:.3f} ({r2_low:.3f} to {r2_high:.3f})"
        heads = ["the demo's network, uncut, seed 1", "one epoch [s]:", "$R^2$ of $\\Omega_m$:",
                 "$R^2$ of $\\sigma_8$:"]  # fmt: skip
        rows = [
            [row["kind"], f"{row['epoch_seconds']:.2f}",
             *(score.format(**one) for one in row["scores"].values())]
            for row in bench["accuracy"]
        ]  # fmt: skip
        parts += [table(heads, rows), "In brackets: 95 % intervals, simulations resampled."]
    return "\n\n".join(parts) + (GROWTH_FIGURE if "growth" in bench else "")


def growth(points):
    """Draw the cost against the number of maps and the size of a map; return ``(fig, axes)``.

    Parameters
    ----------
    points : list of dict
        ``work``, ``maps``, ``grid``, ``seconds`` and ``peak_mb``.
    """
    points = pd.DataFrame(points)
    fig, axes = style.panels(3, 3.4, sharey=False)

    def draw(ax, x, y, i, label=None, anchor=None):
        """Draw one curve and a linear one through its point number `anchor`."""
        markers = {"marker": style.MARKERS[i % 4], "linestyle": style.LINE_STYLES[i % 4]}
        ax.plot(x, y, label=label, color=f"C{i}", **markers)
        if anchor is not None:
            linear = y.iloc[anchor] * x / x.iloc[anchor]
            ax.plot(x, linear, "--", color="0.7", linewidth=0.8)

    for i, (work, label) in enumerate(GROWTH.items()):
        grid = 256 if work in ("prepare", "cut") else 64
        chosen = points[(points.work == work) & (points.grid == grid)].sort_values("maps")
        draw(axes[0], chosen.maps, chosen.seconds, i, label, anchor=-1)
        draw(axes[1], chosen.maps, chosen.peak_mb, i)
    sizes = {"prepare": "open, scale, split", "cut": "kmax:10", "train_o3": "training step, o3"}
    fewest = points[points.work == "prepare"].maps.min()
    for i, (work, label) in enumerate(sizes.items(), start=4):
        chosen = points[(points.work == work) & points.maps.isin((fewest, 64))].sort_values("grid")
        seconds = chosen.seconds / chosen.maps
        draw(axes[2], chosen.grid**2, seconds / seconds.iloc[0], i, label, anchor=0)
    for ax in axes:
        ax.set(xscale="log", yscale="log")
        for axis in (ax.xaxis, ax.yaxis):
            axis.set_minor_formatter(NullFormatter())
    axes[0].set(xlabel="maps", ylabel="time [s]")
    axes[1].set(xlabel="maps", ylabel="peak memory [MB]")
    axes[2].set(xlabel="pixels", ylabel="time per map / time at $64^2$")
    axes[2].legend()
    axes[2].set_xticks([64**2, 128**2, 256**2], ["$64^2$", "$128^2$", "$256^2$"])
    style.legend_above(axes[0], 2)
    return fig, axes


def chaos(result):
    """Return the tables of killed processes by stage, and of the consequences."""
    who = sorted({row["who"] for row in result["rows"]})
    works = sorted({row["work"] for row in result["rows"]})
    kills = {(row["work"], row["who"]): row["kills"] for row in result["rows"]}
    runs, chapters = f"of {result['runs']}", f"of {result['chapters']}"
    after = {
        "runs lost": f"{result['runs_lost']} {runs}",
        "runs with the metrics of the undisturbed study": f"{result['runs_equal']} {runs}",
        "runs trained a second time": result["runs_trained_twice"],
        "chapters with the numbers of the undisturbed study":
            f"{result['chapters_equal']} {chapters}",
        "corrupt files, counted after every kill": result["corrupt_files"],
        "temporary files that remain at the end": result["left_over_files"],
    }  # fmt: skip
    steps = [row | {"equal": "yes" if row["equal"] else "NO"} for row in result["steps"]]
    parts = [
        f"{result['kills']} kills in {result['seconds'] / 60:.0f} minutes, with "
        f"{result['starts']} starts of the same command; undisturbed, the study takes "
        f"{result['seconds_in_peace'] / 60:.0f}. {_made(result)}",
        table(
            ["killed during", *(f"{name}:" for name in who)],
            [[work, *(kills.get((work, name), "") for name in who)] for work in works],
        ),
        table(["afterwards", ":"], after.items()),
        table_of(
            steps,
            {"step": "{what}", "kills:": "{kills}", "files:": "{files}",
             "same bytes as undisturbed": "{equal}"},
        ),
    ]  # fmt: skip
    return "\n\n".join(parts)


def cluster(result):
    """Return the table of the test on a SLURM cluster of two nodes."""
    nodes = ", ".join(f"{count} on {node}" for node, count in result["jobs_by_node"].items())
    states = ", ".join(f"{count} {name.lower()}" for name, count in result["job_states"].items())
    rows = {
        "runs done": f"{result['done']} of {result['runs']}",
        "runs with the metrics of this machine alone": result["equal"],
        "jobs": f"{result['jobs']}: {nodes}",
        "their final states": states,
        "node2 drained after": f"{result['drained_after_s']} s of {result['seconds']} s",
        "jobs started on it afterwards": result["begun_on_drained"],
    }
    return (
        f"{result['slurm'].capitalize()}, two virtual nodes of one machine, {result['runs_a_job']} "
        f"runs per job. {_made(result)}\n\n{table(['test', ':'], rows.items())}"
    )


def fuzz(result):
    """Return the table of random inputs per reader."""
    columns = {"reader": "{reader}", "inputs:": "{inputs}", "refused:": "{refused}"}
    return (
        f"{result['inputs']} inputs, {result['utc'][:10]}; each was read or refused with a clear "
        f"error.\n\n{table_of(result['rows'], columns)}"
    )


def _made(result):
    made = result["provenance"]
    commit = short_commit(made["git"])
    return f"Measured on {made['platform']}, {made['utc'][:10]}, commit {commit}."


BENCHES = {  # file: function that returns its table, and target of make that measures it
    "camels": (camels, "bench-camels"),
    "attribution": (attribution, "bench-attribution"),
    "speed": (speed, "bench"),
    "chaos": (chaos, "chaos"),
    "cluster": (cluster, "bench-cluster"),
    "fuzz": (fuzz, "fuzz"),
}


# --------------------------------------------------------------------------------------------------
# Provenance
# --------------------------------------------------------------------------------------------------
def summary(profile, statuses):
    """Return a paragraph on platforms, packages, and the number of runs that are not current."""
    made = [one.made for one in statuses if one.made]
    if not made:
        return f"No run of the profile `{profile.name}` is complete."
    versions = Counter(
        ", ".join(f"{name} {version}" for name, version in one["versions"].items() if version)
        for one in made
    )
    stale = sum(one.state != "done" for one in statuses)
    verdict = "**Every run is current**: code, packages, data and settings have not changed."
    if stale:
        verdict = (
            f"**{stale} of {len(statuses)} runs are not current**, see the column *state*. The "
            "next `make study` with this profile trains them again."
        )
    platforms = _joined(one["platform"] for one in made)
    hours = sum(one.get("training_seconds", one["seconds"] or 0) for one in made) / 3600
    packages = "; ".join(f"{text} ({n} runs)" for text, n in versions.most_common())
    return (
        f"{len(statuses)} runs of the profile `{profile.name}`, {hours:.1f} hours of training in "
        f"all, on {platforms}. {verdict}\n\nPackages: {packages}."
    )


def runs(statuses):
    """Return the table of all runs."""
    rows = []
    for one in statuses:
        run, made = one.run, one.made
        control = ", shuffled labels" if run.profile.endswith("-shuffled") else ""
        name = f"{run.suite} `{run.cut}` {run.architecture} seed {run.seed}{control}"
        cells = [""] * 6
        if made is not None:
            when, commit, code, _ = _origin(made)
            seconds = made.get("training_seconds", made["seconds"])
            data = _digest(made["data_fingerprint"])
            cells = [when, commit, code, data, made["device"], f"{seconds:.0f}"]
        state = one.state if one.state == "done" else f"**{one.state}**: {one.detail}"
        rows.append([name, state, *cells])
    return table(["run", "state", "made", "commit", "code", "data", "device", "seconds:"], rows)


def chapters(profile, root):
    """Return the table of all chapters that stored their numbers."""
    rows = [
        [name.replace("_", " "), *_origin(made)]
        for name, made in chapters_made(profile, root).items()
    ]
    return table(["chapter", "made", "commit", "code", "seconds:"], rows)


def _origin(made):
    utc, seconds = made["utc"][:16].replace("T", " "), made["seconds"] or 0
    return [utc, short_commit(made["git"]), _digest(made.get("code")), f"{seconds:.0f}"]


def chapters_made(profile, root):
    """Return {file name: provenance} of the chapters that stored their numbers."""
    found = {}
    for path in sorted(Path(root, profile.name, "results").glob("0*.json")):
        table = read_json(path)
        if isinstance(table, dict) and table.get("provenance"):
            found[path.stem] = table["provenance"]
    return found


def _joined(texts):
    return " and ".join(dict.fromkeys(texts))


def _digest(text):
    return f"`{text}`" if text else "unknown"
