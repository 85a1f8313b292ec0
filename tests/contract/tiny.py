"""Every card as a small network that has something to say: the one its `tiny` overrides describe, with weights drawn so
that signals neither die nor explode, written to a file and loaded as anyone would load theirs."""

from __future__ import annotations

import atexit
import json
from collections.abc import Iterable, Iterator
from functools import cache
from importlib import import_module
from pathlib import Path
from shutil import rmtree
from tempfile import mkdtemp

import torch
from safetensors.torch import save_file
from tokenizers.pre_tokenizers import ByteLevel
from torch import Tensor, nn
from torchvision.models.detection.generalized_rcnn import GeneralizedRCNN
from torchvision.ops import FrozenBatchNorm2d
from transformers import CLIPTokenizer

from shared.catalog.card import Card, FileWeights, Preprocess
from shared.catalog.catalog import built_in
from shared.catalog.loading import LoadOptions, load
from shared.models.normalise import Normalise
from shared.models.weights import TRANSFORMERS, Library, load_network
from shared.protocols import LoadedModels
from shared.types import Role

IMAGENET = Preprocess(resize="none")
FLATTEST = 0.1
"""Least variance of a channel, as a part of the mean of its layer."""
TOLD_APART = (
    "tasks",
    "label_space",
    "loader",
    "network",
    "preprocess",
    "thresholds",
    "tta_scales",
    "extras",
    "engines",
)
"""What makes two shrunk cards different tests; B0 and B5 shrink to the same network."""


def with_one_thread() -> Iterator[None]:
    """Tiny networks lose more by handing work between threads than they gain."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def library_of(card: Card) -> Library:
    """How the card's adapter builds its network."""
    adapter = import_module(card.loader.partition(":")[0])
    found: Library = getattr(adapter, "LIBRARY", TRANSFORMERS)
    return found


def distinct(cards: Iterable[Card]) -> list[Card]:
    """One card for all that shrink to the same."""
    seen: dict[str, Card] = {}
    for card in cards:
        seen.setdefault(_key(card), card)
    return list(seen.values())


def load_tiny(card: Card, *roles: Role, device: str = "cpu") -> LoadedModels:
    """The shrunk card in torch where it runs there, else in its own engine."""
    engine = "torch" if "torch" in card.engines else "auto"
    return load(tiny(card), LoadOptions(roles=roles, engine=engine, device=device, max_batch=4))


def tiny(card: Card) -> Card:
    """The shrunk card with lively weights; a card without `tiny` is small enough as it is."""
    if not card.tiny:
        return card
    return card.shrunk().model_copy(update={"weights": FileWeights(path=str(_weights(_key(card), card.name)))})


def draw(module: nn.Module, preprocess: Preprocess = IMAGENET, seed: int = 0) -> None:
    """Weights with the variance of He et al. 2015 (fan-in) and small biases; then every batch normalisation is given
    the statistics of one picture, as training would have."""
    generator = torch.Generator().manual_seed(seed)
    for name, parameter in module.named_parameters():
        if parameter.dim() > 1:
            nn.init.normal_(parameter, std=(2 / parameter[0].numel()) ** 0.5, generator=generator)
        elif name.endswith("bias"):
            nn.init.normal_(parameter, std=0.1, generator=generator)
    norms = [layer for layer in module.modules() if isinstance(layer, nn.BatchNorm2d | FrozenBatchNorm2d)]
    hooks = [norm.register_forward_pre_hook(_settle) for norm in norms]
    if norms:
        side = _side(module)
        pixels = torch.randint(0, 256, (1, side // 8, side // 8, 3), generator=generator, dtype=torch.uint8)
        _look(module, Normalise(preprocess)(pixels.repeat_interleave(8, dim=1).repeat_interleave(8, dim=2)))
    for hook in hooks:
        hook.remove()


def _side(module: nn.Module) -> int:
    """The side of a picture that the network takes: 64 pixels, but for networks that take one size only."""
    prompts = getattr(getattr(module, "config", None), "prompt_encoder_config", None)
    return int(getattr(prompts, "image_size", getattr(module, "side", 64)))


def _settle(norm: nn.Module, inputs: tuple[Tensor, ...]) -> None:
    (values,) = inputs
    if values.shape[-2:].numel() > 1:
        norm.get_buffer("running_mean").copy_(values.mean(dim=(0, 2, 3)))
        spread = values.var(dim=(0, 2, 3))
        # Channels that the picture leaves flat are not blown up beyond their neighbours.
        norm.get_buffer("running_var").copy_(spread.clamp(min=max(1e-6, FLATTEST * float(spread.mean()))))


def _look(module: nn.Module, image: Tensor) -> None:
    """Run the library's own network on one image."""
    if isinstance(module, GeneralizedRCNN):
        module([image[0]])
    elif hasattr(module, "config_class"):
        module(pixel_values=image)
    else:
        module(image)


@cache
def write_tokenizer(folder: Path) -> None:
    """CLIP's tokenizer with bytes as its whole vocabulary (514 tokens), beside weights that lie in `folder`."""
    letters = sorted(ByteLevel.alphabet())
    words = [*letters, *(f"{letter}</w>" for letter in letters), "<|startoftext|>", "<|endoftext|>"]
    CLIPTokenizer(vocab={word: number for number, word in enumerate(words)}, merges=[]).save_pretrained(folder)


def _key(card: Card) -> str:
    data = card.shrunk().model_dump(mode="json")
    return json.dumps([data[field] for field in TOLD_APART], sort_keys=True)


@cache
def _folder() -> Path:
    folder = Path(mkdtemp(prefix="segserve-contract-"))
    atexit.register(rmtree, folder, ignore_errors=True)
    return folder


@cache
def _weights(key: str, name: str) -> Path:
    card = next(card for card in built_in() if card.name == name)
    module = load_network(card.shrunk(), library_of(card)).module
    with torch.no_grad():
        draw(module, card.preprocess)
    path = _folder() / f"{name}.safetensors"
    write_tokenizer(path.parent)
    save_file({key: tensor.clone() for key, tensor in module.state_dict().items()}, path)
    return path
