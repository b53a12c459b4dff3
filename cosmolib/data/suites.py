"""Suites of maps in the format of the CAMELS Multifield Dataset (CMD, arXiv:2109.10915).

A suite is one ``.npy`` file of maps and one text file of parameters. The maps of simulation ``i``
are rows ``15 i`` to ``15 i + 14``: three axes times five slabs of depth 5 Mpc/h, in the order
``map = 15 i + 5 axis + slab``. ``Lite`` and ``Nbody_Lite`` come with the repository; every other
name is looked for on disk. `cosmolib.data.check` reads a suite whole and reports what it holds.
A suite of your own is written by `write_suite`, and `register_suite` says what its parameters span.
"""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import math
import os
import re
from pathlib import Path

import numpy as np

from cosmolib.data import checksums
from cosmolib.data.arrays import checked_maps
from cosmolib.data.cmd_format import (
    FILE_NAME,
    MAPS_PER_SIMULATION,
    PARAMETERS,
    POSITIVE_FIELDS,
    ROUNDING,
    Table,
    camels_columns,
    cut_note,
    cut_of,
    find,
    folders_of,
    map_file,
    map_names,
    other_parameters,
    read_params,
    roots,
    table_names,
)
from cosmolib.study.io import atomic_path
from cosmolib.study.registry import SUITES, register

LABELS = {
    "Omega_m": r"$\Omega_{\rm m}$",
    "sigma_8": r"$\sigma_8$",
    "A_SN1": r"$A_{\rm SN1}$",
    "A_AGN1": r"$A_{\rm AGN1}$",
    "A_SN2": r"$A_{\rm SN2}$",
    "A_AGN2": r"$A_{\rm AGN2}$",
}
FIDUCIAL = dict(zip(PARAMETERS, (0.3, 0.8, 1.0, 1.0, 1.0, 1.0), strict=True))  # arXiv:2010.00619

BOX_SIZE = 25.0  # [Mpc/h] comoving side of the boxes of CMD and Lite, and of their maps
SLAB_DEPTH = 5.0  # [Mpc/h] what a map projects: a fifth of the box
RHO_CRIT = 2.775e11  # [(Msun/h)/(Mpc/h)^3] critical density today

CMD_ACCESS = "https://camels-multifield-dataset.readthedocs.io/en/latest/access.html"

# Latin-hypercube ranges, (low, high) in the order of PARAMETERS; arXiv:2010.00619 table 2
_TNG_RANGES = ((0.1, 0.5), (0.6, 1.0), (0.25, 4.0), (0.25, 4.0), (0.5, 2.0), (0.5, 2.0))
_RANGES = {
    "IllustrisTNG": _TNG_RANGES,
    "SIMBA": _TNG_RANGES,
    "Astrid": (*_TNG_RANGES[:5], (0.25, 4.0)),
    "Lite": _TNG_RANGES,  # runs on IllustrisTNG's own table
}
# Sets whose boxes CMD documents (arXiv:2109.10915); SB35 and others of the second generation of
# CAMELS have boxes of 50 Mpc/h (arXiv:2606.10038).
_SETS_OF_25 = ("LH", "CV", "1P", "EX", "BE", "SB", "SB28")
_BOX_LABEL = re.compile(r"L([0-9]+)n[0-9]+")  # CAMELS' label: box [Mpc/h], particles per side
_DECLARED = re.compile(r"\bbox_size\b(.*)")
_WHOLE_SCAN_BYTES = 2**26  # opening a suite reads every pixel of a file up to 64 MB
_SAMPLED_MAPS = 64  # and this many maps of a larger one
_READ_BYTES = 2**24  # read at once where a whole suite is gone through


# --------------------------------------------------------------------------------------------------
# Parameters
# --------------------------------------------------------------------------------------------------
def parameter_ranges(suite: str) -> np.ndarray:
    """Return the latin-hypercube range of each parameter, shape (6, 2), of a suite or its N-body
    twin.

    Raises
    ------
    ValueError
        The ranges of this suite are not known.
    """
    name = suite.removeprefix("Nbody_")
    if name in SUITES:
        return SUITES[name][0].copy()
    if name not in _RANGES:
        known = ", ".join((*_RANGES, *SUITES))
        raise ValueError(
            f"suite: found {suite!r}, expected one of {known}, or Nbody_ before it; register_suite "
            "gives the ranges of another"
        )
    return np.array(_RANGES[name])


def register_suite(name: str, ranges, box_size: float = BOX_SIZE) -> None:
    """Give parameter ranges and box size of a suite of your own and its N-body twin.

    A network predicts parameters in units of these ranges, so that they belong to the suite and not
    to the simulations at hand. To look at a suite and to cut it they are not needed.

    Parameters
    ----------
    name : str
        Letters and digits, as in the names of its files.
    ranges : (6, 2)
        Lower and upper edge of each parameter, in the order of PARAMETERS.
    box_size : float
        Side of its boxes [Mpc/h], unless the table of a set declares another, as that of
        `write_suite` does.

    Raises
    ------
    ValueError
        The name is none or taken (see `cosmolib.study.registry`), or these are no ranges.
    """
    found = np.array(ranges, dtype=np.float64)
    count = len(PARAMETERS)
    fit = found.shape == (count, 2) and np.isfinite(found).all()
    if not (fit and (found[:, 0] < found[:, 1]).all()):
        raise ValueError(
            f"suite {name!r}: found the ranges {found.tolist()}, expected {count} pairs, low < "
            f"high, of {', '.join(PARAMETERS)}"
        )
    register("suite", name, (found, _checked_box(f"suite {name!r}", box_size)), own=_RANGES)


def mean_surface_density(omega_m, box_size=BOX_SIZE):
    """Mean of a map of total matter, ``Omega_m rho_crit box_size / 5`` [(Msun/h)/(Mpc/h)^2].

    It is exact for the mean of the five slabs of one axis, since the box keeps its mass.
    """
    return np.asarray(omega_m) * RHO_CRIT * SLAB_DEPTH * (box_size / BOX_SIZE)


def off_fiducial(params, others=None) -> np.ndarray:
    """Whether each parameter of each simulation leaves the fiducial model.

    Parameters
    ----------
    params : (n, 6)
    others : (n, 22), optional
        As `Suite.others`.

    Returns
    -------
    (n, 6) or (n, 28) bool
    """
    off = ~np.isclose(params, list(FIDUCIAL.values()), rtol=ROUNDING, atol=ROUNDING)
    if others is None:
        return off
    columns = camels_columns().iloc[len(PARAMETERS) :]
    slack = ROUNDING * (columns["MaxVal"] - columns["MinVal"]).to_numpy()
    return np.hstack([off, np.abs(others - columns["FiducialVal"].to_numpy()) > slack])


def read_table(path: Path, name: str, sim_set: str) -> Table:
    """Read the parameters of a suite's set and check that this set can have them.

    Raises
    ------
    ValueError
        As `cosmolib.data.cmd_format.read_params`, or values that the set does not have: another
        set's or suite's table, or other units.
    """
    table = read_params(path, name)
    _check_set(path, table, name, sim_set)
    return table


def _check_set(path, table, name, sim_set):
    """Refuse the first value that a set cannot have, as far as suite and set are documented."""
    own = name.removeprefix("Nbody_")
    if own not in _RANGES and own not in SUITES:
        return
    values = table.params if table.others is None else np.hstack([table.params, table.others])
    off = off_fiducial(table.params, table.others)
    columns = np.arange(off.shape[1])
    edges = parameter_ranges(name)
    slack = ROUNDING * np.ptp(edges, axis=1)
    outside = np.zeros_like(off)
    outside[:, :6] = (table.params < edges[:, 0] - slack) | (table.params > edges[:, 1] + slack)
    rules = [(outside, edges)] if sim_set in ("LH", "1P") or sim_set.startswith("SB") else []
    if own not in _RANGES:  # of a user's own suite the ranges are all that is known
        rules = rules if sim_set == "LH" else []
    elif sim_set in ("CV", "BE"):
        rules.append((off, "the fiducial value"))
    elif sim_set == "LH":
        rules.append((off & (columns >= 6), "the fiducial value"))
    elif sim_set == "1P":
        away = off & (off.sum(1, keepdims=True) > 1)
        rules.append((away, "no more than one parameter off its fiducial value"))
    elif sim_set == "EX":
        rules.append((off & (columns < 2), "the fiducial value"))
        rules.append((~np.isin(values, (0, 1, 100)) & (columns >= 2), "0, 1 or 100"))
    for bad, allowed in rules:
        for row, column in np.argwhere(bad)[:1]:
            if allowed is edges:
                allowed = f"{edges[column, 0]:g} to {edges[column, 1]:g}"
            raise ValueError(
                f"{path}: line {table.lines[row]}: found "
                f"{[*PARAMETERS, *other_parameters()][column]} = {values[row, column]:g} "
                f"(simulation {row}), expected {allowed} in set {sim_set} of {name}"
            )


def _box_of(name, sim_set, maps_path, params_path, comments):
    """Side of the boxes of a suite and set [Mpc/h]: declared in its table, registered or known."""
    said = {text.strip() for text in _DECLARED.findall(comments)}
    own = name.removeprefix("Nbody_")
    if said:
        match = re.fullmatch(r"[=:]\s*([0-9.]+)(?:\s*Mpc/h)?", said.pop())
        if said or not match:
            raise ValueError(
                f"{params_path}: found no single box size in its comments, expected one line "
                "'# box_size = 50 Mpc/h'"
            )
        box = _checked_box(params_path, match[1])
    elif own in SUITES:
        box = SUITES[own][1]
    else:
        box = BOX_SIZE if own in _RANGES and sim_set in _SETS_OF_25 else None
    places = maps_path.name, maps_path.parent.name, params_path.name, comments
    labels = {float(label) for label in _BOX_LABEL.findall(" ".join(places))}
    if box is None or labels - {box}:
        found = f"{box:g} Mpc/h" if box else "no box size"
        other = f" but the label L{max(labels):g}n..." if labels else ""
        raise ValueError(
            f"{maps_path}: found {found}{other} for suite {name}, set {sim_set}, expected one box "
            f"size: declare it by a line '# box_size = 50 Mpc/h' in {params_path.name}"
        )
    return box


def _checked_box(where, box_size):
    """Return a box size as a float; ValueError where it is none."""
    try:
        box = float(box_size)
    except (TypeError, ValueError):
        box = math.nan
    if not 0 < box < math.inf:
        raise ValueError(f"{where}: found the box size {box_size!r}, expected one in Mpc/h above 0")
    return box


# --------------------------------------------------------------------------------------------------
# Opening a suite
# --------------------------------------------------------------------------------------------------
@dataclasses.dataclass(frozen=True, eq=False)
class Suite:
    """Maps and parameters of one suite; the maps stay on disk until they are read.

    ``suite.maps[i]`` is convenient, `read_maps` is for many: pages of a memory map count as the
    process's own until the system takes them back.
    """

    name: str  # "Lite", "Nbody_IllustrisTNG", ...
    field: str  # "Mtot" = total matter
    sim_set: str  # "LH" = latin hypercube
    maps: np.ndarray  # (15 n, N, N) float32, read-only memory map; Mtot: (Msun/h)/(Mpc/h)^2
    params: np.ndarray  # (n, 6) float64, columns PARAMETERS
    box_size: float  # [Mpc/h]
    maps_path: Path
    params_path: Path
    cut: str = "none"  # what was cut from the maps when the file was written
    others: np.ndarray | None = None  # (n, 22) `other_parameters()`, where they vary: 1P, SB28

    @property
    def n_simulations(self) -> int:
        """Number of simulations, 15 maps each."""
        return len(self.params)

    @property
    def grid(self) -> int:
        """Pixels a side of a map."""
        return self.maps.shape[-1]

    @functools.cached_property
    def fingerprint(self) -> str:
        """Identify the data in 16 hexadecimal digits: shape, all parameters, maps of the suite.

        All maps up to 64 MB, else 64 of them: well under a second for 4 GB, so that it tells one
        large suite from another, not one flipped pixel; ``cosmolib.study.io.sha256`` reads whole
        files.
        """
        digest = hashlib.sha256(f"{self.maps.shape} {self.maps.dtype}".encode())
        digest.update(b"" if self.box_size == BOX_SIZE else str(self.box_size).encode())
        digest.update(np.ascontiguousarray(self.params).tobytes())
        small = self.maps.nbytes <= _WHOLE_SCAN_BYTES
        for i in range(len(self.maps)) if small else _sampled_maps(len(self.maps)):
            digest.update(_read(self, [i]).data)
        return digest.hexdigest()[:16]


def open_suite(
    name: str, data_dir: str | Path | None = None, field: str = "Mtot", sim_set: str = "LH"
) -> Suite:
    """Open a suite, memory-mapped, and check that its files fit together.

    Parameters
    ----------
    name
        "Lite" or "Nbody_Lite", which come with the repository, or a CMD suite: "IllustrisTNG",
        "SIMBA", "Astrid", each also with "Nbody_" before it.
    data_dir
        Folder of the files. CMD's layouts are all known: files in the folder itself, in a folder
        for each suite (or ``Nbody``), or in ``2D_maps/data/`` below it. None means the embedded
        suite for the Lite names and ``$COSMOLIB_DATA`` for others.
    field, sim_set
        CMD's names of the field (`FIELDS`) and of the set of simulations: LH, CV, 1P, EX, BE, SB.

    Raises
    ------
    FileNotFoundError
        No maps, no parameters, or no folder to look in.
    ValueError
        A file is not what CMD's format says, or no longer what was downloaded: names file, found
        and expected. Pixels are all checked in a small file and in 64 maps of a large one;
        `read_maps` checks what it reads.
    """
    if data_dir is None:
        # imported here: decoding the embedded suite is needed by nobody who brings data
        from cosmolib.data.lite import embedded_suites, expand

        if name in embedded_suites():
            data_dir = expand(name, sim_set=sim_set)
        elif os.environ.get("COSMOLIB_DATA"):
            data_dir = os.environ["COSMOLIB_DATA"]
        else:
            raise FileNotFoundError(
                f"suite {name}: found no data folder, expected data_dir= or the environment "
                f"variable COSMOLIB_DATA to name the folder of the CMD files ({CMD_ACCESS}); "
                f"only {', '.join(embedded_suites())} come with the repository"
            )
    folders = folders_of(Path(data_dir), name)
    maps_path = find(folders, map_names(field, name, sim_set), f"maps of suite {name}")
    params_path = find(
        [maps_path.parent, *folders], table_names(name, sim_set), f"{name} parameters"
    )
    return open_files(maps_path, params_path, name, field, sim_set)


def open_files(maps_path: Path, params_path: Path, name: str, field: str, sim_set: str) -> Suite:
    """Open two files as a suite, whatever their names; errors as `open_suite`."""
    maps = map_file(maps_path)
    table = read_table(params_path, name, sim_set)
    params = table.params
    if len(maps) != MAPS_PER_SIMULATION * len(params):
        raise ValueError(
            f"{params_path}: found {len(params)} rows of parameters, expected "
            f"{len(maps) // MAPS_PER_SIMULATION}: one for every {MAPS_PER_SIMULATION} of the "
            f"{len(maps)} maps in {maps_path.name}"
        )
    box_size = _box_of(name, sim_set, maps_path, params_path, table.comments)
    suite = Suite(
        name, field, sim_set, maps, params, box_size, maps_path, params_path,
        cut=cut_of(maps_path), others=table.others,
    )  # fmt: skip
    if maps.nbytes <= _WHOLE_SCAN_BYTES:
        for _ in blocks_of_maps(suite):
            pass
    else:
        read_maps(suite, _sampled_maps(len(maps)))
    for path in (maps_path, params_path):
        checksums.verify(path)
    return suite


def write_suite(
    data_dir: str | Path,
    name: str,
    maps,
    params,
    *,
    field: str = "Mtot",
    sim_set: str = "LH",
    box_size: float = BOX_SIZE,
) -> Suite:
    """Write maps and parameters under CMD's names, each file whole or not at all, and open them.

    Parameters
    ----------
    data_dir
        The files go to ``data_dir/<name>/``; what lay there under their names is replaced.
    name, field, sim_set
        As of `open_suite`.
    maps : (15 n, N, N)
        Kept as float32; of matter in (Msun/h)/(Mpc/h)^2, of slabs of a fifth of the box.
    params : (n, 6)
        In the order of PARAMETERS; kept to five decimals, as CMD does.
    box_size : float
        Side of the boxes [Mpc/h]; the table declares it, so that it stays with the files.

    Raises
    ------
    ValueError
        Shapes that do not fit, or pixels or parameters that no such suite can have: nothing is
        written.
    """
    maps = np.ascontiguousarray(checked_maps(maps, f"suite {name!r}: maps")[0], np.float32)
    params = np.asarray(params, np.float64)
    folder = Path(data_dir) / name
    maps_path = folder / map_names(field, name, sim_set)[0]
    n = len(params)
    if not FILE_NAME.fullmatch(maps_path.name) or cut_note(maps_path).is_file():
        found = "maps under a cut there" if cut_note(maps_path).is_file() else "no name of CMD's"
        raise ValueError(f"{maps_path}: found {found}, expected another folder, or no _ in a name")
    if maps.ndim != 3 or maps.shape != (MAPS_PER_SIMULATION * n, *maps.shape[-1:] * 2) or not n:
        raise ValueError(
            f"{maps_path}: found maps of shape {maps.shape} for {n} rows of parameters, expected "
            f"({MAPS_PER_SIMULATION} n, N, N) for n rows"
        )
    if params.shape != (n, len(PARAMETERS)) or not np.isfinite(params).all():
        raise ValueError(
            f"{maps_path}: found parameters of shape {params.shape}, expected ({n}, "
            f"{len(PARAMETERS)}), finite: {', '.join(PARAMETERS)}"
        )
    params_path = folder / table_names(name, sim_set)[0]
    header = f"box_size = {_checked_box(maps_path, box_size):g} Mpc/h"
    _check_set(params_path, Table(params, lines=np.arange(n) + 3), name, sim_set)
    _box_of(name, sim_set, maps_path, params_path, header)
    suite = Suite(name, field, sim_set, maps, params, box_size, maps_path, params_path)
    _check_values(suite, np.arange(len(maps)), maps)
    with atomic_path(maps_path) as temporary:
        np.save(temporary, maps)
    with atomic_path(params_path) as temporary:
        np.savetxt(temporary, params, fmt="%.5f", header=f"{header}\n{' '.join(PARAMETERS)}")
    return open_suite(name, data_dir, field, sim_set)


def suites_at_hand(
    data_dir: str | Path | None = None, field: str = "Mtot", sim_set: str = "LH"
) -> list[str]:
    """Names of the suites that `open_suite` would find, those of the repository first.

    Parameters
    ----------
    data_dir, field, sim_set
        As of `open_suite`; with a folder given, only what lies there counts.
    """
    from cosmolib.data.lite import embedded_sets, embedded_suites  # as in open_suite

    shipped = data_dir is None and field == "Mtot" and sim_set in embedded_sets()
    found = list(embedded_suites()) if shipped else []
    data_dir = data_dir or os.environ.get("COSMOLIB_DATA")
    if data_dir is None or not Path(data_dir).is_dir():
        return found
    for root in roots(Path(data_dir)):
        for path in sorted([*root.glob("Maps_*.npy"), *root.glob("*/Maps_*.npy")]):
            match = FILE_NAME.fullmatch(path.name)
            if match and (match["field"], match["sim_set"]) == (field, sim_set):
                if path.parent in folders_of(Path(data_dir), match["name"]):
                    found.append(match["name"])
    return list(dict.fromkeys(found))


# --------------------------------------------------------------------------------------------------
# Reading
# --------------------------------------------------------------------------------------------------
def read_maps(suite: Suite, maps, out: np.ndarray | None = None) -> np.ndarray:
    """Read maps of a suite from its file, and check every pixel.

    Unlike indexing ``suite.maps`` this leaves nothing behind in memory but the result, however
    large the file is.

    Parameters
    ----------
    suite : Suite
    maps : (n,) int
        Places of the maps; neighbours are read in one go.
    out : (n, N, N) float32, optional
        C-contiguous; where the maps go.

    Returns
    -------
    (n, N, N) float32

    Raises
    ------
    ValueError
        A pixel that no raw map can have: names file, map and pixel.
    IndexError
        No such map.
    """
    maps = np.asarray(maps, dtype=np.int64)
    if len(maps) and not 0 <= maps.min() <= maps.max() < len(suite.maps):
        raise IndexError(
            f"{suite.maps_path}: found map {maps.max()} or {maps.min()} asked for, expected "
            f"0 to {len(suite.maps) - 1}"
        )
    out = _read(suite, maps, out)
    _check_values(suite, maps, out)
    return out


def _read(suite, maps, out=None):
    """Maps of a suite from its file, unchecked: no page of the memory map is touched."""
    if out is None:
        out = np.empty((len(maps), suite.grid, suite.grid), np.float32)
    if isinstance(suite.maps, np.memmap):
        edges = np.flatnonzero(np.diff(maps) != 1) + 1
        with open(suite.maps_path, "rb") as file:
            for start, stop in zip([0, *edges], [*edges, len(maps)], strict=True):
                if start < stop:
                    file.seek(suite.maps.offset + int(maps[start]) * out[0].nbytes)
                    file.readinto(out[start:stop].data)
    else:
        out[...] = suite.maps[maps]
    return out


def blocks_of_maps(suite: Suite):
    """Yield all maps of a suite, checked, whole simulations at a time; about 16 MB."""
    one = MAPS_PER_SIMULATION * suite.grid**2 * suite.maps.itemsize
    step = MAPS_PER_SIMULATION * max(1, _READ_BYTES // one)
    for first in range(0, len(suite.maps), step):
        yield read_maps(suite, np.arange(first, min(first + step, len(suite.maps))))


def _sampled_maps(n_maps: int) -> list[int]:
    """Up to 64 map indices, evenly spread, the first and the last among them."""
    return np.unique(np.linspace(0, n_maps - 1, _SAMPLED_MAPS).astype(int)).tolist()


def _check_values(suite: Suite, maps: np.ndarray, pixels: np.ndarray) -> None:
    """Refuse maps (n, N, N), of places (n,), with pixels that no such map can have."""
    if not pixels.size:
        return
    # A Fourier cut makes negative pixels.
    raw = suite.cut == "none"
    positive = raw and suite.field in POSITIVE_FIELDS
    low, high = pixels.min(), pixels.max()  # both NaN if one pixel is
    if math.isfinite(low) and math.isfinite(high):
        if low > 0 or not raw or (low == 0 and not positive):
            return
    bad = ~np.isfinite(pixels)
    if positive:
        bad |= pixels <= 0
    elif raw:
        bad |= pixels < 0
    i, row, column = np.argwhere(bad)[0]
    kind = "finite and positive" if positive else "finite and not negative" if raw else "finite"
    raise ValueError(
        f"{suite.maps_path}: found {pixels[i, row, column]} in map {maps[i]} (simulation "
        f"{simulation_of(maps[i])}), pixel ({row}, {column}), expected {kind} "
        f"{'raw ' if raw else ''}pixels"
    )


# --------------------------------------------------------------------------------------------------
# Simulations and maps
# --------------------------------------------------------------------------------------------------
def subset(suite: Suite, n: int | None) -> Suite:
    """First ``n`` simulations of a suite, as views; all of them if ``n`` is None.

    Raises
    ------
    ValueError
        The suite has fewer simulations.
    """
    if n is None:
        return suite
    if not 1 <= n <= suite.n_simulations:
        raise ValueError(
            f"{suite.maps_path}: found {suite.n_simulations} simulations, expected at least "
            f"the {n} asked for"
        )
    maps = suite.maps[: MAPS_PER_SIMULATION * n]
    others = None if suite.others is None else suite.others[:n]
    return dataclasses.replace(suite, maps=maps, params=suite.params[:n], others=others)


@dataclasses.dataclass(frozen=True, eq=False)
class Split:
    """Simulation indices of the three parts; no simulation is in two."""

    train: np.ndarray
    valid: np.ndarray
    test: np.ndarray


def split_simulations(n: int, seed: int = 1) -> Split:
    """Split ``n`` simulations 90 : 5 : 5, as published.

    The published code (arXiv:2504.17839) shuffles ``arange(1000)`` after ``numpy.random.seed(1)``
    and takes 900, 50 and 50. A private generator repeats this without touching numpy's global
    one. Of few simulations each part gets at least one.

    Raises
    ------
    ValueError
        Fewer than three simulations.
    """
    if n < 3:
        raise ValueError(f"split: found {n} simulations, expected at least 3, one for each part")
    order = np.arange(n)
    np.random.RandomState(seed).shuffle(order)  # noqa: NPY002  the published stream
    n_valid = max(1, n // 20)
    n_test = max(1, n - 9 * n // 10 - n_valid)
    n_train = n - n_valid - n_test
    return Split(order[:n_train], order[n_train : n_train + n_valid], order[n_train + n_valid :])


def map_indices(simulations) -> np.ndarray:
    """Return the indices of all maps of some simulations, shape (15 len(simulations),)."""
    first = MAPS_PER_SIMULATION * np.asarray(simulations, dtype=int)
    return (first[:, None] + np.arange(MAPS_PER_SIMULATION)).ravel()


def simulation_of(map_index):
    """Simulation that a map, or each of an array of maps, belongs to."""
    return map_index // MAPS_PER_SIMULATION
