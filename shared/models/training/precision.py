"""Where bfloat16 pays: a device goes in, the autocast context that a forward pass should run in comes out."""

from __future__ import annotations

import torch


def computes_bfloat16(device: torch.device) -> bool:
    """Whether `device` has instructions for bfloat16. A CPU without them emulates it, twenty times slower than
    float32.
    """
    if device.type == "cpu":
        return bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())
    return bool(torch.cuda.is_bf16_supported(including_emulation=False))


def mixed(device: torch.device, wanted: bool = True) -> torch.autocast:
    """A context of bfloat16 where that is `wanted` and the device computes it, else of float32."""
    return torch.autocast(device.type, torch.bfloat16, enabled=wanted and computes_bfloat16(device))
