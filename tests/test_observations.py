"""Networks, checks with the row and its time, and interpolation that is exact where it has to be."""

import math

import pytest
import torch

from latentkit.assimilation import interpolation, observations
from latentkit.assimilation.observations import Network, Observations, checked, measure

G = torch.Generator().manual_seed(0)


def some(n=6, d=2):
    times = torch.tensor([0.5, 0.25, 0.5, 1.0, 0.75, 0.25])[:n]
    return Observations(
        times, torch.rand(n, d, generator=G), torch.zeros(n).long(), torch.arange(n) * 1.0, torch.ones(n)
    )


def test_rows_come_in_the_order_of_time():
    obs = checked(some())
    assert obs.time.tolist() == [0.25, 0.25, 0.5, 0.5, 0.75, 1.0] and obs.value.tolist() == [1, 5, 0, 2, 4, 3]
    assert obs.at(0.5).value.tolist() == [0, 2] and obs.between(0.25, 0.75).value.tolist() == [0, 2, 4]
    values = torch.stack([some().value, -some().value])
    assert checked(some()._replace(value=values)).value[1].tolist() == [-1, -5, 0, -2, -4, -3], "runs side by side"


@pytest.mark.parametrize(
    ("change", "options", "words"),
    [
        ({"value": torch.tensor([0, 1, math.nan, 3, 4, math.nan])}, {}, "observation 2 at time 0.5 .* NaN.*; 2 such"),
        ({"value": torch.tensor([0, 1, math.inf, 3, 4, 5])}, {}, "no finite value"),
        ({"std": torch.tensor([1.0, 1, 1, 0, 1, 1])}, {}, "observation 3 at time 1 .*not a positive number"),
        ({"std": torch.ones(5)}, {}, "shapes"),
        ({}, {"window": (0.0, 0.9)}, r"observation 3 at time 1 .* outside the window \(0.0, 0.9\)"),
        ({}, {"low": [0, 0], "high": [1, 1e-9]}, "above the domain"),
        ({}, {"missing": "skip"}, "expected 'refuse' or 'drop'"),
        ({"time": torch.tensor([0, 1, 2, 3, math.nan, 5.0])}, {}, "no finite time"),
    ],
)
def test_faults_are_named(change, options, words):
    with pytest.raises(ValueError, match=words):
        checked(some()._replace(**change), **options)


def test_missing_values_are_left_out_on_request():
    obs = checked(some()._replace(value=torch.tensor([0, 1, math.nan, 3, 4, 5])), missing="drop")
    assert len(obs.time) == 5 and obs.value.isfinite().all()


def test_a_time_may_have_no_observation_and_a_network_keeps_its_order():
    none = some().rows(torch.zeros(6, dtype=torch.bool))
    assert len(checked(none).time) == 0
    nothing = checked(some()._replace(value=torch.full((6,), math.nan)), missing="drop")
    assert len(nothing.time) == 0
    network = Network(torch.tensor([2.0, 1.0]), torch.zeros(2, 1), torch.zeros(2).long())
    assert measure(network, torch.tensor([20.0, 10.0]), 1e-9, G).value.round().tolist() == [20, 10]
    with pytest.raises(ValueError, match="whole numbers"):
        checked(some()._replace(channel=torch.zeros(6)))


def test_fields_without_an_axis_of_channels_are_refused():
    grid = [torch.arange(3.0), torch.arange(4.0)]
    for operator in (
        interpolation.Linear(grid, at(torch.zeros(1, 2), 1), [None, None]),
        interpolation.Spectral((3, 4), at(torch.zeros(1, 2), 1), (3.0, 4.0)),
    ):
        for shape in ((3, 4), (1, 3, 4), (2, 4, 3)):
            with pytest.raises(ValueError, match="with 2 channels or more"):
                operator(torch.zeros(shape))
    with pytest.raises(ValueError, match="from 0 on"):
        interpolation.Linear(grid, at(torch.zeros(1, 2), -1), [None, None])
    with pytest.raises(ValueError, match="two or more"):
        interpolation.in_time(torch.zeros(1, 2, 1), torch.tensor([0.0]), torch.tensor([0.0]))


def test_networks():
    axes, times = [torch.arange(4.0), torch.arange(6.0)], torch.tensor([1.0, 2.0])
    grid = observations.on_grid(axes, 2, times, [0, 1])
    assert len(grid.time) == 2 * 2 * 3 * 2
    assert grid.where[:2].tolist() == [[1.0, 1.0], [1.0, 1.0]] and grid.channel[:4].tolist() == [0, 1, 0, 1]
    drawn = observations.at_random([0, -1], [1, 1], 5, times, [2], G)
    assert drawn.where.shape == (10, 2) and (drawn.where[:, 0] >= 0).all() and drawn.where[:, 1].min() < 0
    assert not torch.equal(drawn.where[:5], drawn.where[5:]), "anew for each time"
    late = observations.irregular(2.0, 5.0, 9, G)
    assert (late.diff() > 0).all() and late[0] > 2 and late[-1] < 5
    with pytest.raises(ValueError, match="strides are"):
        observations.on_grid(axes, 0, times, [0])
    with pytest.raises(ValueError, match="tracks have 3 times"):
        observations.moving(torch.zeros(3, 2, 2), times, [0])


def test_errors_have_the_size_that_is_asked_for():
    network = Network(torch.zeros(20_000), torch.zeros(20_000, 1), torch.zeros(20_000).long())
    obs = measure(network, torch.zeros(2, 20_000), 0.3, G)
    assert abs(obs.value.std() - 0.3) < 0.01 and not torch.equal(obs.value[0], obs.value[1])


def test_drifters_go_round_and_satellites_stay_within_their_inclination():
    times = torch.linspace(0, 2 * math.pi, 41, dtype=torch.double)
    start = torch.tensor([[1.0, 0.0], [0.0, 2.0]], dtype=torch.double)
    track = observations.drifters(start, times, lambda t, x: torch.stack([-x[:, 1], x[:, 0]], 1))
    torch.testing.assert_close(track[-1], start, atol=1e-2, rtol=0)
    day = torch.linspace(0, 86_400, 500, dtype=torch.double)
    below = observations.satellite(day, inclination=66.0, period=6000.0, day=86_400.0)[:, 0]
    assert abs(below[:, 0].max() - 66) < 0.1 and (below[:, 1] >= 0).all() and (below[:, 1] < 360).all()
    again = observations.satellite(torch.tensor([0.0, 6000.0]), inclination=66.0, period=6000.0, day=86_400.0)[:, 0]
    west = (again[0, 1] - again[1, 1]) % 360
    torch.testing.assert_close(west, torch.tensor(360 * 6000 / 86_400), atol=1e-2, rtol=0)


def at(points, channel):
    n = len(points)
    return Network(torch.zeros(n), points, torch.as_tensor(channel).expand(n))


def test_linear_interpolation_is_exact_for_planes_and_at_grid_points():
    y, x = torch.linspace(-3, 3, 7).flip(0), torch.arange(8.0)  # one axis descends
    field = torch.stack([2 * y[:, None] + 3 * x, y[:, None] * x]).double()
    points = torch.tensor([[0.3, 1.7], [-2.9, 6.99], [3.0, 0.0]])
    seen = interpolation.Linear([y, x], at(points, 0), [None, None])(field)
    torch.testing.assert_close(seen, 2 * points[:, 0].double() + 3 * points[:, 1].double())
    bilinear = interpolation.Linear([y, x], at(points, 1), [None, None])(field)
    torch.testing.assert_close(bilinear, (points[:, 0] * points[:, 1]).double(), atol=1e-6, rtol=0)
    rows = torch.cartesian_prod(y, x)
    torch.testing.assert_close(interpolation.Linear([y, x], at(rows, 1), [None, None])(field), field[1].flatten())


def test_linear_interpolation_goes_round_and_stops_at_poles():
    lat, lon = torch.tensor([-60.0, 0.0, 60.0]), torch.arange(0.0, 360.0, 90.0)
    field = torch.arange(12.0).reshape(1, 3, 4)
    look = lambda *p: interpolation.Linear([lat, lon], at(torch.tensor([p]), 0), [None, 360.0])(field).item()  # noqa: E731
    assert look(0.0, 315.0) == pytest.approx((7 + 4) / 2) and look(0.0, -45.0) == pytest.approx((7 + 4) / 2)
    assert look(85.0, 90.0) == pytest.approx(9.0)
    with pytest.raises(ValueError, match="observation 0 has coordinate 0 at 200"):
        look(200.0, 0.0)
    with pytest.raises(ValueError, match="2 coordinates"):
        interpolation.Linear([lat], at(torch.zeros(1, 2), 0), [None])


def test_channels_may_stand_beside_each_other():
    place = torch.arange(5.0, dtype=torch.double)
    axes = [(place, place + 0.5), (place + 0.5, place)]
    points = torch.rand(20, 2, generator=G, dtype=torch.double) * 3 + 0.5
    channel = torch.arange(20) % 2
    field = torch.stack([3 * y[:, None] - 2 * x for y, x in axes])
    seen = interpolation.Linear(axes, at(points, channel), [None, None])(field)
    torch.testing.assert_close(seen, 3 * points[:, 0] - 2 * points[:, 1])
    same = interpolation.Linear([axes[0]] * 2, at(points, channel), [None, None])(field)
    assert torch.equal(same, interpolation.Linear(axes[0], at(points, channel), [None, None])(field))
    with pytest.raises(ValueError, match="observation 3 has coordinate 1 at 5.4"):
        interpolation.Linear(axes, at(torch.tensor([[0.0, 5.4]] * 4), torch.tensor([0, 0, 0, 1])), [None, None])
    with pytest.raises(ValueError, match="expected one size, and the axes of 3 channels"):
        interpolation.Linear(axes, at(points, 2), [None, None])
    with pytest.raises(ValueError, match="expected one size"):
        interpolation.Linear([axes[0], (place, place[1:])], at(points, channel), [None, None])


@pytest.mark.parametrize("north_first", [False, True])
def test_fields_go_on_over_the_poles(north_first):
    def around_an_equatorial_axis(lat, lon):
        """Return height, and wind of a turning sphere whose pole lies on the equator: smooth everywhere."""
        lat, lon = torch.deg2rad(lat), torch.deg2rad(lon)
        return torch.stack([torch.cos(lat) * torch.cos(lon), -torch.sin(lat) * torch.cos(lon), torch.sin(lon)])

    lat, lon = torch.linspace(-87, 87, 30, dtype=torch.double), torch.arange(60, dtype=torch.double) * 6
    lat = lat.flip(0) if north_first else lat
    field = around_an_equatorial_axis(*torch.meshgrid(lat, lon, indexing="ij"))
    rows = interpolation.latitudes_over_poles(lat)
    assert rows[[0, -1]].abs().tolist() == [93, 93] and (rows.diff().sign() == rows.diff()[0].sign()).all()
    points = torch.tensor([[90, 10], [89.5, 200], [87.3, 359], [-90, 45], [-88.2, 91], [40, 3]], dtype=torch.double)
    for c in range(3):
        truth = around_an_equatorial_axis(*points.T)[c]
        seen = interpolation.Linear([rows, lon], at(points, c), [None, 360.0])(interpolation.over_poles(field, (1, 2)))
        torch.testing.assert_close(seen, truth, atol=6e-3, rtol=0)
    ends = interpolation.Linear([lat, lon], at(points, 0), [None, 360.0])(field)
    assert (ends - around_an_equatorial_axis(*points.T)[0]).abs().max() > 0.04, "without: the last row's value"
    with pytest.raises(ValueError, match="lies on a pole"):
        interpolation.latitudes_over_poles(torch.linspace(-90, 90, 5))
    with pytest.raises(ValueError, match="5 longitudes"):
        interpolation.over_poles(torch.zeros(1, 4, 5))


@pytest.mark.parametrize("size", [(8, 10), (9, 7)])
def test_spectral_interpolation_is_exact_for_what_the_grid_resolves(size):
    period = (2.0, 3.0)
    wave = lambda y, x: torch.sin(2 * math.pi * (2 * y / 2.0 - x / 3.0)) + torch.cos(2 * math.pi * 3 * x / 3.0) + 1  # noqa: E731
    y, x = (torch.arange(n, dtype=torch.double) * p / n for n, p in zip(size, period, strict=True))
    field = torch.stack([torch.zeros(*size, dtype=torch.double), wave(y[:, None], x)])
    points = torch.rand(20, 2, generator=G, dtype=torch.double) * 5 - 1
    seen = interpolation.Spectral(size, at(points, 1), period)(field.expand(3, -1, -1, -1))
    torch.testing.assert_close(seen[2], wave(points[:, 0], points[:, 1]))
    noise = torch.randn(2, *size, generator=G, dtype=torch.double)
    grid = torch.cartesian_prod(y, x)
    torch.testing.assert_close(interpolation.Spectral(size, at(grid, 1), period)(noise), noise[1].flatten())


def test_between_steps_lies_a_line():
    steps = torch.tensor([0.0, 0.5, 1.0])
    seen = torch.tensor([0.0, 1.0, 4.0])[:, None, None].expand(3, 2, 4)
    found = interpolation.in_time(seen, steps, torch.tensor([0.0, 0.25, 0.5, 0.9]))
    torch.testing.assert_close(found, torch.tensor([0.0, 0.5, 1.0, 3.4]).expand(2, 4))
    with pytest.raises(ValueError, match="observation 0 is of time 1.2, outside the window 0 to 1"):
        interpolation.in_time(seen, steps, torch.tensor([1.2, 0.0, 0.0, 0.0]))
