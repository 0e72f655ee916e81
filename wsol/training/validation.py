"""Classification accuracy on images seen as the evaluation sees them; never on the test split."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch.nn.functional import cross_entropy

from wsol.models import evaluation_mode

if TYPE_CHECKING:
    from wsol.models import Classifier


@dataclass(frozen=True)
class Accuracy:
    """Shares in percent over `images`; `top5` is None with fewer than 6 classes, where it would say nothing."""

    images: int
    loss: float
    top1: float
    top5: float | None

    def to_dict(self) -> dict[str, Any]:
        """Plain values; top5 absent where it is undefined."""
        head = {"images": self.images, "loss": self.loss, "top1": self.top1}
        return head if self.top5 is None else {**head, "top5": self.top5}


def count_correct(
    model: Classifier,
    batches: Iterable[tuple[torch.Tensor, torch.Tensor]],
    prepare: Callable[[torch.Tensor], torch.Tensor],
    autocast: Callable[[], Any],
    device: torch.device,
) -> torch.Tensor:
    """Totals over batches of (uint8 images, labels): [loss, top-1 hits, top-5 hits, images], float64 on the CPU.

    `prepare` makes the network's input of uint8 images on the device. The network's mode is restored.
    """
    totals = torch.zeros(4, device=device)
    with torch.inference_mode(), evaluation_mode(model):
        for images, labels in batches:
            labels = labels.to(device, non_blocking=True)
            with autocast():
                logits = model(prepare(images.to(device, non_blocking=True))).logits.float()
            loss = cross_entropy(logits, labels, reduction="sum")
            best = logits.topk(min(5, logits.shape[1])).indices  # [n, 5]
            hits = best == labels[:, None]
            top1, top5 = hits[:, 0].sum(), hits.any(1).sum()
            totals += torch.stack([loss, top1, top5, torch.ones_like(loss) * len(labels)])
    return totals.cpu().double()


def accuracy(totals: torch.Tensor, num_classes: int) -> Accuracy | None:
    """Percentages from `count_correct`'s totals; None when nothing was counted."""
    loss, top1, top5, images = totals.tolist()
    if images == 0:
        return None
    return Accuracy(
        images=int(images),
        loss=loss / images,
        top1=100 * top1 / images,
        top5=100 * top5 / images if num_classes > 5 else None,
    )
