"""Generate the embedded suites: simulate the rows of their tables and write maps in CMD's format.

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
from cosmolib.data.suites import open_suite, split_simulations, subset, write_suite
from cosmolib.data.tables import FIDUCIAL
from cosmolib.study.io import atomic_path, read_json, write_json
from cosmolib.study.locks import Busy, held
from lite import pack
from lite.simulate import FeedbackProxy, SimulationSettings, simulate_one
from lite.validate import validate

SETTINGS = dict.fromkeys(lite.PARTS, SimulationSettings())
# Another recipe for the same physics: half the force mesh, twice the time step, other tracers.
SETTINGS["other"] = SimulationSettings(mesh=64, courant=2.0, refinement=4, lattice_shift=0.5)
PROXY = dict.fromkeys(lite.PARTS, FeedbackProxy())
# An exaggeration, chosen by the scan in data/lite/README.md so that A_SN1 is visible in the maps.
PROXY["strong"] = FeedbackProxy(
    gamma=1.3, sn_alpha=0.026, sn_power=1.0, sn_radius=0.2, agn_alpha=3.2e-3, agn_power=1.0
)
# Suites that are made from the maps of a simulation, by part
MADE = dict.fromkeys(lite.PARTS, {"Nbody_Lite": "nbody", "Lite": "hydro"})
MADE |= {
    "strong": {"Nbody_Lite": "nbody", "Lite_strong": "hydro"},
    "other": {"Nbody_other": "nbody"},
}
# The LH table has seeds 0 to 999.
FIRST_SEED = {"CV": 10000, "1P": 10100, "EX": 10200, "other": 10300}
ONE_AT_A_TIME = (  # steps n2, n1, 1, 2 of CAMELS' 1P sets, one row per parameter
    (0.1, 0.2, 0.4, 0.5),
    (0.6, 0.7, 0.9, 1.0),
    (0.25, 0.5, 2.0, 4.0),
    (0.25, 0.5, 2.0, 4.0),
    (0.5, 0.70711, 1.41421, 2.0),
    (0.5, 0.70711, 1.41421, 2.0),
)


def set_table(name):
    """Return the table of a part of Lite, in the format of CAMELS' ``CosmoAstroSeed`` tables.

    - CV: 27 simulations with fiducial parameters and different seeds.
    - 1P: the fiducial model, then four values of each parameter, with the same seed.
    - EX: the fiducial model, A_AGN1 = 100, A_SN1 = 100 and all four A = 0, with the same seed.
    - other: the 50 test simulations of LH, in the order of their rows, with different seeds.

    The parameters are those of CAMELS, but the seeds are not: some seeds of its CV and 1P sets
    occur in its LH table. Equal seeds give equal phases here, so a network trained on LH would have
    seen these structures.

    Parameters
    ----------
    name : str
        "CV", "1P", "EX" or "other".

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
    elif name == "other":
        params, _ = read_table(lite.DATA / lite.TABLE)
        rows = [
            (f"LH_{row}", params[row].tolist(), seed + i)
            for i, row in enumerate(sorted(split_simulations(len(params)).test))
        ]
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


def shard_path(folder, row, part="LH"):
    """Return the path of the shard of a row."""
    return Path(folder) / f"{part}_{row:04d}.npz"


def simulate_shards(
    folder,
    table,
    rows,
    *,
    part="LH",
    settings=None,
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
    part : str
        One of `cosmolib.data.lite.PARTS`, which determines the feedback proxy.
    settings : SimulationSettings, optional
        By default those of the part.
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
    settings, proxy = settings or SETTINGS[part], PROXY[part]
    _keep_to_settings(folder / "settings.json", settings, proxy)
    made = 0
    for row in rows:
        path = shard_path(folder, row, part)
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
        progress(f"{part}_{row}: {time.perf_counter() - start:.1f} s")
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


def count_shards(folder, start=0, part="LH"):
    """Return the first row, from ``start`` on, without a shard."""
    count = start
    while shard_path(folder, count, part).exists():
        count += 1
    return count


def assemble(folder, out, count=None, begin=(), part="LH"):
    """Combine the shards 0 ... count-1 into CMD-format files of the suites of a part.

    Parameters
    ----------
    folder : path
        Folder of shards.
    out : path
        Each suite is written to ``out/<suite>/``.
    count : int, optional
        Number of simulations; by default all shards before the first gap.
    begin : list of Suite
        Existing suites, in the order of `MADE`. Their common simulations come first, and the shards
        of the following rows are added.
    part : str
        One of `cosmolib.data.lite.PARTS`.

    Returns
    -------
    int
        Number of simulations written.

    Raises
    ------
    FileNotFoundError
        One of the first ``count`` shards is missing, or there is none.
    """
    start = min((suite.n_simulations for suite in begin), default=0)
    if count is None:
        count = count_shards(folder, start, part)
    paths = [shard_path(folder, row, part) for row in range(start, max(count, start + 1))]
    missing = [path for path in paths if not path.exists()]
    if missing:
        raise FileNotFoundError(f"{missing[0]}: no such shard; `python -m lite` creates it")
    for i, (name, key) in enumerate(MADE[part].items()):
        known = [subset(begin[i], start)] if begin else []
        maps, params = [x.maps for x in known], [row for x in known for row in x.params]
        for path in paths:
            with np.load(path, allow_pickle=False) as shard:
                maps.append(shard[key])
                params.append(shard["params"])
        maps = np.concatenate(maps)
        write_suite(out, name, maps, np.array(params), sim_set=lite.set_of(part))
    return count


def add_arguments(parser):
    """Add the arguments of ``python -m lite``."""
    add = parser.add_argument
    about = "a set of Lite, strong (Lite_strong) or other (Nbody_other); default: LH"
    add("--set", dest="part", default="LH", choices=lite.PARTS, help=about)
    add("--out", help="folder of shards and CMD files (default: build/lite[-SET])")
    add("--table", help="CosmoAstroSeed table (default: that of the set in data/lite/)")
    add("--rows", help="rows of the table, first:last+1 (default: all)")
    add("--processes", type=int, default=1, help="number of processes; best one per core")
    add("--check-rows", type=int, help="rows that also test the lattice (default: 100 of LH)")
    add("--particles", type=int, help="particles per side (default: 64)")
    add("--mesh", type=int, help="cells of the force mesh per side (default: 128; other: 64)")
    add("--grid", type=int, help="pixels per side (default: 64)")
    add("--extend", action="store_true", help="append --rows to the embedded simulations of LH")
    add("--pack", action="store_true", help="then replace the set in data/lite/ and validate LH")


def run_from_args(args: argparse.Namespace):
    """Write shards and CMD files, and with ``--pack`` the embedded suite."""
    part, latin = args.part, args.part == "LH"
    if args.extend and part not in ("LH", "strong"):
        raise ValueError(f"--extend: found --set {part}, expected LH or strong")
    out = Path(args.out or ("build/lite" if latin else f"build/lite-{part.lower()}"))
    table = args.table or lite.DATA / lite.table_name(part)
    given = {x: n for x in ("particles", "mesh", "grid") if (n := getattr(args, x)) is not None}
    for name, value in given.items():
        if value < 8 or value & (value - 1):
            raise ValueError(f"--{name} {value}: expected a power of two, at least 8")
    settings = replace(SETTINGS[part], **given)
    if settings.grid > settings.particles:
        raise ValueError(
            f"--grid {settings.grid}: found more pixels than particles per side "
            f"({settings.particles}); the maps would show the particle lattice"
        )
    shards = out / "shards"
    rows = _rows(args.rows, table)
    check_rows = (100 if latin else 0) if args.check_rows is None else args.check_rows
    options = {"part": part, "settings": settings, "check_rows": check_rows}
    # Processes are replaced after a few rows, because the memory of PySCo grows by 50 MB per run.
    context = multiprocessing.get_context("spawn")
    with context.Pool(args.processes, maxtasksperchild=10) as pool:
        for _ in pool.imap_unordered(partial(_simulate_row, shards, table, **options), rows):
            pass
    begin = [open_suite(name) for name in MADE[part]] if args.extend else []
    count = assemble(shards, out, begin=begin, part=part)
    print(f"{out}: {count} simulations of {' and '.join(MADE[part])} in CMD's format")
    if args.pack:
        if latin and not args.extend:  # the validation reads the shards of the first rows
            validate([shard_path(shards, row) for row in range(count)], lite.DATA)
        packed = pack.pack(out, part=part)
        print(f"{lite.DATA}: {len(packed['chunks'])} chunks of {part}")


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
