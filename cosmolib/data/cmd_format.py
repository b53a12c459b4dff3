"""The files of the CAMELS Multifield Dataset (CMD, arXiv:2109.10915): names, folders, headers.

Maps lie in ``Maps_{field}_{suite}_{set}_z=0.00.npy``, float32 of shape (15 n, N, N), parameters in
``params_{set}_{suite}.txt``, one row a simulation. Both layouts of CMD's server are known: a folder
for each suite, and the earlier flat one, whose one table was ``params_{suite}.txt``.
"""

from __future__ import annotations

import dataclasses
import functools
import io
import math
import os
import re
from pathlib import Path

import numpy as np

from cosmolib.study.io import read_json

PARAMETERS = ("Omega_m", "sigma_8", "A_SN1", "A_AGN1", "A_SN2", "A_AGN2")  # CMD's column order

MAPS_PER_SIMULATION = 15  # 3 axes x 5 slabs
FIELDS = (
    "Mgas", "Vgas", "T", "P", "Z", "HI", "ne", "B", "MgFe", "Mcdm", "Vcdm", "Mstar", "Mtot",
)  # fmt: skip
POSITIVE_FIELDS = ("Mtot", "Mcdm")  # matter is everywhere; stars and metals are not
ROUNDING = 1e-4  # of a table's parameters, relative to their range
FILE_NAME = re.compile(
    r"Maps_(?P<field>[^_]+)_(?P<name>(?:Nbody_)?[^_]+)_(?P<sim_set>[^_]+)_z=0\.00?\.npy"
)
TABLE_NAME = re.compile(
    r"params_(?:(?P<sim_set>LH|CV|1P|EX|BE|SB\d*)_)?(?P<name>(?:Nbody_)?[^_]+)\.txt"
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


def table_names(name: str, sim_set: str) -> list[str]:
    """File names that the parameters of a suite and set can have, the newest layout first.

    An N-body suite may go without a table: that of its hydrodynamic twin holds the same rows.
    """
    names = []
    for owner in dict.fromkeys((name, name.removeprefix("Nbody_"))):
        names.append(f"params_{sim_set}_{owner}.txt")
        if sim_set == "LH":  # CMD's first layout had this one set and did not name it
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


def data_files(suites: list[str], data_dir: str | None, field: str, sim_set: str) -> list[Path]:
    """Return the existing files of maps and parameters of suites that are not embedded."""
    found = []
    for name in dict.fromkeys(suites):
        folder = data_dir
        if folder is None and not name.removeprefix("Nbody_") == "Lite":
            folder = os.environ.get("COSMOLIB_DATA")
        if folder is None or not Path(folder).is_dir():
            continue
        names = map_names(field, name, sim_set) + table_names(name, sim_set)
        found += [f / n for f in folders_of(Path(folder), name) for n in names if (f / n).is_file()]
    return list(dict.fromkeys(found))


def map_names(field: str, name: str, sim_set: str) -> list[str]:
    """File names that the maps of a field, suite and set can have."""
    return [f"Maps_{field}_{name}_{sim_set}_z={z}.npy" for z in ("0.00", "0.0")]


def map_urls(url: str, name: str, file_name: str) -> list[str]:
    """Where CMD's server can have a file: a folder for each suite, ``Nbody``, or flat (older)."""
    root = f"{url.rstrip('/')}/2D_maps/data"
    folders = [f"{name}/", "Nbody/", ""] if name.startswith("Nbody_") else [f"{name}/", ""]
    return [f"{root}/{folder}{file_name}" for folder in folders]


def table_urls(url: str, name: str, sim_set: str) -> list[str]:
    """Where CMD's server can have the parameter table of a suite or, after it, of its twin."""
    owners = {file: name if name in file else name[6:] for file in table_names(name, sim_set)}
    return [u for file, owner in owners.items() for u in map_urls(url, owner, file)]


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


def check_header(file, size: int, source) -> None:
    """Check the header of a file of maps, (15 n, N, N) float32, against its length in bytes.

    Parameters
    ----------
    file
        Open at the beginning; bytes after the header are not read.
    size
        Length of the whole file.
    source
        Named by errors: a path or an address.

    Raises
    ------
    ValueError
        This is no such file, or it is truncated or too long.
    """
    expected = f"({MAPS_PER_SIMULATION} n, N, N) float32"
    try:
        shape, fortran, dtype = npy_header(file)
    except ValueError:
        file.seek(0)
        raise ValueError(
            f"{source}: found no valid .npy header ({file.read(16)!r}, {size} bytes), expected a "
            f".npy file {expected}"
        ) from None
    if dtype != np.dtype("<f4"):
        raise ValueError(f"{source}: found dtype {dtype.str} ({dtype}), expected <f4 (float32)")
    if len(shape) != 3 or shape[1] != shape[2] or 0 in shape:
        raise ValueError(f"{source}: found shape {shape}, expected {expected}: square maps")
    if fortran:
        raise ValueError(f"{source}: found Fortran order, expected C order: maps in one piece each")
    if shape[0] % MAPS_PER_SIMULATION:
        raise ValueError(
            f"{source}: found {shape[0]} maps, expected a multiple of {MAPS_PER_SIMULATION}: "
            "3 axes x 5 slabs of each simulation"
        )
    needed = file.tell() + math.prod(shape) * dtype.itemsize
    if size != needed:
        state = "truncated" if size < needed else "too long"
        raise ValueError(f"{source}: found {size} bytes ({state}), expected {needed} for {shape}")


def map_file(path: Path) -> np.ndarray:
    """Memory-map a file of maps, (15 n, N, N) float32, after checking header and length."""
    with open(path, "rb") as file:
        check_header(file, path.stat().st_size, path)
    return np.load(path, mmap_mode="r", allow_pickle=False)


@dataclasses.dataclass(frozen=True, eq=False)
class Table:
    """Parameters of the simulations of one set, and what else their file holds."""

    params: np.ndarray  # (n, 6) float64, columns PARAMETERS; amplitudes relative to the fiducial
    others: np.ndarray | None = None  # (n, 22) float64, columns `other_parameters()`
    lines: np.ndarray | None = None  # (n,) int, line of the file that a row comes from
    seeds: np.ndarray | None = None  # (n,) int64, of the initial phases
    comments: str = ""


@functools.cache
def camels_columns():
    """Return the 28 parameters of CAMELS' sets 1P and SB28 of IllustrisTNG, as a DataFrame.

    The shipped file is CAMELS' own ``Info_IllustrisTNG_L25n256_28params.txt``
    (github.com/franciscovillaescusa/CAMELS, MIT licence). Values are in the units of the simulation
    code: in the fiducial model WindEnergyIn1e51erg (A_SN1) is 3.6, RadioFeedbackFactor (A_AGN1) 1,
    VariableWindVelFactor (A_SN2) 7.4 and RadioFeedbackReiorientationFactor (A_AGN2) 20. The
    amplitudes of the set LH are ratios to these values (arXiv:2010.00619).
    """
    import pandas as pd  # here: opening a program should not wait for it

    return pd.read_csv(Path(__file__).with_name("Info_IllustrisTNG_L25n256_28params.txt"))


def other_parameters() -> list[str]:
    """Names of the parameters that CAMELS' tables of 28 columns have after the six."""
    return camels_columns()["ParamName"].tolist()[len(PARAMETERS) :]


def layout_of(others: np.ndarray | None) -> str:
    """Columns and units of a table's file in words, by the ``others`` that were read from it."""
    if others is None:
        return "6 columns, amplitudes relative to the fiducial model"
    units = camels_columns()["FiducialVal"][2 : len(PARAMETERS)]
    ratios = ", ".join(f"{n} / {u:g}" for n, u in zip(PARAMETERS[2:], units, strict=True))
    return f"{len(camels_columns())} columns in CAMELS' physical units, converted: {ratios}"


def read_params(path: Path, suite: str) -> Table:
    """Read a table of parameters: the six, or CAMELS' 28 in physical units, which are converted.

    One row per simulation, columns separated by spaces or by commas, comments after ``#``. A line
    of names may come first, with or without ``#``; the columns are then taken by name. CAMELS' own
    columns of names and seeds (its ``CosmoAstroSeed`` tables) may be there.

    Raises
    ------
    ValueError
        The file is no such table: names file and line, what was found and what is allowed.
    """
    cells, comments = _read_columns(path)
    lines, others = cells.index.to_numpy(), None
    seeds = cells["seed"].to_numpy() if "seed" in cells else None
    params = cells[list(PARAMETERS)].to_numpy(np.float64, copy=True)
    camels = camels_columns()
    if other_parameters()[0] in cells:
        if suite.removeprefix("Nbody_") != "IllustrisTNG":
            raise ValueError(
                f"{path}: found {len(camels)} columns of parameters, expected the "
                f"{len(PARAMETERS)} {', '.join(PARAMETERS)}: the units of more are known of "
                f"IllustrisTNG only, not of {suite}"
            )
        others = cells[other_parameters()].to_numpy(np.float64, copy=True)
        values = np.hstack([params, others])
        low, high = camels[["MinVal", "MaxVal"]].to_numpy().T
        slack = 0.02 * np.maximum(abs(low), abs(high - low))  # a table may keep two digits
        for row, column in np.argwhere((values < low - slack) | (values > high + slack))[:1]:
            raise ValueError(
                f"{path}: line {lines[row]}: found {camels['ParamName'][column]} = "
                f"{values[row, column]:g}, expected {low[column]:g} to {high[column]:g}: CAMELS' "
                f"physical units, as in every table of {len(camels)} columns"
            )
        params[:, 2:] /= camels["FiducialVal"].to_numpy()[2 : len(PARAMETERS)]
        others.flags.writeable = False
    params.flags.writeable = False
    return Table(params, others, lines, seeds, comments)


def _read_columns(path):
    """Read a table of text: a DataFrame by column name and line of the file, and its comments."""
    import pandas as pd

    try:
        text = path.read_text(encoding="utf-8-sig")  # with or without a byte-order mark
    except UnicodeDecodeError:
        text = "\0"
    if "\0" in text:
        raise ValueError(f"{path}: found no text in UTF-8, expected a table of numbers")
    rows, comments = {}, {}
    for line, content in enumerate(text.split("\n"), start=1):
        row, _, comment = content.partition("#")
        if row.strip():
            rows[line] = re.sub(r"\s*,\s*", ",", row.strip(" \t"))
        if comment.strip():
            comments[line] = comment.strip()
    first = next(iter(rows), 0)
    above = {line: _words(comment) for line, comment in comments.items() if line < first}
    above = {k: w for k, w in above.items() if not any(re.fullmatch(_NUMBER, x) for x in w)}
    named = {k: w for k, w in above.items() if len({*map(_known_name, w)} & {*PARAMETERS}) > 2}
    header = list((named or above).items())[-1:]  # a comment without any names is just a comment
    if first and not any(re.fullmatch(_NUMBER, word) for word in _words(rows[first])):
        header = named = [(first, _words(rows.pop(first)))]
    if not rows:
        said = (
            f"line {first}: found {text.split(chr(10))[first - 1][:60]!r}"
            if first
            else "found no rows"
        )
        raise ValueError(
            f"{path}: {said}, expected a row of {len(PARAMETERS)} numbers per simulation"
        )
    for line, row in rows.items():
        if ";" in row or ("," in row and re.search(r"\s", row)):
            raise ValueError(
                f"{path}: line {line}: found {row[:60]!r}, expected columns separated by commas or "
                f"by spaces, and {_FORM}"
            )
    first = next(iter(rows))
    separator = "," if "," in rows[first] else r"\s+"
    width = max(len(re.split(separator, row)) for row in rows.values())
    try:
        cells = pd.read_csv(
            io.StringIO("\n".join(rows.values())), sep=separator, header=None, index_col=False,
            names=range(width), dtype=str, keep_default_na=False,
        ).fillna("")  # fmt: skip
        cells.index = list(rows)
    except ValueError:  # quotes that do not close
        raise ValueError(f"{path}: found quotes around several lines, expected none") from None
    counts = width - (cells != "").to_numpy()[:, ::-1].argmax(axis=1)
    for line, count in zip(rows, counts, strict=True):
        if count != counts[0]:
            raise ValueError(
                f"{path}: line {line}: found {count} columns, expected {counts[0]} as in line "
                f"{first}, and {_FORM}"
            )
    cells = cells.iloc[:, : counts[0]]
    if named or (header and len(header[0][1]) == counts[0]):
        cells.columns = _named_columns(path, *header[0], counts[0])
    else:
        cells.columns = _unnamed_columns(path, first, cells)
    for name in {"Name", "index"} & {*cells.columns}:
        number = cells[name].str.extract(r"^(?:[A-Z]+[0-9]*_)?([0-9]{1,9})$")[0].astype(float)
        for line in cells.index[number.diff() <= 0]:
            raise ValueError(
                f"{path}: line {line}: found simulation {cells.loc[line, name]} after one of a "
                "higher number, expected rows in the order of the maps"
            )
    cells = cells.drop(columns="index", errors="ignore")
    for name in cells.columns.drop("Name", errors="ignore"):
        pattern = r"[0-9]{1,18}" if name == "seed" else _NUMBER
        for line, value in cells[name][~cells[name].str.fullmatch(pattern)].items():
            raise ValueError(f"{path}: line {line}: found {value!r} for {name}, expected {_FORM}")
        cells[name] = cells[name].map(int if name == "seed" else float)
        for line in cells.index[~np.isfinite(cells[name])]:
            raise ValueError(f"{path}: line {line}: found {name} = inf, expected a finite number")
    return cells, "\n".join(comments.values())


_NUMBER = r"[+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]+)?"
_FORM = "numbers with decimal points, without decimal commas or thousands separators"
_SIMULATION = r"(?:LH|CV|1P|EX|BE|SB[0-9]*)_\w+"  # CAMELS' names of simulations


def _words(text):
    return [word.strip('"') for word in re.split(r"\s*,\s*|\s+", text.strip())]


@functools.lru_cache(1000)
def _known_name(word):
    """Our name of a column; None if it has none. Case and underscores do not count."""
    names = [*PARAMETERS, *other_parameters()]
    known = dict(zip(camels_columns()["ParamName"], names, strict=True))
    known |= {name: name for name in (*PARAMETERS, "Name", "seed", "index")}
    known = {name.replace("_", "").lower(): own for name, own in known.items()}
    return known.get(word.replace("_", "").lower(), "index" if word in ("", "Unnamed: 0") else None)


def _named_columns(path, line, words, count):
    """Our names of the columns below a header, which must be those of a table that we know."""
    names = [_known_name(word) for word in words]
    params = {*names} - {"Name", "seed", "index"}
    physical = {*words} & {*camels_columns()["ParamName"][2 : len(PARAMETERS)]}
    problem = None
    if len(words) != count:
        problem = f"{len(words)} names over {count} columns (row numbers without a name?)"
    elif None in names:
        problem = f"the unknown column {words[names.index(None)]!r}"
    elif len({*names}) < len(names):
        problem = f"the column {next(name for name in names if names.count(name) > 1)} twice"
    elif params not in ({*PARAMETERS}, {*PARAMETERS, *other_parameters()}):
        problem = f"{len(params)} columns of parameters"
    elif physical and len(params) == len(PARAMETERS):
        problem = f"{len(params)} columns, {' '.join(sorted(physical))} in physical units"
    if problem:
        raise ValueError(
            f"{path}: line {line}: found {problem}, expected {' '.join(PARAMETERS)}, or all "
            f"{len(camels_columns())} columns of CAMELS"
        )
    return names


def _unnamed_columns(path, line, cells):
    """Names of the columns of a table without a header, by CAMELS' own order."""
    names = [*PARAMETERS, *other_parameters()]
    before = ["Name"] if cells[0].str.fullmatch(_SIMULATION).all() else []
    count = cells.shape[1] - len(before)
    for known in (len(PARAMETERS), len(names)):
        if count == known:
            return [*before, *names[:known]]
        if before and count == known + 1:
            return [*before, *names[:known], "seed"]
    raise ValueError(
        f"{path}: line {line}: found {cells.shape[1]} columns without names, expected "
        f"{len(PARAMETERS)}: {', '.join(PARAMETERS)}; or CAMELS' {len(names)}; and {_FORM}"
    )


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
