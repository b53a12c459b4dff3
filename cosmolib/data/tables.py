"""Read tables of simulation parameters and check them against the ranges of suites and sets."""

import functools
import itertools
import re
from pathlib import Path
from typing import NamedTuple

import numpy as np

from cosmolib.data.arrays import bad_input
from cosmolib.data.cmd_format import BOX_SIZE, PARAMETERS, regions_of
from cosmolib.study.registry import SUITES, register

FIDUCIAL = dict(zip(PARAMETERS, (0.3, 0.8, 1.0, 1.0, 1.0, 1.0), strict=True))  # arXiv:2010.00619

# Latin-hypercube ranges, (low, high) in the order of PARAMETERS; arXiv:2010.00619 table 2
_TNG_RANGES = ((0.1, 0.5), (0.6, 1.0), (0.25, 4.0), (0.25, 4.0), (0.5, 2.0), (0.5, 2.0))
# The embedded suites, Lite and Nbody_other, use the table of IllustrisTNG.
RANGES = dict.fromkeys(("IllustrisTNG", "SIMBA", "Astrid", "Lite", "other"), _TNG_RANGES)
RANGES["Astrid"] = (*_TNG_RANGES[:5], (0.25, 4.0))
# Sets with boxes of 25 Mpc/h (arXiv:2109.10915). SB35 and other sets of the second generation of
# CAMELS have boxes of 50 Mpc/h (arXiv:2606.10038).
_SETS_OF_25 = ("LH", "CV", "1P", "EX", "BE", "SB", "SB28")
_BOX_LABEL = re.compile(r"L([0-9]+)n[0-9]+")  # CAMELS' label: box [Mpc/h], particles per side
_DECLARED = re.compile(r"\s*[=:]\s*([0-9]+\.?[0-9]*)\s*(?:Mpc/h)?\s*")
_ROUNDING = 1e-4  # rounding of the parameters in a table, relative to their range
_NUMBER = r"[+-]?(?:[0-9]{1,99}\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]{1,2})?"  # finite
_FORM = "numbers with decimal points, no decimal commas"
_COLUMNS = {"Name": (".*", str), "index": ("[0-9]{1,9}", int), "seed": ("[0-9]{1,18}", int)}


# --------------------------------------------------------------------------------------------------
# Suites and sets
# --------------------------------------------------------------------------------------------------
def parameter_ranges(suite: str) -> np.ndarray:
    """Return the latin-hypercube range of each parameter of a suite or its N-body twin, (6, 2).

    Raises
    ------
    ValueError
        The suite is unknown.
    """
    name = regions_of(suite)
    known = RANGES | {own: ranges for own, (ranges, _) in SUITES.items()}
    if name not in known:
        expected = f"one of {', '.join(known)}, or Nbody_ before it; see register_suite"
        raise bad_input("suite", repr(suite), expected)
    return np.array(known[name])


def register_suite(name: str, ranges, box_size: float = BOX_SIZE) -> None:
    """Register the parameter ranges and the box size of a new suite and its N-body twin.

    Networks predict parameters in units of these ranges. Maps can be opened and cut without them.

    Parameters
    ----------
    name : str
        Letters and digits, as in the file names.
    ranges : (6, 2)
        Lower and upper edge of each parameter, in the order of PARAMETERS.
    box_size : float
        Side of the boxes [Mpc/h]. A value in the table of a set, as written by
        `cosmolib.data.suites.write_suite`, has priority.

    Raises
    ------
    ValueError
        The name is malformed or taken (see `cosmolib.study.registry`), or ranges or box size are
        invalid.
    """
    found = np.array(ranges, dtype=np.float64)
    shaped = found.shape == (len(PARAMETERS), 2) and np.isfinite(found).all()
    if not (shaped and (found[:, 0] < found[:, 1]).all() and 0 < box_size < np.inf):
        given = f"the ranges {found.tolist()} and the box size {box_size} Mpc/h"
        expected = f"6 pairs, low < high, of {', '.join(PARAMETERS)}, and a box above 0"
        raise bad_input(f"suite {name!r}", given, expected)
    register("suite", name, (found, float(box_size)), own=RANGES)


def box_of(name, sim_set, maps_path, params_path, comments):
    """Return the side of the boxes of a suite and set [Mpc/h].

    It is declared in the comments of the table, registered with the suite, or known from CMD.
    Labels such as L50n512 in file names, folder or comments must agree with it.
    """
    own = regions_of(name)
    if declared := re.findall(r"\bbox_size\b(.*)", comments):
        boxes = {float(m[1]) if (m := _DECLARED.fullmatch(t)) else np.nan for t in declared}
    elif own in SUITES:
        boxes = {SUITES[own][1]}
    else:
        boxes = {BOX_SIZE} if own in RANGES and sim_set in _SETS_OF_25 else set()
    places = maps_path.name, maps_path.parent.name, params_path.name, comments
    labels = {float(label) for label in _BOX_LABEL.findall(" ".join(places))}
    if len(boxes) != 1 or not labels <= boxes or not min(boxes) > 0:
        found = ", ".join(f"{box:g} Mpc/h" for box in sorted(boxes | labels)) or "no box size"
        expected = f"one, in a label L50n... and by '# box_size = 50 Mpc/h' in {params_path.name}"
        raise bad_input(maps_path, f"{found} for suite {name}, set {sim_set}", expected)
    return boxes.pop()


def off_fiducial(params, others=None) -> np.ndarray:
    """Return whether each parameter of each simulation differs from the fiducial model.

    Parameters
    ----------
    params : (n, 6)
    others : (n, 22), optional
        See `Table.others`.

    Returns
    -------
    (n, 6) or (n, 28) bool
    """
    off = ~np.isclose(params, list(FIDUCIAL.values()), rtol=_ROUNDING, atol=_ROUNDING)
    if others is None:
        return off
    columns = camels_columns().iloc[len(PARAMETERS) :]
    slack = _ROUNDING * (columns["MaxVal"] - columns["MinVal"]).to_numpy()
    return np.hstack([off, np.abs(others - columns["FiducialVal"].to_numpy()) > slack])


def check_set(path, table, name: str, sim_set: str) -> None:
    """Raise an error for the first value that a set of a known suite cannot have."""
    own = regions_of(name)
    if own not in RANGES and own not in SUITES:
        return
    low, high = parameter_ranges(name).T
    slack = _ROUNDING * (high - low)
    off = off_fiducial(table.params, table.others)  # (n, 6) or (n, 28)
    values = np.hstack([part for part in (table.params, table.others) if part is not None])
    outside, column = np.zeros_like(off), np.arange(off.shape[1])
    outside[:, :6] = (table.params < low - slack) | (table.params > high + slack)
    fixed = {"LH": column >= 6, "CV": column >= 0, "BE": column >= 0, "EX": column < 2}
    several, extreme = off.sum(1, keepdims=True) > 1, np.isin(values, (0, 1, 100))
    rules = [  # (values that are not allowed, what is allowed)
        (outside & (sim_set in ("LH", "1P") or sim_set.startswith("SB")), None),
        (off & fixed.get(sim_set, False), "the fiducial value"),
        (off & several & (sim_set == "1P"), "no more than one parameter off its fiducial value"),
        (~extreme & (column >= 2) & (sim_set == "EX"), "0, 1 or 100"),
    ]
    if own not in RANGES:  # for a registered suite, only the ranges of LH are known
        rules = rules[:1] if sim_set == "LH" else []
    for bad, allowed in rules:
        for row, i in np.argwhere(bad)[:1]:
            parameter = [*PARAMETERS, *other_parameters()][i]
            found = f"{parameter} = {values[row, i]:g} (simulation {row})"
            allowed = allowed or f"{low[i]:g} to {high[i]:g}"
            raise bad_input(path, found, f"{allowed} in set {sim_set} of {name}")


# --------------------------------------------------------------------------------------------------
# Reading
# --------------------------------------------------------------------------------------------------
class Table(NamedTuple):
    """Store the parameters of the simulations of one set and the other contents of their file."""

    params: np.ndarray  # (n, 6) float64, columns PARAMETERS; amplitudes relative to the fiducial
    others: np.ndarray | None = None  # (n, 22) float64, columns `other_parameters()`
    seeds: np.ndarray | None = None  # (n,) int64, seeds of the initial phases
    comments: str = ""


@functools.cache
def camels_columns():
    """Return the 28 parameters of CAMELS' sets 1P and SB28 of IllustrisTNG, as a DataFrame.

    The file is ``Info_IllustrisTNG_L25n256_28params.txt`` of CAMELS
    (github.com/franciscovillaescusa/CAMELS, MIT licence). Values are in the units of the simulation
    code: the fiducial model has WindEnergyIn1e51erg (A_SN1) = 3.6, RadioFeedbackFactor (A_AGN1)
    = 1, VariableWindVelFactor (A_SN2) = 7.4 and RadioFeedbackReiorientationFactor (A_AGN2) = 20.
    The amplitudes of the set LH are ratios to these values (arXiv:2010.00619).
    """
    import pandas as pd  # slow to import, and often not needed

    return pd.read_csv(Path(__file__).with_name("Info_IllustrisTNG_L25n256_28params.txt"))


def other_parameters() -> list[str]:
    """Return the names of the last 22 of the 28 parameters in `camels_columns`."""
    return camels_columns()["ParamName"].tolist()[len(PARAMETERS) :]


def read_table(path: Path, suite: str, sim_set: str | None = None) -> Table:
    """Read a table of six parameters, or of CAMELS' 28 in physical units, which are converted.

    The table has one row per simulation, columns separated by spaces or commas, and comments after
    ``#``. A line of names may come first, with or without ``#``; it determines the order of the
    columns. Columns of names and seeds, as in CAMELS' ``CosmoAstroSeed`` tables, are allowed.

    Parameters
    ----------
    path : Path
    suite : str
    sim_set : str, optional
        Check that this set can have the parameters.

    Raises
    ------
    ValueError
        The file is not such a table (the message has the line of an invalid cell), or the set
        cannot have a value: the table belongs to another set or suite or has other units.
    """
    frame, comments = _read_columns(path)
    seeds = frame["seed"].to_numpy() if "seed" in frame else None
    params, others = np.array(frame[[*PARAMETERS]], order="C"), None
    if other_parameters()[0] in frame:
        camels = camels_columns()
        if suite.removeprefix("Nbody_") != "IllustrisTNG":
            expected = f"the 6 {', '.join(PARAMETERS)}: units of more are not known for {suite}"
            raise bad_input(path, f"{len(camels)} columns", expected)
        others = np.array(frame[other_parameters()], order="C")
        params[:, 2:] /= camels["FiducialVal"].to_numpy()[2 : len(PARAMETERS)]
        others.flags.writeable = False
    params.flags.writeable = False
    table = Table(params, others, seeds, comments)
    if sim_set is not None:
        check_set(path, table, suite, sim_set)
    return table


def _read_columns(path):
    """Return a text table as a DataFrame with our column names, and its comments as one text."""
    import pandas as pd  # as above

    text = path.read_text(encoding="utf-8-sig", errors="replace")  # with a byte-order mark or not
    lines = [line.partition("#") for line in text.split("\n")]
    rows = {line: _cells(row) for line, (row, _, _) in enumerate(lines, start=1) if row.strip()}
    comments = [comment.strip() for _, _, comment in lines]
    first = next(iter(rows), None)
    header = rows.pop(first) if rows and not _has_number(rows[first]) else None
    cells = itertools.zip_longest(*rows.values(), fillvalue="")
    frame = pd.DataFrame(cells, columns=list(rows), dtype=object).T
    if frame.empty:
        found = f"no rows of numbers (it begins with {text[:40]!r})"
        raise bad_input(path, found, "a row of 6 per simulation")
    if header is None:  # the last comment above the rows that has one word per column
        words = [_cells(comment) for comment in comments[: first - 1]]
        named = [w for w in words if len(w) == frame.shape[1] and not _has_number(w)]
        header = named[-1] if named else None
    frame.columns = _column_names(path, header, frame.shape[1])
    for name, cells in frame.items():
        pattern, kind = _COLUMNS.get(name, (_NUMBER, float))
        bad, expected = ~cells.str.fullmatch(pattern), f"finite {_FORM}"
        if not bad.any() and name in ("Name", "index"):
            numbers = cells.str.extract("^(?:[A-Z]+[0-9]*_)?([0-9]{1,9})$")[0].astype(float)
            bad, expected = numbers.diff() <= 0, "rows in the order of the maps"
        for line, cell in cells[bad].items():
            raise bad_input(f"{path}: line {line}", f"{cell!r} for {name}", expected)
        frame[name] = cells.map(kind)
    return frame, "\n".join(filter(None, comments))


def _cells(text):
    cells = text.split(",") if "," in text else text.split()
    return [cell.strip().strip('"') for cell in cells]


def _has_number(words):
    return any(re.fullmatch(_NUMBER, word) for word in words)


def _column_names(path, words, count):
    """Return our names of the columns, from a header or from the order of CAMELS' tables."""
    six, camels = [*PARAMETERS], camels_columns()["ParamName"].tolist()
    tables = [six, six + other_parameters()]
    ours = dict(zip(camels, tables[1], strict=True)) | {"": "index"}
    ours |= {name: name for name in (*PARAMETERS, *_COLUMNS)}
    ours = {name.replace("_", "").lower(): own for name, own in ours.items()}
    words = words or next((names for names in tables if len(names) == count), [])
    names = [ours.get(word.replace("_", "").lower()) for word in words]
    params = {name for name in names if name not in _COLUMNS}
    allowed = tables if {*camels[2:6]}.isdisjoint(words) else tables[1:]  # names with units
    if not (len({*names}) == len(names) == count and params in map(set, allowed)):
        found = f"the names {' '.join(words):.200}" if words else "no names"
        expected = f"{' '.join(six)}, relative to the fiducial model, or all 28 columns of CAMELS"
        raise bad_input(path, f"{found} over {count} columns", expected)
    return names
