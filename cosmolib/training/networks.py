"""Networks that map a scaled matter map to the mean and width of each parameter's posterior.

All of them are moment networks (Jeffrey & Wandelt, arXiv:2011.05991): the first half of the output
is the mean, the square of the second half is the standard deviation, both in units of the
parameter's range (see `cosmolib.training.dataset.normalise`). Convolutions pad circularly, because
the boxes are periodic.

========  ==========================================================================================
``o3``    the network of the published code (arXiv:2504.17839, after CMD's o3, arXiv:2109.10360)
``k4s2``  the network of its README: convolutions of kernel 4 and stride 2, two dense layers
``lite``  the default for small maps: a strided stem, pooled mean and scatter, few weights
========  ==========================================================================================

`register_network` adds other networks.
"""

import copy
import re
from collections import OrderedDict
from itertools import pairwise

import torch
from torch import nn
from torch.nn import functional
from torch.nn.utils.fusion import fuse_conv_bn_eval

from cosmolib.study.profile import ARCHITECTURES
from cosmolib.study.registry import NETWORKS, register

SLOPE = 0.2  # negative slope of LeakyReLU, as published
_HALVINGS = {2**n: n - 2 for n in range(4, 11)}  # of a map by its size, to reach 4x4
_BLOCK = re.compile(r"(?:[CB]|blocks\.block)(\d)")  # start of the names of a block's layers


class MomentNetwork(nn.Module):
    """Base class: features, two dense layers, mean and standard deviation.

    A subclass defines ``features(x)``, which returns (B, F), and two dense layers: ``FC1`` from F
    features to any number of units, and ``FC2`` from these units to 2 P outputs.
    """

    trains_channels_last = False  # whether `fit` stores the weights channels-last during training
    compiles_on_cpu = False  # whether torch.compile makes a training step faster on a CPU

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
        # In bfloat16 the mean would be rounded to half a percent of the parameter's range.
        with torch.autocast(x.device.type, enabled=False):
            x = self.dropout(x.float())
            x = self.dropout(self.activation(self.FC1(x)))
            mean, root = self.FC2(x).chunk(2, dim=1)  # (B, P) each
            return mean, root.square()

    @property
    def stages(self) -> dict[str, list[str]]:
        """Names of the layers with weights, grouped by block in the order of the forward pass."""
        stages = {}
        for name, module in self.named_modules():
            if next(module.parameters(recurse=False), None) is not None:
                block = _BLOCK.match(name)
                stages.setdefault(f"block {block[1]}" if block else name, []).append(name)
        return stages

    def normalised(self) -> list[tuple[str, str]]:
        """Names of each convolution and of the batch norm that directly follows it."""
        return [
            (f"{name}.{a}", f"{name}.{b}")
            for name, module in self.named_modules()
            if isinstance(module, nn.Sequential)
            for (a, before), (b, after) in pairwise(module.named_children())
            if isinstance(before, nn.Conv2d) and isinstance(after, nn.BatchNorm2d)
        ]


class O3(MomentNetwork):
    """The network of the published code, with the same names of the layers.

    Blocks of [3x3, 3x3, 2x2 stride 2] convolutions halve the map until it is 4x4; a 4x4 convolution
    and two dense layers follow. Maps of 256^2 pass six blocks of 2H to 64H channels, as published;
    smaller maps pass fewer blocks: those of 64^2 four, of 2H to 16H channels.
    """

    trains_channels_last = True
    compiles_on_cpu = True

    def __init__(self, size: int, hidden: int, dropout: float, n_parameters: int):
        super().__init__(size, n_parameters, dropout)
        self.hidden, before, last = hidden, 1, _HALVINGS[size]
        for block in range(last):
            channels = 2 * hidden * 2**block
            for layer, inputs in ((1, before), (2, channels)):
                conv = nn.Conv2d(inputs, channels, 3, padding=1, padding_mode="circular")
                setattr(self, f"C{block}{layer}", conv)
            setattr(self, f"C{block}3", nn.Conv2d(channels, channels, 2, stride=2))
            for layer in (1, 2, 3):  # B01 is part of the published network but never used
                setattr(self, f"B{block}{layer}", nn.BatchNorm2d(channels))
            before = channels
        setattr(self, f"C{last}1", nn.Conv2d(channels, 2 * channels, 4))
        setattr(self, f"B{last}1", nn.BatchNorm2d(2 * channels))
        self.FC1 = nn.Linear(2 * channels, channels)
        self.FC2 = nn.Linear(channels, 2 * n_parameters)
        self._layers = [f"{b}{i}" for b in range(last) for i in (1, 2, 3)] + [f"{last}1"]

    def features(self, x):
        """Return the features (B, 2^(blocks + 1) H) of maps (B, 1, N, N)."""
        for name in self._layers:
            x = getattr(self, f"C{name}")(x)
            if name != "01":  # no normalisation after the first convolution
                x = getattr(self, f"B{name}")(x)
            # In place to save memory: the gradient of the activation follows from its output.
            x = functional.leaky_relu(x, SLOPE, inplace=True)
        return x.flatten(1)

    def normalised(self):
        return [(f"C{name}", f"B{name}") for name in self._layers if name != "01"]


class Pooled(MomentNetwork):
    """Convolutional blocks (each a list of layers), a global pool, two dense layers.

    The pool takes the mean of each channel and, with ``scatter``, its standard deviation. It makes
    the features invariant under shifts by the total stride of the blocks and keeps the dense layers
    small. Flattening instead of pooling gives a lower R2 with few simulations.
    """

    def __init__(self, blocks, size, channels, dense, dropout, n_parameters, scatter=False):
        super().__init__(size, n_parameters, dropout)
        named = ((f"block{i}", nn.Sequential(*layers)) for i, layers in enumerate(blocks))
        self.blocks = nn.Sequential(OrderedDict(named))
        self.scatter = self.compiles_on_cpu = scatter
        self.FC1 = nn.Linear((1 + scatter) * channels, dense)
        self.FC2 = nn.Linear(dense, 2 * n_parameters)

    def features(self, x):
        """Return the features (B, F) of maps (B, 1, N, N)."""
        x = self.blocks(x)
        if not self.scatter:
            return x.mean((2, 3))
        variance, mean = torch.var_mean(x.float(), (2, 3), correction=0)
        return torch.cat([mean, (variance + 1e-6).sqrt()], 1)  # finite slope at 0


def _layer(inputs, outputs, kernel, stride, padding):
    """Return a convolution, its batch norm and its activation."""
    mode = "circular" if padding else "zeros"
    # Without a bias, because batch norm adds one.
    conv = nn.Conv2d(inputs, outputs, kernel, stride, padding, padding_mode=mode, bias=False)
    return [conv, nn.BatchNorm2d(outputs), nn.LeakyReLU(SLOPE)]


def _k4s2(size, hidden, dropout, n_parameters):
    """Build `k4s2`: kernel 4, stride 2, padding 1 down to 4x4; channels 2H, 4H, ... up to 64H."""
    channels = [1] + [2 * hidden * 2 ** min(block, 5) for block in range(_HALVINGS[size])]
    blocks = [_layer(*pair, 4, 2, 1) for pair in pairwise(channels)]
    return Pooled(blocks, size, channels[-1], channels[-1] // 2, dropout, n_parameters)


def _lite(size, hidden, dropout, n_parameters):
    """Build `lite`: 4x4 stride 2, [3x3, 2x2 stride 2] down to 4x4, 3x3; 4H, 8H, 16H, ... channels.

    At equal cost it reaches a higher R2 than a wider network, a network without the strided stem
    and one that pools only means (`benchmarks/README.md`).
    """
    channels = [4 * hidden, 8 * hidden, *[16 * hidden] * 6][: _HALVINGS[size]]
    blocks = [_layer(1, channels[0], 4, 2, 1)]
    blocks += [_layer(a, b, 3, 1, 1) + _layer(b, b, 2, 2, 0) for a, b in pairwise(channels)]
    blocks.append(_layer(channels[-1], channels[-1], 3, 1, 1))
    return Pooled(blocks, size, channels[-1], 64, dropout, n_parameters, scatter=True)


_BUILDERS = dict(zip(ARCHITECTURES, (O3, _k4s2, _lite), strict=True))


def register_network(name: str):
    """Register a network under a name that `build_network` then accepts (a decorator).

    It decorates a class or function ``(size, hidden, dropout, n_parameters)`` that returns a
    `MomentNetwork`; `build_network` sets the initial weights of its convolutions and dense layers.

    Parameters
    ----------
    name : str
        Lower-case letters, digits and _; it becomes part of the folder name of a run.

    Raises
    ------
    ValueError
        The name is invalid or already in use, see `cosmolib.study.registry`.
    """

    def decorate(builder):
        register("architecture", name, builder, own=ARCHITECTURES)
        return builder

    return decorate


def build_network(
    name: str, size: int, hidden: int, dropout: float = 0.2, n_parameters: int = 6
) -> MomentNetwork:
    """Build a network with Kaiming-normal weights, drawn from the current random state of torch.

    Parameters
    ----------
    name : str
        "o3", "k4s2", "lite", or a name given to `register_network`.
    size : int
        Pixels along a side of the maps, a power of two from 16 to 1024.
    hidden : int
        Width H; ``"o3"`` at 256^2 with H = 7 and six parameters has 11,521,592 weights.
    dropout : float
        Dropout probability before each dense layer, 0 <= dropout < 1.
    n_parameters : int
        Number P of predicted parameters.

    Returns
    -------
    MomentNetwork
        ``mean, std = network(x)``: x (B, 1, size, size) scaled -> (B, P) and (B, P) >= 0.

    Raises
    ------
    ValueError
        An argument is invalid, or a registered network has outputs of another shape.
    """
    builders = _BUILDERS | NETWORKS
    for key, value, allowed, expected in (
        ("architecture", name, name in builders, f"one of: {', '.join(builders)}"),
        ("size", size, isinstance(size, int) and size in _HALVINGS,
         "a power of two from 16 to 1024 pixels"),
        ("hidden", hidden, isinstance(hidden, int) and hidden >= 1, "a positive integer"),
        ("n_parameters", n_parameters, isinstance(n_parameters, int) and n_parameters >= 1,
         "a positive integer"),
        ("dropout", dropout, 0 <= dropout < 1, "0 <= dropout < 1"),
    ):  # fmt: skip
        if not allowed:
            raise ValueError(f"{key}: found {value!r}, expected {expected}")
    network = builders[name](size, hidden, dropout, n_parameters)
    if name in NETWORKS:
        _check_outputs(network, name, size, n_parameters)
    for module in network.modules():  # batch norm already starts with weight 1 and bias 0
        if isinstance(module, (nn.Conv2d, nn.Linear)):
            nn.init.kaiming_normal_(module.weight)
    if name == "lite":
        # A training step on a CPU takes 20 % less time than with channels first, and the matrix
        # units of GPUs need this layout. `k4s2` gains nothing. `o3` uses it only in training:
        # its published weights give the published outputs to 1e-5 with channels first.
        network.to(memory_format=torch.channels_last)
    return network


@torch.no_grad()
def _check_outputs(network, name, size, n_parameters):
    """Raise an error if a registered network is not a moment network of these parameters."""
    if not isinstance(network, MomentNetwork):
        found = type(network).__name__
        raise ValueError(f"architecture {name!r}: found a {found}, expected a MomentNetwork")
    mean, std = network.eval()(torch.zeros(3, 1, size, size))
    network.train()
    if not mean.shape == std.shape == (3, n_parameters) or not (std >= 0).all():
        found = f"mean {tuple(mean.shape)} and std {tuple(std.shape)} for 3 maps"
        expected = f"{(3, n_parameters)} for both and no negative std"
        raise ValueError(f"architecture {name!r}: found {found}, expected {expected}")


@torch.no_grad()
def fused(network: nn.Module) -> nn.Module:
    """Return a copy in eval mode with fused batch norm and without gradients of its weights.

    Each batch norm that follows a convolution (`MomentNetwork.normalised`) is merged into it. The
    outputs are the same, and a gradient takes 15 % less time on a CPU. A network that is not a
    `MomentNetwork` is only copied.
    """
    fast = copy.deepcopy(network).eval().requires_grad_(False)
    for name, norm in fast.normalised() if isinstance(fast, MomentNetwork) else ():
        conv = fuse_conv_bn_eval(fast.get_submodule(name), fast.get_submodule(norm))
        fast.set_submodule(name, conv)
        fast.set_submodule(norm, nn.Identity())
    return fast
