"""The articulated object of the `parts` dataset: anatomy and pose drawn at random, outlines built from them.

Everything here is in the object's own frame: the body is one unit long and centred on the origin, x points to
the head, y points down.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from wsol.datasets.parts_config import BODY, FRONT_LIMBS, HEAD, HIND_LIMBS, TAIL

if TYPE_CHECKING:
    import numpy.typing as npt

    Points = npt.NDArray[np.float64]

HEAD_RADIUS = 0.18


@dataclass(frozen=True)
class Anatomy:
    """An individual's proportions, in body lengths; every class draws from the same ones."""

    body_height: float
    leg_length: float
    leg_width: float
    neck_length: float
    tail_length: float
    head_radius: float


@dataclass(frozen=True)
class Pose:
    """Joint angles in radians; 0 points down for legs, forward for the neck, backward for the tail."""

    spine_bend: float
    hip_angles: tuple[float, float, float, float]  # near front, near hind, far front, far hind
    knee_angles: tuple[float, float, float, float]
    neck_angle: float
    head_angle: float
    tail_angle: float
    tail_curl: float


@dataclass(frozen=True)
class Piece:
    """One flat outline: the part it belongs to, what it is painted with, how bright it
    is, its corners [N, 2]."""

    part: int
    material: str  # "coat", "colour_a", "colour_b" or "eye"
    gain: float
    outline: Points


@dataclass(frozen=True)
class Creature:
    """Outlines in painting order, and one landmark per part [5, 2] in the order of PART_NAMES."""

    pieces: tuple[Piece, ...]
    landmarks: Points


def draw_anatomy(generator: np.random.Generator, deciding_part_scale: float) -> Anatomy:
    """Draw an individual."""
    u = generator.random(6).tolist()
    return Anatomy(
        body_height=0.44 + 0.16 * u[0],
        leg_length=0.34 + 0.20 * u[1],
        leg_width=0.12 + 0.05 * u[2],
        neck_length=0.10 + 0.20 * u[3],
        tail_length=0.25 + 0.30 * u[4],
        head_radius=HEAD_RADIUS * deciding_part_scale * (0.92 + 0.16 * u[5]),
    )


def draw_pose(generator: np.random.Generator) -> Pose:
    """Draw joint angles: walking to galloping legs, a neck from grazing to upright."""
    u = (2 * generator.random(13) - 1).tolist()
    return Pose(
        spine_bend=0.10 * u[0],
        hip_angles=(0.55 * u[1], 0.55 * u[2], 0.55 * u[3], 0.55 * u[4]),
        knee_angles=(0.45 * u[5], -0.45 * abs(u[6]), 0.45 * u[7], -0.45 * abs(u[8])),
        neck_angle=0.55 + 0.75 * u[9],
        head_angle=0.5 * u[10],
        tail_angle=0.2 + 0.6 * u[11],
        tail_curl=0.9 * u[12],
    )


def build_creature(anatomy: Anatomy, pose: Pose, pattern: str) -> Creature:
    """Assemble the outlines of one object in its own frame; `pattern` is one of PATTERNS."""
    half = anatomy.body_height / 2
    body = _body_outline() * (1.0, anatomy.body_height)
    body[:, 1] += pose.spine_bend * (4 * body[:, 0] ** 2 - 0.5)
    front, hind = (0.34, 0.35 * half), (-0.36, 0.30 * half)
    near_front, near_front_foot = _leg(anatomy, front, pose.hip_angles[0], pose.knee_angles[0])
    near_hind, near_hind_foot = _leg(anatomy, hind, pose.hip_angles[1], pose.knee_angles[1])
    far_front, _ = _leg(anatomy, (0.28, 0.2 * half), pose.hip_angles[2], pose.knee_angles[2])
    far_hind, _ = _leg(anatomy, (-0.42, 0.2 * half), pose.hip_angles[3], pose.knee_angles[3])
    tail, tail_mark = _tail(anatomy, pose, half)

    nape = np.array((0.40, -0.35 * half))
    along = np.array((np.cos(pose.neck_angle), -np.sin(pose.neck_angle)))
    centre = nape + (anatomy.neck_length + 0.7 * anatomy.head_radius) * along
    neck = _ribbon(np.stack((nape - 0.12 * along, centre)), (0.9 * half, 1.1 * anatomy.head_radius))

    cos, sin = np.cos(pose.head_angle), np.sin(pose.head_angle)
    turn = np.array(((cos, sin), (-sin, cos))) * anatomy.head_radius

    def head(outline: Points) -> Points:
        return outline @ turn + centre

    skin, marks = _pattern_outlines(pattern)
    pieces = (
        Piece(FRONT_LIMBS, "coat", 0.68, far_front),
        Piece(HIND_LIMBS, "coat", 0.68, far_hind),
        Piece(TAIL, "coat", 0.88, tail),
        Piece(HEAD, "coat", 0.75, head(_EAR + np.array((-0.05, 0.0)))),
        Piece(BODY, "coat", 1.0, body),
        Piece(BODY, "coat", 0.97, neck),
        Piece(HIND_LIMBS, "coat", 0.94, near_hind),
        Piece(FRONT_LIMBS, "coat", 0.94, near_front),
        Piece(HEAD, "coat", 0.85, head(_disc(0.48, (0.95, 0.30)))),
        Piece(HEAD, "colour_a", 1.0, head(skin)),
        *(Piece(HEAD, "colour_b", 1.0, head(mark)) for mark in marks),
        Piece(HEAD, "coat", 0.9, head(_EAR + np.array((-0.45, 0.1)))),
        Piece(HEAD, "eye", 1.0, head(_disc(0.13, (0.95, 0.05)))),
    )
    landmarks = np.stack(((0.0, 0.0), centre, near_front_foot, near_hind_foot, tail_mark))
    return Creature(pieces, landmarks)


def place(creature: Creature, matrix: Points, offset: Points) -> Creature:
    """The creature in another frame: every point p becomes `matrix @ p + offset`."""
    return Creature(
        tuple(Piece(p.part, p.material, p.gain, p.outline @ matrix.T + offset) for p in creature.pieces),
        creature.landmarks @ matrix.T + offset,
    )


def polygon_area(outline: Points) -> float:
    """Area of a simple polygon [N, 2], by the shoelace formula.

    >>> polygon_area(np.array([(0.0, 0.0), (2.0, 0.0), (2.0, 3.0), (0.0, 3.0)]))
    6.0
    """
    x, y = outline[:, 0], outline[:, 1]
    doubled = x[:-1] @ y[1:] - y[:-1] @ x[1:] + x[-1] * y[0] - y[-1] * x[0]
    return float(abs(doubled) / 2)


_INSET = 0.95
_EAR = np.array(((-0.25, -0.70), (0.0, -1.45), (0.30, -0.75)))


@functools.cache
def _circle(corners: int) -> Points:
    angle = np.linspace(0, 2 * np.pi, corners, endpoint=False)
    return np.stack((np.cos(angle), np.sin(angle)), axis=1)


def _disc(radius: float, centre: tuple[float, float] = (0.0, 0.0)) -> Points:
    return _circle(20) * radius + centre


@functools.cache
def _body_template() -> Points:
    """Deep chest, narrower loin, full hips: half-heights along the spine, mirrored with a flatter back."""
    circle = _circle(32)
    x, y = circle[:, 0], circle[:, 1]
    x = np.sign(x) * np.abs(x) ** 0.85 * 0.5
    swell = 1 + 0.10 * np.cos(2 * np.pi * (x - 0.28)) + 0.06 * x
    return np.stack((x, 0.46 * np.sign(y) * np.abs(y) ** 0.8 * swell * np.where(y < 0, 0.9, 1.05)), axis=1)


def _body_outline() -> Points:
    return _body_template().copy()


def _ribbon(spine: Points, widths: tuple[float, ...]) -> Points:
    """Outline of a band of the given widths along a line of K points: [2K, 2]."""
    step = np.gradient(spine, axis=0)
    step /= np.maximum(np.hypot(step[:, 0], step[:, 1]), 1e-9)[:, None]
    side = np.stack((-step[:, 1], step[:, 0]), axis=1) * (np.array(widths)[:, None] / 2)
    return np.concatenate((spine + side, (spine - side)[::-1]))


def _leg(anatomy: Anatomy, hip: tuple[float, float], swing: float, bend: float) -> tuple[Points, Points]:
    """A two-segment leg with a foot, and the landmark near its end."""
    length, width = anatomy.leg_length, anatomy.leg_width
    upper = np.array((np.sin(swing), np.cos(swing))) * length * 0.55
    lower = np.array((np.sin(swing + bend), np.cos(swing + bend))) * length * 0.55
    knee = hip + upper
    ankle = knee + lower
    toe = ankle + np.array((lower[1], -lower[0])) * 0.28 + lower * 0.06
    spine = np.stack((hip - upper * 0.2, knee, ankle, toe))
    return _ribbon(spine, (1.7 * width, 1.05 * width, 0.8 * width, 0.6 * width)), knee + 0.75 * lower


def _tail(anatomy: Anatomy, pose: Pose, half: float) -> tuple[Points, Points]:
    """A curved, tapering tail and the landmark at its middle."""
    steps = 5
    angle = np.pi - pose.tail_angle + pose.tail_curl * np.linspace(0, 1, steps)
    stride = np.stack((np.cos(angle), np.sin(angle)), axis=1) * (anatomy.tail_length / steps)
    root = np.array((-0.42, -0.35 * half))
    spine = np.stack((root, *(root - (0.04, 0.0) + np.cumsum(stride, axis=0))))
    return _ribbon(spine, (0.16, 0.13, 0.11, 0.10, 0.09, 0.06)), spine[3]


def _band(low: float, high: float) -> Points:
    """The part of the unit disc with low < y < high."""
    a, b = np.arcsin(low), np.arcsin(high)
    right = np.linspace(a, b, 7)
    angle = np.concatenate((right, np.pi - right[::-1]))
    return np.stack((np.cos(angle), np.sin(angle)), axis=1)


@functools.cache
def _pattern_outlines(pattern: str) -> tuple[Points, tuple[Points, ...]]:
    """Skin and marks of a head of radius 1. The marks cover about half of the skin whatever the pattern, and
    stay off its rim, so that the silhouette tells nothing."""
    spots = ((-0.44, -0.44), (-0.44, 0.44), (0.44, -0.44), (0.44, 0.44))
    marks: dict[str, tuple[Points, ...]] = {
        "target": (_disc(0.68),),
        "bars": (_band(-0.72, -0.20) * _INSET, _band(0.20, 0.72) * _INSET),
        "halves": (_band(0.0, 1.0) @ np.array(((0.0, 1.0), (-1.0, 0.0))) * _INSET,),
        "spots": tuple(_disc(0.33, spot) for spot in spots),
    }
    return _circle(24), marks[pattern]
