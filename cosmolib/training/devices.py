"""Devices: what a machine can do, and how a network runs fast on it.

A profile says two things. ``precision``: convolutions in float32, or in bfloat16 by autocast, which
GPUs since 2020 and few CPUs have in hardware; ``auto`` takes it on a GPU that has. The dense layers
and the loss are float32 in any case. ``compile``: torch.compile merges normalisation, rectifier and
padding into fewer passes over the maps; it takes a minute first, so ``auto`` wants a GPU, or a long
training on a CPU. Both choices hang on the machine and the size of the work alone, never on a
stopwatch: the same study on the same machine takes the same path. `make bench` has the times.
"""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace

import torch

from cosmolib.study.profile import COMPILING, PRECISIONS

# Pixels times epochs of a training from which compiling for a CPU pays: it costs about a minute and
# saves some 0.3 microseconds a pixel (o3, two cores), which is 12 minutes here.
WORTH_COMPILING = 2**31


def select_device() -> str:
    """Return "cuda" where there is one, else "cpu"."""
    return "cuda" if torch.cuda.is_available() else "cpu"


@dataclass(frozen=True)
class Engine:
    """How a network is run on a device: no more "auto"."""

    device: str
    precision: str  # "float32" or "bfloat16"
    compile: str  # "eager", "compiled" or "graphs"

    def autocast(self) -> AbstractContextManager:
        """Return the context in which the network runs forward."""
        kind = torch.device(self.device).type
        return torch.autocast(kind, torch.bfloat16, enabled=self.precision == "bfloat16")

    def __str__(self):
        return f"{self.device} {self.precision} {self.compile}"


def choose_engine(precision: str, compiling: str, device: str, network, pixels: int) -> Engine:
    """Settle what "auto" means for one training.

    Parameters
    ----------
    precision : {"auto", "float32", "bfloat16"}
    compiling : {"auto", "eager", "compiled", "graphs"}
        "graphs" also records the kernels of a step once and replays them (CUDA graphs), for small
        maps, where the GPU waits for Python; on a CPU it is "compiled".
    device : str
    network : torch.nn.Module
    pixels : int
        That the training will see: those of its maps, times epochs.
    """
    for key, value, known in (
        ("precision", precision, PRECISIONS),
        ("compile", compiling, COMPILING),
    ):
        if value not in known:
            raise ValueError(f"{key}: found {value!r}, expected one of: {', '.join(known)}")
    gpu = torch.device(device).type == "cuda"
    if precision == "auto":
        # Emulated, it would be slower than float32.
        has = gpu and torch.cuda.is_bf16_supported(including_emulation=False)
        precision = "bfloat16" if has else "float32"
    if compiling == "auto":
        # Measured on a CPU: o3 gains a third; lite gains nothing on one thread.
        long = pixels >= WORTH_COMPILING and getattr(network, "compiles_on_cpu", False)
        compiling = "compiled" if gpu or long else "eager"
    if compiling == "graphs" and not gpu:
        compiling = "compiled"
    return Engine(str(device), precision, compiling)


def compiled(
    network: torch.nn.Module, engine: Engine, x: torch.Tensor
) -> tuple[Callable, Engine, float]:
    """Compile a network for training on batches like one, and leave no trace in it.

    Where it cannot be compiled (no C++ compiler, no Triton, a shape that the compiler fails on), a
    warning says why and the network runs as it is.

    Parameters
    ----------
    network : torch.nn.Module
        In training mode, on the engine's device. Its weights are shared, not copied.
    engine : Engine
        Any but an eager one.
    x : (B, 1, N, N) float32
        A batch, tried forward and backward; buffers and random states are put back.

    Returns
    -------
    callable
        Takes the place of ``network(x)``.
    Engine
        The one that is used: ``compile`` is "eager" after a failure.
    float
        Seconds that it took.
    """
    started = time.perf_counter()
    buffers = {name: value.clone() for name, value in network.named_buffers()}
    devices = [x.device] if x.is_cuda else []
    try:
        mode = "reduce-overhead" if engine.compile == "graphs" else None
        run = torch.compile(network, dynamic=False, mode=mode)
        with torch.random.fork_rng(devices), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # what the compiler says of its own parts
            with engine.autocast():
                mean, std = run(x)
            (mean.sum() + std.sum()).backward()
    except Exception as error:  # the compilers behind it raise what they like
        reason = " ".join(str(error).split())[:200]
        warnings.warn(
            f"torch.compile: found {type(error).__name__} ({reason}); the network runs as it is",
            stacklevel=2,
        )
        run, engine = network, replace(engine, compile="eager")
    network.zero_grad()
    with torch.no_grad():
        for name, value in network.named_buffers():
            value.copy_(buffers[name])
    return run, engine, time.perf_counter() - started
