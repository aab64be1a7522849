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
)
