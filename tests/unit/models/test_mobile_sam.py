"""MobileSAM: a checkpoint under its published names becomes the same network."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from shared.catalog.card import Card, FileWeights
from shared.catalog.catalog import find_card
from shared.catalog.loading import LoadOptions, load
from shared.models.files import WeightsError
from shared.types import DecoderInput, EncoderInput
from tests.unit.models.test_sam import picture, prompt

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


@pytest.fixture
def card() -> Card:
    return find_card("mobile-sam").shrunk()


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
