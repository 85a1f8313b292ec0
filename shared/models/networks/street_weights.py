"""The bundled weights: one safetensors file of float16 values, normalisation folded, into `StreetNet` and
`PromptDecoder`.

The exported graphs hold the same rounded values, so that torch and OpenVINO compute with equal weights.
"""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from shared.models.networks.street import StreetNet, fuse
from shared.models.networks.street_prompt import PromptDecoder


class Street(NamedTuple):
    """Both halves, fused, in eval mode, float32 holding float16-representable values."""

    dense: StreetNet
    decoder: PromptDecoder


def build() -> Street:
    """Both halves with random weights, in the fused form that is stored."""
    return _as_stored(Street(StreetNet(), PromptDecoder()))


def from_training(dense: dict[str, Tensor], decoder: dict[str, Tensor]) -> Street:
    """Fuse and round the state dicts that the training's averages hold."""
    street = Street(StreetNet(), PromptDecoder())
    street.dense.load_state_dict(dense)
    street.decoder.load_state_dict(decoder)
    return _as_stored(street)


def _as_stored(street: Street) -> Street:
    """The same, fused, rounded and without what only training needs."""
    street.dense.auxiliary = nn.Sequential()
    for net in street:
        net.eval().requires_grad_(False)
        fuse(net)
        _round_to_half(net)
    return street


def save_street(street: Street, path: Path, metadata: dict[str, str]) -> None:
    """Write `path` (.safetensors) in float16 with its metadata."""
    tensors = {
        f"{half}.{name}": value.half().contiguous()
        for half, net in zip(Street._fields, street, strict=True)
        for name, value in net.state_dict().items()
    }
    save_file(tensors, path, metadata)


def load_street(path: Path) -> Street:
    """Read what `save_street` wrote. Raises RuntimeError when a tensor is missing, unknown or of another shape."""
    street = build()
    with safe_open(path, framework="pt") as file:
        tensors = {name: file.get_tensor(name).float() for name in file.keys()}  # noqa: SIM118 (not a dict)
    for half, net in zip(Street._fields, street, strict=True):
        prefix = f"{half}."
        net.load_state_dict({k.removeprefix(prefix): v for k, v in tensors.items() if k.startswith(prefix)})
    return street


def parameter_count(street: Street) -> int:
    """Stored numbers of both halves."""
    return sum(p.numel() for net in street for p in net.parameters())


def _round_to_half(net: nn.Module) -> None:
    for parameter in net.parameters():
        parameter.data = parameter.data.half().float()
