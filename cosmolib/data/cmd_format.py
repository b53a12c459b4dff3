"""Names, folders and headers of the files of the CAMELS Multifield Dataset (CMD, arXiv:2109.10915).

Maps are in ``Maps_{field}_{suite}_{set}_z=0.00.npy``, float32 of shape (15 n, N, N), and parameters
in ``params_{set}_{suite}.txt``, one row per simulation. Both layouts of CMD's server are supported:
one folder per suite, and the earlier flat one, whose only table was ``params_{suite}.txt``.
"""

import os
import re
from pathlib import Path

import numpy as np

from cosmolib.data.arrays import bad_input
from cosmolib.study.io import read_json, reason_of

PARAMETERS = ("Omega_m", "sigma_8", "A_SN1", "A_AGN1", "A_SN2", "A_AGN2")  # CMD's column order
LABELS = {"Omega_m": r"$\Omega_{\rm m}$", "sigma_8": r"$\sigma_8$"}
LABELS |= {name: rf"$A_{{\rm {name[2:]}}}$" for name in PARAMETERS[2:]}

MAPS_PER_SIMULATION = 15  # 3 axes x 5 slabs
POSITIVE_FIELDS = ("Mtot", "Mcdm")  # matter is everywhere; stars and metals are not
FILE_NAME = re.compile(
    r"Maps_(?P<field>[^_]+)_(?P<name>(?:Nbody_)?[^_]+(?:_strong)?)_(?P<sim_set>[^_]+)_z=0\.00?\.npy"
)
SIMULATIONS = {"LH": 1000, "CV": 27, "EX": 4, "BE": 27}  # per suite of CMD

BOX_SIZE = 25.0  # [Mpc/h] comoving side of the boxes of CMD and Lite, and of their maps
SLAB_DEPTH = 5.0  # [Mpc/h] projected depth of a map: a fifth of the box
RHO_CRIT = 2.775e11  # [(Msun/h)/(Mpc/h)^3] critical density today
HUBBLE = 0.6711  # h of CAMELS, arXiv:2010.00619 section 2
SPECTRAL_INDEX = 0.9624  # n_s


def mean_surface_density(omega_m, box_size=BOX_SIZE):
    """Return the mean of a map of total matter, ``Omega_m rho_crit box_size / 5``.

    In (Msun/h)/(Mpc/h)^2. The value is exact for the mean of the five slabs of one axis, because
    the box conserves mass.
    """
    return np.asarray(omega_m) * RHO_CRIT * SLAB_DEPTH * (box_size / BOX_SIZE)


# --------------------------------------------------------------------------------------------------
# Names and folders
# --------------------------------------------------------------------------------------------------
def regions_of(name: str) -> str:
    """Return the suite whose simulations have the same initial conditions, row by row.

    >>> regions_of("Nbody_Lite"), regions_of("Lite_strong"), regions_of("SIMBA")
    ('Lite', 'Lite', 'SIMBA')
    """
    return name.removeprefix("Nbody_").removesuffix("_strong")


def roots(data_dir: Path) -> list[Path]:
    """Return the folders where CMD's tree may begin: ``data_dir``, or a copy of the server's."""
    return [data_dir, data_dir / "2D_maps" / "data", data_dir / "CMD" / "2D_maps" / "data"]


def folders_of(data_dir: Path, name: str) -> list[Path]:
    """Return the folders below ``data_dir`` that may contain the files of a suite."""
    if not data_dir.is_dir():
        raise FileNotFoundError(f"{data_dir}: found no such folder, expected a folder of CMD files")
    leaves = ["", name]
    if name.startswith("Nbody_"):
        leaves += ["Nbody", name.removeprefix("Nbody_")]  # which may contain the twin's table
    return [root / leaf for root in roots(data_dir) for leaf in leaves]


def map_names(field: str, name: str, sim_set: str) -> list[str]:
    """Return the possible file names of the maps of a field, suite and set."""
    return [f"Maps_{field}_{name}_{sim_set}_z={z}.npy" for z in ("0.00", "0.0")]


def table_names(name: str, sim_set: str) -> list[str]:
    """Return the possible file names of the parameters of a suite and set, newest layout first.

    An N-body suite may lack a table: the table of its hydrodynamic twin has the same rows.
    """
    owners = dict.fromkeys((name, regions_of(name)))
    sets = [f"{sim_set}_", ""] if sim_set == "LH" else [f"{sim_set}_"]  # the old layout had LH only
    return [f"params_{label}{owner}.txt" for owner in owners for label in sets]


def find(folders: list[Path], names: list[str], what: str) -> Path:
    """Return the first existing file; names have priority over folders.

    Raises
    ------
    FileNotFoundError
        No folder contains one of the names; the message lists similar files.
    """
    if found := _existing(folders, names):
        return found[0]
    near = {file.name for f in folders for file in f.glob(f"{names[0].split('_')[0]}_*")}
    found = f"found no {what} (but {', '.join(sorted(near)[:6]) or 'no such file'})"
    expected = f"{' or '.join(names)}, there or in a subfolder of CMD's layout"
    raise FileNotFoundError(f"{folders[0]}: {found}, expected {expected}")


def _existing(folders, names):
    paths = (folder / name for name in names for folder in folders)
    return [path for path in paths if path.is_file()]


def data_files(suites: list[str], data_dir: str | None, field: str, sim_set: str) -> list[Path]:
    """Return the existing files of maps and parameters of suites that are not embedded."""
    found = []
    for name in suites:
        embedded = regions_of(name) in ("Lite", "other")
        folder = data_dir or (None if embedded else os.environ.get("COSMOLIB_DATA"))
        if folder and Path(folder).is_dir():
            names = map_names(field, name, sim_set) + table_names(name, sim_set)
            found += _existing(folders_of(Path(folder), name), names)
    return list(dict.fromkeys(found))


def server_urls(url: str, name: str, files: list[str]) -> list[str]:
    """Return the possible URLs of files on CMD's server, newest layout first."""
    urls = []
    for file in files:
        owner = name if name in file else name.removeprefix("Nbody_")  # the table of the twin
        folders = [f"{owner}/", *(["Nbody/"] if owner.startswith("Nbody_") else []), ""]
        urls += [f"{url.rstrip('/')}/2D_maps/data/{folder}{file}" for folder in folders]
    return urls


# --------------------------------------------------------------------------------------------------
# Contents
# --------------------------------------------------------------------------------------------------
def map_file(path: Path) -> np.ndarray:
    """Memory-map a file of maps, (15 n, N, N) float32, after checking its header and length.

    Raises
    ------
    ValueError
        The file is of another kind, truncated or too long.
    """
    size, expected = path.stat().st_size, f"({MAPS_PER_SIMULATION} n, N, N) float32"
    try:
        maps = np.load(path, mmap_mode="r", allow_pickle=False)
        length = maps.offset + maps.nbytes
    except Exception as error:  # numpy raises errors of many kinds
        with open(path, "rb") as file:
            start = file.read(16)
        found = f"{size} bytes that begin with {start!r} ({reason_of(error)})"
        raise bad_input(path, found, f"a whole .npy file {expected}") from None
    shape, order = maps.shape, "C" if maps.flags.c_contiguous else "Fortran"
    square = len(shape) == 3 and shape[1] == shape[2] and maps.size
    fits = square and shape[0] % MAPS_PER_SIMULATION == 0 and size == length
    if not (fits and maps.dtype.str == "<f4" and order == "C"):
        found = f"{maps.dtype.str} ({maps.dtype}) of shape {shape} in {order} order, {size} bytes"
        raise bad_input(path, found, f"<f4: {expected} in C order, {length} bytes")
    return maps


def cut_note(maps_path: Path) -> Path:
    """Return the path of the note that records the cut applied to a file of maps."""
    return maps_path.with_suffix(".cut.json")


def cut_of(maps_path: Path) -> str:
    """Return the cut that was applied to a file of maps, "none" if there is no note."""
    note = cut_note(maps_path)
    content = read_json(note) if note.is_file() else {"cut": "none"}
    cut = content.get("cut") if isinstance(content, dict) else None
    if not isinstance(cut, str):
        raise bad_input(note, "no cut", '{"cut": "kmax:10", ...}')
    return cut
