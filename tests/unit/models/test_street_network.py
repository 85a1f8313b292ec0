"""The `street` network: odd sizes, folding, stored weights, and the graphs that are served."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from shared.models.networks.street import EMBEDDING_CHANNELS, StreetNet, fuse, normalise, resize_to
from shared.models.networks.street_graph import DENSE_OUTPUTS, DenseGraph
from shared.models.networks.street_prompt import PromptDecoder
from shared.models.networks.street_weights import Street, build, load_street, parameter_count, save_street
from shared.models.postprocess.street_prompts import MAPS


def shaken(street: Street) -> Street:
    """Random numbers in every parameter, so that nothing is zero by its initialisation."""
    generator = torch.Generator().manual_seed(0)
    for net in street:
        for parameter in net.parameters():
            parameter.data = (torch.randn(parameter.shape, generator=generator) * 0.05).half().float()
    return street


@pytest.mark.parametrize(("height", "width"), [(64, 96), (61, 95), (33, 130)])
def test_labels_are_a_half_and_every_other_head_a_quarter_rounded_up(height: int, width: int) -> None:
    net = StreetNet().eval()
    with torch.no_grad():
        out = net(normalise(torch.rand(2, 3, height, width) * 255))
        embedding = net.embed(normalise(torch.rand(1, 3, height, width) * 255))
    size = (-(-height // 4), -(-width // 4))
    assert out.logits.shape == (2, 11, -(-height // 2), -(-width // 2))
    assert out.coarse.shape == (2, 11, *size)
    assert out.centres.shape == (2, 3, *size)
    assert out.offsets.shape == (2, 2, *size)
    assert embedding.shape == (1, EMBEDDING_CHANNELS, *size)


def test_detail_begins_without_a_correction_and_then_sees_what_the_stem_sees() -> None:
    torch.manual_seed(0)
    net = StreetNet().eval()
    image = torch.randn(1, 3, 64, 96)
    with torch.no_grad():
        out = net(image)
        torch.testing.assert_close(out.logits, resize_to(out.coarse, out.logits))
        net.heads.detail.out.weight.normal_()
        corrected = net(image)
    assert torch.equal(corrected.coarse, out.coarse)
    assert float((corrected.logits - out.logits).abs().mean()) > 0.01


def test_a_temperature_divides_the_logits_and_an_offset_moves_them() -> None:
    net = shaken(build()).dense
    image = torch.randn(1, 3, 64, 96)
    offsets = torch.linspace(-1, 1, 11)
    with torch.no_grad():
        before = net(image)
        net.heads.cool(1.6)
        net.heads.shift(offsets)
        after = net(image)
    torch.testing.assert_close(after.logits, before.logits / 1.6 + offsets.view(1, -1, 1, 1), rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(after.coarse, before.coarse / 1.6 + offsets.view(1, -1, 1, 1), rtol=1e-4, atol=1e-4)


def test_it_stays_under_five_million_parameters() -> None:
    assert parameter_count(build()) < 5_000_000


def test_folding_the_normalisation_changes_nothing() -> None:
    torch.manual_seed(0)
    net = StreetNet()
    net.forward_train(torch.randn(4, 3, 64, 64))
    net.eval()
    image = torch.randn(1, 3, 64, 64)
    with torch.no_grad():
        before = net(image)
        fuse(net)
        fuse(net)
        after = net(image)
    assert not any("running_mean" in name for name in net.encoder.state_dict())
    for one, other in zip(before, after, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-3, atol=1e-3)


def test_an_image_does_not_depend_on_its_neighbours() -> None:
    net = shaken(build()).dense
    images = torch.randint(0, 256, (2, 48, 64, 3), dtype=torch.uint8)
    with torch.no_grad():
        together = DenseGraph(net)(images)
        alone = DenseGraph(net)(images[1:])
    for name, one, other in zip(DENSE_OUTPUTS, together, alone, strict=True):
        torch.testing.assert_close(one[1:].float(), other.float(), rtol=1e-3, atol=2e-3, msg=name)


def test_labels_and_confidence_are_those_of_the_upsampled_logits() -> None:
    net = shaken(build()).dense
    image = torch.randint(0, 256, (1, 45, 64, 3), dtype=torch.uint8)
    with torch.no_grad():
        out = dict(zip(DENSE_OUTPUTS, DenseGraph(net)(image), strict=True))
    full = torch.nn.functional.interpolate(out["logits"], size=(45, 64), mode="bilinear").softmax(1)
    assert torch.equal(out["labels"].long(), full.argmax(1))
    torch.testing.assert_close(out["confidence"].float(), full.amax(1), rtol=1e-3, atol=1e-3)
    assert out["embedding"].dtype == torch.float16
    assert float(out["centres"].min()) >= 0
    assert float(out["centres"].max()) <= 1


def test_prompts_are_independent_and_share_their_image() -> None:
    decoder = shaken(build()).decoder
    torch.manual_seed(1)
    embedding, prompts = torch.randn(2, EMBEDDING_CHANNELS, 23, 30), torch.rand(6, MAPS, 23, 30)
    with torch.no_grad():
        all_of_them = decoder(embedding, prompts)
        second = decoder(embedding[1:], prompts[3:])
        single = decoder(embedding[1:], prompts[4:5])
    assert all_of_them.masks.shape == (6, 3, 23, 30)
    assert all_of_them.iou.shape == (6, 3)
    torch.testing.assert_close(all_of_them.masks[3:], second.masks, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(all_of_them.masks[4:5], single.masks, rtol=1e-4, atol=1e-4)
    assert 0 <= float(all_of_them.iou.min()) <= float(all_of_them.iou.max()) <= 1


def test_an_untrained_decoder_starts_from_the_clicked_class() -> None:
    decoder = PromptDecoder().eval()
    embedding = torch.zeros(1, EMBEDDING_CHANNELS, 16, 16)
    embedding[:, 64 + 8, :, 8:] = 12.0
    embedding[:, 64 + 3, :, :8] = 12.0
    prompts = torch.zeros(1, MAPS, 16, 16)
    prompts[0, 0, 8, 12] = 1.0
    prior = decoder.prior.weight[0, 32:36, 0, 0].tolist()
    assert prior == [5.0, -3.0, 3.0, 2.0]
    with torch.no_grad():
        decoder.masks.weight.zero_()
        if decoder.masks.bias is not None:
            decoder.masks.bias.zero_()
        mask = decoder(embedding, prompts).masks[0, 0] > 0
    assert bool(mask[:, 8:].all())
    assert not bool(mask[:, :8].any())


def test_weights_come_back_as_they_were_stored(tmp_path: Path) -> None:
    street = shaken(build())
    save_street(street, tmp_path / "street.safetensors", {"licence": "none"})
    again = load_street(tmp_path / "street.safetensors")
    for net, other in zip(street, again, strict=True):
        mine, theirs = net.state_dict(), other.state_dict()
        assert mine.keys() == theirs.keys()
        assert all(torch.equal(mine[name], theirs[name]) for name in mine)


def test_weights_of_something_else_are_refused(tmp_path: Path) -> None:
    from safetensors.torch import save_file

    save_file({"dense.nothing": torch.zeros(1, dtype=torch.float16)}, tmp_path / "other.safetensors")
    with pytest.raises(RuntimeError, match="Missing key"):
        load_street(tmp_path / "other.safetensors")
