"""Latent linear adjustment, data in and models out: both kinds, held-out losses, weights found again, refits exact."""

import dataclasses

import pytest
import torch

from latentkit.models import adjusting
from latentkit.models.train import generator
from latentkit.pairs import Split

GRID = (8, 12)
X = torch.randn(2, 50, 9, generator=generator(0, "x"))
Y = (X @ torch.randn(2, 9, 96, generator=generator(0, "b")) / 3).unflatten(-1, GRID).clamp_min(0)
SPLIT = Split(Y[:, :40], X[:, :40], Y[:, 40:], X[:, 40:], torch.ones(GRID), (), ("days 40 to 49",) * 2, circular=True)
KINDS = {"convolutional": {"widths": (3, 4, 5), "latent": 4}, "modal": {"widths": (3, 1), "latent": 6, "maps": 1}}
DATA = [{"name": "made", "period": None, "sha256": None}]


def made(kind, split=SPLIT, name="tried", **changes):
    settings = {"components": 5, "alpha": 2.0, "beta": 0.5, "batch": 16, "passes": 3, "learning_rate": 1e-3}
    settings |= {"seeds": [0, 1], "circular": True, "data": DATA, **KINDS[kind], **changes}
    return adjusting.obtain(split, name, kind, **settings)


@pytest.fixture(autouse=True)
def own_weights(tmp_path, monkeypatch):
    monkeypatch.setenv("LATENTKIT_WEIGHTS", str(tmp_path))
    monkeypatch.setenv("TQDM_DISABLE", "1")


@pytest.mark.parametrize("kind", KINDS)
def test_a_training_is_found_again_with_the_same_answers(kind, capsys):
    model, says, history = made(kind)
    again, _, known = made(kind)
    assert "trained anew" in capsys.readouterr().out
    proxies = says(SPLIT.tested_proxy)
    torch.testing.assert_close(model.predict(proxies), again.predict(proxies))
    assert set(history.values) == set(known.values)
    parts = {"reconstruction", "prediction", "kl"} | ({"adjustment"} if kind == "convolutional" else set())
    assert {f"tested {p}" for p in parts} <= set(history.values)
    assert history.values["tested prediction"].shape == (adjusting.LOOKS, 2)


@pytest.mark.parametrize("kind", KINDS)
def test_the_map_is_least_squares_on_the_latents_of_training_days(kind):
    model, says, _ = made(kind)
    proxies = says(SPLIT.proxy)
    residual = model.encode(SPLIT.field) - model.h(proxies)
    torch.testing.assert_close(residual.mean(1), torch.zeros(2, model.latent), atol=1e-4, rtol=0)
    torch.testing.assert_close(proxies.mT @ residual / 40, torch.zeros(2, 5, model.latent), atol=1e-4, rtol=0)


@pytest.mark.parametrize("kind", KINDS)
def test_days_held_out_change_nothing(kind):
    model, says, _ = made(kind, name="one")
    spoiled = dataclasses.replace(SPLIT, tested_field=SPLIT.tested_field * 9 + 1, tested_proxy=SPLIT.tested_proxy - 3)
    other, _, _ = made(kind, spoiled, name="two")
    torch.testing.assert_close(model.predict(says(SPLIT.proxy)), other.predict(says(SPLIT.proxy)))


def test_other_kinds_are_refused():
    with pytest.raises(ValueError, match="kind is 'dense'; expected one of convolutional, modal"):
        adjusting.obtain(SPLIT, "tried", "dense", components=5, latent=4, widths=(3, 1), alpha=1.0, beta=1.0, batch=16,
                         passes=1, learning_rate=1e-3, seeds=[0, 1], circular=True, data=DATA)  # fmt: skip


def test_components_at_hand_are_taken_if_they_are_those_asked_for():
    model, says, _ = made("convolutional")
    again, same, _ = made("convolutional", says=says)
    assert same is says
    torch.testing.assert_close(model.h.weight, again.h.weight)
    with pytest.raises(ValueError, match="components of 2 x 5 .*; expected 2 x 6"):
        made("convolutional", says=says, components=6)


def test_what_is_told_is_not_below_zero():
    found = adjusting.told(lambda z: z - 1, torch.zeros(2, 7, 3), batch=3)
    assert found.shape == (2, 7, 3) and (found == 0).all()


@pytest.mark.parametrize("kind", KINDS)
def test_losses_in_batches_are_those_of_all_days_at_once(kind):
    model, says, _ = made(kind)
    days = SPLIT.field, says(SPLIT.proxy)
    whole, parts = adjusting.losses(model, *days, [0, 1]), adjusting.losses(model, *days, [0, 1], batch=16)
    assert set(whole) == {"reconstruction", "prediction", "kl"} | ({"adjustment"} if kind == "convolutional" else set())
    for name in set(whole) - {"reconstruction"}:  # whose draws come in another order
        torch.testing.assert_close(torch.tensor(whole[name]), torch.tensor(parts[name]))
    gap = (model.encode(days[0]) - model.h(days[1])).square().sum(2).mean(1)
    if kind == "convolutional":
        torch.testing.assert_close(torch.tensor(whole["adjustment"]), gap)
    torch.testing.assert_close(torch.tensor(whole["prediction"]), (model.predict(days[1]) - days[0]).square().mul(
        model.weights).sum((2, 3)).mean(1))  # fmt: skip


def test_weights_decay_where_asked_and_are_then_others():
    plain, _, _ = made("convolutional")
    decayed, _, _ = made("convolutional", decay=10.0)
    sizes = [sum(float(p.detach().norm()) for p in model.decoder.parameters()) for model in (plain, decayed)]
    assert sizes[1] < sizes[0]
