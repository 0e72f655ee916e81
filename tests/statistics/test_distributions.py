"""Tails and quantiles are scipy.stats' own."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from eval.statistics.distributions import chi2_ppf, normal_isf, normal_sf, t_isf, t_sf

P = np.array([1e-300, 1e-12, 0.025, 0.5, 0.9])
X = np.linspace(-9, 9, 37)


@pytest.mark.parametrize("df", [1, 2.5, 30, 1e9, np.inf])
def test_student(df: float) -> None:
    np.testing.assert_allclose(t_sf(X, df), stats.t.sf(X, df), rtol=1e-12)
    np.testing.assert_allclose(t_isf(P, df), stats.t.isf(P, df), rtol=1e-9)


def test_normal_and_chi_squared() -> None:
    np.testing.assert_allclose(normal_sf(X), stats.norm.sf(X), rtol=1e-12)
    np.testing.assert_allclose(normal_isf(P), stats.norm.isf(P), rtol=1e-12)
    np.testing.assert_allclose(chi2_ppf(P, 4), stats.chi2.ppf(P, 4), rtol=1e-12)
