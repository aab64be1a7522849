"""Presets: one frozen dataclass a paper, three instances each (quick, teaching, paper), every field stated.

Nothing is inherited between sizes. The source of each value of size `paper` stands beside the field: a section of
the paper, or the word *assumed* where the paper is silent.
"""

import dataclasses
import difflib
import math
from dataclasses import dataclass

SIZES = ("quick", "teaching", "paper")


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


@dataclass(frozen=True)
class LCCVAE:
    """Hold the settings of the LC-CVAE series (Shelton et al. 2025)."""

    slug: str
    size: str
    variable: str  # section 2: monthly 2 m temperature
    coarsen: int  # assumed: the paper leaves the spatial resolution to future versions (section 2)
    latent_dim: int  # section 3.1: d_z = 3
    hidden: tuple[int, ...]  # assumed
    noise: str  # assumed: the decoder's variance is not given
    steps: int  # assumed; a budget that does not grow with the grid
    batch: int  # assumed
    learning_rate: float  # assumed
    clip: float  # assumed
    seeds: int  # ours: the paper reports one run; each seed also holds out another realization
    # One CVAE a realization (section 4). Of six trials on member 0, with 1, 3 and 5 never looked at: (32, 32) or
    # (64, 64) and weight 1, 10 or 100; these two are within 2 % of the best completion and align best.
    member_hidden: tuple[int, ...]  # assumed
    member_steps: int  # assumed
    member_batch: int  # assumed
    member_rate: float  # assumed; of learning
    anchors: int  # assumed: "a small set of shared geographic anchor locations"
    anchor_weight: float  # assumed; lambda of equation 4 [nats per squared unit of the latent space]
    anchor_distance: float  # assumed; D_max of equation 4 [units of the latent space]
    tried_anchors: tuple[int, ...]  # ours: tried in notebook 12
    tried_weights: tuple[float, ...]  # ours: tried in notebook 12
    tried_distances: tuple[float, ...]  # ours: tried in notebook 12
    # Completion (section 5)
    coverage: float  # assumed; alpha of section 6.1
    neighbors: int  # assumed; k of equation 5
    gp_pairs: int  # assumed; that the exact process is conditioned on
    gp_steps: int  # assumed
    inducing: int  # assumed; points of the sparse process (section 5.2)
    sparse_steps: int  # assumed
    draws: int  # ours: codes drawn to carry their uncertainty through the decoder, and realizations sampled
    place_codes: int  # ours: size of the codes that all realizations share; best of 16, 32, 64 on member 0
    reach: float  # ours: distance at which the covariance of what these leave ends [rad]; best of 1.4, 2 on member 0
    # Ablations (section 6.2)
    coverages: tuple[float, ...]  # ours
    ensembles: tuple[int, ...]  # section 6.1, R_train: 1 to 9 of ten realizations
    tried_dims: tuple[int, ...]  # ours: the paper names d_z a limitation (section 7)
    tried_neighbors: tuple[int, ...]  # ours: likewise k


@dataclass(frozen=True)
class LEVDA:
    """Hold the settings of the LEVDA series."""

    slug: str
    size: str
    seeds: int  # ours: twin experiments side by side, each with a truth and observations of its own
    # Classical methods on Lorenz-96 (notebook 30), by P. N. Raanes (2018), DAPPER; numbers were published at these
    cycles: int  # ours: analyses that are scored
    burn_in: int  # DAPPER: analyses before them
    # The tuning experiment of F. Bao et al. (2024), An ensemble score filter
    score_analyses: int  # 1500 steps, observed at every tenth
    score_steps: int  # of Euler's method
    # The systems of the paper's comparison (notebook 31)
    flow_size: int  # Kolmogorov: 150
    basin_size: int  # tsunami: 150
    planet_size: int  # atmosphere: 256 rows
    library: int  # trajectories that are known beforehand: 120
    tested: int  # and those they are held against: 40
    # Surrogates (notebook 32): latent dynamics networks over modes, and one in the published form
    surrogates: int  # ours: models side by side, seeds 0, 1, ...
    bump_width: float  # standard deviation of the tsunami's bump [m]: 5e4
    flow_library: int  # trajectories to train with, of 200: 120
    basin_library: int  # 120
    planet_library: int  # 120
    flow_latent: int  # section 4.1: 9
    basin_latent: int  # 10
    planet_latent: int  # 50
    flow_modes: int  # ours, as the stages
    basin_modes: int
    planet_modes: int
    dynamics: tuple[int, ...]  # LD-EnSF has 9 x 200, 8 x 50, 8 x 200
    decoder: tuple[int, ...]  # of coefficients, ours
    stages: tuple[int, ...]  # steps of embedding, dynamics, joint
    basin_stages: tuple[int, ...]  # likewise, of the tsunami
    stage_rate: float  # of learning
    race_library: int  # trajectories for the comparison of decoders, on the tsunami with `stages`
    decoder_width: int  # of coordinates; LD-EnSF has 500, 300, 500
    decoder_blocks: int  # of two layers; 14, 10, 15 layers
    decoder_features: int  # 10, 0, 50
    rollout_states: int  # decoded in a step
    rollout_points: int  # of each: 5000, 2000, 5000
    published_steps: int  # of the published form, in as many seconds as ours took at teaching
    rollout_steps: int  # of ours without its stages, likewise
    # Encoders of observations (notebook 33), of flow, tsunami and planet each
    observers: tuple[tuple[int, ...], ...]  # LSTM of LD-EnSF: units, 128, 256, 512 there; steps
    coupled: tuple[tuple[int, ...], ...]  # Latent-EnSF: latents (400, 400, 512 there), modes, widths (2), steps
    encoder_rate: float  # of learning; LD-EnSF: 1e-3
    # Assimilation (notebooks 33 to 37)
    members: int  # section 4.1: 20
    truths: int  # ours: side by side for each seed
    validated: int  # ours: runs on which errors of surrogates are measured
    dear: int  # ours: of truths, for methods that take a minute each
    noise: float  # section 4.1: of observations, beside the signal
    sensors: int  # table 1: 10 along each side
    windows: int  # assumed: that a trajectory is cut into, where windows are cycled
    iterations: int  # assumed; of L-BFGS
    # Ablations on the tsunami (notebook 35), appendix A; all but the noise have dropped out of our copy of the text
    tried_lengths: tuple[int, ...]  # assumed; of windows, in outputs, of which there are 50
    tried_members: tuple[int, ...]  # assumed
    tried_sensors: tuple[int, ...]  # assumed; along each side
    tried_intervals: tuple[int, ...]  # assumed; outputs from one observed to the next
    tried_noises: tuple[float, ...]  # 5, 10 and 20 %
    tried_ends: tuple[int, ...]  # ours: outputs up to which all is known
    envar_sensors: tuple[int, ...]  # assumed: two strides, one of them table 1's
    envar_radii: tuple[float, ...]  # ours, and none: one radius; shares of the side


# What a training depends on, for the identity of its weights.
JOINT = ("variable", "coarsen", "latent_dim", "hidden", "noise", "steps", "batch", "learning_rate", "clip", "seeds")
MEMBER = ("variable", "coarsen", "latent_dim", "noise", "clip", "seeds", "member_hidden", "member_steps",
          "member_batch", "member_rate", "anchors", "anchor_weight", "anchor_distance")  # fmt: skip


def _three(kind: type, slug: str, **values: tuple) -> tuple:
    """Return the instances of the three sizes from one row (quick, teaching, paper) a field."""
    rows = {name: [v[i] for i in range(3)] for name, v in values.items()}
    return tuple(kind(slug=slug, size=size, **{n: v[i] for n, v in rows.items()}) for i, size in enumerate(SIZES))


PRESETS = {
    "start": _three(
        Start, "start", variable=("tas", "tas", "tas"), coarsen=(4, 1, 1), latent_dim=(2, 2, 2),
        hidden=((32,), (128, 64), (256, 128)), noise=("learned", "learned", "learned"), steps=(100, 1000, 8000),
        batch=(256, 512, 512), learning_rate=(3e-3, 2e-3, 1e-3), clip=(10.0, 10.0, 10.0), seeds=(3, 3, 3),
    ),  # fmt: skip
    "lccvae": _three(
        LCCVAE,
        "lccvae",
        variable=("tas", "tas", "tas"),
        coarsen=(4, 1, 4),
        latent_dim=(3, 3, 3),
        hidden=((64, 64), (256, 256), (512, 512)),
        noise=("learned", "learned", "learned"),
        steps=(150, 2000, 40000),
        batch=(256, 512, 512),
        learning_rate=(3e-3, 1e-3, 5e-4),
        clip=(10.0, 10.0, 10.0),
        seeds=(3, 3, 3),
        member_hidden=((32,), (64, 64), (128, 128)),
        member_steps=(100, 1500, 20000),
        member_batch=(64, 128, 256),
        member_rate=(5e-3, 3e-3, 1e-3),
        anchors=(16, 64, 256),
        anchor_weight=(10.0, 10.0, 10.0),
        anchor_distance=(0.1, 0.1, 0.1),
        tried_anchors=((8, 16), (16, 64, 256), (64, 256, 1024)),
        tried_weights=((10.0,), (1.0, 10.0, 100.0), (1.0, 10.0, 100.0)),
        tried_distances=((1.0,), (0.3, 1.0, 3.0), (0.3, 1.0, 3.0)),
        coverage=(0.4, 0.1, 0.1),
        neighbors=(3, 5, 5),
        gp_pairs=(100, 500, 2000),
        gp_steps=(10, 40, 100),
        inducing=(20, 64, 512),
        sparse_steps=(20, 100, 3000),
        draws=(10, 50, 50),
        place_codes=(8, 16, 32),
        reach=(2.0, 2.0, 2.0),
        coverages=((0.2, 0.4), (0.05, 0.1, 0.3), (0.02, 0.05, 0.1, 0.2, 0.4, 0.8)),
        ensembles=((1, 3), (1, 2, 3, 4, 5, 6, 7, 8, 9), (1, 2, 3, 4, 5, 6, 7, 8, 9)),
        tried_dims=((2,), (2, 8), (2, 8, 16)),
        tried_neighbors=((2,), (2, 10), (2, 10)),
    ),
    "levda": _three(
        LEVDA,
        "levda",
        seeds=(3, 4, 16),
        cycles=(40, 1000, 4000),
        burn_in=(20, 400, 400),
        score_analyses=(10, 150, 150),
        score_steps=(20, 200, 200),
        flow_size=(32, 64, 150),
        basin_size=(24, 64, 150),
        planet_size=(16, 32, 256),
        library=(20, 120, 120),
        tested=(6, 20, 40),
        surrogates=(3, 3, 3),
        bump_width=(2e5, 1e5, 5e4),
        flow_library=(12, 120, 120),
        basin_library=(16, 480, 120),
        planet_library=(8, 40, 120),
        flow_latent=(4, 9, 9),
        basin_latent=(4, 10, 10),
        planet_latent=(6, 50, 50),
        flow_modes=(16, 200, 1000),
        basin_modes=(24, 160, 1000),
        planet_modes=(12, 60, 600),
        dynamics=((32,), (128, 128), (200, 200, 200, 200)),
        decoder=((32,), (256, 256), (512, 512, 512)),
        stages=((60, 40, 4), (8000, 3000, 300), (100000, 50000, 10000)),
        basin_stages=((60, 40, 4), (16000, 4000, 400), (100000, 50000, 10000)),
        stage_rate=(3e-3, 3e-3, 1e-3),
        race_library=(16, 240, 120),
        decoder_width=(16, 96, 300),
        decoder_blocks=(1, 4, 5),
        decoder_features=(4, 10, 0),
        rollout_states=(8, 64, 512),
        rollout_points=(16, 128, 2000),
        published_steps=(4, 600, 100000),
        rollout_steps=(4, 5600, 100000),
        observers=(((16, 20),) * 3, ((96, 3200), (72, 1900), (72, 2500)), ((128, 40000), (256, 40000), (512, 40000))),
        coupled=(((4, 12, 16, 16, 20),) * 3,
                 ((32, 100, 96, 96, 15000), (32, 160, 96, 128, 11000), (24, 60, 64, 80, 9000)),
                 ((400, 1000, 512, 512, 40000),) * 2 + ((512, 600, 512, 512, 40000),)),  # fmt: skip
        encoder_rate=(1e-2, 1e-2, 1e-3),
        members=(6, 20, 20),
        truths=(2, 10, 40),
        validated=(4, 20, 40),
        dear=(1, 2, 10),
        noise=(0.1, 0.1, 0.1),
        sensors=(6, 10, 10),
        windows=(2, 5, 5), iterations=(3, 30, 100),
        tried_lengths=((1, 50), *((1, 2, 5, 10, 25, 50),) * 2), tried_members=((2, 6), *((2, 3, 5, 10, 20, 40),) * 2),
        tried_sensors=((12, 6, 2), (32, 16, 10, 6, 4, 3, 2, 1), (75, 30, 15, 10, 5, 3, 2, 1)),
        tried_intervals=((1, 10), *((1, 2, 5, 10, 25),) * 2), tried_noises=((0.1, 0.2), *((0.05, 0.1, 0.2),) * 2),
        tried_ends=((1, 10, 50), *((1, 2, 3, 5, 8, 12, 18, 25, 35, 50),) * 2),
        envar_sensors=((6, 2), (16, 10, 4, 2), (30, 10)), envar_radii=((0.4,), (0.1, 0.2, 0.4), (0.05, 0.1, 0.2, 0.4)),
    ),  # fmt: skip
}


def field_names(slug: str) -> tuple[str, ...]:
    """Return the names that may be overridden in the presets of `slug`."""
    return tuple(f.name for f in dataclasses.fields(_family(slug)[0]) if f.name not in ("slug", "size"))


def preset(slug: str, size: str, **overrides):
    """Return the preset of one paper at one size, with some fields replaced.

    slug: "start" or a paper ("lccvae"); size: "quick", "teaching" or "paper"; overrides: fields by name, of the
    same type as the field they replace (a list is taken where a tuple stands, a whole float where an int stands).

    Raises ValueError for an unknown slug, size or field, naming the nearest, and TypeError for a value that does
    not fit its field.
    """
    family = _family(slug)
    if size not in SIZES:
        raise ValueError(_unknown("size", size, SIZES))
    base = family[SIZES.index(size)]
    names = field_names(slug)
    for name in overrides:
        if name not in names:
            raise ValueError(_unknown(f"field of the {slug} preset", name, names))
    values = {name: _fit(slug, name, getattr(base, name), value) for name, value in overrides.items()}
    for name, value in values.items():
        for number in value if isinstance(value, tuple) else (value,):
            if isinstance(number, int) and number < 1:
                raise ValueError(f"{name} of the {slug} preset is {value}; expected 1 or more")
            if isinstance(number, float) and number <= 0:
                raise ValueError(f"{name} of the {slug} preset is {value}; expected a number above 0")
        if name == "noise" and isinstance(value, str) and value not in ("learned", "unit"):
            raise ValueError(_unknown("noise", value, ("learned", "unit")))
    return dataclasses.replace(base, **values)


def _family(slug: str) -> tuple:
    if slug not in PRESETS:
        raise ValueError(_unknown("preset", slug, tuple(PRESETS)))
    return PRESETS[slug]


def _unknown(what: str, found: str, known: tuple[str, ...]) -> str:
    near = difflib.get_close_matches(str(found), known, n=1)
    hint = f"; did you mean {near[0]!r}?" if near else ""
    return f"unknown {what} {found!r}{hint} Known: {', '.join(known)}."


def _fit(slug: str, name: str, old, value):
    """Return `value` in the type of the field it replaces."""
    if isinstance(value, float) and not math.isfinite(value):
        raise ValueError(f"{name} of the {slug} preset is {value}; expected a finite number")
    if isinstance(old, tuple) and isinstance(value, list | tuple) and value:
        return tuple(_fit(slug, name, old[0], v) for v in value)
    if isinstance(old, float) and isinstance(value, int | float) and not isinstance(value, bool):
        return float(value)
    if isinstance(old, int) and isinstance(value, int | float) and not isinstance(value, bool) and value == int(value):
        return int(value)
    if type(value) is type(old):
        return value
    raise TypeError(
        f"{name} of the {slug} preset is a {type(old).__name__} such as {old!r}; found {value!r} "
        f"({type(value).__name__}). Give a value of that type."
    )
