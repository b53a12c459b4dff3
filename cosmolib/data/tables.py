"""Tables of simulation parameters: reading them, and the values that suites and sets allow."""

from __future__ import annotations

import dataclasses
import functools
import math
import re
from pathlib import Path

import numpy as np

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
_DECLARED = re.compile(r"\bbox_size\b(.*)")
_ROUNDING = 1e-4  # of a table's parameters, relative to their range
_NUMBER = r"[+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]+)?"
_FORM = "numbers with decimal points, without decimal commas or thousands separators"
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
        raise ValueError(
            f"suite: found {suite!r}, expected one of {', '.join((*RANGES, *SUITES))}, or Nbody_ "
            "before it; register_suite gives the ranges of another"
        )
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
    if not (shaped and (found[:, 0] < found[:, 1]).all()):
        raise ValueError(
            f"suite {name!r}: found the ranges {found.tolist()}, expected {len(PARAMETERS)} pairs, "
            f"low < high, of {', '.join(PARAMETERS)}"
        )
    register("suite", name, (found, checked_box(f"suite {name!r}", box_size)), own=RANGES)


def checked_box(where, box_size) -> float:
    """Return a box size as a float; ValueError unless it is positive and finite."""
    try:
        box = float(box_size)
    except (TypeError, ValueError):
        box = math.nan
    if not 0 < box < math.inf:
        raise ValueError(f"{where}: found the box size {box_size!r}, expected one in Mpc/h above 0")
    return box


def box_of(name, sim_set, maps_path, params_path, comments):
    """Side of the boxes of a suite and set [Mpc/h]: declared in its table, registered or known."""
    declared = {text.strip() for text in _DECLARED.findall(comments)}
    own = name.removeprefix("Nbody_")
    if declared:
        match = re.fullmatch(r"[=:]\s*([0-9.]+)(?:\s*Mpc/h)?", declared.pop())
        if declared or not match:
            raise ValueError(
                f"{params_path}: found no single box size in its comments, expected one line "
                "'# box_size = 50 Mpc/h'"
            )
        box = checked_box(params_path, match[1])
    elif own in SUITES:
        box = SUITES[own][1]
    else:
        box = BOX_SIZE if own in RANGES and sim_set in _SETS_OF_25 else None
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


def check_set(path, table: Table, name: str, sim_set: str) -> None:
    """Refuse the first value that a set cannot have, as far as suite and set are documented."""
    own = name.removeprefix("Nbody_")
    if own not in RANGES and own not in SUITES:
        return
    low, high = parameter_ranges(name).T
    slack = _ROUNDING * (high - low)
    off = off_fiducial(table.params, table.others)
    values = table.params if table.others is None else np.hstack([table.params, table.others])
    outside = np.zeros_like(off)
    outside[:, :6] = (table.params < low - slack) | (table.params > high + slack)
    column, fiducial = np.arange(off.shape[1]), "the fiducial value"
    two = off & (off.sum(1, keepdims=True) > 1)
    rules = {
        "LH": [(outside, None), (off & (column >= 6), fiducial)],
        "CV": [(off, fiducial)],
        "BE": [(off, fiducial)],
        "1P": [(outside, None), (two, "no more than one parameter off its fiducial value")],
        "EX": [
            (off & (column < 2), fiducial),
            (~np.isin(values, (0, 1, 100)) & (column >= 2), "0, 1 or 100"),
        ],
    }.get(sim_set, [(outside, None)] if sim_set.startswith("SB") else [])
    if own not in RANGES:  # only the ranges are known of a user's own suite
        rules = rules[:1] if sim_set == "LH" else []
    for bad, allowed in rules:
        for row, i in np.argwhere(bad)[:1]:
            allowed = allowed or f"{low[i]:g} to {high[i]:g}"
            raise ValueError(
                f"{path}: line {table.lines[row]}: found {[*PARAMETERS, *other_parameters()][i]} = "
                f"{values[row, i]:g} (simulation {row}), expected {allowed} in set {sim_set} of "
                f"{name}"
            )


# --------------------------------------------------------------------------------------------------
# Reading
# --------------------------------------------------------------------------------------------------
@dataclasses.dataclass(frozen=True, eq=False)
class Table:
    """Parameters of the simulations of one set, and the rest of their file."""

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
    import pandas as pd  # slow to import, and not needed to start a program

    return pd.read_csv(Path(__file__).with_name("Info_IllustrisTNG_L25n256_28params.txt"))


def other_parameters() -> list[str]:
    """Names of the parameters that CAMELS' tables of 28 columns have after the six."""
    return camels_columns()["ParamName"].tolist()[len(PARAMETERS) :]


def layout_of(others: np.ndarray | None) -> str:
    """Describe columns and units of a table's file, given the ``others`` read from it."""
    if others is None:
        return "6 columns, amplitudes relative to the fiducial model"
    units = camels_columns()["FiducialVal"][2 : len(PARAMETERS)]
    ratios = ", ".join(f"{n} / {u:g}" for n, u in zip(PARAMETERS[2:], units, strict=True))
    return f"{len(camels_columns())} columns in CAMELS' physical units, converted: {ratios}"


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
        The file is not such a table: names file and line, what was found and what is allowed.
    """
    columns, lines, comments = _read_columns(path)
    seeds = np.array(columns["seed"]) if "seed" in columns else None
    params, others = np.transpose([columns[name] for name in PARAMETERS]).copy(), None
    if other_parameters()[0] in columns:
        camels = camels_columns()
        if suite.removeprefix("Nbody_") != "IllustrisTNG":
            raise ValueError(
                f"{path}: found {len(camels)} columns of parameters, expected the "
                f"{len(PARAMETERS)} {', '.join(PARAMETERS)}: CAMELS' units of more parameters are "
                f"known for IllustrisTNG only, not for {suite}"
            )
        others = np.transpose([columns[name] for name in other_parameters()]).copy()
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
    return Table(params, others, np.array(lines), seeds, comments)


def _read_columns(path):
    """Return the columns of a text table by name, the line of each row, and all comments."""
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
            rows[line] = _cells(row)
        if comment.strip():
            comments[line] = comment.strip()
    first = next(iter(rows), 0)
    if first and not any(re.fullmatch(_NUMBER, cell) for cell in rows[first]):
        header = first, rows.pop(first)
    else:
        header = _header(comments, first, len(rows.get(first, [])))
    if not rows:
        raise ValueError(
            f"{path}: found no rows of numbers (it begins with {text[:40]!r}), expected a row of "
            f"{len(PARAMETERS)} per simulation"
        )
    names = _named_columns(path, *header, rows) if header else _unnamed_columns(path, rows)
    patterns = {"Name": ".*", "index": "[0-9]{1,9}", "seed": "[0-9]{1,18}"}
    for line, row in rows.items():
        if len(row) != len(names):
            raise ValueError(
                f"{path}: line {line}: found {len(row)} columns, expected {len(names)} as above, "
                f"separated by commas or by spaces, and {_FORM}"
            )
        for name, cell in zip(names, row, strict=True):
            pattern = patterns.get(name, _NUMBER)
            if not re.fullmatch(pattern, cell) or (pattern is _NUMBER and math.isinf(float(cell))):
                raise ValueError(
                    f"{path}: line {line}: found {cell!r} for {name}, expected finite {_FORM}"
                )
    columns = dict(zip(names, zip(*rows.values(), strict=True), strict=True))
    for name in {"Name", "index"} & {*names}:
        numbers = [re.fullmatch(r"(?:[A-Z]+[0-9]*_)?([0-9]{1,9})", cell) for cell in columns[name]]
        if all(numbers) and np.any(np.diff([int(number[1]) for number in numbers]) <= 0):
            raise ValueError(
                f"{path}: found simulations {', '.join(columns[name][:3])}, ... out of order, "
                "expected rows in the order of the maps"
            )
    kinds = {"Name": str, "index": int, "seed": int}
    columns = {name: [kinds.get(name, float)(c) for c in cells] for name, cells in columns.items()}
    return columns, list(rows), "\n".join(comments.values())


def _cells(text):
    cells = text.split(",") if "," in text else text.split()
    return [cell.strip().strip('"') for cell in cells]


def _header(comments, first, count):
    """Return the last comment above the first row that names the columns: line and words, or None.

    It has three of our names, or as many words as the table has columns, and no numbers.
    """
    named, fitting = [], []
    for line, comment in comments.items():
        words = _cells(comment)
        if line < first and not any(re.fullmatch(_NUMBER, word) for word in words):
            named += [(line, words)] * (len({*map(_known_name, words)} & {*PARAMETERS}) > 2)
            fitting += [(line, words)] * (len(words) == count)
    return next(reversed(named or fitting), None)


@functools.lru_cache(1000)
def _known_name(word):
    """Our name of a column; None if it has none. Case and underscores do not count."""
    names = [*PARAMETERS, *other_parameters()]
    known = dict(zip(camels_columns()["ParamName"], names, strict=True))
    known |= {name: name for name in (*PARAMETERS, "Name", "seed", "index")}
    known = {name.replace("_", "").lower(): own for name, own in known.items()}
    return known.get(word.replace("_", "").lower(), "index" if word in ("", "Unnamed: 0") else None)


def _named_columns(path, line, words, rows):
    """Our names of the columns below a header, which must be those of a table that we know."""
    names = [_known_name(word) for word in words]
    params = {*names} - {"Name", "seed", "index"}
    physical = {*words} & {*camels_columns()["ParamName"][2 : len(PARAMETERS)]}
    six = params == {*PARAMETERS} and not physical
    count = len(next(iter(rows.values())))
    if (
        not (six or params == {*PARAMETERS, *other_parameters()})
        or len({*names}) < len(names)
        or len(names) != count
    ):
        raise ValueError(
            f"{path}: line {line}: found the names {' '.join(words):.200} over {count} columns, "
            f"expected {' '.join(PARAMETERS)}, relative to the fiducial model, or all "
            f"{len(camels_columns())} columns of CAMELS"
        )
    return names


def _unnamed_columns(path, rows):
    """Names of the columns of a table without a header, by CAMELS' own order."""
    known = [*PARAMETERS], [*PARAMETERS, *other_parameters()]
    if all(re.fullmatch(_SIMULATION, row[0]) for row in rows.values()):
        known = [["Name", *names, *last] for names in known for last in ([], ["seed"])]
    line, row = next(iter(rows.items()))
    for names in known:
        if len(names) == len(row):
            return names
    raise ValueError(
        f"{path}: line {line}: found {len(row)} columns without names, expected {len(PARAMETERS)}: "
        f"{', '.join(PARAMETERS)}; or CAMELS' {len(camels_columns())}; and {_FORM}"
    )
