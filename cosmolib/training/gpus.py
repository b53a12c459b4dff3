"""GPUs of this machine, shared out one a process: without torch, which takes seconds to import."""

from __future__ import annotations

import itertools
import os
import subprocess
import tempfile
import time
from contextlib import ExitStack, contextmanager
from pathlib import Path

from cosmolib.study.locks import Busy, held


def visible_gpus():
    """GPUs that this process may use, by the names that CUDA_VISIBLE_DEVICES takes."""
    given = os.environ.get("CUDA_VISIBLE_DEVICES")
    if given is not None:  # also what a cluster gave to this job
        return [name.strip() for name in given.split(",") if name.strip()]
    try:
        listing = subprocess.run(["nvidia-smi", "-L"], capture_output=True, text=True, timeout=60)
    except (OSError, subprocess.TimeoutExpired):
        return []
    return [str(i) for i, line in enumerate(listing.stdout.splitlines()) if line.startswith("GPU")]


@contextmanager
def one_gpu():
    """Let this process and its children see one GPU, which no other that asks here sees meanwhile.

    Where there is one or none, nothing is done. The lock of a GPU ends with its process.
    """
    gpus = visible_gpus()
    if len(gpus) < 2:
        yield
        return
    folder = Path(tempfile.gettempdir()) / f"cosmolib-gpus-{os.getuid()}"
    with ExitStack() as stack:
        for name in itertools.cycle(gpus):
            try:
                stack.enter_context(held(folder / f"{name}.lock", wait=False))
                break
            except Busy:
                time.sleep(0.2)
        os.environ["CUDA_VISIBLE_DEVICES"] = name
        yield
