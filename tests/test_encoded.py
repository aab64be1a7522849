"""Latents observed whole: on a linear Gaussian system the filter of LD-EnSF comes near Kalman's."""

import pytest
import torch

from latentkit.assimilation import drivers
from latentkit.assimilation.encoded import PUBLISHED, rows, spread_out, whole
from latentkit.assimilation.ensf import SCORES, EnSF
from latentkit.assimilation.etkf import etkf

G = torch.Generator().manual_seed(0)
draw = lambda *shape: torch.randn(*shape, generator=G, dtype=torch.double)  # noqa: E731
SCALE = torch.tensor([1.0, 3.0, 0.2], dtype=torch.double)  # of three latents
MODEL = 0.98 * SCALE[:, None] * torch.linalg.qr(draw(3, 3))[0] / SCALE
SIGMA, STEPS = 0.5, 4
TIMES = [float(i) for i in range(STEPS + 1)]
TRUTH = [SCALE * draw(3)]
for _ in range(STEPS):
    TRUTH.append(MODEL @ TRUTH[-1])
VALUES = torch.stack(TRUTH[1:]) + SIGMA * SCALE * draw(STEPS, 3)
ENSEMBLE = SCALE * draw(400, 3)


def filtered(analyze, E=ENSEMBLE, values=VALUES, seed=1):
    return drivers.cycle(
        E, TIMES, rows(values, TIMES[1:], SIGMA * SCALE), forecast=lambda E, a, b: E @ MODEL.T, observe=whole,
        analyze=analyze, rng=torch.Generator().manual_seed(seed),
    )  # fmt: skip


def kalman():
    """Return means and deviations (t, 3) after each analysis, from the ensemble's own moments."""
    mean, P, R = ENSEMBLE.mean(0), torch.cov(ENSEMBLE.T), torch.diag((SIGMA * SCALE) ** 2)
    found = []
    for value in VALUES:
        mean, P = MODEL @ mean, MODEL @ P @ MODEL.T
        gain = P @ torch.linalg.inv(P + R)
        mean, P = mean + gain @ (value - mean), P - gain @ P
        found.append((mean, P.diagonal().sqrt()))
    return map(torch.stack, zip(*found, strict=True))


def test_the_mixture_comes_near_the_kalman_filter_and_the_paired_variant_does_not():
    mean, spread = kalman()
    off, ratio = {}, {}
    for score in ("mixture", "paired"):
        course = filtered(EnSF(whole, steps=200, eps_alpha=0.01, eps_beta=0.005, score=score, scale=SCALE))
        off[score] = float(((course.mean - mean) / spread).square().mean().sqrt())
        ratio[score] = course.spread / spread
    # (1 - t) for the likelihood is what keeps it from being exact, with however many members.
    assert off["mixture"] < 0.5 and off["paired"] > 1, off
    assert (ratio["mixture"] > 0.5).all() and (ratio["mixture"] < 1.1).all()
    assert (ratio["paired"] > 1.5).all(), "its weights do not know the spread"


def test_an_adjoint_makes_what_automatic_differentiation_does():
    some = EnSF(whole, steps=30, scale=SCALE)
    known = EnSF(whole, adjoint=spread_out, steps=30, scale=SCALE)
    rows_of = [1, 2]  # a variable that is not observed
    obs = rows(VALUES[:1], TIMES[1:2], SIGMA * SCALE).rows(torch.tensor(rows_of))
    made = [how(ENSEMBLE, whole(ENSEMBLE, obs), obs, torch.Generator().manual_seed(3)) for how in (some, known)]
    torch.testing.assert_close(made[1], made[0], rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("score", SCORES)
def test_a_nonlinear_filter_follows_its_equations_step_by_step(score):
    arctan = lambda E, obs: torch.arctan(E)  # noqa: E731
    more = {"steps": 40, "eps_alpha": 0.2, "eps_beta": 0.03, "score": score, "scale": 2 * SCALE}
    obs = rows(VALUES[:1], TIMES[1:2], torch.full((3,), 0.3, dtype=torch.double))
    analyses = [EnSF(arctan, **more), EnSF(arctan, adjoint=lambda Y, obs, E: Y / (1 + E.square()), **more)]
    E, draws = 5 + ENSEMBLE[:50], torch.Generator().manual_seed(3)  # a mean that is not 0
    x = E / (2 * SCALE)
    z = torch.randn(x.shape, generator=draws, dtype=x.dtype)
    for i in range(40):
        t = 1 - i / 40
        a, b2 = 1 - 0.8 * t, 0.03 + 0.97 * t  # (1)
        f = -0.8 / a
        g2 = 0.97 - 2 * f * b2
        far = z[..., :, None, :] - a * x[..., None, :, :]  # (..., m, m, k)
        w = torch.softmax(-far.square().sum(-1) / (2 * b2), -1) if score == "mixture" else torch.eye(x.shape[-2])
        prior = -(w[..., None] * far).sum(-2) / b2  # (2)
        at = 2 * SCALE * z
        likely = 2 * SCALE * (obs.value[..., None, :] - at.arctan()) / obs.std**2 / (1 + at**2)
        noise = torch.randn(x.shape, generator=draws, dtype=x.dtype)
        z = z - (f * z - g2 * (prior + (1 - t) * likely)) / 40 + (g2 / 40) ** 0.5 * noise  # (3), (4)
    for analyze in analyses:
        made = analyze(E, arctan(E, obs), obs, torch.Generator().manual_seed(3))
        torch.testing.assert_close(made, 2 * SCALE * z, rtol=1e-8, atol=1e-8)


@pytest.mark.parametrize("spread", [0.01, 10.0])
@pytest.mark.parametrize("steps, weight", [(100, 0.37), (500, 0.13)])
def test_the_published_settings_are_a_blend_with_a_weight_that_steps_set_and_not_the_spread(spread, steps, weight):
    g = torch.Generator().manual_seed(2)
    E = spread * torch.randn(500, 1, generator=g, dtype=torch.double)
    obs = rows(torch.full((1, 1), 1e3, dtype=torch.double), [1.0], torch.full((1,), 0.1, dtype=torch.double))
    made = EnSF(whole, **PUBLISHED | {"steps": steps})(E, E, obs, g)
    blend = (made - E) / (1e3 - E)
    torch.testing.assert_close(blend, torch.full_like(blend, weight), atol=0.006, rtol=0)


def test_the_transform_is_the_kalman_filter():
    mean, spread = kalman()
    course = filtered(etkf)
    torch.testing.assert_close(course.mean, mean)
    torch.testing.assert_close(course.spread, spread)


def test_the_filter_does_not_depend_on_the_units_of_latents():
    E, values = ENSEMBLE[:20], VALUES
    units = torch.tensor([100.0, 0.1, 7.0], dtype=torch.double)
    analyze = lambda scale: EnSF(whole, eps_alpha=0.05, scale=scale)  # noqa: E731
    one = filtered(analyze(SCALE), E)
    other = drivers.cycle(
        E * units, TIMES, rows(values * units, TIMES[1:], SIGMA * SCALE * units),
        forecast=lambda E, a, b: (E / units) @ MODEL.T * units, observe=whole, analyze=analyze(SCALE * units),
        rng=torch.Generator().manual_seed(1),
    )  # fmt: skip
    torch.testing.assert_close(other.mean / units, one.mean)


@pytest.mark.parametrize("runs", [(2,), (2, 3)])
def test_runs_side_by_side_are_runs_alone(runs):
    E = ENSEMBLE[:20] + draw(*runs, 1, 3)
    values = VALUES + draw(*runs, 1, 1)
    both = filtered(etkf, E, values)
    last = tuple(n - 1 for n in runs)
    alone = filtered(etkf, E[last], values[last])
    torch.testing.assert_close(both.mean[(slice(None), *last)], alone.mean)
    drawn = filtered(EnSF(whole, eps_alpha=0.05, scale=SCALE), E, values)
    assert drawn.mean.shape == (STEPS, *runs, 3) and drawn.diverged is None


def test_rows_name_variables_and_times():
    obs = rows(VALUES, TIMES[1:], SCALE)
    assert obs.channel.tolist() == [0, 1, 2] * STEPS
    here = obs.at(2.0)
    assert torch.equal(here.value, VALUES[1]) and torch.equal(here.std, SCALE)
    assert torch.equal(whole(ENSEMBLE, here), ENSEMBLE)
    assert torch.equal(whole(ENSEMBLE, here.rows(torch.tensor([2, 0]))), ENSEMBLE[:, [2, 0]])
