"""Optuna studies that several processes share.

Two kinds of storage: ``*.journal``, a log on a disk that all workers reach, and
``postgresql://...`` or another address, a database for many machines. The trial of a worker that
died is retried with the same settings. A worker of a journal is dead when the lock that it held is
free, one of a database when Optuna's heartbeat stops.
"""

from __future__ import annotations

import os
import time
import uuid
import warnings
from collections.abc import Callable
from contextlib import contextmanager, nullcontext, suppress
from datetime import datetime, timedelta
from pathlib import Path

import optuna
from optuna.storages import JournalStorage, RDBStorage, RetryHeartbeatStaleTrialCallback
from optuna.storages.journal import JournalFileBackend, JournalFileOpenLock
from optuna.trial import TrialState
from sqlalchemy.exc import IntegrityError, ProgrammingError
from sqlalchemy.pool import NullPool

from cosmolib.study.io import reason_of, redact
from cosmolib.study.locks import held, is_held

HEARTBEAT = 15  # [s] between two signs of life
GRACE = 60  # [s] without one until a worker counts as dead
RETRIES = 3  # per trial: settings that kill every worker are given up
FINISHED = (TrialState.COMPLETE, TrialState.PRUNED)


def open_study(storage: str | Path, name: str, pruner) -> optuna.Study:
    """Open a study that minimises, or create it; silence Optuna's line per trial.

    Parameters
    ----------
    storage : path or address
        See the head of this module.
    name : str
    pruner : optuna.pruners.BasePruner

    Raises
    ------
    ValueError
        Neither a journal nor a database that can be reached. The message contains no password.
    """
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
    with _one_error(storage, Exception):
        opened = (_open_database if _is_database(storage) else _open_journal)(str(storage))
        return optuna.create_study(
            storage=opened, study_name=name, pruner=pruner, load_if_exists=True
        )


def run_trials(
    study: optuna.Study, storage: str | Path, n_trials: int, objective: Callable, finished: Callable
) -> None:
    """Run trials until the study has ``n_trials`` complete or pruned ones.

    With W workers it ends with up to W - 1 more: each completes the trial that it began.

    Parameters
    ----------
    study, storage
        From `open_study`, and where it is stored.
    n_trials : int
    objective : callable
        ``objective(trial, place)`` returns the value; ``place`` counts the earlier trials from 0,
        without those that failed.
    finished : callable
        ``finished(study, trial)``, called after each trial of this worker.
    """
    worker = uuid.uuid4().hex[:12]

    def placed(trial):
        trial.set_user_attr("worker", worker)
        earlier = study.get_trials(deepcopy=False)[: trial.number]
        return objective(trial, sum(t.state != TrialState.FAIL for t in earlier))

    callbacks = [
        lambda study, trial: retry_dead(study, storage),
        finished,
        optuna.study.MaxTrialsCallback(n_trials, FINISHED),
    ]
    lock = nullcontext() if _is_database(storage) else held(_lock(storage, worker), wait=False)
    with lock, _one_error(storage, optuna.exceptions.StorageInternalError):
        retry_dead(study, storage)
        if len(finished_trials(study)) < n_trials:
            study.optimize(placed, callbacks=callbacks)


def retry_dead(study: optuna.Study, storage: str | Path) -> None:
    """Fail the running trials of dead workers of a journal, and queue their settings again."""
    if _is_database(storage):
        return  # Optuna does it, by the heartbeat
    for trial in study.get_trials(states=(TrialState.RUNNING,)):
        worker = trial.user_attrs.pop("worker", None)
        age = datetime.now() - trial.datetime_start
        # Without a name, it was killed before it signed, or is about to sign.
        if is_held(_lock(storage, worker)) if worker else age < timedelta(seconds=GRACE):
            continue
        try:
            study.tell(trial.number, state=TrialState.FAIL)
        except (ValueError, optuna.exceptions.UpdateFinishedTrialError):
            continue  # another worker was first
        RetryHeartbeatStaleTrialCallback(RETRIES)(study, trial)


def finished_trials(study: optuna.Study) -> list:
    """Return the complete and pruned trials of a study, in order."""
    return study.get_trials(deepcopy=False, states=FINISHED)


def _is_database(storage):
    return "://" in str(storage) and not str(storage).startswith("sqlite")


def _lock(storage, worker):
    return Path(f"{storage}.{worker}.lock")


def _open_journal(storage):
    """Open a journal; cut off the partial line of a full disk, to which Optuna would append."""
    path = Path(storage)
    if path.suffix != ".journal":
        raise ValueError("neither a .journal file nor the address of a database")
    path.parent.mkdir(parents=True, exist_ok=True)
    lock = JournalFileOpenLock(str(path))
    backend = JournalFileBackend(str(path), lock)  # makes the file
    lock.acquire()
    try:
        records = path.read_bytes()
        if records and not records.startswith(b'{"op_code"'):
            raise ValueError(f"it starts with {records[:20]!r}")
        os.truncate(path, records.rfind(b"\n") + 1)
    finally:
        lock.release()
    return JournalStorage(backend)


def _open_database(address):
    if address.count("@") > 1:
        raise ValueError("not an address: in a password, @ is written %40")
    address = address.replace("postgresql://", "postgresql+psycopg://", 1)
    options = {
        "engine_kwargs": {"poolclass": NullPool},  # a server has few connections: keep none open
        "heartbeat_interval": HEARTBEAT,
        "grace_period": GRACE,
        "heartbeat_stale_trial_callback": RetryHeartbeatStaleTrialCallback(RETRIES),
    }
    with suppress(IntegrityError, ProgrammingError):  # another worker is creating the tables
        return RDBStorage(address, **options)
    time.sleep(2)
    return RDBStorage(address, **options)


@contextmanager
def _one_error(storage, kind):
    """Replace errors of Optuna, SQLAlchemy and drivers by one that contains no password."""
    try:
        yield
    except kind as error:
        cause = error.__cause__ or error
        found = f"{storage}: found no usable study ({type(cause).__name__}: {reason_of(cause)})"
        raise ValueError(
            f"{redact(found, storage)}, expected FILE.journal or postgresql://USER@HOST/DATABASE "
            "(pip install -e '.[postgres]')"
        ) from None
