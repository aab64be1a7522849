"""The presets of the SLAMS series."""

from dataclasses import dataclass

from latentkit.presets.sizes import three


@dataclass(frozen=True)
class SLAMS:
    """Hold the settings of the SLAMS series (Y. Qu et al. 2024; their code, here "the reference")."""

    slug: str
    size: str
    seeds: int  # ours: models side by side, seeds SEED, SEED + 1, ...
    most_days: int  # ours: of training, of validation and of the test, at most
    # Autoencoder (notebook 40)
    coder_widths: tuple[int, ...]  # channels on the grid and after each halving; the reference has no halving
    latent: int  # channels of the latents; the reference: 5 on the grid of the state
    modality_weight: float  # ours: of precipitation and of radiation beside a level, in the loss
    latent_noise: float  # ours: in training
    hidden: float  # ours: share of days of which something is hidden in training
    coder_batch: int  # section 3.2: 64
    coder_passes: int  # section 3.2: 64 epochs
    coder_rate: float  # of learning; section 3.2: 2e-4, with a linear decay
    published_widths: tuple[int, ...]  # of the reference's encoder: 5 layers; its widths are not told, assumed
    decay: float  # of weights; section 3.2: 1e-3
    # Priors of windows of days (notebook 40)
    window: int  # days; section 2.3: 5
    blocks: int  # at each depth; section 3.3: 3
    prior_widths: tuple[int, ...]  # latent; section 3.3: 32, 64, 128
    prior_batch: int  # section 3.3: 64
    prior_passes: int  # section 3.3: 64 epochs
    prior_rate: float  # of learning; section 3.3: 2e-4, with a linear decay
    pixel_widths: tuple[int, ...]  # of the prior of fields; section 3.3: 64, 128, 256
    pixel_block: int  # ours: points told as one, each way; section 3.3: none
    pixel_batch: int  # section 3.3: 64
    pixel_passes: int  # section 3.3: 64 epochs
    pixel_rate: float  # of learning; section 3.3: 2e-4, with a linear decay
    long_widths: tuple[int, ...]  # ours: of a prior of fields that is trained for longer than all else
    long_batch: int
    long_passes: int
    long_rate: float
    prior_decay: float  # of weights; section 3.3: 1e-3
    # Sampling
    steps: int  # section 3.3: 512
    corrections: int  # section 3.3: 1 step; none where draws by themselves take steps of second order
    few_steps: tuple[int, ...]  # ours: held against full_steps
    full_steps: int  # section 3.3: 512
    tau: float  # section 3.3: 0.5
    gammas: tuple[float, ...]  # section 3.3: 1e-2; of several the best on the validation year is taken
    draws: int  # ours: an ensemble; the reference draws one
    guided_steps: int  # under guidance (notebooks 41 to 43); section 3.3: 512
    guided_draws: int  # an ensemble, as above
    practice_draws: int  # of the validation year, by which gamma is chosen
    # Plain and Gaussian analyses (notebooks 41 to 43), all ours
    oi_radii: tuple[float, ...]  # of localization [km]; of several the best on the validation year is taken
    oi_lags: int  # days before and behind
    zonal_radius: float  # of the covariance of latents [km]
    ridge: float  # of the linear decoder
    rounds: int  # of conjugate gradients
    windows: int  # of the test year, analyzed; the reference: one of 29 days


PRESETS = three(
    SLAMS,
    "slams",
    seeds=(1, 3, 3),
    most_days=(40, 10000, 100000),
    coder_widths=((4, 8), (16, 32), (32, 64, 128)),
    latent=(4, 8, 16),
    modality_weight=(0.5, 0.5, 0.5),
    latent_noise=(0.1, 0.1, 0.1),
    hidden=(0.25, 0.25, 0.25),
    coder_batch=(8, 16, 64),
    coder_passes=(1, 26, 64),
    coder_rate=(1e-2, 4e-3, 2e-4),
    published_widths=((4, 4, 4, 4), (8, 8, 8, 8), (16, 16, 16, 16)),
    decay=(1e-3, 1e-3, 1e-3),
    window=(3, 5, 5),
    blocks=(1, 2, 3),
    prior_widths=((8, 8), (32, 64), (32, 64, 128)),
    prior_batch=(8, 16, 64),
    prior_passes=(1, 20, 64),
    prior_rate=(5e-3, 2e-3, 2e-4),
    pixel_widths=((8, 8), (64, 96), (64, 128, 256)),
    pixel_block=(2, 2, 1),
    pixel_batch=(8, 8, 64),
    pixel_passes=(1, 16, 64),
    pixel_rate=(5e-3, 2e-3, 2e-4),
    long_widths=((8, 8), (32, 64, 96), (64, 128, 256)),
    long_batch=(8, 32, 64),
    long_passes=(1, 184, 256),
    long_rate=(5e-3, 1.5e-3, 2e-4),
    prior_decay=(1e-2, 1e-2, 1e-3),
    steps=(8, 32, 512),
    corrections=(0, 0, 1),
    few_steps=((2, 4), (4, 8, 16, 32), (4, 8, 16, 32, 64, 128)),
    full_steps=(8, 512, 512),
    tau=(0.5, 0.5, 0.5),
    gammas=((1e0,), (1e-3, 1e-2, 1e-1, 1e0, 1e1), (1e-2,)),
    draws=(2, 6, 32),
    guided_steps=(4, 32, 512),
    guided_draws=(2, 4, 32),
    practice_draws=(2, 2, 32),
    oi_radii=((1000.0,), (500.0, 1000.0), (500.0, 700.0, 1000.0, 1500.0)),
    oi_lags=(1, 1, 1),
    zonal_radius=(5000.0, 5000.0, 5000.0),
    ridge=(30.0, 30.0, 30.0),
    rounds=(60, 400, 1000),
    windows=(2, 3, 12),
)
