"""A run: one network, its predictions and their scores, in one folder.

`train_run` trains a network; `evaluate_pretrained` makes a run of one that was trained elsewhere;
`load_run` reads both.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import asdict
from functools import partial
from pathlib import Path

import pandas as pd
import torch

from cosmolib.data.cmd_format import MAPS_PER_SIMULATION
from cosmolib.data.scaling import Scaling
from cosmolib.data.suites import Suite
from cosmolib.study import io
from cosmolib.study.identity import KINDS, changes, code, identity
from cosmolib.study.locks import LOCK, held
from cosmolib.study.profile import WIDEST, Profile
from cosmolib.study.provenance import provenance
from cosmolib.study.run import Run
from cosmolib.training.dataset import cut_maps, denormalise, prepare_data, study_suite
from cosmolib.training.devices import select_device
from cosmolib.training.fit import fit, moment_loss, run_network, seeded
from cosmolib.training.networks import build_network
from cosmolib.training.predictions import predict, read_predictions, write_predictions
from cosmolib.training.scores import metrics
from cosmolib.training.weights import load_weights, published_network

# Removed in this order: a run without metrics.json is not complete.
_RESULTS = ("metrics.json", "checkpoint.pt", "weights.pt", "history.csv", "predictions.npz",
            "provenance.json")  # fmt: skip
_FORWARD = ("training.networks", "data.scaling")  # modules that turn maps into predictions


def train_run(
    run: Run,
    profile: Profile,
    *,
    device: str | None = None,
    progress: Callable[[str], None] | None = None,
) -> dict:
    """Train a run and return its metrics; a complete run is only read.

    The folder fills in the order config.yaml, checkpoint.pt (removed at the end), history.csv,
    provenance.json, weights.pt, predictions.npz, metrics.json. A run that was killed continues
    after the last of them. Results of another identity (settings, data, code, packages: see
    `cosmolib.study.identity`) are removed and computed again; if only the scores changed, they are
    computed from the stored predictions.

    Parameters
    ----------
    run : Run
    profile : Profile
    device : str, optional
        By default a GPU where there is one.
    progress : callable, optional
        Called with a line of text per epoch.

    Returns
    -------
    dict
        As `cosmolib.training.scores.metrics`, with ``best_epoch`` and ``valid_loss``.
    """
    suite = study_suite(run.suite, profile)
    config = _config("training", run, profile, suite)
    work = partial(_train, run, profile, suite, config, device, progress)
    return _once(run, profile, config, work, progress)


def _train(run, profile, suite, config, device, progress):
    """Train a run, or the part of it that is missing."""
    names = ("history.csv", "provenance.json", "weights.pt")
    trained = all(run.path(name).is_file() for name in names)
    if not (trained and run.path("predictions.npz").is_file()):
        started, device = time.perf_counter(), device or select_device()
        data = prepare_data(suite, profile, run.cut)
        with seeded(run.seed):
            network = build_network(**config["network"])
        if trained:
            load_weights(network, run.path("weights.pt")).eval()
        else:
            _write_config(run, config, data)
            options = {"seed": run.seed, "device": device, "progress": progress}
            options["checkpoint"] = run.path("checkpoint.pt")
            history = fit(network, data, profile, **options)
            with io.atomic_path(run.path("history.csv")) as temporary:
                pd.DataFrame(history).to_csv(temporary, index=False, lineterminator="\n")
            seconds = sum(row["seconds"] for row in history)  # also those before a restart
            _write_weights(run, profile, config, network, device, started, training_seconds=seconds)
        _write_predictions(run, profile, network, data, device)
    # Python's float is exact to the last bit; not every pandas is.
    history = pd.read_csv(run.path("history.csv"), converters={"valid_loss": float})
    best = history.loc[history["valid_loss"].idxmin()]
    _write_metrics(run, profile, int(best["epoch"]), float(best["valid_loss"]))
    run.path("checkpoint.pt").unlink(missing_ok=True)


def pretrained_name(profile: Profile, weights_path: str | Path) -> str:
    """Profile name of a run of `evaluate_pretrained`: a folder apart from those of trained runs."""
    return f"{profile.name}-{Path(weights_path).stem}"


def evaluate_pretrained(
    run: Run, profile: Profile, weights_path: str | Path, *, device: str | None = None
) -> dict:
    """Make a run of a network that was trained elsewhere and return its metrics.

    The network is evaluated on the test maps of the suite, scaled as the profile says for this
    suite. The run is complete except for a ``history.csv``. A complete run is only read; other
    weights, settings or data make it again.

    Parameters
    ----------
    run : Run
        Of the profile `pretrained_name` and the architecture "o3".
    profile : Profile
        Its data, its scaling, its targets; the network's shapes are those of the file.
    weights_path : path
        A state dict of the published code.
    device : str, optional
        By default a GPU where there is one.

    Returns
    -------
    dict
        As of `train_run`; ``best_epoch`` is None.

    Raises
    ------
    ValueError
        The file is not such a network, or run, maps or targets do not fit it.
    """
    network = published_network(weights_path)
    suite = study_suite(run.suite, profile)
    expected = {
        "profile": (run.profile, pretrained_name(profile, weights_path)),
        "architecture": (run.architecture, "o3"),
        "side of the maps": (network.size, suite.grid),
        "number of targets": (network.n_parameters, len(profile.targets)),
    }
    for key, (found, wanted) in expected.items():
        if found != wanted:
            raise ValueError(f"{weights_path}: {key}: found {found}, expected {wanted}")
    # The shapes are those of the file; the profile's other settings of training played no part.
    profile = profile.replace(architecture="o3", hidden=network.hidden, dropout=0.0)
    file = {"name": Path(weights_path).name, "sha256": io.sha256(weights_path)}
    config = _config("pretrained", run, profile, suite, weights=file["sha256"])
    on = device or select_device()

    def evaluate():
        started = time.perf_counter()
        # Few maps are predicted: the others are not kept, whatever the profile keeps for training.
        data = prepare_data(suite, profile.replace(storage="disk"), run.cut)
        _write_config(run, config, data)
        loss = float(moment_loss(*run_network(network, data.valid_x, device=on), data.valid_theta))
        _write_weights(run, profile, config, network, on, started, weights=file)
        _write_predictions(run, profile, network, data, on)
        _write_metrics(run, profile, None, loss)

    return _once(run, profile, config, evaluate)


def _once(run, profile, config, work, progress=None):
    """Do the work of a run under its lock unless it is done; return its metrics."""
    if _changes(run, profile, config):  # a finished run needs no lock: its folder may be read-only
        with held(run.path(LOCK), progress=progress):
            if _changes(run, profile, config):  # not done by the process that was waited for
                io.sweep(run.folder)  # of a killed process
                if changes(_read_config(run).get("identity"), config["identity"]):
                    for name in _RESULTS:
                        run.path(name).unlink(missing_ok=True)
                work()
    return io.read_json(run.path("metrics.json"))


def run_changes(run: Run, profile: Profile, suite: Suite) -> list[str]:
    """List what differs between a complete run and one trained now; [] if nothing does."""
    return _changes(run, profile, _config("training", run, profile, suite))


def _changes(run, profile, config):
    found = changes(_read_config(run).get("identity"), config["identity"])
    if found or not run.complete:
        return found or [f"{run.folder}: found no metrics.json"]
    scored = io.read_json(run.path("metrics.json"))
    return changes(scored.get("identity"), identity("metrics", profile))


def _write_weights(run, profile, config, network, device, started, **made):
    """Write the weights of a run, after their provenance."""
    now = config["identity"]
    seconds = time.perf_counter() - started
    made = provenance(profile, now["fingerprint"], seconds, device, made_by=now["code"], **made)
    io.write_json(run.path("provenance.json"), made)
    io.write_state(run.path("weights.pt"), {k: v.cpu() for k, v in network.state_dict().items()})


def _write_predictions(run, profile, network, data, device):
    found = predict(network, data, device, profile.average_symmetries)
    write_predictions(run.path("predictions.npz"), found)


def _write_metrics(run, profile, best_epoch, valid_loss):
    """Write the scores of a run's predictions, with their own identity."""
    predictions = read_predictions(run.path("predictions.npz"))
    result = {"best_epoch": best_epoch, "valid_loss": valid_loss}
    result |= metrics(predictions, profile.bootstrap_samples, run.seed)
    io.write_json(run.path("metrics.json"), result | {"identity": identity("metrics", profile)})


def _config(kind, run, profile, suite, **settings):
    """Return the contents of config.yaml that are known before any data is read."""
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
    """Write config.yaml, with the scaling and the range of random fills of the data."""
    value_range = None if data.value_range is None else [float(edge) for edge in data.value_range]
    plain = config | {"scaling": asdict(data.scaling), "value_range": value_range}
    io.write_yaml(run.path("config.yaml"), plain)


def _read_config(run):
    """Return a run's config.yaml, {} where there is none or keys of a training are missing."""
    path = run.path("config.yaml")
    config = io.read_yaml(path) if path.is_file() else {}
    keys = {"run", "profile", "identity", "network", "scaling", "value_range"}
    whole = keys <= config.keys() and isinstance(config["profile"], dict)
    return config if whole and {*KINDS["training"].keys} <= config["profile"].keys() else {}


def load_run(run: Run) -> tuple[torch.nn.Module, Scaling, dict]:
    """Return the trained network of a run, in eval mode on the CPU, its scaling and its config.

    Raises
    ------
    ValueError
        The run is not complete, a file of it is damaged, or its weights were made by other code of
        networks, cuts or scaling and no longer give the stored predictions: names it.
    """
    config = _read_config(run)
    if not (run.complete and config):
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
    network = load_weights(network, run.path("weights.pt")).eval()
    if other and not _reproduces(run, config, network, scaling):
        raise ValueError(
            f"{run.path('weights.pt')}: found weights made by other code of {', '.join(other)}, "
            "which no longer give the run's predictions: train it again"
        )
    return network, scaling, config


def _reproduces(run, config, network, scaling):
    """Whether a network gives the predictions that its run stored, on its first test maps."""
    profile = Profile.model_construct(**config["profile"])  # perhaps of an earlier version
    stored = read_predictions(run.path("predictions.npz"))
    some = slice(0, MAPS_PER_SIMULATION)
    suite = study_suite(run.suite, profile)
    maps = cut_maps(suite, stored["map"][some], run.cut, config["value_range"])
    outputs = run_network(network, scaling.apply(maps), symmetries=profile.average_symmetries)
    mean, _ = denormalise(*outputs, run.suite, profile.targets)
    return bool((abs(mean - stored["mean"][some]) < 0.01 * stored["std"][some] + 1e-6).all())
