"""Kolmogorov flow against exact solutions, budgets of energy and enstrophy, a finer grid, and itself."""

import math

import pytest
import torch

from latentkit.testbeds.kolmogorov import Kolmogorov

INF = math.inf


def rng(seed=0):
    return torch.Generator().manual_seed(seed)


def double(size=32, **more):
    return Kolmogorov(size, dtype=torch.double, **more)


def points(system):
    """Return y (y, 1) and x (x)."""
    x = 2 * math.pi / system.size * torch.arange(system.size, dtype=torch.double)
    return x[:, None], x


def mean(field):
    return field.mean((-1, -2))


def budget(system, state):
    """Return energy and enstrophy a unit area (2, m)."""
    return 0.5 * torch.stack([mean(system.velocity(state).square().sum(1)), mean(state.square())])


def test_flows_of_one_wavenumber_decay_as_exact_solutions_do():
    # |k| = 5 for all of these, so that the stream function is the vorticity over 25 and advection vanishes.
    system = double(drag=0.1, forcing=0.0)
    y, x = points(system)
    shell = 2 * torch.sin(3 * x + 4 * y) + torch.cos(5 * x + 0 * y) - 3 * torch.cos(4 * x - 3 * y)
    state, reynolds = shell.expand(3, -1, -1), torch.tensor([20.0, 500.0, INF], dtype=torch.double)
    decay = torch.exp(-25 * (0.04 * 30) * (1 / reynolds) - 0.1 * 0.04 * 30)
    found = system.advance(state, 30, reynolds)
    torch.testing.assert_close(found, decay[:, None, None] * state, rtol=1e-11, atol=1e-11)


def test_taylor_green_vortices_decay():
    system = double(drag=0.0, forcing=0.0)
    y, x = points(system)
    u, v = torch.cos(x) * torch.sin(y), -torch.sin(x) * torch.cos(y)
    state = system.vorticity(torch.stack([u, v])[None])
    torch.testing.assert_close(state[0], -2 * torch.cos(x) * torch.cos(y))
    found = system.velocity(system.advance(state, 50, 10.0))[0]
    torch.testing.assert_close(found, torch.stack([u, v]) * math.exp(-2 * 50 * 0.04 / 10))


def test_tendency_is_that_of_products_on_a_fine_grid():
    # Advection as u dw/dx + v dw/dy on four times the grid, where nothing aliases, kept below a third of the size.
    system = double(drag=0.0, forcing=0.0, step=1e-6, inner=1)
    state = system.start(2, rng())
    found = (system.advance(state, 1, INF) - state) / 1e-6
    k = torch.fft.fftfreq(128, 1 / 128, dtype=torch.double)
    ky, kx = k[:, None], k
    square = (ky**2 + kx**2).clamp(min=1)
    fine = torch.zeros(2, 128, 128, dtype=torch.cdouble)
    rows = torch.arange(-15, 16)
    fine[:, rows[:, None], rows] = torch.fft.fft2(state, norm="forward")[:, rows[:, None], rows]
    fields = torch.stack([1j * ky / square * fine, -1j * kx / square * fine, 1j * kx * fine, 1j * ky * fine])
    u, v, w_x, w_y = torch.fft.ifft2(fields, norm="forward").real
    kept = torch.fft.fft2(-(u * w_x + v * w_y)) * (9 * (ky**2 + kx**2) < 32**2)
    expected = torch.fft.ifft2(kept).real[:, ::4, ::4]
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-4 * expected.abs().max().item())


def test_ideal_flow_keeps_energy_and_enstrophy():
    lost = []
    for inner in (1, 2):
        system = double(drag=0.0, forcing=0.0, step=0.02, inner=inner)
        state = system.start(2, rng())
        share = budget(system, system.advance(state, 25, INF)) / budget(system, state) - 1
        lost.append(share.abs().amax(1))
    assert lost[1].max() < 1e-7
    # The method loses energy at order 5: halving the step takes all but about a 32nd.
    assert (lost[0] > 16 * lost[1]).all(), lost


def test_energy_and_enstrophy_balance():
    drag, h = 0.3, 1e-3
    system = double(drag=drag, forcing=2.0, step=h, inner=1)
    y, _ = points(system)
    reynolds = torch.tensor([20.0, 200.0], dtype=torch.double)
    first, middle, last = system.trajectory(system.start(2, rng()), 2, 1, reynolds)
    found = (budget(system, last) - budget(system, first)) / (2 * h)
    kept = budget(system, middle)
    k = torch.fft.fftfreq(32, 1 / 32, dtype=torch.double)
    steep = (torch.fft.fft2(middle, norm="forward").abs().square() * (k[:, None] ** 2 + k**2)).sum((1, 2))
    work = mean(2 * torch.sin(4 * y) * system.velocity(middle)[:, 0]), mean(-8 * torch.cos(4 * y) * middle)
    expected = torch.stack(work) - torch.stack([2 * kept[1], steep]) / reynolds - 2 * drag * kept
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)


def laminar(system, reynolds):
    y, _ = points(system)
    return -4 * torch.cos(4 * y) / (system.drag + 16 / reynolds)[:, None, None] * torch.ones(system.size)


def test_laminar_flow_is_at_rest_at_any_step_and_reynolds_number():
    # Steps this long are not stable: rounding errors grow in them, by 1e5 in this one at Re = 1000.
    system = double(step=1.0, inner=1)
    reynolds = torch.tensor([5.0, 40.0, 1000.0], dtype=torch.double)
    state = laminar(system, reynolds)
    torch.testing.assert_close(system.advance(state, 1, reynolds), state, rtol=0, atol=1e-8)


def test_slow_flow_becomes_laminar():
    # At Re = 5, U / (nu k) = 0.38, below the sqrt(2) at which waves of any length begin to grow.
    system = double(16, inner=1)
    reynolds = torch.tensor([4.0, 5.0], dtype=torch.double)
    state = system.advance(system.start(2, rng(), speed=1.0), 1500, reynolds)
    torch.testing.assert_close(state, laminar(system, reynolds), rtol=0, atol=1e-6)


def test_time_steps_are_of_order_four():
    start = double().start(1, rng())
    runs = {n: double(step=0.2, inner=n).advance(start, 2, 200.0) for n in (2, 4, 8, 64)}
    gaps = [(runs[n] - runs[64]).norm() for n in (2, 4, 8)]
    assert 12 < gaps[1] / gaps[2] < 20, gaps
    assert 10 < gaps[0] / gaps[1] < 25, gaps


def test_a_grid_that_resolves_the_flow_agrees_with_one_twice_as_fine():
    gaps = []
    for size in (32, 64):
        coarse, fine = double(size, inner=4), double(2 * size, inner=4)
        states = [s.advance(s.start(1, rng(), peak=1, speed=1), 25, 20.0) for s in (coarse, fine)]
        gaps.append(((states[0] - states[1][:, ::2, ::2]).norm() / states[0].norm()).item())
    assert gaps[1] < 1e-5 and gaps[1] < gaps[0] / 100, gaps


@pytest.mark.parametrize(("size", "steps"), [(64, 100), (150, 10)])
def test_published_setting_stays_finite(size, steps):
    system = Kolmogorov(size)
    state = system.advance(system.start(2, rng(3)), steps, torch.tensor([500.0, 1500.0]))
    assert 1 < system.velocity(state).norm(dim=1).max() < 8


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 1e-4), (torch.float64, 1e-12)])
def test_batch_is_a_loop(dtype, tolerance):
    system = Kolmogorov(32, dtype=dtype)
    state, reynolds = system.start(4, rng()), torch.tensor([30.0, 200.0, 1000.0, INF], dtype=dtype)
    together = system.advance(state, 10, reynolds)
    alone = torch.cat([system.advance(state[i : i + 1], 10, reynolds[i].item()) for i in range(4)])
    torch.testing.assert_close(together, alone, rtol=0, atol=tolerance * together.abs().max().item())


def test_trajectory_is_made_of_advances():
    system = double(16)
    state = system.start(2, rng())
    path = system.trajectory(state, 6, 3, 100.0)
    assert path.shape == (3, 2, 16, 16)
    torch.testing.assert_close(path[0], state)
    torch.testing.assert_close(path[2], system.advance(system.advance(state, 3, 100.0), 3, 100.0))


def test_shifted_flow_stays_shifted():
    # Along x by any distance, along y by a wavelength of the forcing.
    system = double()
    state = system.start(1, rng())
    shifted = system.advance(state.roll((8, 5), (1, 2)), 10, 300.0)
    torch.testing.assert_close(shifted, system.advance(state, 10, 300.0).roll((8, 5), (1, 2)))


def test_gradients_are_those_of_differences():
    system = double(16)
    state = system.start(2, rng()).requires_grad_()
    kept = state.detach().clone()
    reynolds = torch.tensor([50.0, 400.0], dtype=torch.double, requires_grad=True)
    weight, way = (torch.randn(2, 16, 16, generator=rng(i), dtype=torch.double) for i in (1, 2))

    def cost(w, re):
        return (weight * system.advance(w, 5, re)).sum()

    by_state, by_reynolds = torch.autograd.grad(cost(state, reynolds), [state, reynolds])
    torch.testing.assert_close(state.detach(), kept, rtol=0, atol=0)
    slope = (cost(kept + 1e-5 * way, reynolds) - cost(kept - 1e-5 * way, reynolds)) / 2e-5
    torch.testing.assert_close((by_state * way).sum(), slope, rtol=1e-7, atol=0)
    for slope, way in zip(by_reynolds, torch.eye(2, dtype=torch.double), strict=True):
        found = (cost(kept, reynolds + 1e-3 * way) - cost(kept, reynolds - 1e-3 * way)) / 2e-3
        torch.testing.assert_close(slope, found, rtol=1e-5, atol=0)


def test_starts_are_shared_or_random_and_repeat():
    system = Kolmogorov(64)
    shared, own = system.start(3, rng(), shared=True), system.start(3, rng())
    assert (shared == shared[:1]).all()
    assert not any(torch.allclose(own[i], own[j]) for i, j in [(0, 1), (0, 2), (1, 2)])
    torch.testing.assert_close(own, system.start(3, rng()), rtol=0, atol=0)
    assert not torch.allclose(own, system.start(3, rng(1)))
    torch.testing.assert_close(system.velocity(own).norm(dim=1).amax((1, 2)), torch.full((3,), 3.0))
    # The same field at another size and precision.
    torch.testing.assert_close(double(128).start(3, rng())[:, ::2, ::2].float(), own, rtol=0, atol=1e-4)


def test_starts_are_strongest_at_the_peak():
    state = double(64).start(100, rng(), peak=4.0)
    k = torch.fft.fftfreq(64, 1 / 64, dtype=torch.double)
    size, power = (k[:, None] ** 2 + k**2).sqrt(), torch.fft.fft2(state).abs().square().mean(0)
    assert max(range(1, 20), key=lambda n: power[(size - n).abs() < 0.5].mean()) == 4


def test_velocity_is_free_of_divergence_and_inverts():
    system = double()
    state = system.start(2, rng())
    velocity = system.velocity(state)
    k = 1j * torch.fft.fftfreq(32, 1 / 32, dtype=torch.double)
    u, v = torch.fft.fft2(velocity, norm="forward").unbind(1)
    assert (k * u + k[:, None] * v).abs().max() < 1e-13
    assert mean(velocity).abs().max() < 1e-14
    torch.testing.assert_close(system.vorticity(velocity), state)
    y, x = points(system)
    found = system.velocity((torch.cos(2 * x + 0 * y) + 3 * torch.sin(5 * y))[None])[0]
    expected = torch.stack([0.6 * torch.cos(5 * y) + 0 * x, 0.5 * torch.sin(2 * x) + 0 * y])
    torch.testing.assert_close(found, expected)


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda s, w: Kolmogorov(33), "size is 33; expected an even number above 12"),
        (lambda s, w: Kolmogorov(12), "size is 12; expected an even number above 12"),
        (lambda s, w: Kolmogorov(step=0.0), "step 0.0"),
        (lambda s, w: Kolmogorov(wavenumber=0), "wavenumber 0"),
        (lambda s, w: s.start(1, rng(), speed=0.0), "speed 0.0"),
        (lambda s, w: Kolmogorov(inner=0), "inner is 0"),
        (lambda s, w: s.advance(w[0], 1, 100.0), r"state given has shape \(16, 16\); expected \(m, 16, 16\)"),
        (lambda s, w: s.advance(w, 1, 0.0), "reynolds is 0 at least; expected numbers above 0"),
        (lambda s, w: s.advance(w, 1, torch.tensor([100.0, -3.0])), "reynolds is -3 at least"),
        (
            lambda s, w: s.advance(w, 1, torch.ones(3)),
            r"reynolds has shape \(3,\); expected a number or \(2,\), one a member",
        ),
        (lambda s, w: s.trajectory(w, 5, 2, 1.0), "5 steps, kept every 2"),
        (lambda s, w: s.advance(w * torch.tensor([1, math.nan])[:, None, None], 1, 9.0), r"given .* in members \[1\]"),
        (lambda s, w: s.advance(1e6 * w, 50, 1e9), r"after 50 steps is not finite in members \[0, 1\]; .*\(inner\)"),
        (lambda s, w: s.vorticity(w), r"velocity has shape \(2, 16, 16\); expected \(m, 2, y, x\)"),
    ],
)
def test_errors_say_what_to_do(call, words):
    system = Kolmogorov(16)
    with pytest.raises(ValueError, match=words):
        call(system, system.start(2, rng()))
