"""Map methods: cases by hand, closed forms against autograd through the network, torch-cam and timm as oracles."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from tests.helpers.oracles import oracle
from wsol.cams.extract import extract_maps, head_gradient
from wsol.cams.map_method import LayerMap, MapMethod
from wsol.cams.registry import MAP_METHODS, layer_maps
from wsol.errors import UserError
from wsol.models import Classifier, ClassifierSpec, Parts, build_classifier
from wsol.models.head import Outputs, PooledLinear
from wsol.models.networks import PATCH_TOKENS

# One image, two channels, 1 x 2 cells; class 0 has weights (2, -1) and bias 1, class 1 others.
FEATURES = torch.tensor([[[[1.0, 3.0]], [[2.0, 0.0]]]])
HEAD = PooledLinear(2, 2)
with torch.no_grad():
    HEAD.weight.copy_(torch.tensor([[2.0, -1.0], [5.0, 5.0]]))
    HEAD.bias.copy_(torch.tensor([1.0, 0.0]))
# g = w / 2 cells = (1, -0.5); channel means m = (2, 1); z = 2*2 - 1*1 + 1 = 4
BY_HAND = {
    "cam": [2 * 1 - 2, 2 * 3 - 0],
    "hirescam": [0, 3],
    "gradcam": [0, 3],
    "gradcam++": [(2 / (2 + 1 * 4)) * 1, (2 / (2 + 1 * 4)) * 3],  # channel 1: ReLU(g) = 0
    "xgradcam": [0, 3],
    "layercam": [1, 3],
    "elementwise": [1, 3],
    "positivecam": [2, 6],
    "ablationcam": [max(0, 1 * 1 - 0.25 * 2), 1 * 3],  # weights w m / z = (1, -0.25)
}


def made(name: str, features: Tensor, head: nn.Module, ids: Tensor) -> Tensor:
    formula = MAP_METHODS[name].formula
    assert formula is not None
    with torch.no_grad():
        return formula(features, head_gradient(head, features, ids), head, ids)


@pytest.mark.parametrize("name", [n for n, m in MAP_METHODS.items() if m.formula and not m.class_agnostic])
def test_by_hand(name: str) -> None:
    found = made(name, FEATURES, HEAD, torch.tensor([0]))
    torch.testing.assert_close(found, torch.tensor([[BY_HAND[name]]], dtype=torch.float32))


def test_eigencam_is_the_first_principal_component_whatever_the_class() -> None:
    features = torch.rand(3, 5, 4, 4, generator=torch.Generator().manual_seed(0))
    for shape in ((3, 5, 4, 4), (3, 20, 2, 2)):  # fewer channels than cells, and more
        some = features.reshape(shape)
        found = made("eigencam", some, PooledLinear(shape[1], 2), torch.tensor([0, 1, 0]))
        _, s, vt = torch.linalg.svd(some.flatten(2), full_matrices=False)
        torch.testing.assert_close(found.flatten(1).abs(), (s[:, :1] * vt[:, 0]).abs(), rtol=1e-4, atol=1e-5)
        assert (found.sum((1, 2)) > 0).all()
    assert MAP_METHODS["eigencam"].class_agnostic


def test_principal_is_the_first_component_of_centred_features_by_an_svd() -> None:
    features = torch.rand(3, 5, 4, 4, generator=torch.Generator().manual_seed(0))
    features[:, :, 1, 2] += 3.0  # a cell that stands out, with the background of the others
    for sign in (1, -1):
        found = made("principal", sign * features, PooledLinear(5, 2), torch.tensor([0, 1, 0]))
        cells = (features - features.mean((2, 3), keepdim=True)).flatten(2).mT  # [N, A, C]
        u, s, _ = torch.linalg.svd(cells, full_matrices=False)
        torch.testing.assert_close(found.flatten(1).abs(), (u[..., 0] * s[:, :1]).abs(), rtol=1e-4, atol=1e-5)
        assert found.flatten(1).argmax(1).tolist() == [6, 6, 6]
        torch.testing.assert_close(found.mean((1, 2)), torch.zeros(3), atol=1e-5, rtol=0)


class Logits(nn.Module):
    """A classifier that gives its logits alone, as other packages expect."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, images: Tensor) -> Tensor:
        found: Tensor = self.model(images).logits
        return found


def small_classifier() -> Classifier:
    """Two convolutions, the first of stride 3, so that enlarging its map by 3 keeps the values of its cells."""
    torch.manual_seed(0)
    backbone = nn.Sequential(nn.Conv2d(3, 7, 3, 3), nn.Sequential(nn.ReLU(), nn.Conv2d(7, 5, 3, padding=1)))
    return Classifier(ClassifierSpec("resnet_small", 4, 8, 33), Parts(backbone, PooledLinear(5, 4), 4)).eval()


@pytest.mark.parametrize(("layer", "chunk"), [("0", 64), ("0", 3), ("final", 64)])
def test_score_cam_equals_torchcam(layer: str, chunk: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """torch-cam scales each channel before it enlarges it; where cells keep their values, that is the same."""
    methods = oracle("torchcam", "torchcam.methods")
    monkeypatch.setattr("wsol.cams.score_cam.AT_ONCE", chunk)
    model = small_classifier()
    nn.init.normal_(model.head.weight, generator=torch.Generator().manual_seed(1))
    logits = Logits(model)
    images, ids = torch.randn(2, 3, 33, 33, generator=torch.Generator().manual_seed(0)), [3, 1]
    target = "model.backbone.0" if layer == "0" else "model.backbone"
    with methods.ScoreCAM(logits, target) as extractor, torch.no_grad():
        (expected,) = extractor(ids, logits(images), normalized=False)
    found = extract_maps(model.train(), images, torch.tensor(ids), layer_maps(["scorecam"], [layer])).maps[0]
    assert model.training
    scale = float(expected.abs().max())
    assert scale > 0
    torch.testing.assert_close(found, expected.relu(), rtol=1e-4, atol=1e-5 * scale)


def test_score_cam_of_a_constant_channel_and_of_no_image() -> None:
    model = small_classifier()
    nn.init.zeros_(model.backbone[0].weight[2])  # type: ignore[index, arg-type]
    wanted = layer_maps(["scorecam"], ["0"])
    images = torch.randn(1, 3, 33, 33, generator=torch.Generator().manual_seed(0))
    assert torch.isfinite(extract_maps(model, images, torch.tensor([0]), wanted).maps[0]).all()
    assert extract_maps(model, images[:0], torch.tensor([], dtype=torch.int64), wanted).maps[0].shape == (
        0,
        11,
        11,
    )


@pytest.mark.parametrize("arch", ["deit_tiny", "dinov2_small"])
def test_rollout_equals_its_formula_on_timms_own_attention(arch: str) -> None:
    timm = oracle("timm")
    side = {"deit_tiny": 48, "dinov2_small": 42}[arch]
    model = build_classifier(ClassifierSpec(arch, 3, None, side), seed=0).eval()
    plain = timm.create_model(PATCH_TOKENS[arch], num_classes=0, img_size=side).eval()
    plain.load_state_dict(model.backbone.body.state_dict())  # type: ignore[union-attr]
    attentions: list[Tensor] = []
    for block in plain.blocks:
        block.attn.fused_attn = False
        block.attn.attn_drop.register_forward_hook(lambda module, inputs, output: attentions.append(output))
    images = torch.rand((2, 3, side, side), generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        plain(images)
    rollout = torch.eye(10)
    for attention in attentions:
        rollout = (0.5 * attention.mean(1) + 0.5 * torch.eye(10)) @ rollout
    found = extract_maps(model, images, torch.tensor([2, 0]), layer_maps(["rollout"], ["final"]))
    torch.testing.assert_close(found.maps[0], rollout[:, 0, 1:].reshape(2, 3, 3))
    assert not any(m._forward_pre_hooks for m in model.modules())


def network(arch: str, size: int, stride: int) -> nn.Module:
    model = build_classifier(ClassifierSpec(arch, 6, stride, size), seed=3)
    generator = torch.Generator().manual_seed(1)
    nn.init.normal_(model.head.weight, generator=generator)
    nn.init.normal_(model.head.bias, generator=generator)
    return model.eval()


NETWORKS = [
    pytest.param("resnet18", 96, 32, "layer4", id="resnet18"),
    pytest.param("vgg16_gap", 32, 8, "relu", id="vgg16_gap"),
    pytest.param("resnet_small", 48, 8, "layer3", id="resnet_small"),
]


@pytest.mark.parametrize(("arch", "size", "stride", "last"), NETWORKS)
def test_closed_forms_equal_autograd(arch: str, size: int, stride: int, last: str) -> None:
    """The last module's output is the final map; asked for by name, its gradient comes from a backward pass."""
    model = network(arch, size, stride)
    images = torch.randn(3, 3, size, size, generator=torch.Generator().manual_seed(0))
    ids = torch.tensor([5, 0, 2])
    names = [n for n, m in MAP_METHODS.items() if m.formula and not m.final_only]
    closed = extract_maps(model, images, ids, layer_maps(names, ["final"]))
    autograd = extract_maps(model, images, ids, layer_maps(names, [last]))
    torch.testing.assert_close(closed.logits, autograd.logits)
    for name, a, b in zip(names, closed.maps, autograd.maps):
        scale = float(b.abs().max())
        assert scale > 0, name
        torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-5 * scale, msg=lambda m, n=name: f"{n}: {m}")


class NormedHead(nn.Module):
    """A head that is not linear in the pooled features."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.LayerNorm(4), nn.Linear(4, 2))

    def forward(self, features: Tensor, class_ids: Tensor | None = None) -> Outputs:
        return Outputs(self.layers(features.mean((2, 3))), features, {})


def test_a_head_of_its_own_is_differentiated() -> None:
    torch.manual_seed(0)
    features, ids, head = torch.rand(2, 4, 3, 3), torch.tensor([1, 0]), NormedHead()
    leaf = features.clone().requires_grad_()
    z = head(leaf).logits
    (expected,) = torch.autograd.grad(z[0, 1] + z[1, 0], leaf)
    torch.testing.assert_close(head_gradient(head, features, ids), expected)
    with pytest.raises(UserError, match="NormedHead head has no class activation map"):
        made("cam", features, head, ids)


def test_ablation_cam_leaves_each_channel_out() -> None:
    """The definition, written out on the network's own head; a head that is not linear is asked channel by channel."""
    torch.manual_seed(0)
    features, ids = torch.rand(2, 4, 3, 3), torch.tensor([1, 0])
    for head in (PooledLinear(4, 2), NormedHead()):
        with torch.no_grad():
            z = head(features).logits[[0, 1], ids]
            weights = torch.zeros(2, 4)
            for c in range(4):
                less = features.clone()
                less[:, c] = 0
                weights[:, c] = (z - head(less).logits[[0, 1], ids]) / z
            expected = (weights[:, :, None, None] * features).sum(1).relu()
        torch.testing.assert_close(made("ablationcam", features, head, ids), expected)


@pytest.mark.parametrize("layer", ["layer2", "layer3"])
@pytest.mark.parametrize("name", ["hirescam", "gradcam", "gradcam++", "xgradcam", "layercam", "elementwise"])
def test_deeper_layers_equal_the_formula_on_plain_autograd(name: str, layer: str) -> None:
    model = network("resnet18", 64, 32)
    images, ids = torch.randn(2, 3, 64, 64, generator=torch.Generator().manual_seed(0)), torch.tensor([4, 1])
    found = extract_maps(model, images, ids, layer_maps([name], [layer])).maps[0]
    b = model.backbone
    x = b.layer1(b.maxpool(b.relu(b.bn1(b.conv1(images)))))
    x = b.layer2(x) if layer == "layer2" else b.layer3(b.layer2(x))
    x = x.detach().requires_grad_()
    rest = b.layer4(b.layer3(x)) if layer == "layer2" else b.layer4(x)
    z = model.head(rest).logits
    (gradient,) = torch.autograd.grad(z[0, 4] + z[1, 1], x)
    formula = MAP_METHODS[name].formula
    assert formula is not None
    expected = formula(x.detach(), gradient, model.head, ids)
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5 * float(expected.abs().max()))


# torch-cam's Grad-CAM++ never divides by its denominator (the quotient is lost in a copy), so it is no oracle.
@pytest.mark.parametrize(
    ("name", "theirs"), [("gradcam", "GradCAM"), ("xgradcam", "XGradCAM"), ("layercam", "LayerCAM")]
)
def test_equals_torchcam(name: str, theirs: str) -> None:
    methods = oracle("torchcam", "torchcam.methods")
    model = network("resnet18", 64, 32)
    images, ids = torch.randn(2, 3, 64, 64, generator=torch.Generator().manual_seed(0)), [4, 1]
    for layer in ("layer4", "layer3"):
        with getattr(methods, theirs)(model, f"backbone.{layer}") as extractor:
            (expected,) = extractor(ids, model(images.clone().requires_grad_()).logits, normalized=False)
        found = extract_maps(model, images, torch.tensor(ids), layer_maps([name], [layer])).maps[0]
        scale = float(expected.abs().max())
        torch.testing.assert_close(found, expected.relu(), rtol=1e-5, atol=1e-5 * scale)


@pytest.mark.parametrize("layer", ["layer4", "layer3"])
@pytest.mark.parametrize(
    ("name", "theirs", "tolerance"),
    [
        ("gradcam", "GradCAM", 1e-5),
        ("hirescam", "HiResCAM", 1e-5),
        ("xgradcam", "XGradCAM", 1e-5),
        ("layercam", "LayerCAM", 1e-5),
        ("elementwise", "GradCAMElementWise", 1e-5),
        pytest.param("gradcam++", "GradCAMPlusPlus", 2e-3, id="its Grad-CAM++ adds 1e-6 to the denominator"),
        pytest.param("principal", "EigenCAM", 1e-4, id="its Eigen-CAM centres the features, of either sign"),
    ],
)
def test_equals_pytorch_grad_cam(name: str, theirs: str, tolerance: float, layer: str) -> None:
    package = oracle("pytorch_grad_cam")
    target = oracle("pytorch_grad_cam", "pytorch_grad_cam.utils.model_targets").ClassifierOutputTarget
    model = network("resnet18", 64, 32)
    images, ids = torch.randn(2, 3, 64, 64, generator=torch.Generator().manual_seed(0)), [4, 1]
    targets = [target(i) for i in ids]
    with getattr(package, theirs)(Logits(model), [model.backbone.get_submodule(layer)]) as extractor:
        extractor(images, targets)
        read = extractor.activations_and_grads
        values = [read.activations[0].numpy(), *(g.numpy() for g in read.gradients[:1])]
        gradients = values[-1]  # of Eigen-CAM, which needs none, anything
        raw = extractor.get_cam_image(images, layer, targets, values[0], gradients, False)
    found = extract_maps(model, images, torch.tensor(ids), layer_maps([name], [layer])).maps[0]
    expected = torch.from_numpy(raw).to(found.dtype)
    if name == "principal":
        found, expected = found.abs(), expected.abs()
    elif name != "hirescam":
        expected = expected.relu()
    scale = float(expected.abs().max())
    torch.testing.assert_close(found, expected, rtol=tolerance, atol=tolerance * scale)


def test_several_methods_and_layers_share_the_passes_and_leave_the_network_as_it_was() -> None:
    model = network("resnet_small", 32, 8).train()
    passes: list[int] = []
    model.backbone.register_forward_hook(lambda *_: passes.append(1))
    images, ids = torch.randn(2, 3, 32, 32, generator=torch.Generator().manual_seed(0)), torch.tensor([0, 5])
    of_formulas = [n for n, m in MAP_METHODS.items() if m.formula]
    wanted = layer_maps(of_formulas, ["layer1", "layer2", "final"])
    together = extract_maps(model, images, ids, wanted)
    assert len(passes) == 1
    for w, found in zip(wanted, together.maps):
        alone = extract_maps(model, images, ids, [w]).maps[0]
        torch.testing.assert_close(found, alone, msg=lambda m, w=w: f"{w.label}: {m}")
        assert not found.requires_grad
    assert all(p.requires_grad and p.grad is None for p in model.parameters())
    assert all(module.training for module in model.modules())
    assert not any(m._forward_hooks for n, m in model.named_modules() if n != "backbone")


def test_a_layer_whose_next_module_works_in_place_is_read_as_it_was() -> None:
    model = network("resnet_small", 32, 8)
    images, ids = torch.randn(1, 3, 32, 32, generator=torch.Generator().manual_seed(0)), torch.tensor([0])
    raw = MapMethod("channel0", lambda features, *_: features[:, 0], "")
    found = extract_maps(model, images, ids, [LayerMap(raw, "bn1")]).maps[0]  # an in-place ReLU follows
    assert (found < 0).any()


@pytest.mark.parametrize(
    ("methods", "layers", "says"),
    [
        pytest.param(["camm"], ["final"], "cam", id="unknown method"),
        pytest.param(["cam"], ["layer3"], "final map alone", id="CAM at another layer"),
        pytest.param(["layercam"], ["layer9"], "layer3", id="unknown layer"),
        pytest.param(["rollout"], ["final"], "transformers.*not of resnet_small", id="no class token"),
        pytest.param(["layercam"], [""], "layer", id="the network itself"),
        pytest.param(["gradcam"], ["layer1.0.relu"], "several times", id="a module that runs twice"),
    ],
)
def test_what_cannot_be_read_is_refused(methods: list[str], layers: list[str], says: str) -> None:
    model = network("resnet_small", 32, 8)
    with pytest.raises(UserError, match=says):
        extract_maps(model, torch.zeros(1, 3, 32, 32), torch.tensor([0]), layer_maps(methods, layers))
    assert not any(m._forward_hooks for m in model.modules())


def test_methods_of_the_final_map_alone_are_taken_there_among_several_layers() -> None:
    found = layer_maps(["cam", "layercam"], ["final", "layer3", "final"])
    assert [m.label for m in found] == ["cam", "layercam", "layercam-layer3"]


def test_half_precision_gives_maps_in_float32() -> None:
    model = network("resnet_small", 32, 8)
    images, ids = torch.randn(2, 3, 32, 32, generator=torch.Generator().manual_seed(0)), torch.tensor([0, 5])
    wanted = layer_maps([n for n in MAP_METHODS if n != "rollout"], ["layer2", "final"])
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = extract_maps(model, images, ids, wanted)
    assert all(m.dtype == torch.float32 and bool(torch.isfinite(m).all()) for m in found.maps)
