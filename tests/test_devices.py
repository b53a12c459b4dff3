"""How a network is run: precision, compilation and its fallback, threads, augmentation."""

import threading

import pytest
import torch

import cosmolib.training.devices as devices
from cosmolib.data.arrays import in_parallel
from cosmolib.training.devices import Engine, choose_engine, compiled
from cosmolib.training.fit import augment, moment_loss, seeded
from cosmolib.training.networks import build_network


@pytest.fixture
def network():
    with seeded(3):
        return build_network("k4s2", 16, 2, 0.2, 2)


def test_auto_depends_on_the_machine_and_the_amount_of_work(network, monkeypatch):
    with seeded(0):
        o3 = build_network("o3", 16, 1)
    long = devices.WORTH_COMPILING
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"avx2": True})
    assert choose_engine("auto", "auto", "cpu", o3, long - 1) == Engine("cpu", "float32", "eager")
    assert choose_engine("auto", "auto", "cpu", o3, long) == Engine("cpu", "float32", "compiled")
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"avx512_bf16": True})
    found = choose_engine("auto", "auto", "cpu", network, long)
    assert found == Engine("cpu", "bfloat16", "eager")
    assert choose_engine("bfloat16", "graphs", "cpu", o3, 1) == Engine(
        "cpu", "bfloat16", "compiled"
    )
    for has, precision in ((True, "bfloat16"), (False, "float32")):
        monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation, h=has: h)
        found = choose_engine("auto", "auto", "cuda", network, 1)
        assert found == Engine("cuda", precision, "compiled")
    assert choose_engine("float32", "graphs", "cuda", network, 1).compile == "graphs"


def test_outputs_are_float32_under_autocast(network):
    x = torch.randn(8, 1, 16, 16, generator=torch.Generator().manual_seed(0))
    network.eval()
    plain = network(x)[0]
    with Engine("cpu", "bfloat16", "eager").autocast():
        seen = []
        network.blocks[0].register_forward_hook(lambda *of: seen.append(of[2].dtype))
        mean, std = network(x)
    assert seen == [torch.bfloat16]
    assert mean.dtype == std.dtype == torch.float32
    difference = (mean - plain).abs().max()
    assert 0 < difference < 0.03 * plain.std()
    # Not rounded to the 8 bits of bfloat16, which would cost half a percent of the range.
    assert (mean != mean.bfloat16().float()).any()


@pytest.mark.skipif(" " in torch.__file__, reason="torch.compile cannot link below such a path")
@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # torch's own
def test_compiling_does_not_change_state_or_gradients(network):
    x = torch.randn(8, 1, 16, 16, generator=torch.Generator().manual_seed(0))
    network.train()
    before = {name: value.clone() for name, value in network.state_dict().items()}
    state = torch.get_rng_state()
    run, engine = compiled(network, Engine("cpu", "float32", "compiled"), x)
    assert engine.compile == "compiled"
    assert run is not network
    assert torch.equal(state, torch.get_rng_state())
    assert all(torch.equal(before[name], value) for name, value in network.state_dict().items())
    assert all(weight.grad is None for weight in network.parameters())
    network.dropout.p = 0.0
    theta = torch.rand(8, 2)
    gradients = []
    for function in (run, network):
        network.zero_grad()
        moment_loss(*function(x), theta).backward()
        gradients.append(torch.cat([w.grad.reshape(-1) for w in network.parameters()]))
    torch.testing.assert_close(*gradients, rtol=1e-3, atol=1e-4)


def test_a_network_that_cannot_be_compiled_runs_without(network, monkeypatch):
    def broken(*_, **__):
        def run(x):
            with torch.no_grad():
                network(x)  # moves the running means before it fails
            raise RuntimeError("no compiler")

        return run

    monkeypatch.setattr(torch, "compile", broken)
    before = {name: value.clone() for name, value in network.named_buffers()}
    with pytest.warns(UserWarning, match="RuntimeError .no compiler.; the network runs without"):
        run, engine = compiled(
            network.train(), Engine("cpu", "float32", "compiled"), torch.randn(4, 1, 16, 16)
        )
    assert run is network
    assert engine == Engine("cpu", "float32", "eager")
    assert all(torch.equal(before[name], value) for name, value in network.named_buffers())


def test_threads_share_the_work_and_keep_the_order(monkeypatch):
    names = set()

    def work(item):
        barrier.wait(5)  # raises an error unless two threads run at once
        names.add(threading.get_ident())
        return 2 * item

    barrier = threading.Barrier(2)
    monkeypatch.setattr(torch, "get_num_threads", lambda: 2)
    assert in_parallel(work, range(6)) == [0, 2, 4, 6, 8, 10]
    assert len(names) == 2
    monkeypatch.setattr(torch, "get_num_threads", lambda: 1)
    assert in_parallel(lambda i: threading.get_ident(), range(2)) == [threading.get_ident()] * 2


def test_augmentation_keeps_its_random_stream():
    """Stored results and checkpoints depend on which numbers are drawn, and in which order."""

    x = torch.arange(3 * 16.0).view(3, 1, 4, 4)
    found = augment(x, torch.Generator().manual_seed(5), True, True)
    generator = torch.Generator().manual_seed(5)
    bits = torch.randint(2, (3, 3, 1), generator=generator, dtype=torch.bool)
    moves = torch.randint(4, (2, 3, 1), generator=generator)
    for i in range(3):
        rows = torch.arange(4)
        columns = torch.arange(4)
        rows = 3 - rows if bits[0, i] else rows
        columns = 3 - columns if bits[1, i] else columns
        rows, columns = (rows + moves[0, i]) % 4, (columns + moves[1, i]) % 4
        expected = x[i, 0][rows][:, columns]
        expected = expected.T if bits[2, i] else expected
        assert torch.equal(found[i, 0], expected)
