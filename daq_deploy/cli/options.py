"""Options that several verbs share, and the configuration they add up to."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

import typer

from daq_deploy.config import DaqConfig
from daq_deploy.errors import OptionError
from daq_deploy.probe import SIDE

Output = Annotated[Path, typer.Option("--output", "-o", help="File to write.", show_default=False)]
Force = Annotated[bool, typer.Option("--force", help="Overwrite the output if it exists.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON document instead of a table.")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Say what would be quantized and why; write nothing.")]

ImagePath = Annotated[
    Path | None,
    typer.Option("--image", help=f"Picture to run on, its centre of {SIDE}x{SIDE} pixels; synthetic if not given."),
]

Bits = Annotated[
    int, typer.Option("--bits", metavar="2..8", help="Bits of the body's weights and of the feature maps they read.")
]
Profile = Annotated[
    str,
    typer.Option(
        "--profile",
        metavar="deploy|paper",
        help="deploy: every layer, edges at 8 bits, the rules that measured best. paper: the body alone, by the "
        "published rules. The options below change single points of it.",
    ),
]
Layers = Annotated[
    str | None, typer.Option("--layers", metavar="body|all", help="Which convolutions to quantize.", show_default=False)
]
Include = Annotated[
    str | None, typer.Option("--include", metavar="REGEX", help="Quantize only layers whose name matches.")
]
Exclude = Annotated[str | None, typer.Option("--exclude", metavar="REGEX", help="Leave layers whose name matches.")]
EdgeBits = Annotated[
    int | None,
    typer.Option(
        "--edge-bits",
        metavar="2..8|32",
        help="Bits of head, closing convolution, upsampler and tail; 32 leaves them float.",
        show_default=False,
    ),
]
WeightBits = Annotated[
    int | None,
    typer.Option("--weight-bits", metavar="2..8", help="Bits of the body's weights; --bits if not given."),
]
ActivationBits = Annotated[
    int | None,
    typer.Option("--activation-bits", metavar="2..8", help="Bits of the body's feature maps; --bits if not given."),
]
RangeRule = Annotated[
    str | None,
    typer.Option(
        "--range-rule",
        metavar="deploy|paper|reference",
        help="How a channel's statistics become its range.",
        show_default=False,
    ),
]
Levels = Annotated[
    str | None,
    typer.Option(
        "--levels",
        metavar="companded|even",
        help="companded: levels lie closer where most values are, in layers of 3 and 4 bits to which it matters. even: "
        "all steps of a channel are alike, which takes fewer operators where the native kernels do not run.",
        show_default=False,
    ),
]
ErrorFeedback = Annotated[
    bool | None,
    typer.Option(
        "--error-feedback/--no-error-feedback",
        help="Let channels make good what those before them lost, in layers of fewer than 8 bits to which it matters; these "
        "layers are faster without it.",
        show_default=False,
    ),
]
WeightRule = Annotated[
    str | None,
    typer.Option(
        "--weight-rule",
        metavar="deploy|nearest|paper",
        help="How weights are rounded: deploy runs the network on pictures to make good each rounding error.",
        show_default=False,
    ),
]
CalibrationFolder = Annotated[
    Path | None,
    typer.Option(
        "--calibration",
        metavar="FOLDER",
        help="A few pictures like those the network is to give, no labels; drawn ones are used if not given.",
        show_default=False,
    ),
]
AttentionBits = Annotated[
    int | None,
    typer.Option(
        "--attention-bits",
        metavar="2..8|32",
        help="Bits of attention branches; 32 leaves them float.",
        show_default=False,
    ),
]
Edges = Annotated[
    str | None,
    typer.Option(
        "--edges",
        metavar="ROLES",
        help="Roles that get --edge-bits, with commas between: head,closing,upsampler,tail.",
        show_default=False,
    ),
]
RangeBits = Annotated[
    int | None,
    typer.Option("--range-bits", metavar="4|8", help="Bits of the channels' spreads; float if not given."),
]
ValueRange = Annotated[
    float | None,
    typer.Option(
        "--value-range",
        metavar="255|1",
        help="Largest pixel value the network works on; 255 if neither this option nor the file says.",
        show_default=False,
    ),
]
ResidualScale = Annotated[
    float,
    typer.Option("--res-scale", help="Residual scaling of EDSR, which no checkpoint shows; 0.1 for the full model."),
]
Mixed = Annotated[
    bool,
    typer.Option(
        "--mixed",
        help="Give each channel of feature maps its own bits, --bits on average; "
        "with weight rule deploy the weights of each layer too.",
    ),
]
TargetDrop = Annotated[
    float | None,
    typer.Option(
        "--target-drop",
        metavar="DB",
        help="Find the fewest --bits that lose at most this much PSNR on the pictures of --calibration, or drawn ones.",
        show_default=False,
    ),
]
TargetSize = Annotated[
    str | None,
    typer.Option(
        "--target-size",
        metavar="BYTES",
        help="Find the most --weight-bits whose file is at most so large: 250000, 250k or 1.5M.",
        show_default=False,
    ),
]
DynamicBatch = Annotated[
    bool, typer.Option("--dynamic-batch", help="Accept any batch size; otherwise one image a run.")
]
Int2 = Annotated[bool, typer.Option("--int2", help="Store 2-bit weights in two bits (needs opset 25).")]


def config_from_options(
    *,
    profile: str = "deploy",
    bits: int = 4,
    layers: str | None = None,
    include: str | None = None,
    exclude: str | None = None,
    edge_bits: int | None = None,
    weight_bits: int | None = None,
    activation_bits: int | None = None,
    range_rule: str | None = None,
    levels: str | None = None,
    error_feedback: bool | None = None,
    weight_rule: str | None = None,
    attention_bits: int | None = None,
    edges: str | None = None,
    range_bits: int | None = None,
    mixed: bool = False,
    dynamic_batch: bool = False,
    int2: bool = False,
) -> DaqConfig:
    """Return the profile's configuration with every option that was given put in its place.

    Raises:
        OptionError: an option is out of its range.
    """
    if not 2 <= bits <= 8:
        raise OptionError(f"--bits {bits}: choose 2 to 8")
    given: dict[str, Any] = {
        "layers": layers,
        "include": include,
        "exclude": exclude,
        "edge_bits": edge_bits,
        "weight_bits": weight_bits,
        "activation_bits": activation_bits,
        "range_rule": range_rule,
        "levels": levels,
        "error_feedback": error_feedback,
        "weight_rule": weight_rule,
        "attention_bits": attention_bits,
        "edges": None if edges is None else tuple(edges.split(",")),
        "range_bits": range_bits,
    }
    changes = {name: value for name, value in given.items() if value is not None}
    return replace(DaqConfig.of_profile(profile, bits), **changes, mixed=mixed, dynamic_batch=dynamic_batch, int2=int2)


_OF_THE_FILE = ("checkpoint", "output", "float_output", "dynamic_batch", "int2", "dry_run", "force", "as_json")
"""Options of `export` that say nothing of how values are quantized."""


def refuse_quantizer_options(context: typer.Context, checkpoint: Path) -> None:
    """Refuse what a fine-tuned checkpoint has settled already.

    Raises:
        OptionError: an option that bears on the quantizers was given.
    """
    for name in context.params:
        if name not in _OF_THE_FILE and getattr(context.get_parameter_source(name), "name", "") == "COMMANDLINE":
            raise OptionError(
                f"--{name.replace('_', '-')}: {checkpoint} was fine-tuned with its quantizers, which cannot change any more; "
                "leave the option out, or export the checkpoint it was made from"
            )


__all__ = [
    "ActivationBits",
    "AsJson",
    "AttentionBits",
    "Bits",
    "CalibrationFolder",
    "DryRun",
    "DynamicBatch",
    "EdgeBits",
    "Edges",
    "ErrorFeedback",
    "Exclude",
    "Force",
    "ImagePath",
    "Include",
    "Int2",
    "Layers",
    "Levels",
    "Mixed",
    "Output",
    "Profile",
    "RangeBits",
    "RangeRule",
    "ResidualScale",
    "TargetDrop",
    "TargetSize",
    "ValueRange",
    "WeightBits",
    "WeightRule",
    "config_from_options",
    "refuse_quantizer_options",
]
