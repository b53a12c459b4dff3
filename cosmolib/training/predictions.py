"""Compute, store and read predictions for the maps of a suite (``predictions.npz``)."""

from pathlib import Path

import numpy as np

from cosmolib.data.suites import simulation_of
from cosmolib.study.identity import digest
from cosmolib.study.io import atomic_path, reason_of
from cosmolib.training.dataset import Data, denormalise
from cosmolib.training.fit import run_network

_PART = ("mean", "std", "truth", "simulation")  # arrays for the test and for the validation maps
_ARRAYS = (*_PART, *(f"valid_{key}" for key in _PART), "parameters")


def predict(network, data: Data, device: str = "cpu", symmetries: bool = False) -> dict:
    """Predict the test and validation maps of `data` in physical units.

    For ``symmetries`` see `cosmolib.training.fit.run_network`.

    Returns
    -------
    dict
        mean, std, truth (n, P), simulation (n,), map (n,), parameters (P,) names; the first four
        also for the validation maps, as valid_mean and so on, see `validation_part`.
    """

    def outputs(x):
        found = run_network(network, x, device=device, symmetries=symmetries)
        return denormalise(*found, data.suite, data.targets)

    truth, _ = denormalise(data.valid_theta, 0.0, data.suite, data.targets)
    valid = zip(_PART, (*outputs(data.valid_x), truth, data.valid_simulation), strict=True)
    test = as_predictions(*outputs(data.test_x), data.test_truth, data.test_map, data.targets)
    return test | {f"valid_{key}": value for key, value in valid}


def validation_part(predictions: dict) -> dict:
    """Return the predictions for the validation maps in the form of those for the test maps."""
    part = {key: predictions[f"valid_{key}"] for key in _PART}
    return part | {"parameters": predictions["parameters"]}


def as_predictions(mean, std, truth, maps, targets) -> dict:
    """Return predictions for test maps in the form of ``predictions.npz``, see `predict`."""
    found = {"mean": mean, "std": std, "truth": truth, "simulation": simulation_of(maps)}
    return found | {"map": maps, "parameters": np.array(targets)}


def write_predictions(path: str | Path, predictions: dict) -> None:
    """Write a ``predictions.npz`` atomically."""
    with atomic_path(path) as temporary:
        np.savez(temporary, **predictions)


def read_predictions(path: str | Path) -> dict:
    """Read a ``predictions.npz``; ``ValueError`` names the file if its contents are invalid."""
    with open(path, "rb") as file:
        try:
            arrays = dict(np.load(file, allow_pickle=False))
            shapes = {name: arrays[name].shape for name in _ARRAYS}
        except Exception as error:  # of the archive, of an array, or of a pickled object
            found = f"no arrays ({reason_of(error)})"
            expected = f"the arrays {', '.join(_ARRAYS)} of a predictions.npz"
            raise ValueError(f"{path}: found {found}, expected {expected}") from None
    expected = "mean, std and truth (n, P), simulation (n,), for test and validation maps, and"
    for part in ("", "valid_"):
        *values, simulation = (arrays[f"{part}{key}"] for key in _PART)
        shape = simulation.shape + shapes["parameters"]
        good = len(shape) == 2 and simulation.ndim == 1
        if not (good and all(x.dtype.kind == "f" and x.shape == shape for x in values)):
            raise ValueError(f"{path}: found shapes {shapes}, expected {expected} parameters (P,)")
    return arrays


def stored_predictions(folder: str | Path, now: dict, make) -> dict:
    """Read ``folder/predictions.npz``, or compute it if it is missing or of another identity.

    It is for predictions that do not belong to a run: those of summary statistics and of mocks.

    Parameters
    ----------
    folder : path
    now : dict
        What the predictions depend on, from `cosmolib.study.identity.identity`.
    make : callable
        Computes the predictions.
    """
    path = Path(folder) / "predictions.npz"
    if path.is_file():
        stored = read_predictions(path)
        if str(stored.pop("identity", "")) == digest(now):
            return stored
    predictions = make()
    write_predictions(path, {**predictions, "identity": np.array(digest(now))})
    return predictions
