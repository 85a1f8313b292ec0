"""Numbers that a module's code writes out as tensors, pass after pass (`torch.tensor([...], device=...)`): made at
their first use and remembered, so that no pass waits for their copy to a GPU and a recorded one holds none.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

MAKERS = (torch.tensor, torch.as_tensor)
MOST = 4096
"""Constants remembered at most: shapes that never come again must not fill the memory."""


class Constants(TorchFunctionMode):
    """While it is on, equal numbers for `device` are made once; each use gets a copy of its own."""

    def __init__(self, device: torch.device) -> None:
        super().__init__()
        self._device = device
        self.made: dict[tuple[object, ...], Tensor] = {}

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Sequence[type],
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        """Calls `func`, or remembers what it made."""
        given = dict(kwargs or {})
        if func not in MAKERS or not self._is_ours(given.get("device")) or not plain(args[0] if args else None):
            return func(*args, **given)
        key = (repr(args), repr(sorted(given.items())))
        if key not in self.made:
            made: Tensor = func(*args, **given)
            if len(self.made) < MOST:
                self.made[key] = made
            return made.clone()
        return self.made[key].clone()

    def _is_ours(self, device: object) -> bool:
        return device is not None and torch.device(str(device)).type == self._device.type


def plain(numbers: object) -> bool:
    """Whether these are numbers only, in lists, and no tensor or array among them."""
    if isinstance(numbers, list | tuple):
        return all(map(plain, numbers))
    return isinstance(numbers, int | float)
