"""Read the weights of a network from a state dict, its own or that of the published code.

Only tensors are read from a file, never code. The state dict may lie within a checkpoint
(``state_dict``, ``model``), and the prefixes of wrapped networks (``module.``, ``_orig_mod.``) are
removed.
"""

from __future__ import annotations

import re
from pathlib import Path

import torch
from torch import nn

from cosmolib.study.io import read_state
from cosmolib.training.networks import O3, build_network

# Components that torch.compile, DataParallel, FSDP and checkpointing add to the names of weights.
_WRAPPERS = {"_orig_mod", "module", "_fsdp_wrapped_module", "_checkpoint_wrapped_module"}
_ATTRIBUTES = ({("model",)}, {("net",)}, {("network",)})  # names of the network in training classes
_NESTED = ("state_dict", "model_state_dict", "model", "network")  # of a state dict in a checkpoint
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
    return _load(network, _read(path, _UNUSED), path, _UNUSED)


def published_network(path: str | Path) -> O3:
    """Build the ``o3`` network of a state dict of the published code, in eval mode.

    Width, number of parameters and size of the maps (4 pixels, doubled by every block) follow from
    the shapes in the file, which does not hold the dropout: it is 0. Raises the errors of
    `load_weights`.
    """
    state = _read(path, _UNUSED)
    first, last = (_kind(state.get(f"{name}.weight")) for name in ("C01", "FC2"))
    shapes = re.fullmatch(r"float \((\d+), 1, 3, 3\) float \((\d+), \d+\)", f"{first} {last}")
    width, outputs = map(int, shapes.groups()) if shapes else (0, 0)
    blocks = 0
    while f"C{blocks}3.weight" in state:
        blocks += 1
    if not (2 <= blocks <= 8 and width and outputs) or width % 2 or outputs % 2:
        raise ValueError(
            f"{path}: found C01.weight: {first}, FC2.weight: {last}, {blocks} blocks, expected the "
            "published network: one field, even numbers of channels and outputs, 2 to 8 blocks"
        )
    with torch.random.fork_rng([]):  # the initial weights are replaced: leave torch's state alone
        network = build_network("o3", 4 * 2**blocks, width // 2, 0.0, outputs // 2)
    return _load(network, state, path, _UNUSED).eval()


def _read(path, unused=None):
    """Return {plain name: tensor} of a file."""
    state = read_state(path, "state dict", "a dict of tensors")
    while inner := [key for key, value in state.items() if isinstance(value, dict)]:
        named = [key for key in _NESTED if key in inner]
        if not named and (len(inner) > 1 or any(map(torch.is_tensor, state.values()))):
            break
        state = state[(named or inner)[0]]
    for name, value in state.items():
        if not (isinstance(name, str) and torch.is_tensor(value)):
            found = f"{name!r} to be {type(value).__name__}"
            raise ValueError(f"{path}: found {found}, expected a dict of tensors")
    if all(name.startswith("module.") for name in state if name != "n_averaged"):
        state.pop("n_averaged", None)  # of torch's averaged models
    names = _unwrapped(state, unused)
    if len(set(names.values())) < len(names):
        raise ValueError(f"{path}: found weights of several networks, expected one state dict")
    return {plain: state[name] for name, plain in names.items()}


def _unwrapped(names, unused=None):
    """Map names of weights to those without wrappers; leave out the unused ones."""
    parts = {name: [part for part in name.split(".") if part not in _WRAPPERS] for name in names}
    while {tuple(part[:1]) for part in parts.values()} in _ATTRIBUTES:
        parts = {name: part[1:] for name, part in parts.items()}
    plain = {name: ".".join(part) for name, part in parts.items()}
    return {name: text for name, text in plain.items() if not (unused and text.startswith(unused))}


def _load(network, state, path, unused=None):
    """Load a state of `_read` after comparing every name, shape and kind of number."""
    whole = network.state_dict()
    own = {plain: name for name, plain in _unwrapped(whole, unused).items()}
    for name in sorted(own.keys() | state.keys()):
        found, expected = _kind(state.get(name)), _kind(whole.get(own.get(name)))
        if found != expected:
            raise ValueError(
                f"{path}: {name}: found {found}, expected {expected} in {type(network).__name__}"
            )
    network.load_state_dict(whole | {own[plain]: value for plain, value in state.items()})
    return network


def _kind(weight):
    """Describe a weight as far as it must fit."""
    if weight is None:
        return "no such weight"
    number = "complex" if weight.is_complex() else "float" if weight.is_floating_point() else "int"
    return f"{number} {tuple(weight.shape)}"
