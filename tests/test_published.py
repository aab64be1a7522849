"""The surrogate in its published form: fields from coordinates, at one point or all, and training that learns."""

import torch

from latentkit.models import published, surrogates
from latentkit.testbeds import cases

CASE = cases.tsunami(10, width=2e5, outputs=3)
SIZES = {"latent": 3, "dynamics": (8,), "width": 12, "blocks": 1, "features": 3, "sampled": 16, "points": 40}


def test_trajectories_are_the_decoder_at_every_point_of_the_grid():
    model, p = published.Published(CASE, seeds=[0, 1], **SIZES), CASE.draw(2, torch.Generator().manual_seed(0))
    model.deviation = torch.tensor([1.0, 2.0, 3.0])[:, None, None]
    found = model.trajectory(p, 1)
    assert found.shape == (4, 2, *CASE.shape)
    u = CASE.scaled(p).expand(2, -1, -1)
    with torch.no_grad():
        z = model.net.trajectory(u)[:, 2]
        point = model.net.decoder.points[:, 37:38]  # row 3, column 7
        one = model.net.decoder(z, point)[1, :, 0] * model.deviation.flatten()
    torch.testing.assert_close(found[2, :, :, 3, 7], one)


def test_training_learns(monkeypatch, tmp_path):
    monkeypatch.setenv("LATENTKIT_WEIGHTS", str(tmp_path))
    model, history = published.obtain(
        CASE,
        "tiny_published",
        **SIZES,
        library=16,
        steps=150,
        learning_rate=1e-2,
        seeds=[0, 1],
        settings={},
        retrain=True,
    )
    p = surrogates.library_parameters(CASE, 16)
    truth = CASE.trajectories(p)
    error = cases.apart(model.trajectory(p, 0), truth, CASE.weights, model.deviation).square().mean().sqrt()
    assert error < 0.95 and history.values["error"][-1].mean() < history.values["error"][0].mean()
