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

_PART = ("mean", "std", "truth", "simulation")  # of the test maps, and of the validation maps
_ARRAYS = (*_PART, *(f"valid_{key}" for key in _PART), "parameters")  # of a predictions.npz


def predict(network, data: Data, device: str = "cpu", symmetries: bool = False) -> dict:
    """Predict the test maps of `data`, in physical units; see `run_network` for ``symmetries``.

    Returns
    -------
    dict
        mean, std, truth (n, P), simulation (n,), map (n,), parameters (P,) names; the first four
        also of the validation maps, as valid_mean and so on, see `validation_part`.
    """

    def outputs(x):
        found = run_network(network, x, device=device, symmetries=symmetries)
        return denormalise(*found, data.suite, data.targets)

    truth, _ = denormalise(data.valid_theta, 0.0, data.suite, data.targets)
    valid = dict(zip(("mean", "std"), outputs(data.valid_x), strict=True))
    valid |= {"truth": truth, "simulation": data.valid_simulation}  # `_PART`
    test = as_predictions(*outputs(data.test_x), data.test_truth, data.test_map, data.targets)
    return test | {f"valid_{key}": value for key, value in valid.items()}


def validation_part(predictions: dict) -> dict:
    """Return the predictions of the validation maps, in the form of those of the test maps."""
    part = {key: predictions[f"valid_{key}"] for key in _PART}
    return part | {"parameters": predictions["parameters"]}


def as_predictions(mean, std, truth, maps, targets) -> dict:
    """Return predictions of test maps in the form of ``predictions.npz``, see `predict`."""
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
    parameters = arrays["parameters"].shape
    for part in ("", "valid_"):
        n = arrays[f"{part}simulation"].shape
        found = [arrays[f"{part}{key}"] for key in ("mean", "std", "truth")]
        good = len(n) == len(parameters) == 1 and all(x.dtype.kind == "f" for x in found)
        if not good or any(x.shape != n + parameters for x in found):
            raise ValueError(
                f"{path}: found shapes {shapes}, expected (n, P) three times and (n,), of test "
                "and of validation maps, and (P,)"
            )
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
