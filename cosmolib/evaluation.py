"""What a trained network knows: predictions, and the run that holds them with their scores.

A run is trained here (`train_run`) or made of a network that was trained elsewhere (`adopt_run`);
whatever comes after reads both with `load_run`. The scores are those of `cosmolib.scores`, and can
be imported from here too.
"""

from __future__ import annotations

import csv
import hashlib
import json
import time
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

import numpy as np
import torch

from cosmolib.devices import select_device
from cosmolib.files import (
    atomic_path,
    read_json,
    read_yaml,
    reason_of,
    sha256,
    sweep,
    write_json,
    write_yaml,
)
from cosmolib.grammar import Cut
from cosmolib.inputs import Data, denormalise, prepare_data, study_suite
from cosmolib.locks import LOCK, held
from cosmolib.networks import build_network, load_weights, published_network
from cosmolib.plugins import origins
from cosmolib.profile import WIDEST, Profile
from cosmolib.runs import RUN_KEYS, Run, provenance
from cosmolib.scaling import Scaling
from cosmolib.scores import (
    SCORES,
    bias,
    bootstrap,
    chi2,
    mean_sigma,
    metrics,
    paired_difference,
    r2,
    relative_error,
    rmse,
    simulation_average,
)
from cosmolib.states import write_state
from cosmolib.suites import Suite, simulation_of
from cosmolib.training import (
    fit,
    moment_loss,
    run_network,
    seeded,
)

__all__ = (
    "SCORES", "bias", "bootstrap", "chi2", "mean_sigma", "metrics", "paired_difference", "r2",
    "relative_error", "rmse", "simulation_average",
    "adopt_run", "adopted_name", "as_predictions", "load_run", "predict", "predict_test",
    "predict_valid", "read_predictions", "stored_predictions", "train_run",
)  # fmt: skip

_ARRAYS = ("mean", "std", "truth", "simulation", "parameters")  # of a predictions.npz


# --------------------------------------------------------------------------------------------------
# Predictions
# --------------------------------------------------------------------------------------------------
def predict(
    network, x, batch_size: int | None = None, device: str = "cpu"
) -> tuple[np.ndarray, np.ndarray]:
    """Return normalised mean and std, both (n, P), of scaled maps x, in eval mode.

    ``x`` is what `cosmolib.training.run_network` takes: an array or tensor (N, N), (n, N, N) or
    (n, 1, N, N) of any floating type, or `cosmolib.inputs.MapsOnDisk`.
    """
    mean, std = run_network(network, x, batch_size, device)
    return mean.numpy(), std.numpy()


def predict_test(network, data: Data, device: str = "cpu") -> dict:
    """Predict the test maps of `data`, in physical units.

    Returns
    -------
    dict
        mean, std, truth (n, P), simulation (n,), map (n,), parameters (P,) names.
    """
    outputs = predict(network, data.test_x, device=device)
    mean, std = denormalise(*outputs, data.suite, data.targets)
    return as_predictions(mean, std, data.test_truth, data.test_map, data.targets)


def predict_valid(network, data: Data, device: str = "cpu") -> dict:
    """Predict the validation maps of `data`, in the form of `predict_test`; no ``map``."""
    mean, std = denormalise(
        *predict(network, data.valid_x, device=device), data.suite, data.targets
    )
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


def read_predictions(path: str | Path) -> dict:
    """Read a ``predictions.npz``; ``ValueError`` names the file if it is not one."""
    expected = f"the arrays {', '.join(_ARRAYS)} of a predictions.npz"
    try:
        with open(path, "rb") as file, np.load(file, allow_pickle=False) as archive:
            arrays = dict(archive)
    except FileNotFoundError:
        raise FileNotFoundError(f"{path}: found no such file, expected {expected}") from None
    except Exception as error:  # of the archive, of a member, or of an object that was pickled
        raise ValueError(
            f"{path}: found no arrays ({reason_of(error)}), expected {expected}"
        ) from None
    missing = [name for name in _ARRAYS if name not in arrays]
    if missing:
        raise ValueError(f"{path}: found no array {missing[0]!r}, expected {expected}")
    shape = (*arrays["simulation"].shape, *arrays["parameters"].shape)
    wrong = [name for name in ("mean", "std", "truth") if arrays[name].shape != shape]
    if len(shape) != 2 or wrong or arrays["mean"].dtype.kind != "f":
        found = {name: arrays[name].shape for name in _ARRAYS}
        raise ValueError(f"{path}: found shapes {found}, expected (n, P), (n,) and (P,)")
    return arrays


def stored_predictions(folder: str | Path, settings: dict, make: Callable[[], dict]) -> dict:
    """Read ``folder/predictions.npz``, or make it where it is missing or of other settings.

    For predictions that are no run of a study: cheap ones, and those of known-answer maps.

    Parameters
    ----------
    folder : path
    settings : dict
        All that the predictions hang on, as JSON takes it.
    make : callable
        Returns the predictions.
    """
    path = Path(folder) / "predictions.npz"
    identity = hashlib.sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest()
    if path.is_file():
        stored = read_predictions(path)
        if str(stored.pop("identity", "")) == identity:
            return stored
    predictions = make()
    with atomic_path(path) as temporary:
        np.savez(temporary, **predictions, identity=np.array(identity))
    return predictions


# --------------------------------------------------------------------------------------------------
# One run
# --------------------------------------------------------------------------------------------------
def train_run(
    run: Run,
    profile: Profile,
    *,
    device: str | None = None,
    progress: Callable[[str], None] | None = None,
    data: Data | None = None,
) -> dict:
    """Do one run from its maps to its ``metrics.json``, or read that where it is done already.

    The folder fills in the order config.yaml, checkpoint.pt (removed at the end), history.csv,
    weights.pt, predictions.npz, provenance.json, metrics.json. A run that was killed goes on from
    its checkpoint. A run done with other settings or data than now is done anew.

    Parameters
    ----------
    run : Run
    profile : Profile
    device : str, optional
        By default a GPU where there is one.
    progress : callable, optional
        Called with a line of text an epoch.
    data : Data, optional
        What `prepare_data` gives for this run, where several seeds share it.

    Returns
    -------
    dict
        As `metrics`, with ``best_epoch`` and ``valid_loss``.
    """
    suite = study_suite(run.suite, profile)
    config = _config(run, profile, suite)

    def train():
        _train(run, profile, suite, config, device or select_device(), progress, data)

    return _done_once(run, config, train, progress)


def _done_once(run, config, work, progress=None):
    """Do a run in a folder that is this process's own, unless it is done; return its metrics."""
    if not _is_done(run, config):  # what is done needs no lock: its folder may be read-only
        with held(run.path(LOCK), progress=progress):
            if not _is_done(run, config):  # by the process that was waited for
                _clear(run, config)
                work()
    return read_json(run.path("metrics.json"))


def _train(run, profile, suite, config, device, progress, data):
    """Do a run, or what is left of it."""
    started = time.perf_counter()
    if data is None:
        data = prepare_data(suite, profile, run.cut)
    elif (data.suite, data.cut, data.fingerprint) != (run.suite, run.cut, suite.fingerprint):
        raise ValueError(
            f"{run.folder}: found data of {data.suite}, cut {data.cut}, expected {run.suite}, "
            f"cut {run.cut}, of {suite.maps_path}"
        )
    _write_config(run, config, data)
    with seeded(run.seed):
        network = build_network(**config["network"])
    # Trained, and killed before its metrics were written: the weights come after the history.
    if run.path("weights.pt").is_file() and run.path("history.csv").is_file():
        load_weights(network, run.path("weights.pt")).eval()
        history = _read_history(run.path("history.csv"))
    else:
        history = fit(
            network,
            data,
            profile,
            seed=run.seed,
            checkpoint=run.path("checkpoint.pt"),
            device=device,
            progress=progress,
        )
        _write_history(run.path("history.csv"), history)
        write_state(run.path("weights.pt"), {k: v.cpu() for k, v in network.state_dict().items()})
    best = min(history, key=lambda row: row["valid_loss"])
    result = {"best_epoch": best["epoch"], "valid_loss": best["valid_loss"]}
    training_seconds = sum(row["seconds"] for row in history)  # also those before a restart
    _finish(run, profile, network, data, device, started, result, training_seconds=training_seconds)
    run.path("checkpoint.pt").unlink(missing_ok=True)


def _write_history(path, history):
    with (
        atomic_path(path) as temporary,
        open(temporary, "w", newline="", encoding="utf-8") as file,
    ):
        table = csv.DictWriter(file, history[0], lineterminator="\n")
        table.writeheader()
        table.writerows(history)


def _read_history(path):
    """Return the rows of a history.csv with the numbers that `_train` needs."""
    try:
        with open(path, newline="", encoding="utf-8") as file:
            return [
                {
                    "epoch": int(row["epoch"]),
                    "valid_loss": float(row["valid_loss"]),
                    "seconds": float(row["seconds"]),
                }
                for row in csv.DictReader(file)
            ]
    except (ValueError, TypeError, KeyError, csv.Error):
        raise ValueError(
            f"{path}: found no history of a training, expected one; remove the folder to train anew"
        ) from None


def adopted_name(profile: Profile, weights_path: str | Path) -> str:
    """Profile name of a run that `adopt_run` makes: no trained run's folder is ever mixed with."""
    return f"{profile.name}-{Path(weights_path).stem}"


def adopt_run(
    run: Run, profile: Profile, weights_path: str | Path, *, device: str | None = None
) -> dict:
    """Make a run of a network that was trained elsewhere, or read it where it is made already.

    The file is a state dict of the published code. The run is judged on the test maps of its suite,
    scaled as the profile says for this suite; it is complete but for a ``history.csv``. Another
    file, other settings or other data than now make it anew.

    Parameters
    ----------
    run : Run
        Of the profile `adopted_name` and the architecture "o3".
    profile : Profile
        Its data, its scaling, its targets; the network's shapes are those of the file.
    weights_path : path
    device : str, optional
        By default a GPU where there is one.

    Returns
    -------
    dict
        As `train_run`; the best epoch is not known.

    Raises
    ------
    ValueError
        The file is no such network, or run, maps or targets do not fit it.
    """
    network = published_network(weights_path)
    suite = study_suite(run.suite, profile)
    _check_adoption(run, profile, suite, network, Path(weights_path))
    # The shapes are the file's; what else the profile says of training was not what made it.
    profile = profile.replace(architecture="o3", hidden=network.hidden, dropout=0.0)
    file = {"name": Path(weights_path).name, "sha256": sha256(weights_path)}
    config = _config(run, profile, suite) | {"weights": file}

    def adopt():
        _adopt(run, profile, suite, config, device or select_device(), network, file)

    return _done_once(run, config, adopt)


def _adopt(run, profile, suite, config, device, network, file):
    started = time.perf_counter()
    # Few maps are predicted: none of the others is kept, whatever the profile keeps for training.
    data = prepare_data(suite, profile.replace(storage="disk"), run.cut)
    _write_config(run, config, data)
    write_state(run.path("weights.pt"), {k: v.cpu() for k, v in network.state_dict().items()})
    outputs = run_network(network, data.valid_x, device=device)
    result = {"best_epoch": None, "valid_loss": float(moment_loss(*outputs, data.valid_theta))}
    _finish(run, profile, network, data, device, started, result, weights=file)


def _check_adoption(run, profile, suite, network, path):
    expected = adopted_name(profile, path)
    if run.profile != expected:
        raise ValueError(f"{path}: found a run of profile {run.profile}, expected {expected}")
    if run.architecture != "o3":
        raise ValueError(f"{path}: found a run of {run.architecture}, expected o3")
    if network.size != suite.grid:
        raise ValueError(
            f"{path}: found a network for maps of {network.size}^2, expected {suite.grid}^2 as in "
            f"{suite.maps_path}"
        )
    if network.n_parameters != len(profile.targets):
        raise ValueError(
            f"{path}: found a network of {network.n_parameters} parameters, expected those of the "
            f"profile: {', '.join(profile.targets)}"
        )


def _finish(run, profile, network, data, device, started, result, **made):
    """Write what follows from a run's network and data, ``metrics.json`` last."""
    predictions = predict_test(network, data, device)
    with atomic_path(run.path("predictions.npz")) as temporary:
        np.savez(temporary, **predictions)
    seconds = time.perf_counter() - started
    made = provenance(profile, data.fingerprint, seconds, device, **made)
    write_json(run.path("provenance.json"), made)
    result = metrics(predictions, profile.bootstrap_samples, run.seed) | result
    write_json(run.path("metrics.json"), result)


def is_current(run: Run, profile: Profile, suite: Suite) -> bool:
    """Whether a run is done with the settings that a profile and the data that a suite has now."""
    return _is_done(run, _config(run, profile, suite))


def _is_done(run, config):
    """Whether a run is done as the configuration says."""
    return run.complete and _same_run(_read_config(run), config)


def _clear(run, config):
    """Remove what is left of a run with other settings, and what a killed process left."""
    sweep(run.folder)
    if _same_run(_read_config(run), config):
        return
    # metrics.json first: what is gone must not be called complete
    for name in ("metrics.json", "checkpoint.pt", "weights.pt", "history.csv", "predictions.npz"):
        run.path(name).unlink(missing_ok=True)


def _config(run, profile, suite):
    """What fixes a run."""
    own = origins(suite=run.suite, cut=Cut.parse(run.cut).kind, network=run.architecture)
    return {
        "run": {key: getattr(run, key) for key in ("suite", "cut", "architecture", "seed")},
        "profile": profile.model_dump(),
        "fingerprint": suite.fingerprint,
        "box_size": suite.box_size,
        "network": {
            "name": run.architecture,
            "size": suite.grid,
            "hidden": profile.hidden,
            "dropout": profile.dropout,
            "n_parameters": len(profile.targets),
        },
        **({"plugins": own} if own else {}),
    }


def _same_run(old, new):
    def relevant(config):
        return {
            **{
                key: config.get(key)
                for key in ("run", "fingerprint", "network", "weights", "plugins")
            },
            "profile": {key: config["profile"].get(key) for key in RUN_KEYS},
        }

    return old is not None and relevant(old) == relevant(new)


def _write_config(run, config, data):
    """Write what fixes a run, and the scaling and the range of random fills that came out."""
    value_range = None if data.value_range is None else [float(edge) for edge in data.value_range]
    plain = config | {"scaling": asdict(data.scaling), "value_range": value_range}
    write_yaml(run.path("config.yaml"), plain)


def _read_config(run):
    """Return a run's config.yaml, None where there is none or it is not one."""
    path = run.path("config.yaml")
    if not path.is_file():
        return None
    config = read_yaml(path)
    keys = {"run", "profile", "fingerprint", "network", "scaling", "value_range"}
    known = Profile.model_fields.keys()  # else made by another version
    whole = keys <= config.keys() and isinstance(config["profile"], dict)
    if whole:
        config["profile"].setdefault("plugins", [])  # in no run made before there were any
    return config if whole and known == config["profile"].keys() else None


def load_run(run: Run) -> tuple[torch.nn.Module, Scaling, dict]:
    """Return the trained network of a run, in eval mode on the CPU, its scaling and its config.

    Raises
    ------
    ValueError
        The run is not complete, or a file of it is damaged: names it.
    """
    config = _read_config(run)
    if not run.complete or config is None:
        raise ValueError(f"{run.folder}: found no complete run, expected one: train it first")
    try:
        scaling = Scaling(**config["scaling"])
        if not max(config["network"]["hidden"], config["network"]["n_parameters"]) <= WIDEST:
            raise ValueError(f"network: found {config['network']}, expected no wider one than ours")
        with seeded(0):  # the initial weights are replaced: leave torch's state alone
            network = build_network(**config["network"])
    except (TypeError, KeyError, ValueError) as error:
        raise ValueError(f"{run.path('config.yaml')}: {error}") from None
    return load_weights(network, run.path("weights.pt")).eval(), scaling, config
