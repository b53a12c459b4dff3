"""What `make bench` measured, as parts of the page *Speed*: tables of MyST text and one figure."""

import json
from pathlib import Path

import matplotlib.pyplot as plt
from matplotlib.ticker import NullFormatter

from cosmolib import plots

# What the project asks of two CPU cores and of one GPU of the H200 class, as ratios.
TARGETS = {"train": (1.8, 8), "prepare": (3, 3), "cut": (15, 200), "ig": (1.5, 10)}
GROWTH = {  # work: (title, by the number of maps)
    "prepare": "open, scale, split, 256 x 256",
    "cut": "kmax:10 from the file, 256 x 256",
    "train": "epoch of the demo's network, 64 x 64",
    "evaluate": "prediction, 64 x 64",
}


def write(bench, tables, figures):
    """Write ``speed.md`` into ``tables`` and ``growth.png`` into ``figures``."""
    bench = Path(bench)
    if not bench.is_file():
        (Path(tables) / "speed.md").write_text("*Not measured: `make bench` makes this table.*\n")
        return
    table = json.loads(bench.read_text(encoding="utf-8"))
    parts = [ratios(table)]
    if "accuracy" in table:
        parts.append(accuracies(table["accuracy"]))
    if "growth" in table:
        plots.use_style()
        fig, _ = growth(table["growth"])
        fig.savefig(Path(figures) / "growth.png", dpi=200)
        plt.close(fig)
        parts.append(
            "```{figure} _static/growth.png\n"
            ":alt: Seconds and peak memory against the number of maps and against the size of a "
            "map, both logarithmic, each beside a line of slope one.\n\n"
            "How cost grows. Left and middle: time and peak memory of a process against the number "
            "of maps; right: time a map against its pixels, relative to 64 x 64. The dashed grey "
            "lines are linear.\n```\n"
        )
    (Path(tables) / "speed.md").write_text("\n".join(parts), encoding="utf-8")


def ratios(table):
    """Return the table of ratios, and a line for what was not measured."""
    machine = table["hardware"]
    gpu = machine["gpu"] is not None
    made = table["provenance"]
    lines = [
        f"On {machine['gpu'] or 'no GPU'}, {machine['cores']} cores of {machine['cpu']}; "
        f"{made['utc'][:10]}. Seconds are medians of both sides in turn. *Floor* is the time that "
        "the counted operations and bytes would take at the machine's measured rates.",
        "",
        "| work | ours [s] | reference [s] | ratio | asked for | peak, ours and reference [MB] | "
        "floor [s] | reached |",
        "|---|---:|---:|---:|---:|---:|---:|---:|",
    ]
    for name, row in table["rows"].items():
        asked = f"{TARGETS[name][gpu]:g}" if name in TARGETS else ""
        floor, reached = "", ""
        if row["floor"]:
            floor = f"{row['floor']['seconds']:.3g}"
            reached = f"{100 * row['floor']['fraction']:.0f} %"
        ours, other = row["ours"], row["reference"]
        lines.append(
            f"| {row['work']} | {ours['seconds']:.3g} | {other['seconds']:.3g} | "
            f"{row['ratio']:.2f} | {asked} | {ours['peak_mb']:.0f}, {other['peak_mb']:.0f} | "
            f"{floor} | {reached} |"
        )
    if "demo" in table:
        lines.append(f"\nThe whole demo study: {table['demo']['seconds'] / 60:.1f} minutes.")
    else:
        lines.append("\nThe whole demo study: not measured by this bench (`--only demo`).")
    if not gpu:
        lines.append(
            "\nOn a GPU: **not measured**. No GPU was at hand; `make bench` on a machine with one "
            "writes the same table for it."
        )
    return "\n".join(lines) + "\n"


def accuracies(rows):
    """Return the table of scores: one training with each way of computing, all else equal."""
    lines = [
        "| the demo's network, uncut, seed 1 | an epoch [s] | $R^2$ of $\\Omega_m$ | "
        "$R^2$ of $\\sigma_8$ |",
        "|---|---:|---:|---:|",
    ]
    for row in rows:
        cells = [
            f"{score['r2']:.3f} ({score['r2_low']:.3f} to {score['r2_high']:.3f})"
            for score in row["scores"].values()
        ]
        lines.append(f"| {row['kind']} | {row['epoch_seconds']:.2f} | {' | '.join(cells)} |")
    return "\n".join(lines) + "\n\nIn brackets: 95 % intervals, simulations resampled.\n"


def growth(points):
    """Draw cost against the number of maps and the size of a map; returns ``(fig, axes)``.

    Parameters
    ----------
    points : list of dict
        work, maps, grid, seconds, peak_mb.
    """
    fig, axes = plt.subplots(1, 3, figsize=(10.5, 3.7))
    for i, (work, label) in enumerate(GROWTH.items()):
        grid = 256 if work in ("prepare", "cut") else 64
        chosen = sorted((p["maps"], p["seconds"], p["peak_mb"]) for p in points
                        if p["work"] == work and p["grid"] == grid)  # fmt: skip
        maps, seconds, peak = zip(*chosen, strict=True)
        style = {"marker": plots.MARKERS[i], "linestyle": plots.LINE_STYLES[i], "color": f"C{i}"}
        axes[0].plot(maps, seconds, label=label, **style)
        axes[1].plot(maps, peak, **style)
        axes[0].plot(maps, [seconds[-1] * n / maps[-1] for n in maps], "--", color="0.7", lw=0.8)
    sizes = {"prepare": "open, scale, split", "cut": "kmax:10", "train_o3": "training step, o3"}
    least = min(point["maps"] for point in points if point["work"] == "prepare")
    for i, (work, label) in enumerate(sizes.items()):
        chosen = sorted((p["grid"], p["seconds"] / p["maps"]) for p in points
                        if p["work"] == work and p["maps"] in (least, 64))  # fmt: skip
        grid, seconds = zip(*chosen, strict=True)
        pixels = [n**2 for n in grid]
        style = {"marker": plots.MARKERS[i], "linestyle": plots.LINE_STYLES[i]}
        axes[2].plot(
            pixels, [s / seconds[0] for s in seconds], label=label, color=f"C{i + 4}", **style
        )
        axes[2].plot(pixels, [n / pixels[0] for n in pixels], "--", color="0.7", lw=0.8)
    for ax in axes:
        ax.set(xscale="log", yscale="log")
        for axis in (ax.xaxis, ax.yaxis):
            axis.set_minor_formatter(NullFormatter())
    axes[0].set(xlabel="maps", ylabel="time [s]")
    axes[1].set(xlabel="maps", ylabel="peak memory of the process [MB]")
    axes[2].set(xlabel="pixels", ylabel="time a map, relative to 64 x 64")
    axes[2].legend(fontsize="small")
    axes[2].set_xticks([64**2, 128**2, 256**2], ["64 x 64", "128 x 128", "256 x 256"])
    fig.legend(*axes[0].get_legend_handles_labels(), loc="outside upper center", ncols=4)
    return fig, axes
