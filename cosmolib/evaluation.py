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
from dataclasses import asdict, fields, replace
from pathlib import Path

import numpy as np
import torch
import yaml

from cosmolib.devices import select_device
from cosmolib.inputs import Data, denormalise, prepare_data, study_suite
from cosmolib.networks import build_network, published_network
from cosmolib.runs import Profile, Run, atomic_path, provenance, read_json, sha256, write_json
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
from cosmolib.suites import simulation_of
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

# Keys of a profile that a single run hangs on: when one of them changes, the run is done anew.
RUN_KEYS = (
    "field", "set", "n_simulations", "train_simulations", "split_seed", "scaling", "scaling_scope",
    "storage", "targets", "hidden", "dropout", "epochs", "batch_size", "max_lr", "weight_decay",
    "betas", "schedule", "symmetries", "shifts", "precision", "compile",
    "shuffle_labels", "bootstrap_samples",
)  # fmt: skip


# --------------------------------------------------------------------------------------------------
# Predictions
# --------------------------------------------------------------------------------------------------
def predict(
    network, x, batch_size: int | None = None, device: str = "cpu"
) -> tuple[np.ndarray, np.ndarray]:
    """Return normalised mean and std, both (n, P), of scaled maps x (n, 1, N, N), in eval mode."""
    x = torch.from_numpy(x) if isinstance(x, np.ndarray) else x
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
    """Read a ``predictions.npz``."""
    with np.load(path, allow_pickle=False) as file:
        return dict(file)


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
    started = time.perf_counter()
    device = device or select_device()
    suite = study_suite(run.suite, profile)
    config = _config(run, profile, suite)
    if _done(run, config):
        return read_json(run.path("metrics.json"))
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
    history = fit(
        network,
        data,
        profile,
        seed=run.seed,
        checkpoint=run.path("checkpoint.pt"),
        device=device,
        progress=progress,
    )
    with (
        atomic_path(run.path("history.csv")) as temporary,
        open(temporary, "w", newline="", encoding="utf-8") as file,
    ):
        table = csv.DictWriter(file, history[0], lineterminator="\n")
        table.writeheader()
        table.writerows(history)
    best = min(history, key=lambda row: row["valid_loss"])
    result = {"best_epoch": best["epoch"], "valid_loss": best["valid_loss"]}
    training_seconds = sum(row["seconds"] for row in history)  # also those before a restart
    result = _finish(
        run, profile, network, data, device, started, result, training_seconds=training_seconds
    )  # fmt: skip
    run.path("checkpoint.pt").unlink(missing_ok=True)
    return result


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
    started = time.perf_counter()
    device = device or select_device()
    network = published_network(weights_path)
    suite = study_suite(run.suite, profile)
    _check_adoption(run, profile, suite, network, Path(weights_path))
    # The shapes are the file's; what else the profile says of training was not what made it.
    profile = replace(profile, architecture="o3", hidden=network.hidden, dropout=0.0)
    file = {"name": Path(weights_path).name, "sha256": sha256(weights_path)}
    config = _config(run, profile, suite) | {"weights": file}
    if _done(run, config):
        return read_json(run.path("metrics.json"))
    # Few maps are predicted: none of the others is kept, whatever the profile keeps for training.
    data = prepare_data(suite, replace(profile, storage="disk"), run.cut)
    _write_config(run, config, data)
    outputs = run_network(network, data.valid_x, device=device)
    result = {"best_epoch": None, "valid_loss": float(moment_loss(*outputs, data.valid_theta))}
    return _finish(run, profile, network, data, device, started, result, weights=file)


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
    with atomic_path(run.path("weights.pt")) as temporary:
        torch.save({k: v.cpu() for k, v in network.state_dict().items()}, temporary)
    predictions = predict_test(network, data, device)
    with atomic_path(run.path("predictions.npz")) as temporary:
        np.savez(temporary, **predictions)
    seconds = time.perf_counter() - started
    made = provenance(profile, data.fingerprint, seconds, device, **made)
    write_json(run.path("provenance.json"), made)
    result = metrics(predictions, profile.bootstrap_samples, run.seed) | result
    write_json(run.path("metrics.json"), result)
    return read_json(run.path("metrics.json"))  # no NaN: what the next call returns


def _done(run, config):
    """Whether a run is done as the configuration says; what is left of another is removed."""
    if _same_run(_read_config(run), config):
        return run.complete
    for name in ("metrics.json", "checkpoint.pt", "history.csv"):  # no longer true
        run.path(name).unlink(missing_ok=True)
    return False


def _config(run, profile, suite):
    """What fixes a run."""
    return {
        "run": {key: getattr(run, key) for key in ("suite", "cut", "architecture", "seed")},
        "profile": asdict(profile),
        "fingerprint": suite.fingerprint,
        "network": {
            "name": run.architecture,
            "size": suite.grid,
            "hidden": profile.hidden,
            "dropout": profile.dropout,
            "n_parameters": len(profile.targets),
        },
    }


def _same_run(old, new):
    def relevant(config):
        return {
            **{key: config.get(key) for key in ("run", "fingerprint", "network", "weights")},
            "profile": {key: config["profile"].get(key) for key in RUN_KEYS},
        }

    return old is not None and relevant(old) == relevant(new)


def _write_config(run, config, data):
    """Write what fixes a run, and the scaling and the range of random fills that came out."""
    value_range = None if data.value_range is None else [float(edge) for edge in data.value_range]
    plain = config | {"scaling": asdict(data.scaling), "value_range": value_range}
    with atomic_path(run.path("config.yaml")) as temporary:
        temporary.write_text(yaml.safe_dump(plain, sort_keys=False), encoding="utf-8")


def _read_config(run):
    """Return a run's config.yaml, None where there is none or it is not one."""
    path = run.path("config.yaml")
    if not path.is_file():
        return None
    config = yaml.safe_load(path.read_text(encoding="utf-8"))
    keys = {"run", "profile", "fingerprint", "network", "scaling", "value_range"}
    known = {field.name for field in fields(Profile)}  # else made by another version
    whole = isinstance(config, dict) and keys <= config.keys() and known == config["profile"].keys()
    return config if whole else None


def load_run(run: Run) -> tuple[torch.nn.Module, Scaling, dict]:
    """Return the trained network of a run, in eval mode on the CPU, its scaling and its config.

    Raises
    ------
    ValueError
        The run is not complete.
    """
    config = _read_config(run)
    if not run.complete or config is None:
        raise ValueError(f"{run.folder}: found no complete run, expected one: train it first")
    with seeded(0):  # the initial weights are replaced: leave torch's state alone
        network = build_network(**config["network"])
    state = torch.load(run.path("weights.pt"), map_location="cpu", weights_only=True)
    network.load_state_dict(state)
    return network.eval(), Scaling(**config["scaling"]), config
