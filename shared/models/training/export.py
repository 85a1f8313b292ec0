"""From checkpoints to what is bundled: `street.safetensors` and the OpenVINO graphs `street` and `street_decoder`.

Shapes in the graphs are dynamic; an engine makes them static. Weights are float16 values in every file.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

import openvino as ov
import torch
from torch import Tensor, nn

from shared.models.networks import street_graph
from shared.models.networks.street import EMBEDDING_CHANNELS
from shared.models.networks.street_weights import Street, from_training, save_street
from shared.models.postprocess.street_prompts import MAPS
from shared.models.training.loop import load_checkpoint

LICENCE = "CC BY-NC (trained on CamVid)"


def convert(
    module: nn.Module,
    example: tuple[Tensor, ...],
    shapes: Sequence[dict[int, str]],
    names: tuple[Sequence[str], Sequence[str]],
) -> ov.Model:
    """`module` as an OpenVINO model whose dimensions named in `shapes` (by input) are dynamic."""
    dims = {name: torch.export.Dim.DYNAMIC for shape in shapes for name in shape.values()}
    dynamic = tuple({axis: dims[name] for axis, name in shape.items()} for shape in shapes)
    with torch.no_grad():
        program = torch.export.export(module.eval(), example, dynamic_shapes=dynamic, strict=False)
        model = ov.convert_model(program)
    for ports, given in ((model.inputs, names[0]), (model.outputs, names[1])):
        for port, name in zip(ports, given, strict=True):
            port.get_tensor().set_names({name})
    return model


def dense_model(street: Street) -> ov.Model:
    """Pixels [1,h,w,3] to every dense output and the embedding."""
    example = (torch.zeros(1, 360, 480, 3, dtype=torch.uint8),)
    names = (street_graph.DENSE_INPUTS, street_graph.DENSE_OUTPUTS)
    return convert(street_graph.DenseGraph(street.dense), example, [{1: "h", 2: "w"}], names)


def decoder_model(street: Street) -> ov.Model:
    """Embedding and prompt maps to masks."""
    example = (torch.zeros(1, EMBEDDING_CHANNELS, 90, 120, dtype=torch.float16), torch.zeros(2, MAPS, 90, 120))
    names = (street_graph.DECODER_INPUTS, street_graph.DECODER_OUTPUTS)
    shapes: list[dict[int, str]] = [{2: "h", 3: "w"}, {0: "n", 2: "h", 3: "w"}]
    return convert(street_graph.DecoderGraph(street.decoder), example, shapes, names)


def export(street: Street, out: Path, metadata: dict[str, str]) -> None:
    """Write all files into `out`."""
    out.mkdir(parents=True, exist_ok=True)
    save_street(street, out / "street.safetensors", {"licence": LICENCE, **metadata})
    for name, model in (("street", dense_model(street)), ("street_decoder", decoder_model(street))):
        ov.save_model(model, str(out / f"{name}.xml"), compress_to_fp16=True)


def main(arguments: list[str] | None = None) -> None:
    """Export the averages of a training run."""
    parser = argparse.ArgumentParser(prog="python -m shared.models.training.export", description=__doc__)
    parser.add_argument(
        "--checkpoint", type=Path, required=True, help="the training's --out: dense_final.pt and prompt.pt"
    )
    parser.add_argument("--out", type=Path, default=Path("shared/models/bundled"))
    options = parser.parse_args(arguments)
    dense = load_checkpoint(options.checkpoint / "dense_final.pt")
    prompt = load_checkpoint(options.checkpoint / "prompt.pt")
    metadata = {
        "temperature": f"{dense['temperature']:.4f}",
        "offsets": " ".join(map(str, dense["offsets"])),
        "steps": f"{dense['steps']} dense, {prompt['steps']} prompt",
    }
    export(from_training(dense["net"], prompt["average"]), options.out, metadata)


if __name__ == "__main__":
    main()
