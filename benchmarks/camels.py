"""Measure seconds and peak memory of every stage of the pipeline on a full-size CMD file.

    python benchmarks/camels.py              # make bench-camels: stages without a row
    python benchmarks/camels.py --only train # repeat one stage
    python benchmarks/camels.py --overwrite  # repeat all stages

The real files are not available everywhere, so a file of the same name, shape and statistics is
made: periodic maps of Lite are tiled 4 x 4 and perturbed. Each stage runs in a separate process,
which gives its peak memory, and its row is written as soon as it is done, so that an interrupted
benchmark resumes. It needs twice the size of the file on disk.

The benchmark starts in an empty folder and removes only its own files at the end.
"""

from __future__ import annotations

import argparse
import dataclasses
import inspect
import json
import os
import platform
import re
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
SMALL_BATCH = 8  # with which the activations of the network need little memory
SIMULATIONS, GRID = 1000, 256
TABLE = ROOT / "results" / "benchmarks" / "camels.json"
MARK = "made-by-bench.json"  # written to the folder before any other file
FILE = f"Maps_Mtot_{SUITE}_LH_z=0.00.npy"


# --------------------------------------------------------------------------------------------------
# The file
# --------------------------------------------------------------------------------------------------
def claim(folder, size):
    """Mark a folder as that of the benchmark: an empty one, or one that it made before.

    Maps of another size, or made from another version of Lite, are removed.

    Raises
    ------
    ValueError
        The folder contains other files, possibly the real ones.
    """
    mark = {"size": list(size), "source": open_suite("Lite").fingerprint}
    if not (folder / MARK).is_file():
        if folder.is_dir() and (others := sorted(path.name for path in folder.iterdir())):
            raise ValueError(
                f"{folder}: contains {others[0]}; expected an empty folder, or that of a benchmark"
            )
    elif read_json(folder / MARK) != mark:
        release(folder)
    write_json(folder / MARK, mark)


def release(folder):
    """Remove the files of the benchmark, and the folder if it is then empty."""
    for name in (SUITE, "cut"):
        shutil.rmtree(folder / name, ignore_errors=True)
    (folder / MARK).unlink(missing_ok=True)
    if not any(folder.iterdir()):
        folder.rmdir()


def is_whole(folder, simulations, grid):
    """Whether the maps and their table exist; unfinished files have other names."""
    try:
        suite = open_suite(SUITE, data_dir=folder)
    except (FileNotFoundError, ValueError):
        return False
    return (suite.n_simulations, suite.grid) == (simulations, grid)


def make_suite(folder, simulations, grid):
    """Write maps and parameters under CMD's names, simulation by simulation."""
    source = open_suite("Lite")
    tiles = grid // source.grid
    rows = np.arange(simulations) % source.n_simulations
    count = MAPS_PER_SIMULATION
    path = Path(folder) / SUITE / FILE
    with atomic_path(path) as temporary, open(temporary, "wb") as file:
        header = {"descr": "<f4", "fortran_order": False}
        header["shape"] = (count * simulations, grid, grid)
        np.lib.format.write_array_header_1_0(file, header)
        for number, row in enumerate(rows):
            maps = np.array(source.maps[count * row : count * row + count])
            maps = np.tile(maps, (1, tiles, tiles))
            noise = np.random.default_rng(number).normal(0, 0.1, maps.shape)
            file.write(np.float32(maps * np.exp(noise - 0.005)).data)  # does not change the mean
    with atomic_path(path.with_name(f"params_LH_{SUITE}.txt")) as temporary:
        np.savetxt(temporary, source.params[rows], fmt="%.5f", header=" ".join(FIDUCIAL))


# --------------------------------------------------------------------------------------------------
# Stages: each returns the number of its maps, or a dict with it and the seconds and training steps
# without the preparation of the maps. The docstring describes the stage in the table.
# --------------------------------------------------------------------------------------------------
def _profile(**changes):
    return load_profile("camels", epochs=1, n_simulations=None, **changes)


def _prepared(folder, storage, train_maps=None):
    """Return the inputs of the whole file, or of ``train_maps`` training and 32 validation maps."""
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
    """Import torch and cosmolib: the memory of every stage starts from this."""
    return 0


def make(folder, out, size):
    """Write the file: maps of Lite, tiled and perturbed."""
    make_suite(folder, *size)
    return len(open_suite(SUITE, data_dir=folder).maps)


def check(folder, out, size):
    """`cosmolib check`: read every pixel, compare with the table of parameters."""
    from cosmolib.data.check import check_path

    (report,) = check_path(Path(folder) / SUITE / FILE)
    if report.problem:
        raise ValueError(report.problem)
    return len(open_suite(SUITE, data_dir=folder).maps)


def cut(folder, out, size):
    """Apply the Fourier cut kmax:10 and write a new file."""
    from cosmolib.training.dataset import write_cut_suite

    return len(write_cut_suite(open_suite(SUITE, data_dir=folder), "kmax:10", out).maps)


def _prepare(folder, storage):
    data = _prepared(folder, storage)
    return sum(len(x) for x in (data.train_x, data.valid_x, data.test_x))


def prepare(folder, out, size):
    """Open, scale over the whole file as published, split; maps in memory."""
    return _prepare(folder, "float32")


def prepare_half(folder, out, size):
    """Open, scale, split; maps in memory as float16."""
    return _prepare(folder, "float16")


def prepare_disk(folder, out, size):
    """Open, scale, split; maps left on disk."""
    return _prepare(folder, "disk")


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
    """Integrated Gradients with 50 steps for four test maps."""
    return _attribute(folder, 4, "integrated_gradients", n_steps=50)


def saliency(folder, out, size):
    """Saliency for 32 test maps."""
    return _attribute(folder, 32, "saliency")


def _chain(folder, out, storage, batch):
    cut(folder, out, None)
    row = _train(folder, storage, 1, batch)
    del row["seconds"]  # of the training alone
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
    """Describe a stage in one line."""
    text = inspect.getdoc(STAGES[name])
    if steps is not None:  # a small file has fewer
        text = text.replace("Training steps", f"{steps} training step{'s' * (steps > 1)}")
    return text


# --------------------------------------------------------------------------------------------------
# Measuring
# --------------------------------------------------------------------------------------------------
def peak_mb():
    """Return the peak memory [MB] of this process.

    On Linux ``ru_maxrss`` is not used, because it includes the peak of the parent process.
    """
    status = Path("/proc/self/status")
    if status.exists():
        return int(status.read_text().split("VmHWM:")[1].split()[0]) * 1024 / 1e6
    import resource

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6  # bytes on macOS


def run_stage(name, folder, out, size):
    """Run one stage in this process and return its row."""
    import cosmolib.interpretation.attribution
    import cosmolib.training.run  # noqa: F401  part of the base memory

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
        "steps": result.get("steps"),  # training steps
        "seconds": result.get("seconds", seconds),  # without the preparation of the maps
        "seconds_in_all": seconds,
        "cpu_seconds": cpu,  # of all threads, with the preparation of the maps
        "base_mb": base_mb,
        "peak_mb": peak,
        "above_base_mb": peak - base_mb,
        "ratio_to_file": (peak - base_mb) * 1e6 / file_bytes(*size),
    }


def file_bytes(simulations, grid):
    """Return the size of a file of maps without its header."""
    return 4 * MAPS_PER_SIMULATION * simulations * grid**2


def hardware():
    """Describe the machine."""
    import psutil
    import torch

    path = Path("/proc/cpuinfo")
    names = re.findall(r"model name\s*: (.*)", path.read_text()) if path.exists() else []
    return {
        "cpu": names[0].strip() if names else platform.processor(),
        "cores": len(psutil.Process().cpu_affinity()) if names else psutil.cpu_count(),
        "memory_gb": psutil.virtual_memory().total // 1024 / 1e6,
        "gpu": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
    }


def known_rows(table, size):
    """Return the rows of a table for this machine and size, by stage, with their provenance."""
    known = read_json(table) if table.exists() else {}
    if known.get("size") != size or known.get("hardware") != hardware():
        return {}
    return {row["stage"]: {"provenance": known["provenance"], **row} for row in known["rows"]}


def run_all(arguments):
    """Run the stages that have no row, each in a new process."""
    size = [arguments.simulations, arguments.grid]
    folder, table = Path(arguments.folder), Path(arguments.table or default_table(size))
    rows = {} if arguments.overwrite else known_rows(table, size)
    names = arguments.only or [name for name in STAGES if name not in rows]
    if not names:
        print(f"{table}: every stage has a row; repeat them with --overwrite")
        return
    claim(folder, size)
    needed = 2.05 * file_bytes(*size)  # the maps and the cut maps
    there = sum(path.stat().st_size for path in folder.rglob("[!.]*.npy"))
    free = shutil.disk_usage(folder).free + there
    print(f"{folder}: needs {needed / 1e9:.2f} GB of disk, {free / 1e9:.1f} GB free", flush=True)
    if free < needed:
        raise ValueError(f"{folder}: {free / 1e9:.2f} GB free, {needed / 1e9:.2f} GB are needed")
    for name in names:
        for stale in (folder / SUITE).glob(".*.npy"):  # of a killed process
            stale.unlink()
        shutil.rmtree(folder / "cut", ignore_errors=True)  # at most one cut file at a time
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
                "provenance": row["provenance"],
                "rows": [rows[stage] for stage in STAGES if stage in rows],
            },
        )
    print(f"{table}: {len(rows)} of {len(STAGES)} stages")
    if not arguments.keep:
        release(folder)


def measure(name, folder, size):
    """Run one stage in a new process, with all cores, and return its row."""
    row = in_child(
        __file__, "--stage", name, "--folder", folder, "--simulations", size[0], "--grid", size[1]
    )
    return {**row, "provenance": provenance()}


def in_child(script, *arguments):
    """Run a script in a new process with all cores and return the JSON of its last line."""
    cores = str(hardware()["cores"])
    threads = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS")  # make exports 1
    command = [sys.executable, script, *map(str, arguments)]
    environment = {**os.environ, **dict.fromkeys(threads, cores)}
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, env=environment, check=False)
    if done.returncode:
        raise ValueError(f"{' '.join(command)}: failed with exit code {done.returncode}, see above")
    return json.loads(done.stdout.splitlines()[-1])


def default_table(size):
    """Return the file of the table: only a full-size file goes to the table of the book."""
    if tuple(size) == (SIMULATIONS, GRID):
        return TABLE
    return ROOT / "build" / f"camels-{size[0]}x{size[1]}.json"


def main(arguments=None):
    """Run the command line and return its exit code."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--folder", type=Path, default=ROOT / "build" / "camels-size")
    parser.add_argument("--table", help="default: that of the book, if the file has full size")
    parser.add_argument("--simulations", type=int, default=SIMULATIONS)
    parser.add_argument("--grid", type=int, default=GRID)
    parser.add_argument("--only", nargs="*", choices=STAGES, help="repeat only these stages")
    parser.add_argument("--overwrite", action="store_true", help="repeat every stage")
    parser.add_argument("--keep", action="store_true", help="do not remove the files at the end")
    parser.add_argument("--stage", choices=STAGES, help=argparse.SUPPRESS)
    arguments = parser.parse_args(arguments)
    source = open_suite("Lite").grid
    if arguments.grid < source or arguments.grid % source:
        parser.error(f"--grid: found {arguments.grid}, expected a multiple of {source}")
    if arguments.simulations < 3:
        parser.error(f"--simulations: found {arguments.simulations}, expected at least 3")
    if arguments.stage:
        size = (arguments.simulations, arguments.grid)
        row = run_stage(arguments.stage, arguments.folder, arguments.folder / "cut", size)
        print(json.dumps(row))
        return 0

    try:
        run_all(arguments)
    except (OSError, ValueError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
