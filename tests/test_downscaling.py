"""Downscaling: stacks are their models, seams are none, each loss moves its own, refits and baselines are exact."""

import pytest
import torch

from latentkit.models import chlorophyll as chl
from latentkit.models.downscaling import GrowthLLAAE, UNet, enlarged, neighbors
from latentkit.models.train import generator
from latentkit.presets import preset
from latentkit.testbeds.chlorophyll import diagnosed, recorded


def rng(*seeds):
    return [generator(s, "init") for s in seeds]


def drawn(s=2, n=3, more=1):
    make = generator(0, "proxies")
    light, warm = 400 * torch.rand(s, n, 1, 4, 4, generator=make), 25 * torch.rand(s, n, 1, 4, 4, generator=make)
    return torch.cat([light, warm, torch.randn(s, n, more, 4, 4, generator=make)], 2)


FIELDS = torch.randn(2, 3, 40, 40, generator=generator(0, "fields"))


def llaae(*seeds, **more):
    model = GrowthLLAAE(4, 10, 4, rng(*seeds), more=1, **more)
    with torch.no_grad():
        model.h.copy_(torch.stack([0.1 * torch.randn(model.h.shape[1:], generator=generator(s, "h")) for s in seeds]))
    return model


def unet(*seeds):
    return UNet(10, (4, 6, 8), rng(*seeds), means=(200.0, 15.0), deviations=(100.0, 8.0), more=1)


@pytest.mark.parametrize("made", [llaae, unet])
def test_a_stack_is_its_models(made):
    both, two = made(0, 1), made(1)
    for step in (0, 1):
        stacked, _ = both.loss([FIELDS, drawn()], step, rng(0, 1))
        alone, _ = two.loss([FIELDS[1:], drawn()[1:]], step, rng(1))
        torch.testing.assert_close(stacked[1:], alone)
    torch.testing.assert_close(both.predict(drawn())[1:], two.predict(drawn()[1:]))


@pytest.mark.parametrize("made", [llaae, unet])
def test_a_seam_is_none(made):
    model, proxies = made(0, 1), torch.cat([drawn(), drawn().flip(-2)], -1)
    said = model.predict(proxies)
    assert said.shape == (2, 3, 40, 80)
    # Four coarse cells are 20 pairs of cells, which the U-Net halves to 10 and 5.
    torch.testing.assert_close(model.predict(proxies.roll(4, -1)).roll(-40, -1), said, rtol=1e-4, atol=1e-5)


def test_each_loss_moves_its_own_weights_alone():
    model = llaae(0, 1)
    for step, own in ((0, {"inward", "outward"}), (1, {"h", "growth"})):
        model.zero_grad(set_to_none=True)
        model.loss([FIELDS, drawn()], step, rng(0, 1))[0].sum().backward()
        assert {name.split(".")[0] for name, p in model.named_parameters() if p.grad is not None} == own


@pytest.mark.parametrize("how", ["separate", "product", "raw"])
def test_a_refit_is_least_squares(how):
    model, make = llaae(0, 1, how=how), generator(1, "many")
    proxies, fields = drawn(1, 60)[0], torch.randn(60, 40, 40, generator=make)
    model.refit(fields, proxies)
    wanted = model.encode(fields.expand(2, -1, -1, -1))
    gap = (wanted - model.adjust(proxies.expand(2, -1, -1, -1, -1))).square().mean((1, 2, 3)).double()
    torch.testing.assert_close(gap, model.solved(wanted, proxies.expand(2, -1, -1, -1, -1))[1], rtol=1e-4, atol=1e-9)
    x = model.inputs(proxies.expand(2, -1, -1, -1, -1))[1, 2].double()
    exact = torch.linalg.lstsq(x, wanted[1, :, 2].reshape(-1, 1).double()).solution
    here = (wanted[1, :, 2].reshape(-1, 1) - x @ exact).square().mean()
    found = (wanted[1, :, 2].reshape(-1, 1) - x @ model.h[1, 2].double()).square().mean()
    assert found.item() <= 1.001 * here.item()


def test_interpolation_keeps_what_is_even_and_goes_around():
    torch.testing.assert_close(enlarged(torch.full((1, 2, 4, 4), 3.0), 10, "bicubic"), torch.full((1, 2, 40, 40), 3.0))
    x = torch.randn(1, 1, 4, 4)
    torch.testing.assert_close(enlarged(x.roll(1, -1), 10).roll(-10, -1), enlarged(x, 10))


def test_neighbors_are_those_around():
    x = torch.arange(16.0).view(1, 4, 4)
    assert neighbors(x)[:, 1, 0].tolist() == [3, 0, 1, 7, 4, 5, 11, 8, 9]
    assert neighbors(x)[:, 0, 1].tolist() == [0, 1, 2, 0, 1, 2, 4, 5, 6]


def test_linear_regression_finds_a_linear_law():
    proxies = drawn(1, 80)[0]
    fields = proxies[:, 2].repeat_interleave(10, -1).repeat_interleave(10, -2) * 0.5 + 1
    torch.testing.assert_close(chl.Linear(fields, proxies)(proxies), fields, rtol=1e-3, atol=1e-3)


@pytest.fixture(scope="module")
def small():
    P = preset("llaae", "quick")
    records, sea, plankton = recorded(2, generator(0, "sea"), size=(40, 40), spin_up=1, count=3)
    return P, records, plankton


def test_records_have_their_shapes_and_order(small):
    _, records, _ = small
    assert records.fine.shape == (2, 3, 40, 40) and records.nutrient.shape == (2, 4, 4, 4)
    assert records.day.tolist() == [12, 18, 24]
    torch.testing.assert_close(records.chlorophyll[:, 0, 0, 0], records.fine[:, 0, :10, :10].mean((1, 2)))


def test_budgets_give_growth_where_all_is_even(small):
    _, records, plankton = small
    growth, p, n, days = 0.8, 1.5, 2.0, 6.0
    even = torch.ones(1, 2, 4, 4)
    rate = growth * n / (n + plankton.half) - plankton.loss - plankton.grazing * p
    path = p * torch.exp(torch.tensor([-rate * days / 2, rate * days / 2])).view(1, 2, 1, 1) * even
    known = records.of(slice(0, 1))._replace(phytoplankton=path, nutrient=n * even, day=torch.tensor([0.0, days]))
    found, limit = diagnosed(known, plankton)
    assert float((found / limit).mean()) == pytest.approx(growth, rel=0.05)


@pytest.mark.parametrize("name", chl.NETWORKS)
def test_every_network_trains_and_predicts(small, name):
    P, records, _ = small
    scale = chl.scaled(records)
    model, seconds = chl.trial(name, P, records, scale, [0, 1], 1e-3)
    found = chl.predicted(model, scale.proxies(records, chl.NETWORKS[name][1]), scale, records.fine)
    assert found.shape == (2, *records.fine.shape) and torch.isfinite(found).all() and seconds > 0


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: llaae(0, how="sum"), "'sum'; expected one of separate, product, raw"),
        (lambda: GrowthLLAAE(4, 5, 4, rng(0)), "the factor is 5; expected an even number"),
        (lambda: recorded(1, generator(0), interval=5), "5 d is no whole number of steps of 0.4 d"),
        (lambda: recorded(1, generator(0), count=0), "0 records after 20"),
    ],
)
def test_what_does_not_fit_is_named(call, words):
    with pytest.raises(ValueError, match=words):
        call()


def test_an_unknown_choice_of_inputs_is_named(small):
    _, records, _ = small
    with pytest.raises(ValueError, match="given 'nothing'; expected one of proxies, all"):
        chl.scaled(records).proxies(records, "nothing")
