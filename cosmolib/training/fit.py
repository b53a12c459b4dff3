"""Fit networks to maps: moment loss, augmentation, learning rates, training loop, checkpoints.

The recipe is the published one (arXiv:2504.17839 and its code): moment loss, AdamW, a cyclic
learning rate, weights of the best validation epoch. Additions of this package: augmentation of each
batch instead of stored copies, an optional one-cycle learning rate, a scaling that is fitted to the
training maps only, and checkpoints from which training resumes bit by bit. Maps that fit in the
memory of a GPU stay on it and are augmented there.
"""

import math
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path

import torch

from cosmolib.study.identity import changes, digest, identity
from cosmolib.study.io import read_state, reason_of, write_state
from cosmolib.study.profile import Profile
from cosmolib.training.dataset import Data, MapsOnDisk, network_inputs, stored
from cosmolib.training.devices import choose_engine, compiled

# Pixels per batch without gradients: 256 maps of 64 x 64, on a GPU 128 maps of 256 x 256.
EVALUATION_PIXELS = {"cpu": 2**20, "cuda": 2**23}
_ADVICE = "; remove the file to train again"


def moment_loss(mean: torch.Tensor, std: torch.Tensor, theta: torch.Tensor) -> torch.Tensor:
    """Compute the loss whose minimum is at the mean and standard deviation of each posterior.

    It is the mean over parameters of log <(theta - mean)^2> + log <((theta - mean)^2 - std^2)^2>,
    where <> averages over the batch (CMD, arXiv:2109.10360; moment networks, arXiv:2011.05991).

    Parameters
    ----------
    mean, std, theta : (B, P)
        Normalised, see `cosmolib.training.dataset.normalise`.
    """
    return _moments(mean, std, theta).log().sum(0).mean()


def _moments(mean, std, theta):
    """Return the two averages over the batch that enter the loss, (2, P)."""
    square = (theta - mean) ** 2
    return torch.stack([square.mean(0), ((square - std**2) ** 2).mean(0)])


def augment(x: torch.Tensor, generator: torch.Generator, symmetries: bool, shifts: bool):
    """Rotate, mirror and shift every map of a batch at random.

    A projected map has no preferred orientation (eight symmetries of the square), and a periodic
    map has no origin (all shifts by whole pixels). A single gather applies both without a loop.

    Parameters
    ----------
    x : (B, 1, N, N)
        On any device; not changed.
    generator : torch.Generator
        On the CPU, so that a seed gives the same sequence on every device.
    symmetries, shifts : bool

    Returns
    -------
    (B, 1, N, N)
        A new tensor, or x itself with neither symmetries nor shifts.
    """
    if not (symmetries or shifts):
        return x
    batch, n = len(x), x.shape[-1]

    def drawn(high, count):  # on the CPU; the indices are computed on the device of the maps
        numbers = torch.randint(high, (count, batch, 1), generator=generator)
        return numbers.to(x.device, non_blocking=True)

    index = torch.arange(n, device=x.device).repeat(2, batch, 1)  # (2, B, N): row and column
    rows, columns = index
    if symmetries:
        flips = drawn(2, 3).bool()
        rows, columns = torch.where(flips[:2], n - 1 - index, index)
    if shifts:
        rows, columns = (torch.stack([rows, columns]) + drawn(n, 2)) % n
    place = rows[:, :, None] * n + columns[:, None, :]  # (B, N, N), into the flattened map
    if symmetries:
        place = torch.where(flips[2, :, :, None], place.mT, place)
    return x.reshape(batch, -1).gather(1, place.flatten(1)).view_as(x)


# --------------------------------------------------------------------------------------------------
# Fitting
# --------------------------------------------------------------------------------------------------
@contextmanager
def seeded(seed: int, device: str = "cpu"):
    """Seed torch within a block (initial weights, dropout) and restore its state afterwards."""
    devices = [torch.cuda.current_device()] if str(device).startswith("cuda") else []
    with torch.random.fork_rng(devices):
        torch.manual_seed(seed)
        yield


def learning_rate(step: int, n_steps: int, profile: Profile) -> float:
    """Compute the learning rate of a step, as torch's schedulers do but without state to store.

    "onecycle" (arXiv:1708.07120, with torch's defaults): a cosine from max_lr / 25 up to max_lr in
    the first 30 % of the steps, and down to max_lr / 250,000 at the last step. "cyclic"
    (published): linear from 1e-9 to max_lr in 500 steps and back in 500.
    """
    if profile.schedule == "cyclic":
        rise = 1 - abs((step % 1000) / 500 - 1)
        return 1e-9 + (profile.max_lr - 1e-9) * rise
    low, high, peak = profile.max_lr / 25, profile.max_lr, 0.3 * n_steps - 1
    if step <= peak:
        start, end, x = low, high, step / peak if peak > 0 else 1.0
    else:
        start, end, x = high, low / 1e4, (step - peak) / max(n_steps - 1 - peak, 1e-9)
    return end + (start - end) * (1 + math.cos(math.pi * min(x, 1.0))) / 2


def fit(
    network: torch.nn.Module, data: Data, profile: Profile, *, seed: int,
    checkpoint: str | Path | None = None, device: str = "cpu", progress=None, epoch_callback=None,
) -> list[dict]:  # fmt: skip
    """Train a network in place; it ends with the weights of the best validation epoch.

    Every epoch passes the training maps in a new random order. Its last batch may be smaller, as
    published.

    Parameters
    ----------
    network : torch.nn.Module
        ``mean, std = network(x)``, with initial weights.
    data : Data
    profile : Profile
        Its section "Training" is used, and its ``precision`` and ``compile``, see
        `cosmolib.training.devices`.
    seed : int
        Seed of the order of the maps, of augmentation and of dropout. The global random state of
        torch is not changed.
    checkpoint : path, optional
        Written atomically after each epoch. If the file exists, training resumes from it; on a CPU
        with the same number of threads the result is the same bit by bit.
    device : str
    progress : callable, optional
        Called with a line of text per epoch.
    epoch_callback : callable, optional
        Called with the row of the history after each epoch and its checkpoint; it may raise.

    Returns
    -------
    list of dict
        One row per epoch: epoch (from 1), lr (at the last step), train_loss, valid_loss, seconds,
        engine.

    Raises
    ------
    FloatingPointError
        The loss is no longer finite.
    ValueError
        The checkpoint is damaged or belongs to another training.
    """
    layout = stored_layout = torch.preserve_format
    if getattr(network, "trains_channels_last", False):
        layout, stored_layout = torch.channels_last, torch.contiguous_format
    network.to(device, memory_format=layout)
    optimiser = torch.optim.AdamW(
        network.parameters(), lr=profile.max_lr, betas=tuple(profile.betas),
        weight_decay=profile.weight_decay, fused=True,  # one kernel for all weights
    )  # fmt: skip
    generator = torch.Generator().manual_seed(seed)
    now = checkpoint and _identity(network, data, profile, seed)
    train_x, train_theta = _placed(data.train_x, device), data.train_theta.to(device)
    pixels = profile.epochs * math.prod(data.train_x.shape)
    engine = choose_engine(profile.precision, profile.compile, device, network, pixels)
    history, best = [], None
    with seeded(seed, device):
        run = network
        if engine.compile != "eager":
            first = train_x[: profile.batch_size].to(device, torch.float32)
            run, engine = compiled(network.train(), engine, first)
        if checkpoint is not None and Path(checkpoint).is_file():
            history, best = _resume(checkpoint, now, network, optimiser, generator, device)
        for epoch in range(len(history) + 1, profile.epochs + 1):
            started = time.perf_counter()
            network.train()
            lr, train_loss = _train_epoch(
                run, network, engine, optimiser, train_x, train_theta, profile, epoch, generator
            )
            outputs = run_network(network, data.valid_x, device=device)
            valid_loss = float(moment_loss(*outputs, data.valid_theta))
            if not (math.isfinite(train_loss) and math.isfinite(valid_loss)):
                found = f"found a loss of {train_loss} (training) and {valid_loss} (validation)"
                advice = f"expected finite numbers; max_lr {profile.max_lr:g} may be too high"
                raise FloatingPointError(f"epoch {epoch}: {found}, {advice}")
            if best is None or valid_loss < min(row["valid_loss"] for row in history):
                best = {k: v.detach().cpu().clone() for k, v in network.state_dict().items()}
            seconds = time.perf_counter() - started
            row = {"epoch": epoch, "lr": lr, "train_loss": train_loss, "valid_loss": valid_loss}
            history.append(row | {"seconds": seconds, "engine": str(engine)})
            if checkpoint is not None:
                random = {"maps": generator.get_state(), "cpu": torch.get_rng_state()}
                random["cuda"] = torch.cuda.get_rng_state() if "cuda" in str(device) else None
                state = {"identity": now, "history": history, "best": best, "random": random}
                state |= {"network": network.state_dict(), "optimiser": optimiser.state_dict()}
                write_state(checkpoint, state)
            if progress is not None:
                losses = f"training {train_loss:8.3f}  validation {valid_loss:8.3f}"
                progress(f"epoch {epoch:3d}/{profile.epochs}  {losses}  {seconds:6.1f} s")
            if epoch_callback is not None:
                epoch_callback(history[-1])
    network.load_state_dict(best)
    network.to(memory_format=stored_layout).eval()
    return history


def _train_epoch(run, network, engine, optimiser, x, theta, profile, epoch, generator):
    """Pass once over the training maps; return the last learning rate and the loss.

    As published, the loss is that of the moments averaged over all maps of the epoch. A smaller
    last batch uses the network itself, because a compiled network takes batches of one shape.
    """
    order = torch.randperm(len(x), generator=generator).split(profile.batch_size)
    order = [chosen for chosen in order if len(chosen) > 1]  # a single map has no moments
    steps, total = len(order), 0.0
    for step, (chosen, maps) in enumerate(_batches(x, order, engine.device)):
        lr = learning_rate((epoch - 1) * steps + step, profile.epochs * steps, profile)
        for group in optimiser.param_groups:
            group["lr"] = lr
        maps = augment(maps, generator, profile.symmetries, profile.shifts)
        with engine.autocast():
            outputs = (run if len(maps) == len(order[0]) else network)(maps)
        moments = _moments(*outputs, theta[chosen])  # (2, P)
        optimiser.zero_grad()
        moments.log().sum(0).mean().backward()  # moment_loss
        optimiser.step()
        total = total + len(maps) * moments.detach()  # on the device: no synchronisation per step
    return lr, float((total / sum(map(len, order))).log().sum(0).mean())


def _batches(x, order, device):
    """Yield indices (B,) and maps (B, 1, N, N) float32 of each batch, both on the device.

    A thread reads ahead maps that are on disk, or in main memory when the device is a GPU; for a
    GPU they pass through pinned memory.
    """
    kind = torch.device(device).type

    def fetch(chosen):
        return x[chosen].pin_memory() if kind == "cuda" else x[chosen]

    if isinstance(x, torch.Tensor) and x.device.type == kind:
        for chosen in order:
            chosen = chosen.to(device, non_blocking=True)
            yield chosen, x[chosen].to(torch.float32)
        return
    with ThreadPoolExecutor(1) as thread:
        coming = thread.submit(fetch, order[0])
        for chosen, following in zip(order, [*order[1:], None], strict=True):
            maps = coming.result()
            if following is not None:
                coming = thread.submit(fetch, following)
            maps = maps.to(device, non_blocking=True).to(torch.float32)
            yield chosen.to(device, non_blocking=True), maps


@torch.no_grad()
def run_network(network, x, batch_size=None, device="cpu", symmetries=False) -> tuple:
    """Compute mean and std of scaled maps, (n, P) on the CPU, and leave the network in eval mode.

    ``x`` holds maps in any form that `cosmolib.training.dataset.network_inputs` accepts;
    `MapsOnDisk` are read batch by batch. With ``symmetries``, mean and std are averaged over the
    eight rotations and reflections of each map. The prediction is then invariant under them and
    takes eight times as long; the std remains that of a single orientation.
    """
    x = x if isinstance(x, MapsOnDisk) else network_inputs(x)
    network.to(device).eval()
    pixels = EVALUATION_PIXELS[torch.device(device).type]
    batch_size = batch_size or max(1, pixels // x.shape[-1] ** 2)
    outputs = []
    for start in range(0, len(x), batch_size):
        maps = x[start : start + batch_size].to(device, torch.float32)
        sides, turns = ((maps, maps.flip(-1)), range(4)) if symmetries else ((maps,), range(1))
        seen = [side.rot90(turn, (-2, -1)) for side in sides for turn in turns]
        outputs.append(sum(torch.stack(network(one)) for one in seen) / len(seen))  # (2, b, P)
    mean, std = torch.cat(outputs, dim=1).cpu()
    return mean, std


def _placed(x, device):
    """Copy the training maps to the GPU if half its free memory holds them, if need be as float16.

    Rounding a scaled map to float16 changes it by less than a thousandth of its scatter.
    """
    if torch.device(device).type != "cuda" or not isinstance(x, torch.Tensor):
        return x
    room = torch.cuda.mem_get_info(device)[0] / 2
    for dtype in dict.fromkeys((x.dtype, torch.float16)):
        if x.numel() * dtype.itemsize < room:
            return stored(x, dtype, device)
    return x


# --------------------------------------------------------------------------------------------------
# Checkpoints
# --------------------------------------------------------------------------------------------------
def _identity(network, data, profile, seed):
    """Return the identity of the training that a checkpoint belongs to."""
    kind = type(network)
    return identity(
        "checkpoint", profile, fingerprint=data.fingerprint, suite=data.suite, cut=data.cut,
        seed=seed, scaling=asdict(data.scaling), train_maps=len(data.train_x),
        labels=float(data.train_theta.double().cumsum(0).sum()),  # depends on their order
        network=f"{kind.__module__}.{kind.__qualname__} {digest(repr(network))}",
    )  # fmt: skip


def _resume(path, now, network, optimiser, generator, device):
    """Restore a training from its checkpoint; return its history and best weights."""
    state = read_state(path, "checkpoint", f"one{_ADVICE}")
    if different := changes(state.get("identity"), now):
        raise ValueError(f"{path}: this checkpoint is of another training: {different[0]}{_ADVICE}")
    try:
        history, best = state["history"], state["best"]
        total = sum(row["valid_loss"] + row["train_loss"] + row["seconds"] for row in history)
        epochs = [row["epoch"] for row in history]
        if not epochs or epochs != [*range(1, len(epochs) + 1)] or not math.isfinite(total):
            raise ValueError(f"epochs {epochs}, sum of losses and seconds {total}")
        network.load_state_dict(best)  # only to check that they fit
        network.load_state_dict(state["network"])
        optimiser.load_state_dict(state["optimiser"])
        generator.set_state(state["random"]["maps"])
        torch.set_rng_state(state["random"]["cpu"])
        if state["random"]["cuda"] is not None and "cuda" in str(device):
            torch.cuda.set_rng_state(state["random"]["cuda"])
    except Exception as error:  # torch raises many kinds of errors
        reason = f"the checkpoint is damaged ({reason_of(error)})"
        raise ValueError(f"{path}: {reason}{_ADVICE}") from None
    return history, best
