"""The presets of notebook 00."""

from dataclasses import dataclass

from latentkit.presets.sizes import three


@dataclass(frozen=True)
class Start:
    """Hold the settings of notebook 00: a variational autoencoder of one temperature series a place."""

    slug: str
    size: str
    variable: str
    coarsen: int  # cells averaged along each of latitude and longitude; 1 keeps the grid
    latent_dim: int  # two, so that the latent space is a picture
    hidden: tuple[int, ...]  # widths of the encoder, and in reverse of the decoder
    noise: str  # standard deviation of the decoder's Gaussian: "unit" or "learned"
    steps: int  # of the optimizer
    batch: int
    learning_rate: float
    clip: float  # largest gradient norm of one model
    seeds: int  # models trained side by side, seeds SEED, SEED + 1, ...


PRESETS = three(
    Start, "start", variable=("tas", "tas", "tas"), coarsen=(4, 1, 1), latent_dim=(2, 2, 2),
    hidden=((32,), (128, 64), (256, 128)), noise=("learned", "learned", "learned"), steps=(100, 1000, 8000),
    batch=(256, 512, 512), learning_rate=(3e-3, 2e-3, 1e-3), clip=(10.0, 10.0, 10.0), seeds=(3, 3, 3),
)  # fmt: skip
