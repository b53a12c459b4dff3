"""Measure speed and memory compared with a plain implementation of the published recipe.

    python benchmarks/speed.py                  # make bench: rows that are missing
    python benchmarks/speed.py --only cut       # repeat some rows
    python benchmarks/speed.py --only demo      # the whole demo study, in a fresh clone

A row is a piece of work, done by cosmolib and by `benchmarks/reference.py`. Both sides run in turn,
in new processes, on all cores unless the row names another number. The table contains the median of
their seconds, without imports and a first call, and the peak memory. The *floor* is the time that
the counted operations and bytes would take at the measured rates of the machine: a product of
2048 x 2048 matrices and a copy of a gigabyte. Rows of other machines are not mixed in.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import torch

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(Path(__file__).parent)]  # also where cosmolib is not installed

import camels  # noqa: E402
import reference  # noqa: E402

from cosmolib.cuts.apply import apply_cut  # noqa: E402
from cosmolib.data.scaling import Scaling  # noqa: E402
from cosmolib.data.suites import open_suite, subset  # noqa: E402
from cosmolib.interpretation.attribution import attribute, make_baseline  # noqa: E402
from cosmolib.study.io import read_json, write_json  # noqa: E402
from cosmolib.study.profile import load_profile  # noqa: E402
from cosmolib.study.provenance import provenance  # noqa: E402
from cosmolib.training.dataset import Data, cut_maps, prepare_data, study_suite  # noqa: E402
from cosmolib.training.devices import select_device  # noqa: E402
from cosmolib.training.fit import fit, run_network, seeded  # noqa: E402
from cosmolib.training.networks import build_network  # noqa: E402
from cosmolib.training.predictions import predict  # noqa: E402
from cosmolib.training.scores import metrics  # noqa: E402

TABLE = ROOT / "results" / "benchmarks" / "speed.json"
DEVICE = select_device()
GPU = DEVICE == "cuda"
BATCH = 128 if GPU else 64
# Without hardware support, a matrix product in bfloat16 is emulated and takes minutes.
BFLOAT16 = GPU or torch.ops.mkldnn._is_mkldnn_bf16_supported()
# Side of the matrices, numbers in the copy, maps in the row `cut`
SIDE, COPIED, CUT_MAPS = 2048, 2**27, 1000


def wait():
    """Wait until the GPU has finished."""
    if GPU:
        torch.cuda.synchronize()


def seconds_of(work, repeats, warm=True):
    """Return the seconds of each repeat, after a first call that is not counted."""
    if warm:
        work()
    taken = []
    for _ in range(repeats):
        wait()
        started = time.perf_counter()
        work()
        wait()
        taken.append(time.perf_counter() - started)
    return taken


# --------------------------------------------------------------------------------------------------
# Rows: each side returns the seconds of its repeats
# --------------------------------------------------------------------------------------------------
def normal_maps(n, size, n_parameters=6):
    """Return random training data in the form of scaled maps, with one map for validation."""
    torch.manual_seed(0)
    x, theta = torch.randn(n, 1, size, size), torch.rand(n, n_parameters)
    return Data(
        train_x=x, train_theta=theta, valid_x=x[:1], valid_theta=theta[:1], test_x=x[:1],
        test_truth=np.zeros((1, n_parameters)), train_simulation=np.zeros(n, int),
        valid_simulation=np.zeros(1, int), test_simulation=np.zeros(1, int),
        test_map=np.zeros(1, int), scaling=Scaling("log", 0.0, 1.0), cut="none", value_range=None,
        suite="Lite", targets=tuple(range(n_parameters)), fingerprint="",
    )  # fmt: skip


def train_steps(name, size, hidden, batch, repeats, n_parameters=6, **engine):
    """Return the seconds of `repeats` epochs of one step, after two epochs that are not counted."""
    profile = load_profile("camels", batch_size=batch, epochs=repeats + 2, hidden=hidden, **engine)
    with seeded(1):
        network = build_network(name, size, hidden, 0.2, n_parameters)
    history = fit(network, normal_maps(batch, size, n_parameters), profile, seed=1, device=DEVICE)
    made = {row["engine"] for row in history}
    wanted = engine.get("compile", "eager")
    if not all(text.endswith(wanted) for text in made):
        raise RuntimeError(f"found {made}, expected {wanted}")
    return [row["seconds"] for row in history[2:]]


def plain_steps(size, hidden, batch, repeats):
    """Return the seconds of training epochs of the reference."""
    data = normal_maps(batch, size)
    network = reference.PlainO3(hidden).to(DEVICE)
    optimiser = torch.optim.AdamW(network.parameters(), lr=1e-3, betas=(0.5, 0.999))
    return seconds_of(
        lambda: reference.train_epoch(
            network, optimiser, data.train_x, data.train_theta, batch, DEVICE
        ),
        repeats,
    )


def big_file(folder):
    """Return the folder of the file of CMD's size, which is made if it is missing."""
    size = [camels.SIMULATIONS, camels.GRID]
    camels.claim(folder, size)
    if not camels.is_whole(folder, *size):
        camels.make_suite(folder, *size)
    return folder


def prepare_ours(folder):
    """Open, scale and split with cosmolib; return the seconds."""
    big_file(folder)
    profile = load_profile("camels", n_simulations=None, storage="float32")
    return seconds_of(
        lambda: prepare_data(open_suite(camels.SUITE, data_dir=folder), profile), 1, warm=False
    )


def prepare_plain(folder):
    """Open, scale and split as published; return the seconds."""
    there = big_file(folder) / camels.SUITE
    return seconds_of(
        lambda: reference.load_and_split(
            there / camels.FILE, there / f"params_LH_{camels.SUITE}.txt"
        ),
        1,
        warm=False,
    )


def cut_maps_with(work):
    """Return the seconds in which `work` cuts maps of surface density."""
    maps = np.random.default_rng(0).lognormal(25, 1, (CUT_MAPS, 256, 256)).astype(np.float32)
    return seconds_of(lambda: work(maps), 5)


def gradients(name, n_maps):
    """Return a network, maps and a baseline for attribution."""
    size, hidden, parameters = (
        (64, load_profile("demo").hidden, 2) if name == "lite" else (256, 7, 6)
    )
    with seeded(1):
        network = build_network(name, size, hidden, 0.2, parameters).to(DEVICE).eval()
    x = normal_maps(n_maps, size).train_x.to(DEVICE)
    return network, x, make_baseline("mean_log", x)


def ig_ours(name, n_maps, repeats):
    """Compute Integrated Gradients of 50 steps with cosmolib; return the seconds."""
    network, x, baseline = gradients(name, n_maps)
    method = "integrated_gradients"
    return seconds_of(
        lambda: attribute(network, x, method, 0, baseline=baseline, n_steps=50), repeats
    )


def ig_plain(name, n_maps, repeats):
    """Compute Integrated Gradients map by map; return the seconds."""
    network, x, baseline = gradients(name, n_maps)
    return seconds_of(lambda: reference.integrated_gradients(network, x, baseline, 0), repeats)


def one_training():
    """Train the demo's network for 62 steps."""
    train_steps("lite", 64, load_profile("demo").hidden, 32, 60, 2)


def two_processes(folder):
    """Run two trainings at the same time, with one thread each; return the seconds."""
    threads = dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS"), "1")
    command = [sys.executable, __file__, "--side", "ours", "--row", "one", "--folder", str(folder)]
    children = [
        subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env={**os.environ, **threads})
        for _ in range(2)
    ]
    return [max(json.loads(child.communicate()[0].splitlines()[-1])["seconds"][0]
                for child in children)]  # fmt: skip


ROWS = {
    "train": (
        f"training step of o3 (hidden 7), 256 x 256, batch {BATCH}, profile camels",
        lambda f: train_steps(
            "o3", 256, 7, BATCH, 4, precision="auto", compile="graphs" if GPU else "compiled"
        ),
        lambda f: plain_steps(256, 7, BATCH, 3),
    ),
    "train_float32": (
        "the same in float32, not compiled",
        lambda f: train_steps("o3", 256, 7, BATCH, 4, precision="float32", compile="eager"),
        lambda f: plain_steps(256, 7, BATCH, 3),
    ),
    "train_bfloat16": (
        "the same in bfloat16, not compiled",
        lambda f: train_steps("o3", 256, 7, BATCH, 4, precision="bfloat16", compile="eager"),
        lambda f: plain_steps(256, 7, BATCH, 3),
    ),
    "prepare": (
        "opening, scaling, splitting 15000 maps of 256 x 256",
        prepare_ours,
        prepare_plain,
    ),
    "cut": (
        "`kmax:10` over 1000 maps of 256 x 256, against Pylians in single precision",
        lambda f: cut_maps_with(lambda maps: apply_cut(maps, "kmax:10", device=DEVICE)),
        lambda f: cut_maps_with(lambda maps: reference.pylians_loop(maps, 10.0)),
    ),
    "ig": (
        "Integrated Gradients, 50 steps, 64 maps of 64 x 64, the demo's network",
        lambda f: ig_ours("lite", 64, 3),
        lambda f: ig_plain("lite", 64, 3),
    ),
    "ig_o3": (
        f"Integrated Gradients, 50 steps, {64 if GPU else 4} maps of 256 x 256, o3 (hidden 7)",
        lambda f: ig_ours("o3", 64 if GPU else 4, 2),
        lambda f: ig_plain("o3", 64 if GPU else 4, 2),
    ),
    "processes": (
        "two trainings of the demo: two processes of one thread against one after the other",
        two_processes,
        lambda f: [2 * value for value in seconds_of(one_training, 1)],
    ),
}  # fmt: skip
REPEATS = 2  # of each side of a row, in turn


# --------------------------------------------------------------------------------------------------
# Floors
# --------------------------------------------------------------------------------------------------
def rates():
    """Measure FLOP/s of a matrix product and byte/s of a copy (read and written)."""
    found = {}
    for dtype in (torch.float32, torch.bfloat16)[: 1 + BFLOAT16]:
        a = torch.randn(SIDE, SIDE, device=DEVICE).to(dtype)
        found[str(dtype).split(".")[1]] = 2 * SIDE**3 / min(seconds_of(lambda a=a: a @ a, 10))
    a = torch.ones(COPIED, device=DEVICE)
    b = torch.empty_like(a)
    found["bytes"] = 2 * a.nbytes / min(seconds_of(lambda: b.copy_(a), 5))
    return found


def count(network, size, gradients):
    """Count FLOPs and moved numbers per map: input and output of each layer, once per pass.

    A backward pass needs the FLOPs of the forward pass for the input and again for the weights, and
    reads or writes the same activations and their gradients.
    """
    from torch.utils.flop_counter import FlopCounterMode

    moved = []

    def note(module, inputs, output):
        moved.append(inputs[0].numel() + output.numel())

    layers = [m for m in network.modules() if isinstance(m, (torch.nn.Conv2d, torch.nn.Linear))]
    hooks = [layer.register_forward_hook(note) for layer in layers]
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        network.eval()(torch.zeros(1, 1, size, size))
    for hook in hooks:
        hook.remove()
    flops = counter.get_total_flops()
    return (3 if gradients == "weights" else 2) * flops, 3 * sum(moved)


def floor(name, rate):
    """Return FLOPs and bytes of a row and the seconds that they take at least, or None."""
    size, wide = 256, 4
    if name.startswith("train"):
        flops, moved = count(build_network("o3", 256, 7), 256, "weights")
        flops, moved = BATCH * flops, BATCH * moved
        if name == "train_bfloat16" or (GPU and name == "train"):
            wide = 2
    elif name == "prepare":
        flops, moved = 0, 2 * 15000 * size**2
    elif name == "cut":  # two real transforms of 2.5 n log2 n operations each
        flops, moved = CUT_MAPS * 2 * 2.5 * size**2 * 16, 2 * CUT_MAPS * size**2
    elif name.startswith("ig"):
        lite = name == "ig"
        architecture, size, n = ("lite", 64, 64) if lite else ("o3", 256, 64 if GPU else 4)
        hidden = load_profile("demo").hidden if lite else 7
        flops, moved = count(build_network(architecture, size, hidden), size, "input")
        flops, moved = 50 * n * flops, 50 * n * moved
    else:
        return None
    speed = rate.get("bfloat16" if wide == 2 else "float32")
    if speed is None:
        return None
    return {
        "flops": flops,
        "bytes": wide * moved,
        "seconds": max(flops / speed, wide * moved / rate["bytes"]),
    }


# --------------------------------------------------------------------------------------------------
# Growth and accuracy
# --------------------------------------------------------------------------------------------------
def growth_points():
    """Return the points of the growth of cost: (work, maps, pixels along a side)."""
    by_maps = [
        (work, n, 256) for work in ("prepare", "cut") for n in (990, 2010, 4995, 9990, 15000)
    ]
    by_maps += [
        (work, n, 64) for work in ("train", "evaluate") for n in (1000, 2000, 5000, 10000, 15000)
    ]
    by_size = [(work, 990, s) for work in ("prepare", "cut") for s in (64, 128)]
    return by_maps + by_size + [("train_o3", 64, size) for size in (64, 128, 256)]


def growth(work, n, size, folder):
    """Return the seconds of one point of the growth."""
    if work in ("prepare", "cut"):
        if size == 256:
            suite = subset(open_suite(camels.SUITE, data_dir=big_file(folder)), n // 15)
        else:
            small = folder.parent / f"bench-{size}"
            if not camels.is_whole(small, n // 15, size):
                camels.make_suite(small, n // 15, size)
            suite = open_suite(camels.SUITE, data_dir=small)
        profile = load_profile("camels", n_simulations=None)
        works = {
            "prepare": lambda: prepare_data(suite, profile),
            "cut": lambda: cut_maps(suite, np.arange(n), "kmax:10"),
        }
        return seconds_of(works[work], 1, warm=False)
    if work == "train_o3":
        return train_steps("o3", size, 7, n, 3, precision="float32", compile="eager")
    hidden = load_profile("demo").hidden
    with seeded(1):
        network = build_network("lite", size, hidden, 0.2, 2)
    data = normal_maps(n, size, 2)
    if work == "evaluate":
        return seconds_of(lambda: run_network(network, data.train_x, device=DEVICE), 2)
    profile = load_profile("demo", epochs=2)
    return [fit(network, data, profile, seed=1, device=DEVICE)[-1]["seconds"]]


ACCURACY = {
    "float32": {"precision": "float32", "compile": "eager"},
    "bfloat16": {"precision": "bfloat16", "compile": "eager"},
    "compiled": {"precision": "float32", "compile": "compiled"},
    "float16 maps": {"precision": "float32", "compile": "eager", "storage": "float16"},
}


def accuracy(kind):
    """Train the demo's network on uncut Lite with seed 1 and return its scores."""
    profile = load_profile("demo", **ACCURACY[kind])
    data = prepare_data(study_suite("Lite", profile), profile)
    with seeded(1):
        network = build_network("lite", 64, profile.hidden, profile.dropout, 2)
    history = fit(network, data, profile, seed=1, device=DEVICE)
    scores = metrics(predict(network, data, DEVICE), profile.bootstrap_samples, 1)
    found = {name: scores["parameters"][name] for name in profile.targets}
    return {
        "kind": kind,
        "engine": history[-1]["engine"],
        "epoch_seconds": float(np.median([row["seconds"] for row in history])),
        "scores": {
            name: {key: row[key] for key in ("r2", "r2_low", "r2_high")}
            for name, row in found.items()
        },
    }


def demo():
    """Build the book of the demo in a fresh clone with this environment; return the seconds."""
    with tempfile.TemporaryDirectory() as folder:
        subprocess.run(["git", "clone", "--quiet", str(ROOT), folder], check=True)
        os.symlink(Path(sys.prefix), Path(folder) / ".venv")
        started = time.perf_counter()
        subprocess.run(
            ["make", "-o", ".venv/.installed", "book"], cwd=folder, check=True,
            env={**os.environ, "PYTHONPATH": folder},
        )  # fmt: skip
        return time.perf_counter() - started


# --------------------------------------------------------------------------------------------------
# Measuring
# --------------------------------------------------------------------------------------------------
def in_child(*arguments, folder):
    """Run one part of the benchmark in a new process and return its result."""
    return camels.in_child(__file__, *arguments, "--folder", folder)


def peak():
    """Return the peak memory [MB] of this process, and of its tensors on a GPU."""
    gpu = torch.cuda.max_memory_allocated() / 1e6 if GPU else None
    return {"peak_mb": camels.peak_mb(), "gpu_peak_mb": gpu}


def measure(name, rate, folder):
    """Measure both sides of a row in turn and return the row."""
    sides = {"ours": [], "reference": []}
    for _ in range(REPEATS):
        for side, runs in sides.items():
            runs.append(in_child("--row", name, "--side", side, folder=folder))
    row = {"row": name, "work": ROWS[name][0]}
    for side, runs in sides.items():
        row[side] = {
            "seconds": float(np.median([value for run in runs for value in run["seconds"]])),
            "all_seconds": [run["seconds"] for run in runs],
            **{key: max((run[key] for run in runs), key=lambda x: x or 0)
               for key in ("peak_mb", "gpu_peak_mb")},
        }  # fmt: skip
    row["ratio"] = row["reference"]["seconds"] / row["ours"]["seconds"]
    row["floor"] = floor(name, rate)
    if row["floor"]:
        row["floor"]["fraction"] = row["floor"]["seconds"] / row["ours"]["seconds"]
    return {**row, "rates": rate, "provenance": provenance()}


def main(arguments=None):
    """Run the command line and return its exit code."""
    parts = [*ROWS, "growth", "accuracy", "demo"]
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--folder", type=Path, default=ROOT / "build" / "camels-size")
    parser.add_argument("--table", type=Path, default=TABLE)
    parser.add_argument("--only", nargs="*", choices=parts, help="repeat only these parts")
    parser.add_argument("--keep", action="store_true", help="do not remove the file of CMD's size")
    for hidden in ("--row", "--side", "--point", "--accuracy"):
        parser.add_argument(hidden, help=argparse.SUPPRESS)
    asked = parser.parse_args(arguments)
    folder = asked.folder
    if asked.row == "one":
        print(json.dumps({"seconds": seconds_of(one_training, 1), **peak()}))
    elif asked.row:
        work = ROWS[asked.row][1 if asked.side == "ours" else 2]
        print(json.dumps({"seconds": work(folder), **peak()}))
    elif asked.point:
        work, n, size = json.loads(asked.point)
        print(json.dumps({"seconds": growth(work, n, size, folder), **peak()}))
    elif asked.accuracy:
        print(json.dumps(accuracy(asked.accuracy)))
    else:
        run_all(asked, folder)
    return 0


def run_all(asked, folder):
    """Measure the requested parts and write the table after each of them."""

    known = read_json(asked.table) if asked.table.exists() else {}
    if known.get("hardware") != camels.hardware():
        known = {}
    table = {"hardware": camels.hardware(), "rows": {}, **known}
    wanted = asked.only or [
        name for name in [*ROWS, "growth", "accuracy"] if name not in {**table, **table["rows"]}
    ]
    rate = rates()
    for name in wanted:
        print(name, flush=True)
        if name in ROWS:
            row = table["rows"][name] = measure(name, rate, folder)
            print(f"  {row['ours']['seconds']:.3g} s, ratio {row['ratio']:.2f}", flush=True)
        elif name == "growth":
            table["growth"] = [
                {"work": work, "maps": n, "grid": size, "seconds": min(found["seconds"]),
                 "peak_mb": found["peak_mb"]}
                for work, n, size in growth_points()
                for found in [in_child("--point", json.dumps([work, n, size]), folder=folder)]
            ]  # fmt: skip
        elif name == "accuracy":
            table["accuracy"] = [in_child("--accuracy", kind, folder=folder) for kind in ACCURACY]
        else:
            table["demo"] = {"seconds": demo(), "provenance": provenance()}
        table["rows"] = {key: table["rows"][key] for key in ROWS if key in table["rows"]}
        write_json(asked.table, {**table, "provenance": provenance()})
    if not asked.keep and folder.exists():
        shutil.rmtree(folder.parent / "bench-64", ignore_errors=True)
        shutil.rmtree(folder.parent / "bench-128", ignore_errors=True)
        camels.release(folder)


if __name__ == "__main__":
    sys.exit(main())
