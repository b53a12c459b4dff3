"""A full-size CMD file through every stage of the pipeline: seconds and peak memory of each.

    python benchmarks/camels.py              # make bench-camels
    python benchmarks/camels.py --only train # one stage again

The real files cannot be had everywhere, so one of the same name, shape and statistics is made: maps
of Lite, which are periodic, tiled 4 x 4 and perturbed. Each stage runs in a process of its own, so
that its peak memory is its own, and is written to the table as soon as it is done: a bench that was
stopped goes on where it was. Needs two times the file's size on disk.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
import platform
import shutil
import subprocess
import sys
import time
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))  # also where cosmolib is not installed

from cosmolib.runs import (  # noqa: E402
    atomic_path,
    load_profile,
    provenance,
    read_json,
    write_json,
)  # fmt: skip
from cosmolib.suites import FIDUCIAL, MAPS_PER_SIMULATION, open_suite  # noqa: E402

SUITE = "IllustrisTNG"
STEPS = 20
BATCH = 128  # as published
SMALL_BATCH = 8  # so few that the activations of the network are small beside the maps
SIMULATIONS, GRID = 1000, 256


# --------------------------------------------------------------------------------------------------
# The file
# --------------------------------------------------------------------------------------------------
def make_suite(folder, simulations, grid):
    """Write maps and table under CMD's names, unless they are there and whole."""
    try:
        suite = open_suite(SUITE, data_dir=folder)
        if (suite.n_simulations, suite.grid) == (simulations, grid):
            return
    except (FileNotFoundError, ValueError):
        pass
    source = open_suite("Lite")
    tiles = max(1, grid // source.grid)
    rows = np.arange(simulations) % source.n_simulations
    count = MAPS_PER_SIMULATION
    path = Path(folder) / SUITE / f"Maps_Mtot_{SUITE}_LH_z=0.00.npy"
    with atomic_path(path) as temporary, open(temporary, "wb") as file:
        header = {
            "descr": "<f4",
            "fortran_order": False,
            "shape": (count * simulations, grid, grid),
        }
        np.lib.format.write_array_header_1_0(file, header)
        for number, row in enumerate(rows):
            maps = np.array(source.maps[count * row : count * row + count])
            maps = np.tile(maps, (1, tiles, tiles))[:, :grid, :grid]
            noise = np.random.default_rng(number).normal(0, 0.1, maps.shape)
            file.write(np.float32(maps * np.exp(noise - 0.005)).data)  # the mean stays
    with atomic_path(path.with_name(f"params_LH_{SUITE}.txt")) as temporary:
        np.savetxt(temporary, source.params[rows], fmt="%.5f", header=" ".join(FIDUCIAL))


# --------------------------------------------------------------------------------------------------
# Stages: each returns how many maps it worked on
# --------------------------------------------------------------------------------------------------
def _profile(**changes):
    return load_profile("camels", epochs=1, n_simulations=None, **changes)


def _prepared(folder, storage, train_maps=None):
    """Inputs of the whole file; at most ``train_maps`` of them are shown, 32 validate."""
    from cosmolib.inputs import prepare_data

    data = prepare_data(open_suite(SUITE, data_dir=folder), _profile(storage=storage))
    if train_maps is None:
        return data
    few, valid = slice(train_maps), slice(32)
    cut = (lambda x, s: x.part(s)) if storage == "disk" else (lambda x, s: x[s])
    return dataclasses.replace(
        data,
        train_x=cut(data.train_x, few),
        train_theta=data.train_theta[few],
        valid_x=cut(data.valid_x, valid),
        valid_theta=data.valid_theta[valid],
    )


def _network(folder):
    from cosmolib.networks import build_network

    profile = _profile()
    size = open_suite(SUITE, data_dir=folder).grid
    return build_network("o3", size, profile.hidden, profile.dropout, len(profile.targets))


def _train(folder, storage, steps, batch):
    from cosmolib.training import fit

    data = _prepared(folder, storage, steps * batch)
    start = time.perf_counter()
    fit(_network(folder), data, _profile(storage=storage, batch_size=batch), seed=1)
    return len(data.train_x), time.perf_counter() - start


def make(folder, out, size):
    """Write the file: maps of Lite, tiled and perturbed."""
    make_suite(folder, *size)
    return len(open_suite(SUITE, data_dir=folder).maps)


def check(folder, out, size):
    """`cosmolib check`: read every pixel, compare with the table."""
    from cosmolib.checks import check_path

    (report,) = check_path(Path(folder) / SUITE / f"Maps_Mtot_{SUITE}_LH_z=0.00.npy")
    if report.problem:
        raise ValueError(report.problem)
    return len(open_suite(SUITE, data_dir=folder).maps)


def cut(folder, out, size):
    """Fourier cut kmax:10 to a new file."""
    from cosmolib.inputs import write_cut_suite

    return len(write_cut_suite(open_suite(SUITE, data_dir=folder), "kmax:10", out).maps)


def prepare(folder, out, size):
    """Open, scale over the whole file as published, split; maps in memory."""
    data = _prepared(folder, "float32")
    return sum(len(x) for x in (data.train_x, data.valid_x, data.test_x))


def prepare_half(folder, out, size):
    """Open, scale, split; maps in memory as float16."""
    data = _prepared(folder, "float16")
    return sum(len(x) for x in (data.train_x, data.valid_x, data.test_x))


def prepare_disk(folder, out, size):
    """Open, scale, split; maps left on disk."""
    data = _prepared(folder, "disk")
    return sum(len(x) for x in (data.train_x, data.valid_x, data.test_x))


def train(folder, out, size):
    """20 steps of o3 (hidden 7) at batch 128, maps in memory."""
    return _train(folder, "float32", STEPS, BATCH)


def train_disk(folder, out, size):
    """One step of o3 (hidden 7) at batch 128, maps on disk."""
    return _train(folder, "disk", 1, BATCH)


def evaluate(folder, out, size):
    """Predict the test maps from disk, with all scores and intervals."""
    from cosmolib.evaluation import metrics, predict_test

    data = _prepared(folder, "disk")
    start = time.perf_counter()
    predictions = predict_test(_network(folder), data)
    metrics(predictions, _profile().bootstrap_samples)
    return len(predictions["map"]), time.perf_counter() - start


def attribute(folder, out, size):
    """Integrated Gradients, 50 steps, of four test maps."""
    from cosmolib import attribution

    x = _prepared(folder, "disk").test_x[:4]
    start = time.perf_counter()
    baseline = attribution.make_baseline("mean_log", x)
    attribution.attribute(
        _network(folder).eval(), x, "integrated_gradients", 0, baseline=baseline, n_steps=50
    )
    return len(x), time.perf_counter() - start


def chain(folder, out, size):
    """Open, cut to a new file, scale, first training step (batch 8), maps in memory."""
    cut(folder, out, size)
    return _train(folder, "float32", 1, SMALL_BATCH)[0]


def chain_disk(folder, out, size):
    """Open, cut to a new file, scale, first training step (batch 8), maps on disk."""
    cut(folder, out, size)
    return _train(folder, "disk", 1, SMALL_BATCH)[0]


STAGES = {
    stage.__name__: stage
    for stage in (
        make, check, cut, prepare, prepare_half, prepare_disk, chain, chain_disk, train, train_disk,
        evaluate, attribute,
    )
}  # fmt: skip


# --------------------------------------------------------------------------------------------------
# Measuring
# --------------------------------------------------------------------------------------------------
def peak_mb():
    """Most memory [MB] that this program ever held in RAM.

    Not ``ru_maxrss``, which on Linux starts from that of the process that started this one.
    """
    status = Path("/proc/self/status")
    if status.exists():
        return int(status.read_text().split("VmHWM:")[1].split()[0]) * 1024 / 1e6
    import resource

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6  # bytes on macOS


def run_stage(name, folder, out, size):
    """Run one stage in this process and return its row."""
    import torch  # noqa: F401  part of the base

    import cosmolib.attribution
    import cosmolib.evaluation  # noqa: F401

    base = peak_mb()
    start, cpu = time.perf_counter(), time.process_time()
    result = STAGES[name](folder, out, size)
    seconds, cpu = time.perf_counter() - start, time.process_time() - cpu
    maps, own = result if isinstance(result, tuple) else (result, seconds)
    return {
        "stage": name,
        "what": " ".join(STAGES[name].__doc__.split()),
        "maps": maps,
        "seconds": own,  # without the preparation, where that has a row of its own
        "seconds_in_all": seconds,
        "cpu_seconds": cpu,
        "base_mb": base,
        "above_base_mb": peak_mb() - base,
    }


def hardware():
    """What the table was measured on."""
    import torch

    names = [line for line in _lines("/proc/cpuinfo") if line.startswith("model name")]
    memory = [line for line in _lines("/proc/meminfo") if line.startswith("MemTotal")]
    return {
        "cpu": names[0].split(":", 1)[1].strip() if names else platform.processor(),
        "cores": len(os.sched_getaffinity(0))
        if hasattr(os, "sched_getaffinity")
        else os.cpu_count(),
        "memory_gb": int(memory[0].split()[1]) / 1e6 if memory else None,
        "gpu": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
    }


def _lines(path):
    return Path(path).read_text().splitlines() if Path(path).exists() else []


def run_all(arguments):
    """Run the stages that have no row yet, each in a new process."""
    folder, table = Path(arguments.folder), Path(arguments.table)
    size = [arguments.simulations, arguments.grid]
    file_bytes = 4 * MAPS_PER_SIMULATION * size[0] * size[1] ** 2
    folder.mkdir(parents=True, exist_ok=True)
    there = sum(path.stat().st_size for path in folder.rglob("*.npy"))
    free = shutil.disk_usage(folder).free + there
    if free < 2.05 * file_bytes:
        raise SystemExit(
            f"{folder}: found {free / 1e9:.1f} GB free, expected {2.05 * file_bytes / 1e9:.1f} GB"
        )
    known = read_json(table) if table.exists() else {}
    same = known.get("size") == size and known.get("hardware") == hardware()
    rows = {row["stage"]: row for row in known.get("rows", [])} if same else {}
    names = arguments.only or [name for name in STAGES if name not in rows]
    environment = {**os.environ, "OMP_NUM_THREADS": str(hardware()["cores"])}
    for name in names:
        if name != "make":  # an own row only where the file is written
            make_suite(folder, *size)
        print(f"{name}: {' '.join(STAGES[name].__doc__.split())}", flush=True)
        command = [sys.executable, __file__, "--stage", name, "--folder", str(folder)]
        command += ["--simulations", str(size[0]), "--grid", str(size[1])]
        done = subprocess.run(command, stdout=subprocess.PIPE, text=True, env=environment)
        if done.returncode:
            raise SystemExit(f"{name}: failed, see above")
        rows[name] = json.loads(done.stdout.splitlines()[-1])
        print(f"  {rows[name]['seconds']:.1f} s, {rows[name]['above_base_mb']:.0f} MB", flush=True)
        write_json(
            table,
            {
                "size": size,
                "file_bytes": file_bytes,
                "hardware": hardware(),
                "provenance": provenance(),
                "rows": [rows[stage] for stage in STAGES if stage in rows],
            },
        )
    if not arguments.keep:
        shutil.rmtree(folder)


def main():
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--folder", default=str(ROOT / "build" / "camels-size"))
    parser.add_argument("--table", default=str(ROOT / "results" / "benchmarks" / "camels.json"))
    parser.add_argument("--simulations", type=int, default=SIMULATIONS)
    parser.add_argument("--grid", type=int, default=GRID)
    parser.add_argument("--only", nargs="*", choices=STAGES, help="these stages, again")
    parser.add_argument("--keep", action="store_true", help="leave the files of the bench")
    parser.add_argument("--stage", choices=STAGES, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.stage:
        out = Path(arguments.folder) / "cut"
        size = (arguments.simulations, arguments.grid)
        print(json.dumps(run_stage(arguments.stage, arguments.folder, out, size)))
    else:
        run_all(arguments)


if __name__ == "__main__":
    main()
