"""Components: those of scikit-learn, of either shape, turned one way, and refused where there are none."""

import numpy as np
import pytest
import torch
from sklearn.decomposition import PCA

from latentkit.models.components import Components, leading
from latentkit.models.train import generator

SAMPLES = torch.randn(40, 12, generator=generator(0, "a")) @ torch.randn(12, 12, generator=generator(1, "a"))


@pytest.mark.parametrize("samples", [SAMPLES, SAMPLES[:9]])
def test_they_are_those_of_an_external_package(samples):
    centered = samples - samples.mean(0)
    directions, deviations = leading(centered, 5)
    peer = PCA(5).fit(centered.double().numpy())
    signs = np.sign((peer.components_ * directions.numpy()).sum(1, keepdims=True))
    np.testing.assert_allclose(directions, peer.components_ * signs, atol=1e-6)
    n = len(samples)
    np.testing.assert_allclose(deviations, peer.singular_values_ / np.sqrt(n), rtol=1e-6)
    top = directions.abs().argmax(1, keepdim=True)
    assert (directions.gather(1, top) > 0).all()


def test_more_than_samples_span_are_refused():
    with pytest.raises(ValueError, match="13 components of 40 samples of 12 numbers; expected 1 to 12"):
        leading(SAMPLES - SAMPLES.mean(0), 13)
    flat = SAMPLES[:, :3] @ torch.ones(3, 12)
    with pytest.raises(ValueError, match="span 1 directions; expected 1 or fewer"):
        leading(flat - flat.mean(0), 2)


def test_training_components_are_standardized_and_uncorrelated():
    stack = torch.stack([SAMPLES, SAMPLES.flip(1) * 2 + 1])
    says = Components(stack, 4)
    found = says(stack)
    torch.testing.assert_close(found.mean(1), torch.zeros(2, 4), atol=1e-5, rtol=0)
    torch.testing.assert_close(found.mT @ found / 40, torch.eye(4).expand(2, 4, 4), atol=1e-5, rtol=0)
    torch.testing.assert_close(Components(stack[1:], 4)(stack[1:]), found[1:])
