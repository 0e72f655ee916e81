"""What a `parts` dataset is asked to be: the validated knobs, the class vocabulary, the split sizes."""

from __future__ import annotations

import math
from dataclasses import dataclass

from wsol.errors import UserError
from wsol.manifest import SPLIT_ROLES

# Id k in a part mask is PART_NAMES[k - 1]; 0 is everything that is not an object.
PART_NAMES = ("body", "head", "front_limbs", "hind_limbs", "tail")
DECIDING_PART = "head"
BODY, HEAD, FRONT_LIMBS, HIND_LIMBS, TAIL = (PART_NAMES.index(name) + 1 for name in PART_NAMES)

# A class is a head pattern in an ordered pair of colours. No colour and no pattern decides alone: among the
# first twelve classes every pattern comes in three pairs, every colour in two, and order matters.
PATTERNS = ("target", "bars", "halves", "spots")
COLOUR_PAIRS: tuple[tuple[str, str], ...] = (
    ("red", "yellow"),
    ("yellow", "blue"),
    ("blue", "red"),
    ("green", "white"),
    ("white", "purple"),
    ("purple", "green"),
)
COLOURS_RGB: dict[str, tuple[int, int, int]] = {
    "red": (205, 35, 35),
    "yellow": (245, 215, 45),
    "blue": (35, 65, 190),
    "green": (25, 140, 65),
    "white": (240, 238, 232),
    "purple": (115, 45, 150),
}
MAX_CLASSES = len(PATTERNS) * len(COLOUR_PAIRS)


@dataclass(frozen=True)
class PartsConfig:
    """The settings of the embedded dataset; a wrong value is a `UserError` that names the setting and its range."""

    seed: int = 0
    """Seed of everything that is drawn."""
    num_classes: int = 12
    """Classes."""
    image_size: int = 64
    """Side of the images in pixels."""
    train_per_class: int = 200
    """Training images a class."""
    val_per_class: int = 20
    """Images a class of train-fullsup."""
    test_per_class: int = 50
    """Test images a class."""
    deciding_part_scale: float = 1.0
    """Factor on the size of the head, the part that decides the class (1: about a quarter of the object's longer side
    and a sixth of its area)."""
    body_cue: float = 0.6
    """Probability that an object wears its class's favourite coat instead of any coat at random."""
    background_correlation: float = 0.0
    """The same for the texture of the ground."""
    num_objects: int = 1
    """Objects of the class in every image, each with its own box."""
    max_distractors: int = 3
    """At most so many things of no class stand behind them."""
    occlusion: float = 0.3
    """Probability that something stands in front of an object."""

    def __post_init__(self) -> None:
        for name, low, high in (
            ("seed", 0, 2**63 - 1),
            ("num_classes", 2, MAX_CLASSES),
            ("image_size", 32, 512),
            ("train_per_class", 1, 1_000_000),
            ("val_per_class", 1, 1_000_000),
            ("test_per_class", 1, 1_000_000),
            ("num_objects", 1, 3),
            ("max_distractors", 0, 8),
        ):
            value = getattr(self, name)
            if not isinstance(value, int) or isinstance(value, bool) or not low <= value <= high:
                raise UserError(f"parts: {name} must be a whole number in {low}..{high}, got {value!r}")
        for name, lowest, highest in (
            ("deciding_part_scale", 0.5, 2.0),
            ("body_cue", 0.0, 1.0),
            ("background_correlation", 0.0, 1.0),
            ("occlusion", 0.0, 1.0),
        ):
            value = getattr(self, name)
            number = isinstance(value, (int, float)) and not isinstance(value, bool)
            if not number or not math.isfinite(value) or not lowest <= value <= highest:
                raise UserError(f"parts: {name} must be a number in {lowest}..{highest}, got {value!r}")
            # 1 and 1.0 are the same dataset, so they must have the same hash.
            object.__setattr__(self, name, float(value))

    @property
    def classes(self) -> tuple[str, ...]:
        """Class names by label, such as `bars_red_yellow`."""
        return tuple("_".join((pattern, *pair)) for pattern, pair in map(class_look, range(self.num_classes)))

    def num_images(self, role: str) -> int:
        """Images of a split; the label of image i is i modulo the number of classes,
        so every class is equal."""
        per_class = dict(zip(SPLIT_ROLES, (self.train_per_class, self.val_per_class, self.test_per_class)))
        return per_class[role] * self.num_classes


def class_look(label: int) -> tuple[str, tuple[str, str]]:
    """The head pattern and the two colours that make a class.

    >>> class_look(5)
    ('bars', ('yellow', 'blue'))
    """
    return PATTERNS[label % len(PATTERNS)], COLOUR_PAIRS[label // len(PATTERNS)]
