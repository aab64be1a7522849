"""A card that is none: a device of torch whose tensors the CPU computes, but which may not meet those of the CPU.

It raises where a CUDA card does (tensors of two devices in one operation, a CPU generator asked for numbers on the
card, `numpy`), so that a machine without a card finds a tensor that was left behind. It is torch's way to write a
backend in Python (`torch.utils.backend_registration`), which torch calls experimental.
"""

import functools

import torch
from torch import Tensor

aten = torch.ops.aten
COPIES = ("aten::copy_", "aten::_to_copy")  # the only ones that cross over
ROWS = ("aten::index", "aten::index_put_", "aten::_index_put_impl_")  # rows of a card's tensor may lie on the CPU


class OnCard(Tensor):
    """Hold a tensor of the card; `inner` is on the CPU."""

    __torch_function__ = torch._C._disabled_torch_function_impl

    @staticmethod
    def __new__(cls, inner: Tensor):
        about = {"strides": inner.stride(), "storage_offset": inner.storage_offset(), "dtype": inner.dtype}
        return Tensor._make_wrapper_subclass(cls, inner.size(), device="card:0", **about)

    def __init__(self, inner: Tensor):
        self.inner = inner

    def __repr__(self):
        return f"{self.inner!r} on the card"

    def __format__(self, spec: str):
        return self.inner.__format__(spec)

    def tolist(self):
        return self.inner.tolist()

    @property
    def data(self):
        return self.detach()

    @data.setter
    def data(self, other: "OnCard"):
        Tensor.data.__set__(self, other)
        self.inner = other.inner

    @classmethod
    def __torch_dispatch__(cls, func, types, args=(), kwargs=None):
        return computed(func, args, kwargs or {})


def computed(func, args: tuple, kwargs: dict):
    """Compute an operation that a tensor of the card takes part in, or that makes one; raise where a card would."""
    name, tensors = func._schema.name, []

    def plain(x):
        if isinstance(x, Tensor):
            tensors.append(x)
        if isinstance(x, list | tuple):
            return type(x)(map(plain, x))
        return x.inner if isinstance(x, OnCard) else x

    args, more = plain(args), {key: plain(value) for key, value in kwargs.items()}
    on_card = [isinstance(x, OnCard) for x in tensors]
    target = any(on_card) if more.get("device") is None else more["device"].type == "card"
    if more.get("device") is not None:
        more["device"] = torch.device("cpu")
    if target and more.get("generator") is not None:
        raise RuntimeError(f"{name} on the card with a generator on the CPU")
    lost = [x.ndim > 0 and not on for x, on in zip(tensors, on_card, strict=True)]  # single numbers may come along
    if name in ROWS and on_card[0]:
        lost = lost[-1:] if "put" in name else []  # but what is put there may not
    if any(on_card) and any(lost) and name not in COPIES:
        shapes = [f"{tuple(x.shape)} {x.device}" for x in tensors]
        raise RuntimeError(f"{name} of tensors on the card and on the CPU: {', '.join(shapes)}")
    made = func(*args, **more)
    if func._schema.is_mutable and isinstance(made, Tensor):
        kept = next(x for x in tensors if (x.inner if isinstance(x, OnCard) else x) is made)
        if kept.shape != made.shape:  # it was reshaped in place
            kept.data = OnCard(made)
        return kept
    return _kept(made) if target else made


def _kept(made):
    """Return what was computed as tensors of the card."""
    if isinstance(made, list | tuple):
        return type(made)(map(_kept, made))
    if not isinstance(made, Tensor):
        return made
    # A wrapper does not say of itself that its numbers are all 0, or to be conjugated, or negated.
    made = torch.zeros(made.shape, dtype=made.dtype) if made._is_zerotensor() else made.resolve_conj().resolve_neg()
    return OnCard(made)


@functools.cache
def install() -> list:
    """Make the device "card" known, once; return what has to stay alive.

    Raises ImportError where torch has no way to.
    """
    from torch.utils.backend_registration import _setup_privateuseone_for_python_backend

    _setup_privateuseone_for_python_backend("card")
    library = torch.library.Library("_", "IMPL")
    library.fallback(lambda func, *args, **kwargs: computed(func, args, kwargs), "PrivateUse1")
    more = torch.library.Library("aten", "IMPL")
    more.impl("copy_", lambda *args: computed(aten.copy_.default, args, {}), "PrivateUse1")
    return [library, more]
