"""The search for hyper-parameters: an Optuna study that can be killed and resumed.

Published (arXiv:2504.17839 and its code): TPE, 50 trials, the four ranges of `SEARCH_SPACE`, the
best validation loss as the value, SQLite. Ours: pruning at the median after five random trials, and
a seed a trial, so that a study that was killed and resumed finds what it would have found. The
published study pruned nothing and drew its first ten trials at random: ``prune=False,
startup_trials=10``.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from cosmolib.inputs import Data
from cosmolib.networks import build_network
from cosmolib.runs import Profile
from cosmolib.training import fit, seeded

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
    progress: Callable[[str], None] | None = None,
):
    """Search the hyper-parameters of `SEARCH_SPACE` for the least validation loss.

    All trials share initial weights, order of the maps and augmentation, as far as their shapes
    allow. Where the profile's own settings lie within the ranges, they are the first trial. Only
    trials that are missing are run: a study that is complete returns at once. One process a study.

    Parameters
    ----------
    data : Data
        Of the profile's ``tuning_suite``, with its ``tuning_simulations``.
    profile : Profile
        Its ``tuning_epochs`` are trained; whatever is not searched is kept.
    storage : path or URL
        SQLite file, made with its folder where it is missing, or a URL such as ``sqlite:///...``.
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
    progress : callable, optional
        Called with a line of text a trial.

    Returns
    -------
    optuna.study.Study
    """
    import optuna

    n_trials = profile.tuning_trials if n_trials is None else n_trials
    profile = replace(profile, epochs=profile.tuning_epochs)
    size = data.train_x.shape[-1]

    def objective(trial):
        chosen = replace(profile, **{key: _suggest(trial, key) for key in SEARCH_SPACE})
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
        try:
            fit(network, data, chosen, seed=seed, device=device, epoch_callback=report)
        except FloatingPointError as error:  # a learning rate too high is a result, not a failure
            trial.set_user_attr("diverged", str(error))
            raise optuna.TrialPruned from None
        return min(losses)

    with _quiet(optuna):
        study = optuna.create_study(
            storage=_url(storage),
            study_name=name,
            direction="minimize",
            load_if_exists=True,
            pruner=optuna.pruners.MedianPruner(
                startup_trials, n_warmup_steps=math.ceil(profile.epochs / 3)
            )
            if prune
            else optuna.pruners.NopPruner(),
        )
        for trial in study.get_trials(deepcopy=False, states=(optuna.trial.TrialState.RUNNING,)):
            study.tell(trial.number, state=optuna.trial.TrialState.FAIL)  # killed in the middle
        while (done := len(finished_trials(study))) < n_trials:
            study.sampler = optuna.samplers.TPESampler(
                n_startup_trials=startup_trials, seed=seed + 1000 * done
            )
            if done == 0 and _inside(profile):
                study.enqueue_trial(
                    {key: getattr(profile, key) for key in SEARCH_SPACE},
                    user_attrs={"profile": True},
                    skip_if_exists=True,
                )
            study.optimize(objective, n_trials=1)
            if progress is not None:
                progress(_line(finished_trials(study)[-1], done + 1, n_trials))
    return study


def finished_trials(study) -> list:
    """Complete and pruned trials of a study, in order."""
    return [t for t in study.get_trials(deepcopy=False) if t.state.name in ("COMPLETE", "PRUNED")]


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
                "seconds": trial.duration.total_seconds(),
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


def _url(storage):
    if "://" in str(storage):
        return str(storage)
    path = Path(storage).resolve()
    path.parent.mkdir(parents=True, exist_ok=True)
    return f"sqlite:///{path}"


def _line(trial, done, n_trials):
    values = "  ".join(f"{key} {trial.params[key]:.3g}" for key in SEARCH_SPACE)
    value = "pruned" if trial.state.name == "PRUNED" else f"{trial.value:.3f}"
    return f"trial {done:3d}/{n_trials}  validation {value:>8}  {values}"


@contextmanager
def _quiet(optuna):
    """Optuna prints a line a trial, with times, to stderr: `progress` says what is needed."""
    verbosity = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    try:
        yield
    finally:
        optuna.logging.set_verbosity(verbosity)
