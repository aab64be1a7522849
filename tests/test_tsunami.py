"""The tsunami against standing, Kelvin and balanced waves, what the equations keep, a finer grid, and itself."""

import math

import pytest
import torch

from latentkit.testbeds.tsunami import Tsunami

LOW = 1e-6  # height [m] at which waves are linear to 1e-8
CENTERS = torch.tensor([[0.3, 0.4], [0.15, 0.45], [0.5, 0.1]], dtype=torch.double)


def double(size=32, **more):
    return Tsunami(size, dtype=torch.double, **more)


def noise(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.double)


def walled(state):
    """Return a state without flow through the eastern and northern walls."""
    state = state.clone()
    state[:, 0, :, -1] = 0
    state[:, 1, -1] = 0
    return state


def middles(system):
    return (torch.arange(system.size, dtype=torch.double) + 0.5) * system.cell


def test_start_is_a_bump_at_rest_at_its_center():
    system = double(64)
    state = system.start(CENTERS)
    eta = state[:, 2]
    assert (state[:, :2] == 0).all()
    x = middles(system)
    volume = eta.sum((1, 2))
    found = torch.stack([(eta.sum(1) * x).sum(1), (eta.sum(2) * x).sum(1)], 1) / volume[:, None]
    torch.testing.assert_close(found[:2] / system.side, CENTERS[:2], rtol=2e-3, atol=0)
    variance = (eta[0].sum(0) * (x - found[0, 0]).square()).sum() / volume[0]
    torch.testing.assert_close(variance.sqrt().item(), 5e4, rtol=1e-3, atol=0)
    assert 0.95 < eta.max() <= 1
    torch.testing.assert_close(system.mass(state)[0].item(), 2 * math.pi * 5e4**2, rtol=1e-6, atol=0)


def test_standing_waves_beat_at_the_frequency_of_the_scheme():
    # Equation 4 on cos(k x): sin(theta / 2) = courant sin(k d / 2), theta the phase a step. Time of u is half a step
    # back, so that a start at rest lies half a step before a crest.
    system = double(64, f0=0, beta=0)
    k, steps = 2 * math.pi / system.side, 400
    wave = torch.cos(k * middles(system)).expand(1, 64, 64)
    theta = 2 * math.asin(0.1 * math.sin(k * system.cell / 2))
    expected = LOW * wave * math.cos((steps + 0.5) * theta) / math.cos(0.5 * theta)
    state = torch.stack([0 * wave, 0 * wave, LOW * wave], 1)
    torch.testing.assert_close(system.advance(state, steps)[:, 2], expected, rtol=0, atol=1e-6 * LOW)
    assert abs(theta / (k * system.step) / math.sqrt(9.81 * 100) - 1) < 1e-3  # speed sqrt(g H)


def kelvin(system, time):
    """Return the wave along the southern wall at a time [s]: v = 0, and u = eta sqrt(g / H) decays with y."""
    f, c = system.coriolis[0].item(), system.wave_speed

    def shape(x, t):
        along = torch.exp(-0.5 * ((x - 0.3 * system.side - c * t) / 8e4).square())
        return LOW * torch.exp(-f / c * middles(system))[:, None] * along

    x = middles(system)
    eta = shape(x, time)
    # u stands half a cell further, and by the order of a step half a step earlier.
    u = math.sqrt(system.gravity / system.depth) * shape(x + system.cell / 2, time - system.step / 2)
    return walled(torch.stack([u, torch.zeros_like(u), eta])[None])


def test_a_kelvin_wave_follows_its_coast():
    gaps = []
    for size in (32, 64):
        system = double(size, beta=0)
        steps = round(0.35 * size / 0.1)  # to 0.65 of the side
        found = system.advance(kelvin(system, 0.0), steps)
        expected = kelvin(system, steps * system.step)
        gaps.append(((found - expected)[:, 2].norm() / expected[:, 2].norm()).item())
    assert gaps[1] < 0.03 and 3 < gaps[0] / gaps[1] < 5, gaps  # of order two


def balanced(system):
    """Return a vortex in geostrophic balance, from a stream function on the corners of cells, 0 on the walls."""
    at = torch.arange(system.size + 1, dtype=torch.double) / system.size
    bell = torch.sin(math.pi * at).pow(4)
    psi = 1e-2 * bell[:, None] * bell.roll(0)
    u, v = -psi.diff(dim=0)[:, 1:] / system.cell, psi.diff(dim=1)[1:] / system.cell
    eta = system.coriolis[0] / system.gravity * (psi[1:, 1:] + psi[1:, :-1] + psi[:-1, 1:] + psi[:-1, :-1]) / 4
    return torch.stack([u, v, eta])[None]


def test_a_balanced_vortex_stays():
    system = double(beta=0)
    state = balanced(system)
    found = system.advance(state, 1000)
    for channel in range(3):
        scale = state[:, channel].abs().max()
        torch.testing.assert_close(found[:, channel] / scale, state[:, channel] / scale, rtol=0, atol=1e-6)
    # Without rotation the same vortex falls apart.
    loose = double(f0=0, beta=0).advance(state, 1000)[:, 2]
    assert (loose - state[:, 2]).abs().max() > 0.5 * state[:, 2].max()


def kept(system, state):
    """Return equation 5 (m) [m3/s2], from its matrix written out."""
    u, v, eta = state.unbind(1)
    u_all, v_all = torch.nn.functional.pad(u, (1, 0)), torch.nn.functional.pad(v, (0, 0, 1, 0))
    divergence = (u_all.diff(dim=2) + v_all.diff(dim=1)) / system.cell
    centered = (u_all[..., 1:] + u_all[..., :-1]) / 2
    turn = system.coriolis[1:-1] * (centered[:, 1:] + centered[:, :-1]) / 2
    lower = -system.depth * ((v[:, :-1] * turn).sum((1, 2)) + system.gravity * (eta * divergence).sum((1, 2)))
    square = system.depth * (u.square() + v.square()) + system.gravity * eta.square()
    return square.sum((1, 2)) - system.step * lower


def test_low_waves_keep_equation_5_under_rotation_of_any_strength():
    system = double(16, f0=2e-4, beta=2e-10, courant=0.5)
    state = walled(1e-3 * LOW * noise(2, 3, 16, 16))
    found = kept(system, system.advance(state, 2000))
    torch.testing.assert_close(found, kept(system, state), rtol=1e-7, atol=0)
    assert (system.energy(state) / found / system.cell**2 - 0.5).abs().max() > 1e-3  # which energy itself is not


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 3e-6), (torch.float64, 1e-12)])
def test_mass_is_kept_to_rounding(dtype, tolerance):
    system = Tsunami(32, dtype=dtype)
    path = system.mass(system.trajectory(system.start(CENTERS), 1000, 250))
    torch.testing.assert_close(path, path[:1].expand_as(path), rtol=tolerance, atol=0)


@pytest.mark.parametrize(("bump", "least", "most"), [(1.0, 0.98, 0.99), (1e-3, 1 - 3e-5, 1 - 1e-6)])
def test_energy_does_not_grow(bump, least, most):
    system = double(bump=bump)
    path = system.trajectory(system.start(CENTERS), 2000, 100)
    exact = torch.stack([kept(system, state) for state in path])
    assert (exact.diff(dim=0) < 0).all()  # upwinding takes some
    assert (exact[-1] > least * exact[0]).all() and (exact[-1] < most * exact[0]).all()
    plain = system.energy(path)
    assert (plain < 1.01 * plain[0]).all()  # by the half step between u and eta named in its docstring


def test_rest_stays_rest():
    system = Tsunami(16)
    state = torch.zeros(2, 3, 16, 16)
    state[1, 2] = 0.5  # a level above rest is level
    torch.testing.assert_close(system.advance(state, 100), state, rtol=0, atol=0)


def test_a_mirror_or_a_diagonal_changes_nothing_without_rotation():
    system = double(24, f0=0, beta=0)
    center = CENTERS[:1]
    state = system.advance(system.start(center), 300)
    mirrored = system.advance(system.start(torch.stack([1 - center[:, 0], center[:, 1]], 1)), 300)
    torch.testing.assert_close(mirrored[:, 1:], state[:, 1:].flip(-1))
    torch.testing.assert_close(mirrored[:, 0, :, :-1], -state[:, 0, :, :-1].flip(-1))
    turned = system.advance(system.start(center.flip(1)), 300)
    torch.testing.assert_close(turned, state[:, [1, 0, 2]].mT)


def test_finer_grids_agree_more_and_more():
    def eta(size):
        system = double(size)
        return system.advance(system.start(CENTERS[:1]), round(0.4 * size / 0.1))[0, 2]

    def coarser(field):
        return field.unflatten(0, (-1, 2)).unflatten(2, (-1, 2)).mean((1, 3))

    fields = [eta(size) for size in (16, 32, 64, 128)]
    gaps = [(a - coarser(b)).norm() / a.norm() for a, b in zip(fields[:-1], fields[1:], strict=True)]
    assert gaps[2] < 0.05 and gaps[1] / gaps[2] > 2.5, gaps


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 1e-5), (torch.float64, 1e-13)])
def test_batch_is_a_loop(dtype, tolerance):
    system = Tsunami(16, dtype=dtype)
    state = system.start(CENTERS)
    alone = torch.cat([system.advance(state[i : i + 1], 100) for i in range(3)])
    torch.testing.assert_close(system.advance(state, 100), alone, rtol=0, atol=tolerance)


def test_trajectory_is_made_of_advances():
    system = double(16)
    state = system.start(CENTERS)
    path = system.trajectory(state, 40, 20)
    assert path.shape == (3, 3, 3, 16, 16)
    torch.testing.assert_close(path[0], state)
    torch.testing.assert_close(path[2], system.advance(system.advance(state, 20), 20))


def test_gradients_are_those_of_differences():
    system = double(16)
    center, weight = CENTERS[:2].clone().requires_grad_(), noise(2, 3, 16, 16)

    def cost(at):
        return (weight * system.advance(system.start(at), 30)).sum()

    (found,) = torch.autograd.grad(cost(center), center)
    for i, j in [(0, 0), (0, 1), (1, 0), (1, 1)]:
        step = torch.zeros(2, 2, dtype=torch.double)
        step[i, j] = 1e-5
        slope = (cost(center.detach() + step) - cost(center.detach() - step)) / 2e-5
        torch.testing.assert_close(found[i, j], slope, rtol=1e-5, atol=1e-7)


def test_gradient_at_rest_is_that_of_linear_waves():
    # Where u = 0 upwind changes side; the slope there must be the mean of both, or waves run sqrt(2) times too fast.
    system = double(16)
    rest = torch.zeros(1, 3, 16, 16, dtype=torch.double, requires_grad=True)
    before = rest.detach().clone()
    weight, way = noise(1, 3, 16, 16), walled(noise(1, 3, 16, 16, seed=1))
    (found,) = torch.autograd.grad((weight * system.advance(rest, 20)).sum(), rest)
    slope = (weight * system.advance(LOW * way, 20)).sum() / LOW
    torch.testing.assert_close((found * way).sum(), slope, rtol=1e-5, atol=0)
    assert (found[:, 0, :, -1] == 0).all() and (rest == before).all()


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda s, w: Tsunami(3), "size is 3; expected 4 cells"),
        (lambda s, w: Tsunami(depth=-1.0), "depth -1.0"),
        (
            lambda s, w: Tsunami(courant=0.8),
            "courant is 0.8, .* expected a courant above 0 and, to be stable, below 0.69",
        ),
        (lambda s, w: Tsunami(f0=0.1), "half a step turns by 2.5"),
        (lambda s, w: s.start(torch.tensor([[0.2, 1.2]])), r"center is .*1\.2.*; expected numbers from 0 to 1"),
        (lambda s, w: s.start(torch.tensor([[0.2, math.nan]])), "center is .*nan"),
        (lambda s, w: s.start(torch.tensor([0.2, 0.3])), r"center has shape \(2,\); expected \(m, 2\)"),
        (lambda s, w: s.advance(w[0], 1), r"state given has shape \(3, 16, 16\); expected \(m, 3, 16, 16\)"),
        (lambda s, w: s.trajectory(w, 5, 2), "5 steps, kept every 2"),
        (lambda s, w: s.advance(w * torch.tensor([1, math.nan, 1])[:, None, None, None], 1), r"given .* members \[1\]"),
        (lambda s, w: s.advance(1e4 * w, 2000), r"after 2000 steps is not finite in members \[0, 1, 2\]; .* 100 m"),
    ],
)
def test_errors_say_what_to_do(call, words):
    system = Tsunami(16)
    with pytest.raises(ValueError, match=words):
        call(system, system.start(CENTERS))
