"""Upsampling, normalisation and quantisation of score maps."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from eval.scoremaps import (
    NORMALIZATIONS,
    MapStatus,
    normalize,
    quantize,
    score_levels,
    score_levels_torch,
    upsample,
)

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
    levels, status, _ = score_levels(raw[None], (224, 224), {"minmax": None})
    np.testing.assert_array_equal(levels["minmax"][0], expected)
    assert status["minmax"].tolist() == [0]


def test_device_path_agrees_with_opencv_within_one_level() -> None:
    rng = np.random.default_rng(2)
    raw = rng.normal(size=(24, 7, 7)).astype(np.float32)
    raw[0] = 3.0
    raw[1, 2, 2] = np.nan
    raw[2] = -np.abs(raw[2])  # `max` has nothing positive, unless the cubic overshoots
    rules = dict.fromkeys(NORMALIZATIONS)
    ours, status, _ = score_levels(raw, (64, 64), rules)
    theirs, their_status, _ = score_levels_torch(torch.from_numpy(raw), (64, 64), rules)
    for name in rules:
        np.testing.assert_array_equal(their_status[name].numpy(), status[name])
        apart = np.abs(theirs[name].numpy().astype(int) - ours[name].astype(int))
        assert apart.max() <= 1
        assert (apart > 0).mean() < 1e-4, "the device path may move one pixel in ten thousand, not more"


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
