r"""Trained weights as safetensors, each tied to the preset, seeds and data it was made with.

A file's metadata carries its identity; loading it under another one is an error that lists the differences, never a
silent load. `obtain` is what a notebook calls: shipped weights where they fit, training where they do not, and a
printed line that says which.

Numbers are stored in 32, 16 or 8 bits. In 16, every tensor of real numbers is in half precision. In 8, so are buffers
and small parameters, and a parameter (..., r, c) of at least 16 rows r is held as whole numbers q (int8), with a scale
s (half precision) for each of its columns:

    s = half(max(max_r |w| / 127, 2^-17))                                                                          (1)
    q = the whole number nearest to w / s, from -127 to 127;   w is read back as q s                               (2)

so that |q s - w| <= s / 2. From 2^-17 on, half precision holds a scale to one part in 256: the largest |w| of a column
is then always 127 s (below, all columns have one scale), and what was rounded once is rounded to itself.
"""

import dataclasses
import hashlib
import json
import os
from collections.abc import Callable, Sequence
from pathlib import Path

import torch
from torch import Tensor, nn

from latentkit import provenance
from latentkit.atomic import replacing
from latentkit.models.train import History

ROWS = 16  # the fewest over which a scale and a byte for each number are much less than two bytes for each
LEAST_SCALE = 2.0**-17


class MismatchError(ValueError):
    """Say how the identity of weights differs from the one asked for; `where` names the entries."""

    def __init__(self, file: str, found: dict[str, str]):
        self.where = list(found)
        told = "; ".join(f"{where} is {phrase}" for where, phrase in found.items())
        super().__init__(f"weights {file} are of another training: {told}. Train anew (RETRAIN)")


def identity(preset, seeds, data: dict, *, only: Sequence[str] = (), **more) -> dict:
    """Return what weights depend on: the preset but for its size, the seeds, the data, what else is named.

    only: the fields of the preset that this training depends on, all if none are named.
    """
    fields = dataclasses.asdict(preset)
    fields = {k: fields[k] for k in ("slug", *(only or [k for k in fields if k not in ("slug", "size")]))}
    keep = {k: data.get(k) for k in ("name", "period", "sha256")}
    return json.loads(json.dumps({"preset": fields, "seeds": list(seeds), "data": keep, **more}))


def save(model: nn.Module, path: Path, identity: dict, history: History, *, bits: int = 32) -> None:
    """Write a model's parameters in 32, 16 or 8 bits, and its training's history, with its identity.

    Raises ValueError for other bits, and where a number is too large for half precision.
    """
    from safetensors.torch import save_file

    tensors = {k: v.detach().cpu().contiguous() for k, v in _stored(model, bits).items()}
    tensors |= {f"history/{k}": torch.from_numpy(v) for k, v in history.values.items()}
    about = {"identity": json.dumps(identity), "every": str(history.every), "seconds": f"{history.seconds:.1f}"}
    with replacing(path) as part:
        save_file(tensors, part, about)


def load(model: nn.Module, path: Path, identity: dict) -> History:
    """Load parameters into a model and return the history of their training.

    Raises MismatchError where the file was made with another identity, listing what differs.
    """
    from safetensors import safe_open

    with safe_open(path, "pt") as file:
        metadata = file.metadata() or {}
        found = differences(json.loads(metadata.get("identity", "{}")), identity)
        if found:
            raise MismatchError(path.name, found)
        tensors = {k: file.get_tensor(k) for k in file.keys()}
    model.load_state_dict(_read_back(tensors))
    model.eval()
    values = {k.removeprefix("history/"): v.numpy() for k, v in tensors.items() if k.startswith("history/")}
    return History(values, int(metadata["every"]), float(metadata["seconds"]))


def obtain(
    model: nn.Module,
    name: str,
    identity: dict,
    fit: Callable[[nn.Module, Path], History],
    *,
    retrain: bool = False,
    bits: int = 32,
) -> History:
    """Load the weights `name`, shipped or one's own, where they have exactly this identity, else fit; print which.

    bits: round trained parameters to 16 or 8 bits, in which they are shipped: fewer bytes, and the same numbers from a
    model that was loaded as from one just trained.

    fit: called with the model and a checkpoint file that belongs to this identity alone, so that a training that was
    killed goes on; it is removed once the training is done.

    Weights of one's own are those in the folder that the environment variable LATENTKIT_WEIGHTS names, where it does:
    new ones are written to it, each identity to a file of its own, and found there the next time. The room for shipped
    weights is limited.

    Raises ValueError for other bits, and where a trained number is too large for half precision.
    """
    _check_bits(bits)  # before a training
    key = hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()[:16]
    folder, why = os.environ.get("LATENTKIT_WEIGHTS"), "shipped weights not wanted"
    own = Path(folder) / own_name(name, key) if folder else None
    if not retrain:
        found, why = _found(name, own, model, identity)
        if found is not None:
            print(f"{name}: {why}, trained in {found.seconds:.0f} s")
            return found
    checkpoint = provenance.project_root() / "runs" / "checkpoints" / f"{name}-{key}.pt"
    history = fit(model, checkpoint)
    checkpoint.unlink(missing_ok=True)
    round_to(model, bits)
    print(f"{name}: trained anew ({why})")
    if own is not None:
        save(model, own, identity, history, bits=bits)
    return history


def round_to(model: nn.Module, bits: int) -> None:
    """Round a model's parameters, in place, to the numbers that `save` writes in so many bits and `load` reads.

    Raises ValueError as `save` does.
    """
    rounded = _read_back(_stored(model, bits))
    with torch.no_grad():
        for name, tensor in model.state_dict().items():
            tensor.copy_(rounded[name])


def own_name(name: str, key: str) -> str:
    """Return the file's name of weights of one's own."""
    return f"{name}-{key}.safetensors"


def shipped_name(own: str) -> str:
    """Return the name under which weights of one's own are shipped."""
    return own.removesuffix(".safetensors").rpartition("-")[0] + ".safetensors"


def _found(name: str, own: Path | None, model: nn.Module, identity: dict) -> tuple[History | None, str]:
    """Load shipped weights or one's own; return their history and whose they are, or None and why there are none."""
    from latentkit.sources import archive

    why = "none are shipped"
    try:
        return load(model, archive.weights(name), identity), "shipped weights"
    except FileNotFoundError:
        pass
    except MismatchError as error:
        why = f"the shipped ones differ in {', '.join(error.where)}"
    if own is not None and own.is_file():
        return load(model, own, identity), "weights of one's own"
    return None, why


def _stored(model: nn.Module, bits: int) -> dict[str, Tensor]:
    """Return the tensors of a file: model/NAME, and in 8 bits scale/NAME for those that have scales."""
    _check_bits(bits)
    learned, tensors = {name for name, _ in model.named_parameters()}, {}
    for name, tensor in model.state_dict().items():
        if bits == 32 or not tensor.is_floating_point():
            tensors[f"model/{name}"] = tensor
        elif bits == 8 and name in learned and tensor.ndim > 1 and tensor.shape[-2] >= ROWS:
            scale = (tensor.abs().amax(-2, keepdim=True) / 127).clamp_min(LEAST_SCALE)
            scale = tensors[f"scale/{name}"] = _half(name, scale, tensor)  # (1)
            tensors[f"model/{name}"] = (tensor / scale.float()).round().clamp(-127, 127).to(torch.int8)  # (2)
        else:
            tensors[f"model/{name}"] = _half(name, tensor, tensor)
    return tensors


def _read_back(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """Return the state of a model, by name, from the tensors of its file."""
    state = {k.removeprefix("model/"): v for k, v in tensors.items() if k.startswith("model/")}
    scales = {k.removeprefix("scale/"): v for k, v in tensors.items() if k.startswith("scale/")}
    return {k: v.float() * scales[k].float() if k in scales else v for k, v in state.items()}  # (2)


def _half(name: str, values: Tensor, of: Tensor) -> Tensor:
    """Return values in half precision; `of` the tensor `name` they are, or are the scales of.

    Raises ValueError where one is beyond what half precision holds, or none at all.
    """
    half = values.half()
    if not half.isfinite().all():
        raise ValueError(
            f"{name} reaches {float(of.abs().max()):.3g}; expected finite numbers, and {name} or its scales within "
            f"{torch.finfo(torch.half).max:g}, the most that half precision holds: keep it in smaller units, or bits=32"
        )
    return half


def _check_bits(bits: int) -> None:
    if bits not in (32, 16, 8):
        raise ValueError(f"weights of {bits} bits are asked for; expected 32, 16 or 8")


def differences(found: dict, wanted: dict, path: str = "") -> dict[str, str]:
    """Return a phrase for each entry in which two nested dictionaries differ, by its dotted name."""
    phrases = {}
    for key in sorted(found.keys() | wanted.keys()):
        a, b, where = found.get(key), wanted.get(key), f"{path}{key}"
        if isinstance(a, dict) and isinstance(b, dict):
            phrases |= differences(a, b, f"{where}.")
        elif a != b:
            phrases[where] = f"{_short(a)} there and {_short(b)} here"
    return phrases


def _short(value) -> str:
    text = json.dumps(value)
    return text if len(text) <= 24 else text[:20] + "…"
