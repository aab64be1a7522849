r"""Spherical harmonics on a Gauss-Legendre grid: transforms of scalars and of winds, differentiable.

S. A. Orszag (1970), Transform method for the calculation of vector-coupled sums; J. J. Hack and R. Jakob (1992),
Description of a global shallow water model based on the spectral transform method. With longitude x, sine of latitude
mu, orders m >= 0, degrees l <= N and real associated Legendre functions P_lm, normalized and without the phase (-1)^m:

    f(x, mu) = Re sum_lm (2 - [m = 0]) f_lm P_lm(mu) exp(i m x),   integral of P_lm P_l'm over mu = [l = l']     (1)
    f_lm = sum_y w_y P_lm(mu_y) (1 / X) sum_x f(x, mu_y) exp(-i m x)                                             (2)

The quadrature of equation 2 (a fast Fourier transform, then Gauss's weights w, which sum to 2) has no error for a
product of two fields of degree N as long as X >= 3 N + 1 longitudes and Y >= (3 N + 1) / 2 latitudes: N is the largest
that both allow ("T21" on 32 x 64). What a field holds beyond degree N is lost in equation 2. On a sphere of radius R

    laplacian of f: -l (l + 1) / R^2 f_lm                                                                        (3)
    wind (u, v) of vorticity z and divergence d, with laplacian psi = z, laplacian chi = d, at order m:
        u = (1 / R) sum_l (i Q_lm chi_lm - D_lm psi_lm),   v = (1 / R) sum_l (i Q_lm psi_lm + D_lm chi_lm)       (4)
        Q_lm = m P_lm / cos(latitude),   D_lm = dP_lm / d latitude
    and back, by parts:
        z_lm = (1 / R) sum_y w_y (i Q_lm v_m + D_lm u_m),   d_lm = (1 / R) sum_y w_y (i Q_lm u_m - D_lm v_m)     (5)

P_lm follow from recurrences that are stable upwards in l, started from P_mm, in float64; up to degree 1900 what
underflows on the way counts for nothing (S. A. Holmes and W. E. Featherstone 2002, A unified approach to the Clenshaw
summation and the recursive computation of very high degree and order normalised associated Legendre functions):

    P_mm = sqrt((2 m + 1) / (2 m)) cos(latitude) P_(m-1)(m-1),   P_00 = sqrt(1 / 2)                              (6)
    e_(l+1)m P_(l+1)m = mu P_lm - e_lm P_(l-1)m,   e_lm = sqrt((l^2 - m^2) / (4 l^2 - 1))                        (7)
    cos(latitude) D_lm = (l + 1) e_lm P_(l-1)m - l e_(l+1)m P_(l+1)m                                             (8)

Tensors are (..., y, x) on the grid and complex (..., m, l) in the spectrum; they lie in memory with the batch last, as
the products with P want it, so that nothing is copied between two transforms but the two ends of each.
"""

import numpy as np
import torch
from torch import Tensor


class Harmonics:
    """Transform fields between a Gauss-Legendre grid of lat x lon points and degrees up to `degree`.

    lat, lon: even numbers of rows, south to north, and columns, from 0 eastwards; radius [m] of the sphere.

    latitudes (y) and longitudes (x) [degrees] are in float64; weights (y) are the share of the sphere of a row.

    Raises ValueError for sizes that are odd, or too small for degree 1.
    """

    def __init__(
        self,
        lat: int,
        lon: int,
        radius: float = 1.0,
        *,
        dtype: torch.dtype = torch.float32,
        device: torch.device | str | None = None,
    ):
        if lat % 2 or lon % 2 or lat < 2 or lon < 4:
            raise ValueError(f"a grid of {lat} x {lon}; expected even numbers, 2 x 4 or more")
        if not radius > 0:
            raise ValueError(f"the sphere has radius {radius}; expected a number above 0")
        self.lat, self.lon, self.radius = lat, lon, radius
        self.degree = min((lon - 1) // 3, (2 * lat - 1) // 3)
        mu, w = np.polynomial.legendre.leggauss(lat)
        P, Q, D = (torch.from_numpy(table) for table in _legendre(self.degree, mu))  # (m, l, y) each

        def kept(tensor: Tensor) -> Tensor:
            return tensor.to(dtype=dtype, device=device).contiguous()

        self.latitudes = torch.from_numpy(np.degrees(np.arcsin(mu)))
        self.longitudes = torch.arange(lon, dtype=torch.double) * 360 / lon
        w = torch.from_numpy(w)
        self.weights = kept(w / 2)
        degrees = torch.arange(self.degree + 1, dtype=torch.double)
        square = degrees * (degrees + 1) / radius**2
        self.laplacian = kept(-square)  # (3)
        self.inverse = kept(torch.where(degrees > 0, -1 / square, 0))
        both = torch.cat([Q, D], 2) / radius  # one product for two tables: (m, l, 2 y) and back (m, 2 l, y)
        self._up, self._up_wind = kept(P.mT), kept((both * self.inverse.double()[:, None].cpu()).mT)
        self._down, self._down_wind = kept(P * w), kept(torch.cat([Q * w, D * w], 1) / radius)

    def analyze(
        self,
        field: Tensor,  # (..., y, x)
    ) -> Tensor:  # (..., m, l) complex
        """Return the spectrum of a field."""
        return _batch_first(torch.bmm(self._down, self._to_waves(field)), field.shape[:-2])  # (2)

    def analyze_order(
        self,
        rows: Tensor,  # (..., y) coefficients of exp(i m x)
        m: int,
    ) -> Tensor:  # (..., l)
        """Return the degrees of a field of one order m >= 0, known by its coefficient at each latitude."""
        return rows @ self._down[m].T  # (2)

    def synthesize(
        self,
        spectrum: Tensor,  # (..., m, l) complex
    ) -> Tensor:  # (..., y, x)
        """Return the field of a spectrum."""
        waves = torch.bmm(self._up, _batch_last(spectrum))
        return self._to_field(_batch_first(waves, spectrum.shape[:-2]))  # (1)

    def wind(
        self,
        rotation: Tensor,  # (2, ..., m, l) complex: vorticity and divergence [1/s]
    ) -> Tensor:  # (2, ..., y, x): eastward and northward [m/s]
        """Return the wind that has this vorticity and divergence; their means over the sphere do not count."""
        both = _batch_first(torch.bmm(self._up_wind, _batch_last(rotation)), rotation.shape[:-2])  # of psi and chi
        turn, slope = 1j * both[..., : self.lat], both[..., self.lat :]
        return self._to_field(torch.stack([turn[1] - slope[0], turn[0] + slope[1]]))  # (4)

    def rotation(
        self,
        wind: Tensor,  # (2, ..., y, x): eastward and northward [m/s]
    ) -> Tensor:  # (2, ..., m, l) complex: vorticity and divergence [1/s]
        """Return curl and divergence of a wind, or of any other vector that is smooth across the poles."""
        both = _batch_first(torch.bmm(self._down_wind, self._to_waves(wind)), wind.shape[:-2])
        turn, slope = 1j * both[..., : self.degree + 1], both[..., self.degree + 1 :]
        return torch.stack([turn[1] + slope[0], turn[0] - slope[1]])  # (5)

    def gradient(
        self,
        spectrum: Tensor,  # (..., m, l) complex
    ) -> Tensor:  # (2, ..., y, x): eastward and northward [1/m]
        """Return the gradient of a field: the wind of which that field is the potential chi."""
        chi = spectrum * self.laplacian
        return self.wind(torch.stack([torch.zeros_like(chi), chi]))

    def _to_waves(self, field: Tensor) -> Tensor:
        """Return the Fourier coefficients of rows as real numbers (m, y, batch and parts)."""
        if field.shape[-2:] != (self.lat, self.lon):
            raise ValueError(f"a field of {tuple(field.shape)}; expected (..., {self.lat}, {self.lon})")
        waves = torch.fft.rfft(field.reshape(-1, self.lat, self.lon), norm="forward")
        return _batch_last(waves[..., : self.degree + 1].mT)

    def _to_field(self, waves: Tensor) -> Tensor:
        """Return the field (..., y, x) of Fourier coefficients (..., m, y)."""
        return torch.fft.irfft(waves.mT, n=self.lon, norm="forward")


def _batch_last(spectrum: Tensor) -> Tensor:
    """Return complex numbers (..., m, l) as real ones (m, l, batch and parts)."""
    last = spectrum.reshape(-1, *spectrum.shape[-2:]).permute(1, 2, 0)
    return torch.view_as_real(last.contiguous()).flatten(2)


def _batch_first(parts: Tensor, batch: torch.Size) -> Tensor:
    """Return real numbers (m, l, batch and parts) as complex ones (..., m, l)."""
    first = torch.view_as_complex(parts.unflatten(2, (-1, 2))).permute(2, 0, 1)
    return first.reshape(*batch, *parts.shape[:2])


def _legendre(degree: int, mu: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return P, Q and D (m, l, y) of equations 1 and 4 in float64."""
    cos = np.sqrt(1 - mu**2)
    degrees, m = np.arange(degree + 2), np.arange(degree + 1)[:, None]
    e = np.sqrt(np.maximum(degrees**2 - m**2, 0) / (4 * degrees**2 - 1))[..., None]  # (m, l, 1)
    P = np.zeros((degree + 1, degree + 2, len(mu)))  # one degree more than is kept, for the derivative
    P[0, 0] = np.sqrt(0.5)
    for k in range(1, degree + 1):
        P[k, k] = np.sqrt((2 * k + 1) / (2 * k)) * cos * P[k - 1, k - 1]  # (6)
    for k in range(degree + 1):
        rows = slice(0, k + 1)  # orders that exist at degree k
        below = P[rows, k - 1] if k else 0
        P[rows, k + 1] = (mu * P[rows, k] - e[rows, k] * below) / e[rows, k + 1]  # (7)
    degrees = degrees[:-1, None]
    before = np.concatenate([np.zeros_like(P[:, :1]), P[:, :-2]], 1)
    D = ((degrees + 1) * e[:, :-1] * before - degrees * e[:, 1:] * P[:, 1:]) / cos  # (8)
    P = P[:, :-1]
    return P, m[..., None] * P / cos, D
