"""MobileSAM: a checkpoint under its published names becomes the same network, and its masks are transformers' own."""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from shared.catalog.card import Card, FileWeights
from shared.catalog.catalog import find_card
from shared.catalog.loading import LoadOptions, load
from shared.models.files import WeightsError
from shared.types import DecoderInput, EncoderInput
from tests.unit.models.test_sam import Direct, picture, prompt
from tests.unit.models.test_sam_families import assert_equal, prompts

torch = pytest.importorskip("torch")

INVERSE = (
    (r"^vision_encoder\.neck\.conv1", "image_encoder.neck.0"),
    (r"^vision_encoder\.neck\.layer_norm1", "image_encoder.neck.1"),
    (r"^vision_encoder\.neck\.conv2", "image_encoder.neck.2"),
    (r"^vision_encoder\.neck\.layer_norm2", "image_encoder.neck.3"),
    (r"^vision_encoder\.backbone\.patch_embed\.conv1", "image_encoder.patch_embed.seq.0"),
    (r"^vision_encoder\.backbone\.patch_embed\.conv2", "image_encoder.patch_embed.seq.2"),
    (r"^vision_encoder\.backbone\.stages\.1\.downsample", "image_encoder.layers.0.downsample"),
    (r"^vision_encoder\.backbone\.stages\.2\.downsample", "image_encoder.layers.1.downsample"),
    (r"^vision_encoder\.backbone\.stages\.3\.downsample", "image_encoder.layers.2.downsample"),
    (r"^vision_encoder\.backbone\.stages", "image_encoder.layers"),
    (r"^prompt_encoder\.point_embed\.", "prompt_encoder.point_embeddings."),
    (r"^prompt_encoder\.mask_embed\.conv1", "prompt_encoder.mask_downscaling.0"),
    (r"^prompt_encoder\.mask_embed\.layer_norm1", "prompt_encoder.mask_downscaling.1"),
    (r"^prompt_encoder\.mask_embed\.conv2", "prompt_encoder.mask_downscaling.3"),
    (r"^prompt_encoder\.mask_embed\.layer_norm2", "prompt_encoder.mask_downscaling.4"),
    (r"^prompt_encoder\.mask_embed\.conv3", "prompt_encoder.mask_downscaling.6"),
    (r"^mask_decoder\.upscale_conv1", "mask_decoder.output_upscaling.0"),
    (r"^mask_decoder\.upscale_layer_norm", "mask_decoder.output_upscaling.1"),
    (r"^mask_decoder\.upscale_conv2", "mask_decoder.output_upscaling.3"),
    (r"layer_norm_final_attn", "norm_final_attn"),
    (r"(transformer\.layers\.\d+)\.layer_norm", r"\1.norm"),
    (r"(hypernetworks_mlps\.\d+|iou_prediction_head)\.layers\.0", r"\1.layers.1"),
    (r"(hypernetworks_mlps\.\d+|iou_prediction_head)\.proj_in", r"\1.layers.0"),
    (r"(hypernetworks_mlps\.\d+|iou_prediction_head)\.proj_out", r"\1.layers.2"),
    (r"\.conv\.weight$", ".c.weight"),
)


def published(name: str) -> str:
    for pattern, replacement in INVERSE:
        name = re.sub(pattern, replacement, name)
    return name


ATTENTIONS = ("self_attn", "cross_attn_token_to_image", "cross_attn_image_to_token")
Tensors = tuple[str, ...]
"""Of one module."""
WEIGHT: Tensors = ("weight",)
BOTH: Tensors = ("weight", "bias")
NORM: Tensors = (*BOTH, "running_mean", "running_var", "num_batches_tracked")


def checkpoint_names() -> Iterator[str]:
    """Names of the tensors of `mobile_sam.pt`, spelled after the modules of the paper's own code: a TinyViT of 2, 2, 6
    and 2 blocks with the head it was distilled with, and the prompt encoder and mask decoder of Segment Anything."""
    convolutions = [f"patch_embed.seq.{n}" for n in (0, 2)]
    convolutions += [f"layers.0.blocks.{b}.conv{n}" for b, n in product(range(2), (1, 2, 3))]
    convolutions += [f"layers.{stage}.downsample.conv{n}" for stage, n in product(range(3), (1, 2, 3))]
    blocks = [f"layers.{stage}.blocks.{b}" for stage, depth in ((1, 2), (2, 6), (3, 2)) for b in range(depth)]
    convolutions += [f"{block}.local_conv" for block in blocks]
    encoder = {f"{name}.c": WEIGHT for name in convolutions} | {f"{name}.bn": NORM for name in convolutions}
    linear = ("attn.norm", "attn.qkv", "attn.proj", "mlp.norm", "mlp.fc1", "mlp.fc2")
    encoder |= {f"{block}.{part}": BOTH for block, part in product(blocks, linear)}
    encoder |= {f"{block}.attn": ("attention_biases",) for block in blocks}
    encoder |= {"norm_head": BOTH, "head": BOTH, "neck.0": WEIGHT, "neck.1": BOTH, "neck.2": WEIGHT, "neck.3": BOTH}
    given: dict[str, Tensors] = {
        "pe_layer": ("positional_encoding_gaussian_matrix",),
        "not_a_point_embed": WEIGHT,
        "no_mask_embed": WEIGHT,
    }
    given |= {f"point_embeddings.{n}": WEIGHT for n in range(4)} | {
        f"mask_downscaling.{n}": BOTH for n in (0, 1, 3, 4, 6)
    }
    decoder = {"iou_token": WEIGHT, "mask_tokens": WEIGHT} | {f"output_upscaling.{n}": BOTH for n in (0, 1, 3)}
    heads = [*(f"output_hypernetworks_mlps.{n}" for n in range(4)), "iou_prediction_head"]
    decoder |= {f"{head}.layers.{n}": BOTH for head, n in product(heads, range(3))}
    layers = [f"transformer.layers.{n}" for n in range(2)]
    attentions = [f"{layer}.{kind}" for layer, kind in product(layers, ATTENTIONS)]
    attentions.append("transformer.final_attn_token_to_image")
    decoder |= {f"{each}.{part}_proj": BOTH for each, part in product(attentions, ("q", "k", "v", "out"))}
    decoder |= {f"{layer}.{part}": BOTH for layer, part in product(layers, ("norm1", "norm2", "norm3", "norm4"))}
    decoder |= {f"{layer}.mlp.lin{n}": BOTH for layer, n in product(layers, (1, 2))}
    decoder |= {"transformer.norm_final_attn": BOTH}
    for part, modules in (("image_encoder", encoder), ("prompt_encoder", given), ("mask_decoder", decoder)):
        yield from (f"{part}.{module}.{tensor}" for module, tensors in modules.items() for tensor in tensors)


@pytest.fixture
def card() -> Card:
    return find_card("mobile-sam").shrunk()


def test_every_tensor_of_the_published_checkpoint_has_its_place() -> None:
    from shared.models.adapters.mobile_sam import build
    from shared.models.networks.mobile_sam import POSITIONS, published_names

    with torch.device("meta"):
        own = build(find_card("mobile-sam")).state_dict()
    names = list(checkpoint_names())
    placed = published_names({name: torch.tensor(number) for number, name in enumerate(names)})
    assert set(placed) == set(own)
    assert placed[POSITIONS[0]] is placed[POSITIONS[1]]
    head = 4  # tensors that segmentation has no use for
    assert len({int(tensor) for tensor in placed.values()}) == len(names) - head == len(own) - 1


def test_masks_equal_transformers_on_the_same_embedding(card: Card, tmp_path: Path) -> None:
    from shared.models.adapters.mobile_sam import build
    from tests.contract.tiny import draw

    model: Any = build(card)
    model.eval()
    with torch.no_grad():
        draw(model)
    torch.save(model.state_dict(), tmp_path / "own.pt")
    there = card.model_copy(update={"weights": FileWeights(path="own.pt")})
    ours = load(there, LoadOptions(roles=("encoder", "decoder"), weights_dir=tmp_path, device="cpu"))
    direct, pixels = Direct(model), picture((90, 140))
    (embedding,) = ours.roles["encoder"].predict([EncoderInput(pixels)])
    with torch.no_grad():
        values = direct.coordinates(images=pixels, return_tensors="pt")["pixel_values"]
        expected = model.get_image_embeddings(values)[0].numpy()
    np.testing.assert_allclose(embedding.tensors[0], expected, atol=1e-2 * float(expected.std()), rtol=1e-2)
    logits = np.random.default_rng(0).normal(0, 3, (32, 32)).astype(np.float32)
    for what, multimask in prompts((90, 140), logits):
        masks, scores, _ = direct(pixels, embedding, what, multimask)
        found = ours.roles["decoder"].predict([DecoderInput(embedding, what, multimask)])[0].masks
        assert_equal(found, masks, np.array(scores, np.float32))


def test_a_published_checkpoint_is_the_same_network(card: Card, tmp_path: Path) -> None:
    from shared.models.adapters.mobile_sam import build
    from tests.contract.tiny import draw

    model: Any = build(card)
    model.eval()
    with torch.no_grad():
        draw(model)
    own = model.state_dict()
    torch.save(own, tmp_path / "own.pt")
    matrix = own.pop("shared_image_embedding.positional_embedding")
    del own["prompt_encoder.shared_embedding.positional_embedding"]
    renamed = {published(name): tensor for name, tensor in own.items()}
    assert "image_encoder.layers.0.blocks.0.conv1.c.weight" in renamed
    assert "image_encoder.layers.2.downsample.conv2.bn.running_mean" in renamed
    assert "image_encoder.layers.3.blocks.0.attn.attention_biases" in renamed
    assert "mask_decoder.iou_prediction_head.layers.2.bias" in renamed
    renamed |= {
        "prompt_encoder.pe_layer.positional_encoding_gaussian_matrix": matrix,
        "image_encoder.norm_head.weight": torch.zeros(32),
        "image_encoder.head.weight": torch.zeros(1000, 32),
    }
    torch.save(renamed, tmp_path / "published.pt")
    options = LoadOptions(roles=("encoder", "decoder"), weights_dir=tmp_path, device="cpu")
    pair = [
        load(card.model_copy(update={"weights": FileWeights(path=f"{name}.pt")}), options)
        for name in ("own", "published")
    ]
    assert pair[0].weights_sha256 == pair[1].weights_sha256
    assert pair[0].parameters == pair[1].parameters == sum(each.numel() for each in model.parameters())
    embeddings = [models.roles["encoder"].predict([EncoderInput(picture((90, 140)))])[0] for models in pair]
    assert embeddings[0].tensors[0].shape == (32, 8, 8)
    assert np.array_equal(embeddings[0].tensors[0], embeddings[1].tensors[0])
    with torch.no_grad():
        image = torch.zeros(1, 3, 128, 128)
        assert model.vision_encoder(image).last_hidden_state.shape == (1, 32, 8, 8)
    masks = pair[1].roles["decoder"].predict([DecoderInput(embeddings[1], prompt([[20, 30]], [1]), True)])[0].masks
    assert len(masks) == 3


def test_a_checkpoint_of_something_else_is_refused(card: Card, tmp_path: Path) -> None:
    torch.save({"image_encoder.patch_embed.seq.0.c.weight": torch.zeros(3)}, tmp_path / "other.pt")
    there = card.model_copy(update={"weights": FileWeights(path="other.pt")})
    with pytest.raises(WeightsError, match="mobile-sam"):
        load(there, LoadOptions(roles=("encoder",), weights_dir=tmp_path))
