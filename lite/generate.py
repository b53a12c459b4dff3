"""Generate Lite: simulate the rows of its tables and write the maps in CMD's format.

Every simulation is stored as one shard, a small file that is written atomically. Any number of
processes can work in the same folder: a lock, which the operating system releases when a process
dies, reserves a row for one of them. To resume after an interruption, run the same command again.
"""

import argparse
import multiprocessing
import reprlib
import time
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path

import numpy as np

from cosmolib.data import lite, tables
from cosmolib.data.cmd_format import PARAMETERS
from cosmolib.data.suites import open_suite, write_suite
from cosmolib.data.tables import FIDUCIAL
from cosmolib.study.io import atomic_path, read_json, write_json
from cosmolib.study.locks import Busy, held
from lite import pack
from lite.simulate import FeedbackProxy, SimulationSettings, simulate_one
from lite.validate import validate

SETTINGS = SimulationSettings()
PROXY = FeedbackProxy()
FIRST_SEED = {"CV": 10000, "1P": 10100, "EX": 10200}  # the LH table has seeds 0 to 999
ONE_AT_A_TIME = (  # steps n2, n1, 1, 2 of CAMELS' 1P sets, one row per parameter
    (0.1, 0.2, 0.4, 0.5),
    (0.6, 0.7, 0.9, 1.0),
    (0.25, 0.5, 2.0, 4.0),
    (0.25, 0.5, 2.0, 4.0),
    (0.5, 0.70711, 1.41421, 2.0),
    (0.5, 0.70711, 1.41421, 2.0),
)


def set_table(name):
    """Return the table of a small set of Lite, in the format of CAMELS' ``CosmoAstroSeed`` tables.

    - CV: 27 simulations with fiducial parameters and different seeds.
    - 1P: the fiducial model, then four values of each parameter, with the same seed.
    - EX: the fiducial model, A_AGN1 = 100, A_SN1 = 100 and all four A = 0, with the same seed.

    The parameters are those of CAMELS, but the seeds are not: some seeds of its CV and 1P sets
    occur in its LH table. Equal seeds give equal phases here, so a network trained on LH would have
    seen these structures.

    Parameters
    ----------
    name : str
        "CV", "1P" or "EX".

    Returns
    -------
    str
        A header, and lines of name, six parameters and seed.
    """
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
    """Read a ``CosmoAstroSeed`` table of CAMELS: name, six parameters, seed.

    Returns
    -------
    params : (n, 6) float64
    seeds : (n,) int64

    Raises
    ------
    ValueError
        The file is not such a table.
    """
    table = tables.read_table(Path(path), "Lite")
    if table.seeds is None:
        raise ValueError(f"{path}: found no column of seeds, expected name, six parameters, seed")
    return table.params, table.seeds


def shard_path(folder, row, sim_set="LH"):
    """Return the path of the shard of a row."""
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
    """Simulate rows of a table and write one shard each; existing shards are skipped.

    Several processes may work in the same folder, and they may be killed at any time.

    Parameters
    ----------
    folder : path
        Folder of the shards.
    table : path
        CAMELS' ``CosmoAstroSeed`` table.
    rows : iterable of int
        Rows to simulate.
    sim_set : str
        Set of the table, used in the names of the shards.
    check_rows : int
        Number of leading rows that also get maps from other tracer lattices (``variant0``: one
        more refinement; ``variant1``: shifted by half a particle spacing).
    progress : callable
        Receives one line per simulation.

    Returns
    -------
    int
        Number of new shards.
    """
    folder = Path(folder)
    params, seeds = read_table(table)
    _keep_to_settings(folder / "settings.json", settings, proxy)
    made = 0
    for row in rows:
        path = shard_path(folder, row, sim_set)
        if not 0 <= row < len(params):
            raise ValueError(f"{table}: found {len(params)} rows, expected row {row}")
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
            continue  # another process simulates this row
        made += 1
        progress(f"{sim_set}_{row}: {time.perf_counter() - start:.1f} s")
    return made


def _lattices(settings):
    """Return settings of two other tracer lattices: one more refinement, and a shift by half."""
    return [
        replace(settings, refinement=settings.refinement + 1),
        replace(settings, lattice_shift=settings.lattice_shift + 0.5),
    ]


def _keep_to_settings(path, settings, proxy):
    """Store the settings of a folder, or refuse to mix simulations of different settings."""
    wanted = {"settings": asdict(settings), "proxy": asdict(proxy)}
    if not path.exists():
        write_json(path, wanted)
    elif (found := read_json(path)) != wanted:
        raise ValueError(
            f"{path}: found shards of other settings, {reprlib.repr(found)}, expected {wanted}; "
            "use another --out folder"
        )


def count_shards(folder, start=0, sim_set="LH"):
    """Return the first row, from ``start`` on, without a shard."""
    count = start
    while shard_path(folder, count, sim_set).exists():
        count += 1
    return count


def assemble(folder, out, count=None, begin=None, sim_set="LH"):
    """Combine the shards 0 ... count-1 into CMD-format files of ``Nbody_Lite`` and ``Lite``.

    Parameters
    ----------
    folder : path
        Folder of shards.
    out : path
        Each suite is written to ``out/<suite>/``.
    count : int, optional
        Number of simulations; by default all shards before the first gap.
    begin : path, optional
        Folder with existing files of both suites, ``begin/<suite>/``. Their simulations come
        first, and the shards of the following rows are added.
    sim_set : str
        Set of the shards.

    Returns
    -------
    int
        Number of simulations written.

    Raises
    ------
    FileNotFoundError
        One of the first ``count`` shards is missing, or there is none.
    """
    start = open_suite("Lite", begin, sim_set=sim_set).n_simulations if begin else 0
    if count is None:
        count = count_shards(folder, start, sim_set)
    paths = [shard_path(folder, row, sim_set) for row in range(start, max(count, start + 1))]
    missing = [path for path in paths if not path.exists()]
    if missing:
        raise FileNotFoundError(f"{missing[0]}: no such shard; `python -m lite` creates it")
    for suite, key in (("Nbody_Lite", "nbody"), ("Lite", "hydro")):
        maps, params = [], []
        if begin:
            known = open_suite(suite, begin, sim_set=sim_set)
            maps, params = [known.maps], list(known.params)
        for path in paths:
            with np.load(path, allow_pickle=False) as shard:
                maps.append(shard[key])
                params.append(shard["params"])
        write_suite(out, suite, np.concatenate(maps), np.array(params), sim_set=sim_set)
    return count


def add_arguments(parser):
    """Add the arguments of ``python -m lite``."""
    add = parser.add_argument
    add("--set", dest="sim_set", default="LH", choices=lite.SETS, help="set of Lite (default: LH)")
    add("--out", help="folder of shards and CMD files (default: build/lite[-SET])")
    add("--table", help="CosmoAstroSeed table (default: that of the set in data/lite/)")
    add("--rows", help="rows of the table, first:last+1 (default: all)")
    add("--processes", type=int, default=1, help="number of processes; best one per core")
    add("--check-rows", type=int, help="rows that also test the lattice (default: 100 of LH)")
    add("--particles", type=int, default=64, help="particles per side (default: 64)")
    add("--mesh", type=int, default=128, help="cells of the force mesh per side (default: 128)")
    add("--grid", type=int, default=64, help="pixels per side (default: 64)")
    add("--extend", action="store_true", help="append --rows to the embedded LH simulations")
    add("--pack", action="store_true", help="then replace the set in data/lite/ and validate LH")


def run_from_args(args: argparse.Namespace):
    """Write shards and CMD files, and with ``--pack`` the embedded suite."""
    latin = args.sim_set == "LH"
    if args.extend and not latin:
        raise ValueError(f"--extend: found --set {args.sim_set}, expected LH")
    out = Path(args.out or ("build/lite" if latin else f"build/lite-{args.sim_set.lower()}"))
    table = args.table or lite.DATA / lite.table_name(args.sim_set)
    for name in ("particles", "mesh", "grid"):
        value = getattr(args, name)
        if value < 8 or value & (value - 1):
            raise ValueError(f"--{name} {value}: expected a power of two, at least 8")
    if args.grid > args.particles:
        raise ValueError(
            f"--grid {args.grid}: found more pixels than particles per side ({args.particles}); "
            "the maps would show the particle lattice"
        )
    settings = SimulationSettings(particles=args.particles, mesh=args.mesh, grid=args.grid)
    shards = out / "shards"
    rows = _rows(args.rows, table)
    check_rows = (100 if latin else 0) if args.check_rows is None else args.check_rows
    options = {"sim_set": args.sim_set, "settings": settings, "check_rows": check_rows}
    # Processes are replaced after a few rows, because the memory of PySCo grows by 50 MB per run.
    context = multiprocessing.get_context("spawn")
    with context.Pool(args.processes, maxtasksperchild=10) as pool:
        for _ in pool.imap_unordered(partial(_simulate_row, shards, table, **options), rows):
            pass
    shipped = lite.expand("Lite").parent if args.extend else None
    count = assemble(shards, out, begin=shipped, sim_set=args.sim_set)
    print(f"{out}: {count} simulations of {args.sim_set} of Lite and Nbody_Lite in CMD's format")
    if args.pack:
        if latin and not args.extend:  # the validation reads the shards of the first rows
            validate([shard_path(shards, row) for row in range(count)], lite.DATA)
        packed = pack.pack(out, sim_set=args.sim_set)
        print(f"{lite.DATA}: {len(packed['chunks'])} chunks of {args.sim_set}")


def _rows(text, table):
    """Return the range of rows that ``--rows`` selects; all rows by default."""
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
