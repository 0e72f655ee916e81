"""What `python -m eval.localize` can be asked, as one typed config. Importable without torch."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import tyro

from wsol.errors import UserError
from wsol.models.pixels import Interpolation


@dataclass(frozen=True)
class LocalizeConfig:
    """Score localization under every protocol that applies, in one pass over the images.

    With no arguments: the newest finished run under runs/, its dataset's test split. Results go to RUN/eval/ (or
    --out): results.json, per-image records, raw maps at native resolution, pictures.
    """

    # --- what is scored
    run: Annotated[Path | None, tyro.conf.Positional] = None
    """A run directory made by train_cutmix.py (default: the newest finished one)."""

    checkpoint: Path | None = None
    """Weights trained elsewhere (.pth, .pt, .safetensors of a state_dict), with --arch; or hf-hub:OWNER/NAME in timm's
    form on the Hugging Face hub, which says its network. Needs --dataset."""
    arch: str | None = None
    """Network of --checkpoint: a name of docs/networks.md (resnet50, vgg16_gap, mobilenet_v2 ...), or timm:NAME."""
    size: Annotated[int | None, tyro.conf.arg(aliases=["--input-size"])] = None
    """Side of the network's input for --checkpoint and --map-function (default: that of the network's own weights)."""
    mean: tuple[float, float, float] | None = None
    """Mean of the input's red, green and blue, of pixels in [0, 1], for --checkpoint (default: the network's own)."""
    std: tuple[float, float, float] | None = None
    """Standard deviation of the same."""
    interpolation: Interpolation | None = None
    """How images are resized for --checkpoint (default: as for the network's own weights)."""
    random_weights: bool = False
    """Score the network of RUN or --checkpoint with random weights instead (from --seed), a control: to EVAL-random."""
    weights_key: str | None = None
    """Which of several sets of weights in --checkpoint is taken, such as state_dict_ema."""
    class_map: Path | None = None
    """File that names the network's outputs in order, where they are not the dataset's classes:
    LOC_synset_mapping.txt, a name a line, or JSON {"0": name, ...}. ImageNet's 1,000 classes need none."""
    ignore_weights: tuple[str, ...] = ()
    """Beginnings of names in --checkpoint that have no part in the network's logits."""
    output_stride: int | None = None
    """Input pixels per map pixel of --checkpoint, where it was trained with another than the network's own."""
    score_maps: Path | None = None
    """Ready-made maps instead of a network: a folder of IMAGE_ID.npy, an .npz, an .h5, COCO results with masks (run
    lengths), or raw maps that this command kept earlier."""
    map_values: Literal["normalized", "raw"] = "normalized"
    """Whether --score-maps hold values already in [0, 1] or raw activations."""
    predictions: Path | None = None
    """What a network predicts beside --score-maps, for Top-1 Loc: a CSV of 'image_id,rank' or of scores by class."""
    map_size: Literal["resize", "refuse"] = "resize"
    """What to do with a map whose size is not the frame's: resize and count it, or refuse."""
    map_function: str | None = None
    """A function of yours that makes the maps, module:function: of images float [N, 3, S, S] and class numbers [N] (or
    of images alone) to maps [N, h, w], or to (maps, logits). --size, --mean, --std and --interpolation say its input
    (default: ImageNet's at 224)."""
    boxes: Path | None = None
    """Ready-made boxes instead of maps: COCO results JSON, or a CSV of image_id, x0, y0, x1, y1 and perhaps score and
    class, in pixels of the images."""
    control: Literal["center_gaussian", "full_image"] | None = None
    """Score only a control that needs no model (and no images)."""

    # --- how a network's maps are made
    map_method: tuple[str, ...] = ("cam",)
    """How a network's score maps are made: cam, hirescam, gradcam, gradcam++, xgradcam, layercam, elementwise,
    positivecam, ablationcam, scorecam (needs --limit), or, knowing no class, rollout, principal and eigencam (several
    are made in the same passes)."""
    map_layer: tuple[str, ...] = ("final",)
    """Where they read the network: its final map, or modules by name, such as layer3. Several: every method at each."""

    # --- on which images
    dataset: Annotated[str | None, tyro.conf.arg(aliases=["--manifest"])] = None
    """A prepared dataset by name, or a manifest folder (default: the run's own)."""
    data_root: Path | None = None
    """Where the dataset's files are, if not where they were when it was prepared."""
    split: str = "test"
    """The split to score: train-weaksup, train-fullsup or test."""
    limit: int | None = None
    """A smoke run: score only so many images of each split, spread over it; results go to a folder of their own."""
    threshold_split: str | None = "train-fullsup"
    """The split on which transferred thresholds are chosen; None leaves those protocols out."""
    threshold_maps: Path | None = None
    """Score maps of the threshold split, where --score-maps does not hold them too."""

    # --- under which protocols
    protocols: tuple[str, ...] = ()
    """Names of protocols, variants as NAME@max, NAME@pas, NAME@ivr, NAME@first_gt, NAME@aligned (default: all published
    ones)."""
    protocol_file: Path | None = None
    """Your own protocols in YAML, scored beside the published ones."""
    normalizations: tuple[Literal["minmax", "max", "pas", "ivr"], ...] = ()
    """Further normalisations to score every protocol under."""
    first_gt: bool = False
    """Also score every protocol with only the first ground-truth box of each image."""
    aligned: bool = False
    """Also score every protocol with each cell of a map drawn at the centre of what it sees (NAME@aligned)."""
    ivr_fraction: float | None = None
    """IVR's fraction instead of the released 0.45; choose it on train-fullsup."""

    # --- intervals
    bootstrap: int = 1000
    """Bootstrap resamples for the 95 % intervals; 0 for none."""
    seed: int = 0
    """Seed of the bootstrap and of the choice of pictures."""

    # --- what is written
    out: Path | None = None
    """Where results go (default: RUN/eval; beside --score-maps; else runs/eval-DATASET)."""
    pictures: int = 24
    """How many images to draw with map and boxes; 0 for none."""
    keep_maps: bool = True
    """Keep raw maps at native resolution, so that another protocol needs no forward pass."""

    # --- the machine
    device: str = "auto"
    """auto, cpu, cuda, cuda:1, ..."""
    precision: Literal["fp32", "bf16", "fp16"] = "fp32"
    """Arithmetic of the network's forward pass."""
    batch_size: int | None = None
    """Images per forward pass, rounded down to a divisor of 512 (default: 256 on a GPU, 16 on a CPU)."""
    workers: int | None = None
    """Processes that decode images ahead (default: one per core, at most 16, beside a GPU; none on a CPU)."""
    threads: int | None = None
    """Threads that score maps (default: one per core)."""


def check_counts(config: LocalizeConfig) -> None:
    """Refuse numbers outside their range: `UserError` naming the option."""
    for name, least in (
        *(("bootstrap", 0), ("pictures", 0), ("batch_size", 1), ("workers", 0), ("threads", 1), ("limit", 1)),
        *(("seed", 0), ("size", 1)),
    ):
        value = getattr(config, name)
        if value is not None and value < least:
            raise UserError(f"--{name.replace('_', '-')} must be at least {least}, got {value}")
    if config.seed >= 1 << 63:
        raise UserError(f"--seed must be below 2^63, got {config.seed}")
    if config.ivr_fraction is not None and not 0 <= config.ivr_fraction < 1:
        raise UserError(f"--ivr-fraction must be a share in [0, 1), got {config.ivr_fraction}")
