"""A stack of networks is its networks, one by one."""

import pytest
import torch

from latentkit.models.cvae import CVAE
from latentkit.models.nets import MLP, Dense, normal, pick
from latentkit.models.train import generator


def test_dense_is_a_linear_layer_of_torch():
    dense = Dense(5, 3, [generator(0, "a"), generator(1, "a")])
    x = torch.randn(2, 7, 5, generator=generator(2))
    for s in range(2):
        expected = torch.nn.functional.linear(x[s], dense.weight[s].T, dense.bias[s, 0])
        torch.testing.assert_close(dense(x)[s], expected)


def test_stack_equals_single_networks():
    stack = MLP([4, 8, 2], [generator(0), generator(1), generator(2)])
    x = torch.randn(3, 6, 4, generator=generator(9))
    for s in range(3):
        alone = MLP([4, 8, 2], [generator(s)])
        torch.testing.assert_close(alone(x[s : s + 1])[0], stack(x)[s])


def test_noise_of_a_model_does_not_depend_on_the_stack():
    like = torch.zeros(())
    both = normal((3, 2), [generator(0), generator(1)], like)
    alone = normal((3, 2), [generator(1)], like)
    assert torch.equal(both[1], alone[0])


def test_one_width_is_no_network():
    with pytest.raises(ValueError, match="input and an output width"):
        MLP([4], [generator(0)])


def test_picked_models_are_copies_of_those_of_the_stack():
    stack = CVAE(5, 3, 2, (4,), [generator(i, "init") for i in range(3)])
    x, y = torch.randn(3, 7, 3, generator=generator(0, "x")), torch.randn(3, 7, 5, generator=generator(0, "y"))
    picked = pick(stack, [2, 0])
    torch.testing.assert_close(picked.reconstruct(x[[2, 0]], y[[2, 0]]), stack.reconstruct(x, y)[[2, 0]])
    assert picked.noise.shape == (2, 1, 1) and len(stack.noise) == 3


def test_what_is_no_stack_cannot_be_picked_from():
    with pytest.raises(ValueError, match=r"first axes of \[2, 3\]"):
        pick(torch.nn.Sequential(torch.nn.Linear(3, 2), torch.nn.Linear(2, 3)), [0])
