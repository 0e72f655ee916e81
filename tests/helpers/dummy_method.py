"""A training method from outside the package, run as a program: `python -m tests.helpers.dummy_method FOLDER STEPS`.

It has its own head (two linear layers), its own loss (both must be right) and its own map (the first layer's alone).
The program registers it, trains in FOLDER/run with the manifest in FOLDER/manifest, and kills itself after STEPS
steps (0: never), or goes on where the run was killed.
"""

from __future__ import annotations

import os
import signal
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from wsol.methods import METHODS, Method, register, setting

if TYPE_CHECKING:
    from torch import Tensor

    from wsol.methods.batch import MixedBatch
    from wsol.models import Classifier
    from wsol.models.head import Outputs


@dataclass(frozen=True)
class Twin(Method):
    """Two heads over one map."""

    name: ClassVar[str] = "twin"
    share: float | None = setting(None, "Weight of the second head's loss.", required=True)

    def extend(self, model: Classifier) -> None:
        import torch

        from wsol.models.head import Outputs, PooledLinear

        class TwinHead(torch.nn.Module):
            def __init__(self, channels: int, classes: int) -> None:
                super().__init__()
                self.a, self.b = PooledLinear(channels, classes), PooledLinear(channels, classes)

            def forward(self, features: Tensor, class_ids: Tensor | None = None) -> Outputs:
                a, b = self.a(features).logits, self.b(features).logits
                return Outputs(a, features, {"second": b})

        model.head = TwinHead(model.head.in_features, model.spec.num_classes)

    def loss(self, outputs: Outputs, mixed: MixedBatch) -> Tensor:
        from torch.nn.functional import cross_entropy

        second = outputs.extra["second"].float()
        return cross_entropy(outputs.logits, mixed.labels_a) + self.share * cross_entropy(
            second, mixed.labels_a
        )

    def maps(self, model: Classifier, outputs: Outputs, class_ids: Tensor) -> Tensor:
        import torch

        rows = model.head.a.weight[class_ids]  # [N, C]
        return torch.einsum("nchw,nc->nhw", outputs.features.float(), rows).square()


def arguments(folder: Path, name: str = "run") -> list[str]:
    """The command line of the training."""
    plain = (
        "--size 32 --epochs 3 --batch-size 8 --lr 0.01 --device cpu --precision fp32 --workers 0 --cache off"
    )
    own = "--method twin --twin-share 0.5 --checkpoint-every-steps 2"
    return [*plain.split(), *own.split(), "--dataset", str(folder / "manifest"), "--out", str(folder / name)]


def train(argv: list[str], kill_after: int = 0) -> None:
    """The training command in this process, killed after some steps."""
    from wsol.training.config import parse_config
    from wsol.training.loop import Trainer
    from wsol.training.session import train as run

    step, done = Trainer.step, [0]

    def counted(trainer: Trainer, batches: object) -> None:
        if kill_after and done[0] == kill_after:
            os.kill(os.getpid(), signal.SIGKILL)
        done[0] += 1
        step(trainer, batches)  # type: ignore[arg-type]

    Trainer.step = counted  # type: ignore[method-assign]
    run(parse_config(argv), argv)


if __name__ == "__main__":
    register(Twin)
    assert "twin" in METHODS
    folder, steps = Path(sys.argv[1]), int(sys.argv[2])
    if steps:
        train(arguments(folder), steps)
    train([*arguments(folder), "--resume"])
    train(arguments(folder, "undisturbed"))
    from eval.compare import main as compare
    from eval.localize import main as localize

    for name in ("run", "undisturbed"):
        assert localize([str(folder / name), "--bootstrap", "50", "--pictures", "0", "--device", "cpu"]) == 0
    runs = [str(folder / name) for name in ("run", "undisturbed")]
    sys.exit(compare([*runs, "--out", str(folder / "comparison")]))
