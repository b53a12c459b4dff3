"""The benchmark of speed: both sides do the same work, and the page shows the table."""

import json

import numpy as np
import pytest
import reference
import speed
import tables
import torch

from cosmolib.cuts.apply import apply_cut
from cosmolib.data.suites import open_suite
from cosmolib.interpretation.attribution import attribute, make_baseline
from cosmolib.training.fit import moment_loss, seeded
from cosmolib.training.networks import build_network


def test_the_plain_cut_and_attribution_give_the_same_maps():
    maps = np.array(open_suite("Lite").maps[:3])
    plain, ours = reference.pylians_loop(maps, 3.0), apply_cut(maps, "kmax:3")
    assert np.abs(plain - ours).max() < 1e-4 * maps.std()
    assert np.abs(ours - maps).max() > maps.std()
    with seeded(1):
        network = build_network("k4s2", 64, 2, 0.0, 2).eval()
    x = torch.from_numpy(np.log10(maps)[:, None] - 11)
    baseline = make_baseline("mean_log", x)
    plain = reference.integrated_gradients(network, x, baseline, 1, 100)
    ours = attribute(network, x, "integrated_gradients", 1, baseline=baseline, n_steps=100).values
    assert np.corrcoef(plain.ravel(), ours.ravel())[0, 1] > 0.999


def test_the_plain_loader_rotates_maps_and_its_training_learns():
    x = torch.arange(4.0).view(1, 1, 2, 2)
    turned = reference.TurnedMaps(x, torch.zeros(1, 6))
    torch.manual_seed(0)
    assert len({tuple(turned[0][0].flatten().tolist()) for _ in range(200)}) == 8

    class Bias(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.both = torch.nn.Parameter(torch.tensor([0.1, 1.0]))

        def forward(self, maps):
            return [value.expand(len(maps), 6) for value in self.both]

    theta, x, network = torch.rand(32, 6), torch.zeros(32, 1, 2, 2), Bias()
    optimiser = torch.optim.Adam(network.parameters(), lr=0.05)
    losses = [reference.train_epoch(network, optimiser, x, theta, 32, "cpu") for _ in range(60)]
    expected = moment_loss(torch.full((32, 6), 0.1), torch.ones(32, 6), theta)
    assert losses[0] == pytest.approx(float(expected), rel=1e-5)
    assert losses[-1] < losses[0] - 1


def test_operations_are_counted():
    one = torch.nn.Sequential(torch.nn.Conv2d(1, 4, 2, stride=2, bias=False))
    flops = 2 * 4 * 4 * 8 * 8  # two per weight and pixel of the output
    assert speed.count(one, 16, "weights") == (3 * flops, 3 * (16 * 16 + 4 * 8 * 8))
    assert speed.count(one, 16, "input")[0] == 2 * flops


def test_a_row_is_measured_and_shown(tmp_path, monkeypatch, capsys):
    """With few maps and in this process."""

    def here(*arguments, folder):
        speed.main([*map(str, arguments), "--folder", str(folder)])
        return json.loads(capsys.readouterr().out.splitlines()[-1])

    for name, value in {"in_child": here, "SIDE": 64, "COPIED": 2**16, "CUT_MAPS": 8}.items():
        monkeypatch.setattr(speed, name, value)
    table = tmp_path / "speed.json"
    arguments = ["--only", "cut", "--keep", "--table", table, "--folder", tmp_path / "none"]
    assert speed.main(list(map(str, arguments))) == 0
    found = json.loads(table.read_text())
    row = found["rows"]["cut"]
    assert row["ratio"] == pytest.approx(row["reference"]["seconds"] / row["ours"]["seconds"])
    assert len(row["ours"]["all_seconds"]) == speed.REPEATS
    found["accuracy"] = [
        {"kind": "float32", "epoch_seconds": 1.5,
         "scores": {"Omega_m": {"r2": 0.9, "r2_low": 0.85, "r2_high": 0.93}}}
    ]  # fmt: skip
    found["growth"] = [
        {"work": work, "maps": n, "grid": grid, "seconds": n * grid**2 / 1e7, "peak_mb": n}
        for work, n, grid in speed.growth_points()
    ]
    table.write_text(json.dumps(found))
    tables.write_benchmarks(tmp_path, tmp_path, tmp_path)
    text = (tmp_path / "speed.md").read_text()
    asked = tables.TARGETS["cut"][row["floor"] is None]
    assert f"| {row['ratio']:.2f} | {asked:g} |" in text
    assert "| float32 | 1.50 | 0.900 (0.850 to 0.930) |" in text
    assert "not measured" in text
    assert (tmp_path / "growth.png").stat().st_size > 10_000
    assert "{figure} _static/growth.png" in text


def test_without_a_table_the_page_names_the_command(tmp_path):
    tables.write_benchmarks(tmp_path, tmp_path, tmp_path)
    for name, (_, command) in tables.BENCHES.items():
        text = (tmp_path / f"{name}.md").read_text()
        assert text == f"*Not measured: `make {command}` makes this table.*\n"
