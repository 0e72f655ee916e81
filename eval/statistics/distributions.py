"""Tails and quantiles of the distributions that intervals and p values need.

From scipy.special, where scipy.stats takes them too: importing scipy.stats costs a command a second.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from scipy.special import gammaincinv, ndtr, ndtri, stdtr, stdtrit


def normal_sf(x: Any) -> Any:
    """P(Z > x) of a standard normal Z."""
    return ndtr(-np.asarray(x))


def normal_isf(p: Any) -> Any:
    """The x with P(Z > x) = p."""
    return -ndtri(p)


def t_sf(x: Any, df: Any) -> Any:
    """P(T > x) of Student's T with `df` degrees of freedom."""
    return np.where(np.isinf(df), ndtr(-np.asarray(x)), stdtr(df, -np.asarray(x)))


def t_isf(p: Any, df: Any) -> Any:
    """The x with P(T > x) = p."""
    return np.where(np.isinf(df), -ndtri(p), -stdtrit(df, p))


def chi2_ppf(p: Any, df: Any) -> Any:
    """The x with P(X <= x) = p of a chi-squared X with `df` degrees of freedom."""
    return 2 * gammaincinv(np.asarray(df) / 2, p)
