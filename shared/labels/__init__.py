"""What label ids mean: label spaces as data (`spaces/*.yaml`), names to ids, palettes, and the way between spaces."""

from shared.labels.remapping import apply_table, remap
from shared.labels.space import Label, LabelSpace, label_space, label_spaces

__all__ = ["Label", "LabelSpace", "apply_table", "label_space", "label_spaces", "remap"]
