r"""Growth of plankton by light and temperature, with parameters that are learned, in stacks.

    light, Eilers and Peeters (1988)   I / (I + ratio (I / optimum - 1)^2)                                         (1)
    light, quadratic                   1 - curvature (I / optimum - 1)^2                                           (2)
    temperature, Eppley (1972)         amplitude exp(exponent T)                                                   (3)

S. Jiwa, J. Li and Y. Yin, section 4.4, have "a quadratic function with learned parameters" of radiation, and "an
exponential function with learned parameters" of temperature, "as described in" K. F. Edwards et al. (2016), who use
(1) and (3); (2) is what the words say. Each parameter is held between bounds, on a logarithmic scale,

    p = low (high / low)^sigmoid(10 raw)                                                                           (4)

and starts at random in the middle three fifths of it, so that a start says nothing of the truth. The 10 lets Adam,
whose steps are all of one size, cross these bounds while the weights of a network move by one. Light I is in
umol m-2 s-1, temperature T in degC, the amplitude in d-1.
"""

import itertools
import math
from collections.abc import Callable, Sequence

import torch
from torch import Generator, Tensor, nn

from latentkit.testbeds.plankton import light_growth, warm_growth

BOUNDS = {
    "amplitude": (0.05, 5.0),
    "exponent": (0.01, 0.3),
    "optimum": (60.0, 1200.0),
    "ratio": (10.0, 1000.0),
    "curvature": (0.05, 2.0),
}
LIGHTS = {"eilers-peeters": ("optimum", "ratio"), "quadratic": ("optimum", "curvature")}
QUICK = 10.0  # of equation 4
WARM = 15.0  # [degC] at which the factor of temperature is 1 where no amplitude is learned


class Growth(nn.Module):
    """Hold a stack of s growth functions.

    rng: one generator a model, for its start; light: one of LIGHTS; amplitude: whether one is learned, or the factor of
    temperature is 1 at WARM (where what follows has a factor of its own, as h of an LLAAE).

    Raises ValueError for an unknown function of light.
    """

    def __init__(self, rng: Sequence[Generator], *, light: str = "eilers-peeters", amplitude: bool = True):
        super().__init__()
        if light not in LIGHTS:
            raise ValueError(f"the function of light is {light!r}; expected one of {', '.join(LIGHTS)}")
        self.kind, self.names = light, (*(["amplitude"] if amplitude else []), "exponent", *LIGHTS[light])
        share = torch.stack([0.2 + 0.6 * torch.rand(len(self.names), generator=g) for g in rng])
        self.raw = nn.Parameter(torch.logit(share) / QUICK)  # (s, names)

    def values(self) -> dict[str, Tensor]:
        """Return the parameters by name, each (s, 1, ...) to go with proxies; equation 4."""
        found = {}
        for name, raw in zip(self.names, self.raw.unbind(1), strict=True):
            low, high = BOUNDS[name]
            found[name] = low * (high / low) ** torch.sigmoid(QUICK * raw)
        return found

    def set(self, **values: float) -> "Growth":
        """Set parameters of all models, and return itself; raise ValueError for one outside of its bounds."""
        with torch.no_grad():
            for name, value in values.items():
                low, high = BOUNDS[name]
                if name not in self.names or not low < value < high:
                    raise ValueError(
                        f"{name} is {value:g}; expected one of {', '.join(self.names)}, this one between {low:g} and "
                        f"{high:g}"
                    )
                share = math.log(value / low) / math.log(high / low)
                self.raw[:, self.names.index(name)] = math.log(share / (1 - share)) / QUICK
        return self

    def light(self, light: Tensor) -> Tensor:  # (s, ...)
        """Return equation 1 or 2 [1]."""
        p = self._beside(light)
        if self.kind == "quadratic":
            return 1 - p["curvature"] * (light / p["optimum"] - 1).square()
        return light_growth(light, p["optimum"], p["ratio"])

    def warm(self, temperature: Tensor) -> Tensor:  # (s, ...)
        """Return equation 3 [d-1], or [1] without amplitude."""
        p = self._beside(temperature)
        if "amplitude" in p:
            return warm_growth(temperature, p["amplitude"], p["exponent"])
        return warm_growth(temperature - WARM, 1.0, p["exponent"])

    def forward(self, light: Tensor, temperature: Tensor) -> Tensor:
        return self.light(light) * self.warm(temperature)

    def _beside(self, x: Tensor) -> dict[str, Tensor]:
        return {name: value.view(-1, *[1] * (x.ndim - 1)) for name, value in self.values().items()}


def fitted(
    growth: Growth,
    misfit: Callable[[Growth], Tensor],  # -> (s, ...)
    *,
    iterations: int = 300,
) -> Tensor:  # (s)
    """Fit growth functions by least squares (L-BFGS, in double precision); return the mean squared misfit of each.

    misfit: residuals of the growth functions it is given, in double precision.
    """
    growth.double()
    optimizer = torch.optim.LBFGS(
        growth.parameters(),
        max_iter=iterations,
        tolerance_grad=1e-12,
        tolerance_change=1e-14,
        line_search_fn="strong_wolfe",
    )
    scale = float(misfit(growth).detach().square().mean())

    def closure() -> Tensor:
        optimizer.zero_grad()
        total = misfit(growth).flatten(1).square().mean(1).sum() / max(scale, 1e-300)
        total.backward()
        return total

    optimizer.step(closure)
    return misfit(growth).detach().flatten(1).square().mean(1)


def profiles(
    score: Callable[[Growth], Tensor],  # -> (s)
    growth: Growth,
    axes: dict[str, Sequence[float]],
) -> dict[str, Tensor]:  # each (s, values)
    """Return, for each parameter of `axes` and each of its values, the least score over all values of the others.

    growth: functions whose other parameters are kept; those of `axes` are left at the last of their values.
    """
    shape = [len(values) for values in axes.values()]
    with torch.no_grad():
        table = torch.stack(
            [score(growth.set(**dict(zip(axes, v, strict=True)))) for v in itertools.product(*axes.values())]
        )
    table = table.view(*shape, -1)
    found = {}
    for i, name in enumerate(axes):
        others = [j for j in range(len(shape)) if j != i]
        found[name] = (table.amin(others) if others else table).T
    return found
