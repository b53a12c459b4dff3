"""Run networks fast on a CPU or a GPU: precision and compilation.

The profile key ``precision`` selects float32 or bfloat16 (by autocast) for convolutions; ``auto``
uses bfloat16 where the hardware supports it, which GPUs since 2020 and some CPUs (AVX-512 bf16) do.
Dense layers and the loss are always float32. The key ``compile`` selects torch.compile, which
merges normalisation, activation and padding into fewer passes over the maps. Compiling takes about
a minute, so ``auto`` uses it on a GPU and for long trainings on a CPU. Both choices depend only on
the machine and the amount of work, never on a measured time, so that a study takes the same path
each time on the same machine. `make bench` measures the times.
"""

import warnings
from typing import NamedTuple

import torch

# Pixels times epochs above which compiling for a CPU pays: it costs about a minute and saves 0.2 to
# 0.3 microseconds per pixel, which is four minutes here.
WORTH_COMPILING = 2**30


def select_device() -> str:
    """Return "cuda" if there is a GPU, else "cpu"."""
    return "cuda" if torch.cuda.is_available() else "cpu"


class Engine(NamedTuple):
    """Device, precision and compilation of a training, with "auto" resolved."""

    device: str
    precision: str  # "float32" or "bfloat16"
    compile: str  # "eager", "compiled" or "graphs"

    def autocast(self) -> torch.autocast:
        """Return the context for the forward pass of the network."""
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
        "graphs" also records the kernels of a training step and replays them (CUDA graphs), which
        helps for small maps, where the GPU waits for Python. On a CPU it means "compiled".
    device : str
    network : torch.nn.Module
    pixels : int
        Pixels of the training maps times epochs.
    """
    gpu = torch.device(device).type == "cuda"
    if precision == "auto":  # emulated bfloat16 would be slower than float32
        has = torch.cpu.get_capabilities().get("avx512_bf16", False)
        has = torch.cuda.is_bf16_supported(including_emulation=False) if gpu else has
        precision = "bfloat16" if has else "float32"
    if compiling == "auto":  # on a CPU, o3 and lite then take a third less time
        long = pixels >= WORTH_COMPILING and getattr(network, "compiles_on_cpu", False)
        compiling = "compiled" if gpu or long else "eager"
    elif compiling == "graphs" and not gpu:
        compiling = "compiled"
    return Engine(str(device), precision, compiling)


def compiled(network: torch.nn.Module, engine: Engine, x: torch.Tensor) -> tuple:
    """Compile a network for training on batches of one shape, without changing its state.

    If the network cannot be compiled (no C++ compiler, no Triton, an unsupported shape), a warning
    gives the reason and the network is used without compilation.

    Parameters
    ----------
    network : torch.nn.Module
        In training mode, on the device of the engine. Its weights are shared, not copied.
    engine : Engine
        Not an eager one.
    x : (B, 1, N, N) float32
        A batch, passed forward and backward once; buffers and random states are restored.

    Returns
    -------
    callable
        Replaces ``network(x)``.
    Engine
        The engine in use: after a failure, its ``compile`` is "eager".
    """
    buffers = {name: value.clone() for name, value in network.named_buffers()}
    try:
        mode = "reduce-overhead" if engine.compile == "graphs" else None
        run = torch.compile(network, dynamic=False, mode=mode)
        with torch.random.fork_rng([x.device] * x.is_cuda), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # the compiler's own deprecations
            with engine.autocast():
                mean, std = run(x)
            (mean.sum() + std.sum()).backward()
    except Exception as error:  # compilers raise errors of any kind
        reason = f"{type(error).__name__} ({' '.join(str(error).split())[:200]})"
        result = "the network runs without compilation"
        warnings.warn(f"torch.compile failed with {reason}; {result}", stacklevel=2)
        run, engine = network, engine._replace(compile="eager")
    network.zero_grad()
    network.load_state_dict(buffers, strict=False)
    return run, engine
