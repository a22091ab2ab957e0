"""Messages of each bottleneck, and the signal that the receiver gets."""

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from arc.models import BOTTLENECKS
from arc.models.bottlenecks.communication import LatticeBottleneck, lattice_levels
from arc.models.patches import PATCHES

VOCABULARY, LENGTH = 6, 3


@pytest.fixture(autouse=True)
def _seed() -> None:
    torch.manual_seed(0)


def make(name: str, latent_dim: int = 16, **options: Any) -> Any:
    return BOTTLENECKS[name](latent_dim, VOCABULARY, LENGTH, **options)


def identity(name: str, **options: Any) -> tuple[Any, Callable[[Any], Tensor]]:
    """Return a bottleneck and a function from symbols to the latent that it encodes as them."""
    width = make(name).project.out_features
    bottleneck = make(name, latent_dim=width, **options)
    with torch.no_grad():
        bottleneck.project.weight.copy_(torch.eye(width))
        bottleneck.project.bias.zero_()

    def latent_for(symbols: Any) -> Tensor:
        codes = bottleneck.codes[torch.tensor(symbols)]
        return (codes.atanh() if name == "communication" else 9 * codes).flatten(1)

    return bottleneck, latent_for


@pytest.mark.parametrize("stop_token", [False, True])
@pytest.mark.parametrize("noise", ["none", "gumbel"])
def test_reading_the_content_gives_the_signal(discrete: str, stop_token: bool, noise: str) -> None:
    bottleneck = make(discrete, stop_token=stop_token, noise=noise)
    for mode in (True, False):
        message = bottleneck.train(mode)(torch.randn(64, 16))
        assert message.content.dtype == torch.int64
        assert message.content.shape == (64, LENGTH)
        assert message.signal.shape == (64, bottleneck.signal_width)
        assert bottleneck.read(message.content).equal(message.signal)


@pytest.mark.parametrize("stop_token", [False, True])
def test_the_number_of_messages_is_that_of_different_signals(
    discrete: str, stop_token: bool
) -> None:
    bottleneck = make(discrete, stop_token=stop_token)
    every = torch.cartesian_prod(*[torch.arange(VOCABULARY)] * LENGTH)
    assert bottleneck.num_messages == len(bottleneck.read(every).unique(dim=0))
    assert bottleneck.capacity_bits == pytest.approx(math.log2(bottleneck.num_messages))


def test_each_patch_sends_its_own_symbols(discrete: str) -> None:
    length, latent = 35, torch.randn(4, 40, requires_grad=True)
    bottleneck = BOTTLENECKS[discrete](40, VOCABULARY, length, by_patch=True)
    message = bottleneck(latent)
    assert message.content.shape == (4, length)
    assert bottleneck.read(message.content).equal(message.signal)
    by_symbol = message.signal.view(4, length, -1)
    for symbol in (0, 7, 18, 34):
        gradient = torch.autograd.grad(by_symbol[:, symbol].sum(), latent, retain_graph=True)[0]
        used = gradient.abs().sum(0).nonzero()[:, 0]
        assert (used % PATCHES).unique().tolist() == [symbol % PATCHES]


def test_a_vector_is_not_changed() -> None:
    bottleneck = make("autoencoder")
    latent = torch.randn(5, 16, requires_grad=True)
    message = bottleneck(latent)
    assert message.content.equal(latent)
    assert message.lengths is None
    assert message.aux_loss == 0
    assert bottleneck.read(message.content).equal(message.signal)


@torch.no_grad()
def test_a_noisy_vector_has_the_stated_signal_to_noise_ratio() -> None:
    bottleneck = BOTTLENECKS["autoencoder"](2000, noise=0.5)
    assert bottleneck.capacity_bits == pytest.approx(1000 * math.log2(5))
    latent = 3 + 7 * torch.randn(40, 2000)
    sent = (latent - latent.mean(1, keepdim=True)) / latent.std(1, correction=0, keepdim=True)
    messages = {mode: bottleneck.train(mode)(latent) for mode in (True, False)}
    for message in messages.values():
        noise = message.content - sent
        assert float(noise.std()) == pytest.approx(0.5, rel=0.02)
        assert float(noise.mean()) == pytest.approx(0, abs=0.01)
        assert bottleneck.read(message.content).equal(message.signal)
    assert bottleneck(latent).content.equal(messages[False].content)
    assert not bottleneck.train()(latent).content.equal(messages[True].content)
    assert make("autoencoder").capacity_bits is None


def test_a_latent_becomes_the_nearest_symbols(discrete: str) -> None:
    bottleneck, latent_for = identity(discrete)
    symbols = torch.cartesian_prod(*[torch.arange(VOCABULARY)] * LENGTH)
    message = bottleneck(latent_for(symbols.tolist()))
    assert message.content.equal(symbols)
    assert message.signal.unique(dim=0).shape[0] == VOCABULARY**LENGTH
    assert message.lengths.tolist() == [LENGTH] * len(symbols)


def test_a_message_ends_with_its_stop(discrete: str) -> None:
    bottleneck, latent_for = identity(discrete, stop_token=True)
    wanted = [[0, 4, 5], [3, 0, 2], [3, 0, 0], [1, 2, 0], [1, 2, 3]]
    message = bottleneck(latent_for(wanted))
    assert message.content.tolist() == [[0, 0, 0], [3, 0, 0], [3, 0, 0], [1, 2, 0], [1, 2, 3]]
    assert message.lengths.tolist() == [1, 2, 2, 3, 3]
    signal = message.signal.view(len(wanted), LENGTH, -1)
    for row, length in zip(signal, message.lengths, strict=True):
        assert (row[:length] != 0).any(1).all()  # the stop has a signal too
        assert (row[length:] == 0).all()
    assert message.signal[1].equal(message.signal[2])
    assert not message.signal[2].equal(bottleneck.read(torch.tensor([[3, 1, 1]]))[0])


@pytest.mark.parametrize(("stop_token", "signals"), [(False, 3), (True, 2)])
def test_symbol_zero_is_a_stop_only_with_stop_token(
    discrete: str, stop_token: bool, signals: int
) -> None:
    messages = torch.tensor([[3, 0, 5], [3, 0, 4], [0, 0, 0]])
    assert make(discrete, stop_token=stop_token).read(messages).unique(dim=0).shape[0] == signals


@pytest.mark.parametrize(
    "content",
    [
        torch.zeros(2, LENGTH),
        torch.zeros(2, LENGTH + 1, dtype=torch.int64),
        torch.zeros(LENGTH, dtype=torch.int64),
        torch.full((1, LENGTH), VOCABULARY),
        torch.full((1, LENGTH), -1),
    ],
    ids=["float", "too long", "one row", "unknown symbol", "negative"],
)
def test_an_invalid_message_is_refused(discrete: str, content: Tensor) -> None:
    with pytest.raises(ValueError, match=r"expected int64 \[batch, 3\]|expected 3$|outside 0 to 5"):
        make(discrete).read(content)


def test_a_vector_of_another_length_is_refused() -> None:
    with pytest.raises(ValueError, match=r"\[2, 15\].*\[batch, 16\]"):
        make("autoencoder").read(torch.zeros(2, 15))


def test_noise_acts_in_training_only(discrete: str) -> None:
    noisy, quiet = make(discrete, noise="gumbel"), make(discrete)
    quiet.load_state_dict(noisy.state_dict())
    latent = torch.randn(200, 16)
    expected = quiet.eval()(latent).content
    noisy.train()
    assert not noisy(latent).content.equal(noisy(latent).content)
    noisy.eval()
    state = torch.get_rng_state()
    assert noisy(latent).content.equal(expected)
    assert torch.get_rng_state().equal(state)
    assert quiet.train()(latent).content.equal(expected)


def test_noise_draws_symbols_by_their_probability() -> None:
    """The Gumbel trick: logits log(p) give symbol i with probability p_i."""
    bottleneck, _ = identity("categorical", noise="gumbel")
    share = torch.tensor([0.05, 0.1, 0.1, 0.15, 0.2, 0.4])
    content = bottleneck.train()(share.log().repeat(20_000, LENGTH)).content
    drawn = torch.stack([torch.bincount(column, minlength=6) for column in content.t()]) / 20_000
    torch.testing.assert_close(drawn, share.expand(LENGTH, 6), rtol=0, atol=0.015)


@pytest.mark.parametrize("final", [0.25, None])
def test_temperature_changes_geometrically_to_its_end(discrete: str, final: float | None) -> None:
    bottleneck = make(discrete, temperature=4.0, temperature_final=final)
    seen = []
    for progress in (0.0, 0.25, 0.5, 1.0):
        bottleneck.set_progress(progress)
        seen.append(bottleneck.temperature)
    assert seen == pytest.approx([4.0, 2.0, 1.0, 0.25] if final else [4.0] * 4)


def test_temperature_changes_the_gradient_only() -> None:
    latent = torch.randn(50, 16)
    sharp, soft = make("categorical", temperature=0.1), make("categorical", temperature=10.0)
    soft.load_state_dict(sharp.state_dict())
    upstream, gradients = torch.randn(50, sharp.signal_width), []
    for bottleneck in (sharp, soft):
        message = bottleneck(latent)
        (message.signal * upstream).sum().backward()
        gradients.append(bottleneck.project.weight.grad)
    assert sharp(latent).content.equal(soft(latent).content)
    assert not gradients[0].allclose(gradients[1])


@pytest.mark.parametrize("stop_token", [False, True])
@pytest.mark.parametrize("noise", ["none", "gumbel"])
def test_gradients_reach_every_symbol_position(discrete: str, stop_token: bool, noise: str) -> None:
    bottleneck = make(discrete, stop_token=stop_token, noise=noise)
    latent = torch.randn(256, 16, requires_grad=True)
    message = bottleneck(latent)
    (message.signal * torch.randn_like(message.signal)).sum().backward()
    assert (bottleneck.project.weight.grad.abs().sum(1) > 0).all()
    assert latent.grad is not None
    assert (latent.grad.abs().sum(1) > 0).all()


def test_length_cost_is_proportional_to_the_length(discrete: str) -> None:
    bottleneck, latent_for = identity(discrete, stop_token=True, length_cost=0.5)
    with torch.no_grad():
        costs = [float(bottleneck(latent_for([[s] * LENGTH])).aux_loss) for s in (0, 5)]
    assert costs == pytest.approx([0.5 * 1, 0.5 * LENGTH], abs=0.1)


def test_length_cost_shortens_messages(discrete: str) -> None:
    bottleneck = make(discrete, stop_token=True, length_cost=0.5)
    latent = torch.randn(32, 16)
    optimizer = torch.optim.Adam(bottleneck.parameters(), lr=0.1)
    lengths = []
    for _ in range(40):
        message = bottleneck(latent)
        lengths.append(float(message.lengths.double().mean()))
        optimizer.zero_grad()
        message.aux_loss.backward()
        optimizer.step()
    assert lengths[0] > 2
    assert lengths[-1] < 1.5


def test_entropy_bonus_is_largest_for_uniform_symbols(discrete: str) -> None:
    bottleneck, latent_for = identity(discrete, entropy_bonus=2.0)
    uniform = latent_for([[symbol] * LENGTH for symbol in range(VOCABULARY)])
    constant = latent_for([[2] * LENGTH] * VOCABULARY)
    with torch.no_grad():
        all_alike, one = float(bottleneck(uniform).aux_loss), float(bottleneck(constant).aux_loss)
    assert all_alike == pytest.approx(-2.0 * math.log(VOCABULARY), rel=0.05)
    assert all_alike < one - 1
    assert one <= 0


def test_without_costs_the_auxiliary_loss_is_zero(discrete: str) -> None:
    assert make(discrete)(torch.randn(4, 16)).aux_loss == 0


def test_the_product_of_lattice_levels_is_the_vocabulary() -> None:
    for vocabulary in range(2, 201):
        levels = lattice_levels(vocabulary)
        assert math.prod(levels) == vocabulary
        assert min(levels) >= 2


@pytest.mark.parametrize("vocabulary", [2, 7, 25, 64, 97])
def test_every_symbol_of_a_lattice_is_reachable(vocabulary: int) -> None:
    bottleneck = LatticeBottleneck(4, vocabulary, 1)
    assert bottleneck.codes.unique(dim=0).shape[0] == vocabulary
    assert bottleneck.codes.abs().max() < 1  # within reach of tanh
    _, place = bottleneck.score(torch.randn(1, 4))
    assert place.shape == (1, 1, bottleneck.codes.shape[1])
    distance = torch.cdist(bottleneck.codes, bottleneck.codes)
    assert (distance.argmin(1) == torch.arange(vocabulary)).all()
