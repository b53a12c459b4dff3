"""Read the weights of a network from a state dict, its own or that of the published code.

Only tensors are read from a file, never code. A file that holds a checkpoint is accepted as well:
the state dict may be an entry of it (``state_dict``, ``model``, ...), and the prefixes that
DataParallel and torch.compile add to the names of weights are removed.
"""

import re
from itertools import count
from pathlib import Path

import torch
from torch import nn

from cosmolib.study.io import read_state
from cosmolib.training.networks import O3, build_network

_PREFIXES = ("module.", "_orig_mod.", "module.")  # of DataParallel and torch.compile, in any order
_NESTED = ("state_dict", "model_state_dict", "model")  # entries of a checkpoint
_UNUSED = "B01."  # a layer that the published code creates and never uses


def load_weights(network: nn.Module, path: str | Path) -> nn.Module:
    """Load every weight of a network from a state dict.

    Raises
    ------
    FileNotFoundError
        The file does not exist.
    ValueError
        The file is not a state dict, or a name or shape does not fit; names the first such weight.
    """
    return _load(network, _read(path), path)


def load_published_weights(network: nn.Module, path: str | Path) -> nn.Module:
    """Load a state dict of the published code, such as ``weights_41.pt``, into an ``o3`` network.

    ``B01``, which the published code never uses, may be missing or have any shape. Raises the same
    errors as `load_weights`.
    """
    return _load(network, _read(path), path, _UNUSED)


def published_network(path: str | Path) -> O3:
    """Build the ``o3`` network of a state dict of the published code, in eval mode.

    Width, number of parameters and size of the maps (4 pixels, doubled by every block) are inferred
    from the shapes in the file. Dropout, which the file does not contain, is 0. Raises the same
    errors as `load_weights`.
    """
    state = _read(path)
    first, last = (_kind(state.get(f"{name}.weight")) for name in ("C01", "FC2"))
    shapes = re.fullmatch(r"float \((\d+), 1, 3, 3\) float \((\d+), \d+\)", f"{first} {last}")
    width, outputs = map(int, shapes.groups()) if shapes else (0, 0)
    blocks = next(block for block in count() if f"C{block}3.weight" not in state)
    if not (2 <= blocks <= 8 and width and outputs) or width % 2 or outputs % 2:
        found = f"C01.weight: {first}, FC2.weight: {last}, {blocks} blocks"
        expected = "one field, even numbers of channels and outputs, 2 to 8 blocks"
        raise ValueError(f"{path}: found {found}, expected the published network: {expected}")
    with torch.random.fork_rng([]):  # the initial weights are replaced: keep the state of torch
        network = build_network("o3", 4 * 2**blocks, width // 2, 0.0, outputs // 2)
    return _load(network, state, path, _UNUSED).eval()


def _read(path):
    """Return the tensors of a file by their names without prefixes."""
    state = read_state(path, "state dict", "a dict of tensors")
    while nested := [key for key in _NESTED if isinstance(state.get(key), dict)]:
        state = state[nested[0]]
    for name, value in state.items():
        if not (isinstance(name, str) and torch.is_tensor(value)):
            found = f"{name!r} to be {type(value).__name__}"
            raise ValueError(f"{path}: found {found}, expected a dict of tensors")
    for prefix in _PREFIXES:
        if all(name.startswith(prefix) for name in state):
            state = {name.removeprefix(prefix): value for name, value in state.items()}
    return state


def _load(network, state, path, unused=None):
    """Load weights after comparing every name, shape and kind of number."""
    own, kind = network.state_dict(), type(network).__name__
    skipped = {name for name in {*own, *state} if unused and name.startswith(unused)}
    for name in sorted({*own, *state} - skipped):
        found, expected = _kind(state.get(name)), _kind(own.get(name))
        if found != expected:
            raise ValueError(f"{path}: {name}: found {found}, expected {expected} in {kind}")
    network.load_state_dict(own | {name: state[name] for name in {*own} - skipped})
    return network


def _kind(weight):
    """Describe the kind of number and the shape of a weight."""
    if weight is None:
        return "no such weight"
    number = "complex" if weight.is_complex() else "float" if weight.is_floating_point() else "int"
    return f"{number} {tuple(weight.shape)}"
