"""Loss, augmentation, schedules, and training that resumes bit by bit."""

import math
from dataclasses import replace
from functools import partial

import numpy as np
import pytest
import torch

from cosmolib.data.cmd_format import PARAMETERS
from cosmolib.study.profile import load_profile
from cosmolib.training import fit as training_fit
from cosmolib.training.dataset import prepare_data
from cosmolib.training.fit import augment, fit, learning_rate, moment_loss, seeded
from cosmolib.training.networks import build_network


@pytest.fixture(scope="module")
def profile():
    return load_profile("tiny", epochs=3, dropout=0.2)


def new_network(seed=1, dropout=0.2):
    with seeded(seed):
        return build_network("lite", 32, 1, dropout, 2)


# -------------------------------------------------------------------------------------------- loss
def test_moment_loss_against_the_formula():
    rng = np.random.default_rng(0)
    mean, std, theta = rng.random((3, 5, 2))
    square = (theta - mean) ** 2
    per_parameter = [
        math.log(square[:, p].mean()) + math.log(((square[:, p] - std[:, p] ** 2) ** 2).mean())
        for p in range(2)
    ]
    loss = moment_loss(*map(torch.from_numpy, (mean, std, theta)))
    assert float(loss) == pytest.approx(np.mean(per_parameter))


# ------------------------------------------------------------------------------------ augmentation
def test_augmentation_gives_exactly_the_symmetries_and_shifts():
    """For both at once see tests/test_devices.py."""
    n, batch = 4, 3000
    square = np.arange(n * n, dtype=np.float32).reshape(n, n)
    x = torch.from_numpy(square).repeat(batch, 1, 1, 1)

    def seen(symmetries, shifts):
        out = augment(x, torch.Generator().manual_seed(0), symmetries, shifts)
        assert out.shape == x.shape
        return {tuple(one.ravel().tolist()) for one in out}

    turned = [np.rot90(one, k) for one in (square, square.T) for k in range(4)]
    rolled = [np.roll(square, (i, j), (0, 1)) for i in range(n) for j in range(n)]
    assert len({tuple(t.ravel()) for t in turned}) == 8
    assert seen(True, False) == {tuple(t.ravel()) for t in turned}
    assert seen(False, True) == {tuple(r.ravel()) for r in rolled}
    assert torch.equal(x[0, 0], torch.from_numpy(square))  # the input does not change
    assert augment(x, torch.Generator(), False, False) is x


# ---------------------------------------------------------------------------------------- schedule
@pytest.mark.parametrize("n_steps", [40, 1003])
def test_schedules_are_those_of_torch(profile, n_steps):
    weight = torch.nn.Parameter(torch.zeros(1))
    lr, schedulers = profile.max_lr, torch.optim.lr_scheduler
    onecycle = partial(schedulers.OneCycleLR, max_lr=lr, total_steps=n_steps)
    cyclic = partial(schedulers.CyclicLR, base_lr=1e-9, max_lr=lr, step_size_up=500)
    for name, build in (("onecycle", onecycle), ("cyclic", cyclic)):
        optimiser = torch.optim.SGD([weight], lr=1.0)
        scheduler = build(optimiser, cycle_momentum=False)
        for step in range(n_steps):
            found = learning_rate(step, n_steps, profile.replace(schedule=name))
            assert found == pytest.approx(optimiser.param_groups[0]["lr"], abs=1e-12)
            optimiser.step()
            if step < n_steps - 1:
                scheduler.step()


# ----------------------------------------------------------------------------------------- fitting
def test_training_learns(data, profile):
    """The loss decreases, and the learning rate follows the schedule."""
    network, lines, rows = new_network(), [], []
    history = fit(network, data, profile.replace(epochs=6, schedule="cyclic"), seed=1,
                  progress=lines.append, epoch_callback=rows.append)  # fmt: skip
    assert rows == history
    assert "epoch   2/6" in lines[1]
    assert [row["epoch"] for row in history] == [1, 2, 3, 4, 5, 6]
    assert history[-1]["train_loss"] < history[0]["train_loss"] - 0.5
    steps = math.ceil(len(data.train_x) / profile.batch_size)
    assert history[-1]["lr"] == pytest.approx(profile.max_lr * (6 * steps - 1) / 500, rel=1e-4)
    names = {"epoch", "lr", "train_loss", "valid_loss", "seconds", "engine"}
    assert set(history[0]) == names
    assert history[0]["engine"] == "cpu float32 eager"


def test_the_best_validation_epoch_is_kept(data, profile):
    """With a learning rate that is too high, the last epoch is not the best one."""
    network = new_network()
    wild = profile.replace(epochs=8, max_lr=0.3, schedule="cyclic", batch_size=8)
    history = fit(network, data, wild, seed=1)
    losses = [row["valid_loss"] for row in history]
    assert losses[-1] > min(losses)
    mean, std = training_fit.run_network(network, data.valid_x)
    assert float(moment_loss(mean, std, data.valid_theta)) == pytest.approx(min(losses), rel=1e-6)
    assert not network.training


def test_a_seed_fixes_the_result_and_keeps_the_state_of_torch(data, profile):
    torch.manual_seed(123)
    before = torch.get_rng_state()
    results = []
    for seed in (1, 1, 2):
        network = new_network()
        history = fit(network, data, profile, seed=seed)
        results.append(([row["train_loss"] for row in history], network.state_dict()))
        torch.rand(3)  # other uses of the global state have no effect
    torch.set_rng_state(before)
    assert results[0][0] == results[1][0]
    assert all(torch.equal(results[0][1][k], results[1][1][k]) for k in results[0][1])
    assert results[0][0] != results[2][0]
    fit(new_network(), data, profile.replace(epochs=1), seed=5)
    assert torch.equal(torch.get_rng_state(), before)


def test_o3_resumes_and_keeps_the_published_layout(tmp_path, suite, profile):
    """Its layer B01 is never used and has no state in the optimiser.

    For kills at any moment see tests/test_survival.py.
    """
    six = profile.replace(targets=list(PARAMETERS), epochs=2)
    data, path, layouts, results = prepare_data(suite, six), tmp_path / "o3.pt", [], []

    def stop(row):
        raise KeyboardInterrupt

    def seen(layer, *_):
        layouts.append(layer.weight.is_contiguous(memory_format=torch.channels_last))

    for interrupted in (False, True):
        with seeded(1):
            network = build_network("o3", 32, 1, 0.1, 6)
        network.C12.register_forward_hook(seen)
        if interrupted:
            with pytest.raises(KeyboardInterrupt):
                fit(network, data, six, seed=1, checkpoint=path, epoch_callback=stop)
        fit(network, data, six, seed=1, checkpoint=path if interrupted else None)
        results.append(network.state_dict())
    assert all(layouts)  # channels last during training
    assert network.C12.weight.is_contiguous()  # and as published afterwards
    assert all(torch.equal(value, results[1][name]) for name, value in results[0].items())


def test_a_checkpoint_of_another_training_is_refused(tmp_path, data, profile):
    path = tmp_path / "checkpoint.pt"
    short = profile.replace(epochs=1)
    fit(new_network(), data, short, seed=1, checkpoint=path)
    with pytest.raises(ValueError, match=r"another training: seed: found 1, expected 2"):
        fit(new_network(), data, short, seed=2, checkpoint=path)
    with pytest.raises(ValueError, match=r"another training: max_lr: found 0.003, expected 0.1"):
        fit(new_network(), data, short.replace(max_lr=0.1), seed=1, checkpoint=path)


@pytest.mark.parametrize("part", ["history", "best", "random"])
def test_a_damaged_checkpoint_is_refused(tmp_path, data, profile, part):
    path = tmp_path / "checkpoint.pt"
    short = profile.replace(epochs=2)
    fit(new_network(), data, short.replace(epochs=1), seed=1, checkpoint=path)
    state = torch.load(path, weights_only=True)
    state["identity"]["epochs"] = 2
    state[part].pop() if part == "history" else state[part].popitem()
    torch.save(state, path)
    with pytest.raises(ValueError, match=r"checkpoint.pt: the checkpoint is damaged \(.+remove"):
        fit(new_network(), data, short, seed=1, checkpoint=path)


def test_a_loss_that_is_not_finite_is_an_error(data, profile):
    bad = replace(data, train_x=data.train_x.clone())
    bad.train_x[:, :, 0, 0] = math.nan
    with pytest.raises(FloatingPointError, match=r"epoch 1: found a loss of nan"):
        fit(new_network(), bad, profile, seed=1)


def test_predictions_averaged_over_symmetries_do_not_depend_on_the_orientation():
    """They are the average over the eight rotated and mirrored maps."""
    with training_fit.seeded(0):
        network = build_network("lite", 16, 2, n_parameters=2)
    x = torch.randn(5, 1, 16, 16, generator=torch.Generator().manual_seed(0))
    found = torch.stack(training_fit.run_network(network, x, symmetries=True))
    turned = [one.rot90(k, (2, 3)) for one in (x, x.transpose(2, 3)) for k in range(4)]
    single = [torch.stack(training_fit.run_network(network, one)) for one in turned]
    assert not torch.allclose(single[0], single[1], atol=1e-3)
    torch.testing.assert_close(found, torch.stack(single).mean(0))
    for one in turned[1::3]:
        again = torch.stack(training_fit.run_network(network, one, 2, symmetries=True))
        torch.testing.assert_close(again, found)
