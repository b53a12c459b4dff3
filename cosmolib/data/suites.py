"""Open, write and split suites of maps in the format of CMD (arXiv:2109.10915).

A suite is one ``.npy`` file of maps and one text file of parameters. The maps of simulation ``i``
are rows ``15 i`` to ``15 i + 14``: three axes times five slabs of depth 5 Mpc/h, in the order
``map = 15 i + 5 axis + slab``. Lite and its variants come with the repository; other suites are
searched on disk. `cosmolib.data.check` reads a whole suite and reports on it. To add a suite,
call `cosmolib.data.tables.register_suite` and `write_suite`.
"""

import dataclasses
import functools
import hashlib
import itertools
import os
from pathlib import Path
from typing import NamedTuple

import numpy as np

from cosmolib.data import checksums, cmd_format, lite
from cosmolib.data.arrays import bad_input, checked_maps, checked_numbers
from cosmolib.data.cmd_format import BOX_SIZE, FILE_NAME, MAPS_PER_SIMULATION, PARAMETERS
from cosmolib.data.tables import Table, box_of, check_set, read_table
from cosmolib.study.io import atomic_path

_CMD_ACCESS = "https://camels-multifield-dataset.readthedocs.io/en/latest/access.html"

_WHOLE_SCAN_BYTES = 2**26  # opening a suite reads all maps of a file up to 64 MB ...
_SAMPLED_MAPS = 64  # ... and this many of a larger one


# --------------------------------------------------------------------------------------------------
# Opening a suite
# --------------------------------------------------------------------------------------------------
@dataclasses.dataclass(frozen=True, eq=False)
class Suite:
    """Give access to the maps and parameters of one suite; the maps stay on disk.

    Use ``suite.maps[i]`` for a few maps and `read_maps` for many, because pages of a memory map
    count as memory of the process.
    """

    name: str  # "Lite", "Nbody_IllustrisTNG", ...
    field: str  # "Mtot" = total matter
    sim_set: str  # "LH" = latin hypercube
    # (15 n, N, N) float32, read-only memory map; Mtot: (Msun/h)/(Mpc/h)^2
    maps: np.ndarray = dataclasses.field(repr=False)
    params: np.ndarray = dataclasses.field(repr=False)  # (n, 6) float64, columns PARAMETERS
    box_size: float  # [Mpc/h]
    maps_path: Path
    params_path: Path
    cut: str = "none"  # the cut applied when the file was written
    # (n, 22) as `Table.others`, for sets such as 1P and SB28
    others: np.ndarray | None = dataclasses.field(default=None, repr=False)

    @property
    def n_simulations(self) -> int:
        """Number of simulations, 15 maps each."""
        return len(self.params)

    @property
    def grid(self) -> int:
        """Pixels per side of a map."""
        return self.maps.shape[-1]

    @functools.cached_property
    def fingerprint(self) -> str:
        """16 hexadecimal digits of a hash of shape, parameters and maps, which identify the data.

        All maps are hashed up to 64 MB, otherwise 64 of them. This distinguishes large suites in
        less than a second, but can miss a changed pixel; ``cosmolib.study.io.sha256`` detects it.
        """
        digest = hashlib.sha256(f"{self.maps.shape} {self.maps.dtype}".encode())
        digest.update(b"" if self.box_size == BOX_SIZE else str(self.box_size).encode())
        digest.update(np.ascontiguousarray(self.params).tobytes())
        for i in _sampled_maps(self.maps):
            digest.update(read_maps(self, [i]).data)
        return digest.hexdigest()[:16]


def open_suite(
    name: str, data_dir: str | Path | None = None, field: str = "Mtot", sim_set: str = "LH"
) -> Suite:
    """Open a suite as a memory map and check that its files match each other.

    Parameters
    ----------
    name
        "Lite", "Nbody_Lite", "Lite_strong" or "Nbody_other", which come with the repository, or a
        CMD suite: "IllustrisTNG", "SIMBA", "Astrid", each also with the prefix ``Nbody_``.
    data_dir
        Folder of the files in any of CMD's layouts: directly in the folder, in a folder per suite
        (or ``Nbody``), or in ``2D_maps/data/`` below it. None means the embedded suite for the Lite
        names, and ``$COSMOLIB_DATA`` for others.
    field, sim_set
        CMD's names of the field, such as Mtot, Mgas or HI, and of the set of simulations: LH, CV,
        1P, EX, BE, SB.

    Raises
    ------
    FileNotFoundError
        There are no maps, no parameters or no folder.
    ValueError
        A file is not in CMD's format, or changed since it was downloaded. All pixels of a small
        file and 64 maps of a large file are checked; `read_maps` checks the maps that it reads.
    """
    if data_dir is None and name in lite.SUITES:
        data_dir = lite.expand(name, sim_set=sim_set)
    if not (data_dir := data_dir or os.environ.get("COSMOLIB_DATA")):
        embedded = ", ".join(lite.SUITES)
        expected = f"{embedded}, or data_dir= or $COSMOLIB_DATA with CMD files ({_CMD_ACCESS})"
        raise FileNotFoundError(f"suite {name}: found no data folder, expected {expected}")
    folders = cmd_format.folders_of(Path(data_dir), name)
    names = cmd_format.map_names(field, name, sim_set)
    maps = cmd_format.find(folders, names, f"maps of suite {name}")
    names = cmd_format.table_names(name, sim_set)
    params = cmd_format.find([maps.parent, *folders], names, f"{name} parameters")
    return open_files(maps, params, name, field, sim_set)


def open_files(maps_path: Path, params_path: Path, name: str, field: str, sim_set: str) -> Suite:
    """Open two files with any names as a suite; raise the errors of `open_suite`."""
    maps, table = cmd_format.map_file(maps_path), read_table(params_path, name, sim_set)
    if len(maps) != MAPS_PER_SIMULATION * len(table.params):
        n, place = len(maps) // MAPS_PER_SIMULATION, f"the {len(maps)} maps in {maps_path.name}"
        raise bad_input(params_path, f"{len(table.params)} rows of parameters", f"{n} for {place}")
    box_size = box_of(name, sim_set, maps_path, params_path, table.comments)
    suite = Suite(
        name, field, sim_set, maps, table.params, box_size, maps_path, params_path,
        cut=cmd_format.cut_of(maps_path), others=table.others,
    )  # fmt: skip
    read_maps(suite, _sampled_maps(maps))
    checksums.verify(maps_path)
    checksums.verify(params_path)
    return suite


def write_suite(
    data_dir: str | Path, name: str, maps, params, *, field: str = "Mtot", sim_set: str = "LH",
    box_size: float = BOX_SIZE,
) -> Suite:  # fmt: skip
    """Write maps and parameters to files with CMD's names, atomically, and open them.

    Parameters
    ----------
    data_dir
        The files are written to ``data_dir/<name>/`` and replace existing ones.
    name, field, sim_set
        As in `open_suite`.
    maps : (15 n, N, N)
        Stored as float32; matter in (Msun/h)/(Mpc/h)^2, in slabs of a fifth of the box.
    params : (n, 6)
        In the order of PARAMETERS; stored with five decimals, as in CMD.
    box_size : float
        Side of the boxes [Mpc/h]; recorded in the table.

    Raises
    ------
    ValueError
        Shapes do not match, or pixels or parameters are not allowed; nothing is written.
    """
    maps = np.ascontiguousarray(checked_maps(maps, f"suite {name!r}: maps")[0], np.float32)
    params = checked_numbers(np.asarray(params, np.float64), f"suite {name!r}: parameters")
    folder, n = Path(data_dir) / name, len(maps) // MAPS_PER_SIMULATION
    maps_path = folder / cmd_format.map_names(field, name, sim_set)[0]
    params_path = folder / cmd_format.table_names(name, sim_set)[0]
    if not FILE_NAME.fullmatch(maps_path.name) or cmd_format.cut_note(maps_path).is_file():
        found = "maps under a cut there, or no name of CMD's"
        raise bad_input(maps_path, found, "another folder, or no _ in a name")
    if len(maps) != MAPS_PER_SIMULATION * n or params.shape != (n, len(PARAMETERS)):
        found = f"maps of shape {maps.shape} and parameters of shape {params.shape}"
        raise bad_input(maps_path, found, "(15 n, N, N) and (n, 6)")
    header = f"box_size = {box_size:g} Mpc/h"
    check_set(params_path, Table(params), name, sim_set)
    box_of(name, sim_set, maps_path, params_path, header)
    suite = Suite(name, field, sim_set, maps, params, box_size, maps_path, params_path)
    _check_values(suite, np.arange(len(maps)), maps)
    with atomic_path(maps_path) as temporary:
        np.save(temporary, maps)
    with atomic_path(params_path) as temporary:
        np.savetxt(temporary, params, fmt="%.5f", header=f"{header}\n{' '.join(PARAMETERS)}")
    return open_suite(name, data_dir, field, sim_set)


def available_suites(data_dir=None, field: str = "Mtot", sim_set: str = "LH") -> list[str]:
    """Return the names of the suites that `open_suite` can open, embedded ones first.

    Parameters
    ----------
    data_dir, field, sim_set
        As in `open_suite`; if a folder is given, embedded suites are not included.
    """
    embedded = data_dir is None and field == "Mtot"
    found = [name for name in lite.SUITES if embedded and lite.part_of(name, sim_set)]
    data_dir = data_dir or os.environ.get("COSMOLIB_DATA")
    for root in cmd_format.roots(Path(data_dir)) if data_dir else ():
        for path in sorted([*root.glob("Maps_*.npy"), *root.glob("*/Maps_*.npy")]):
            match = FILE_NAME.fullmatch(path.name)
            if match and (match["field"], match["sim_set"]) == (field, sim_set):
                if path.parent in cmd_format.folders_of(Path(data_dir), match["name"]):
                    found.append(match["name"])
    return list(dict.fromkeys(found))


# --------------------------------------------------------------------------------------------------
# Reading
# --------------------------------------------------------------------------------------------------
def read_maps(suite: Suite, maps, out: np.ndarray | None = None) -> np.ndarray:
    """Read maps of a suite from its file and check every pixel.

    Unlike indexing ``suite.maps``, this keeps only the result in memory.

    Parameters
    ----------
    suite : Suite
    maps : (n,) int
        Indices of the maps; consecutive ones are read together.
    out : (n, N, N) float32, optional
        C-contiguous array for the result.

    Returns
    -------
    (n, N, N) float32

    Raises
    ------
    ValueError
        The value of a pixel is not allowed; the message names file, map and pixel.
    IndexError
        An index is out of range.
    """
    maps = np.asarray(maps, dtype=np.int64)
    if out is None:
        out = np.empty((len(maps), suite.grid, suite.grid), np.float32)
    if not len(maps):
        return out
    if not 0 <= maps.min() <= maps.max() < len(suite.maps):
        found = f"found indices {maps.min()} to {maps.max()}"
        raise IndexError(f"{suite.maps_path}: {found}, expected 0 to {len(suite.maps) - 1}")
    if isinstance(suite.maps, np.memmap):
        edges = [0, *np.flatnonzero(np.diff(maps) != 1) + 1, len(maps)]
        with open(suite.maps_path, "rb") as file:
            for start, stop in itertools.pairwise(edges):
                file.seek(suite.maps.offset + int(maps[start]) * out[0].nbytes)
                file.readinto(out[start:stop].data)
    else:
        out[...] = suite.maps[maps]
    _check_values(suite, maps, out)
    return out


def _sampled_maps(maps: np.ndarray) -> np.ndarray:
    """Return the indices of all maps up to 64 MB, otherwise of 64 evenly spaced ones."""
    n = len(maps) if maps.nbytes <= _WHOLE_SCAN_BYTES else _SAMPLED_MAPS
    return np.unique(np.linspace(0, len(maps) - 1, n).astype(int))


def _check_values(suite: Suite, maps: np.ndarray, pixels: np.ndarray) -> None:
    """Raise an error if pixels (n, N, N) of the maps with indices (n,) are not allowed."""
    least, kind = 0, "finite and not negative raw pixels"
    if suite.cut != "none":  # Fourier cuts create negative pixels
        least, kind = -np.inf, "finite pixels"
    elif suite.field in cmd_format.POSITIVE_FIELDS:
        least, kind = np.nextafter(np.float32(0), np.float32(1)), "finite and positive raw pixels"
    low, high = pixels.min(), pixels.max()  # both are NaN if one pixel is
    if least <= low and -np.inf < low <= high < np.inf:
        return
    i, row, column = np.argwhere(~(np.isfinite(pixels) & (pixels >= least)))[0]
    found = f"{pixels[i, row, column]} in map {maps[i]} (simulation {simulation_of(maps[i])})"
    raise bad_input(suite.maps_path, f"{found}, pixel ({row}, {column})", kind)


# --------------------------------------------------------------------------------------------------
# Simulations and maps
# --------------------------------------------------------------------------------------------------
def subset(suite: Suite, n: int | None) -> Suite:
    """Return the first ``n`` simulations of a suite as views, or all if ``n`` is None.

    Raises
    ------
    ValueError
        The suite has fewer simulations.
    """
    if n is None:
        return suite
    if not 1 <= n <= suite.n_simulations:
        found = f"{suite.n_simulations} simulations"
        raise bad_input(suite.maps_path, found, f"at least the requested {n}")
    maps = suite.maps[: MAPS_PER_SIMULATION * n]
    others = None if suite.others is None else suite.others[:n]
    return dataclasses.replace(suite, maps=maps, params=suite.params[:n], others=others)


class Split(NamedTuple):
    """Store the simulation indices of the three parts, which do not overlap."""

    train: np.ndarray
    valid: np.ndarray
    test: np.ndarray


def split_simulations(n: int, seed: int = 1) -> Split:
    """Split ``n`` simulations 90 : 5 : 5 into training, validation and test part, as published.

    The published code (arXiv:2504.17839) shuffles ``arange(1000)`` after ``numpy.random.seed(1)``
    and takes 900, 50 and 50. A private generator reproduces this. Each part has at least one
    simulation.

    Raises
    ------
    ValueError
        There are fewer than three simulations.
    """
    if n < 3:
        raise bad_input("split", f"{n} simulations", "at least 3, one for each part")
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
    """Return the simulation of a map, or of each of an array of maps."""
    return map_index // MAPS_PER_SIMULATION
