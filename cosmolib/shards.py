"""Lite from its simulations: shards, assembly into CMD files, validation, command line.

Every simulation is one shard, a small file that is written whole or not at all.  Any number of
processes can work on the same folder: a row is claimed with a file lock, which the operating
system drops when a process dies, so a killed run is continued by running the same command again.
"""

from __future__ import annotations

import argparse
import fcntl
import multiprocessing
import time
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path

import numpy as np

from cosmolib import embedded
from cosmolib.runs import atomic_path, read_json, write_json
from cosmolib.simulate import (
    FeedbackProxy,
    SimulationSettings,
    linear_power,
    simulate_one,
)
from cosmolib.suites import PARAMETERS, open_suite

SETTINGS = SimulationSettings()
PROXY = FeedbackProxy()


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
        If a row has not eight columns.
    """
    if not Path(path).is_file():
        raise FileNotFoundError(f"{path}: found no such file, expected CAMELS' table of parameters")
    rows = [line.split() for line in Path(path).read_text().splitlines()]
    rows = [row for row in rows if row and not row[0].startswith("#")]
    for number, row in enumerate(rows):
        if len(row) != 2 + len(PARAMETERS):
            raise ValueError(
                f"{path}: row {number} has {len(row)} columns, expected "
                f"{2 + len(PARAMETERS)}: name, {', '.join(PARAMETERS)}, seed"
            )
    params = np.array([row[1:-1] for row in rows], float)
    return params, np.array([row[-1] for row in rows], np.int64)


def shard_path(folder, row):
    """Path of the shard of LH row ``row``."""
    return Path(folder) / f"LH_{row:04d}.npz"


def simulate_shards(
    folder,
    table,
    rows,
    *,
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
        path = shard_path(folder, row)
        if not 0 <= row < len(params):
            raise ValueError(f"{table}: row {row} asked for, the table has {len(params)} rows")
        if path.exists():
            continue
        with open(path.with_suffix(".lock"), "w") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                continue  # another living process has this row
            if path.exists():
                continue
            start = time.perf_counter()
            variants = []
            if row < check_rows:
                variants = [
                    replace(settings, refinement=settings.refinement + 1),
                    replace(settings, lattice_shift=settings.lattice_shift + 0.5),
                ]
            shard = simulate_one(params[row], seeds[row], settings, proxy, variants)
            with atomic_path(path) as temporary, open(temporary, "wb") as file:
                np.savez(file, params=params[row], seed=seeds[row], **shard)
            made += 1
            progress(f"LH_{row}: {time.perf_counter() - start:.1f} s")
        path.with_suffix(".lock").unlink(missing_ok=True)
    return made


def _keep_to_settings(path, settings, proxy):
    """Refuse to mix simulations of different settings in one folder."""
    wanted = {"settings": asdict(settings), "proxy": asdict(proxy)}
    if not path.exists():
        write_json(path, wanted)
        return
    found = read_json(path)
    for part, values in wanted.items():
        for name, value in values.items():
            if found.get(part, {}).get(name) != value:
                raise ValueError(
                    f"{path}: found {name} = {found.get(part, {}).get(name)!r} for the shards "
                    f"that are there, expected {value!r}; give another --out folder"
                )


def count_shards(folder, start=0):
    """First row from ``start`` on that has no shard."""
    count = start
    while shard_path(folder, count).exists():
        count += 1
    return count


def assemble(folder, out, count=None, begin=None):
    """Join shards 0 ... count-1 into CMD-format files of ``Nbody_Lite`` and ``Lite``.

    Parameters
    ----------
    folder : path
        Folder of shards.
    out : path
        Each suite goes to ``out/<suite>/`` as ``Maps_Mtot_<suite>_LH_z=0.00.npy`` and
        ``params_LH_<suite>.txt``.
    count : int, optional
        Number of simulations; by default the longest run of shards without a gap.
    begin : path, optional
        Folder of both suites in CMD's format, ``begin/<suite>/``, whose simulations come first:
        shards then count from the first row that it lacks.

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
    start = 0 if begin is None else open_suite("Lite", data_dir=begin).n_simulations
    if count is None:
        count = count_shards(folder, start)
    missing = [
        row for row in range(start, max(count, start + 1)) if not shard_path(folder, row).exists()
    ]
    if missing:
        raise FileNotFoundError(
            f"{shard_path(folder, missing[0])}: no such shard; `cosmolib simulate` makes it"
        )
    for suite, key in (("Nbody_Lite", "nbody"), ("Lite", "hydro")):
        maps, params = [], []
        if begin is not None:
            known = open_suite(suite, data_dir=begin)
            maps, params = [known.maps], list(known.params)
        for row in range(start, count):
            with np.load(shard_path(folder, row), allow_pickle=False) as shard:
                maps.append(shard[key])
                params.append(shard["params"])
        write_suite(out / suite, suite, np.concatenate(maps), np.array(params))
    return count


def write_suite(folder, suite, maps, params):
    """Write maps and parameters under CMD's names, each whole or not at all."""
    with atomic_path(Path(folder) / f"Maps_Mtot_{suite}_LH_z=0.00.npy") as temporary:
        np.save(temporary, np.ascontiguousarray(maps, np.float32))
    with atomic_path(Path(folder) / f"params_LH_{suite}.txt") as temporary:
        np.savetxt(temporary, params, fmt="%.5f", header=" ".join(PARAMETERS))


def _load(folder, row, *keys):
    with np.load(shard_path(folder, row), allow_pickle=False) as shard:
        return [shard[key] for key in keys]


def validate(folder, out, rows_3d=40, count=None):
    """Measure on shards what the shipped maps no longer show.

    Writes ``validation.json`` (the power of the 3-D density against linear theory and HMcode2020,
    and the twins' 3-D power ratio) and ``lattice.npz`` (spectra of the log maps of other tracer
    lattices, see `lattice_check`) into ``out``.

    Parameters
    ----------
    folder, out : path
    rows_3d : int
        Rows 0 ... rows_3d - 1 are compared with theory one by one.
    count : int, optional
        Number of simulations; by default all that are there without a gap.

    Returns
    -------
    dict
        What ``validation.json`` holds.
    """
    from cosmolib.spectra import power_spectrum

    count = count or count_shards(folder)
    rows_3d = min(rows_3d, count)
    keys = ("params", "k", "power_nbody", "power_hydro")
    params, k, gravity, feedback = (
        np.array(values)
        for values in zip(*(_load(folder, row, *keys) for row in range(count)), strict=True)
    )
    k = k[0]
    shown = k < 10.0  # just above the particles' Nyquist frequency
    theory = {"linear": [], "hmcode": []}
    for omega_m, sigma_8 in params[:rows_3d, :2]:
        for name in theory:
            k_theory, power = linear_power(omega_m, sigma_8, nonlinear=name == "hmcode")
            theory[name].append(np.exp(np.interp(np.log(k), np.log(k_theory), np.log(power))))
    # a lean, a middling and a rich universe, by the product that drives clustering
    order = np.argsort(params[:rows_3d, 0] * params[:rows_3d, 1] ** 2)
    chosen = [order[int(round(q * (rows_3d - 1)))] for q in (0.15, 0.5, 0.85)]
    report = {
        "simulations": count,
        "power3d": [
            {
                "row": int(row),
                "omega_m": params[row, 0],
                "sigma_8": params[row, 1],
                "k": k[shown],
                "measured": gravity[row][shown],
                "linear": theory["linear"][row][shown],
                "hmcode": theory["hmcode"][row][shown],
            }
            for row in chosen
        ],
        "power3d_mean": {
            "rows": rows_3d,
            "k": k[shown],
            **{
                f"measured_over_{name}": _quantiles(gravity[:rows_3d] / np.array(power), shown)
                for name, power in theory.items()
            },
        },
        "feedback3d": {
            "k": k[shown],
            "ratio": _quantiles(feedback / gravity, shown),
        },
    }
    spectra, used = _lattice_spectra(folder, count, power_spectrum)
    report["lattice"] = {"simulations": len(used), **lattice_check(spectra, params[used, :2])}
    with atomic_path(Path(out) / "lattice.npz") as temporary:
        np.savez(temporary, params=params[used], **spectra)
    write_json(Path(out) / "validation.json", report)
    return report


def _quantiles(values, columns):
    """Mean and quantiles over simulations, by column."""
    values = values[:, columns]
    quantiles = np.quantile(values, [0.025, 0.16, 0.5, 0.84, 0.975], axis=0)
    return {
        "mean": values.mean(axis=0),
        **dict(zip(("q025", "q16", "q50", "q84", "q975"), quantiles, strict=True)),
    }


def _lattice_spectra(folder, count, power_spectrum):
    """Log-map spectra of the shipped lattice and of its variants, float32 (n, 15, nk)."""
    lattices = {"shipped": "nbody", "finer": "variant0", "shifted": "variant1"}
    spectra, used = {name: [] for name in lattices}, []
    for row in range(count):
        with np.load(shard_path(folder, row), allow_pickle=False) as shard:
            if not set(lattices.values()) <= set(shard.files):
                continue
            used.append(row)
            for name, key in lattices.items():
                _, power = power_spectrum(shard[key], log=True)
                spectra[name].append(power.astype(np.float32))
    return {name: np.array(value) for name, value in spectra.items()}, np.array(used)


def lattice_check(spectra, cosmology, n_bootstrap=1000, seed=0):
    """R2 of a ridge on the power spectrum of the log map, for each tracer lattice.

    The ridge is fitted and tested by five-fold cross-validation over simulations; the same folds
    and the same bootstrap draws serve every lattice, so that differences are paired.

    Parameters
    ----------
    spectra : dict of str to ndarray, shape (n, 15, nk)
        Power of the log maps [(Mpc/h)^2], the shipped lattice first.
    cosmology : ndarray, shape (n, 2)
        Omega_m and sigma_8.

    Returns
    -------
    dict
        ``r2``: {lattice: {parameter: [R2, low, high]}}; ``difference``: {lattice: {parameter:
        [R2 minus that of the first lattice, low, high]}}, 95 % intervals over simulations.
    """
    from sklearn.linear_model import RidgeCV
    from sklearn.model_selection import KFold
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    n, maps, _ = next(iter(spectra.values())).shape
    truth = np.repeat(cosmology, maps, axis=0).reshape(n, maps, 2)
    draws = np.random.default_rng(seed).integers(n, size=(n_bootstrap, n))
    samples = {}
    for name, power in spectra.items():
        features = np.log10(power)
        predicted = np.empty_like(truth)
        for fit, test in KFold(5, shuffle=True, random_state=seed).split(features):
            ridge = make_pipeline(StandardScaler(), RidgeCV(np.logspace(-3, 4, 15)))
            ridge.fit(features[fit].reshape(-1, features.shape[-1]), truth[fit].reshape(-1, 2))
            predicted[test] = ridge.predict(features[test].reshape(-1, features.shape[-1])).reshape(
                -1, maps, 2
            )
        residual = ((truth - predicted) ** 2).mean(axis=1)  # (n, 2)
        r2 = [1 - residual.mean(axis=0) / truth.var(axis=(0, 1))]
        for draw in draws:
            r2.append(1 - residual[draw].mean(axis=0) / truth[draw].var(axis=(0, 1)))
        samples[name] = np.array(r2)  # (1 + n_bootstrap, 2)

    def summary(values):
        low, high = np.quantile(values[1:], [0.025, 0.975], axis=0)
        return {
            parameter: [values[0, i], low[i], high[i]] for i, parameter in enumerate(PARAMETERS[:2])
        }

    first = next(iter(samples.values()))
    return {
        "r2": {name: summary(values) for name, values in samples.items()},
        "difference": {
            name: summary(values - first) for name, values in samples.items() if values is not first
        },
    }


def add_arguments(parser):
    """Add the arguments of ``cosmolib simulate``."""
    parser.add_argument("--out", default="build/lite", help="folder of shards and CMD files")
    parser.add_argument(
        "--table", default=embedded.DATA / embedded.TABLE, help="CAMELS' CosmoAstroSeed table"
    )
    parser.add_argument("--rows", default="0:1000", help="rows of the table, first:last+1")
    parser.add_argument("--processes", type=int, default=1, help="one a core is best")
    parser.add_argument(
        "--check-rows", type=int, default=100, help="first rows that also test the lattice"
    )
    parser.add_argument("--particles", type=int, default=64, help="particles a side")
    parser.add_argument("--mesh", type=int, default=128, help="force mesh a side")
    parser.add_argument("--grid", type=int, default=64, help="pixels a side")
    parser.add_argument(
        "--go-on", action="store_true", help="--rows begin where the embedded suite ends: add to it"
    )
    parser.add_argument(
        "--pack", action="store_true", help="then write data/lite/ and its validation anew"
    )


def run_from_args(args: argparse.Namespace):
    """Run ``cosmolib simulate``: shards, CMD files, and with --pack the embedded suite."""
    try:
        first, last = (int(part) for part in args.rows.split(":"))
    except ValueError:
        raise ValueError(f"--rows {args.rows!r}: expected first:last+1, such as 0:1000") from None
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
    shards = Path(args.out) / "shards"
    params, _ = read_table(args.table)
    if not 0 <= first < last <= len(params):
        raise ValueError(f"--rows {args.rows}: expected within 0:{len(params)}, {args.table}")
    work = partial(_simulate_row, shards, args.table, settings=settings, check_rows=args.check_rows)
    # a few rows a process, because PySCo's memory grows by 50 MB from run to run
    context = multiprocessing.get_context("spawn")
    with context.Pool(args.processes, maxtasksperchild=10) as pool:
        for _ in pool.imap_unordered(work, range(first, last)):
            pass
    shipped = embedded.expand("Lite").parent if args.go_on else None
    count = assemble(shards, args.out, begin=shipped)
    print(f"{args.out}: {count} simulations of Lite and Nbody_Lite in CMD's format")
    if args.pack:
        if not args.go_on:  # the validation reads the first rows' shards
            validate(shards, embedded.DATA)
        manifest = embedded.pack(args.out)
        print(f"{embedded.DATA}: {len(manifest['chunks'])} chunks")


def _simulate_row(folder, table, row, **options):
    return simulate_shards(folder, table, [row], progress=partial(print, flush=True), **options)
