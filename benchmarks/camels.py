"""A full-size CMD file through every stage of the pipeline: seconds and peak memory of each.

    python benchmarks/camels.py              # make bench-camels: the stages without a row yet
    python benchmarks/camels.py --only train # one stage again
    python benchmarks/camels.py --anew       # all of them again

The real files cannot be had everywhere, so one of the same name, shape and statistics is made: maps
of Lite, which are periodic, tiled 4 x 4 and perturbed. Each stage runs in a process of its own, so
that its peak memory is its own, and is written to the table as soon as it is done: a bench that was
stopped goes on where it was. Needs two times the file's size on disk.

The folder belongs to the bench: it starts in an empty one, and removes nothing else at the end.
"""

from __future__ import annotations

import argparse
import dataclasses
import inspect
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

from cosmolib.data.cmd_format import MAPS_PER_SIMULATION  # noqa: E402
from cosmolib.data.suites import open_suite  # noqa: E402
from cosmolib.data.tables import FIDUCIAL  # noqa: E402
from cosmolib.study.io import atomic_path, read_json, write_json  # noqa: E402
from cosmolib.study.profile import load_profile  # noqa: E402
from cosmolib.study.provenance import provenance  # noqa: E402

SUITE = "IllustrisTNG"
STEPS = 20
BATCH = 128  # as published
SMALL_BATCH = 8  # so few that the activations of the network are small beside the maps
SIMULATIONS, GRID = 1000, 256
TABLE = ROOT / "results" / "benchmarks" / "camels.json"
MARK = "made-by-bench.json"  # in the folder, before any other file of the bench
FILE = f"Maps_Mtot_{SUITE}_LH_z=0.00.npy"


# --------------------------------------------------------------------------------------------------
# The file
# --------------------------------------------------------------------------------------------------
def claim(folder, size):
    """Take a folder for the bench: an empty one, or one that it made for a file of this size.

    Maps of another size, or of another Lite, are removed.

    Raises
    ------
    ValueError
        The folder holds files of somebody else, maybe the real ones.
    """
    folder = Path(folder)
    mark = {"size": list(size), "source": open_suite("Lite").fingerprint}
    if not (folder / MARK).is_file():
        others = sorted(path.name for path in folder.iterdir()) if folder.is_dir() else []
        if others:
            raise ValueError(
                f"{folder}: found {others[0]}, expected an empty folder, or one of this bench"
            )
    elif read_json(folder / MARK) != mark:
        release(folder)
    write_json(folder / MARK, mark)


def release(folder):
    """Remove what the bench wrote, and the folder if nothing else is in it."""
    folder = Path(folder)
    for name in (SUITE, "cut"):
        shutil.rmtree(folder / name, ignore_errors=True)
    (folder / MARK).unlink(missing_ok=True)
    if not any(folder.iterdir()):
        folder.rmdir()


def is_whole(folder, simulations, grid):
    """Whether the maps and their table are there; they get their names when they are whole."""
    try:
        suite = open_suite(SUITE, data_dir=folder)
    except (FileNotFoundError, ValueError):
        return False
    return (suite.n_simulations, suite.grid) == (simulations, grid)


def make_suite(folder, simulations, grid):
    """Write maps and table under CMD's names, simulation by simulation."""
    source = open_suite("Lite")
    tiles = grid // source.grid
    rows = np.arange(simulations) % source.n_simulations
    count = MAPS_PER_SIMULATION
    path = Path(folder) / SUITE / FILE
    with atomic_path(path) as temporary, open(temporary, "wb") as file:
        header = {
            "descr": "<f4",
            "fortran_order": False,
            "shape": (count * simulations, grid, grid),
        }
        np.lib.format.write_array_header_1_0(file, header)
        for number, row in enumerate(rows):
            maps = np.array(source.maps[count * row : count * row + count])
            maps = np.tile(maps, (1, tiles, tiles))
            noise = np.random.default_rng(number).normal(0, 0.1, maps.shape)
            file.write(np.float32(maps * np.exp(noise - 0.005)).data)  # the mean stays
    with atomic_path(path.with_name(f"params_LH_{SUITE}.txt")) as temporary:
        np.savetxt(temporary, source.params[rows], fmt="%.5f", header=" ".join(FIDUCIAL))


# --------------------------------------------------------------------------------------------------
# Stages: each returns how many maps it worked on, or these with its own seconds and training steps,
# where the preparation of the maps has a row of its own
# --------------------------------------------------------------------------------------------------
def _profile(**changes):
    return load_profile("camels", epochs=1, n_simulations=None, **changes)


def _prepared(folder, storage, train_maps=None):
    """Inputs of the whole file; at most ``train_maps`` of them are shown, 32 validate."""
    from cosmolib.training.dataset import prepare_data

    data = prepare_data(open_suite(SUITE, data_dir=folder), _profile(storage=storage))
    if train_maps is None:
        return data
    few, valid = slice(train_maps), slice(32)

    def cut(x, part):
        return dataclasses.replace(x, maps=x.maps[part]) if storage == "disk" else x[part]

    return dataclasses.replace(
        data,
        train_x=cut(data.train_x, few),
        train_theta=data.train_theta[few],
        valid_x=cut(data.valid_x, valid),
        valid_theta=data.valid_theta[valid],
    )


def _network(folder):
    from cosmolib.training.fit import seeded
    from cosmolib.training.networks import build_network

    profile = _profile()
    size = open_suite(SUITE, data_dir=folder).grid
    with seeded(1):
        return build_network("o3", size, profile.hidden, profile.dropout, len(profile.targets))


def _train(folder, storage, steps, batch):
    from cosmolib.training.fit import fit

    data = _prepared(folder, storage, steps * batch)
    start = time.perf_counter()
    fit(_network(folder), data, _profile(storage=storage, batch_size=batch), seed=1)
    seconds = time.perf_counter() - start
    count = len(data.train_x)
    return {"maps": count, "seconds": seconds, "steps": count // min(batch, count)}


def base(folder, out, size):
    """Python with torch and cosmolib, nothing done: the base of all others."""
    return 0


def make(folder, out, size):
    """Write the file: maps of Lite, tiled and perturbed."""
    make_suite(folder, *size)
    return len(open_suite(SUITE, data_dir=folder).maps)


def check(folder, out, size):
    """`cosmolib check`: read every pixel, compare with the table."""
    from cosmolib.data.check import check_path

    (report,) = check_path(Path(folder) / SUITE / FILE)
    if report.problem:
        raise ValueError(report.problem)
    return len(open_suite(SUITE, data_dir=folder).maps)


def cut(folder, out, size):
    """Fourier cut kmax:10 to a new file."""
    from cosmolib.training.dataset import write_cut_suite

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
    """Training steps of o3 (hidden 7) at batch 128, maps in memory."""
    return _train(folder, "float32", STEPS, BATCH)


def train_disk(folder, out, size):
    """Training steps of o3 (hidden 7) at batch 128, maps on disk."""
    return _train(folder, "disk", 1, BATCH)


def evaluate(folder, out, size):
    """Predict the test maps from disk, with all scores and intervals."""
    from cosmolib.training.predictions import predict
    from cosmolib.training.scores import metrics

    data = _prepared(folder, "disk")
    start = time.perf_counter()
    predictions = predict(_network(folder), data)
    metrics(predictions, _profile().bootstrap_samples)
    return {"maps": len(predictions["map"]), "seconds": time.perf_counter() - start}


def _attribute(folder, count, method, **options):
    from cosmolib.interpretation import attribution

    x = _prepared(folder, "disk").test_x[:count]
    start = time.perf_counter()
    baseline = attribution.make_baseline("mean_log", x)
    attribution.attribute(_network(folder), x, method, 0, baseline=baseline, **options)
    return {"maps": len(x), "seconds": time.perf_counter() - start}


def attribute(folder, out, size):
    """Integrated Gradients, 50 steps, of four test maps."""
    return _attribute(folder, 4, "integrated_gradients", n_steps=50)


def saliency(folder, out, size):
    """Saliency of 32 test maps."""
    return _attribute(folder, 32, "saliency")


def _chain(folder, out, storage, batch):
    cut(folder, out, None)
    row = _train(folder, storage, 1, batch)
    del row["seconds"]  # those of all count here
    return row


def chain(folder, out, size):
    """Open, cut to a new file, scale, first training step (batch 8), maps in memory."""
    return _chain(folder, out, "float32", SMALL_BATCH)


def chain_128(folder, out, size):
    """Open, cut to a new file, scale, first training step (batch 128), maps in memory."""
    return _chain(folder, out, "float32", BATCH)


def chain_disk(folder, out, size):
    """Open, cut to a new file, scale, first training step (batch 8), maps on disk."""
    return _chain(folder, out, "disk", SMALL_BATCH)


STAGES = {
    stage.__name__: stage
    for stage in (
        base, make, check, cut, prepare, prepare_half, prepare_disk, chain, chain_128, chain_disk,
        train, train_disk, evaluate, attribute, saliency,
    )
}  # fmt: skip


def what(name, steps=None):
    """Say in a line what a stage does."""
    text = inspect.getdoc(STAGES[name])
    if steps is not None:  # those done: a small file holds fewer
        text = text.replace("Training steps", f"{steps} training step{'s' * (steps > 1)}")
    return text


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
    import cosmolib.interpretation.attribution
    import cosmolib.training.run  # noqa: F401  with torch: part of the base

    base_mb = peak_mb()
    start, cpu = time.perf_counter(), time.process_time()
    result = STAGES[name](folder, out, size)
    seconds, cpu = time.perf_counter() - start, time.process_time() - cpu
    result = result if isinstance(result, dict) else {"maps": result}
    peak = peak_mb()
    return {
        "stage": name,
        "what": what(name, result.get("steps")),
        "maps": result["maps"],
        "steps": result.get("steps"),  # of training
        "seconds": result.get("seconds", seconds),  # without the preparation of the maps
        "seconds_in_all": seconds,
        "cpu_seconds": cpu,  # of all threads, in all
        "base_mb": base_mb,
        "peak_mb": peak,
        "above_base_mb": peak - base_mb,
        "ratio_to_file": (peak - base_mb) * 1e6 / file_bytes(*size),
    }


def file_bytes(simulations, grid):
    """Size of the maps of a file, without its header."""
    return 4 * MAPS_PER_SIMULATION * simulations * grid**2


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


def known_rows(table, size):
    """Rows of a table that hold for this machine and size, by stage; each says what made it."""
    known = read_json(table) if table.exists() else {}
    if known.get("size") != size or known.get("hardware") != hardware():
        return {}
    return {row["stage"]: {"provenance": known["provenance"], **row} for row in known["rows"]}


def run_all(arguments):
    """Run the stages that have no row yet, each in a new process."""
    size = [arguments.simulations, arguments.grid]
    folder, table = Path(arguments.folder), Path(arguments.table or default_table(size))
    rows = {} if arguments.anew else known_rows(table, size)
    names = arguments.only or [name for name in STAGES if name not in rows]
    if not names:
        print(f"{table}: every stage has a row; --anew measures them again")
        return
    claim(folder, size)
    needed = 2.05 * file_bytes(*size)  # the maps and their cut
    there = sum(path.stat().st_size for path in folder.rglob("[!.]*.npy"))
    free = shutil.disk_usage(folder).free
    print(f"{folder}: needs {needed / 1e9:.2f} GB of disk, {free / 1e9:.1f} GB free", flush=True)
    if free + there < needed:
        raise ValueError(
            f"{folder}: found {(free + there) / 1e9:.2f} GB, expected {needed / 1e9:.2f} GB"
        )
    for name in names:
        for stale in (folder / SUITE).glob(".*.npy"):  # of a killed process
            stale.unlink()
        shutil.rmtree(folder / "cut", ignore_errors=True)  # never two cut files at once
        if name not in ("base", "make") and not is_whole(folder, *size):
            print(f"{folder / SUITE}: writing the maps", flush=True)
            make_suite(folder, *size)
        print(f"{name}: {what(name)}", flush=True)
        rows[name] = row = measure(name, folder, size)
        print(f"  {row['seconds']:.1f} s, {row['above_base_mb']:.0f} MB", flush=True)
        write_json(
            table,
            {
                "size": size,
                "file_bytes": file_bytes(*size),
                "hardware": hardware(),
                "provenance": row["provenance"],  # of the last row
                "rows": [rows[stage] for stage in STAGES if stage in rows],
            },
        )
    print(f"{table}: {len(rows)} of {len(STAGES)} stages")
    if not arguments.keep:
        release(folder)


def measure(name, folder, size):
    """Run one stage in a new process, with all cores, and return its row."""
    cores = str(hardware()["cores"])
    threads = dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS"), cores)  # make exports 1
    command = [sys.executable, __file__, "--stage", name, "--folder", str(folder)]
    command += ["--simulations", str(size[0]), "--grid", str(size[1])]
    done = subprocess.run(
        command, stdout=subprocess.PIPE, text=True, env={**os.environ, **threads}, check=False
    )
    if done.returncode:
        raise ValueError(f"{name}: found exit code {done.returncode}, expected 0; see above")
    return {**json.loads(done.stdout.splitlines()[-1]), "provenance": provenance()}


def default_table(size):
    """Where rows go: the table of the book is of the full size alone."""
    if tuple(size) == (SIMULATIONS, GRID):
        return TABLE
    return ROOT / "build" / f"camels-{size[0]}x{size[1]}.json"


def main(arguments=None):
    """Command line; returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--folder", default=str(ROOT / "build" / "camels-size"))
    parser.add_argument("--table", help="by default that of the book, for a full-size file only")
    parser.add_argument("--simulations", type=int, default=SIMULATIONS)
    parser.add_argument("--grid", type=int, default=GRID)
    parser.add_argument("--only", nargs="*", choices=STAGES, help="these stages, again")
    parser.add_argument("--anew", action="store_true", help="measure every stage again")
    parser.add_argument("--keep", action="store_true", help="leave the files of the bench")
    parser.add_argument("--stage", choices=STAGES, help=argparse.SUPPRESS)
    arguments = parser.parse_args(arguments)
    source = open_suite("Lite").grid
    if arguments.grid < source or arguments.grid % source:
        parser.error(f"--grid: found {arguments.grid}, expected a multiple of {source}")
    if arguments.simulations < 3:
        parser.error(f"--simulations: found {arguments.simulations}, expected at least 3")
    if arguments.stage:
        out = Path(arguments.folder) / "cut"
        size = (arguments.simulations, arguments.grid)
        print(json.dumps(run_stage(arguments.stage, arguments.folder, out, size)))
        return 0
    try:
        run_all(arguments)
    except (OSError, ValueError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
