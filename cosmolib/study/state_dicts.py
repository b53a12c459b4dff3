"""Files of torch (weights, checkpoints): written whole, read without executing anything."""

import io
import pickle
import re
from pathlib import Path

import torch

from cosmolib.study.io import atomic_path, reason_of


def write_state(path: str | Path, state) -> None:
    """Write tensors and plain values to ``path`` atomically.

    By way of memory: on a full disk torch's own writer ends in a RuntimeError that names no file.

    Raises
    ------
    OSError
        The disk is full or the folder cannot be written: names the file.
    """
    buffer = io.BytesIO()
    torch.save(state, buffer)
    with atomic_path(path) as temporary:
        temporary.write_bytes(buffer.getbuffer())


def read_state(path: str | Path, what: str, expected: str) -> dict:
    """Read a dict that `write_state` or ``torch.save`` wrote, on the CPU.

    Pickled objects are refused and never made: torch reads with ``weights_only=True``.

    Parameters
    ----------
    path : path
    what, expected : str
        For the error: "found no <what> (<torch's reason>), expected <expected>".

    Raises
    ------
    FileNotFoundError
        No such file.
    ValueError
        The file is something else, or damaged: names it, and torch's reason.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"{path}: found no such file, expected a {what}")
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # torch raises many kinds for files that are not its own
        found = f"no {what} ({_why_refused(error)})"
        raise ValueError(f"{path}: found {found}, expected {expected}") from None
    if not isinstance(state, dict):
        raise ValueError(f"{path}: found {type(state).__name__}, expected {expected}")
    return state


def _why_refused(error):
    """Say in a few words why torch refused a file; its own message advises to trust the file."""
    if pickled := re.search(r"GLOBAL ([\w.]+)", str(error)):
        return f"it holds a pickled {pickled[1]}, and pickled objects can run code"
    if isinstance(error, EOFError):
        return "it is empty"
    if isinstance(error, pickle.UnpicklingError):
        return "it was not written by torch.save"
    return reason_of(error).split(". ")[0].rstrip(".")
