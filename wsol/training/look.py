"""What a method may see of the network while it makes a batch; looking changes nothing."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Any

import torch
from torch.nn.functional import cross_entropy

from wsol.cams.cam import class_activation_maps
from wsol.models import evaluation_mode

if TYPE_CHECKING:
    from torch import Tensor

    from wsol.models import Classifier
    from wsol.models.head import Outputs


class Look:
    """The network as it is now, in evaluation mode: no statistics, gradients or random states of it change.

    `model` is the classifier itself, not wrapped for several processes or compiled; `autocast` gives the context that
    sets the precision of a pass.
    """

    def __init__(self, model: Classifier, autocast: Callable[[], AbstractContextManager[Any]]) -> None:
        self._model = model
        self._autocast = autocast

    def outputs(self, images: Tensor, class_ids: Tensor | None = None) -> Outputs:
        """Logits and final map of images [N, 3, H, W], without gradients."""
        with evaluation_mode(self._model), torch.no_grad(), self._autocast():
            return self._model(images, class_ids)

    def cams(self, images: Tensor, class_ids: Tensor) -> Tensor:
        """Raw class activation maps [N, h, w] of one class an image (`class_ids` [N]), float32.

        Only for a network with the plain head, average and one linear layer.
        """
        features = self.outputs(images).features
        with torch.no_grad():
            return class_activation_maps(features, self._model.head.weight, class_ids)

    def head_weight(self) -> Tensor:
        """The plain head's weight [K, C], detached."""
        return self._model.head.weight.detach()

    def input_gradient(self, images: Tensor, labels: Tensor) -> Tensor:
        """Gradient of the summed cross entropy with respect to the images, [N, 3, H, W]."""
        watched = images.detach().clone().requires_grad_()
        with evaluation_mode(self._model), torch.enable_grad():
            with self._autocast():
                logits = self._model(watched).logits.float()
            loss = cross_entropy(logits, labels, reduction="sum")
            return torch.autograd.grad(loss, watched)[0]
