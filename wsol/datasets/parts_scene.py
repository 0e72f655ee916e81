"""What is in one picture of the `parts` dataset: every random decision, and none of the painting.

`draw_scene` turns (config, role, index) into a `Scene` of flat outlines, materials and lighting. It depends
on nothing else, so pictures can be made in any order and in parallel.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import cv2
import numpy as np

from wsol.datasets.parts_config import COLOURS_RGB, HEAD, PartsConfig, class_look
from wsol.datasets.parts_creature import (
    Creature,
    build_creature,
    draw_anatomy,
    draw_pose,
    place,
    polygon_area,
)
from wsol.datasets.parts_textures import COATS, GROUNDS, RGB
from wsol.errors import unknown_name
from wsol.manifest import SPLIT_ROLES

if TYPE_CHECKING:
    import numpy.typing as npt

    Points = npt.NDArray[np.float64]

SUPERSAMPLING = 3
_MAX_ATTEMPTS = 400
_MIN_HEAD_VISIBLE = 0.5
_MIN_BODY_VISIBLE = 0.45
# The longer side of an object as a share of the picture, by the number of objects in it.
_OBJECT_EXTENT = {1: (0.5, 0.85), 2: (0.42, 0.62), 3: (0.36, 0.50)}


@dataclass(frozen=True)
class Material:
    """Paint: a window of a texture (`kind` "ground" or "coat", `index` into Textures), or one flat colour.

    The window is a square of `side` of the texture's shorter edge, at (`x`, `y`) of the room that is left;
    `turns` are quarter turns; `tint` multiplies each of R, G, B.
    """

    kind: str
    tint: tuple[float, float, float]
    index: int = 0
    side: float = 1.0
    x: float = 0.0
    y: float = 0.0
    turns: int = 0
    colour: RGB = (0, 0, 0)


@dataclass(frozen=True)
class Layer:
    """One opaque outline [N, 2] in pixels. `object_id` counts from 1 and `part` is a part-mask
    id; both are 0 for things that are not objects. `material` indexes the scene's materials. A
    floor layer catches shadows."""

    outline: Points
    material: int
    gain: float
    object_id: int = 0
    part: int = 0
    is_floor: bool = False


@dataclass(frozen=True)
class Lighting:
    """Light and camera: `direction` in radians, strengths in [0, 1], blur in pixels, noise in grey levels."""

    direction: float
    relief: float
    shadow: float
    slope: float
    gains: tuple[float, float, float]
    contrast: float
    blur: float
    noise: float
    noise_seed: int


@dataclass(frozen=True)
class Scene:
    """A picture's content. Layers are painted in order over material 0; layer number k of the
    label raster is `layers[k - 1]`. `landmarks` are those of the first object, [5, 2] in pixels;
    `coats` name each object's."""

    size: int
    label: int
    ground: str
    coats: tuple[str, ...]
    materials: tuple[Material, ...]
    layers: tuple[Layer, ...]
    landmarks: Points
    lighting: Lighting


def image_generator(config: PartsConfig, role: str, index: int) -> np.random.Generator:
    """The random stream of one picture; independent of every other picture's."""
    if role not in SPLIT_ROLES:
        raise unknown_name("split", role, SPLIT_ROLES)
    if not 0 <= index < config.num_images(role):
        raise IndexError(f"{role} has images 0..{config.num_images(role) - 1}, got index {index}")
    key = (SPLIT_ROLES.index(role), index)
    return np.random.Generator(np.random.Philox(np.random.SeedSequence(config.seed, spawn_key=key)))


def draw_scene(config: PartsConfig, role: str, index: int) -> Scene:
    """Draw one picture's content; the label is `index` modulo the number of classes.

    Redraws until every object shows at least half of its head and 45 % of its body, so that no label is
    undecidable. Raises `UserError` for an unknown role and IndexError for an index outside the split."""
    generator = image_generator(config, role, index)
    label = index % config.num_classes
    for attempt in range(_MAX_ATTEMPTS):
        scene = _draw_attempt(config, label, generator, attempt)
        if _is_decidable(scene):
            return scene
    raise RuntimeError(
        f"parts: no decidable scene for {role} {index} of {config} in {_MAX_ATTEMPTS} attempts"
    )


def rasterise(scene: Scene) -> npt.NDArray[np.uint8]:
    """The number of the topmost layer (0: none) at SUPERSAMPLING times the picture's
    size, uint8 [S*3, S*3]."""
    side = scene.size * SUPERSAMPLING
    labels = np.zeros((side, side), np.uint8)
    for number, layer in enumerate(scene.layers, start=1):
        # OpenCV's pixel centres are at whole numbers, ours at halves; four fractional bits.
        corners = np.rint((layer.outline * SUPERSAMPLING - 0.5) * 16).astype(np.int32)
        cv2.fillPoly(labels, [corners], number, shift=4)
    return labels


def _is_decidable(scene: Scene) -> bool:
    counts = np.bincount(rasterise(scene).ravel(), minlength=len(scene.layers) + 1)
    visible: dict[tuple[int, int], float] = {}
    whole: dict[tuple[int, int], float] = {}
    for number, layer in enumerate(scene.layers, start=1):
        key = (layer.object_id, layer.part)
        visible[key] = visible.get(key, 0.0) + float(counts[number])
        # The largest outline represents the part: the head's disc, the body's trunk.
        whole[key] = max(whole.get(key, 0.0), polygon_area(layer.outline) * SUPERSAMPLING**2)
    return all(
        visible[key] >= whole[key] * (_MIN_HEAD_VISIBLE if key[1] == HEAD else _MIN_BODY_VISIBLE)
        for key in whole
        if key[0] > 0 and key[1] in (1, HEAD)
    )


class _Builder:
    """Collects materials and layers of one scene while it is being drawn."""

    def __init__(self, generator: np.random.Generator) -> None:
        self.generator = generator
        self.materials: list[Material] = []
        self.layers: list[Layer] = []

    def uniform(self, low: float, high: float) -> float:
        return low + (high - low) * float(self.generator.random())

    def tint(self, colour: float, light: float) -> tuple[float, float, float]:
        u = (2 * self.generator.random(4) - 1).tolist()
        gain = 1 + light * u[3]
        return (gain * (1 + colour * u[0]), gain * (1 + colour * u[1]), gain * (1 + colour * u[2]))

    def texture(self, kind: str, index: int, sides: tuple[float, float], colour: float, light: float) -> int:
        u = self.generator.random(3).tolist()
        self.materials.append(
            Material(
                kind,
                self.tint(colour, light),
                index,
                side=sides[0] + (sides[1] - sides[0]) * u[0],
                x=u[1],
                y=u[2],
                turns=int(self.generator.integers(4)),
            )
        )
        return len(self.materials) - 1

    def flat(self, colour: RGB, jitter: float) -> int:
        self.materials.append(Material("flat", self.tint(jitter, jitter), colour=colour))
        return len(self.materials) - 1


def _draw_attempt(config: PartsConfig, label: int, generator: np.random.Generator, attempt: int) -> Scene:
    build = _Builder(generator)
    size = config.image_size
    ground = _draw_ground(build, config, label)
    for _ in range(int(generator.integers(config.max_distractors + 1))):
        centre = generator.random(2) * size
        _add_thing(build, centre, size * build.uniform(0.10, 0.30), flat_ok=True)

    # Each retry of a crowded picture makes its objects a little smaller, so that a place is always found.
    shrink = 0.985**attempt
    coats: list[str] = []
    creatures: list[Creature] = []
    for object_id, centre in enumerate(_draw_centres(generator, config.num_objects), start=1):
        low, high = _OBJECT_EXTENT[config.num_objects]
        extent = size * shrink * build.uniform(low, high)
        creature = _draw_creature(build, config, label, centre, extent)
        coats.append(_add_creature(build, config, label, creature, object_id))
        creatures.append(creature)
    if generator.random() < config.occlusion:
        _add_occluder(build, creatures[int(generator.integers(len(creatures)))], size)
    return Scene(
        size=size,
        label=label,
        ground=ground,
        coats=tuple(coats),
        materials=tuple(build.materials),
        layers=tuple(build.layers),
        landmarks=creatures[0].landmarks,
        lighting=_draw_lighting(build, size),
    )


def _draw_ground(build: _Builder, config: PartsConfig, label: int) -> str:
    """Material 0 is the ground; half of the pictures have another texture above a horizon."""
    generator, names = build.generator, tuple(GROUNDS)
    by_class = bool(generator.random() < config.background_correlation)
    drawn, behind = (int(i) for i in generator.integers(len(names), size=2))
    if by_class:
        drawn, behind = label % len(names), (label + 5) % len(names)
    build.texture("ground", drawn, (0.25, 0.8), 0.10, 0.25)
    has_horizon, height, tilt = (
        bool(generator.random() < 0.5),
        build.uniform(0.1, 0.5),
        build.uniform(-0.12, 0.12),
    )
    if has_horizon:
        size = config.image_size
        left, right = (height - tilt) * size, (height + tilt) * size
        sky = np.array(((-1.0, -1.0), (size + 1.0, -1.0), (size + 1.0, right), (-1.0, left)))
        build.layers.append(
            Layer(sky, build.texture("ground", behind, (0.25, 0.8), 0.10, 0.25), 1.0, is_floor=True)
        )
    return names[drawn]


def _draw_centres(generator: np.random.Generator, count: int) -> list[Points]:
    """Places in [0, 1] of the room an object has; the best spread of a few draws where there are several."""
    if count == 1:
        return [generator.random(2)]
    tries = generator.random((12, count, 2))
    gaps = np.linalg.norm(tries[:, :, None] - tries[:, None], axis=-1) + 9 * np.eye(count)
    return list(tries[int(gaps.min(axis=(1, 2)).argmax())])


def _draw_creature(
    build: _Builder, config: PartsConfig, label: int, centre: Points, extent: float
) -> Creature:
    generator = build.generator
    pattern, _ = class_look(label)
    body = build_creature(draw_anatomy(generator, config.deciding_part_scale), draw_pose(generator), pattern)
    angle = build.uniform(-0.6, 0.6)
    mirror = -1.0 if generator.random() < 0.5 else 1.0
    matrix = np.array(((np.cos(angle), -np.sin(angle)), (np.sin(angle), np.cos(angle)))) * (mirror, 1.0)
    rotated = place(body, matrix, np.zeros(2))
    corners = np.concatenate([piece.outline for piece in rotated.pieces])
    low, high = corners.min(axis=0), corners.max(axis=0)
    scale = extent / float((high - low).max())
    middle = (low + high) / 2 * scale
    # Objects may leave the picture by up to a twentieth of their extent on each side.
    free = np.maximum(config.image_size / 2 - (high - low) / 2 * scale + 0.05 * extent, 0)
    at = config.image_size / 2 + (2 * centre - 1) * free
    return place(rotated, np.eye(2) * scale, at - middle)


def _add_creature(
    build: _Builder, config: PartsConfig, label: int, creature: Creature, object_id: int
) -> str:
    """Append an object's layers; returns the name of its coat."""
    generator, names = build.generator, tuple(COATS)
    favourite = bool(generator.random() < config.body_cue)
    drawn = int(generator.integers(len(names)))
    coat = label % len(names) if favourite else drawn
    _, (colour_a, colour_b) = class_look(label)
    materials = {
        "coat": build.texture("coat", coat, (0.3, 0.7), 0.05, 0.10),
        "colour_a": build.flat(COLOURS_RGB[colour_a], 0.14),
        "colour_b": build.flat(COLOURS_RGB[colour_b], 0.14),
        "eye": build.flat((12, 10, 10), 0.0),
    }
    for piece in creature.pieces:
        build.layers.append(
            Layer(piece.outline, materials[piece.material], piece.gain, object_id, piece.part)
        )
    return names[coat]


def _add_occluder(build: _Builder, creature: Creature, size: int) -> None:
    """Something in front of a random part. The place comes from the landmarks, which no class changes."""
    spot = creature.landmarks[int(build.generator.integers(len(creature.landmarks)))]
    spot = spot + build.generator.normal(0, 0.04 * size, 2)
    _add_thing(build, spot, size * build.uniform(0.08, 0.2), flat_ok=False)


def _add_thing(build: _Builder, centre: Points, extent: float, flat_ok: bool) -> None:
    """A class-neutral thing about `extent` pixels in radius: a stone, a tuft, a
    trestle, or coloured berries."""
    generator = build.generator
    kind = int(generator.integers(4 if flat_ok else 3))
    gain = build.uniform(0.75, 1.05)
    if kind == 3:
        names = tuple(COLOURS_RGB)
        material = build.flat(COLOURS_RGB[names[int(generator.integers(len(names)))]], 0.12)
        for shift in generator.normal(0, 0.4, (int(generator.integers(2, 6)), 2)):
            outline = (
                _blob(generator, 12, 0.08) * extent * build.uniform(0.12, 0.25) + centre + shift * extent
            )
            build.layers.append(Layer(outline, material, gain))
        return
    if generator.random() < 0.25:
        material = build.texture("coat", int(generator.integers(len(COATS))), (0.3, 0.7), 0.10, 0.2)
    else:
        material = build.texture("ground", int(generator.integers(len(GROUNDS))), (0.15, 0.4), 0.10, 0.2)
    if kind == 0:
        squash = (1.0, build.uniform(0.5, 0.9))
        build.layers.append(Layer(_blob(generator, 18, 0.12) * squash * extent + centre, material, gain))
    elif kind == 1:
        for lean in np.sort(generator.uniform(-1.0, 1.0, int(generator.integers(5, 10)))).tolist():
            tip = np.array((np.sin(lean), -np.cos(lean))) * extent * build.uniform(1.2, 2.0)
            side = np.array((0.12 * extent, 0.0))
            blade = np.stack((centre - side, centre + side, centre + 0.6 * tip + 0.7 * side, centre + tip))
            build.layers.append(
                Layer(blade + np.array((lean * 0.25, 1.0)) * extent, material, gain * build.uniform(0.8, 1.1))
            )
    else:
        top = np.array(((-1.2, -0.3), (1.2, -0.3), (1.15, 0.15), (-1.15, 0.15)))
        legs = (
            np.array(((x, 0.1), (x + 0.22, 0.1), (x * 1.25 + 0.2, 1.0), (x * 1.25, 1.0))) for x in (-1.0, 0.7)
        )
        lean = build.uniform(-0.4, 0.4)
        turn = np.array(((np.cos(lean), np.sin(lean)), (-np.sin(lean), np.cos(lean)))) * extent
        for part, shade in (*((leg, 0.75) for leg in legs), (top, 1.0)):
            build.layers.append(Layer(part @ turn + centre, material, gain * shade))


def _blob(generator: np.random.Generator, corners: int, roughness: float) -> Points:
    """A wavy outline of mean radius 1."""
    angle = np.linspace(0, 2 * np.pi, corners, endpoint=False)
    phase = generator.uniform(0, 2 * np.pi, 3)[:, None]
    waves = np.sin(np.array((2, 3, 5))[:, None] * angle + phase)  # [3, corners]
    radius = 1 + roughness * waves.sum(axis=0)
    return np.stack((np.cos(angle), np.sin(angle)), axis=1) * radius[:, None]


def _draw_lighting(build: _Builder, size: int) -> Lighting:
    return Lighting(
        direction=build.uniform(-2.6, -0.5),  # from above, left or right
        relief=build.uniform(0.5, 1.1),
        shadow=build.uniform(0.2, 0.55),
        slope=build.uniform(0.0, 0.35),
        gains=build.tint(0.07, 0.2),
        contrast=build.uniform(0.8, 1.1),
        blur=build.uniform(0.25, 0.65) * size / 64,
        noise=build.uniform(1.0, 6.0),
        noise_seed=int(build.generator.integers(2**63)),
    )
