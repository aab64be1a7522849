r"""How well single latents z (n, k) stand for single factors v (n, f) of which the truth is known, in numbers.

*MIG*, the mutual information gap (R. T. Q. Chen, X. Li, R. Grosse and D. Duvenaud, 2018, Isolating sources of
disentanglement in variational autoencoders, equation 6): what the first latent says of a factor beyond the next,

    MIG = mean_f (I(z_(1); v_f) - I(z_(2); v_f)) / H(v_f),   I(z_(1); v_f) >= I(z_(2); v_f) >= ...                 (1)

Latents and factors are continuous here, so both are cut into B bins of equal counts, H = log B, and I is that of the
counts (the plug-in estimate). It is too large by about (B - 1)^2 / (2 n) for independent numbers (M. S. Roulston, 1999,
Estimating the errors on measured entropy and mutual information), and never above log B. The difference in (1) is
nearly free of the former where both terms are small; that of noise is the *null*, from factors that are shuffled.

*DCI* (C. Eastwood and C. K. I. Williams, 2018, A framework for the quantitative evaluation of disentangled
representations, section 2): a regressor of each factor on all latents gives importances R (k, f). With
P = R / sum_f R and Q = R / sum_k R,

    disentanglement = sum_k rho_k (1 - H_f(P_k)),   rho_k = sum_f R_kf / sum R     a latent, one factor            (2)
    completeness    = mean_f (1 - H_k(Q_f))                                        a factor, one latent            (3)
    informativeness = mean_f R2_f of held-out samples, at least 0                  how much is there at all        (4)

where H_f and H_k are entropies to the base of the number of factors and of latents. (The paper's (4) is the error.)

*SAP*, separated attribute predictability (A. Kumar, P. Sattigeri and A. Balakrishnan, 2018, Variational inference of
disentangled latent concepts from unlabeled observations, section 3): for continuous factors, the gap as in (1) between
the squared correlations of a factor with the two latents that have the largest,

    SAP = mean_f (r2_(1)f - r2_(2)f).                                                                             (5)

All are 1 for factors permuted, scaled or reflected, 0 for noise. For two factors rotated by 45 degrees (1), (2), (3)
and (5) are 0, and (4) is as it was.
"""

import warnings

import numpy as np

REGRESSORS = ("forest", "lasso")


def mutual_information(z: np.ndarray, v: np.ndarray, *, bins: int = 20) -> np.ndarray:  # (n, k), (n, f) -> (k, f)
    """Return the mutual information of each latent with each factor [nat], from bins of equal counts.

    Raises ValueError for numbers that are not finite, lengths that differ, columns that are constant, bins too many.
    """
    z, v = _checked(z, v)
    if not 2 <= bins <= len(z) // 5:
        raise ValueError(f"{bins} bins for {len(z)} samples; expected 2 or more, and 5 samples a bin at least")
    return _information(_binned(z, bins), _binned(v, bins), bins)


def mig(z: np.ndarray, v: np.ndarray, rng: np.random.Generator, *, bins: int = 20, shuffles: int = 5) -> dict:
    """Return the mutual information gap: equation 1.

    z (n, k): latents; v (n, f): factors; rng: of the shuffles.

    mig: the mean over factors; null: its mean when factors are shuffled, which is what the estimate gives for noise;
    each (f): the gap of each factor. Raises ValueError as `mutual_information` does.
    """
    information = mutual_information(z, v, bins=bins)
    a, b = _binned(np.asarray(z, float), bins), _binned(np.asarray(v, float), bins)
    entropy = np.array([_entropy(np.bincount(column) / len(b)) for column in b.T])
    each = _gap(information / entropy)
    null = [_gap(_information(a, b[rng.permutation(len(b))], bins) / entropy).mean() for _ in range(shuffles)]
    return {"mig": float(each.mean()), "null": float(np.mean(null)) if null else float("nan"), "each": each}


def sap(z: np.ndarray, v: np.ndarray) -> dict:
    """Return the separated attribute predictability of continuous factors: equation 5; `sap` and `each` (f).

    Raises ValueError for numbers that are not finite, lengths that differ, and columns that are constant.
    """
    z, v = (_standardized(x) for x in _checked(z, v))
    each = _gap((z.T @ v / len(z)) ** 2)
    return {"sap": float(each.mean()), "each": each}


def dci(
    z: np.ndarray,  # (n, k) latents
    v: np.ndarray,  # (n, f) factors
    rng: np.random.Generator,
    *,
    regressor: str = "forest",
    folds: int = 3,
    trees: int = 20,
) -> dict:
    """Return disentanglement, completeness and informativeness: equations 2 to 4.

    regressor: "forest" (randomized trees, importances by impurity) or "lasso" (importances by coefficients of
    standardized latents; its penalty by cross-validation); folds: each held out once, importances averaged over fits.

    disentanglement, completeness, informativeness; importance (k, f): R; explained (f): R2 of held-out samples.
    Raises ValueError for another regressor, one factor only, and as `sap` does.
    """
    z, v = (_standardized(x) for x in _checked(z, v))
    if regressor not in REGRESSORS:
        raise ValueError(f"the regressor is {regressor!r}; expected one of {', '.join(REGRESSORS)}")
    if v.shape[1] < 2:
        raise ValueError("one factor; a latent that stands for one factor alone needs two or more to choose from")
    importance, found = np.zeros((z.shape[1], v.shape[1])), np.zeros_like(v)
    for held in _folds(len(z), folds, rng):
        seed = int(rng.integers(2**31))
        for f in range(v.shape[1]):
            fitted = _regressor(regressor, seed, trees).fit(z[~held], v[~held, f])
            found[held, f] = fitted.predict(z[held])
            importance[:, f] += fitted.feature_importances_ if regressor == "forest" else np.abs(fitted.coef_)
    explained = np.clip(1 - ((found - v) ** 2).mean(0), 0, 1)
    one_factor = 1 - _entropy(_shares(importance, 1), 1) / np.log(v.shape[1])
    one_latent = 1 - _entropy(_shares(importance, 0), 0) / np.log(max(2, z.shape[1]))
    return {
        "disentanglement": float(_shares(importance.sum(1), 0) @ one_factor),  # (2)
        "completeness": float(one_latent.mean()),  # (3)
        "informativeness": float(explained.mean()),  # (4)
        "importance": importance / folds,
        "explained": explained,
    }


def linear(z: np.ndarray, v: np.ndarray, rng: np.random.Generator, *, folds: int = 3) -> np.ndarray:  # -> (f)
    """Return the share of each factor's variance that is linear in all latents (n, k), of held-out samples, 0 at least.

    Raises ValueError as `sap` does.
    """
    z, v = (_standardized(x) for x in _checked(z, v))
    X, found = np.column_stack([z, np.ones(len(z))]), np.zeros_like(v)
    for held in _folds(len(z), folds, rng):
        found[held] = X[held] @ np.linalg.lstsq(X[~held], v[~held], rcond=None)[0]
    return np.clip(1 - ((found - v) ** 2).mean(0), 0, 1)


def scores(z: np.ndarray, v: np.ndarray, rng: np.random.Generator, *, least: float = 0.0, **settings) -> dict:
    """Return all measures of latents (n, k) by factors (n, f), as numbers.

    least: of the variance of a latent; others are silent and left out (Y. Burda, R. Grosse and R. Salakhutdinov, 2016,
    Importance weighted autoencoders, section 5.2, take 0.01 of means under a standard normal prior): a collapsed latent
    moves by a millionth, and a measure without a scale would still read it. Where all are silent, all measures are 0.
    settings: `bins`, `folds`, `trees`, `regressor`.

    used: how many latents are not silent; mig, null, disentanglement, completeness, informativeness, sap; linear: mean
    of `linear`; mean: of MIG, disentanglement and SAP. Raises ValueError as these do.
    """
    z = np.asarray(z, float)
    heard = z[:, z.var(0) > least] if z.ndim == 2 and np.isfinite(z).all() else z
    names = ("mig", "null", "disentanglement", "completeness", "informativeness", "sap", "linear", "mean")
    if not heard.shape[-1]:
        return {"used": 0} | dict.fromkeys(names, 0.0)
    found = mig(heard, v, rng, **{k: settings[k] for k in ("bins",) if k in settings})
    found |= dci(heard, v, rng, **{k: settings[k] for k in ("regressor", "folds", "trees") if k in settings})
    found |= sap(heard, v) | {"linear": float(linear(heard, v, rng).mean())}
    found["mean"] = float(np.mean([found[name] for name in ("mig", "disentanglement", "sap")]))
    return {"used": heard.shape[1]} | {name: found[name] for name in names}


def unmixed(learned: np.ndarray, other: np.ndarray, rng: np.random.Generator, *, least: float = 0.0) -> np.ndarray:
    """Return latents (n, k) turned to the axes along which those learned from are most independent (FastICA).

    A. Hyvarinen (1999), Fast and robust fixed-point algorithms for independent component analysis. Latents whose
    variance is not above `least` are left out; where one at most is above it, latents come back as they are.
    """
    from sklearn.decomposition import FastICA
    from sklearn.exceptions import ConvergenceWarning

    learned, other = (np.asarray(x, float) for x in (learned, other))  # in single precision FastICA loses directions
    heard = learned.var(0) > least
    if heard.sum() < 2:
        return other
    seed = int(rng.integers(2**31))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # two Gaussian latents have no axes to converge to
        found = FastICA(whiten="unit-variance", max_iter=500, tol=1e-3, random_state=seed).fit(learned[:, heard])
    return found.transform(other[:, heard])


def baselines(
    fields: tuple[np.ndarray, np.ndarray],  # (n, p) to learn from, and to give latents of
    proxies: tuple[np.ndarray, np.ndarray],  # (n, x) of the same samples
    count: int,
    rng: np.random.Generator,
) -> dict[str, np.ndarray]:  # (n, count) each
    """Return latents that need no network: what every model has to beat.

    PCA; ICA of these components (`unmixed`); a random projection; and what least squares on proxies say of the PCA's.
    Raises ValueError for more latents than proxies or than points.
    """
    from sklearn.decomposition import PCA

    fields, proxies = ([np.asarray(x, float) for x in pair] for pair in (fields, proxies))
    most = min(fields[0].shape[1], proxies[0].shape[1])
    if count > most:
        told = f"{count} latents of {fields[0].shape[1]} points and {proxies[0].shape[1]} proxies"
        raise ValueError(f"{told}; expected {most} at most")
    modes = PCA(count, whiten=True, random_state=int(rng.integers(2**31))).fit(fields[0])
    own, other = (modes.transform(x) for x in fields)
    X, new = (np.column_stack([x, np.ones(len(x))]) for x in proxies)
    return {
        "PCA": other,
        "ICA": unmixed(own, other, rng),
        "random projection": (fields[1] - fields[0].mean(0)) @ rng.standard_normal((fields[1].shape[1], count)),
        "OLS from the proxy": new @ np.linalg.lstsq(X, own, rcond=None)[0],
    }


def match(table: np.ndarray) -> np.ndarray:  # (k, f) -> (f)
    """Return a latent for each factor, none twice, such that the sum of a table's entries is largest.

    Raises ValueError for fewer latents than factors.
    """
    from scipy.optimize import linear_sum_assignment

    if table.shape[0] < table.shape[1]:
        raise ValueError(f"{table.shape[0]} latents for {table.shape[1]} factors; expected one a factor at least")
    rows, columns = linear_sum_assignment(table, maximize=True)
    return rows[np.argsort(columns)]


def _checked(z, v) -> tuple[np.ndarray, np.ndarray]:
    z, v = (np.asarray(x, float) for x in (z, v))
    for what, x in {"latents": z, "factors": v}.items():
        if x.ndim != 2 or not x.shape[1]:
            raise ValueError(f"{what} have the shape {x.shape}; expected samples by {what}, one of them at least")
        if not np.isfinite(x).all():
            raise ValueError(f"{what} {_where(~np.isfinite(x).all(0))} have values that are not finite; leave them out")
    if len(z) != len(v):
        raise ValueError(f"{len(z)} samples of latents and {len(v)} of factors; expected the same samples of both")
    for what, x in {"latents": z, "factors": v}.items():
        if (constant := x.max(0) == x.min(0)).any():
            raise ValueError(f"{what} {_where(constant)} are constant and say nothing; leave them out")
    return z, v


def _where(mask) -> str:
    return ", ".join(map(str, np.flatnonzero(mask)))


def _standardized(x):
    return (x - x.mean(0)) / x.std(0)


def _binned(x, bins):
    """Return for each column the bin, of equal counts, that a value falls into; equal values fall into one."""
    from scipy.stats import rankdata

    return ((rankdata(x, axis=0) - 0.5) * bins / len(x)).astype(int)


def _information(a, b, bins):
    """Return the mutual information (k, f) of columns of bins: H(a) + H(b) - H(a, b)."""
    alone = [np.array([_entropy(np.bincount(column) / len(x)) for column in x.T]) for x in (a, b)]
    both = [[_entropy(np.bincount(bins * p + q) / len(a)) for q in b.T] for p in a.T]
    return np.maximum(alone[0][:, None] + alone[1] - np.array(both), 0)


def _entropy(p, axis=None):
    return -(p * np.log(np.where(p > 0, p, 1))).sum(axis)


def _gap(table):
    """Return for each column the largest entry less the next (0 if there is one alone): (f)."""
    ordered = np.sort(np.vstack([table, np.zeros((1, table.shape[1]))]), 0)
    return ordered[-1] - ordered[-2]


def _shares(table, axis):
    """Return entries as shares of their sum along an axis; equal ones where that is 0."""
    total = table.sum(axis, keepdims=True)
    return np.where(total > 0, table / np.where(total > 0, total, 1), 1 / table.shape[axis])


def _folds(n, folds, rng):
    """Yield for each fold which of n samples, dealt at random, it holds."""
    if not 2 <= folds <= n // 5:
        raise ValueError(f"{folds} folds of {n} samples; expected 2 or more, and 5 samples a fold at least")
    dealt = rng.permutation(n) % folds
    for fold in range(folds):
        yield dealt == fold


def _regressor(name, seed, trees):
    if name == "forest":
        from sklearn.ensemble import ExtraTreesRegressor

        return ExtraTreesRegressor(trees, min_samples_leaf=3, random_state=seed)
    from sklearn.linear_model import LassoCV

    return LassoCV(cv=3, random_state=seed)
