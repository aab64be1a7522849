r"""Gaussian processes from features to latent codes, in GPyTorch: exact, sparse, and sparse with mixed outputs.

Features and codes are standardized, coordinate l of the code has a process of its own,

    g_l ~ GP(c_l, k_l),  k_l(F, F') = s_l M(|(F - F') / lengths_l|),  z_l = g_l(F) + e_l,  e_l ~ N(0, noise_l)       (6)

with M the Matern kernel of smoothness 5/2. *exact* conditions on all pairs it is given (up to a few thousand) and
maximizes the marginal likelihood. *independent* is the paper's: sparse variational inference on inducing points
(J. Hensman et al. 2015, Scalable variational Gaussian process classification), which takes batches of any number of
pairs. *mixed* writes the coordinates as linear combinations of as many latent processes (linear model of
coregionalization), so that what one coordinate tells of another is used.
"""

import math
from collections.abc import Sequence

import gpytorch
import torch
from gpytorch import kernels, likelihoods, means, mlls
from gpytorch.distributions import MultivariateNormal
from torch import Generator, Tensor, nn

from latentkit.models import train

KINDS = ("exact", "independent", "mixed")
CHUNK = 256  # pairs predicted at a time: a joint covariance of all would be larger than the work
EXACT = gpytorch.settings.fast_computations(covar_root_decomposition=False, log_prob=False, solves=False)


class Exact(gpytorch.models.ExactGP):
    """Condition stacked processes on all their pairs: F (..., 1, n, D) and z (..., k, n), standardized."""

    def __init__(self, F: Tensor, z: Tensor):
        batch = z.shape[:-1]
        super().__init__(F.expand(*batch, *F.shape[-2:]), z, likelihoods.GaussianLikelihood(batch_shape=batch))
        self.mean, self.kernel = _process(batch, F.shape[-1])

    def forward(self, F: Tensor) -> MultivariateNormal:
        return MultivariateNormal(self.mean(F), self.kernel(F))

    def loss(self, batch: Sequence[Tensor], step: int, rng: Sequence[Generator]) -> tuple[Tensor, dict[str, Tensor]]:
        """Return minus the log marginal likelihood of each coordinate [nats a pair]; the batch is not used."""
        with EXACT:
            likelihood = mlls.ExactMarginalLogLikelihood(self.likelihood, self)
            total = -likelihood(self(*self.train_inputs), self.train_targets)
        return total.reshape(len(total), -1).sum(1), {}

    def predict(self, F: Tensor) -> tuple[Tensor, Tensor]:
        """Return mean and variance (..., n, k), noise included, at features (..., n, D)."""
        with EXACT:
            found = self.likelihood(self(F.unsqueeze(-3).expand(*self.train_targets.shape[:-1], *F.shape[-2:])))
            return found.mean.mT, found.variance.mT


class Sparse(gpytorch.models.ApproximateGP):
    """Hold k processes on inducing points (M, D), independent or mixed, in standardized units."""

    def __init__(self, inducing: Tensor, outputs: int, pairs: int, *, mixed: bool):
        batch = torch.Size([outputs])
        inner = gpytorch.variational.VariationalStrategy(
            self,
            inducing.repeat(outputs, 1, 1),
            # By default gpytorch starts from a little noise, which it draws from the global seed.
            gpytorch.variational.CholeskyVariationalDistribution(len(inducing), batch_shape=batch, mean_init_std=0.0),
            learn_inducing_locations=True,
        )
        if mixed:
            strategy = gpytorch.variational.LMCVariationalStrategy(inner, num_tasks=outputs, num_latents=outputs)
            strategy.lmc_coefficients.data = torch.eye(outputs)  # start from the independent model
        else:
            strategy = gpytorch.variational.IndependentMultitaskVariationalStrategy(inner, num_tasks=outputs)
        super().__init__(strategy)
        self.mean, self.kernel = _process(batch, inducing.size(-1))
        self.likelihood = likelihoods.MultitaskGaussianLikelihood(num_tasks=outputs, has_global_noise=False)
        self.pairs = pairs

    def forward(self, F: Tensor) -> MultivariateNormal:
        return MultivariateNormal(self.mean(F), self.kernel(F))

    def loss(self, batch: Sequence[Tensor], step: int, rng: Sequence[Generator]) -> tuple[Tensor, dict[str, Tensor]]:
        """Return minus the evidence lower bound of a batch F (1, b, D), z (1, b, k) [nats a pair]."""
        F, z = (part[0] for part in batch)
        return -mlls.VariationalELBO(self.likelihood, self, num_data=self.pairs)(self(F), z)[None], {}

    def predict(self, F: Tensor) -> tuple[Tensor, Tensor]:
        """Return mean and variance (n, k), noise included, at features (n, D)."""
        found = self.likelihood(self(F))
        return found.mean, found.variance


class LatentGP(nn.Module):
    """Predict codes from features, with the standardization that the processes want.

    F (n, D), z (n, k): pairs to learn from, or for kind "exact" stacks (s, n, D), (s, n, k) of them; kind: one of
    KINDS; steps, learning_rate: of Adam; inducing, batch: points and pairs a step of the sparse kinds; rng: torch
    generator, for the inducing points and the order of batches.

    Raises ValueError for another kind, or fewer pairs than inducing points.
    """

    def __init__(
        self,
        F: Tensor,
        z: Tensor,
        rng: Generator,
        *,
        kind: str = "exact",
        steps: int = 60,
        learning_rate: float = 0.1,
        inducing: int = 128,
        batch: int = 512,
        progress: bool = False,
    ):
        super().__init__()
        if kind not in KINDS:
            raise ValueError(f"kind is {kind!r}; expected one of {KINDS}")
        self.shift, self.scale = _moments(F)
        self.z_shift, self.z_scale = _moments(z)
        F, z = (F - self.shift) / self.scale, (z - self.z_shift) / self.z_scale
        seed = int(torch.randint(2**31, (1,), generator=rng))
        if kind == "exact":
            self.process, batches = Exact(F.unsqueeze(-3), z.mT), lambda step: ()
        else:
            if F.ndim != 2:
                raise ValueError(f"features of shape {tuple(F.shape)}; the sparse kinds take one set of pairs (n, D)")
            if len(F) < inducing:
                raise ValueError(f"{len(F)} pairs are fewer than {inducing} inducing points; ask for fewer")
            self.process = Sparse(_centers(F, inducing, seed), z.shape[-1], len(F), mixed=kind == "mixed")
            batches = train.Shuffled([F, z], batch, [seed], [False, False])
        settings = {"steps": steps, "learning_rate": learning_rate, "clip": math.inf, "progress": progress}
        self.history = train.fit(self.process, batches, seeds=[seed], device="cpu", **settings)

    @torch.no_grad()
    def predict(
        self,
        F: Tensor,  # (..., n, D)
    ) -> tuple[Tensor, Tensor]:  # (..., n, k) each
        """Return mean and variance of the codes; the variance is that of a code, not of the process alone."""
        parts = [self.process.predict(f) for f in ((F - self.shift) / self.scale).split(CHUNK, -2)]
        mean, variance = (torch.cat(part, -2) for part in zip(*parts, strict=True))
        return mean * self.z_scale + self.z_shift, variance * self.z_scale.square()


def _process(batch: torch.Size, inputs: int) -> tuple[nn.Module, nn.Module]:
    kernel = kernels.MaternKernel(nu=2.5, ard_num_dims=inputs, batch_shape=batch)
    kernel.lengthscale = math.sqrt(inputs)  # two random points of a standardized cloud are about this far apart
    return means.ConstantMean(batch_shape=batch), kernels.ScaleKernel(kernel, batch_shape=batch)


def _centers(F: Tensor, count: int, seed: int) -> Tensor:
    from sklearn.cluster import KMeans

    some = torch.randperm(len(F), generator=Generator().manual_seed(seed))[:20_000]
    found = KMeans(count, n_init=1, max_iter=30, random_state=seed).fit(F[some].numpy())
    return torch.from_numpy(found.cluster_centers_).to(F)


def _moments(values: Tensor) -> tuple[Tensor, Tensor]:
    """Return mean and standard deviation over the pairs; a constant column counts as spread 1."""
    spread = values.std(-2, keepdim=True)
    return values.mean(-2, keepdim=True), torch.where(spread > 0, spread, torch.ones_like(spread))
