"""Upsampling, normalisation and quantisation of score maps."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from eval.maps.normalization import (
    NORMALIZATIONS,
    MapStatus,
    normalize,
    quantize,
    score_levels,
    upsample,
)
from eval.maps.quantize_kernel import sorted_value

RAMP = np.array([[-2.0, -1.0], [0.0, 2.0]])


@pytest.mark.parametrize(
    ("name", "fraction", "expected"),
    [
        ("minmax", None, [[0, 0.25], [0.5, 1]]),
        ("max", None, [[0, 0], [0, 1]]),
        ("pas", None, [[0, 0.25], [0.5, 1]]),  # sorted index int(0.9 * 4) = 3: the maximum
        ("pas", 0.5, [[0, 0.5], [1, 1]]),  # divides by the third smallest, clips the fourth
        ("ivr", 0.5, [[0, 0], [0, 1]]),  # subtracts 0
        ("ivr", None, [[0, 0], [1 / 3, 1]]),  # sorted index int(0.45 * 4) = 1: subtracts -1
    ],
)
def test_normalizations_by_hand(name: str, fraction: float | None, expected: list[list[float]]) -> None:
    result, status = normalize(RAMP, name, fraction)
    assert status == MapStatus.OK
    np.testing.assert_allclose(result, expected, rtol=0, atol=1e-15)


@pytest.mark.parametrize("name", NORMALIZATIONS)
@pytest.mark.parametrize(
    ("values", "status"),
    [
        (np.full((3, 3), 7.0), MapStatus.CONSTANT),
        (np.zeros((3, 3)), MapStatus.CONSTANT),
        (np.array([[0.0, np.nan], [1.0, 2.0]]), MapStatus.NAN),
        (np.array([[0.0, np.inf], [1.0, 2.0]]), MapStatus.NAN),
    ],
)
def test_constant_and_nan_maps_become_zeros(name: str, values: np.ndarray, status: MapStatus) -> None:
    result, found = normalize(values, name)
    assert found == status
    assert not result.any()


@pytest.mark.parametrize(
    ("name", "values"),
    [
        ("max", np.array([[-3.0, -1.0]])),  # no positive value
        ("pas", np.array([[0.0] * 10 + [1.0]])),  # the 0.9 quantile is the minimum
        ("ivr", None),
    ],
)
def test_a_divisor_of_zero_gives_zeros_and_is_counted(name: str, values: np.ndarray | None) -> None:
    if values is None:
        result, status = normalize(np.array([[0.0, 1.0]]), "ivr", 1.0)  # subtracts the maximum itself
    else:
        result, status = normalize(values, name)
    assert status == MapStatus.ZERO_DIVISOR
    assert not result.any()


def test_quantize_truncates_and_refuses_what_is_not_a_score() -> None:
    assert quantize(np.array([[0.0, 0.999, 1.0, 254.9 / 255]])).tolist() == [[0, 254, 255, 254]]
    for bad in (np.nan, -0.1, 1.1):
        with pytest.raises(ValueError, match=r"\[0, 1\]"):
            quantize(np.array([[0.5, bad]]))


def test_upsampling_is_opencv_cubic_in_float64_and_copies() -> None:
    raw = np.random.default_rng(0).normal(size=(7, 5)).astype(np.float32)
    expected = cv2.resize(raw.astype(np.float64), (40, 30), interpolation=cv2.INTER_CUBIC)
    np.testing.assert_array_equal(upsample(raw, (30, 40)), expected)
    same = upsample(expected, (30, 40))
    same[:] = 0
    assert expected.any()


def test_reference_order_is_upsample_then_normalise() -> None:
    raw = np.random.default_rng(1).normal(size=(14, 14)).astype(np.float32)
    m = cv2.resize(raw.astype(np.float64), (224, 224), interpolation=cv2.INTER_CUBIC)
    m -= m.min()
    m /= m.max()
    expected = (m * 255).astype(np.uint8)
    levels, status = score_levels(upsample(raw, (224, 224))[None], "minmax")
    np.testing.assert_array_equal(levels[0], expected)
    assert status.tolist() == [0]


def released_rules(m: np.ndarray, name: str) -> np.ndarray:
    """The four normalisations one operation after the other, as the released code of each has them."""
    if name == "max":
        return np.maximum(m, 0) / m.max()
    if name == "ivr":
        m = np.maximum(m - np.sort(m.ravel())[int(0.45 * m.size)], 0)
        return m / m.max()
    m = m - m.min()
    if name == "minmax":
        return m / m.max()
    return np.minimum(m / np.sort(m.ravel())[int(0.9 * m.size)], 1)


@pytest.mark.parametrize("name", NORMALIZATIONS)
def test_levels_equal_the_released_rules_bit_for_bit(name: str) -> None:
    rng = np.random.default_rng(2)
    raw = rng.normal(size=(40, 7, 7)).astype(np.float32) * 10.0 ** rng.integers(-6, 6, (40, 1, 1))
    large = np.stack([upsample(m, (61, 64)) for m in raw])
    levels, status = score_levels(large, name)
    assert not status.any()
    for i, m in enumerate(large):
        expected = released_rules(m, name)
        np.testing.assert_array_equal(levels[i], (expected * 255).astype(np.uint8))
        np.testing.assert_array_equal(normalize(m, name)[0], expected)


@pytest.mark.parametrize("name", NORMALIZATIONS)
def test_levels_of_odd_maps_are_zero_with_their_status_and_spare_the_others(name: str) -> None:
    rng = np.random.default_rng(3)
    large = rng.normal(size=(5, 9, 11))
    large[0] = 3.0
    large[1, 2, 2] = np.nan
    large[3] = -np.inf
    levels, status = score_levels(large, name)
    assert status.tolist() == [MapStatus.CONSTANT, MapStatus.NAN, 0, MapStatus.NAN, 0]
    assert not levels[[0, 1, 3]].any()
    for i in (2, 4):
        np.testing.assert_array_equal(levels[i], quantize(normalize(large[i], name)[0]))
    assert score_levels(np.zeros((0, 4, 4)), name)[0].shape == (0, 4, 4)


@settings(max_examples=60, deadline=None)
@given(
    hnp.arrays(np.float64, (4, 5), elements=st.integers(-1000, 1000).map(float)),
    st.floats(0.1, 10),
    st.floats(-5, 5),
)
def test_affine_invariant_rules_ignore_scale_and_offset(m: np.ndarray, a: float, b: float) -> None:
    for name, rule in NORMALIZATIONS.items():
        if rule.affine_invariant:
            first, status = normalize(m, name)
            second, other = normalize(a * m + b, name)
            if status == other:
                np.testing.assert_allclose(first, second, atol=1e-6)


@settings(max_examples=60, deadline=None)
@given(
    hnp.arrays(np.float64, (3, 6), elements=st.floats(-1e6, 1e6, width=32)),
    st.sampled_from(sorted(NORMALIZATIONS)),
)
def test_every_result_is_a_score_map_and_the_input_is_untouched(m: np.ndarray, name: str) -> None:
    before = m.copy()
    result, _ = normalize(m, name)
    np.testing.assert_array_equal(m, before)
    quantize(result)


@pytest.mark.parametrize("scale", [1.0, 1e-310, 1e-300, 1e307])
def test_a_sorted_value_without_sorting(scale: float) -> None:
    """Smooth, tied and heavy-tailed maps of sizes whose range overflows or is subnormal."""
    rng = np.random.default_rng(1)
    for m in (
        rng.normal(size=999),
        rng.integers(0, 3, 50).astype(float),
        np.exp(9 * rng.normal(size=400)) % 9,
    ):
        values = np.ascontiguousarray(m * scale)
        for index in (0, len(m) // 3, len(m) - 1):
            found = sorted_value(values, float(values.min()), float(values.max()), index)
            assert found == np.sort(values)[index]
