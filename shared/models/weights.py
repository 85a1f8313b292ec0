"""A card's network with its weights in place, checked: strict keys, parameter count, a digest of every tensor.

An adapter says how to build the network and, where its library has its own way, how to fetch it from a hub.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from shared.catalog.card import Card, FileWeights, HubWeights, RandomWeights
from shared.models.files import WeightsError, locate, require_fit, verify
from shared.models.hub import (
    fetch_file,
    torchvision_state,
    torchvision_weights_name,
    transformers_build,
    transformers_fetch,
    transformers_fill,
)

StateDict = Mapping[str, Tensor]
Build = Callable[[Card], nn.Module]
"""The network as the card describes it, randomly initialised."""
Fetch = Callable[[Card, HubWeights, Path | None], nn.Module]
"""The network and its weights from a hub or a folder under `weights_dir`, by its library's own loader."""
Fill = Callable[[Card, StateDict, str], nn.Module]
"""The network with these tensors; the text says where they come from. Raises `WeightsError` unless all fit exactly."""
WRAPPERS = ("state_dict", "model", "model_state_dict", "model_state")
"""Keys under which training frameworks file the tensors of a checkpoint."""
HASHED_AT_ONCE = 4
"""Tensors."""


@dataclass(frozen=True, slots=True)
class Weighted:
    """A network in evaluation mode on the CPU, the digest of each of its tensors by name, and how many parameters it
    has."""

    module: nn.Module
    digests: Mapping[str, str]
    parameters: int

    @property
    def sha256(self) -> str:
        """The digest of all tensors."""
        return digest_of(self.digests)


@dataclass(frozen=True, slots=True)
class Library:
    """How the networks of one library come to be. `fetch` None: from a hub only as a single file. `fill` None: the
    tensors' names are the network's own."""

    build: Build
    fetch: Fetch | None = None
    fill: Fill | None = None


TRANSFORMERS = Library(transformers_build, transformers_fetch, transformers_fill)
"""`network: {class: ..., config: {...}}` of a card."""


def load_network(card: Card, library: Library, weights_dir: Path | None = None) -> Weighted:
    """Build the card's network and load its weights.

    Raises `WeightsError` when weights are missing, damaged, of another network or of another size than the card says.
    """
    fill = library.fill or strict_fill(library.build)
    match card.weights:
        case RandomWeights(seed=seed):
            module = seeded(library.build, card, seed)
        case FileWeights(path=path, sha256=sha256):
            file = locate(card.name, path, weights_dir)
            verify(card.name, file, sha256)
            module = fill(card, read_state(card.name, file), str(file))
        case HubWeights() as hub:
            module = _from_hub(card, hub, library.fetch, fill, weights_dir)
    return _checked(card, module.eval())


def read_state(card: str, path: Path) -> dict[str, Tensor]:
    """The tensors of a `.safetensors` file (memory-mapped) or of a checkpoint that loads weights-only."""
    try:
        if path.suffix == ".safetensors":
            from safetensors.torch import load_file

            return load_file(path)
        content = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
    except Exception as error:
        raise WeightsError(f"card {card}: {path} cannot be read as weights: {_first_line(error)}") from error
    for key in WRAPPERS:
        if isinstance(content, dict) and isinstance(content.get(key), dict):
            content = content[key]
    if not isinstance(content, dict) or not all(isinstance(value, Tensor) for value in content.values()):
        raise WeightsError(f"card {card}: {path} does not hold a mapping of names to tensors")
    return dict(content)


def count_parameters(module: nn.Module) -> int:
    """All parameters, each tensor once."""
    return sum(parameter.numel() for parameter in module.parameters())


def digest_tensors(module: nn.Module) -> dict[str, str]:
    """Hexadecimal SHA-256 of every tensor of the state, by name: the same weights give the same digests from any file
    format. Types and shapes count too. Several at once: memory-mapped weights are read from disk meanwhile."""
    state = module.state_dict()
    with ThreadPoolExecutor(HASHED_AT_ONCE) as pool:
        return dict(zip(state, pool.map(_digest_tensor, state.values()), strict=True))


def digest_of(digests: Mapping[str, str]) -> str:
    """One digest over those of several tensors; names count, their order does not."""
    return hashlib.sha256(json.dumps(digests, sort_keys=True).encode()).hexdigest()


def _digest_tensor(tensor: Tensor) -> str:
    hasher = hashlib.sha256(f"{tensor.dtype}|{tuple(tensor.shape)}|".encode())
    raw = tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy()
    hasher.update(raw.data)
    return hasher.hexdigest()


def seeded(build: Build, card: Card, seed: int) -> nn.Module:
    """The network, its random weights drawn from this seed; the process's own generator is left as it was."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return build(card)


def strict_fill(build: Build, rename: Callable[[StateDict], StateDict] = dict) -> Fill:
    """Fill `build`'s network with exactly the tensors given, after `rename` made a foreign checkpoint's names its own.

    The tensors stay where they are, so that memory-mapped pages are shared between processes.
    """

    def fill(card: Card, given: StateDict, place: str) -> nn.Module:
        module = seeded(build, card, 0)
        own = module.state_dict()
        state = _counters(own) | dict(rename(given))
        problems = {
            "missing": sorted(own.keys() - state.keys()),
            "unknown": sorted(state.keys() - own.keys()),
            "of another shape": [key for key in own if key in state and state[key].shape != own[key].shape],
        }
        require_fit(card.name, place, problems)
        fitting = {key: tensor.to(own[key].dtype) for key, tensor in state.items()}
        module.load_state_dict(fitting, strict=True, assign=True)
        return module

    return fill


def _counters(own: StateDict) -> dict[str, Tensor]:
    """The step counters of batch normalisation, which older checkpoints lack and evaluation does not read."""
    return {key: tensor for key, tensor in own.items() if key.endswith(".num_batches_tracked")}


def _from_hub(card: Card, hub: HubWeights, fetch: Fetch | None, fill: Fill, weights_dir: Path | None) -> nn.Module:
    if entry := torchvision_weights_name(hub):
        return fill(card, torchvision_state(card.name, entry, weights_dir), entry)
    if hub.filename:
        file = fetch_file(card.name, hub, weights_dir)
        return fill(card, read_state(card.name, file), f"{hub.repo}/{hub.filename}")
    if fetch is None:
        raise WeightsError(f"card {card.name}: hub weights of this kind of model need `filename`")
    return fetch(card, hub, weights_dir)


def _checked(card: Card, module: nn.Module) -> Weighted:
    count = count_parameters(module)
    if card.parameters not in (0, count):
        raise WeightsError(f"card {card.name}: the network has {count} parameters, the card says {card.parameters}")
    return Weighted(module, digest_tensors(module), count)


def _first_line(error: BaseException) -> Any:
    return (str(error).strip() or type(error).__name__).splitlines()[0]
