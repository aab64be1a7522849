"""Rivals differ in their losses and in nothing else; dense nets of waves keep sums of squares."""

import pytest
import torch

from latentkit.models import rivals
from latentkit.models.llaae import LLAAE
from latentkit.models.smooth import Waves, cosines, dense, fourier
from latentkit.models.train import History, generator
from latentkit.presets import preset

P = preset("llaae", "quick", rain_days=128, rain_tested=64, rain_steps=4)


@pytest.mark.parametrize(("points", "count"), [(16, 8), (16, 16), (9, 5)])
def test_rows_of_both_transforms_are_orthonormal(points, count):
    for made in (cosines, fourier):
        torch.testing.assert_close(made(points, count) @ made(points, count).mT, torch.eye(count), atol=1e-6, rtol=0)


def test_waves_hold_what_they_can_and_keep_its_squares():
    waves, whole = Waves((16, 32), (8, 16)), Waves((16, 32), (16, 32))
    fields = torch.randn(3, 16, 32, generator=generator(0, "y"))
    torch.testing.assert_close(whole.fields(whole.coefficients(fields)), fields, atol=1e-5, rtol=1e-5)
    held = waves.fields(waves.coefficients(fields))
    torch.testing.assert_close(held.square().sum(), waves.coefficients(fields).square().sum())
    torch.testing.assert_close(waves.fields(waves.coefficients(held)), held, atol=1e-5, rtol=1e-5)
    with pytest.raises(ValueError, match="17 x 8 waves of 16 x 32 points"):
        Waves((16, 32), (17, 8))


def test_the_largest_waves_are_the_first():
    x = 2 * torch.pi * torch.arange(12) / 12
    rows = fourier(12, 5)
    for i, wave in enumerate((torch.ones(12), x.cos(), x.sin(), (2 * x).cos(), (2 * x).sin())):
        torch.testing.assert_close(rows[i] / rows[i].abs().max(), wave / wave.abs().max(), atol=1e-5, rtol=0)


def test_a_dense_stack_is_its_models():
    make = lambda *seeds: dense(  # noqa: E731
        LLAAE((8, 16), 4, 3, (1, 1, 1), [generator(s, "init") for s in seeds]), 6, [generator(s, "d") for s in seeds]
    )
    both, two, fields = make(0, 1), make(1), torch.randn(2, 5, 8, 16, generator=generator(0, "y"))
    z = both.encode(fields)
    torch.testing.assert_close(z[1:], two.encode(fields[1:]))
    torch.testing.assert_close(both.decode(z)[1:], two.decode(z[1:]))


def test_data_are_centered_in_units_of_their_noise_and_new_for_each_seed_and_part():
    bed = rivals.Bed(P)
    data = bed.data([0, 1], "train", 500)
    assert data.waves.shape == (2, 500, 8, 16) and not torch.equal(data.drivers[0], data.drivers[1])
    torch.testing.assert_close(bed.data([1], "train", 500).waves[0], data.waves[1])
    assert not torch.equal(bed.data([0], "test", 500).drivers, data.drivers[:1])
    quiet = bed.rain.rain(data.drivers[0]).sqrt()
    left = data.waves[0] - bed.waves.coefficients((quiet - bed.center) / bed.unit)
    assert float(left.var()) == pytest.approx(0.5, rel=0.02)
    back = bed.fields(bed.waves.coefficients((quiet - bed.center) / bed.unit))
    assert float((back - quiet).square().mean().sqrt()) < 0.05  # of what waves leave out


def test_all_methods_begin_with_the_same_weights():
    bed = rivals.Bed(P)
    first = bed.model("VAE", [(0.0, 1.0)], [3]).state_dict()
    for name in rivals.METHODS:
        state = bed.model(name, [(0.5, 1.0), (0.5, 2.0)], [2, 3]).state_dict()
        for key, value in first.items():
            torch.testing.assert_close(state[key][[1, 3]], value.expand(2, *value.shape[1:]))


def test_a_stack_of_settings_trains_as_each_alone():
    bed = rivals.Bed(P)
    both = bed.model("beta-TCVAE", [(0.0, 2.0), (0.0, 9.0)], [0, 1])
    bed.train(both, [0, 1])
    alone = bed.model("beta-TCVAE", [(0.0, 9.0)], [0, 1])
    bed.train(alone, [0, 1])
    for key, value in alone.state_dict().items():
        torch.testing.assert_close(both.state_dict()[key][2:], value, atol=1e-4, rtol=1e-3)
    data = bed.data([0, 1], "test", 20)
    torch.testing.assert_close(bed.codes(both, data)[2:], bed.codes(alone, data), atol=1e-3, rtol=1e-2)


def test_each_method_with_a_choice_has_as_many_trials():
    counts = {len(rivals.settings(P, name)) for name in rivals.METHODS if name != "VAE"}
    assert len(counts) == 1
    assert rivals.settings(P, "VAE") == ((0.0, 1.0),)
    assert all(alpha == 0 for name in ("beta-VAE", "beta-TCVAE") for alpha, _ in rivals.settings(P, name))
    with pytest.raises(ValueError, match="the method is 'GAN'; expected one of VAE, beta-VAE"):
        rivals.Bed(P).model("GAN", [(0.0, 1.0)], [0])


def test_a_thinned_history_has_the_same_means():
    values = torch.randn(100, 3, generator=generator(0, "h")).numpy()
    found = rivals.thinned(History({"total": values}, every=40, seconds=7.0))
    assert found.values["total"].shape == (20, 3) and (found.every, found.seconds) == (200, 7.0)
    assert found.values["total"].mean() == pytest.approx(values.mean(), abs=1e-6)
    assert rivals.thinned(History({"total": values[:4]}, 1)).values["total"].shape == (4, 3)
