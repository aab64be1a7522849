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
    latent: int  # the reference: 400
    widths: tuple[int, int, int]  # the reference: channels of the encoder's three layers
    batch: int  # the reference: 64
    passes: int  # over the training days; the reference: 100
    learning_rate: float  # the reference: 1e-3
    alpha: float  # weight of the prediction; the reference: 1
    beta: float  # weight of the divergence; the reference: 1
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
    seeds=(3, 3, 3),
    members=(2, 6, 6),
    components=(20, 150, 400),
    latent=(8, 64, 400),
    widths=((4, 8, 8), (16, 32, 64), (16, 32, 64)),
    batch=(64, 64, 64),
    passes=(1, 30, 100),
    learning_rate=(1e-3, 1e-3, 1e-3),
    alpha=(2.0, 2.0, 2.0),  # of the paper's four pairs that with the best test losses
    beta=(0.5, 0.5, 0.5),
    chlorophyll_cells=((40, 40), (80, 80), (80, 160)),
    chlorophyll_factor=(10, 10, 10),
    chlorophyll_members=((2, 1, 1), (6, 1, 3), (24, 4, 8)),
    chlorophyll_interval=(6, 6, 6),
    chlorophyll_spin_up=(2, 20, 60),
    chlorophyll_records=(10, 61, 244),
    chlorophyll_width=(4, 8, 32),
    chlorophyll_unet=((4, 4, 8), (8, 12, 16), (32, 64, 128)),
    chlorophyll_batch=(8, 8, 64),
    chlorophyll_steps=(20, 500, 100_000),
    chlorophyll_unet_steps=(16, 400, 80_000),
    chlorophyll_rates=((3e-3, 1e-2, 3e-2), (3e-3, 1e-2, 3e-2), (3e-4, 1e-3, 3e-3)),
)
