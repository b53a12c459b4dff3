"""Check files of CMD: what they are, whether they are complete, and the first fault."""

import dataclasses
from pathlib import Path

import numpy as np

from cosmolib.data import checksums, cmd_format, tables
from cosmolib.data.arrays import bad_input
from cosmolib.data.cmd_format import MAPS_PER_SIMULATION, PARAMETERS, mean_surface_density
from cosmolib.data.suites import Suite, blocks_of_maps, open_files

_MASS_TOLERANCE = 0.05  # a box keeps its mass; table and maps that do not match differ far more


@dataclasses.dataclass(frozen=True)
class Report:
    """The result of checking one file."""

    path: Path
    what: str  # kind of file, by its name
    found: str  # its contents; empty where it could not be read
    problem: str | None  # the first fault, None without one

    def __str__(self):
        whole = "whole, nothing wrong found" if self.problem is None else "NOT usable"
        return "\n".join(filter(None, (f"{self.path}", f"  {self.what}", self.found, f"  {whole}")))


def check_suite(suite: Suite) -> str:
    """Read every pixel of a suite and describe its contents.

    The mass is checked as well: a simulation's mean map of total matter must be
    `mean_surface_density` of its row, within 5 % in the median. This refuses rows in another order,
    and maps in other units.

    Raises
    ------
    ValueError
        Non-finite pixels, zero or negative ones in matter, or maps that do not fit the parameters.
    """
    found = [
        (block.min(), block.max(), block.mean(axis=(1, 2), dtype=np.float64))
        for block in blocks_of_maps(suite)
    ]
    low, high, means = zip(*found, strict=True)
    n, grid = len(suite.maps), suite.grid
    lines = [
        f"  {n} maps of {grid} x {grid} pixels, float32: {_simulations(suite)}",
        f"  box {suite.box_size:g} Mpc/h, pixel {suite.box_size / grid:.4g} Mpc/h",
        f"  pixels from {min(low):.4g} to {max(high):.4g}",
        *([f"  cut from the raw maps: {suite.cut}"] if suite.cut != "none" else []),
        *_parameter_lines(suite),
    ]
    if suite.field == "Mtot" and suite.cut == "none":
        expected = mean_surface_density(suite.params[:, 0], suite.box_size)
        means = np.concatenate(means).reshape(-1, MAPS_PER_SIMULATION).mean(axis=1)  # (n,)
        deviation = np.abs(means / expected - 1)
        if not np.median(deviation) <= _MASS_TOLERANCE:
            found = f"a mean density that is off by {np.median(deviation):.0%} (median)"
            expected = f"that of Omega_m within {_MASS_TOLERANCE:.0%}, in (Msun/h)/(Mpc/h)^2"
            other = f"other units, or not the rows of {suite.params_path.name}"
            raise bad_input(suite.maps_path, found, f"{expected}: {other}")
        lines.append(f"  mean density against Omega_m: within {deviation.max():.2g} of it")
    lines += [f"  parameters {suite.params_path}", f"  fingerprint {suite.fingerprint}"]
    return "\n".join(lines)


def _simulations(suite, sim_set=None):
    """Number of simulations of a suite or table, next to that of CMD's own set."""
    n, whole = len(suite.params), cmd_format.SIMULATIONS.get(sim_set or suite.sim_set)
    cmd = "" if whole in (None, n) else f" (CMD's own {sim_set or suite.sim_set} has {whole})"
    return f"{n} simulations{cmd}"


def _parameter_lines(table: Suite | tables.Table) -> list[str]:
    lines = ["  table of 6 columns, amplitudes relative to the fiducial model"]
    if table.others is not None:
        varied = tables.off_fiducial(table.params, table.others)[:, len(PARAMETERS) :]  # (n, 22)
        names = np.array(tables.other_parameters())[varied.any(0)]
        lines = [
            "  table of 28 columns in CAMELS' physical units, converted",
            f"  {varied.any(1).sum()} simulations vary others than the six: {', '.join(names)}",
        ]
    return lines + [
        f"  {name:8s} {column.min():.4g} to {column.max():.4g}"
        for name, column in zip(PARAMETERS, table.params.T, strict=True)
    ]


def check_path(
    path: str | Path, suite: str | None = None, sim_set: str | None = None
) -> list[Report]:
    """Check a file of CMD, or all those in a folder.

    Parameters
    ----------
    path
        A file of maps, with its table next to it or one folder up; a table; or a folder in one of
        CMD's layouts. A downloaded file must still have its SHA-256.
    suite, sim_set
        Restrict a folder to the files of this suite and set.

    Returns
    -------
    list of Report
        One per file, including those with faults.

    Raises
    ------
    FileNotFoundError
        There is nothing to check.
    """
    path = Path(path)
    if path.is_file():
        return [_check_file(path)]
    if not path.exists():
        raise FileNotFoundError(f"{path}: found no such file, expected CMD maps or a folder")
    files, wanted = sorted(path.rglob("Maps_*.npy")), []
    for file in files:
        match = cmd_format.FILE_NAME.fullmatch(file.name)
        if match and suite in (None, match["name"]) and sim_set in (None, match["sim_set"]):
            wanted.append(file)
    if not wanted:
        form = f"Maps_<field>_{suite or '<suite>'}_{sim_set or '<set>'}_z=0.00.npy"
        raise FileNotFoundError(f"{path}: found {len(files)} other files of maps, expected {form}")
    return [_check_file(file) for file in wanted]


def _check_file(path: Path) -> Report:
    """Check one file as what its name says."""
    what, problem, paths = "unknown", None, [path]
    try:
        if maps := cmd_format.FILE_NAME.fullmatch(path.name):
            field, name, sim_set = maps["field"], maps["name"], maps["sim_set"]
            what = f"maps of field {field}, suite {name}, set {sim_set}, z = 0"
            above = path.parent.parent
            folders = [path.parent, above, above / name.removeprefix("Nbody_")]  # of the twin
            names = cmd_format.table_names(name, sim_set)
            paths.append(cmd_format.find(folders, names, f"{name} parameters"))
            found = [check_suite(open_files(*paths, name, field, sim_set))]
        elif table := cmd_format.TABLE_NAME.fullmatch(path.name):
            name, sim_set = table["name"], table["sim_set"] or "LH"
            what = f"parameters of suite {name}, set {sim_set}"
            table = tables.read_table(path, name, sim_set)
            found = [f"  {_simulations(table, sim_set)}", *_parameter_lines(table)]
        else:
            state = "an unfinished download" if path.suffix == ".part" else "another name"
            expected = "Maps_<field>_<suite>_<set>_z=0.00.npy or params_<set>_<suite>.txt"
            raise bad_input(path, state, expected)
        downloaded = [file.name for file in paths if checksums.verify(file, full=True)]
        found += [f"  SHA-256 as downloaded: {name}" for name in downloaded]
    except (ValueError, OSError) as error:
        found, problem = [], " ".join(str(error).split())
    return Report(path, what, "\n".join(found), problem)
