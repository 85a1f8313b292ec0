"""The networks that no library has: what their papers say of shapes and weights, and answers equal to calling them."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional
from torchvision.models.segmentation.deeplabv3 import ASPP

from shared.catalog.catalog import find_card
from shared.models.adapters.papers import NETWORKS
from shared.models.files import WeightsError
from shared.models.geometry import place
from shared.models.inputs import arrange
from shared.models.networks.deeplab_resnet import DeepLabResNet
from shared.models.networks.dla import Dla, IterativeUp
from shared.models.networks.fcn import Fcn, _larger
from shared.models.networks.ksac import KernelSharing
from shared.models.networks.segmenter import THEIRS, renamed
from shared.models.networks.segnet import SegNet
from shared.models.networks.unet import UNet
from shared.models.normalise import Normalise
from shared.models.weights import load_network
from tests.contract.contract import picture
from tests.contract.tiny import library_of, tiny
from tests.unit.models.test_dense_adapters import answer, network, same_labels

SMALL = [8, 8, 16, 16, 16]
NAMES = (
    "fcn-8s-vgg16",
    "deconvnet-vgg16",
    "segnet-camvid",
    "unet-2015",
    "fc-densenet-56-camvid",
    "deeplab-v2-aspp-vgg16",
    "deeplab-v2-resnet101",
    "ksac-resnet101",
    "dla-34-2s-cityscapes",
    "segmenter-tiny-ade",
)


def test_every_network_has_a_test_here() -> None:
    assert {find_card(name).network["class"] for name in NAMES} == set(NETWORKS)


@pytest.mark.parametrize("name", NAMES)
def test_answers_are_those_of_the_network_called_directly(name: str) -> None:
    card = tiny(find_card(name))
    pixels = picture(80, 110, seed=1)
    placement = place(card.preprocess, 80, 110)
    canvas = torch.from_numpy(arrange(pixels, placement, card.preprocess))[None]
    with torch.no_grad():
        low = network(card)(Normalise(card.preprocess)(canvas))
    logits = functional.interpolate(low, size=(80, 110), mode="bilinear", align_corners=False)[0]
    same_labels(answer(card, "semantic", pixels), logits)


@pytest.mark.parametrize("stride", [8, 16, 32])
@pytest.mark.parametrize("size", [(37, 53), (64, 33)])
def test_fcn_answers_every_pixel_with_zero_before_it_learns(stride: int, size: tuple[int, int]) -> None:
    with torch.no_grad():
        scores = Fcn(3, stride, SMALL, hidden=32).eval()(torch.randn(1, 3, *size))
    assert scores.shape == (1, 3, *size)
    assert not scores.any()


@pytest.mark.parametrize("factor", [2, 8, 32])
def test_fcn_upsampling_starts_as_bilinear(factor: int) -> None:
    low = torch.randn(1, 3, 5, 6)
    expected = functional.interpolate(low, scale_factor=factor, mode="bilinear", align_corners=False)
    with torch.no_grad():
        found = _larger(3, 2 * factor, factor)(low)
    half = factor // 2
    inner = found[..., factor + half : -factor - half, factor + half : -factor - half]
    assert torch.allclose(inner, expected[..., factor:-factor, factor:-factor], atol=1e-5)


def test_segnet_puts_values_back_on_odd_sides() -> None:
    made = SegNet(11, SMALL).eval()
    with torch.no_grad():
        assert made(torch.randn(1, 3, 45, 60)).shape == (1, 11, 45, 60)
    indices = functional.max_pool2d(torch.arange(25.0).view(1, 1, 5, 5), 2, return_indices=True)[1]
    back = functional.max_unpool2d(torch.ones(1, 1, 2, 2), indices, (2, 2), output_size=(5, 5))
    assert back.sum() == 4


def test_unet_looks_92_pixels_beyond_its_answer() -> None:
    torch.manual_seed(0)
    made = UNet(2, [4, 4, 4, 4, 4]).eval()
    image = torch.randn(1, 3, 388, 388)
    with torch.no_grad():
        scores = made(image)
        far = image.clone()
        far[..., 388 - 92 :] += 1
        changed = (made(far) - scores).abs().amax(dim=(0, 1, 2)) > 0
    assert scores.shape == (1, 2, 388, 388)
    assert changed[-92:].any()
    assert not changed[: 388 - 2 * 92 - 16].any(), "but for one cell of the coarsest grid, no pixel sees further"


def test_sharing_a_kernel_saves_the_lectures_share_of_weights() -> None:
    def convolutions(module: nn.Module) -> int:
        return sum(layer.weight.numel() for layer in module.modules() if isinstance(layer, nn.Conv2d))

    shared, separate = KernelSharing(2048), ASPP(2048, [6, 12, 18])
    assert sum(parameter.numel() for parameter in shared.parameters()) == 5_769_728
    assert sum(parameter.numel() for parameter in separate.parameters()) == 15_535_104
    saved = 1 - convolutions(shared) / convolutions(separate.convs)
    assert saved == pytest.approx(0.6207, abs=1e-4)


def test_deeplab_v2_keeps_the_largest_score_of_three_scales() -> None:
    made = DeepLabResNet(3, (1, 1, 1, 1)).eval()
    seen: list[Tensor] = []
    made.backbone.register_forward_pre_hook(lambda _, given: seen.append(given[0]))
    image = torch.randn(1, 3, 64, 96)
    with torch.no_grad():
        fused = made(image)
        alone = made._scores(image)
    assert [tuple(each.shape[-2:]) for each in seen[:3]] == [(64, 96), (48, 72), (32, 48)]
    assert fused.shape == alone.shape == (1, 3, 8, 12)
    assert (fused >= alone).all()
    assert (fused > alone).any()


def test_a_class_that_is_none_is_refused_by_name() -> None:
    card = find_card("segnet-camvid")
    wrong = card.model_copy(update={"network": {"class": "SegNot", "classes": 11}})
    with pytest.raises(WeightsError, match="SegNot"):
        load_network(wrong, library_of(card))


@pytest.mark.parametrize(("stride", "passes"), [(2, 4), (4, 3), (8, 2)])
def test_dla_merges_the_deepest_maps_until_one_is_left(stride: int, passes: int) -> None:
    made = Dla(3, "dla46_c", stride).eval()
    assert [each.merges for each in made.passes if isinstance(each, IterativeUp)] == list(range(1, passes + 1))
    finest: list[Tensor] = []
    made.scores.register_forward_pre_hook(lambda _, given: finest.append(given[0]))
    with torch.no_grad():
        scores = made(torch.randn(1, 3, 64, 96))
    assert scores.shape == (1, 3, 64, 96)
    assert finest[0].shape[-2:] == (64 // stride, 96 // stride)


def test_dla_upsampling_starts_as_bilinear_and_every_level_is_seen() -> None:
    merge = IterativeUp(8, (8, 8, 16), (1, 2, 4)).eval()
    low = torch.randn(1, 8, 5, 6)
    with torch.no_grad():
        larger = merge.larger[2](low)
    expected = functional.interpolate(low, scale_factor=4, mode="bilinear", align_corners=False)
    assert torch.allclose(larger[..., 4:-4, 4:-4], expected[..., 4:-4, 4:-4], atol=1e-5)
    maps = [torch.randn(1, 8, 16, 16), torch.randn(1, 8, 8, 8), torch.randn(1, 16, 4, 4)]
    with torch.no_grad():
        last = merge(maps)[-1]
        for level in range(3):
            changed = [each + (index == level) for index, each in enumerate(maps)]
            assert not torch.allclose(merge(changed)[-1], last)


def test_the_authors_segmenter_is_taken_by_their_names() -> None:
    own = network(tiny(find_card("segmenter-tiny-ade"))).state_dict()
    back = {ours: theirs for theirs, ours in THEIRS.items()}
    theirs = {}
    for name, value in own.items():
        part, _, rest = name.partition(".")
        theirs[".".join(filter(None, [back.get(part, part), rest]))] = value
    theirs["encoder.head.weight"] = torch.zeros(1000, 32)
    assert "decoder.blocks.1.attn.qkv.weight" in theirs
    assert "decoder.cls_emb" in theirs
    found = renamed(theirs)
    assert set(found) == set(own)
    assert all(found[name] is own[name] for name in own)
    assert renamed(own) == own
