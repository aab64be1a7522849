"""latentkit: latent-space methods for climate, to learn, check and run.

Importing this package loads nothing else: torch and xarray come with the module that needs them.

Letters, in this order wherever they meet in a shape
    m members            n samples          t times            k latent or state dimension
    p features or places o observations     d coordinates      c channels
    y latitude           x longitude
    (a stack of models trained side by side has one more axis, s, before all of these)

Named dimensions above the bridge
    member     simulated realization        time    time stamp        lat, lon  cell centre, ascending
    level      sigma or pressure            obs     observation       mode      EOF, PC or latent coordinate
    draw       generated realization, as opposed to a simulated one

Two towers and one bridge
    What a person will read the axes of is an xarray object; what a gradient or an ensemble sum will touch is
    a tensor. `latentkit.fields` is the only module that imports both.

Verbs, one meaning each
    open a source              pack / unpack          tensor from labelled data, and back
    normalize / denormalize    encode / decode        fit a model
    complete latents           evolve latents         forecast, observe, analyze an ensemble
    cycle (a filter)           smooth (a smoother)    sample from a generator
    claim a sentence           save a figure
"""

__version__ = "0.1.0"
