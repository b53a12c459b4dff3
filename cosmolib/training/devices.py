"""Devices: how a network runs fast on a CPU or a GPU.

A profile has two settings. ``precision``: convolutions in float32, or in bfloat16 by autocast,
which GPUs since 2020 and some CPUs (AVX-512 bf16) support in hardware; ``auto`` uses it there. The
dense layers and the loss are always float32. ``compile``: torch.compile merges normalisation,
rectifier and padding into fewer passes over the maps; it takes a minute first, so ``auto`` uses it
on a GPU, or for a long training on a CPU. Both choices depend on the machine and the size of the
work only, never on a measured time: the same study on the same machine takes the same path.
`make bench` measures the times.
"""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace

import torch

# Pixels times epochs of a training from which compiling for a CPU pays: it costs about a minute and
# saves some 0.2 to 0.3 microseconds per pixel, which is four minutes here.
WORTH_COMPILING = 2**30


def select_device() -> str:
    """Return "cuda" where there is a GPU, else "cpu"."""
    return "cuda" if torch.cuda.is_available() else "cpu"


@dataclass(frozen=True)
class Engine:
    """How a network runs on a device, with "auto" resolved."""

    device: str
    precision: str  # "float32" or "bfloat16"
    compile: str  # "eager", "compiled" or "graphs"

    def autocast(self) -> AbstractContextManager:
        """Return the context for the network's forward pass."""
        kind = torch.device(self.device).type
        return torch.autocast(kind, torch.bfloat16, enabled=self.precision == "bfloat16")

    def __str__(self):
        return f"{self.device} {self.precision} {self.compile}"


def choose_engine(precision: str, compiling: str, device: str, network, pixels: int) -> Engine:
    """Resolve "auto" for one training.

    Parameters
    ----------
    precision : {"auto", "float32", "bfloat16"}
    compiling : {"auto", "eager", "compiled", "graphs"}
        "graphs" also records the kernels of a step once and replays them (CUDA graphs), for small
        maps, where the GPU waits for Python; on a CPU it is "compiled".
    device : str
    network : torch.nn.Module
    pixels : int
        Pixels of the training maps, times epochs.
    """
    gpu = torch.device(device).type == "cuda"
    if precision == "auto":
        # Emulated, it would be slower than float32.
        if gpu:
            has = torch.cuda.is_bf16_supported(including_emulation=False)
        else:
            has = torch.cpu.get_capabilities().get("avx512_bf16", False)
        precision = "bfloat16" if has else "float32"
    if compiling == "auto":
        # On a CPU, o3 and lite take a third less time.
        long = pixels >= WORTH_COMPILING and getattr(network, "compiles_on_cpu", False)
        compiling = "compiled" if gpu or long else "eager"
    if compiling == "graphs" and not gpu:
        compiling = "compiled"
    return Engine(str(device), precision, compiling)


def compiled(
    network: torch.nn.Module, engine: Engine, x: torch.Tensor
) -> tuple[Callable, Engine, float]:
    """Compile a network for training on batches like one, without changing its state.

    Where it cannot be compiled (no C++ compiler, no Triton, a shape that the compiler fails on), a
    warning gives the reason and the network runs as it is.

    Parameters
    ----------
    network : torch.nn.Module
        In training mode, on the engine's device. Its weights are shared, not copied.
    engine : Engine
        Not an eager one.
    x : (B, 1, N, N) float32
        A batch, passed forward and backward once; buffers and random states are restored.

    Returns
    -------
    callable
        Replaces ``network(x)``.
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
            warnings.simplefilter("ignore")  # of the compiler, about its own parts
            with engine.autocast():
                mean, std = run(x)
            (mean.sum() + std.sum()).backward()
    except Exception as error:  # the compilers behind it raise errors of any kind
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
