"""Networks that map one scaled matter map to the mean and width of each parameter's posterior.

All of them are moment networks (Jeffrey & Wandelt, arXiv:2011.05991): the first half of the output
is the mean, the squared second half the standard deviation, both in units of the parameter's range
(see `cosmolib.training.fit.normalise`). Convolutions pad circularly, because the boxes are
periodic.

========  ==========================================================================================
``o3``    the network of the published code (arXiv:2504.17839, after CMD's o3, arXiv:2109.10360)
``k4s2``  what its README describes: convolutions of kernel 4, stride 2, padding 1, two dense layers
``lite``  the default for small maps and few simulations: a global average pool, few weights
========  ==========================================================================================

A network of your own gets its name from `register_network`.
"""

from __future__ import annotations

import copy
from collections import OrderedDict
from pathlib import Path

import torch
from torch import nn
from torch.nn import functional
from torch.nn.utils.fusion import fuse_conv_bn_eval

from cosmolib.study.profile import ARCHITECTURES
from cosmolib.study.registry import NETWORKS, register
from cosmolib.study.state_dicts import read_state

_STATE = ("state dict", "a dict of tensors")  # what a file of weights is called in errors
# Components that torch.compile, DataParallel, FSDP and checkpointing add to the names of weights.
_WRAPPERS = {"_orig_mod", "module", "_fsdp_wrapped_module", "_checkpoint_wrapped_module"}
_ATTRIBUTES = ({("model",)}, {("net",)}, {("network",)})  # what training classes call a network
_NESTED = ("state_dict", "model_state_dict", "model", "network")  # where a checkpoint keeps one
_UNUSED = "B01."  # the published code makes it and never uses it
SLOPE = 0.2  # of LeakyReLU below zero, as published


class MomentNetwork(nn.Module):
    """What all networks share: features, two dense layers, mean and standard deviation.

    A subclass gives ``features(x)`` (B, F) and two layers: ``FC1``, from F features to any number,
    and ``FC2`` from these to 2 P.
    """

    trains_channels_last = False  # `fit` lays the weights out so, and back at its end
    compiles_on_cpu = False  # whether torch.compile makes a training step faster there

    def __init__(self, size: int, n_parameters: int, dropout: float):
        super().__init__()
        self.size, self.n_parameters = size, n_parameters
        self.dropout = nn.Dropout(dropout)
        self.activation = nn.LeakyReLU(SLOPE)

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Return mean and std, both (B, P), of scaled maps x (B, 1, N, N)."""
        if x.ndim != 4 or x.shape[1:] != (1, self.size, self.size):
            expected = f"(B, 1, {self.size}, {self.size})"
            raise ValueError(f"maps: found shape {tuple(x.shape)}, expected {expected}")
        x = self.features(x)  # (B, F)
        # A mean in bfloat16 would be rounded to half a percent of the parameter's range.
        with torch.autocast(x.device.type, enabled=False):
            x = self.dropout(x.float())
            x = self.dropout(self.activation(self.FC1(x)))
            mean, root = self.FC2(x).chunk(2, dim=1)  # (B, P) each
            return mean, root.square()

    @property
    def stages(self) -> dict[str, list[str]]:
        """Names of the layers with weights, grouped as the maps pass through them."""
        stages = {}
        for name, module in self.named_modules():
            if next(module.parameters(recurse=False), None) is not None:
                block = self._block_of(name)
                stages.setdefault(name if block is None else f"block {block}", []).append(name)
        return stages

    def _block_of(self, name: str) -> str | None:
        """Name of the block that a layer belongs to; None for a stage of its own."""
        return None


class O3(MomentNetwork):
    """The network of the published code; at 256^2 its weights load by name.

    Blocks of [3x3, 3x3, 2x2 stride 2] convolutions halve the map until it is 4x4; a 4x4 convolution
    and two dense layers follow. At 256^2 there are six blocks of 2H to 64H channels, as published;
    every halving of the map drops the last of them, so that 64^2 has four, up to 16H.
    """

    trains_channels_last = True
    compiles_on_cpu = True

    def __init__(self, size: int, hidden: int, dropout: float, n_parameters: int):
        super().__init__(size, n_parameters, dropout)
        self.hidden, self.n_blocks = hidden, _halvings(size)
        before, channels = 1, 2 * hidden
        for block in range(self.n_blocks):
            channels = 2 * hidden * 2**block
            for layer, inputs in ((1, before), (2, channels)):
                conv = nn.Conv2d(inputs, channels, 3, padding=1, padding_mode="circular")
                setattr(self, f"C{block}{layer}", conv)
            setattr(self, f"C{block}3", nn.Conv2d(channels, channels, 2, stride=2))
            for layer in (1, 2, 3):  # B01 is published and counted, but never used: see `features`
                setattr(self, f"B{block}{layer}", nn.BatchNorm2d(channels))
            before = channels
        last = self.n_blocks
        setattr(self, f"C{last}1", nn.Conv2d(channels, 2 * channels, 4))
        setattr(self, f"B{last}1", nn.BatchNorm2d(2 * channels))
        self.FC1 = nn.Linear(2 * channels, channels)
        self.FC2 = nn.Linear(channels, 2 * n_parameters)

    def features(self, x):
        """Return the features (B, 2^(blocks + 1) H) of maps (B, 1, N, N)."""
        names = [f"{block}{layer}" for block in range(self.n_blocks) for layer in (1, 2, 3)]
        for name in [*names, f"{self.n_blocks}1"]:
            x = getattr(self, f"C{name}")(x)
            if name != "01":  # no normalisation after the very first convolution
                x = getattr(self, f"B{name}")(x)
            # In place, for memory: no gradient needs what the rectifier gets, since convolution and
            # normalisation keep their inputs, and its own follows from the sign of its result.
            x = functional.leaky_relu(x, SLOPE, inplace=True)
        return x.flatten(1)

    def _block_of(self, name):
        return name[1] if name[0] in "CB" else None


class Pooled(MomentNetwork):
    """Convolutional blocks, a global average pool, two dense layers.

    The pool makes the features invariant under the shifts that the blocks are equivariant under,
    and keeps the dense layers small. A flatten in its place does worse with few simulations.
    """

    def __init__(self, blocks: list[nn.Module], size, features, dense, dropout, n_parameters):
        super().__init__(size, n_parameters, dropout)
        self.blocks = nn.Sequential(OrderedDict((f"block{i}", b) for i, b in enumerate(blocks)))
        self.FC1 = nn.Linear(features, dense)
        self.FC2 = nn.Linear(dense, 2 * n_parameters)

    def features(self, x):
        """Return the features (B, F) of maps (B, 1, N, N)."""
        return self.blocks(x).mean((2, 3))

    def _block_of(self, name):
        return name.split(".")[1].removeprefix("block") if "." in name else None


def _layer(inputs, outputs, kernel, stride, padding):
    conv = nn.Conv2d(
        inputs, outputs, kernel, stride, padding,
        padding_mode="circular" if padding else "zeros",
        bias=False,  # the normalisation has one
    )  # fmt: skip
    return [conv, nn.BatchNorm2d(outputs), nn.LeakyReLU(SLOPE)]


def _k4s2(size, hidden, dropout, n_parameters):
    """Kernel 4, stride 2, padding 1 down to 4x4; channels 2H, 4H, ... at most 64H."""
    channels = [1] + [2 * hidden * 2 ** min(block, 5) for block in range(_halvings(size))]
    blocks = [
        nn.Sequential(*_layer(before, after, 4, 2, 1))
        for before, after in zip(channels[:-1], channels[1:], strict=True)
    ]
    last = channels[-1]
    return Pooled(blocks, size, last, last // 2, dropout, n_parameters)


def _lite(size, hidden, dropout, n_parameters):
    """[3x3, 2x2 stride 2] down to 4x4; channels 3H, 6H, 12H, 16H, and 16H again on larger maps."""
    widths = [3 * hidden, 6 * hidden, 12 * hidden] + [16 * hidden] * 5
    channels = [1] + widths[: _halvings(size)]
    blocks = [
        nn.Sequential(*_layer(before, after, 3, 1, 1), *_layer(after, after, 2, 2, 0))
        for before, after in zip(channels[:-1], channels[1:], strict=True)
    ]
    return Pooled(blocks, size, channels[-1], 64, dropout, n_parameters)


def _halvings(size: int) -> int:
    """How often a map is halved until 4x4 is left."""
    return size.bit_length() - 3


_BUILDERS = dict(zip(ARCHITECTURES, (O3, _k4s2, _lite), strict=True))


def register_network(name: str):
    """Give a network a name of its own, for `build_network` and all that calls it: a decorator.

    Parameters
    ----------
    name : str
        Small letters, digits and _; part of the name of a run's folder.

    Returns
    -------
    callable
        Takes, and gives back, a class or function ``(size, hidden, dropout, n_parameters)`` that
        makes a `MomentNetwork`. Its convolutions and dense layers get their initial weights from
        `build_network`.

    Raises
    ------
    ValueError
        The name is none or taken, see `cosmolib.study.registry`.
    """

    def decorate(builder):
        register("architecture", name, builder, own=ARCHITECTURES)
        return builder

    return decorate


def build_network(
    name: str, size: int, hidden: int, dropout: float = 0.2, n_parameters: int = 6
) -> MomentNetwork:
    """Build a network with Kaiming-normal weights, as published, from torch's current random state.

    Parameters
    ----------
    name : str
        "o3", "k4s2", "lite", or one of `register_network`.
    size : int
        Pixels on a side of the maps, a power of two from 16 to 1024.
    hidden : int
        Width H; ``"o3"`` at 256^2 with H = 7 and six parameters has 11,521,592 weights.
    dropout : float
        Probability before each dense layer, 0 <= dropout < 1.
    n_parameters : int
        Parameters P that are predicted.

    Returns
    -------
    MomentNetwork
        ``mean, std = network(x)``: x (B, 1, size, size) scaled -> (B, P) and (B, P) >= 0.

    Raises
    ------
    ValueError
        An argument is none of these: names it, what was found and what was expected.
    """
    if name not in ARCHITECTURES and name not in NETWORKS:
        expected = ", ".join((*ARCHITECTURES, *NETWORKS))
        raise ValueError(f"architecture: found {name!r}, expected one of: {expected}")
    if not isinstance(size, int) or not 16 <= size <= 1024 or size & (size - 1):
        raise ValueError(f"size: found {size!r}, expected a power of two from 16 to 1024 pixels")
    for key, value in (("hidden", hidden), ("n_parameters", n_parameters)):
        if not isinstance(value, int) or value < 1:
            raise ValueError(f"{key}: found {value!r}, expected a whole number from 1")
    if not 0 <= dropout < 1:
        raise ValueError(f"dropout: found {dropout!r}, expected a number from 0 to below 1")
    builder = _BUILDERS[name] if name in _BUILDERS else NETWORKS[name]
    network = builder(size, hidden, dropout, n_parameters)
    if name in NETWORKS:
        _check_outputs(network, name, size, n_parameters)
    for module in network.modules():  # normalisations start at weight 1 and bias 0 by themselves
        if isinstance(module, (nn.Conv2d, nn.Linear)):
            nn.init.kaiming_normal_(module.weight)
    if name == "lite":
        # Measured on CPUs: a training step takes a fifth less time than with channels first, and
        # GPUs' matrix units want it. No gain for k4s2. `o3` has it in training alone: as published
        # it is channels first, and its published weights give the published outputs to 1e-5 so.
        network.to(memory_format=torch.channels_last)
    return network


@torch.no_grad()
def _check_outputs(network, name, size, n_parameters):
    """Refuse a user's network that is no moment network of these parameters."""
    if not isinstance(network, MomentNetwork):
        found = type(network).__name__
        raise ValueError(f"architecture {name!r}: found a {found}, expected a MomentNetwork")
    training = network.training
    mean, std = network.eval()(torch.zeros(3, 1, size, size))
    network.train(training)
    expected = 3, n_parameters
    if not mean.shape == std.shape == expected or not (std >= 0).all():
        raise ValueError(
            f"architecture {name!r}: found mean {tuple(mean.shape)} and std {tuple(std.shape)} of "
            f"3 maps, expected {expected} both, and no std below 0"
        )


@torch.no_grad()
def folded(network: nn.Module, x: torch.Tensor) -> nn.Module:
    """Return a copy in eval mode, without gradients of its weights and, where it can, faster.

    Each normalisation that follows a convolution is folded into it: the same function, in a fifth
    to a third less time a gradient on a CPU. Which pairs there are is seen by passing ``x`` through
    the network; where the folded copy does not give the same result, it is given up for a plain
    one.

    Parameters
    ----------
    network : torch.nn.Module
        Left as it is.
    x : (B, 1, N, N)
        Any scaled map, where the network stands.
    """
    plain = copy.deepcopy(network).eval().requires_grad_(False)
    fast = copy.deepcopy(plain)
    made, pairs = {}, []

    def note(module, inputs, output):
        if isinstance(module, nn.Conv2d):
            made[id(output)] = module, output  # kept alive, so that no other tensor gets its id
        elif id(inputs[0]) in made:
            pairs.append((made[id(inputs[0])][0], module))

    layers = [m for m in fast.modules() if isinstance(m, (nn.Conv2d, nn.BatchNorm2d))]
    hooks = [module.register_forward_hook(note) for module in layers]
    expected = fast(x)
    for hook in hooks:
        hook.remove()
    names = {module: name for name, module in fast.named_modules()}
    for conv, normalisation in pairs:
        for module, new in (
            (conv, fuse_conv_bn_eval(conv, normalisation)),
            (normalisation, nn.Identity()),
        ):
            fast.set_submodule(names[module], new)
    same = all(
        torch.allclose(a, b, rtol=1e-3, atol=1e-4) for a, b in zip(fast(x), expected, strict=True)
    )
    return fast if same else plain


def count_parameters(network: nn.Module) -> int:
    """Return the number of trainable weights."""
    return sum(weight.numel() for weight in network.parameters() if weight.requires_grad)


def load_published_weights(network: nn.Module, path: str | Path) -> nn.Module:
    """Load a state dict of the published code, such as ``weights_41.pt``, into an ``o3`` network.

    Only tensors are read from the file (``weights_only``), never code. The state dict may lie
    within a checkpoint (``state_dict``, ``model``), and the prefixes of wrapped networks
    (``module.``, ``_orig_mod.``) are removed; ``B01``, which the published code makes but never
    uses, may be missing or of any shape.

    Raises
    ------
    FileNotFoundError
        No such file.
    ValueError
        Not a state dict, or names or shapes that do not fit: names the first of them.
    """
    return _load(network, _read_weights(path, _UNUSED), path, _UNUSED)


def load_weights(network: nn.Module, path: str | Path) -> nn.Module:
    """Load a state dict, every weight of the network; wrappers and errors as above."""
    return _load(network, _read_weights(path), path)


def published_network(path: str | Path) -> O3:
    """Build the ``o3`` network that a state dict of the published code belongs to, in eval mode.

    Width, number of parameters and size of the maps (4 pixels, doubled by every block) are found
    from the shapes in the file, read as `load_published_weights` does. The file does not hold the
    dropout, which plays no part in eval mode: it is 0.

    Raises
    ------
    FileNotFoundError
        No such file.
    ValueError
        The file is not a state dict, or is that of another network: names what does not fit.
    """
    state = _read_weights(path, _UNUSED)
    blocks = 0
    while f"C{blocks}3.weight" in state:
        blocks += 1
    shapes = {}
    for name, dimensions in (("C01.weight", 4), ("FC2.weight", 2)):
        shapes[name] = tuple(state[name].shape) if name in state else None
        if name not in state or len(shapes[name]) != dimensions:
            found = f"no {name}" if name not in state else f"{name} of shape {shapes[name]}"
            raise ValueError(
                f"{path}: found {found} among {len(state)} weights, expected the published network "
                "(C01, C02, ..., FC1, FC2)"
            )
    (width, fields, *_), (outputs, _) = shapes["C01.weight"], shapes["FC2.weight"]
    if fields != 1:
        raise ValueError(f"{path}: found a network of {fields} fields, expected one field, Mtot")
    for name, found in (("C01", width), ("FC2", outputs)):
        if found < 2 or found % 2:
            raise ValueError(f"{path}: {name}: found {found} outputs, expected an even number")
    if not 2 <= blocks <= 8:
        raise ValueError(f"{path}: found {blocks} blocks of convolutions, expected 2 to 8")
    with torch.random.fork_rng([]):  # the initial weights are replaced: leave torch's state alone
        network = build_network("o3", 4 * 2**blocks, width // 2, 0.0, outputs // 2)
    return _load(network, state, path, _UNUSED).eval()


def _read_weights(path, unused=None):
    """Read {name: tensor} from a file, also of a checkpoint or of a wrapped network."""
    state = read_state(path, *_STATE)
    while inner := [key for key, value in state.items() if isinstance(value, dict)]:
        named = [key for key in _NESTED if key in inner]
        if not named and (len(inner) > 1 or any(map(torch.is_tensor, state.values()))):
            break
        state = state[(named or inner)[0]]
    for name, value in state.items():
        if not (isinstance(name, str) and torch.is_tensor(value)):
            found = f"{name!r} to be {type(value).__name__}"
            raise ValueError(f"{path}: found {found}, expected {_STATE[1]}")
    if all(name.startswith("module.") for name in state if name != "n_averaged"):
        state.pop("n_averaged", None)  # of torch's averaged models
    names = _unwrapped(state, unused)
    if len(set(names.values())) < len(names):
        raise ValueError(f"{path}: found weights of several networks, expected one state dict")
    return {plain: state[name] for name, plain in names.items()}


def _unwrapped(names, unused=None):
    """Map names of weights to those in a network without wrappers; leave out the unused ones."""
    parts = {name: [part for part in name.split(".") if part not in _WRAPPERS] for name in names}
    while {tuple(part[:1]) for part in parts.values()} in _ATTRIBUTES:
        parts = {name: part[1:] for name, part in parts.items()}
    plain = {name: ".".join(part) for name, part in parts.items()}
    return {name: text for name, text in plain.items() if not (unused and text.startswith(unused))}


def _load(network, state, path, unused=None):
    """Load a state of `_read_weights` after comparing every name and shape."""
    whole = network.state_dict()
    own = {plain: name for name, plain in _unwrapped(whole, unused).items()}
    _compare({plain: whole[name] for plain, name in own.items()}, state, network, path)
    network.load_state_dict(whole | {own[plain]: value for plain, value in state.items()})
    return network


def _compare(own, state, network, path):
    wrong = [
        f"{word} weight {min(names)!r}" + (f" and {len(names) - 1} more" if names[1:] else "")
        for names, word in (
            (sorted(own.keys() - state.keys()), "no"),
            (sorted(state.keys() - own.keys()), "unknown"),
        )
        if names
    ]
    if wrong:
        raise ValueError(
            f"{path}: found {', and '.join(wrong)}, expected the {len(own)} weights of "
            f"{type(network).__name__}"
        )
    for name, value in state.items():
        if value.shape != own[name].shape:
            raise ValueError(
                f"{path}: {name}: found shape {tuple(value.shape)}, "
                f"expected {tuple(own[name].shape)}: another width or map size?"
            )
        if value.is_floating_point() != own[name].is_floating_point() or value.is_complex():
            raise ValueError(f"{path}: {name}: found {value.dtype}, expected {own[name].dtype}")
