"""A run: one network, its predictions and their scores in one folder.

`train_run` trains a network, `evaluate_pretrained` makes a run of a network that was trained
elsewhere, and `load_run` reads the network of either.
"""

import time
from dataclasses import asdict
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


def train_run(run: Run, profile: Profile, *, device: str | None = None, progress=None) -> dict:
    """Train a run and return its metrics; a complete run is only read.

    The files of the folder are written in the order config.yaml, checkpoint.pt (removed at the
    end), history.csv, provenance.json, weights.pt, predictions.npz, metrics.json. An interrupted
    run resumes from its checkpoint or its predictions. Results of another identity (settings, data,
    code, packages, see `cosmolib.study.identity`) are removed and recomputed. If only the code of
    the scores has changed, they are recomputed from the stored predictions.

    Parameters
    ----------
    run : Run
    profile : Profile
    device : str, optional
        By default a GPU if there is one.
    progress : callable, optional
        Called with a line of text per epoch.

    Returns
    -------
    dict
        From `cosmolib.training.scores.metrics`, with ``best_epoch`` and ``valid_loss``.
    """
    suite = study_suite(run.suite, profile)
    config = _config("training", run, profile, suite)

    def train():
        if not run.path("predictions.npz").is_file():
            started, on = time.perf_counter(), device or select_device()
            data = prepare_data(suite, profile, run.cut, run.seed)
            with seeded(run.seed):
                network = build_network(**config["network"])
            _write_config(run, config, data)
            options = {"seed": run.seed, "device": on, "progress": progress}
            rows = fit(network, data, profile, checkpoint=run.path("checkpoint.pt"), **options)
            with io.atomic_path(run.path("history.csv")) as temporary:
                pd.DataFrame(rows).to_csv(temporary, index=False, lineterminator="\n")
            made = {"training_seconds": sum(row["seconds"] for row in rows)}  # of all restarts
            _write_results(run, profile, config, network, data, on, started, **made)
        # Python's float is exact to the last bit; that of some versions of pandas is not.
        history = pd.read_csv(run.path("history.csv"), converters={"valid_loss": float})
        best = history.loc[history["valid_loss"].idxmin()]
        _write_metrics(run, profile, int(best["epoch"]), float(best["valid_loss"]))
        run.path("checkpoint.pt").unlink(missing_ok=True)

    return _once(run, profile, config, train, progress)


def pretrained_name(profile: Profile, weights_path: str | Path) -> str:
    """Return the profile name of a run of `evaluate_pretrained`, distinct from trained runs."""
    return f"{profile.name}-{Path(weights_path).stem}"


def evaluate_pretrained(run: Run, profile: Profile, weights_path, *, device=None) -> dict:
    """Evaluate a network that was trained elsewhere, store it as a run and return its metrics.

    The network is evaluated on the test maps of the suite, with the scaling that the profile
    defines for this suite. The folder of the run has no ``history.csv``. A complete run is only
    read; other weights, settings or data invalidate it.

    Parameters
    ----------
    run : Run
        With the profile name `pretrained_name` and the architecture "o3".
    profile : Profile
        Defines data, scaling and targets; the shape of the network is that of the file.
    weights_path : path
        A state dict of the published code.
    device : str, optional
        By default a GPU if there is one.

    Returns
    -------
    dict
        As `train_run`; ``best_epoch`` is None.

    Raises
    ------
    ValueError
        The file is not such a network, or the run, the maps or the targets do not fit it.
    """
    network = published_network(weights_path)
    suite = study_suite(run.suite, profile)
    for key, found, expected in (
        ("profile", run.profile, pretrained_name(profile, weights_path)),
        ("architecture", run.architecture, "o3"),
        ("side of the maps", network.size, suite.grid),
        ("number of targets", network.n_parameters, len(profile.targets)),
    ):
        if found != expected:
            raise ValueError(f"{weights_path}: {key}: found {found}, expected {expected}")
    # The shapes are those of the file; other training settings of the profile are not used.
    profile = profile.replace(architecture="o3", hidden=network.hidden, dropout=0.0)
    file = {"name": Path(weights_path).name, "sha256": io.sha256(weights_path)}
    config = _config("pretrained", run, profile, suite, weights=file["sha256"])
    on = device or select_device()

    def evaluate():
        started = time.perf_counter()
        # Only few maps are predicted: do not load the training maps into memory.
        data = prepare_data(suite, profile.replace(storage="disk"), run.cut)
        _write_config(run, config, data)
        loss = float(moment_loss(*run_network(network, data.valid_x, device=on), data.valid_theta))
        _write_results(run, profile, config, network, data, on, started, weights=file)
        _write_metrics(run, profile, None, loss)

    return _once(run, profile, config, evaluate)


def _once(run, profile, config, work, progress=None):
    """Do the work of a run under its lock unless it is complete; return its metrics."""
    if _changes(run, profile, config):  # a complete run needs no lock: its folder may be read-only
        with held(run.path(LOCK), progress=progress):
            if _changes(run, profile, config):  # not completed by the process that held the lock
                io.sweep(run.folder)  # temporary files of a killed process
                if changes(_read_config(run).get("identity"), config["identity"]):
                    for name in _RESULTS:
                        run.path(name).unlink(missing_ok=True)
                work()
    return io.read_json(run.path("metrics.json"))


def run_changes(run: Run, profile: Profile, suite: Suite) -> list[str]:
    """List the differences between a stored run and one trained now; [] if it is current."""
    return _changes(run, profile, _config("training", run, profile, suite))


def _changes(run, profile, config):
    found = changes(_read_config(run).get("identity"), config["identity"])
    if found or not run.complete:
        return found or [f"{run.folder}: metrics.json is missing"]
    scored = io.read_json(run.path("metrics.json"))
    return changes(scored.get("identity"), identity("metrics", profile))


def _write_results(run, profile, config, network, data, device, started, **made):
    """Write provenance, weights and predictions of a run, in this order."""
    now, path = config["identity"], run.path("provenance.json")
    if not path.is_file():  # else the training ended in an earlier process
        seconds = time.perf_counter() - started
        made = provenance(profile, now["fingerprint"], seconds, device, made_by=now["code"], **made)
        io.write_json(path, made)

    io.write_state(run.path("weights.pt"), {k: v.cpu() for k, v in network.state_dict().items()})
    found = predict(network, data, device, profile.average_symmetries)

    write_predictions(run.path("predictions.npz"), found)


def _write_metrics(run, profile, best_epoch, valid_loss):
    """Write the scores of the predictions of a run, with their own identity."""
    predictions = read_predictions(run.path("predictions.npz"))
    result = {"best_epoch": best_epoch, "valid_loss": valid_loss}
    result |= metrics(predictions, profile.bootstrap_samples, run.seed)
    io.write_json(run.path("metrics.json"), result | {"identity": identity("metrics", profile)})


def _config(kind, run, profile, suite, **settings):
    """Return the contents of config.yaml that do not depend on the maps."""
    names = {key: getattr(run, key) for key in ("suite", "cut", "architecture", "seed")}
    now = identity(kind, profile, fingerprint=suite.fingerprint, **names, **settings)
    network = {"name": run.architecture, "size": suite.grid, "hidden": profile.hidden}
    network |= {"dropout": profile.dropout, "n_parameters": len(profile.targets)}
    config = {"run": names, "profile": profile.model_dump(), "box_size": suite.box_size}
    return config | {"identity": now, "network": network}


def _write_config(run, config, data):
    """Write config.yaml, with the scaling and the range of random fills of the data."""
    plain = config | {"scaling": asdict(data.scaling), "value_range": data.value_range}
    io.write_yaml(run.path("config.yaml"), plain)


def _read_config(run):
    """Return the config.yaml of a run; {} if it is missing or lacks settings of a training."""
    path = run.path("config.yaml")
    config = io.read_yaml(path) if path.is_file() else {}
    keys = {"run", "profile", "identity", "network", "scaling", "value_range"}
    whole = keys <= config.keys() and isinstance(config["profile"], dict)
    return config if whole and {*KINDS["training"].keys} <= config["profile"].keys() else {}


def load_run(run: Run) -> tuple[torch.nn.Module, Scaling, dict]:
    """Load the trained network of a run, in eval mode on the CPU, its scaling and its config.

    Raises
    ------
    ValueError
        The run is not complete, one of its files is damaged, or the code of networks or scaling has
        changed and the weights no longer reproduce the stored predictions; names the file.
    """
    config = _read_config(run)
    if not (run.complete and config):
        raise ValueError(f"{run.folder}: the run is not complete; train it first")
    try:
        stored = config["identity"]["code"]
        other = [name for name, now in code(_FORWARD).items() if stored.get(name) != now]
        scaling = Scaling(**config["scaling"])
        if max(config["network"]["hidden"], config["network"]["n_parameters"]) > WIDEST:
            raise ValueError(f"network: found {config['network']}, expected at most {WIDEST} wide")
        with seeded(0):  # the initial weights are replaced: keep the random state of torch
            network = build_network(**config["network"])
    except (TypeError, KeyError, ValueError, AttributeError) as error:
        raise ValueError(f"{run.path('config.yaml')}: {error}") from None
    network = load_weights(network, run.path("weights.pt")).eval()
    if other and not _reproduces(run, config, network, scaling):
        raise ValueError(
            f"{run.path('weights.pt')}: the weights were made by other code of {', '.join(other)} "
            "and no longer reproduce the predictions of the run; train it again"
        )
    return network, scaling, config


def _reproduces(run, config, network, scaling):
    """Whether a network reproduces the stored predictions for the first test simulation."""
    profile = Profile.model_construct(**config["profile"])  # perhaps of an earlier version
    stored = read_predictions(run.path("predictions.npz"))
    some = slice(0, MAPS_PER_SIMULATION)
    suite = study_suite(run.suite, profile)
    maps = cut_maps(suite, stored["map"][some], run.cut, config["value_range"])
    outputs = run_network(network, scaling.apply(maps), symmetries=profile.average_symmetries)
    mean, _ = denormalise(*outputs, run.suite, profile.targets)
    return bool((abs(mean - stored["mean"][some]) < 0.01 * stored["std"][some] + 1e-6).all())
