"""A plain implementation of the published recipe, the reference of the benchmarks.

It follows arXiv:2504.17839 and its code, which follows CMD's: whole files in NumPy, a DataLoader
over single maps with augmentation per map, float32, a loop over Pylians' filter. The loop over
single maps with captum follows its tutorials. Nothing of it is used elsewhere.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import nn
from torch.utils.data import DataLoader, Dataset

LOW = np.array([0.1, 0.6, 0.25, 0.25, 0.5, 0.5])  # edges of the parameters' ranges
HIGH = np.array([0.5, 1.0, 4.0, 4.0, 2.0, 2.0])


def load_and_split(maps_path, params_path, seed=1):
    """Open, scale and split a whole file; return float32 maps and labels of each part.

    Returns
    -------
    list of (maps (n, 1, N, N), labels (n, 6)) tensors
        Training, validation, test: 90, 5 and 5 % of the simulations.
    """
    params = np.loadtxt(params_path)
    params = (params - LOW) / (HIGH - LOW)
    maps = np.load(maps_path, allow_pickle=False)
    maps[np.where(maps == 0)] = 1
    maps = np.where(maps < 0, -np.log10(np.abs(maps)), np.log10(np.abs(maps)))
    mean, std = np.mean(maps), np.std(maps)
    maps = (maps - mean) / std
    simulations = np.arange(len(params))
    np.random.seed(seed)  # noqa: NPY002  as published
    np.random.shuffle(simulations)  # noqa: NPY002
    edges = [int(len(params) * part) for part in (0, 0.9, 0.95, 1)]
    parts = []
    for first, last in zip(edges[:-1], edges[1:], strict=True):
        chosen = simulations[first:last]
        places = (chosen[:, None] * 15 + np.arange(15)).ravel()
        labels = np.repeat(params[chosen], 15, axis=0)
        x = torch.tensor(maps[places], dtype=torch.float32)[:, None]
        parts.append((x, torch.tensor(labels, dtype=torch.float32)))
    return parts


class TurnedMaps(Dataset):
    """Single maps (1, N, N) with their labels, each rotated and mirrored at random."""

    def __init__(self, x, theta):
        self.x, self.theta = x, theta

    def __len__(self):
        return len(self.x)

    def __getitem__(self, index):
        x = torch.rot90(self.x[index], int(torch.randint(4, ())), [1, 2])
        return (x.flip(2) if torch.randint(2, ()) else x), self.theta[index]


class PlainO3(nn.Module):
    """The network of the published code for maps of 256^2, with the names of its state dict."""

    def __init__(self, hidden, dropout=0.2):
        super().__init__()
        before = 1
        for block in range(6):
            channels = 2 * hidden * 2**block
            circular = {"padding": 1, "padding_mode": "circular"}
            setattr(self, f"C{block}1", nn.Conv2d(before, channels, 3, **circular))
            setattr(self, f"C{block}2", nn.Conv2d(channels, channels, 3, **circular))
            setattr(self, f"C{block}3", nn.Conv2d(channels, channels, 2, stride=2))
            for layer in (1, 2, 3):
                setattr(self, f"B{block}{layer}", nn.BatchNorm2d(channels))
            before = channels
        self.C61, self.B61 = nn.Conv2d(channels, 2 * channels, 4), nn.BatchNorm2d(2 * channels)
        self.FC1, self.FC2 = nn.Linear(2 * channels, channels), nn.Linear(channels, 12)
        self.dropout, self.LeakyReLU = nn.Dropout(dropout), nn.LeakyReLU(0.2)

    def forward(self, image):
        """Return means and standard deviations, (B, 6) each, of maps (B, 1, 256, 256)."""
        x = self.LeakyReLU(self.C01(image))
        for name in [f"{block}{layer}" for block in range(6) for layer in (1, 2, 3)][1:] + ["61"]:
            x = self.LeakyReLU(getattr(self, f"B{name}")(getattr(self, f"C{name}")(x)))
        x = x.view(image.shape[0], -1)
        x = self.FC2(self.dropout(self.LeakyReLU(self.FC1(self.dropout(x)))))
        return x[:, :6], torch.square(x[:, 6:])


def train_epoch(network, optimiser, x, theta, batch_size, device):
    """Train for one epoch and return the loss."""
    network.train()
    loader = DataLoader(TurnedMaps(x, theta), batch_size, shuffle=True, drop_last=True)
    total = 0.0
    for maps, labels in loader:
        maps, labels = maps.to(device), labels.to(device)
        mean, std = network(maps)
        square = torch.mean((labels - mean) ** 2, 0)
        spread = torch.mean(((labels - mean) ** 2 - std**2) ** 2, 0)
        loss = torch.mean(torch.log(square) + torch.log(spread))
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        total += loss.item()
    return total / len(loader)


def pylians_loop(maps, kmax, box_size=25.0):
    """Apply a top-hat cut to maps (n, N, N) one by one, with one filter for all."""
    import smoothing_library

    grid = maps.shape[-1]
    window = smoothing_library.FT_filter_2D(box_size, 0.0, grid, "Top-Hat-k", 1, 0.0, kmax)
    return np.array([smoothing_library.field_smoothing_2D(one, window, 1) for one in maps])


def integrated_gradients(network, x, baseline, target, n_steps=50):
    """Compute captum's Integrated Gradients of the mean map by map, (n, N, N)."""

    from captum.attr import IntegratedGradients

    method = IntegratedGradients(lambda maps: network(maps)[0])
    found = [
        method.attribute(one, baselines=baseline, target=target, n_steps=n_steps)
        for one in x.split(1)
    ]
    return torch.cat(found)[:, 0].detach().cpu().numpy()
