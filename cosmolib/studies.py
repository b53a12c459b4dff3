"""Optuna studies that many processes share: where they are kept, who works, who died.

Three stores, told apart by name: ``*.db``, a SQLite file for one process; ``*.journal``, a log on a
disk that all workers see; ``postgresql://...`` or another address, a database for many machines.

A study of n trials gets n, whatever happens. A trial's number is given by the store, one after the
other, so a trial that finds n living ones before it is one too many and takes itself back; a trial
whose worker died does not count, and waits with its settings for another worker. A worker of a file
is dead when the lock that it held is free; one of a database when its heartbeat (Optuna's) stops.
"""

from __future__ import annotations

import os
import time
import uuid
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from urllib.parse import quote

from cosmolib.locks import held, is_held

HEARTBEAT = 15  # [s] between two signs of life of a worker at a database
GRACE = 60  # [s] without one: it is dead
RETRIES = 3  # of one trial: settings that kill every worker are given up
_POLL = 0.5  # [s] between two looks at what others do


class _Surplus(Exception):
    """Enough trials were begun before this one."""


class SharedStudy:
    """One worker's view of a study; made by `open_study`.

    Attributes
    ----------
    study : optuna.study.Study
    alone : bool
        No other process can work at it.
    """

    def __init__(self, study, storage: str | Path, worker: str):
        self.study, self.worker = study, worker
        self.file = None if _is_address(storage) else Path(storage)
        self.alone = not is_shared(storage)
        self._silent: dict[int, float] = {}  # trial without a worker: when it was first seen

    def run(self, n_trials: int, objective: Callable, finished: Callable | None = None) -> None:
        """Work until the study has ``n_trials`` complete or pruned trials, by whomever.

        Parameters
        ----------
        n_trials : int
        objective : callable
            ``objective(trial, place)`` returns the value; ``place`` counts from 0 the trials that
            the study has, without those that failed.
        finished : callable, optional
            ``finished(trial)``, called after each trial of this worker.
        """

        def admitted(trial):
            trial.set_user_attr("worker", self.worker)
            place = sum(t.number < trial.number for t in self._living())
            if place >= n_trials:
                raise _Surplus
            return objective(trial, place)

        callbacks = [] if finished is None else [lambda study, trial: finished(trial)]
        while len(finished_trials(self.study)) < n_trials:
            self._bury()
            living = self._living()
            if len(living) < n_trials or any(t.state.name == "WAITING" for t in living):
                self.study.optimize(admitted, n_trials=1, catch=(_Surplus,), callbacks=callbacks)
            else:
                time.sleep(_POLL)  # others are at the last trials; one of them may die

    def _living(self):
        return [t for t in self.study.get_trials(deepcopy=False) if t.state.name != "FAIL"]

    def _bury(self):
        """Fail the running trials of dead workers and queue their settings again."""
        import optuna

        if self.file is None:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
                optuna.storages.fail_stale_trials(self.study)  # calls `_retry`
        running = [t for t in self._living() if t.state.name == "RUNNING"]
        for trial in running:
            if not self._is_dead(trial):
                continue
            try:
                self.study.tell(trial.number, state=optuna.trial.TrialState.FAIL)
            except (ValueError, optuna.exceptions.UpdateFinishedTrialError):  # told just now
                continue
            _retry(self.study, trial)

    def _is_dead(self, trial):
        worker = trial.user_attrs.get("worker")
        if self.alone:
            return True  # whoever began it is gone: the study is locked by us
        if worker is None:  # killed before its first word, or about to say it
            seen = self._silent.setdefault(trial.number, time.monotonic())
            return time.monotonic() - seen > GRACE
        return self.file is not None and not is_held(_worker_lock(self.file, worker))


@contextmanager
def open_study(storage: str | Path, name: str, pruner) -> Iterator[SharedStudy]:
    """Open a study that minimises, or make it, and count as one of its workers inside the block.

    Parameters
    ----------
    storage : path or address
        See the head of this module. Of a ``sqlite:///`` address the file is taken.
    name : str
    pruner : optuna.pruners.BasePruner

    Raises
    ------
    cosmolib.locks.Busy
        Another process works at the SQLite file.
    ModuleNotFoundError
        The database's driver is not installed.
    """
    import optuna

    worker = uuid.uuid4().hex[:12]
    storage = storage if _is_address(storage) else _path(storage)
    if _is_address(storage):
        lock = nullcontext()
    elif is_journal(storage):
        lock = held(_worker_lock(storage, worker), wait=False)
    else:
        lock = held(storage.with_name(f"{storage.name}.lock"), wait=False)
    with _quiet(optuna), lock:
        if is_journal(storage):
            _mend(storage)
        store = _open_storage(storage)
        study = optuna.create_study(
            storage=store,
            study_name=name,
            direction="minimize",
            load_if_exists=True,
            pruner=pruner,
        )
        try:
            yield SharedStudy(study, storage, worker)
        finally:
            if _is_address(storage):  # connections are few; another look opens a new one
                store.remove_session()
                store.engine.dispose()


def finished_trials(study) -> list:
    """Complete and pruned trials of a study, in order."""
    return [t for t in study.get_trials(deepcopy=False) if t.state.name in ("COMPLETE", "PRUNED")]


def is_journal(storage: str | Path) -> bool:
    """Whether a study is kept in a log on a shared disk."""
    return not _is_address(storage) and Path(str(storage)).suffix == ".journal"


def is_shared(storage: str | Path) -> bool:
    """Whether several processes may work at a study that is kept there."""
    return _is_address(storage) or is_journal(storage)


def _is_address(storage):
    return "://" in str(storage) and not str(storage).startswith("sqlite:///")


def _path(storage):
    return Path(str(storage).removeprefix("sqlite:///")).resolve()


def _worker_lock(path, worker):
    return path.with_name(f"{path.name}.{worker}.lock")


def _open_storage(storage):
    import optuna

    if is_journal(storage):
        journal = optuna.storages.journal
        lock = journal.JournalFileOpenLock(str(storage))
        return optuna.storages.JournalStorage(journal.JournalFileBackend(str(storage), lock))
    if not _is_address(storage):
        return f"sqlite:///file:{quote(str(storage))}?uri=true"  # a path may hold braces or a ?
    return _open_database(str(storage).replace("postgresql://", "postgresql+psycopg://", 1))


def _open_database(address, attempts=5):
    """Open a database; of workers that meet an empty one at once, one makes the tables."""
    from sqlalchemy.exc import IntegrityError, ProgrammingError

    for _ in range(attempts - 1):
        try:
            return _database(address)
        except (IntegrityError, ProgrammingError):  # another one is making them just now
            time.sleep(_POLL)
    return _database(address)


def _database(address):
    import optuna

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        return optuna.storages.RDBStorage(
            address,
            engine_kwargs={"pool_pre_ping": True},  # a database that was restarted is met again
            heartbeat_interval=HEARTBEAT,
            grace_period=GRACE,
            heartbeat_stale_trial_callback=_retry,
        )


def _retry(study, trial):
    """Queue the settings of a trial whose worker died, but not for ever."""
    import optuna

    retries = trial.user_attrs.get("retries", 0) + 1
    if retries > RETRIES:
        return
    kept = {key: value for key, value in trial.user_attrs.items() if key != "worker"}
    study.add_trial(
        optuna.trial.create_trial(
            state=optuna.trial.TrialState.WAITING,
            params=trial.params,
            distributions=trial.distributions,
            user_attrs={**kept, "retries": retries},
            system_attrs=trial.system_attrs,
        )
    )


def _mend(path):
    """Cut off the half line that a full disk may have left at the end of a journal."""
    from optuna.storages.journal import JournalFileOpenLock

    if not path.is_file():
        return
    lock = JournalFileOpenLock(str(path))
    lock.acquire()
    try:
        with open(path, "rb+") as file:
            lines = file.read()
            if lines and not lines.endswith(b"\n"):
                file.truncate(lines.rfind(b"\n") + 1)
                os.fsync(file.fileno())
    finally:
        lock.release()


@contextmanager
def _quiet(optuna):
    """Optuna prints a line a trial, with times, to stderr: the caller says what is needed."""
    verbosity = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    try:
        yield
    finally:
        optuna.logging.set_verbosity(verbosity)
