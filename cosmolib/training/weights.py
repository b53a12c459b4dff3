"""Read the weights of a network from a state dict, its own or that of the published code.

Only tensors are read from a file, never code. The state dict may lie within a checkpoint
(``state_dict``, ``model_state_dict``, ``model``), and the prefixes of DataParallel and
``torch.compile`` (``module.``, ``_orig_mod.``) are removed.
"""

from __future__ import annotations

import re
from pathlib import Path

import torch
from torch import nn

from cosmolib.study.state_dicts import read_state
from cosmolib.training.networks import O3, build_network

_WRAPPERS = re.compile(r"\b(module|_orig_mod)\.")
_NESTED = ("state_dict", "model_state_dict", "model")  # of a state dict in a checkpoint
_UNUSED = "B01."  # a layer that the published code makes and never uses


def load_weights(network: nn.Module, path: str | Path) -> nn.Module:
    """Load every weight of a network from a state dict.

    Raises
    ------
    FileNotFoundError
        No such file.
    ValueError
        Not a state dict, or names or shapes that do not fit: names the first of them.
    """
    return _load(network, _read(path), path)


def load_published_weights(network: nn.Module, path: str | Path) -> nn.Module:
    """Load a state dict of the published code, such as ``weights_41.pt``, into an ``o3`` network.

    ``B01``, which the published code never uses, may be missing or of any shape. Raises the errors
    of `load_weights`.
    """
    return load_weights(network, path)


def published_network(path: str | Path) -> O3:
    """Build the ``o3`` network of a state dict of the published code, in eval mode.

    Width, number of parameters and size of the maps (4 pixels, doubled by every block) follow from
    the shapes in the file, which does not hold the dropout: it is 0. Raises the errors of
    `load_weights`.
    """
    state = _read(path)
    shape = {name: tuple(value.shape) for name, value in state.items()}
    first, last = shape.get("C01.weight", ()), shape.get("FC2.weight", ())
    blocks = sum(f"C{block}3.weight" in state for block in range(9))
    convolves = first[1:] == (1, 3, 3) and len(last) == 2
    if not (convolves and min(first[0], last[0]) >= 2 and 2 <= blocks <= 8):
        raise ValueError(
            f"{path}: found C01.weight of shape {first}, FC2.weight of shape {last} and {blocks} "
            "blocks, expected the published network: (2 H, 1, 3, 3), (2 P, 64 H), 2 to 8 blocks"
        )
    with torch.random.fork_rng([]):  # the initial weights are replaced: leave torch's state alone
        network = build_network("o3", 4 * 2**blocks, first[0] // 2, 0.0, last[0] // 2)
    return _load(network, state, path).eval()


def _read(path):
    """Return {plain name: tensor} of a file."""
    state = read_state(path, "state dict", "a dict of tensors")
    state = next((state[key] for key in _NESTED if isinstance(state.get(key), dict)), state)
    for name, value in state.items():
        if not (isinstance(name, str) and torch.is_tensor(value)):
            found = f"{name!r} to be {type(value).__name__}"
            raise ValueError(f"{path}: found {found}, expected a dict of tensors")
    plain = {_WRAPPERS.sub("", name): value for name, value in state.items()}
    if len(plain) < len(state):
        raise ValueError(f"{path}: found weights of several networks, expected one state dict")
    return plain


def _load(network, state, path):
    """Load a state of `_read` after comparing every name, shape and kind of number."""
    whole = network.state_dict()
    own = {_WRAPPERS.sub("", name): name for name in whole}
    names = own.keys() | state.keys()
    if any(isinstance(module, O3) for module in network.modules()):
        names = {name for name in names if not name.startswith(_UNUSED)}
    for name in sorted(names):
        found, expected = _kind(state.get(name)), _kind(whole.get(own.get(name)))
        if found != expected:
            raise ValueError(
                f"{path}: {name}: found {found}, expected {expected} in {type(network).__name__}"
            )
    network.load_state_dict(whole | {own[name]: state[name] for name in names})
    return network


def _kind(weight):
    """Describe a weight as far as it must fit."""
    if weight is None:
        return "no such weight"
    number = "complex" if weight.is_complex() else "float" if weight.is_floating_point() else "int"
    return f"{number} {tuple(weight.shape)}"
