"""Lite from its simulations: tables of its sets, shards, CMD files, command line.

Every simulation is one shard, a small file that is written whole or not at all.  Any number of
processes can work on the same folder: a row is claimed with a file lock, which the operating
system drops when a process dies, so a killed run is continued by running the same command again.
"""

from __future__ import annotations

import argparse
import multiprocessing
import reprlib
import time
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path

import numpy as np

from cosmolib.data import lite
from cosmolib.data.cmd_format import read_params
from cosmolib.data.suites import FIDUCIAL, PARAMETERS, open_suite, write_suite
from cosmolib.study.io import atomic_path, read_json, write_json
from cosmolib.study.locks import Busy, held
from lite import pack
from lite.simulate import FeedbackProxy, SimulationSettings, simulate_one
from lite.validate import validate

SETTINGS = SimulationSettings()
PROXY = FeedbackProxy()
FIRST_SEED = {"CV": 10000, "1P": 10100, "EX": 10200}  # the LH table has 0 to 999
ONE_AT_A_TIME = (  # steps n2, n1, 1, 2 of CAMELS' 1P sets, in the order of PARAMETERS
    (0.1, 0.2, 0.4, 0.5),
    (0.6, 0.7, 0.9, 1.0),
    (0.25, 0.5, 2.0, 4.0),
    (0.25, 0.5, 2.0, 4.0),
    (0.5, 0.70711, 1.41421, 2.0),
    (0.5, 0.70711, 1.41421, 2.0),
)


def set_table(name):
    """Table of one of the small sets of Lite, in the format of CAMELS' ``CosmoAstroSeed`` tables.

    - CV: 27 simulations at the fiducial parameters, a seed each.
    - 1P: the fiducial, then four values of each parameter with the others fiducial, one seed.
    - EX: the fiducial, A_AGN1 = 100, A_SN1 = 100 and all four A = 0, one seed.

    Parameters as CAMELS has them, seeds not: those of its CV and 1P sets occur in its LH table too,
    and here an equal seed is an equal set of phases, so a network trained on LH would know them.

    Parameters
    ----------
    name : str
        "CV", "1P" or "EX".

    Returns
    -------
    str
        Lines of name, six parameters and seed, below a header.

    Raises
    ------
    ValueError
        If there is no such set.
    """
    if name not in FIRST_SEED:
        raise ValueError(f"set {name!r}: expected one of {', '.join(FIRST_SEED)}")
    fiducial, seed = list(FIDUCIAL.values()), FIRST_SEED[name]
    if name == "CV":
        rows = [(f"CV_{i}", fiducial, seed + i) for i in range(27)]
    elif name == "1P":
        rows = [("1P_p1_0", fiducial, seed)]
        for i, values in enumerate(ONE_AT_A_TIME):
            for step, value in zip(("n2", "n1", "1", "2"), values, strict=True):
                varied = fiducial[:i] + [value] + fiducial[i + 1 :]
                rows.append((f"1P_p{i + 1}_{step}", varied, seed))
    else:
        extremes = ([1, 1, 1, 1], [1, 100, 1, 1], [100, 1, 1, 1], [0, 0, 0, 0])
        rows = [(f"EX_{i}", fiducial[:2] + a, seed) for i, a in enumerate(extremes)]
    lines = [f"{'#Name':8}" + "".join(f" {name:>9}" for name in PARAMETERS) + "  seed"]
    for row, values, seed in rows:
        lines.append(f"{row:8}" + "".join(f" {value:9.5f}" for value in values) + f" {seed:5d}")
    return "\n".join(lines) + "\n"


def read_table(path):
    """Read CAMELS' ``CosmoAstroSeed`` table: columns Name, six parameters, seed.

    Returns
    -------
    params : ndarray, shape (n, 6), float64
    seeds : ndarray, shape (n,), int64

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ValueError
        If it is no such table.
    """
    if not Path(path).is_file():
        raise FileNotFoundError(f"{path}: found no such file, expected CAMELS' table of parameters")
    table = read_params(Path(path), "Lite")
    if table.seeds is None:
        raise ValueError(f"{path}: found no column of seeds, expected name, six parameters, seed")
    return table.params, table.seeds


def shard_path(folder, row, sim_set="LH"):
    """Path of the shard of row ``row`` of a set."""
    return Path(folder) / f"{sim_set}_{row:04d}.npz"


def simulate_shards(
    folder,
    table,
    rows,
    *,
    sim_set="LH",
    settings=SETTINGS,
    proxy=PROXY,
    check_rows=0,
    progress=print,
):
    """Simulate the given rows of a table, one shard each, skipping those that exist.

    Safe to call from any number of processes on one folder, and to kill at any time.

    Parameters
    ----------
    folder : path
        Where shards are kept.
    table : path
        CAMELS' ``CosmoAstroSeed`` table.
    rows : iterable of int
        Rows to simulate.
    sim_set : str
        Set of the table, which names the shards.
    check_rows : int
        The first so many rows also get maps from other tracer lattices (``variant0``: refinement
        one higher; ``variant1``: lattice shifted by half a particle spacing).
    progress : callable
        Receives one line a simulation.

    Returns
    -------
    int
        Number of shards that this call made.
    """
    folder = Path(folder)
    params, seeds = read_table(table)
    _keep_to_settings(folder / "settings.json", settings, proxy)
    made = 0
    for row in rows:
        path = shard_path(folder, row, sim_set)
        if not 0 <= row < len(params):
            raise ValueError(f"{table}: row {row} asked for, the table has {len(params)} rows")
        if path.exists():
            continue
        try:
            with held(path.with_suffix(".lock"), wait=False):
                if path.exists():
                    continue
                start = time.perf_counter()
                variants = _lattices(settings) if row < check_rows else []
                shard = simulate_one(params[row], seeds[row], settings, proxy, variants)
                with atomic_path(path) as temporary, open(temporary, "wb") as file:
                    np.savez(file, params=params[row], seed=seeds[row], **shard)
        except Busy:
            continue  # another living process has this row
        made += 1
        progress(f"{sim_set}_{row}: {time.perf_counter() - start:.1f} s")
    return made


def _lattices(settings):
    """Settings of other tracer lattices: refined once more, and shifted by half a spacing."""
    return [
        replace(settings, refinement=settings.refinement + 1),
        replace(settings, lattice_shift=settings.lattice_shift + 0.5),
    ]


def _keep_to_settings(path, settings, proxy):
    """Refuse to mix simulations of different settings in one folder."""
    wanted = {"settings": asdict(settings), "proxy": asdict(proxy)}
    if not path.exists():
        write_json(path, wanted)
        return
    found = read_json(path)
    for part, values in wanted.items():
        there = found.get(part) if isinstance(found, dict) else None
        there = there if isinstance(there, dict) else {}
        for name, value in values.items():
            if there.get(name) != value:
                raise ValueError(
                    f"{path}: found {name} = {reprlib.repr(there.get(name))} for the shards "
                    f"that are there, expected {value!r}; give another --out folder"
                )


def count_shards(folder, start=0, sim_set="LH"):
    """First row from ``start`` on that has no shard."""
    count = start
    while shard_path(folder, count, sim_set).exists():
        count += 1
    return count


def assemble(folder, out, count=None, begin=None, sim_set="LH"):
    """Join shards 0 ... count-1 into CMD-format files of ``Nbody_Lite`` and ``Lite``.

    Parameters
    ----------
    folder : path
        Folder of shards.
    out : path
        Each suite goes to ``out/<suite>/`` as ``Maps_Mtot_<suite>_<set>_z=0.00.npy`` and
        ``params_<set>_<suite>.txt``.
    count : int, optional
        Number of simulations; by default the longest run of shards without a gap.
    begin : path, optional
        Folder of both suites in CMD's format, ``begin/<suite>/``, whose simulations come first:
        shards then count from the first row that it lacks.
    sim_set : str
        Set of the shards.

    Returns
    -------
    int
        Number of simulations written.

    Raises
    ------
    FileNotFoundError
        If a shard among the first ``count`` is missing, or none is there at all.
    """
    folder, out = Path(folder), Path(out)
    start = (
        0 if begin is None else open_suite("Lite", data_dir=begin, sim_set=sim_set).n_simulations
    )
    if count is None:
        count = count_shards(folder, start, sim_set)
    paths = [shard_path(folder, row, sim_set) for row in range(start, max(count, start + 1))]
    missing = [path for path in paths if not path.exists()]
    if missing:
        raise FileNotFoundError(f"{missing[0]}: no such shard; `python -m lite` makes it")
    for suite, key in (("Nbody_Lite", "nbody"), ("Lite", "hydro")):
        maps, params = [], []
        if begin is not None:
            known = open_suite(suite, data_dir=begin, sim_set=sim_set)
            maps, params = [known.maps], list(known.params)
        for path in paths:
            with np.load(path, allow_pickle=False) as shard:
                maps.append(shard[key])
                params.append(shard["params"])
        write_suite(out, suite, np.concatenate(maps), np.array(params), sim_set=sim_set)
    return count


def add_arguments(parser):
    """Add the arguments of ``python -m lite``."""
    sets = lite.embedded_sets()
    parser.add_argument(
        "--set", dest="sim_set", default="LH", choices=sets, help="set of Lite (default: LH)"
    )
    parser.add_argument("--out", help="folder of shards and CMD files, default build/lite[-SET]")
    parser.add_argument("--table", help="CosmoAstroSeed table, default the set's in data/lite/")
    parser.add_argument("--rows", help="rows of the table, first:last+1, default all")
    parser.add_argument("--processes", type=int, default=1, help="one a core is best")
    parser.add_argument(
        "--check-rows", type=int, help="first rows that also test the lattice, default 100 of LH"
    )
    parser.add_argument("--particles", type=int, default=64, help="particles a side")
    parser.add_argument("--mesh", type=int, default=128, help="force mesh a side")
    parser.add_argument("--grid", type=int, default=64, help="pixels a side")
    parser.add_argument(
        "--go-on", action="store_true", help="--rows begin where the embedded LH ends: add to it"
    )
    parser.add_argument(
        "--pack", action="store_true", help="then write the set in data/lite/ anew; LH: validate it"
    )


def run_from_args(args: argparse.Namespace):
    """Run ``python -m lite``: shards, CMD files, and with --pack the embedded suite."""
    latin = args.sim_set == "LH"
    if args.go_on and not latin:
        raise ValueError(f"--go-on: found --set {args.sim_set}, expected LH; small sets come whole")
    out = Path(args.out or ("build/lite" if latin else f"build/lite-{args.sim_set.lower()}"))
    table = args.table or lite.DATA / lite.table_name(args.sim_set)
    for name in ("particles", "mesh", "grid"):
        value = getattr(args, name)
        if value < 8 or value & (value - 1):
            raise ValueError(f"--{name} {value}: expected a power of two, at least 8")
    if args.grid > args.particles:
        raise ValueError(
            f"--grid {args.grid}: found more pixels than particles a side ({args.particles}); "
            "the maps would show the particle lattice"
        )
    settings = SimulationSettings(particles=args.particles, mesh=args.mesh, grid=args.grid)
    shards = out / "shards"
    rows = _rows(args.rows, table)
    check_rows = (100 if latin else 0) if args.check_rows is None else args.check_rows
    options = {"sim_set": args.sim_set, "settings": settings, "check_rows": check_rows}
    # a few rows a process, because PySCo's memory grows by 50 MB from run to run
    context = multiprocessing.get_context("spawn")
    with context.Pool(args.processes, maxtasksperchild=10) as pool:
        for _ in pool.imap_unordered(partial(_simulate_row, shards, table, **options), rows):
            pass
    shipped = lite.expand("Lite").parent if args.go_on else None
    count = assemble(shards, out, begin=shipped, sim_set=args.sim_set)
    print(f"{out}: {count} simulations of {args.sim_set} of Lite and Nbody_Lite in CMD's format")
    if args.pack:
        if latin and not args.go_on:  # the validation reads the first rows' shards
            validate([shard_path(shards, row) for row in range(count)], lite.DATA)
        packed = pack.pack(out, sim_set=args.sim_set)
        print(f"{lite.DATA}: {len(packed['chunks'])} chunks of {args.sim_set}")


def _rows(text, table):
    """Rows asked for, all of a table by default."""
    params, _ = read_table(table)
    if text is None:
        return range(len(params))
    try:
        first, last = (int(part) for part in text.split(":"))
    except ValueError:
        raise ValueError(f"--rows {text!r}: expected first:last+1, such as 0:1000") from None
    if not 0 <= first < last <= len(params):
        raise ValueError(f"--rows {text}: expected within 0:{len(params)}, {table}")
    return range(first, last)


def _simulate_row(folder, table, row, **options):
    return simulate_shards(folder, table, [row], progress=partial(print, flush=True), **options)
