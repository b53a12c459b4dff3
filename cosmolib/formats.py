"""The files of the CAMELS Multifield Dataset (CMD, arXiv:2109.10915): names, folders, headers.

Maps lie in ``Maps_{field}_{suite}_{set}_z=0.00.npy``, float32 of shape (15 n, N, N), parameters in
``params_{set}_{suite}.txt``, one row a simulation. Both layouts of CMD's server are known: a folder
for each suite, and the earlier flat one, whose one table was ``params_{suite}.txt``.
"""

from __future__ import annotations

import math
import os
import re
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from cosmolib.files import read_json

if TYPE_CHECKING:
    from cosmolib.profile import Profile

PARAMETERS = ("Omega_m", "sigma_8", "A_SN1", "A_AGN1", "A_SN2", "A_AGN2")  # CMD's column order

MAPS_PER_SIMULATION = 15  # 3 axes x 5 slabs
FIELDS = (
    "Mgas", "Vgas", "T", "P", "Z", "HI", "ne", "B", "MgFe", "Mcdm", "Vcdm", "Mstar", "Mtot",
)  # fmt: skip
POSITIVE_FIELDS = ("Mtot", "Mcdm")  # matter is everywhere; stars and metals are not
# Sets in which more than the six parameters vary; their tables hold the six first.
WIDE_SETS = re.compile(r"1P|SB\d*")
FILE_NAME = re.compile(
    r"Maps_(?P<field>[^_]+)_(?P<name>(?:Nbody_)?[^_]+)_(?P<set>[^_]+)_z=0\.00?\.npy"
)
TABLE_NAME = re.compile(
    r"params_(?:(?P<set>LH|CV|1P|EX|BE|SB\d*)_)?(?P<name>(?:Nbody_)?[^_]+)\.txt"
)
SIMULATIONS = {
    "LH": 1000,
    "CV": 27,
    "EX": 4,
    "BE": 27,
}  # of CMD's own files, where all suites agree


NPY_READERS = {
    (1, 0): np.lib.format.read_array_header_1_0,
    (2, 0): np.lib.format.read_array_header_2_0,
}


# --------------------------------------------------------------------------------------------------
# Names and folders
# --------------------------------------------------------------------------------------------------
def folders_of(data_dir: Path, name: str) -> list[Path]:
    """Where CMD's files can lie below ``data_dir``: the old flat layout and the new one."""
    if not data_dir.is_dir():
        raise FileNotFoundError(f"{data_dir}: found no such folder, expected the CMD files of it")
    below = [name, "Nbody"] if name.startswith("Nbody_") else [name]
    twin = name.removeprefix("Nbody_")
    leaves = dict.fromkeys((*below, twin))  # a twin's table may lie in the hydrodynamic folder
    return [f for root in roots(data_dir) for f in (root, *(root / leaf for leaf in leaves))]


def roots(data_dir: Path) -> list[Path]:
    """Where CMD's tree can begin: the folder itself, or a copy of the server's."""
    return [data_dir, data_dir / "2D_maps" / "data", data_dir / "CMD" / "2D_maps" / "data"]


def table_names(name: str, set: str) -> list[str]:
    """File names that the parameters of a suite and set can have, the newest layout first.

    An N-body suite may go without a table: that of its hydrodynamic twin holds the same rows.
    """
    names = []
    for owner in dict.fromkeys((name, name.removeprefix("Nbody_"))):
        names.append(f"params_{set}_{owner}.txt")
        if set == "LH":  # CMD's first layout had this one set and did not name it
            names.append(f"params_{owner}.txt")
    return names


def find(folders: list[Path], names: list[str], what: str) -> Path:
    """Return the first of ``names`` that lies in one of ``folders``; FileNotFoundError if none."""
    for name in names:  # a suite's own table in any folder comes before its twin's
        for folder in folders:
            if (folder / name).is_file():
                return folder / name
    stem = names[0].split("_")[0]
    near = sorted({file.name for folder in folders for file in folder.glob(f"{stem}_*")})
    others = ", ".join(near[:6]) + (", ..." if len(near) > 6 else "")
    raise FileNotFoundError(
        f"{folders[0]}: found no {what} ({others or f'no {stem}_* file at all'}), "
        f"expected {' or '.join(names)}, there or in CMD's own folders below"
    )


def data_files(profile: Profile) -> list[Path]:
    """Files of maps and parameters that a profile's suites have outside the repository.

    None for the embedded suites, and none where they are not found, which opening them will say.
    """
    found = []
    for name in dict.fromkeys([*profile.suites, profile.tuning_suite]):
        data_dir = profile.data_dir
        if data_dir is None and not name.removeprefix("Nbody_") == "Lite":
            data_dir = os.environ.get("COSMOLIB_DATA")
        if data_dir is None or not Path(data_dir).is_dir():
            continue
        names = map_names(profile.field, name, profile.set) + table_names(name, profile.set)
        folders = folders_of(Path(data_dir), name)
        found += [f / n for f in folders for n in names if (f / n).is_file()]
    return list(dict.fromkeys(found))


def map_names(field: str, name: str, set: str) -> list[str]:
    """File names that the maps of a field, suite and set can have."""
    return [f"Maps_{field}_{name}_{set}_z={z}.npy" for z in ("0.00", "0.0")]


# --------------------------------------------------------------------------------------------------
# Contents
# --------------------------------------------------------------------------------------------------
def npy_header(file) -> tuple[tuple[int, ...], bool, np.dtype]:
    """Read the header of an open .npy file: shape, whether in Fortran order, dtype.

    Raises
    ------
    ValueError
        It is none, of whatever kind: numpy has many errors for one.
    """
    try:
        version = np.lib.format.read_magic(file)
        shape, fortran, dtype = NPY_READERS[version](file)
    except Exception:
        raise ValueError("found no header of a .npy file") from None
    if not all(type(n) is int and 0 <= n < 2**48 for n in shape):
        raise ValueError(f"found the shape {shape}")
    return shape, fortran, dtype


def map_file(path: Path) -> np.ndarray:
    """Memory-map a file of maps, (15 n, N, N) float32, after checking header and length."""
    expected = f"({MAPS_PER_SIMULATION} n, N, N) float32"
    with open(path, "rb") as file:
        try:
            shape, fortran, dtype = npy_header(file)
        except ValueError:
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


def read_params(path: Path, wide: bool = False) -> np.ndarray:
    """Read a parameter table, (n, 6) float64 or ``wide`` (n, 6 or more).

    A line of column names may come first, with or without ``#``, and must be in CMD's order.
    """
    rows = []
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except UnicodeDecodeError:
        raise ValueError(f"{path}: found no text, expected a table of numbers") from None
    for number, line in enumerate(lines, start=1):
        names = line.replace("#", " ").replace(",", " ").split()
        if not rows and len({*names} & {*PARAMETERS}) == len(PARAMETERS):
            if tuple(names[: len(PARAMETERS)]) != PARAMETERS:
                raise ValueError(
                    f"{path}: line {number}: found the columns {' '.join(names)}, expected "
                    f"{' '.join(PARAMETERS)}, in this order"
                )
            continue
        words = line.split("#")[0].replace(",", " ").split()
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
        expected = len(rows[0]) if wide and rows else len(PARAMETERS)
        if len(row) != expected and not (wide and not rows and len(row) > expected):
            columns = " ".join(PARAMETERS)
            raise ValueError(
                f"{path}: line {number}: found {len(row)} columns, expected {expected}: {columns}"
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


def cut_note(maps_path: Path) -> Path:
    """Path of the note that says what was cut from a file of maps, beside it."""
    return maps_path.with_suffix(".cut.json")


def cut_of(maps_path: Path) -> str:
    """What was cut from a file of maps when it was written, by its note; "none" without one."""
    note = cut_note(maps_path)
    if not note.is_file():
        return "none"
    content = read_json(note)
    cut = content.get("cut") if isinstance(content, dict) else None
    if not isinstance(cut, str):
        raise ValueError(f'{note}: found no cut, expected {{"cut": "kmax:10", ...}}')
    return cut
