"""What a method makes of a batch: images, two labels for each, and the weight of either in the loss."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch
    from torch import Tensor


Size = tuple[int, int]
"""Height and width of images, in pixels."""


@dataclass(frozen=True)
class MixedBatch:
    """A batch to train on; `lam` is the weight of `labels_a`, `lam_b` that of `labels_b`.

    `images` is float [N, 3, H, W]; `labels_a` and `labels_b` are int64 [N]. `lam` is one float in [0, 1] for the
    whole batch or a float32 tensor [N]. `lam_b` None stands for 1 - lam; SnapMix's weights do not sum to 1. Without
    mixing, lam is 1.0 and both labels are the same tensor. `images` may be the very tensor that was passed in when
    nothing was changed; it is never a changed one.
    """

    images: Tensor
    labels_a: Tensor
    labels_b: Tensor
    lam: float | Tensor
    lam_b: Tensor | None = None

    @property
    def rest(self) -> float | Tensor:
        """The weight of `labels_b`."""
        return 1.0 - self.lam if self.lam_b is None else self.lam_b


def unmixed(images: Tensor, labels: Tensor) -> MixedBatch:
    """The batch whose labels stay whole (Cutout, Hide-and-Seek, or a batch left alone)."""
    return MixedBatch(images, labels, labels, 1.0)


def check_batch(images: Tensor, labels: Tensor, drawn_for: int | None = None) -> None:
    """Refuse a batch that the draw was not made for.

    `images` must be floating point [N, 3, H, W], already normalised (a fill of 0 is then the mean colour),
    and `labels` integer [N]; raises TypeError or ValueError otherwise. `drawn_for` is the draw's batch size, where
    the draw depends on it.
    """
    import torch

    for name, value, wanted in (
        ("images", images, "floating point [N, 3, H, W]"),
        ("labels", labels, "integer class indices [N]"),
    ):
        if not isinstance(value, torch.Tensor):
            raise TypeError(f"`{name}` must be a tensor, {wanted}, got {type(value).__name__}")
    if not images.is_floating_point():
        raise TypeError(f"`images` must be floating point and normalised, got {images.dtype}")
    if images.ndim != 4:
        raise ValueError(f"`images` must have shape [N, 3, H, W], got {tuple(images.shape)}")
    if labels.is_floating_point() or labels.is_complex() or labels.dtype == torch.bool:
        raise TypeError(f"`labels` must be integer class indices, got {labels.dtype}")
    if labels.shape != images.shape[:1]:
        raise ValueError(f"`labels` must have shape [{images.shape[0]}], got {tuple(labels.shape)}")
    if drawn_for is not None and images.shape[0] != drawn_for:
        raise ValueError(f"the draw was made for {drawn_for} images, got {images.shape[0]}")


def soft_targets(mixed: MixedBatch, num_classes: int) -> Tensor:
    """The label distributions of a mixed batch: float32 [N, num_classes], each row summing to lam + lam_b."""
    import torch
    from torch.nn.functional import one_hot

    first = one_hot(mixed.labels_a, num_classes).to(torch.float32)
    second = one_hot(mixed.labels_b, num_classes).to(torch.float32)
    lam, rest = (w if isinstance(w, float) else w[:, None] for w in (mixed.lam, mixed.rest))  # [N, 1]
    return first * lam + second * rest


def mixed_cross_entropy(logits: Tensor, mixed: MixedBatch) -> Tensor:
    """Mean cross entropy of `logits` [N, K] against the mixed labels (CutMix, section 3.1; Mixup, section 2).

    Equal to cross entropy with `soft_targets`, without building them: lam * CE(labels_a) + lam_b * CE(labels_b).
    """
    from torch.nn.functional import cross_entropy

    if isinstance(mixed.lam, float):
        loss = cross_entropy(logits, mixed.labels_a)
        if mixed.lam == 1.0:
            return loss
        return mixed.lam * loss + (1.0 - mixed.lam) * cross_entropy(logits, mixed.labels_b)
    first = cross_entropy(logits, mixed.labels_a, reduction="none")  # [N]
    second = cross_entropy(logits, mixed.labels_b, reduction="none")  # [N]
    return (mixed.lam * first + mixed.rest * second).mean()


def hidden(images: Tensor, masks: Tensor) -> Tensor:
    """A copy of `images` [N, 3, H, W] with the pixels under `masks` [N, 1, H, W] at 0, the mean colour."""
    return images.clone().masked_fill_(masks, 0.0)  # clone keeps the memory format, masked_fill does not


def box_masks(boxes_xyxy: Tensor, size_hw: torch.Size | Size) -> Tensor:
    """Boolean masks [N, 1, H, W] of half-open boxes x0, y0, x1, y1 ([N, 4], integer pixels)."""
    import torch

    height, width = size_hw
    x0, y0, x1, y1 = boxes_xyxy[:, :, None].unbind(1)  # each [N, 1]
    columns = torch.arange(width, device=boxes_xyxy.device)
    rows = torch.arange(height, device=boxes_xyxy.device)
    inside_x = (columns >= x0) & (columns < x1)  # [N, W]
    inside_y = (rows >= y0) & (rows < y1)  # [N, H]
    return (inside_y[:, :, None] & inside_x[:, None, :])[:, None]  # [N, 1, H, W]
