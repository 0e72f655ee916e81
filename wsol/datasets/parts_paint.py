"""From a `Scene` to pixels: the picture, and the exact masks and boxes of what is visible in it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import cv2
import numpy as np

from wsol.datasets.parts_config import BODY, FRONT_LIMBS, HEAD, HIND_LIMBS, PART_NAMES, TAIL
from wsol.datasets.parts_scene import SUPERSAMPLING, Lighting, Material, Scene, rasterise
from wsol.datasets.parts_textures import Textures

if TYPE_CHECKING:
    import numpy.typing as npt

    Floats = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Rendered:
    """One picture of size S and everything known about it.

    `image` uint8 [S, S, 3], RGB. `mask` uint8 [S, S], 255 where an object is visible, else 0.
    `part_mask` uint8 [S, S], 0 or k for PART_NAMES[k - 1]; non-zero exactly where `mask` is.
    `object_ids` uint8 [S, S], 0 or k for the k-th object. `boxes_xyxy` float64 [M, 4], half-open, tight
    around each object's visible pixels, in the order of the ids. `parts` float64 [5, 3]: (x, y,
    visible) of the first object's landmarks in the order of PART_NAMES, the centre of a pixel being at
    (column + 0.5, row + 0.5); a hidden landmark keeps its place, which may lie outside the picture.
    `ground` and `coats` name the textures that were drawn.
    """

    image: npt.NDArray[np.uint8]
    label: int
    boxes_xyxy: npt.NDArray[np.float64]
    mask: npt.NDArray[np.uint8]
    part_mask: npt.NDArray[np.uint8]
    object_ids: npt.NDArray[np.uint8]
    parts: npt.NDArray[np.float64]
    ground: str
    coats: tuple[str, ...]


def paint(scene: Scene, textures: Textures) -> Rendered:
    """Paint a scene and derive its masks and boxes from the same coverage, so that they cannot disagree.

    A pixel belongs to an object where objects cover at least half of it; it goes to the object, and to the
    part of that object, that covers most of it (the lower id where they tie)."""
    cover = _coverage(scene)
    object_ids, part_mask = _ownership(scene, cover)
    boxes = [tight_box(object_ids == k) for k in range(1, len(scene.coats) + 1)]
    return Rendered(
        image=_colour(scene, textures, cover),
        label=scene.label,
        boxes_xyxy=np.array(boxes, np.float64),
        mask=np.where(object_ids > 0, 255, 0).astype(np.uint8),
        part_mask=part_mask,
        object_ids=object_ids,
        parts=_landmarks(scene, object_ids, part_mask),
        ground=scene.ground,
        coats=scene.coats,
    )


def _coverage(scene: Scene) -> Floats:
    """Share of each pixel that each layer covers, [S*S, layers + 1]; a row's sum is 1."""
    size, k = scene.size, SUPERSAMPLING
    numbers = len(scene.layers) + 1
    cell = np.arange(size * size, dtype=np.int32).reshape(size, 1, size, 1) * numbers
    joint = cell + rasterise(scene).reshape(size, k, size, k)
    counts = np.bincount(joint.ravel(), minlength=size * size * numbers).reshape(size * size, numbers)
    return counts.astype(np.float32) / np.float32(k * k)


def _one_hot(ids: list[int], width: int) -> Floats:
    return np.eye(width, dtype=np.float32)[ids]


def _ownership(scene: Scene, cover: Floats) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.uint8]]:
    """Object ids and part ids, each uint8 [S, S]."""
    size, count = scene.size, len(scene.coats)
    owners = [0, *(layer.object_id for layer in scene.layers)]
    objects = (cover @ _one_hot(owners, count + 1))[:, 1:]  # [S*S, objects]
    ids = np.where(objects.sum(axis=1) >= 0.5, 1 + objects.argmax(axis=1), 0).astype(np.uint8)
    part_ids = np.zeros(size * size, np.uint8)
    for object_id in range(1, count + 1):
        parts = [0, *(x.part if x.object_id == object_id else 0 for x in scene.layers)]
        own = ids == object_id
        part_ids[own] = 1 + (cover[own] @ _one_hot(parts, len(PART_NAMES) + 1))[:, 1:].argmax(axis=1)
    return ids.reshape(size, size), part_ids.reshape(size, size)


def _landmarks(
    scene: Scene, object_ids: npt.NDArray[np.uint8], part_mask: npt.NDArray[np.uint8]
) -> npt.NDArray[np.float64]:
    marks = np.zeros((len(PART_NAMES), 3))
    marks[:, :2] = scene.landmarks.round(2)
    for part, (x, y, _) in enumerate(marks.tolist(), start=1):
        if 0 <= x < scene.size and 0 <= y < scene.size:
            seen = object_ids[int(y), int(x)] == 1 and part_mask[int(y), int(x)] == part
            marks[part - 1, 2] = float(seen)
    return marks


def tight_box(mask: npt.NDArray[np.bool_]) -> tuple[int, int, int, int]:
    """The half-open box (x0, y0, x1, y1) around the true pixels of a mask [H, W] that has at least one.

    >>> tight_box(np.array([[False, True, True], [False, False, True]]))
    (1, 0, 3, 2)
    """
    columns, rows = np.flatnonzero(mask.any(axis=0)), np.flatnonzero(mask.any(axis=1))
    return int(columns[0]), int(rows[0]), int(columns[-1]) + 1, int(rows[-1]) + 1


def _colour(scene: Scene, textures: Textures, cover: Floats) -> npt.NDArray[np.uint8]:
    size, light = scene.size, scene.lighting
    gains = np.array([1.0, *(layer.gain for layer in scene.layers)], np.float32)[:, None]
    uses = _one_hot([0, *(layer.material for layer in scene.layers)], len(scene.materials)) * gains
    weights = (cover @ uses).reshape(size, size, -1)
    floor = (cover @ _is_floor(scene)).reshape(size, size, 1)
    shade = _relief(scene, cover)
    shade *= 1 - light.shadow * floor * _shadow(1 - floor[..., 0], light)
    flat = np.array([m.colour if m.kind == "flat" else (0, 0, 0) for m in scene.materials], np.float32)
    tints = np.array([m.tint for m in scene.materials], np.float32)
    picture = weights @ (flat * tints)  # [S, S, 3]
    for number, material in enumerate(scene.materials):
        if material.kind != "flat":
            picture += weights[..., number : number + 1] * _swatch(material, textures, size)
    picture *= shade
    picture *= _light_field(light, size)
    picture = 128 + light.contrast * (picture - 128)
    cv2.GaussianBlur(picture, (0, 0), light.blur, dst=picture)
    noise = np.random.Generator(np.random.Philox(light.noise_seed)).standard_normal(picture.shape, np.float32)
    picture += light.noise * noise
    return np.clip(np.rint(picture), 0, 255).astype(np.uint8)


def _is_floor(scene: Scene) -> Floats:
    """1 for what lies flat and catches shadows (ground and beyond the horizon), [layers + 1, 1]."""
    return np.array([True, *(layer.is_floor for layer in scene.layers)], np.float32)[:, None]


def _swatch(material: Material, textures: Textures, size: int) -> Floats:
    """A texture's window over the whole picture, float32 [S, S, 3]."""
    pyramid = (textures.grounds if material.kind == "ground" else textures.coats)[material.index]
    # The coarsest level whose window still has a pixel for every pixel of the picture.
    level = 0
    while level + 1 < len(pyramid) and material.side * min(pyramid[level + 1].shape[:2]) >= size:
        level += 1
    height, width = pyramid[level].shape[:2]
    side = max(8, round(material.side * min(height, width)))
    x, y = round(material.x * (width - side)), round(material.y * (height - side))
    mode = cv2.INTER_AREA if side > size else cv2.INTER_CUBIC
    window = cv2.resize(pyramid[level][y : y + side, x : x + side], (size, size), interpolation=mode)
    return np.asarray(np.rot90(window, material.turns) * np.array(material.tint, np.float32), np.float32)


def _relief(scene: Scene, cover: Floats) -> Floats:
    """Brightness from rounded shapes: each group of parts is a cushion lit from one side, [S, S, 1]."""
    size, light = scene.size, scene.lighting
    softness = {1: 0.03, 2: 0.02, 3: 0.05, 4: 0.04}  # of head, limbs, trunk, things; shares of the picture
    groups = {HEAD: 1, FRONT_LIMBS: 2, HIND_LIMBS: 2, BODY: 3, TAIL: 3, 0: 4}
    group = [0, *(groups[layer.part] for layer in scene.layers)]
    cushions = (cover @ _one_hot(group, 5)).reshape(size, size, 5)
    shade = np.ones((size, size), np.float32)
    for number, share in softness.items():
        sigma = share * size
        whole = np.ascontiguousarray(cushions[..., number])
        soft = cv2.GaussianBlur(whole, (0, 0), sigma)
        slope = cv2.Sobel(soft, cv2.CV_32F, 1, 0, scale=1 / 8) * np.float32(np.cos(light.direction))
        slope += cv2.Sobel(soft, cv2.CV_32F, 0, 1, scale=1 / 8) * np.float32(np.sin(light.direction))
        shade -= np.float32(1.3 * light.relief * sigma) * slope * whole
    return shade[..., None]


def _shadow(solid: Floats, light: Lighting) -> Floats:
    """Soft shadow of everything that stands, thrown away from the light, [S, S, 1]."""
    size = len(solid)
    far = 0.06 * size
    shift = np.array(((1, 0, -far * np.cos(light.direction)), (0, 1, -far * np.sin(light.direction))))
    thrown = cv2.warpAffine(solid, shift, (size, size))
    return np.asarray(cv2.GaussianBlur(thrown, (0, 0), 0.025 * size)[..., None], np.float32)


def _light_field(light: Lighting, size: int) -> Floats:
    """Brightness falling off across the picture, times the colour of the light, [S, S, 3]."""
    axis = np.linspace(-0.5, 0.5, size, dtype=np.float32)
    across = axis * np.cos(light.direction) + (axis * np.sin(light.direction))[:, None]  # [S, S]
    return (1 + light.slope * across)[..., None] * np.array(light.gains, np.float32)
