"""What a training method is: a frozen dataclass of settings with up to five hooks.

A new method is one file with one such class, and one line in the registry of `wsol.methods`. Its flags, its checks,
its entry in run.yaml and the way a saved run is rebuilt all come from the dataclass.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from typing import TYPE_CHECKING, Any, ClassVar

from wsol.errors import UserError
from wsol.methods.batch import MixedBatch, Size, check_batch, mixed_cross_entropy, unmixed
from wsol.methods.rng import numpy_generator

if TYPE_CHECKING:
    from torch import Generator, Tensor

    from wsol.models import Classifier
    from wsol.models.head import Outputs
    from wsol.training.look import Look

Check = Callable[[str, str, Any], None]
"""(method, setting, value) -> nothing, or a `UserError`; see `wsol.methods.rng`."""


def setting(default: Any, help: str, check: Check | None = None, *, required: bool = False) -> Any:
    """A dataclass field that is also a flag `--METHOD-FIELD`.

    `help` is the flag's text. `check` refuses illegal values; None, where the type allows it, is not checked. With
    `required` the default must be None, and a run without a value is refused: for what a method's source leaves open.
    """
    return field(default=default, metadata={"help": help, "check": check, "required": required})


@dataclass(frozen=True)
class Method:
    """Plain training; every hook may be overridden.

    Args of the hooks: `images` float [N, 3, H, W], normalised; `labels` int64 [N]; `model` the classifier that is
    trained, not wrapped for several processes or compiled. `draw` is what `draw` returned, meant for this method
    alone.
    """

    name: ClassVar[str]
    can_compile: ClassVar[bool] = True
    """Whether torch.compile takes the network as `extend` leaves it."""

    def __post_init__(self) -> None:
        for entry in fields(self):
            value, about = getattr(self, entry.name), entry.metadata
            if value is None and about.get("required"):
                flag = f"--{self.name}-{entry.name}".replace("_", "-")
                raise UserError(f"{self.name} needs {flag}, which its source does not state: {about['help']}")
            if value is not None and about.get("check"):
                about["check"](self.name, entry.name, value)

    def draw(self, batch_size: int, size_hw: Size, generator: Generator, progress: float = 0.0) -> Any:
        """Every random choice for one batch, from `generator` alone. `progress` is the share of the run's steps that
        are done, in [0, 1). The base draws one number, as every method does, so that streams stay comparable."""
        numpy_generator(generator)
        return None

    def apply(self, images: Tensor, labels: Tensor, draw: Any, look: Look | None = None) -> MixedBatch:
        """1. The batch to train on; makes no random choice and never changes its inputs. `look` shows what the
        network itself sees in the images; training always gives it."""
        check_batch(images, labels)
        return unmixed(images, labels)

    def extend(self, model: Classifier) -> None:
        """2. Change the network in place, before weights are loaded: in training, and again when the run is loaded.
        Raises `UserError` for a network that the method cannot work on. A replaced `model.head` must use all its
        parameters in every pass."""

    def layers(self, model: Classifier, draw: Any) -> Mapping[str, Callable[[Tensor], Tensor]]:
        """2b. For this step: names of modules of the backbone (`layer3`), and what to make of each one's output."""
        return {}

    def loss(self, outputs: Outputs, mixed: MixedBatch) -> Tensor:
        """3. The scalar to minimize; `outputs` of the training pass, logits in float32."""
        return mixed_cross_entropy(outputs.logits, mixed)

    def maps(self, model: Classifier, outputs: Outputs, class_ids: Tensor) -> Tensor:
        """4. The method's own raw score maps [N, h, w] of `class_ids` [N], from an evaluation pass that was given
        these ids. Called only where a method overrides it; otherwise the map method of the evaluation is used."""
        raise NotImplementedError

    @property
    def has_own_maps(self) -> bool:
        """Whether `maps` is overridden."""
        return type(self).maps is not Method.maps

    @property
    def changes_batches(self) -> bool:
        """Whether it can be left out in some steps: it changes batches or layers' outputs."""
        return type(self).apply is not Method.apply or self.changes_layers

    @property
    def changes_layers(self) -> bool:
        """Whether `layers` is overridden."""
        return type(self).layers is not Method.layers

    @property
    def shapes_evaluation(self) -> bool:
        """Whether an evaluation must know the method: it changes the network or has its own maps."""
        return self.has_own_maps or type(self).extend is not Method.extend

    def to_dict(self) -> dict[str, Any]:
        """The entry of run.yaml: `{"name": ..., <field>: <value>, ...}`."""
        return {"name": self.name} | {f.name: getattr(self, f.name) for f in fields(self)}
