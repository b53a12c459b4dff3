"""Full posteriors by a normalising flow; for tests of coverage see tests/test_calibration.py."""

import numpy as np
import pytest
import torch

from cosmolib.data.tables import parameter_ranges
from cosmolib.training.fit import run_network
from cosmolib.training.networks import build_network
from cosmolib.validation import flow_posterior

LEVELS = np.array([0.2, 0.5, 0.6827, 0.9])
NAMES = np.array(["Omega_m", "sigma_8"])


def test_features_are_the_input_of_the_last_layer():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        network = build_network("lite", 16, 2, 0.3, 2)
        x = torch.randn(5, 1, 16, 16)
    found = flow_posterior.network_features(network, x)
    assert not network.training
    mean, root = network.FC2(torch.from_numpy(found)).chunk(2, dim=1)
    expected = run_network(network, x)
    torch.testing.assert_close((mean, root.square()), expected)


def problem(n=3000):
    """Features whose posterior is a correlated Gaussian with known moments inside the prior."""
    rng = np.random.default_rng(1)
    low, high = parameter_ranges("Lite")[:2].T
    theta = rng.uniform(0, 1, (n, 2)).astype(np.float32)
    sums = theta.sum(1) + 0.05 * rng.standard_normal(n)  # correlates the two parameters
    first = theta[:, 0] + 0.1 * rng.standard_normal(n)
    features = np.column_stack([sums, first, np.zeros(n)]).astype(np.float32)  # one is constant
    return features, theta, low + (high - low) * theta


@pytest.fixture(scope="module")
def fitted():
    pytest.importorskip("sbi")
    features, theta, _ = problem()
    state, lines = torch.get_rng_state(), []
    flow = flow_posterior.fit_posterior(
        (features[:2000], theta[:2000]), (features[2000:2400], theta[2000:2400]),
        suite="Lite", targets=NAMES, seed=3, max_epochs=80, progress=lines.append,
    )  # fmt: skip
    assert torch.equal(torch.get_rng_state(), state)
    assert len(lines) < 8  # of the validation loss every ten epochs: it stopped early
    return flow


def test_the_flow_finds_a_correlated_posterior(fitted):
    features, theta, physical = problem()
    samples = fitted.sample(features[2400:], 300, seed=1)
    low, high = parameter_ranges("Lite")[:2].T
    assert ((samples >= low) & (samples <= high)).all()
    # Away from the edges, the precision matrix is that of the two measurements.
    expected = np.linalg.inv(np.ones((2, 2)) / 0.05**2 + np.diag([1 / 0.1**2, 0]))
    middle = (np.abs(theta[2400:] - 0.5) < 0.15).all(1)
    box = (samples[middle] - low) / (high - low)  # (m, 300, 2)
    found = np.mean([np.cov(one.T) for one in box], axis=0)
    np.testing.assert_allclose(found, expected, rtol=0.3)
    assert found[0, 1] / np.sqrt(found[0, 0] * found[1, 1]) == pytest.approx(-0.9, abs=0.08)
    predictions = {"truth": physical[2400:], "simulation": np.arange(600), "parameters": NAMES}
    tarp = flow_posterior.tarp(samples, predictions, LEVELS, 100)
    np.testing.assert_allclose(tarp[:, 0], LEVELS, atol=0.08)
    pull = (samples.mean(1) - physical[2400:]) / samples.std(1, ddof=1)
    np.testing.assert_allclose((pull**2).mean(0), 1, atol=0.25)


def test_the_flow_is_seeded_and_writes_nothing(fitted, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    features, theta, _ = problem(300)
    pairs = (features[:200], theta[:200]), (features[200:], theta[200:])
    twice = [
        flow_posterior.fit_posterior(*pairs, suite="Lite", targets=NAMES, seed=s, max_epochs=2)
        for s in (5, 5, 6)
    ]
    drawn = [flow.sample(features[:3], 20, seed=1) for flow in twice]
    np.testing.assert_array_equal(drawn[0], drawn[1])
    assert not np.allclose(drawn[0], drawn[2])
    assert list(tmp_path.iterdir()) == []
