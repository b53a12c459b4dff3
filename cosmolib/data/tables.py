"""Tables of simulation parameters: reading them, and the values that suites and sets allow."""

import dataclasses
import functools
import itertools
import math
import re
from pathlib import Path

import numpy as np

from cosmolib.data.arrays import bad_input
from cosmolib.data.cmd_format import BOX_SIZE, PARAMETERS
from cosmolib.study.registry import SUITES, register

FIDUCIAL = dict(zip(PARAMETERS, (0.3, 0.8, 1.0, 1.0, 1.0, 1.0), strict=True))  # arXiv:2010.00619

# Latin-hypercube ranges, (low, high) in the order of PARAMETERS; arXiv:2010.00619 table 2
_TNG_RANGES = ((0.1, 0.5), (0.6, 1.0), (0.25, 4.0), (0.25, 4.0), (0.5, 2.0), (0.5, 2.0))
RANGES = {
    "IllustrisTNG": _TNG_RANGES,
    "SIMBA": _TNG_RANGES,
    "Astrid": (*_TNG_RANGES[:5], (0.25, 4.0)),
    "Lite": _TNG_RANGES,  # runs on IllustrisTNG's own table
}
# Sets whose boxes CMD documents (arXiv:2109.10915); SB35 and others of the second generation of
# CAMELS have boxes of 50 Mpc/h (arXiv:2606.10038).
_SETS_OF_25 = ("LH", "CV", "1P", "EX", "BE", "SB", "SB28")
_BOX_LABEL = re.compile(r"L([0-9]+)n[0-9]+")  # CAMELS' label: box [Mpc/h], particles per side
_DECLARED = re.compile(r"\s*[=:]\s*([0-9]+\.?[0-9]*)\s*(?:Mpc/h)?\s*")
_ROUNDING = 1e-4  # of a table's parameters, relative to their range
_NUMBER = r"[+-]?(?:[0-9]{1,99}\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]{1,2})?"  # finite
_FORM = "numbers with decimal points, no decimal commas"
_COLUMNS = {"Name": (".*", str), "index": ("[0-9]{1,9}", int), "seed": ("[0-9]{1,18}", int)}
_SIMULATION = r"(?:LH|CV|1P|EX|BE|SB[0-9]*)_\w+"  # CAMELS' names of simulations


# --------------------------------------------------------------------------------------------------
# Suites and sets
# --------------------------------------------------------------------------------------------------
def parameter_ranges(suite: str) -> np.ndarray:
    """Return the latin-hypercube range of each parameter of a suite or its N-body twin, (6, 2).

    Raises
    ------
    ValueError
        The ranges of this suite are not known.
    """
    name = suite.removeprefix("Nbody_")
    if name in SUITES:
        return SUITES[name][0].copy()
    if name not in RANGES:
        known = f"one of {', '.join((*RANGES, *SUITES))}, or Nbody_ before it; see register_suite"
        raise bad_input("suite", repr(suite), known)
    return np.array(RANGES[name])


def register_suite(name: str, ranges, box_size: float = BOX_SIZE) -> None:
    """Give the parameter ranges and the box size of a suite of your own and its N-body twin.

    Networks predict parameters in units of these ranges. Opening and cutting maps works without.

    Parameters
    ----------
    name : str
        Letters and digits, as in the names of its files.
    ranges : (6, 2)
        Lower and upper edge of each parameter, in the order of PARAMETERS.
    box_size : float
        Side of its boxes [Mpc/h], unless the table of a set declares another, as that of
        `cosmolib.data.suites.write_suite` does.

    Raises
    ------
    ValueError
        The name is not allowed or taken (see `cosmolib.study.registry`), or ranges or box are bad.
    """
    found = np.array(ranges, dtype=np.float64)
    shaped = found.shape == (len(PARAMETERS), 2) and np.isfinite(found).all()
    if not (shaped and (found[:, 0] < found[:, 1]).all() and 0 < box_size < math.inf):
        given = f"the ranges {found.tolist()} and the box size {box_size} Mpc/h"
        expected = f"6 pairs, low < high, of {', '.join(PARAMETERS)}, and a box above 0"
        raise bad_input(f"suite {name!r}", given, expected)
    register("suite", name, (found, float(box_size)), own=RANGES)


def box_of(name, sim_set, maps_path, params_path, comments):
    """Side of the boxes of a suite and set [Mpc/h]: declared in its table, registered or known."""
    own = name.removeprefix("Nbody_")
    if declared := re.findall(r"\bbox_size\b(.*)", comments):
        matches = [_DECLARED.fullmatch(text) for text in declared]
        boxes = {float(match[1]) if match else math.nan for match in matches}
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
    """Whether each parameter of each simulation differs from the fiducial model.

    Parameters
    ----------
    params : (n, 6)
    others : (n, 22), optional
        As `Table.others`.

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
    """Refuse the first value that a set cannot have, as far as suite and set are documented."""
    own = name.removeprefix("Nbody_")
    if own not in RANGES and own not in SUITES:
        return
    low, high = parameter_ranges(name).T
    slack = _ROUNDING * (high - low)
    off = off_fiducial(table.params, table.others)
    values = np.hstack([part for part in (table.params, table.others) if part is not None])
    outside = np.zeros_like(off)
    outside[:, :6] = (table.params < low - slack) | (table.params > high + slack)
    column, fiducial = np.arange(off.shape[1]), "the fiducial value"
    extreme = ~np.isin(values, (0, 1, 100))
    two = off & (off.sum(1, keepdims=True) > 1)
    rules = {
        "LH": [(outside, None), (off & (column >= 6), fiducial)],
        "CV": [(off, fiducial)],
        "BE": [(off, fiducial)],
        "1P": [(outside, None), (two, "no more than one parameter off its fiducial value")],
        "EX": [(off & (column < 2), fiducial), (extreme & (column >= 2), "0, 1 or 100")],
    }.get(sim_set, [(outside, None)] if sim_set.startswith("SB") else [])
    if own not in RANGES:  # only the ranges are known of a user's own suite
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
@dataclasses.dataclass(frozen=True, eq=False)
class Table:
    """Parameters of the simulations of one set, and the rest of their file."""

    params: np.ndarray  # (n, 6) float64, columns PARAMETERS; amplitudes relative to the fiducial
    others: np.ndarray | None = None  # (n, 22) float64, columns `other_parameters()`
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
    import pandas as pd  # slow to import, and not needed to start a program

    return pd.read_csv(Path(__file__).with_name("Info_IllustrisTNG_L25n256_28params.txt"))


def other_parameters() -> list[str]:
    """Names of the parameters that CAMELS' tables of 28 columns have after the six."""
    return camels_columns()["ParamName"].tolist()[len(PARAMETERS) :]


def read_table(path: Path, name: str, sim_set: str) -> Table:
    """Read the parameters of a suite's set and check that the set allows them.

    Raises
    ------
    ValueError
        As `read_params`, or values that the set does not have: the table of another set or suite,
        or other units.
    """
    table = read_params(path, name)
    check_set(path, table, name, sim_set)
    return table


def read_params(path: Path, suite: str) -> Table:
    """Read a table of parameters: the six, or CAMELS' 28 in physical units, which are converted.

    One row per simulation, columns separated by spaces or by commas, comments after ``#``. A line
    of names may come first, with or without ``#``; the columns are then taken by name. CAMELS' own
    columns of names and seeds (its ``CosmoAstroSeed`` tables) are allowed.

    Raises
    ------
    ValueError
        The file is not such a table: names file, found and allowed, and the line of a bad cell.
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
    return Table(params, others, seeds, comments)


def _read_columns(path):
    """Return a text table, one row per simulation, and its comments in one text."""
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
    for words in map(_cells, comments[: first - 1] if header is None else ()):
        if len(words) == frame.shape[1] and not _has_number(words):
            header = words  # the last comment above the rows with a word per column
    frame.columns = _column_names(path, header, frame)
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


@functools.lru_cache(1000)
def _own_name(word):
    """Our name of a column; None if it has none. Case and underscores do not count."""
    names = [*PARAMETERS, *other_parameters()]
    known = dict(zip(camels_columns()["ParamName"], names, strict=True))
    known |= {name: name for name in (*PARAMETERS, *_COLUMNS)} | {"": "index"}
    known = {name.replace("_", "").lower(): own for name, own in known.items()}
    return known.get(word.replace("_", "").lower())


def _column_names(path, words, frame):
    """Our names of the columns, from a header or by CAMELS' order: of a table that we know."""
    count, six, units = frame.shape[1], [*PARAMETERS], camels_columns()["ParamName"][2:6]
    tables = [six, six + other_parameters()]
    if words is not None:
        names = [*map(_own_name, words)]
        params = {name for name in names if name not in _COLUMNS}
        allowed = tables if {*units}.isdisjoint(words) else tables[1:]
        known = len({*names}) == len(names) == count and params in map(set, allowed)
    else:
        if frame[0].str.fullmatch(_SIMULATION).all():
            tables = [["Name", *names, *last] for names in tables for last in ([], ["seed"])]
        names = next((names for names in tables if len(names) == count), None)
        known = names is not None
    if not known:
        found = f"the names {' '.join(words):.200}" if words else "no names"
        expected = f"{' '.join(six)}, relative to the fiducial model, or all 28 columns of CAMELS"
        raise bad_input(path, f"{found} over {count} columns", expected)
    return names
