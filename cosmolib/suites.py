"""Suites of maps in the format of the CAMELS Multifield Dataset (CMD, arXiv:2109.10915).

A suite is one ``.npy`` file of maps and one text file of parameters. The maps of simulation ``i``
are rows ``15 i`` to ``15 i + 14``: three axes times five slabs of depth 5 Mpc/h, in the order
``map = 15 i + 5 axis + slab``. ``Lite`` and ``Nbody_Lite`` come with the repository; every other
name is looked for on disk.
"""

from __future__ import annotations

import dataclasses
import hashlib
import math
import os
import re
from collections.abc import Iterator
from pathlib import Path

import numpy as np

PARAMETERS = ("Omega_m", "sigma_8", "A_SN1", "A_AGN1", "A_SN2", "A_AGN2")  # CMD's column order
LABELS = {
    "Omega_m": r"$\Omega_{\rm m}$",
    "sigma_8": r"$\sigma_8$",
    "A_SN1": r"$A_{\rm SN1}$",
    "A_AGN1": r"$A_{\rm AGN1}$",
    "A_SN2": r"$A_{\rm SN2}$",
    "A_AGN2": r"$A_{\rm AGN2}$",
}
FIDUCIAL = dict(zip(PARAMETERS, (0.3, 0.8, 1.0, 1.0, 1.0, 1.0), strict=True))  # arXiv:2010.00619

MAPS_PER_SIMULATION = 15  # 3 axes x 5 slabs
BOX_SIZE = 25.0  # [Mpc/h] comoving side of every CAMELS box, and of a map
SLAB_DEPTH = 5.0  # [Mpc/h] what a map projects
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
_POSITIVE_FIELDS = ("Mtot", "Mcdm")  # matter is everywhere; stars and metals are not
_FILE_NAME = re.compile(
    r"Maps_(?P<field>[^_]+)_(?P<name>(?:Nbody_)?[^_]+)_(?P<set>[^_]+)_z=0\.00?\.npy"
)
_WHOLE_SCAN_BYTES = 2**26  # opening a suite reads every pixel of a file up to 64 MB
_SAMPLED_MAPS = 64  # and this many maps of a larger one
_MASS_TOLERANCE = 0.05  # a box keeps its mass; table and maps that do not match miss by far more


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
    if name not in _RANGES:
        known = ", ".join(_RANGES)
        raise ValueError(f"suite: found {suite!r}, expected one of {known}, or Nbody_ before it")
    return np.array(_RANGES[name])


def mean_surface_density(omega_m):
    """Mean of a map of total matter, ``Omega_m rho_crit 5 Mpc/h`` [(Msun/h)/(Mpc/h)^2].

    It is exact for the mean of the five slabs of one axis, since the box keeps its mass.
    """
    return np.asarray(omega_m) * RHO_CRIT * SLAB_DEPTH


# --------------------------------------------------------------------------------------------------
# Opening a suite
# --------------------------------------------------------------------------------------------------
@dataclasses.dataclass(frozen=True, eq=False)
class Suite:
    """Maps and parameters of one suite; the maps stay on disk until they are indexed."""

    name: str  # "Lite", "Nbody_IllustrisTNG", ...
    field: str  # "Mtot" = total matter
    set: str  # "LH" = latin hypercube
    maps: np.ndarray  # (15 n, N, N) float32, read-only memory map; Mtot: (Msun/h)/(Mpc/h)^2
    params: np.ndarray  # (n, 6) float64, columns PARAMETERS
    box_size: float  # [Mpc/h]
    maps_path: Path
    params_path: Path

    @property
    def n_simulations(self) -> int:
        """Number of simulations, 15 maps each."""
        return len(self.params)

    @property
    def grid(self) -> int:
        """Pixels a side of a map."""
        return self.maps.shape[-1]

    @property
    def fingerprint(self) -> str:
        """Identify the data in 16 hexadecimal digits: shape, all parameters, 64 maps of the suite.

        Cheap (well under a second for 4 GB), so it tells one suite from another, not one flipped
        pixel; ``cosmolib.runs.sha256`` reads the whole file.
        """
        digest = hashlib.sha256(f"{self.maps.shape} {self.maps.dtype}".encode())
        digest.update(np.ascontiguousarray(self.params).tobytes())
        for i in _sampled_maps(len(self.maps)):
            digest.update(np.ascontiguousarray(self.maps[i]).tobytes())
        return digest.hexdigest()[:16]


def open_suite(
    name: str, data_dir: str | Path | None = None, field: str = "Mtot", set: str = "LH"
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
    field, set
        CMD's names of the field and of the set of simulations.

    Raises
    ------
    FileNotFoundError
        No maps, no parameters, or no folder to look in.
    ValueError
        A file is not what CMD's format says: names file, found and expected. Pixels are all
        checked in a small file and in 64 maps of a large one; `check_suite` reads all.
    """
    if data_dir is None:
        # imported here: decoding the embedded suite is needed by nobody who brings data
        from cosmolib.embedded import embedded_suites, expand

        if name in embedded_suites():
            data_dir = expand(name)
        elif os.environ.get("COSMOLIB_DATA"):
            data_dir = os.environ["COSMOLIB_DATA"]
        else:
            raise FileNotFoundError(
                f"suite {name}: found no data folder, expected data_dir= or the environment "
                f"variable COSMOLIB_DATA to name the folder of the CMD files ({CMD_ACCESS}); "
                f"only {', '.join(embedded_suites())} come with the repository"
            )
    folders = _folders(Path(data_dir), name)
    map_names = [f"Maps_{field}_{name}_{set}_z={z}.npy" for z in ("0.00", "0.0")]
    maps_path = _find(folders, map_names, f"maps of suite {name}")
    params_path = _find([maps_path.parent, *folders], _table_names(name, set), f"{name} parameters")
    return _open_files(maps_path, params_path, name, field, set)


def _open_files(maps_path: Path, params_path: Path, name: str, field: str, set: str) -> Suite:
    maps = _read_maps(maps_path)
    params = _read_params(params_path)
    if len(maps) != MAPS_PER_SIMULATION * len(params):
        raise ValueError(
            f"{params_path}: found {len(params)} rows of parameters, expected "
            f"{len(maps) // MAPS_PER_SIMULATION}: one for every {MAPS_PER_SIMULATION} of the "
            f"{len(maps)} maps in {maps_path.name}"
        )
    suite = Suite(name, field, set, maps, params, BOX_SIZE, maps_path, params_path)
    if maps.nbytes <= _WHOLE_SCAN_BYTES:
        for _ in _checked_blocks(suite):
            pass
    else:
        for i in _sampled_maps(len(maps)):
            _check_values(suite, i, maps[i : i + 1])
    return suite


def _folders(data_dir: Path, name: str) -> list[Path]:
    """Where CMD's files can lie below ``data_dir``: the old flat layout and the new one."""
    if not data_dir.is_dir():
        raise FileNotFoundError(f"{data_dir}: found no such folder, expected the CMD files of it")
    roots = [data_dir, data_dir / "2D_maps" / "data", data_dir / "CMD" / "2D_maps" / "data"]
    below = [name, "Nbody"] if name.startswith("Nbody_") else [name]
    return [folder for root in roots for folder in (root, *(root / leaf for leaf in below))]


def _table_names(name: str, set: str) -> list[str]:
    names = [f"params_{set}_{name}.txt"]
    if set == "LH":  # CMD's first layout had this one set and did not name it
        names.append(f"params_{name}.txt")
    return names


def _find(folders: list[Path], names: list[str], what: str) -> Path:
    for folder in folders:
        for name in names:
            if (folder / name).is_file():
                return folder / name
    stem = names[0].split("_")[0]
    near = sorted({file.name for folder in folders for file in folder.glob(f"{stem}_*")})
    others = ", ".join(near[:6]) + (", ..." if len(near) > 6 else "")
    raise FileNotFoundError(
        f"{folders[0]}: found no {what} ({others or f'no {stem}_* file at all'}), "
        f"expected {' or '.join(names)}, there or in CMD's own folders below"
    )


def _read_maps(path: Path) -> np.ndarray:
    """Memory-map a file of maps, (15 n, N, N) float32, after checking header and length."""
    expected = f"({MAPS_PER_SIMULATION} n, N, N) float32"
    readers = {
        (1, 0): np.lib.format.read_array_header_1_0,
        (2, 0): np.lib.format.read_array_header_2_0,
    }
    with open(path, "rb") as file:
        try:
            version = np.lib.format.read_magic(file)
            shape, fortran, dtype = readers[version](file)
        except (ValueError, KeyError):
            raise ValueError(
                f"{path}: found no valid .npy header, expected a .npy file {expected}"
            ) from None
        needed = file.tell() + math.prod(shape) * dtype.itemsize
    if dtype != np.dtype("<f4"):
        raise ValueError(f"{path}: found dtype {dtype.str} ({dtype}), expected <f4 (float32)")
    if len(shape) != 3 or shape[1] != shape[2] or 0 in shape:
        raise ValueError(f"{path}: found shape {shape}, expected {expected}: square maps")
    if fortran:
        raise ValueError(f"{path}: found Fortran order, expected C order: maps in one piece each")
    if shape[0] % MAPS_PER_SIMULATION:
        raise ValueError(
            f"{path}: found {shape[0]} maps, expected a multiple of {MAPS_PER_SIMULATION}: "
            "3 axes x 5 slabs of each simulation"
        )
    size = path.stat().st_size
    if size != needed:
        state = "truncated" if size < needed else "too long"
        raise ValueError(f"{path}: found {size} bytes ({state}), expected {needed} for {shape}")
    return np.load(path, mmap_mode="r", allow_pickle=False)


def _read_params(path: Path) -> np.ndarray:
    """Read a parameter table, (n, 6) float64; a line of column names may come first."""
    rows = []
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except UnicodeDecodeError:
        raise ValueError(f"{path}: found no text, expected a table of numbers") from None
    for number, line in enumerate(lines, start=1):
        words = line.split("#")[0].split()
        if not words:
            continue
        try:
            row = [float(word) for word in words]
        except ValueError:
            if not rows and words[0] == PARAMETERS[0]:
                continue  # a header without "#"
            raise ValueError(
                f"{path}: line {number}: found {line.strip()!r}, expected numbers"
            ) from None
        if len(row) != len(PARAMETERS):
            columns = " ".join(PARAMETERS)
            raise ValueError(
                f"{path}: line {number}: found {len(row)} columns, expected 6: {columns}"
            )
        if not all(math.isfinite(value) for value in row):
            raise ValueError(
                f"{path}: line {number}: found {line.strip()!r}, expected finite numbers"
            )
        rows.append(row)
    if not rows:
        raise ValueError(f"{path}: found no rows, expected one of 6 columns a simulation")
    params = np.array(rows)
    params.flags.writeable = False
    return params


# --------------------------------------------------------------------------------------------------
# Checking values
# --------------------------------------------------------------------------------------------------
def _sampled_maps(n_maps: int) -> list[int]:
    """Up to 64 map indices, evenly spread, the first and the last among them."""
    return np.unique(np.linspace(0, n_maps - 1, _SAMPLED_MAPS).astype(int)).tolist()


def _check_values(suite: Suite, first: int, block: np.ndarray) -> None:
    """Refuse a block of maps, (b, N, N) from map ``first`` on, with pixels that no map can have."""
    positive = suite.field in _POSITIVE_FIELDS
    low, high = block.min(), block.max()  # both NaN if one pixel is
    if math.isfinite(low) and math.isfinite(high) and (low > 0 or not positive):
        return
    bad = ~np.isfinite(block) | ((block <= 0) if positive else False)
    i, row, column = np.argwhere(bad)[0]
    kind = "finite and positive" if positive else "finite"
    raise ValueError(
        f"{suite.maps_path}: found {block[i, row, column]} in map {first + i} (simulation "
        f"{simulation_of(first + i)}), pixel ({row}, {column}), expected {kind} raw pixels"
    )


def _checked_blocks(suite: Suite) -> Iterator[np.ndarray]:
    """Yield the maps a few simulations at a time, each block checked; at most about 64 MB."""
    one = suite.maps[:MAPS_PER_SIMULATION].nbytes
    step = MAPS_PER_SIMULATION * max(1, _WHOLE_SCAN_BYTES // one)
    for first in range(0, len(suite.maps), step):
        block = suite.maps[first : first + step]
        _check_values(suite, first, block)
        yield block


def check_suite(suite: Suite) -> str:
    """Read every pixel of a suite and report what it holds.

    Besides the values, the mass is checked: a simulation's mean map of total matter must be
    `mean_surface_density` of its row, within 5 % in the median. Rows in another order, or maps in
    other units, fail.

    Raises
    ------
    ValueError
        Non-finite pixels, zero or negative ones in matter, or maps that do not fit the parameters.
    """
    low, high, total, squares, means = np.inf, -np.inf, 0.0, 0.0, []
    positive = suite.field in _POSITIVE_FIELDS
    for block in _checked_blocks(suite):
        low, high = min(low, block.min()), max(high, block.max())
        per_map = block.mean(axis=(1, 2), dtype=np.float64)  # (b,)
        means.append(per_map.reshape(-1, MAPS_PER_SIMULATION).mean(axis=1))
        if positive:
            logs = np.log10(block)
            total += logs.sum(dtype=np.float64)
            squares += np.einsum("ijk,ijk->", logs, logs, dtype=np.float64)
    n, grid = len(suite.maps), suite.grid
    lines = [
        f"{suite.maps_path}",
        f"  suite {suite.name}, set {suite.set}, field {suite.field}",
        f"  {n} maps of {grid} x {grid} pixels, float32: {suite.n_simulations} simulations",
        f"  box {suite.box_size:g} Mpc/h, pixel {suite.box_size / grid:.4g} Mpc/h",
        f"  pixels from {low:.4g} to {high:.4g}",
    ]
    if positive:
        mean = total / suite.maps.size
        std = math.sqrt(max(squares / suite.maps.size - mean**2, 0.0))
        lines.append(f"  log10 of the pixels: mean {mean:.4f}, standard deviation {std:.4f}")
    for name, column in zip(PARAMETERS, suite.params.T, strict=True):
        lines.append(f"  {name:8s} {column.min():.4g} to {column.max():.4g}")
    if suite.field == "Mtot":
        deviation = np.abs(
            np.concatenate(means) / mean_surface_density(suite.params[:, 0]) - 1
        )  # (n,)
        if not np.median(deviation) <= _MASS_TOLERANCE:
            raise ValueError(
                f"{suite.maps_path}: found simulations whose mean density is off by "
                f"{np.median(deviation):.0%} (median), expected Omega_m x "
                f"{RHO_CRIT * SLAB_DEPTH:.4g} (Msun/h)/(Mpc/h)^2 within {_MASS_TOLERANCE:.0%}: "
                f"other units, or not the rows of {suite.params_path.name}"
            )
        lines.append(f"  mean density against Omega_m: within {deviation.max():.2g} of it")
    lines.append(f"  parameters {suite.params_path}")
    lines.append(f"  fingerprint {suite.fingerprint}")
    return "\n".join(lines)


def check_file(path: str | Path, suite: str | None = None, set: str | None = None) -> str:
    """Check a CMD file of maps, or all those in a folder, and report.

    Parameters
    ----------
    path
        A file ``Maps_{field}_{suite}_{set}_z=0.00.npy``, its parameters beside it or one folder
        up, or a folder in one of CMD's layouts.
    suite, set
        Of a folder, only the files of this suite and set.

    Raises
    ------
    FileNotFoundError, ValueError
        As `open_suite` and `check_suite`.
    """
    path = Path(path)
    found = [path] if path.is_file() else sorted(path.rglob("Maps_*.npy"))
    named = [(file, _FILE_NAME.fullmatch(file.name)) for file in found]
    wanted = [
        (file, match)
        for file, match in named
        if match and suite in (None, match["name"]) and set in (None, match["set"])
    ]
    if not wanted:
        if not path.exists():
            raise FileNotFoundError(f"{path}: found no such file, expected CMD maps or a folder")
        form = f"Maps_<field>_{suite or '<suite>'}_{set or '<set>'}_z=0.00.npy"
        state = f"{len(found)} file(s) of other names" if found else "no maps"
        raise FileNotFoundError(f"{path}: found {state}, expected {form}")
    reports = []
    for file, match in wanted:
        tables = _table_names(match["name"], match["set"])
        table = _find([file.parent, file.parent.parent], tables, f"{match['name']} parameters")
        opened = _open_files(file, table, match["name"], match["field"], match["set"])
        reports.append(check_suite(opened))
    return "\n".join(reports)


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
    return dataclasses.replace(suite, maps=maps, params=suite.params[:n])


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
