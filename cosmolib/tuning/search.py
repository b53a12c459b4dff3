"""The search for hyper-parameters: an Optuna study that can be killed, resumed, and shared.

Published (arXiv:2504.17839 and its code): TPE, 50 trials, the four ranges of `SEARCH_SPACE`, the
best validation loss as the value, SQLite. Ours: pruning at the median after five random trials, and
a seed a trial, so that a study that was killed and resumed finds what it would have found. The
published study pruned nothing and drew its first ten trials at random: ``prune=False,
startup_trials=10``. Several workers draw from one study (`cosmolib.tuning.shared_study`); what they
find depends on who is faster, except for the random trials.
"""

from __future__ import annotations

import math
import os
import sys
import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch

from cosmolib.data.suites import Suite
from cosmolib.study.identity import digest, identity
from cosmolib.study.io import redact
from cosmolib.study.profile import Profile
from cosmolib.study.registry import load_plugins
from cosmolib.training.dataset import Data, prepare_data, study_suite
from cosmolib.training.fit import fit, seeded
from cosmolib.training.gpus import visible_gpus
from cosmolib.training.networks import build_network
from cosmolib.tuning.shared_study import finished_trials, is_shared, open_study

STARTUP_TRIALS = 5  # by default drawn at random before TPE and the pruner take over


@dataclass(frozen=True)
class Range:
    """Range of one hyper-parameter."""

    low: float
    high: float
    log: bool = False
    integer: bool = False


# As published. "lite" keeps the ranges, though its pool regularises: expect little dropout there.
SEARCH_SPACE = {
    "max_lr": Range(1e-5, 5e-3, log=True),
    "weight_decay": Range(1e-8, 1e-1, log=True),
    "dropout": Range(0.0, 0.9),
    "hidden": Range(6, 12, integer=True),
}


@dataclass(frozen=True)
class Search:
    """What a study is made on."""

    suite: Suite
    data: Data
    profile: Profile  # with the number of simulations that are searched on
    name: str  # of the study


def default_storage(runs_dir: str | Path, profile: Profile, workers: int = 1) -> str | Path:
    """Where a profile's study is kept unless told.

    What ``$COSMOLIB_STUDY`` says; else a SQLite file, or a journal once it had workers.
    """
    if os.environ.get("COSMOLIB_STUDY"):
        return os.environ["COSMOLIB_STUDY"]
    folder = Path(runs_dir) / profile.name / "tuning"
    journal = folder / "study.journal"
    return journal if workers > 1 or journal.exists() else folder / "study.db"


def prepare_search(profile: Profile, seed: int = 1) -> Search:
    """Prepare the uncut maps of a profile's ``tuning_suite`` and name the study after them.

    The name ends in a digest of all that the trials depend on (`cosmolib.study.identity`), so that
    a change of it begins a new study; more trials continue the old one. Where the first trial has
    the profile's own settings, these count too.
    """
    profile = profile.replace(n_simulations=profile.tuning_simulations or profile.n_simulations)
    suite = study_suite(profile.tuning_suite, profile)
    data = prepare_data(suite, profile, "none")
    first = {key: getattr(profile, key) for key in SEARCH_SPACE} if _inside(profile) else None
    now = identity(
        "tuning", profile, fingerprint=suite.fingerprint, suite=suite.name,
        architecture=profile.architecture, seed=seed, first=first,
    )  # fmt: skip
    return Search(suite, data, profile, f"{profile.architecture}-{suite.name}-{digest(now)}")


def run_study(
    data: Data,
    profile: Profile,
    *,
    storage: str | Path,
    n_trials: int | None = None,
    seed: int = 1,
    name: str = "tuning",
    startup_trials: int = STARTUP_TRIALS,
    prune: bool = True,
    device: str = "cpu",
    workers: int = 1,
    progress: Callable[[str], None] | None = None,
):
    """Search the hyper-parameters of `SEARCH_SPACE` for the least validation loss.

    All trials share initial weights, order of the maps and augmentation, as far as their shapes
    allow. Where the profile's own settings lie within the ranges, they are the first trial. Only
    trials that are missing are run: a study that is complete returns at once.

    Parameters
    ----------
    data : Data
        Of the profile's ``tuning_suite``, with its ``tuning_simulations``.
    profile : Profile
        Its ``tuning_epochs`` are trained; whatever is not searched is kept.
    storage : path or URL
        SQLite file for one process; ``*.journal``, or the URL of a database, for many: see
        `cosmolib.tuning.shared_study`. A file is made with its folder where it is missing.
    n_trials : int, optional
        Complete and pruned trials in the end; by default the profile's ``tuning_trials``.
    seed : int
        Of the sampler and of every training.
    name : str
        Of the study in its storage.
    startup_trials : int
        Drawn at random before TPE and the pruner take over.
    prune : bool
        Stop a trial that is worse than the median of those before it.
    device : str
        With several GPUs, "cuda" gives each worker one in turn.
    workers : int
        Processes of this machine that work at the study; others may do so too.
    progress : callable, optional
        Called with a line of text a trial.

    Returns
    -------
    optuna.study.Study

    Raises
    ------
    ValueError
        Several workers for a SQLite file, or a storage that cannot be used: names it and why.
    ChildProcessError
        A worker failed: has its message. The study keeps what was finished.
    """
    import optuna

    n_trials = profile.tuning_trials if n_trials is None else n_trials
    profile = profile.replace(epochs=profile.tuning_epochs)
    if workers > 1:
        if not is_shared(storage):
            raise ValueError(
                f"{redact(storage, storage)}: found SQLite for {workers} workers, expected a "
                ".journal file or the address of a database"
            )
        options = {"storage": storage, "n_trials": n_trials, "seed": seed, "name": name}
        options |= {"startup_trials": startup_trials, "prune": prune}
    size = data.train_x.shape[-1]

    def objective(trial, place):
        # A seed a place: whoever runs the trial, after whatever restart, draws the same. (Optuna
        # asks the sampler only when a value is suggested, so that it can be given here.)
        study.sampler = _sampler(profile if place == 0 else None, startup_trials, seed, place)
        if place == 0 and _inside(profile):
            trial.set_user_attr("profile", True)
        chosen = profile.replace(**{key: _suggest(trial, key) for key in SEARCH_SPACE})
        losses = []

        def report(row):
            losses.append(row["valid_loss"])
            trial.report(row["valid_loss"], row["epoch"])
            if trial.should_prune():
                raise optuna.TrialPruned

        with seeded(seed):
            network = build_network(
                chosen.architecture, size, chosen.hidden, chosen.dropout, len(chosen.targets)
            )
        started = time.perf_counter()
        try:
            fit(network, data, chosen, seed=seed, device=device, epoch_callback=report)
        except FloatingPointError as error:  # a learning rate too high is a result, not a failure
            trial.set_user_attr("diverged", str(error))
            raise optuna.TrialPruned from None
        finally:  # not by the store's clock, which may be set back
            trial.set_user_attr("seconds", time.perf_counter() - started)
        return min(losses)

    def finished(trial):
        if progress is not None and trial.state.name in ("COMPLETE", "PRUNED"):
            progress(_line(trial, len(finished_trials(study)), n_trials))

    with open_study(storage, name, _pruner(prune, startup_trials, profile.epochs)) as shared:
        study = shared.study
        if workers > 1:
            _start_workers(workers, (data, profile), options, device, progress)
        shared.run(n_trials, objective, finished)
    return study


def _sampler(profile, startup_trials, seed, place):
    import optuna

    sampler = optuna.samplers.TPESampler(
        n_startup_trials=startup_trials,
        seed=seed + 1000 * place,
        constant_liar=True,  # what others are at counts as bad: two workers keep apart
    )
    if profile is None or not _inside(profile):
        return sampler
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        settings = {key: getattr(profile, key) for key in SEARCH_SPACE}
        return optuna.samplers.PartialFixedSampler(settings, sampler)


def _pruner(prune, startup_trials, epochs):
    import optuna

    if not prune:
        return optuna.pruners.NopPruner()
    return optuna.pruners.MedianPruner(startup_trials, n_warmup_steps=math.ceil(epochs / 3))


def _start_workers(workers, work, options, device, progress):
    """Have processes work at a study until it is done; raise the first error of one of them.

    A worker that is killed is only reported: others take over its trial.
    """
    context = torch.multiprocessing.get_context("spawn")  # shares the maps' memory
    gpus = visible_gpus() if device == "cuda" else []
    before = os.environ.get("CUDA_VISIBLE_DEVICES")
    options = {**options, "device": device}
    threads, processes = max(1, torch.get_num_threads() // workers), []
    errors = context.SimpleQueue()
    names = [f"worker {i} of {workers}" for i in range(1, workers + 1)]
    for i, name in enumerate(names):
        if gpus:  # what a process sees is fixed when it starts
            os.environ["CUDA_VISIBLE_DEVICES"] = gpus[i % len(gpus)]
        process = context.Process(target=_work, args=(*work, options, threads, name, errors))
        process.start()
        processes.append(process)
    if gpus:
        os.environ.pop("CUDA_VISIBLE_DEVICES")
        os.environ.update({} if before is None else {"CUDA_VISIBLE_DEVICES": before})
    try:
        for process in processes:
            process.join()
    except BaseException:  # an interruption that only this process received
        for process in processes:
            process.terminate()
        raise
    if not errors.empty():
        raise ChildProcessError(errors.get())
    for name, process in zip(names, processes, strict=True):
        if process.exitcode > 0:  # it printed a traceback
            raise RuntimeError(f"{name} ended with exit code {process.exitcode}")
        if process.exitcode and progress is not None:
            progress(f"{name} was killed by signal {-process.exitcode}; the others continue")


def _work(data, profile, options, threads, name, errors):
    try:
        load_plugins(profile.plugins)  # this process is a new one
        torch.set_num_threads(threads)
        run_study(data, profile, progress=_say, **options)
    except (ValueError, OSError) as error:  # for the process that the user looks at
        errors.put(f"{name}: {error}")
    except KeyboardInterrupt:  # it reached all processes of the terminal
        sys.exit(130)


def _say(line):
    print(line, file=sys.stderr, flush=True)


def study_table(study) -> list[dict]:
    """Return a row for each finished trial, for tables and figures.

    Returns
    -------
    list of dict
        ``number`` (from 0, unfinished trials left out), ``value`` (least validation loss; of a
        pruned trial the last reported, None if there is none), ``pruned``, ``profile`` (whether it
        has the profile's own settings), ``seconds``, and every hyper-parameter.
    """
    rows = []
    for number, trial in enumerate(finished_trials(study)):
        pruned = trial.state.name == "PRUNED"
        last = trial.intermediate_values.get(trial.last_step) if pruned else trial.value
        rows.append(
            {
                "number": number,
                "value": last,
                "pruned": pruned,
                "profile": bool(trial.user_attrs.get("profile", False)),
                "seconds": trial.user_attrs.get("seconds", 0.0),
                **{key: trial.params[key] for key in SEARCH_SPACE},
            }
        )
    return rows


def boundary_flags(study, margin: float = 0.05) -> list[dict]:
    """Return the hyper-parameters of the best trial that lie at an edge of their range.

    An optimum at an edge says that the range was too narrow (or, for a dropout of 0, that none is
    wanted). "At" means within `margin` of the range, in its logarithm where it was searched so, or
    equal to the edge.

    Returns
    -------
    list of dict
        ``parameter``, ``value``, ``edge`` ("low" or "high"), ``low``, ``high``.
    """
    flags = []
    for key, span in SEARCH_SPACE.items():
        value = study.best_params[key]
        low, high, at = (
            math.log(x) if span.log else float(x) for x in (span.low, span.high, value)
        )
        place = (at - low) / (high - low)  # 0 to 1
        if not margin < place < 1 - margin:
            edge = "low" if place < 0.5 else "high"
            flags.append(
                {"parameter": key, "value": value, "edge": edge, "low": span.low, "high": span.high}
            )
    return flags


def importances(study, seed: int = 0) -> dict[str, float]:
    """Share of the loss' variance that each hyper-parameter explains (fANOVA); {} if undefined.

    Hutter et al. 2014. Undefined with fewer than two complete trials or where all losses are equal.
    """
    import optuna

    complete = [t for t in finished_trials(study) if t.state.name == "COMPLETE"]
    if len({trial.value for trial in complete}) < 2:
        return {}
    evaluator = optuna.importance.FanovaImportanceEvaluator(seed=seed)
    found = optuna.importance.get_param_importances(study, evaluator=evaluator)
    return {key: float(value) for key, value in found.items()}


def _suggest(trial, key):
    span = SEARCH_SPACE[key]
    if span.integer:
        return trial.suggest_int(key, span.low, span.high)
    return trial.suggest_float(key, span.low, span.high, log=span.log)


def _inside(profile):
    return all(span.low <= getattr(profile, k) <= span.high for k, span in SEARCH_SPACE.items())


def _line(trial, done, n_trials):
    values = "  ".join(f"{key} {trial.params[key]:.3g}" for key in SEARCH_SPACE)
    value = "pruned" if trial.state.name == "PRUNED" else f"{trial.value:.3f}"
    return f"trial {done:3d}/{n_trials}  validation {value:>8}  {values}"
