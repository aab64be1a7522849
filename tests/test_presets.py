"""Presets are strict: every size states every field, and what does not fit is named with its remedy."""

import dataclasses

import pytest

from latentkit.presets import PRESETS, SIZES, field_names, preset


@pytest.mark.parametrize("slug", PRESETS)
@pytest.mark.parametrize("size", SIZES)
def test_every_size_is_whole_and_frozen(slug, size):
    found = preset(slug, size)
    assert (found.slug, found.size) == (slug, size)
    with pytest.raises(dataclasses.FrozenInstanceError):
        found.size = "other"
    assert not any(f.default is not dataclasses.MISSING for f in dataclasses.fields(found))


def test_overrides_take_the_type_of_their_field():
    found = preset("lccvae", "quick", latent_dim=2.0, hidden=[16, 8], learning_rate=1)
    assert (found.latent_dim, found.hidden, found.learning_rate) == (2, (16, 8), 1.0)
    assert isinstance(found.latent_dim, int) and isinstance(found.learning_rate, float)


@pytest.mark.parametrize(
    ("call", "error", "words"),
    [
        (("lccvea", "quick", {}), ValueError, "did you mean 'lccvae'"),
        (("lccvae", "qick", {}), ValueError, "did you mean 'quick'"),
        (("lccvae", "quick", {"latent_dims": 2}), ValueError, "did you mean 'latent_dim'.*Known: .*steps"),
        (("lccvae", "quick", {"latent_dim": 2.5}), TypeError, "latent_dim .* such as 3; found 2.5"),
        (("lccvae", "quick", {"latent_dim": True}), TypeError, "found True"),
        (("lccvae", "quick", {"hidden": []}), TypeError, r"found \[\]"),
        (("lccvae", "quick", {"variable": 3}), TypeError, "a str"),
        (("lccvae", "quick", {"steps": float("inf")}), ValueError, "steps .* is inf; expected a finite number"),
        (("lccvae", "quick", {"batch": 0}), ValueError, "batch .* is 0; expected 1 or more"),
        (("lccvae", "quick", {"clip": -1}), ValueError, "clip .* is -1.0; expected a number above 0"),
        (("lccvae", "quick", {"noise": "lerned"}), ValueError, "did you mean 'learned'"),
    ],
)
def test_what_does_not_fit_is_named(call, error, words):
    slug, size, overrides = call
    with pytest.raises(error, match=words):
        preset(slug, size, **overrides)


def test_a_noise_that_is_a_number_can_be_overridden():
    assert preset("levda", "quick", noise=0.2).noise == 0.2


def test_a_shape_may_be_negative_and_is_judged_by_the_model():
    assert preset("llaae", "quick", gev_shape=-0.3).gev_shape == -0.3
    with pytest.raises(TypeError, match="gev_shape .* such as -0.5; found None"):
        preset("llaae", "quick", gev_shape=None)


def test_size_and_slug_are_no_overrides():
    assert "size" not in field_names("lccvae") and "latent_dim" in field_names("lccvae")
