"""Analyses of columns by all methods, on few days and models that are hardly trained."""

from dataclasses import replace

import pytest
import torch

from latentkit import columns
from latentkit.assimilation import analyses
from latentkit.assimilation.views import joined, view
from latentkit.models import diffusion, slams
from latentkit.presets import preset
from latentkit.sources import identity

P = preset("slams", "quick", seeds=2)


@pytest.fixture(scope="module")
def ground():
    opened = columns.open_columns("archive")
    c = columns.split(*opened, most=30)
    lat, lon = (torch.from_numpy(opened[0][name].values.copy()) for name in ("lat", "lon"))
    return analyses.ground(c, P, lat, lon, [0, 1], identity(opened[0]))


def rng(k=0):
    return [torch.Generator().manual_seed(10 * k + i) for i in range(2)]


def seen_by(g, **options):
    c = g.columns
    eyes = view(c.area, c.there, 0.3, **{"coarse": 4, "channels": range(c.levels)} | options)
    truth = torch.stack([c.tested[1:4], c.tested[9:12]])
    return eyes, truth, eyes.observed(truth, torch.Generator().manual_seed(1))


def test_all_methods_answer_in_one_shape(ground):
    eyes, truth, seen = seen_by(ground)
    one = (1, 2, 1, *truth.shape[1:])
    assert analyses.climatology(ground, eyes, seen).shape == one
    assert analyses.persistence(ground, eyes, seen, ground.columns.tested[[0, 8]]).shape == one
    assert analyses.interpolated(ground, eyes, seen).shape == one
    guided = [(method, (gamma,)) for method in (analyses.pixel, analyses.latent) for gamma in (1.0, None)]
    for method, more in (*guided, (analyses.gaussian, ())):
        draws = method(ground, eyes, seen, 2, rng(), *more)
        assert draws.shape == (2, 2, 2, *truth.shape[1:])
        assert torch.equal(draws, method(ground, eyes, seen, 2, rng(), *more))
        assert not draws[..., ~ground.columns.there].any()


def test_the_longer_prior_takes_the_place_of_the_pixel_prior_alone(ground):
    other = analyses.longer(ground, [0, 1], {"name": "made", "period": None, "sha256": None})
    assert (other.pixel.shape, other.pixel.block, ground.pixel.block) == (ground.pixel.shape, 1, P.pixel_block)
    assert other.latent is ground.latent and other.gaussian is ground.gaussian


class White:
    """Tell the noise of standard normal latents."""

    def __init__(self, shape):
        self.shape = shape

    def __call__(self, x, t):
        return diffusion.sigma(t) * x


def test_the_reference_observes_latents(ground, monkeypatch):
    """Of white latents with errors of 0.5 a draw keeps 1 / (1 + 0.25), about what gamma 0.2 does, where one is seen."""
    _, truth, _ = seen_by(ground)
    levels = list(range(ground.columns.levels))
    mask = torch.zeros(len(ground.columns.there), 1, 1)
    mask[levels] = 1
    z = slams.encoded(ground.coder, truth.flatten(0, 1), mask).unflatten(1, truth.shape[:2])
    monkeypatch.setattr(slams, "decoded", lambda coder, z: z)
    white = replace(ground, latent=White(ground.latent.shape), preset=replace(P, guided_steps=50))
    told = lambda **cells: analyses.reference(  # noqa: E731
        white, truth, levels, 1, rng(), 0.2, rng(1), noise=0.5, **{"coarse": 1, "gap": 1} | cells
    )[:, :, 0]
    kept = lambda draws, part: float((draws * z)[part].sum() / z[part].square().sum())  # noqa: E731
    assert kept(told(), ...) == pytest.approx(0.8, abs=0.05)
    half = told(gap=4)  # every second of latents twice as coarse, from the first on
    assert kept(half, (..., slice(None, None, 2), slice(None, None, 2))) == pytest.approx(0.8, abs=0.08)
    assert abs(kept(half, (..., slice(1, None, 2), slice(None)))) < 0.05
    assert kept(told(coarse=8), ...) < 0.5


def test_optimal_interpolation_is_the_plain_one(ground):
    eyes, truth, seen = seen_by(ground)
    found = analyses.optimal(ground, eyes, 800.0)
    assert found(seen).shape == truth.shape and found.radius == 800.0 and found.lags == P.oi_lags


def test_residuals_of_known_fields_are_those_of_kalman(ground):
    """Where the decoder's answer is certain, fields are Gaussian about it with the variance D: one gain is exact."""
    eyes, truth, seen = seen_by(ground, coarse=3, gap=2)
    g, days = replace(ground, told=ground.told[:20], read=ground.read[:, :20]), truth.shape[1]
    flat = g.told.new_zeros(2, len(truth), 1, *truth.shape[1:])
    found = analyses.residual(g, eyes, seen, flat, g.read, None)
    D = (g.read - g.told).square().mean(1)
    for channel, day in ((0, 0), (4, days - 1)):
        A = torch.kron(eyes.rows, eyes.columns)[eyes.seen[channel].flatten()].double()
        P = torch.diag(D[1, channel].flatten().double())
        gain = P @ A.T @ torch.linalg.inv(A @ P @ A.T + eyes.std[channel].double() ** 2 * torch.eye(len(A)))
        expected = gain @ seen[0, day, channel][eyes.seen[channel]].double()
        torch.testing.assert_close(found[1, 0, 0, day, channel].flatten().double(), expected, rtol=1e-3, atol=1e-5)
    many = analyses.residual(g, eyes, seen, flat.expand(-1, -1, 400, -1, -1, -1, -1), g.read, rng(3))
    left = (P - gain @ A @ P).diagonal()
    drawn = many[1, 0, :, day, channel].flatten(1).double()
    inside = left > 0
    assert ((drawn.mean(0) - expected).abs()[inside] < 5 * (left[inside] / 400).sqrt()).all()
    assert float((drawn.var(0)[inside] / left[inside]).mean()) == pytest.approx(1, abs=0.02)
    assert not many[..., ~ground.columns.there].any()


def test_many_gaussian_draws_have_the_mean(ground):
    ground = replace(analyses.single(ground, 0), preset=replace(P, rounds=100))
    eyes, truth, seen = seen_by(ground, coarse=8)
    mean = analyses.gaussian(ground, eyes, seen, 0, [])
    draws = analyses.gaussian(ground, eyes, seen, 100, rng()[:1])
    assert mean.shape == (1, 2, 1, *truth.shape[1:])
    gap = (draws.mean(2) - mean[:, :, 0]).square().mean().sqrt()
    assert float(gap / draws.std(2).square().mean().sqrt()) < 0.2  # a tenth from so many draws, the rest from `NEAR`


def test_views_that_are_joined_are_as_good_as_one(ground):
    c = ground.columns
    radiation = c.levels + 1
    whole, _, seen = seen_by(ground, channels=[*range(c.levels), radiation])
    parts = joined([seen_by(ground)[0], seen_by(ground, channels=[radiation])[0]])
    told = seen.new_full((*seen.shape[:2], *parts.seen.shape), torch.nan)
    told[..., parts.seen] = seen[..., whole.seen]

    def answers(eyes, y):
        mean = analyses.gaussian(ground, eyes, y, 0, [])
        filled = analyses.residual(ground, eyes, y, mean, ground.read, None)
        return mean, filled, analyses.latent(ground, eyes, y, 1, rng(), 1.0)

    for a, b in zip(answers(whole, seen), answers(parts, told), strict=True):
        torch.testing.assert_close(a, b, atol=1e-3, rtol=1e-3)


def test_one_model_of_the_ground(ground):
    eyes, _, seen = seen_by(ground)
    both = analyses.gaussian(ground, eyes, seen, 0, [])
    alone = analyses.gaussian(analyses.single(ground, 1), eyes, seen, 0, [])
    assert alone.shape[0] == 1
    # What the decoders miss is a mean over models, so that R differs a little.
    assert float((alone[0] - both[1]).square().mean().sqrt() / both[1].square().mean().sqrt()) < 0.2


def test_a_window_of_another_length_is_refused(ground):
    eyes, _, seen = seen_by(ground)
    with pytest.raises(ValueError, match="windows of 2 days; expected 3, the length of the prior's"):
        analyses.gaussian(ground, eyes, seen[:, :2], 1, rng())


def test_without_observations_draws_are_the_priors_and_it_says_so(ground):
    eyes, _, seen = seen_by(ground, mask=torch.zeros(8, 16))
    with pytest.warns(UserWarning, match="nothing is observed"):
        draws = analyses.gaussian(ground, eyes, seen, 2, rng())
    z = ground.gaussian.sample(4, rng())
    last = ground.readout.decode(z.unflatten(2, ground.gaussian.shape[:2])[:, 3])
    assert torch.allclose(draws[:, 1, 1], last, atol=1e-5)
    with pytest.warns(UserWarning, match="nothing is observed"):
        assert analyses.pixel(ground, eyes, seen, 1, rng(), 1.0).isfinite().all()


def test_what_is_missing_where_one_looks_is_refused(ground):
    eyes, _, seen = seen_by(ground)
    channel, row, column = eyes.seen.nonzero()[0].tolist()
    seen = seen.clone()
    seen[0, 1, channel, row, column] = torch.nan
    for method, more in ((analyses.pixel, [1, rng(), 1.0]), (analyses.latent, [1, rng(), 1.0]),
                         (analyses.gaussian, [1, rng()]), (analyses.interpolated, [])):  # fmt: skip
        with pytest.raises(ValueError, match=r"1 observations are missing .* a view that does not look"):
            method(ground, eyes, seen, *more)
        with pytest.raises(ValueError, match="observations have shape"):
            method(ground, eyes, seen[..., 1:], *more)


class Stopped:
    """A prior that is interrupted after so many looks."""

    def __init__(self, model, looks):
        self.model, self.shape, self.left = model, model.shape, looks

    def __call__(self, x, t):
        self.left -= 1
        if self.left < 0:
            raise KeyboardInterrupt
        return self.model(x, t)


def test_a_sampling_goes_on_where_it_was_stopped(ground, tmp_path):
    eyes, _, seen = seen_by(ground)
    kept = tmp_path / "latent.pt"
    with pytest.raises(KeyboardInterrupt):
        short = replace(ground, latent=Stopped(ground.latent, 4))
        analyses.latent(short, eyes, seen, 1, rng(), 1.0, checkpoint=kept, every=0.0)
    assert kept.exists()
    found = analyses.latent(ground, eyes, seen, 1, rng(), 1.0, checkpoint=kept)
    torch.testing.assert_close(found, analyses.latent(ground, eyes, seen, 1, rng(), 1.0))
    assert not kept.exists()


def test_channels_and_windows(ground):
    levels = ground.columns.levels
    assert analyses.channels(ground.columns, "rlut; ta") == [levels + 1, *range(levels)]
    with pytest.raises(ValueError, match="variables \\['foo'\\] in 'ta; foo'; expected some of ta, pr and rlut"):
        analyses.channels(ground.columns, "ta; foo")
    days = torch.arange(10.0)
    found, before = analyses.windows(days, 3, 4)
    assert torch.equal(found[:, 0], torch.tensor([1.0, 3, 5, 7])) and torch.equal(before, found[:, 0] - 1)
    with pytest.raises(ValueError, match="8 windows of 3 in 10 days; expected 1 to 7"):
        analyses.windows(days, 3, 8)
    with pytest.raises(ValueError, match="3 days, windows of 3; expected one day more"):
        analyses.windows(days[:3], 3, 1)
