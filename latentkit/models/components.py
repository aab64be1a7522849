r"""Leading principal components of samples, in stacks, the same on every machine.

With rows a_n of samples, of mean 0, and the eigenvectors v_j of sum_n a_n a_n^T, ordered by eigenvalue, the component j
of a sample is a . v_j / s_j, s_j its deviation over the samples. Eigenvectors are found in double precision, from
whichever product of the samples with themselves is smaller, and each is turned such that its largest entry is positive.
"""

import torch
from torch import Tensor


def leading(samples: Tensor, count: int) -> tuple[Tensor, Tensor]:  # (n, p) -> (k, p), (k)
    """Return directions v and deviations s of the leading components of samples of mean 0, in double precision.

    Raises ValueError for a count below 1 or above what the samples span.
    """
    a = samples.double()
    n, p = a.shape
    if not 1 <= count <= min(n - 1, p):
        raise ValueError(
            f"{count} components of {n} samples of {p} numbers; expected 1 to {min(n - 1, p)}, the directions they span"
        )
    values, vectors = torch.linalg.eigh(a.T @ a if p <= n else a @ a.T)
    values, vectors = values.flip(0)[:count], vectors.flip(1)[:, :count]
    if values[-1] <= 1e-12 * values[0]:
        spanned = int((values > 1e-12 * values[0]).sum())
        raise ValueError(f"{count} components of samples that span {spanned} directions; expected {spanned} or fewer")
    directions = (vectors if p <= n else a.T @ vectors / values.sqrt()).T
    top = directions.abs().argmax(1, keepdim=True)
    return directions * directions.gather(1, top).sign(), (values / n).sqrt()


class Components:
    """Hold the leading components of training samples (s, n, p), of each model of a stack or shared (n, p).

    count: of components; weights (p): of the samples' numbers, their share in the components; numbers are centered,
    and divided by their deviation. A call maps samples, of any stack of that shape, to components (s, n, k).
    """

    def __init__(self, samples: Tensor, count: int, weights: Tensor | None = None):
        samples = samples if samples.ndim == 3 else samples[None]
        root = torch.ones(samples.shape[-1]) if weights is None else (weights / weights.mean()).sqrt()
        self.center = samples.mean(1, keepdim=True)  # (s, 1, p)
        deviation = samples.std(1, keepdim=True, correction=0)
        self.weight = root / torch.where(deviation > 0, deviation, 1.0)  # (s, 1, p)
        found = [leading(one, count) for one in (samples - self.center) * self.weight]
        self.directions = torch.stack([v for v, _ in found])  # (s, k, p)
        self.deviations = torch.stack([s for _, s in found])  # (s, k)

    def __call__(self, samples: Tensor) -> Tensor:  # (s, n, p) or (n, p) -> (s, n, k)
        amplitudes = ((samples - self.center) * self.weight).double() @ self.directions.mT
        return (amplitudes / self.deviations[:, None]).float()
