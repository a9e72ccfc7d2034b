"""`daq-deploy quantize`: float ONNX in, DAQ ONNX out."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from .options import (
    ActivationBits,
    AsJson,
    AttentionBits,
    Bits,
    CalibrationFolder,
    DryRun,
    DynamicBatch,
    EdgeBits,
    Edges,
    ErrorFeedback,
    Exclude,
    Force,
    Include,
    Int2,
    Layers,
    Levels,
    Mixed,
    Profile,
    RangeBits,
    RangeRule,
    TargetDrop,
    TargetSize,
    ValueRange,
    WeightBits,
    WeightRule,
    config_from_options,
)


def quantize(
    model: Annotated[Path, typer.Argument(help="Float ONNX file of a super-resolution network.")],
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="DAQ file to write; not needed with --dry-run.")
    ] = None,
    bits: Bits = 4,
    profile: Profile = "deploy",
    layers: Layers = None,
    include: Include = None,
    exclude: Exclude = None,
    edge_bits: EdgeBits = None,
    weight_bits: WeightBits = None,
    activation_bits: ActivationBits = None,
    attention_bits: AttentionBits = None,
    edges: Edges = None,
    range_rule: RangeRule = None,
    levels: Levels = None,
    error_feedback: ErrorFeedback = None,
    weight_rule: WeightRule = None,
    calibration: CalibrationFolder = None,
    range_bits: RangeBits = None,
    value_range: ValueRange = None,
    mixed: Mixed = False,
    target_drop: TargetDrop = None,
    target_size: TargetSize = None,
    dynamic_batch: DynamicBatch = False,
    int2: Int2 = False,
    inline: Annotated[
        bool, typer.Option("--inline", help="Inline the functions, for importers without them (OpenVINO).")
    ] = False,
    dry_run: DryRun = False,
    force: Force = False,
    as_json: AsJson = False,
) -> None:
    """Quantize an exported super-resolution network.

    Example: `daq-deploy quantize edsr.onnx --bits 4 -o edsr_daq.onnx`
    """
    config = config_from_options(
        profile=profile,
        bits=bits,
        layers=layers,
        include=include,
        exclude=exclude,
        edge_bits=edge_bits,
        weight_bits=weight_bits,
        activation_bits=activation_bits,
        attention_bits=attention_bits,
        edges=edges,
        range_rule=range_rule,
        levels=levels,
        error_feedback=error_feedback,
        weight_rule=weight_rule,
        range_bits=range_bits,
        mixed=mixed,
        dynamic_batch=dynamic_batch,
        int2=int2,
    )
    from daq_deploy.errors import OptionError
    from daq_deploy.files import check_output

    from .layers_table import print_layers
    from .progress import progress_bar
    from .targets import check_targets, quantize_as_asked

    check_targets(target_drop, target_size, weight_bits, activation_bits)
    if output is None and not dry_run:
        raise OptionError("--output: name the file to write, or use --dry-run")
    if output is not None:
        check_output(output, force)
    with progress_bar() as progress:
        quantized = quantize_as_asked(
            model,
            config,
            target_drop,
            target_size,
            value_range=value_range,
            inline=inline,
            calibration=calibration,
            progress=progress,
        )
    if output is not None and not dry_run:
        quantized.save(output, force)
    print_layers(quantized, model, None if dry_run else output, as_json)


__all__ = ["quantize"]
