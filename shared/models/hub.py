"""Weights by name: Hugging Face repositories and torchvision's enums, offline where a copy lies in `weights_dir`.

Every failure says which card, which repository and what to do, whatever the library underneath raised.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol, cast

import torch
from torch import Tensor, nn

from shared.catalog.card import Card, FileWeights, HubWeights
from shared.models.files import WeightsError, locate, require_fit

TORCHVISION = "torchvision:"
log = logging.getLogger(__name__)


class Pretrained(Protocol):
    """A transformers model class."""

    config_class: Any

    def __call__(self, config: Any) -> nn.Module: ...

    def from_pretrained(self, place: str | None, **options: Any) -> Any:
        """The library's own loader."""
        ...


def transformers_class(card: Card) -> Pretrained:
    """The class that `network.class` names. Raises `WeightsError` when transformers has none of that name."""
    import transformers

    library: Any = transformers
    library.utils.logging.disable_progress_bar()
    name = str(card.network.get("class", ""))
    found = getattr(library, name, None)
    if found is None or not hasattr(found, "from_pretrained"):
        raise WeightsError(f"card {card.name}: network.class {name!r} is no model class of transformers")
    return cast(Pretrained, found)


def transformers_build(card: Card) -> nn.Module:
    """The network of `network.class` with `network.config`, randomly initialised."""
    model_class = transformers_class(card)
    return model_class(model_class.config_class(**card.network.get("config", {})))


def transformers_fetch(card: Card, hub: HubWeights, weights_dir: Path | None) -> nn.Module:
    """`from_pretrained`, in float32, strict: no tensor missing, none unknown.

    The repository's configuration wins over the card's `network.config`, which must agree on every key that changes
    the parameters (their count is checked); other differences are logged.
    """
    place, revision = place_of(hub, weights_dir)
    with told(card.name, hub, weights_dir):
        module, info = transformers_class(card).from_pretrained(
            place, revision=revision, dtype=torch.float32, output_loading_info=True, ignore_mismatched_sizes=True
        )
    _check_keys(card, info, f"{hub.repo} at revision {hub.revision}")
    _log_differences(card, module)
    return cast(nn.Module, module)


def transformers_fill(card: Card, state: Mapping[str, Tensor], place: str) -> nn.Module:
    """The network of the card's configuration with these tensors, under their present or their published names."""
    model_class = transformers_class(card)
    try:
        module, info = model_class.from_pretrained(
            None,
            config=model_class.config_class(**card.network.get("config", {})),
            state_dict=dict(state),
            dtype=torch.float32,
            output_loading_info=True,
            ignore_mismatched_sizes=True,
        )
    except RuntimeError as error:
        raise WeightsError(f"card {card.name}: the tensors of {place} do not fit this network: {error}") from error
    _check_keys(card, info, place)
    return cast(nn.Module, module)


def tokenizer_of(card: Card, tokens: int, weights_dir: Path | None) -> Any:
    """The tokenizer that lies beside the card's weights, or in the repository or folder that `extras.tokenizer` names.

    Raises `WeightsError` unless it has as many tokens as the network: where its files are missing, the library makes an
    empty one without a word.
    """
    from transformers import AutoTokenizer

    hub = _tokenizer_place(card, weights_dir)
    place, revision = place_of(hub, weights_dir)
    with told(card.name, hub, weights_dir):
        tokenizer: Any = AutoTokenizer.from_pretrained(place, revision=revision)
    if len(tokenizer) != tokens:
        raise WeightsError(
            f"card {card.name}: the tokenizer of {place} has {len(tokenizer)} tokens, the network has {tokens}"
        )
    return tokenizer


def _tokenizer_place(card: Card, weights_dir: Path | None) -> HubWeights:
    if "tokenizer" in card.extras:
        return HubWeights(repo=str(card.extras["tokenizer"]))
    match card.weights:
        case HubWeights() as hub:
            return hub
        case FileWeights(path=path):
            return HubWeights(repo=str(locate(card.name, path, weights_dir).parent))
    raise WeightsError(f"card {card.name}: random weights have no tokenizer; extras.tokenizer must name one")


def torchvision_weights_name(hub: HubWeights) -> str | None:
    """`Enum.ENTRY` if this names torchvision weights."""
    return hub.repo.removeprefix(TORCHVISION) if hub.repo.startswith(TORCHVISION) else None


def torchvision_state(card: str, entry: str, weights_dir: Path | None) -> dict[str, Tensor]:
    """The tensors of a torchvision weights enum entry, from `weights_dir` if the file lies there, else downloaded.

    The file's hash is part of its name and is checked.
    """
    from torchvision.models import get_weight

    try:
        weights = get_weight(entry)
    except (ValueError, KeyError, AttributeError) as error:
        raise WeightsError(f"card {card}: torchvision has no weights named {entry}") from error
    name = str(weights.url).rsplit("/", 1)[-1]
    folder = str(weights_dir) if weights_dir is not None and (weights_dir / name).is_file() else None
    try:
        state = weights.get_state_dict(progress=False, check_hash=True, model_dir=folder)
    except (OSError, RuntimeError) as error:
        raise WeightsError(
            f"card {card}: {weights.url} cannot be had ({error}). Allow access to it, or put {name} into "
            f"{weights_dir or 'a folder that SEGSERVE_WEIGHTS_DIR names'}."
        ) from error
    return dict(state)


def fetch_file(card: str, hub: HubWeights, weights_dir: Path | None) -> Path:
    """One file of a repository, from `weights_dir/<repo>/` if it lies there."""
    from huggingface_hub import hf_hub_download

    assert hub.filename is not None
    local = _local(hub, weights_dir)
    if local is not None and (local / hub.filename).is_file():
        return local / hub.filename
    with told(card, hub, weights_dir):
        return Path(hf_hub_download(hub.repo, hub.filename, revision=hub.revision))


def place_of(hub: HubWeights, weights_dir: Path | None) -> tuple[str, str]:
    """(what to hand to `from_pretrained`, revision): a folder if `repo` is one or lies under `weights_dir`."""
    local = _local(hub, weights_dir)
    return (hub.repo if local is None else str(local)), hub.revision


@contextmanager
def told(card: str, hub: HubWeights, weights_dir: Path | None) -> Iterator[None]:
    """Whatever a hub library raises, as a `WeightsError` that says what to do."""
    try:
        yield
    except Exception as error:
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise WeightsError(
            f"card {card}: {hub.repo} at revision {hub.revision} cannot be loaded: {reason} Allow access to the hub, "
            f"name a cache that has it in HF_HOME, or put a copy of the repository at "
            f"{(weights_dir or Path('$SEGSERVE_WEIGHTS_DIR')) / hub.repo}."
        ) from error


def _local(hub: HubWeights, weights_dir: Path | None) -> Path | None:
    named = Path(hub.repo)
    place = named if named.is_absolute() else weights_dir / named if weights_dir else None
    return place if place is not None and place.is_dir() else None


def _check_keys(card: Card, info: Mapping[str, Any], place: str) -> None:
    kinds = {"missing": "missing_keys", "unknown": "unexpected_keys", "of another shape": "mismatched_keys"}
    require_fit(card.name, place, {kind: [_name(entry) for entry in info[key]] for kind, key in kinds.items()})


def _name(entry: Any) -> str:
    """A tensor's name; where shapes differ the library gives (name, shape, shape)."""
    return str(entry[0] if isinstance(entry, tuple) else entry)


def _log_differences(card: Card, module: Any) -> None:
    given, config = card.network.get("config", {}), module.config
    for key in _differing(given, config, type(config)(**given)):
        log.warning("card %s: network.config.%s differs from the repository's, which is used", card.name, key)


def _differing(given: Mapping[str, Any], config: Any, wanted: Any) -> Iterator[str]:
    """Which of the keys given, nested ones by their path, are otherwise in `config` than in `wanted`."""
    for key, value in given.items():
        pair = getattr(config, key, None), getattr(wanted, key, None)
        if isinstance(value, Mapping) and all(hasattr(each, "to_dict") for each in pair):
            yield from (f"{key}.{inner}" for inner in _differing(value, *pair))
        elif _plain(pair[0]) != _plain(pair[1]):
            yield key


def _plain(value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else value
