"""Full posteriors: tests of coverage separate correct from wrong ones; the flow is correct."""

import numpy as np
import pytest
import torch

from cosmolib.data.tables import parameter_ranges
from cosmolib.training.dataset import normalise
from cosmolib.training.fit import run_network
from cosmolib.training.networks import build_network
from cosmolib.validation import flow_posterior

LEVELS = np.array([0.2, 0.5, 0.6827, 0.9])
NAMES = np.array(["Omega_m", "sigma_8"])


def gaussian(scale=1.0, shift=0.0, m=2000, n=200):
    """Posteriors of `scale` times the correct width, displaced by `shift` widths."""
    rng = np.random.default_rng(0)
    truth = rng.standard_normal((m, 2))  # the prior; the posterior of a noisy value is exact
    width = np.sqrt(0.2)
    mean = 0.8 * (truth + 0.5 * rng.standard_normal((m, 2))) + width * shift
    samples = mean[:, None] + width * scale * rng.standard_normal((m, n, 2))
    return samples, {"truth": truth, "simulation": np.arange(m), "parameters": NAMES}


def test_correct_posteriors_have_nominal_coverage():
    samples, predictions = gaussian()
    found = flow_posterior.rank_coverage(samples, predictions, LEVELS, 200)
    for table in (*found.values(), flow_posterior.tarp(samples, predictions, LEVELS, 200)):
        np.testing.assert_allclose(table[:, 0], LEVELS, atol=0.04)
        assert (table[:, 1] <= table[:, 0]).all()
        assert (table[:, 0] <= table[:, 2]).all()


@pytest.mark.parametrize(("scale", "sign"), [(0.6, -1), (1.6, 1)])
def test_wrong_widths_are_detected(scale, sign):
    samples, predictions = gaussian(scale)
    for table in flow_posterior.rank_coverage(samples, predictions, [0.6827], 200).values():
        assert sign * (table[0, 0] - 0.6827) > 0.1
        assert not table[0, 1] < 0.6827 < table[0, 2]
    tarp = flow_posterior.tarp(samples, predictions, [0.1, 0.9], 200)
    # If too narrow, the truth is too often closer or farther than nearly all samples.
    assert sign * (tarp[1, 0] - tarp[0, 0] - 0.8) > 0.05


def test_a_bias_is_detected():
    samples, predictions = gaussian(shift=1.5)
    for table in flow_posterior.rank_coverage(samples, predictions, [0.6827], 200).values():
        assert table[0, 0] < 0.55
    tarp = flow_posterior.tarp(samples, predictions, LEVELS, 200)
    assert np.abs(tarp[:, 0] - LEVELS).max() > 0.08


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
        features[:2000], theta[:2000], features[2000:2400], theta[2000:2400],
        suite="Lite", targets=NAMES, seed=3, max_epochs=80, progress=lines.append,
    )  # fmt: skip
    assert torch.equal(torch.get_rng_state(), state)
    assert len(lines) < 8  # of the validation loss every ten epochs: it stopped early
    return flow


def test_the_flow_finds_a_correlated_posterior(fitted):
    features, theta, physical = problem()
    samples = fitted.sample(features[2400:], 300, seed=1)
    low, high = parameter_ranges("Lite")[:2].T
    assert (samples >= low).all()
    assert (samples <= high).all()
    # Away from the edges, the precision matrix is that of the two measurements.

    precision = np.array([[1, 1], [1, 1]]) / 0.05**2 + np.diag([1 / 0.1**2, 0])
    expected = np.linalg.inv(precision)
    middle = (np.abs(theta[2400:] - 0.5) < 0.15).all(1)
    box = normalise(np.pad(samples[middle].reshape(-1, 2), ((0, 0), (0, 4))), "Lite", tuple(NAMES))
    box = box.reshape(-1, 300, 2)
    found = np.mean([np.cov(one.T) for one in box], axis=0)
    np.testing.assert_allclose(found, expected, rtol=0.3)
    assert found[0, 1] / np.sqrt(found[0, 0] * found[1, 1]) == pytest.approx(-0.9, abs=0.08)
    predictions = {"truth": physical[2400:], "simulation": np.arange(600), "parameters": NAMES}
    tarp = flow_posterior.tarp(samples, predictions, LEVELS, 100)
    np.testing.assert_allclose(tarp[:, 0], LEVELS, atol=0.08)
    moments = flow_posterior.as_predictions(samples, predictions)
    pull = (moments["mean"] - physical[2400:]) / moments["std"]
    np.testing.assert_allclose((pull**2).mean(0), 1, atol=0.25)


def test_the_flow_is_seeded_and_writes_nothing(fitted, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    features, theta, _ = problem(300)
    pairs = (features[:200], theta[:200], features[200:], theta[200:])
    twice = [
        flow_posterior.fit_posterior(*pairs, suite="Lite", targets=NAMES, seed=s, max_epochs=2)
        for s in (5, 5, 6)
    ]
    drawn = [flow.sample(features[:3], 20, seed=1) for flow in twice]
    np.testing.assert_array_equal(drawn[0], drawn[1])
    assert not np.allclose(drawn[0], drawn[2])
    assert list(tmp_path.iterdir()) == []
