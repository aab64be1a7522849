"""The presets of the LEVDA series."""

from dataclasses import dataclass

from latentkit.presets.sizes import three


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
    planet_days: int  # 21
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
    # The flow from random starts (notebook 39): a smoother one at teaching, and a shorter window
    started_reynolds: tuple[float, float]  # 500 to 1500
    started_outputs: int  # of 5 steps: 40
    started_observed: int  # ours: the first of them that are observed, the rest being forecast
    started_limit: int  # ours: latents are waves of less |k|^2
    started_library: int  # assumed: trajectories to train with
    started_products: int  # ours, of the law
    started_hidden: int  # ours, likewise
    started_longest: int  # ours: steps of a window in training
    started_steps: int  # ours: of the optimizer
    started_rate: float  # ours: of learning
    started_members: tuple[int, ...]  # ours: of an ensemble in latents, beside `members`
    # Ablations on the tsunami (notebook 35), appendix A; all but the noise have dropped out of our copy of the text
    tried_lengths: tuple[int, ...]  # assumed; of windows, in outputs, of which there are 50
    tried_members: tuple[int, ...]  # assumed
    tried_sensors: tuple[int, ...]  # assumed; along each side
    tried_intervals: tuple[int, ...]  # assumed; outputs from one observed to the next
    tried_noises: tuple[float, ...]  # 5, 10 and 20 %
    tried_ends: tuple[int, ...]  # ours: outputs up to which all is known
    envar_sensors: tuple[int, ...]  # assumed; along each side: table 1's, denser and sparser
    envar_radii: tuple[float, ...]  # ours, and none: one radius; shares of the side


PRESETS = three(
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
    planet_days=(2, 21, 21),
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
    windows=(2, 5, 5), iterations=(1, 30, 100),
    started_reynolds=((20.0, 60.0), (20.0, 60.0), (500.0, 1500.0)),
    started_outputs=(4, 20, 40),
    started_observed=(2, 10, 20),
    started_limit=(17, 50, 400),
    started_library=(12, 600, 5000),
    started_products=(16, 512, 4096),
    started_hidden=(16, 128, 1024),
    started_longest=(2, 10, 20),
    started_steps=(20, 16000, 200000),
    started_rate=(2e-3, 2e-3, 1e-3),
    started_members=((8, 12), (60, 120), (200, 1000)),
    tried_lengths=((1, 50), *((1, 2, 5, 10, 25, 50),) * 2), tried_members=((2, 6), *((2, 3, 5, 10, 20, 40),) * 2),
    tried_sensors=((12, 6, 2), (32, 16, 10, 6, 4, 3, 2, 1), (75, 30, 15, 10, 5, 3, 2, 1)),
    tried_intervals=((1, 10), *((1, 2, 5, 10, 25),) * 2), tried_noises=((0.1, 0.2), *((0.05, 0.1, 0.2),) * 2),
    tried_ends=((1, 10, 50), *((1, 2, 3, 5, 8, 12, 18, 25, 35, 50),) * 2),
    envar_sensors=((6, 2), (16, 10, 4, 2), (30, 10)), envar_radii=((0.4,), (0.1, 0.2, 0.4), (0.05, 0.1, 0.2, 0.4)),
)  # fmt: skip
