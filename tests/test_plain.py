"""Baselines of stacks of maps: interpolation, persistence, optimal interpolation with the covariance of climatology."""

import math

import pytest
import torch

from latentkit.assimilation import plain
from latentkit.assimilation.gaussian import Given
from latentkit.assimilation.observations import Observations
from latentkit.assimilation.plain import EARTH, Climatological, interpolated, persistence
from latentkit.assimilation.views import joined, view
from latentkit.localization import RADII, great_circle, taper

C, Y, X = 3, 6, 8
LAT = torch.linspace(-75, 75, Y, dtype=torch.double)
LON = torch.arange(X, dtype=torch.double) * 45
AREA = torch.deg2rad(LAT).cos()[:, None].expand(Y, X)
THERE = torch.ones(C, Y, X, dtype=torch.bool)
LAND = torch.rand(C, Y, X, generator=torch.Generator().manual_seed(9)) < 0.6


def stream(seed=0):
    return torch.Generator().manual_seed(seed)


def maps(n, seed=0, memory=0.8):
    """Return days (n, c, y, x) that depend on the day before, on neighbors and on other channels."""
    rng = stream(seed)
    mix = torch.randn(20, C * Y * X, generator=rng, dtype=torch.double) / 4
    noise = torch.randn(n, 20, generator=rng, dtype=torch.double)
    series = [noise[0]]
    for e in noise[1:]:
        series.append(memory * series[-1] + math.sqrt(1 - memory**2) * e)
    own = torch.randn(n, C * Y * X, generator=rng, dtype=torch.double) / 4
    return (torch.stack(series) @ mix + own + 0.3).view(n, C, Y, X)


def dense(days, parts, std, scale=1.0, new=None):
    """Return the analysis of new (..., o) and deviations by sample covariances: equations 1 and 2, whole."""
    X_, Y_ = days.flatten(1), torch.cat(parts, 1)
    m, h = X_.mean(0), Y_.mean(0)
    n = len(X_) - 1
    B, cross, seen = (scale * a.mT @ b / n for a, b in ((X_ - m, X_ - m), (X_ - m, Y_ - h), (Y_ - h, Y_ - h)))
    K = cross @ torch.linalg.inv(seen + torch.diag(std.square()))
    return (m + (new - h) @ K.mT).unflatten(-1, days.shape[1:]), (B - K @ cross.mT).diagonal().sqrt().view(C, Y, X)


def flat(v, fields):
    return v(fields)[..., v.seen]


def errors(v):
    return v.std.expand(v.seen.shape)[v.seen]


VIEWS = {
    "blocks": view(AREA, THERE, [0.3, 0.5, 0.1], coarse=2),
    "gaps": view(AREA, THERE, 0.2, gap=3, channels=[0, 2]),
    "masked": view(AREA, LAND, 0.4),
    "all": view(AREA, THERE, 0.2),
}


@pytest.mark.parametrize("n", (30, 200))  # in members, in observations
@pytest.mark.parametrize("v", VIEWS.values(), ids=VIEWS)
def test_without_localization_it_is_the_dense_analysis(v, n):
    days, new = maps(n), maps(4, 1)
    seen = v.observed(new, stream(2))
    found = Climatological(days, LAT, LON, v, radius=math.inf, scale=1.3)
    wanted, deviation = dense(days, [flat(v, days)], errors(v), 1.3, seen[..., v.seen])
    torch.testing.assert_close(found(seen), wanted, rtol=0, atol=1e-9)
    torch.testing.assert_close(found.deviation, deviation, rtol=0, atol=1e-9)


def test_it_is_the_analysis_of_optimal_interpolation():
    v, days = VIEWS["blocks"], maps(60)
    y = v.observed(maps(1, 1)[0], stream(2))[v.seen]
    obs = Observations(torch.zeros(len(y)), torch.zeros(len(y), 1), torch.zeros(len(y)).long(), y, errors(v))
    mean = days.mean(0)
    look = lambda E, _: flat(v, E.unflatten(-1, (C, Y, X)))  # noqa: E731
    given = Given(torch.cov(days.flatten(1).mT), look, mean=mean.flatten())
    E = mean.flatten()[None]
    wanted = given(E, look(E, obs), obs, stream())[0].view(C, Y, X)
    seen = torch.full(v.seen.shape, torch.nan, dtype=torch.double).masked_scatter(v.seen, y)
    found = Climatological(days, LAT, LON, v, radius=math.inf)(seen)
    torch.testing.assert_close(found, wanted, rtol=0, atol=1e-9)


@pytest.mark.parametrize("n", (30, 300))
def test_columns_are_those_of_a_loop_over_points(n, monkeypatch):
    v, days, radius = VIEWS["masked"], maps(n), 1500.0
    seen = v.observed(maps(3, 1), stream(2))
    found = Climatological(days, LAT, LON, v, radius=radius)
    points = torch.cartesian_prod(LAT, LON)
    where = points.view(Y, X, 2).expand(C, -1, -1, -1)[v.seen]
    analysis, reach = found(seen), []
    for place, point in enumerate(points):
        rho = taper(great_circle(point[None], where, EARTH), RADII * radius)[0]
        near = rho > 1e-12
        reach.append(int(near.sum()))
        std = errors(v)[near] / rho[near].sqrt()
        wanted, deviation = dense(days, [flat(v, days)[:, near]], std, new=seen[..., v.seen][:, near])
        i, j = divmod(place, X)
        torch.testing.assert_close(analysis[..., i, j], wanted[..., i, j], rtol=0, atol=1e-8)
        torch.testing.assert_close(found.deviation[:, i, j], deviation[:, i, j], rtol=0, atol=1e-8)
    assert 0 < min(reach) and max(reach) < len(where)
    monkeypatch.setattr(plain, "ENTRIES", 1)  # a column and a day at a time
    single = Climatological(days, LAT, LON, v, radius=radius)
    torch.testing.assert_close(single(seen), analysis)
    torch.testing.assert_close(torch.stack([found(day) for day in seen]), analysis)
    torch.testing.assert_close(found(seen[None].expand(2, -1, -1, -1, -1)), analysis.expand(2, -1, -1, -1, -1))


@pytest.mark.parametrize("radius", (math.inf, 1000.0))
def test_all_seen_with_small_errors_is_the_truth(radius):
    new = maps(2, 1)
    for days in (maps(400), maps(400).float()):  # single precision does not lose it
        v = view(AREA.to(days), THERE, 1e-3)
        found = Climatological(days, LAT, LON, v, radius=radius)
        truth = new.to(days)
        assert (found(v(truth)) - truth).abs().max() < 1e-3
        assert 0 < found.deviation.min() and found.deviation.max() < 1.1e-3


def test_out_of_reach_is_climatology():
    mask = torch.zeros(Y, X)
    mask[0, 0] = 1
    v, days = view(AREA, THERE, 0.1, mask=mask), maps(50)
    found = Climatological(days, LAT, LON, v, radius=500.0)
    seen = v.observed(maps(1, 1), stream(2))
    torch.testing.assert_close(found(seen)[0, :, 3:], days.mean(0)[:, 3:])
    torch.testing.assert_close(found.deviation[:, 3:], days.std(0)[:, 3:])
    assert (found.deviation[:, 0, 0] < 0.5 * days.std(0)[:, 0, 0]).all()


def test_several_views_are_one_with_more():
    coarse, fine = view(AREA, THERE, 0.3, coarse=2, channels=[0, 1]), view(AREA, LAND, 0.2, channels=[2])
    days, new = maps(80), maps(3, 1)
    both = joined([coarse, fine])
    seen = both.observed(new, stream(2))
    found = Climatological(days, LAT, LON, both, radius=math.inf)
    # In the order of the joined view: channels, each seen by one instrument.
    parts = [flat(coarse, days), flat(fine, days)]
    wanted, deviation = dense(days, parts, torch.cat([errors(coarse), errors(fine)]), new=seen[..., both.seen])
    torch.testing.assert_close(found(seen), wanted, rtol=0, atol=1e-9)
    torch.testing.assert_close(found.deviation, deviation, rtol=0, atol=1e-9)
    halves = joined([*(view(AREA, THERE, 0.3, coarse=2, channels=[channel]) for channel in (0, 1)), fine])
    parted = seen.new_full((*seen.shape[:-3], *halves.seen.shape), torch.nan)
    parted[..., halves.seen] = seen[..., both.seen]
    near = [Climatological(days, LAT, LON, one, radius=2000.0) for one in (halves, both)]
    torch.testing.assert_close(near[0](parted), near[1](seen))


def test_lags_are_further_observations():
    v, days, new = VIEWS["gaps"], maps(90), maps(5, 1)
    seen = v.observed(new, stream(2))
    found = Climatological(days, LAT, LON, v, radius=math.inf, lags=1, every=2)
    at, y, std = torch.arange(1, 89, 2), seen[..., v.seen], errors(v)
    around = [flat(v, days)[at + j] for j in (-1, 0, 1)]
    analysis = found(seen)
    for t in range(5):
        use = [j for j in (-1, 0, 1) if 0 <= t + j < 5]
        wanted, deviation = dense(
            days[at], [around[j + 1] for j in use], std.repeat(len(use)), new=torch.cat([y[t + j] for j in use])
        )
        torch.testing.assert_close(analysis[t], wanted, rtol=0, atol=1e-9)
        torch.testing.assert_close(found.deviations(5)[t], deviation, rtol=0, atol=1e-9)
    torch.testing.assert_close(found.deviations(5)[2], found.deviation)
    torch.testing.assert_close(found(torch.stack([seen, seen + 1]))[0], analysis)
    alone = Climatological(days[at], LAT, LON, v, radius=math.inf)
    torch.testing.assert_close(found(seen[:1]), alone(seen[:1]))  # a day without neighbors
    assert (found.deviation <= alone.deviation + 1e-12).all() and found.deviation.mean() < 0.98 * alone.deviation.mean()


def test_longitudes_may_start_anywhere():
    v, days = view(AREA, THERE, 0.3, coarse=2), maps(60)
    seen = v.observed(maps(2, 1), stream(2))
    turned = torch.remainder(LON + 180, 360) - 180
    found = Climatological(days, LAT, LON, v, radius=1500.0)
    torch.testing.assert_close(Climatological(days, LAT, turned, v, radius=1500.0)(seen), found(seen))


@pytest.mark.parametrize("coarse, gap", ((1, 1), (2, 1), (1, 3), (4, 1), (3, 2)))
def test_interpolation_keeps_what_is_linear_between_centers(coarse, gap):
    v = view(AREA, THERE, 0.3, coarse=coarse, gap=gap)
    i, j = torch.meshgrid(*(torch.arange(n, dtype=torch.double) for n in (Y, X)), indexing="ij")
    fields = torch.stack([2 + i, 1 - j, 3 + i - 2 * j + i * j])
    rows, columns = ((part @ torch.arange(part.shape[1]).to(part)) for part in (v.rows, v.columns))
    found = interpolated(v, v(fields)[None], circular=False)[0]
    inside = i.clamp(rows[0], rows[-1]), j.clamp(columns[0], columns[-1])
    wanted = torch.stack([2 + inside[0], 1 - inside[1], 3 + inside[0] - 2 * inside[1] + inside[0] * inside[1]])
    torch.testing.assert_close(found, wanted)


def test_interpolation_goes_around():
    v = view(AREA, THERE, 0.1, gap=3)  # columns 1, 4, 7
    seen = v(torch.arange(X, dtype=torch.double).expand(C, Y, X))
    line = interpolated(v, seen)[0, 0]
    torch.testing.assert_close(line, torch.tensor([4.0, 1, 2, 3, 4, 5, 6, 7], dtype=torch.double))
    turned = interpolated(VIEWS["blocks"], VIEWS["blocks"](maps(3)).roll(1, -1))
    torch.testing.assert_close(turned, interpolated(VIEWS["blocks"], VIEWS["blocks"](maps(3))).roll(2, -1))
    one = view(AREA, THERE, 0.1, coarse=6)
    assert one.seen.shape == (C, 1, 2) and interpolated(one, one(maps(2))).shape == (2, C, Y, X)
    for circular in (True, False):
        single = view(AREA, THERE, 0.1, gap=6)  # one point
        found = interpolated(single, single(maps(1)), circular=circular)
        torch.testing.assert_close(found, single(maps(1)).expand_as(found))


def test_what_is_missing_is_that_of_the_nearest():
    mask = torch.ones(C, Y, X)
    mask[0, 2, 3:5] = 0
    mask[1, :, 1:] = 0
    mask[2] = 0
    v, fields = view(AREA, THERE, 0.1, mask=mask), maps(4)
    seen = v.observed(fields, stream(2))
    assert seen.isnan().any()
    found = interpolated(v, seen)
    torch.testing.assert_close(found[v.seen.expand(4, -1, -1, -1)], seen[~seen.isnan()])
    options = torch.stack([seen[:, 0, 2, 2], seen[:, 0, 1, 3], seen[:, 0, 3, 3]])
    assert (options == found[:, 0, 2, 3]).any(0).all()
    torch.testing.assert_close(found[:, 1], seen[:, 1, :, :1].expand(-1, -1, X))
    assert (found[:, 2] == 0).all()
    torch.testing.assert_close(torch.stack([interpolated(v, day) for day in seen]), found)


def test_persistence_repeats_the_day_before():
    last = maps(6).view(2, 3, C, Y, X)
    found = persistence(last, 4)
    assert found.shape == (2, 3, 4, C, Y, X) and (found == last[:, :, None]).all()
    with pytest.raises(ValueError, match="persistence over 0 days; expected 1 or more"):
        persistence(last, 0)


@pytest.mark.parametrize(
    "changed, words",
    [
        ({"radius": 0.0}, "radius of localization is 0.0, the scale 1.0; expected numbers above 0"),
        ({"radius": math.nan}, "radius of localization is nan"),
        ({"scale": -1.0}, "the scale -1.0; expected numbers above 0"),
        ({"lags": -1}, "lags is -1, every 1; expected 0 or more"),
        ({"every": 0}, "every 0; expected 0 or more, and 1 or more"),
        ({"days": maps(1)}, "leave 1 members; expected 2 or more: give more days"),
        ({"days": maps(5), "lags": 2}, "5 days with lags of 2 and every 1 leave 1 members"),
        ({"days": maps(5)[:, 0]}, r"days have shape \(5, 6, 8\); expected \(N, c, 6, 8\)"),
        ({"lat": LAT[:-1]}, r"days have shape \(20, 3, 6, 8\); expected \(N, c, 5, 8\)"),
        ({"days": maps(20)[:, :2]}, r"the view is of maps \(3, 6, 8\); expected \(2, 6, 8\), as of the days"),
        ({"days": maps(20) / 0}, "days have values that are not finite; expected 0 where there is nothing"),
        ({"view": view(AREA, THERE, 0.1, mask=torch.zeros(Y, X))}, "the view sees nothing"),
    ],
)
def test_what_does_not_fit_is_told(changed, words):
    with pytest.raises(ValueError, match=words):
        Climatological(**{"days": maps(20), "lat": LAT, "lon": LON, "view": VIEWS["all"], "radius": 1e3} | changed)


def test_observations_that_do_not_fit_are_told():
    v = VIEWS["all"]
    found = Climatological(maps(20), LAT, LON, v, radius=1e3, lags=1)
    seen = v.observed(maps(3, 1), stream(2))
    with pytest.raises(ValueError, match=r"observations have shape \(3, 3, 6, 7\); expected \(..., \(3, 6, 8\)\)"):
        found(seen[..., 1:])
    with pytest.raises(ValueError, match="with lags an axis of days is expected"):
        found(seen[0])
    for call in (found, lambda values: interpolated(v, values)):
        with pytest.raises(ValueError, match="missing or infinite where the view sees; expected numbers"):
            call(seen.masked_fill(seen > 0.5, torch.nan))
