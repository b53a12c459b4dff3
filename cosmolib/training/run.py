"""What a trained network knows: predictions, and the run that holds them with their scores.

A run is trained here (`train_run`) or made of a network that was trained elsewhere (`adopt_run`);
whatever comes after reads both with `load_run`. The scores are those of `cosmolib.training.scores`,
and can be imported from here too.
"""

from __future__ import annotations

import csv
import time
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

import numpy as np
import torch

from cosmolib.data.scaling import Scaling
from cosmolib.data.suites import Suite, simulation_of
from cosmolib.study.identity import changes, code, digest, identity
from cosmolib.study.io import (
    atomic_path,
    read_json,
    read_yaml,
    reason_of,
    sha256,
    sweep,
    write_json,
    write_yaml,
)
from cosmolib.study.locks import LOCK, held
from cosmolib.study.profile import WIDEST, Profile
from cosmolib.study.provenance import provenance
from cosmolib.study.run import Run
from cosmolib.study.state_dicts import write_state
from cosmolib.training.dataset import Data, denormalise, prepare_data, study_suite
from cosmolib.training.devices import select_device
from cosmolib.training.fit import fit, moment_loss, run_network, seeded
from cosmolib.training.networks import build_network, load_weights, published_network
from cosmolib.training.scores import (
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

__all__ = (
    "SCORES", "bias", "bootstrap", "chi2", "mean_sigma", "metrics", "paired_difference", "r2",
    "relative_error", "rmse", "simulation_average",
    "adopt_run", "adopted_name", "as_predictions", "load_run", "predict", "predict_test",
    "predict_valid", "read_predictions", "run_changes", "stored_predictions", "train_run",
)  # fmt: skip

_FORWARD = ("training.networks", "data.scaling")  # modules that turn maps into predictions
_ARRAYS = ("mean", "std", "truth", "simulation", "parameters")  # of a predictions.npz


# --------------------------------------------------------------------------------------------------
# Predictions
# --------------------------------------------------------------------------------------------------
def predict(
    network, x, batch_size: int | None = None, device: str = "cpu"
) -> tuple[np.ndarray, np.ndarray]:
    """Return normalised mean and std, both (n, P), of scaled maps x, in eval mode.

    ``x`` is what `cosmolib.training.fit.run_network` takes: an array or tensor (N, N), (n, N, N) or
    (n, 1, N, N) of any floating type, or `cosmolib.training.dataset.MapsOnDisk`.
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


def stored_predictions(folder: str | Path, now: dict, make: Callable[[], dict]) -> dict:
    """Read ``folder/predictions.npz``, or make it where it is missing or of another identity.

    For predictions that belong to no run of a study: summary statistics, and maps with a known
    answer.

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
    _write_predictions(path, {**predictions, "identity": np.array(digest(now))})
    return predictions


def _write_predictions(path, predictions):
    with atomic_path(path) as temporary:
        np.savez(temporary, **predictions)


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
    provenance.json, weights.pt, predictions.npz, metrics.json. A run that was killed continues
    after the last of them. What was made with another identity than the present one (settings,
    data, code, packages: see `cosmolib.study.identity`) is removed and made again; other scores
    alone are computed from the stored predictions.

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
    config = _config("training", run, profile, suite)

    def train():
        _train(run, profile, suite, config, device or select_device(), progress, data)

    return _done_once(run, profile, config, train, progress)


def _done_once(run, profile, config, work, progress=None):
    """Do a run in a folder that is this process's own, unless it is done; return its metrics."""
    if _changes(run, profile, config):  # what is done needs no lock: its folder may be read-only
        with held(run.path(LOCK), progress=progress):
            if _changes(run, profile, config):  # not done by the process that was waited for
                _clear(run, config)
                work()
    return read_json(run.path("metrics.json"))


def _train(run, profile, suite, config, device, progress, data):
    """Do a run, or the part of it that is missing."""
    made = [run.path(name).is_file() for name in ("history.csv", "provenance.json", "weights.pt")]
    if not (all(made) and run.path("predictions.npz").is_file()):
        started = time.perf_counter()
        if data is None:
            data = prepare_data(suite, profile, run.cut)
        elif (data.suite, data.cut, data.fingerprint) != (run.suite, run.cut, suite.fingerprint):
            raise ValueError(
                f"{run.folder}: found data of {data.suite}, cut {data.cut}, expected {run.suite}, "
                f"cut {run.cut}, of {suite.maps_path}"
            )
        with seeded(run.seed):
            network = build_network(**config["network"])
        if all(made):
            load_weights(network, run.path("weights.pt")).eval()
        else:
            _write_config(run, config, data)
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
            seconds = sum(row["seconds"] for row in history)  # also those before a restart
            _write_weights(run, profile, config, network, device, started, training_seconds=seconds)
        _write_predictions(run.path("predictions.npz"), predict_test(network, data, device))
    best = min(_read_history(run.path("history.csv")), key=lambda row: row["valid_loss"])
    _write_metrics(run, profile, best_epoch=best["epoch"], valid_loss=best["valid_loss"])
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
    """Return the epochs and validation losses of a history.csv."""
    try:
        with open(path, newline="", encoding="utf-8") as file:
            return [
                {"epoch": int(row["epoch"]), "valid_loss": float(row["valid_loss"])}
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
    config = _config("pretrained", run, profile, suite, weights=file["sha256"])

    def adopt():
        _adopt(run, profile, suite, config, device or select_device(), network, file)

    return _done_once(run, profile, config, adopt)


def _adopt(run, profile, suite, config, device, network, file):
    started = time.perf_counter()
    # Few maps are predicted: none of the others is kept, whatever the profile keeps for training.
    data = prepare_data(suite, profile.replace(storage="disk"), run.cut)
    _write_config(run, config, data)
    outputs = run_network(network, data.valid_x, device=device)
    _write_weights(run, profile, config, network, device, started, weights=file)
    _write_predictions(run.path("predictions.npz"), predict_test(network, data, device))
    loss = float(moment_loss(*outputs, data.valid_theta))
    _write_metrics(run, profile, best_epoch=None, valid_loss=loss)


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


def _write_weights(run, profile, config, network, device, started, **made):
    """Write the weights of a run, after the provenance that they have from then on."""
    now = config["identity"]
    seconds = time.perf_counter() - started
    made = provenance(profile, now["fingerprint"], seconds, device, made_by=now["code"], **made)
    write_json(run.path("provenance.json"), made)
    write_state(run.path("weights.pt"), {k: v.cpu() for k, v in network.state_dict().items()})


def _write_metrics(run, profile, **result):
    """Write the scores of a run's predictions, with the identity of their own."""
    predictions = read_predictions(run.path("predictions.npz"))
    result |= metrics(predictions, profile.bootstrap_samples, run.seed)
    write_json(run.path("metrics.json"), result | {"identity": identity("metrics", profile)})


def run_changes(run: Run, profile: Profile, suite: Suite) -> list[str]:
    """Say what differs between a complete run and one that would be trained now; [] if nothing."""
    return _changes(run, profile, _config("training", run, profile, suite))


def _changes(run, profile, config):
    found = changes(_identity_of(run), config["identity"])
    if not found and run.complete:
        scored = read_json(run.path("metrics.json"))
        scored = scored.get("identity") if isinstance(scored, dict) else None
        found = changes(scored, identity("metrics", profile))
    return found or ([] if run.complete else [f"{run.folder}: found no metrics.json"])


def _identity_of(run):
    return (_read_config(run) or {}).get("identity")


def _clear(run, config):
    """Remove what a killed process left, and all results of a run of another identity."""
    sweep(run.folder)
    if changes(_identity_of(run), config["identity"]):
        # metrics.json first: what is gone must not be called complete
        for name in ("metrics.json", "checkpoint.pt", "weights.pt", "history.csv",
                     "predictions.npz", "provenance.json"):  # fmt: skip
            run.path(name).unlink(missing_ok=True)


def _config(kind, run, profile, suite, **settings):
    """What fixes a run."""
    names = {key: getattr(run, key) for key in ("suite", "cut", "architecture", "seed")}
    return {
        "run": names,
        "profile": profile.model_dump(),
        "box_size": suite.box_size,
        "identity": identity(kind, profile, fingerprint=suite.fingerprint, **names, **settings),
        "network": {
            "name": run.architecture,
            "size": suite.grid,
            "hidden": profile.hidden,
            "dropout": profile.dropout,
            "n_parameters": len(profile.targets),
        },
    }


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
    keys = {"run", "profile", "identity", "network", "scaling", "value_range"}
    known = Profile.model_fields.keys()  # else made by another version
    whole = keys <= config.keys() and isinstance(config["profile"], dict)
    return config if whole and known == config["profile"].keys() else None


def load_run(run: Run) -> tuple[torch.nn.Module, Scaling, dict]:
    """Return the trained network of a run, in eval mode on the CPU, its scaling and its config.

    Raises
    ------
    ValueError
        The run is not complete, a file of it is damaged, or its weights belong to other code of
        networks, cuts or scaling than the present one: names it.
    """
    config = _read_config(run)
    if not run.complete or config is None:
        raise ValueError(f"{run.folder}: found no complete run, expected one: train it first")
    try:
        stored = config["identity"]["code"]
        other = [name for name, now in code(_FORWARD).items() if stored.get(name) != now]
        scaling = Scaling(**config["scaling"])
        if not max(config["network"]["hidden"], config["network"]["n_parameters"]) <= WIDEST:
            raise ValueError(f"network: found {config['network']}, expected no wider one than ours")
        with seeded(0):  # the initial weights are replaced: leave torch's state alone
            network = build_network(**config["network"])
    except (TypeError, KeyError, ValueError, AttributeError) as error:
        raise ValueError(f"{run.path('config.yaml')}: {error}") from None
    if other:
        raise ValueError(
            f"{run.path('weights.pt')}: found weights made by other code of {', '.join(other)}, "
            "expected the present one: train the run again"
        )
    return load_weights(network, run.path("weights.pt")).eval(), scaling, config
