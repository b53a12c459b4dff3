"""Predictions on the maps of a suite: computed, stored as ``predictions.npz``, and read again."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np

from cosmolib.data.suites import simulation_of
from cosmolib.study.identity import digest
from cosmolib.study.io import atomic_path, reason_of
from cosmolib.training.dataset import Data, denormalise
from cosmolib.training.fit import run_network

_ARRAYS = ("mean", "std", "truth", "simulation", "parameters")  # of a predictions.npz


def predict_test(network, data: Data, device: str = "cpu", symmetries: bool = False) -> dict:
    """Predict the test maps of `data`, in physical units; see `run_network` for ``symmetries``.

    Returns
    -------
    dict
        mean, std, truth (n, P), simulation (n,), map (n,), parameters (P,) names.
    """
    outputs = run_network(network, data.test_x, device=device, symmetries=symmetries)
    mean, std = denormalise(*outputs, data.suite, data.targets)
    return as_predictions(mean, std, data.test_truth, data.test_map, data.targets)


def predict_valid(network, data: Data, device: str = "cpu", symmetries: bool = False) -> dict:
    """Predict the validation maps of `data`, in the form of `predict_test` without ``map``."""
    outputs = run_network(network, data.valid_x, device=device, symmetries=symmetries)
    mean, std = denormalise(*outputs, data.suite, data.targets)
    truth, _ = denormalise(data.valid_theta, 0.0, data.suite, data.targets)
    return {
        "mean": mean,
        "std": std,
        "truth": truth,
        "simulation": data.valid_simulation,
        "parameters": np.array(data.targets),
    }


def as_predictions(mean, std, truth, maps, targets) -> dict:
    """Return predictions in the form of ``predictions.npz``, see `predict_test`."""
    return {
        "mean": mean,
        "std": std,
        "truth": truth,
        "simulation": simulation_of(maps),
        "map": maps,
        "parameters": np.array(targets),
    }


def write_predictions(path: str | Path, predictions: dict) -> None:
    """Write a ``predictions.npz``."""
    with atomic_path(path) as temporary:
        np.savez(temporary, **predictions)


def read_predictions(path: str | Path) -> dict:
    """Read a ``predictions.npz``; ``ValueError`` names the file if it is not one."""
    expected = f"the arrays {', '.join(_ARRAYS)} of a predictions.npz"
    try:
        with open(path, "rb") as file, np.load(file, allow_pickle=False) as archive:
            arrays = dict(archive)
        shapes = [arrays[name].shape for name in _ARRAYS]
    except FileNotFoundError:
        raise
    except Exception as error:  # of the archive, of a member, or of an object that was pickled
        raise ValueError(
            f"{path}: found no arrays ({reason_of(error)}), expected {expected}"
        ) from None
    n, p = shapes[0] if len(shapes[0]) == 2 else (0, 0)
    if shapes != [(n, p)] * 3 + [(n,), (p,)] or arrays["mean"].dtype.kind != "f":
        raise ValueError(f"{path}: found shapes {shapes}, expected (n, P) three times, (n,), (P,)")
    return arrays


def stored_predictions(folder: str | Path, now: dict, make: Callable[[], dict]) -> dict:
    """Read ``folder/predictions.npz``; compute it where it is missing or of another identity.

    For predictions that belong to no run: summary statistics, and mocks.

    Parameters
    ----------
    folder : path
    now : dict
        What the predictions depend on, from `cosmolib.study.identity.identity`.
    make : callable
        Returns the predictions.
    """
    path = Path(folder) / "predictions.npz"
    if path.is_file():
        stored = read_predictions(path)
        if str(stored.pop("identity", "")) == digest(now):
            return stored
    predictions = make()
    write_predictions(path, {**predictions, "identity": np.array(digest(now))})
    return predictions
