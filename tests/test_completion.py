"""Features of neighbors and the uncertainty of codes carried through a decoder."""

import torch

from latentkit.models.completion import decode_codes, features
from latentkit.models.train import generator


def test_features_are_the_neighbors_codes_in_order():
    z = torch.arange(12.0).reshape(1, 6, 2)
    near = torch.tensor([[3, 1], [0, 5]])
    assert features(z, near).tolist() == [[[6, 7, 2, 3], [0, 1, 10, 11]]]


def test_variance_of_a_linear_decoder_is_in_closed_form():
    g = generator(0, "decoder")
    weight = torch.randn(2, 5, generator=g)
    mean, variance = torch.randn(1, 3, 2, generator=g), torch.rand(1, 3, 2, generator=g)
    found, spread = decode_codes(lambda z: z @ weight, mean, variance, torch.full((1, 1, 1), 0.3), [g], draws=20_000)
    torch.testing.assert_close(found, mean @ weight, atol=0.05, rtol=0)
    torch.testing.assert_close(spread, variance @ weight.square() + 0.09, atol=0.02, rtol=0.04)


def test_no_draws_decode_the_code_itself():
    mean = torch.ones(1, 3, 2)
    found, spread = decode_codes(lambda z: 2 * z, mean, mean, torch.full((1, 1, 1), 0.5), [], draws=0)
    assert (found == 2).all() and (spread == 0.25).all() and spread.shape == found.shape
