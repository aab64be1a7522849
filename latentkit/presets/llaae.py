"""The presets of the LLAAE series, and which of their fields a training depends on."""

from dataclasses import dataclass

from latentkit.presets.sizes import three


@dataclass(frozen=True)
class LLAAE:
    """Hold the settings of the LLAAE series (Jiwa, Li and Yin; Heinze-Deml et al. 2021, here "the reference")."""

    slug: str
    size: str
    # Precipitation from pressure (notebooks 20 to 22)
    seeds: int  # ours: models side by side, seeds SEED, SEED + 1, ...; each holds other members out
    members: int  # that are trained with; the reference: 9 of 50
    components: int  # of pressure; the reference: 750
    batch: int  # the reference: 64
    latent: int  # the reference: 400
    widths: tuple[int, int, int]  # channels of the encoder's layers; the reference: 16, 32, 64
    passes: int  # over the training days; the reference: 100
    learning_rate: float  # the reference: 1e-3
    alpha: float  # weight of the prediction; the reference: 1
    beta: float  # weight of the divergence; the reference: 1
    decay: float  # of weights, decoupled; the reference has a small one in its loss
    # Ours, over components of precipitation: chosen of 17 trials with members 0 to 4, scored on member 5
    modes: int
    local: tuple[int, int]  # channels and layers of its convolutions
    maps: int
    modal_passes: int
    modal_rate: float  # of learning
    modal_alpha: float
    modal_beta: float
    penalties: tuple[float, ...]  # ours: of ridge, tried on the last fifth of the training days
    analogues: tuple[int, ...]  # ours: how many, likewise
    draws: int  # ours: of a distributional prediction, and series of a weather generator
    block: int  # days that the weather generator keeps together; the reference: blocks
    # Extremes (notebook 22): the published form, smaller, once for each of four posteriors with all else equal
    gev_latent: int  # ours, so that four models fit; the reference: 400
    gev_widths: tuple[int, int, int]  # ours, likewise; the reference: 16, 32, 64
    gev_batch: int  # ours: smaller, for more steps in the same time; the reference: 64
    gev_passes: int  # over the training days; the paper: 200 epochs (section 4.1)
    gev_every: int  # ours: every how many-th day is used
    gev_rate: float  # of learning, assumed; the reference: 1e-3
    gev_shape: float  # of extreme values where it is not learned; section 2: -0.5
    gev_levels: tuple[float, ...]  # ours: quantiles of daily rain whose errors are averaged, above the 95th percentile
    gev_periods: tuple[float, ...]  # ours: of return levels [winters]
    # Disentanglement (notebook 23): all are ours, but for the first two pairs
    rain_grid: tuple[int, int]
    rain_waves: tuple[int, int]  # in latitude and longitude, that models see
    rain_noise: float  # of fields [mm^0.5 day^-0.5]
    rain_proxies: int
    rain_proxy_noise: float  # beside drivers of variance 1
    rain_days: int  # to train on
    rain_tested: int  # to score with
    rain_latent: int
    rain_hidden: int
    rain_batch: int
    rain_steps: int
    rain_rate: float
    rain_betas: tuple[float, ...]  # tried for methods without an adjustment
    rain_pairs: tuple[tuple[float, float], ...]  # alpha, beta tried for those with one; as many
    rain_tuning: int  # seeds that settings are chosen with, apart from those scored
    rain_trees: int  # of the forests that DCI asks
    # Chlorophyll (notebook 24); the paper gives the grids, 500 km and 50 km, and nothing else
    chlorophyll_cells: tuple[int, int]  # fine, of 50 km; assumed
    chlorophyll_factor: int  # section 4.4: 500 km / 50 km
    chlorophyll_members: tuple[int, int, int]  # trained with, to choose settings by, held out; assumed
    chlorophyll_interval: int  # days of a record; assumed
    chlorophyll_spin_up: int  # records that are not kept; assumed
    chlorophyll_records: int  # of each member; assumed
    chlorophyll_width: int  # channels of the LLAAE; assumed
    chlorophyll_unet: tuple[int, int, int]  # channels of the U-Net; assumed
    chlorophyll_batch: int  # assumed
    chlorophyll_steps: int  # of the LLAAE, with each of its two losses; assumed
    chlorophyll_unet_steps: int  # of the U-Net, such that it trains for as many seconds; assumed
    chlorophyll_rates: tuple[float, ...]  # learning rates that are tried for each network, the second if none were


PRESETS = three(
    LLAAE,
    "llaae",
    seeds=(2, 3, 3),
    members=(1, 6, 6),
    components=(20, 400, 400),
    batch=(120, 64, 64),
    latent=(8, 64, 400),
    widths=((4, 8, 8), (16, 32, 32), (16, 32, 64)),
    passes=(1, 20, 100),
    learning_rate=(3e-3, 1e-3, 1e-3),
    alpha=(2.0, 2.0, 2.0),  # of the paper's four pairs that with the best losses on days held out
    beta=(0.5, 0.5, 0.5),
    decay=(0.0, 0.0, 0.0),
    modes=(20, 400, 400),
    local=((4, 1), (16, 3), (32, 6)),
    maps=(1, 2, 8),
    modal_passes=(1, 8, 30),
    modal_rate=(2e-3, 2e-3, 1e-3),
    modal_alpha=(5.0, 5.0, 5.0),
    modal_beta=(1.0, 1.0, 1.0),
    penalties=((1.0, 100.0), (1.0, 10.0, 30.0, 100.0, 300.0), (1.0, 10.0, 30.0, 100.0, 300.0)),
    analogues=((5, 20), (5, 10, 20, 40, 80), (5, 10, 20, 40, 80)),
    draws=(5, 30, 100),
    block=(5, 5, 5),
    gev_latent=(8, 24, 400),
    gev_widths=((4, 8, 8), (6, 12, 12), (16, 32, 64)),
    gev_batch=(64, 32, 64),
    gev_passes=(1, 5, 200),
    gev_every=(7, 1, 1),
    gev_rate=(3e-3, 2e-3, 1e-3),
    gev_shape=(-0.5, -0.5, -0.5),
    gev_levels=((0.95, 0.975, 0.99), (0.95, 0.975, 0.99, 0.995), (0.95, 0.975, 0.99, 0.995)),
    gev_periods=((2.0, 5.0, 10.0, 20.0, 50.0),) * 3,
    rain_grid=((16, 32),) * 3,
    rain_waves=((8, 16),) * 3,
    rain_noise=(0.3, 0.3, 0.3),
    rain_proxies=(8, 8, 8),
    rain_proxy_noise=(0.3, 0.3, 0.3),
    rain_days=(200, 4000, 40000),
    rain_tested=(200, 2000, 10000),
    rain_latent=(8, 8, 8),
    rain_hidden=(16, 40, 200),
    rain_batch=(64, 64, 64),
    rain_steps=(20, 4000, 40000),
    rain_rate=(1e-2, 1e-2, 3e-3),
    rain_betas=((2.0, 4.0, 8.0, 16.0, 32.0, 64.0),) * 3,
    rain_pairs=(((2.0, 0.5), (1.0, 1.0), (1.0, 8.0), (1.0, 16.0), (0.1, 8.0), (0.1, 16.0)),) * 3,  # table 1: two
    rain_tuning=(1, 2, 3),
    rain_trees=(2, 10, 100),
    chlorophyll_cells=((40, 40), (80, 80), (80, 160)),
    chlorophyll_factor=(10, 10, 10),
    chlorophyll_members=((2, 1, 1), (6, 1, 3), (24, 4, 8)),
    chlorophyll_interval=(6, 6, 6),
    chlorophyll_spin_up=(2, 20, 60),
    chlorophyll_records=(10, 61, 244),
    chlorophyll_width=(4, 8, 32),
    chlorophyll_unet=((4, 4, 8), (8, 12, 16), (32, 64, 128)),
    chlorophyll_batch=(8, 8, 64),
    chlorophyll_steps=(10, 500, 100_000),
    chlorophyll_unet_steps=(8, 400, 80_000),
    chlorophyll_rates=((3e-3, 1e-2, 3e-2), (3e-3, 1e-2, 3e-2), (3e-4, 1e-3, 3e-3)),
)
