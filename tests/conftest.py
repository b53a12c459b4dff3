"""Fixtures for all tests, such as a tiny synthetic suite in CMD's format."""

import os
import shutil
import sys
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from unittest import mock

# pytest-xdist runs one process per core, so that more threads would only compete.
for _name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS"):
    os.environ.setdefault(_name, "1")

import numpy as np  # noqa: E402
import pytest  # noqa: E402

from cosmolib.data.cmd_format import MAPS_PER_SIMULATION, mean_surface_density  # noqa: E402
from cosmolib.data.suites import open_suite  # noqa: E402
from cosmolib.data.tables import parameter_ranges  # noqa: E402
from cosmolib.study import registry  # noqa: E402
from cosmolib.study.profile import load_profile  # noqa: E402
from cosmolib.study.run import Run  # noqa: E402
from cosmolib.training.dataset import prepare_data  # noqa: E402
from cosmolib.training.run import train_run  # noqa: E402

ROOT = Path(__file__).resolve().parent.parent
PAGES = sorted((ROOT / "book").glob("*.md"))
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))
sys.path[:0] = [str(ROOT / "workflow"), str(ROOT / "benchmarks")]  # their scripts are imported

TINY_GRID = 32
TINY_SIMULATIONS = 24
# Slowest files, in descending order (PySCo compiles for a minute on its first run).
SLOW = ["simulate", "devices", "fuzz", "survival", "validation", "published", "benchmarks"]


def pytest_collection_modifyitems(items):
    """Run slow files first, so that the processes finish at about the same time."""
    rank = {f"test_{name}.py": place for place, name in enumerate(SLOW)}
    items.sort(key=lambda item: rank.get(item.path.name, len(SLOW)))


def write_suite_files(folder, name, maps, params, sim_set="LH", field="Mtot", header=""):
    """Write maps and parameters under CMD's names; return their two paths."""
    folder.mkdir(parents=True, exist_ok=True)
    maps_path = folder / f"Maps_{field}_{name}_{sim_set}_z=0.00.npy"
    params_path = folder / f"params_{sim_set}_{name}.txt"
    np.save(maps_path, maps)
    np.savetxt(params_path, params, fmt="%.5f", header=header)
    return maps_path, params_path


def lognormal_maps(params, grid=TINY_GRID, seed=0):
    """Return log-normal twins, (15 n, N, N) float32 each: gravity only, and with smoothed peaks.

    As in a simulation, contrast increases with sigma_8, and the five slabs of an axis have the mass
    of the box. The "feedback" smooths up to 15 % of the mass, depending on A_SN1.
    """
    rng = np.random.default_rng(seed)
    params = np.round(params, 5)  # as the table on disk has them
    k = np.hypot(*np.meshgrid(np.fft.fftfreq(grid), np.fft.rfftfreq(grid), indexing="ij"))
    k[0, 0] = np.inf
    white = rng.standard_normal((len(params), MAPS_PER_SIMULATION, grid, grid))
    gauss = np.fft.irfft2(np.fft.rfft2(white) * k**-0.75, s=(grid, grid))
    gauss /= gauss.std(axis=(-1, -2), keepdims=True)
    density = np.exp(params[:, 1, None, None, None] * gauss)  # (n, 15, N, N)
    axes = density.reshape(len(params), 3, 5, grid, grid)
    axes /= axes.mean(axis=(2, 3, 4), keepdims=True)
    axes *= mean_surface_density(params[:, 0])[:, None, None, None, None]
    smooth = sum(np.roll(density, shift, axis) for shift in (-1, 1) for axis in (-1, -2)) / 4
    moved = (0.15 * params[:, 2] / 4.0)[:, None, None, None]
    feedback = (1 - moved) * density + moved * smooth
    return tuple(m.reshape(-1, grid, grid).astype(np.float32) for m in (density, feedback))


def estimate(value, error=0.02):
    return {"value": value, "low": value - error, "high": value + error}


def both(value, error=0.02):
    """Return the same estimate for Omega_m and sigma_8."""
    return {name: estimate(value, error) for name in ("Omega_m", "sigma_8")}


@pytest.fixture(scope="session")
def tiny_params():
    """Return the parameters of the tiny suites, (24, 6), uniform over the LH ranges."""
    low, high = parameter_ranges("Lite").T
    return np.random.default_rng(1).uniform(low, high, size=(TINY_SIMULATIONS, 6))


@pytest.fixture(scope="session")
def tiny_suite_dir(tmp_path_factory, tiny_params):
    """Return a folder with index-matched suites Lite and Nbody_Lite: 24 simulations of 32^2 pixels.

    All tests share it, so copy files before changing them.
    """
    folder = tmp_path_factory.mktemp("cmd")
    gravity, feedback = lognormal_maps(tiny_params)
    write_suite_files(folder, "Nbody_Lite", gravity, tiny_params)
    write_suite_files(folder, "Lite", feedback, tiny_params)
    return folder


@pytest.fixture(scope="session")
def suite(tiny_suite_dir):
    """Return the suite Lite of `tiny_suite_dir`."""
    return open_suite("Lite", tiny_suite_dir)


@pytest.fixture(scope="session")
def profile():
    """Return the profile tiny; some modules replace it by one with other settings."""
    return load_profile("tiny")


@pytest.fixture(scope="module")
def data(suite, profile):
    """Return the inputs of a training on uncut maps."""
    return prepare_data(suite, profile)


@pytest.fixture(scope="module")
def finished(profile, tmp_path_factory):
    """Train an uncut run of the profile; for tests that change it, see `run`."""
    run = Run("tiny", "Lite", "none", "lite", 1, tmp_path_factory.mktemp("runs"))
    train_run(run, profile)
    return run


@pytest.fixture
def run(finished, tmp_path):
    """Return a copy of the finished run."""
    copied = replace(finished, root=tmp_path)
    shutil.copytree(finished.folder, copied.folder)
    return copied


@pytest.fixture
def folder(tiny_suite_dir, tmp_path):
    """Copy the folder of the tiny suites, so that a test may change it."""
    return shutil.copytree(tiny_suite_dir, tmp_path / "cmd")


@pytest.fixture
def no_plugins():
    """Clear all registered names, as in a new process; calling the fixture clears them again."""
    tables = (*registry._TABLES.values(), registry._FILES, registry._TEXTS)
    with ExitStack() as stack:
        for table in tables:
            stack.enter_context(mock.patch.dict(table, clear=True))
        yield lambda: [table.clear() for table in tables]


@pytest.fixture
def canvas():
    """Use the style of the book on small canvases, which are closed after the test."""
    import matplotlib as mpl
    import matplotlib.pyplot as plt

    from cosmolib.plots import style as plots_style

    with mpl.rc_context({"figure.dpi": 50}):
        plots_style.use_style()
        yield
        plt.close("all")
