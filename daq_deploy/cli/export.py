"""`daq-deploy export`: checkpoint in, verified DAQ ONNX out."""

from __future__ import annotations

from dataclasses import replace
from importlib.util import find_spec
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
    ResidualScale,
    TargetDrop,
    TargetSize,
    ValueRange,
    WeightBits,
    WeightRule,
    config_from_options,
    refuse_quantizer_options,
)


def export(
    context: typer.Context,
    checkpoint: Annotated[Path, typer.Argument(help=".pt, .pth or .safetensors file.", show_default=False)],
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="DAQ file to write; not needed with --dry-run.")
    ] = None,
    float_output: Annotated[
        Path | None, typer.Option("--float-output", help="Also write the float ONNX file here.", show_default=False)
    ] = None,
    bits: Bits = 4,
    profile: Profile = "deploy",
    res_scale: ResidualScale = 1.0,
    value_range: ValueRange = None,
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
    mixed: Mixed = False,
    target_drop: TargetDrop = None,
    target_size: TargetSize = None,
    dynamic_batch: DynamicBatch = False,
    int2: Int2 = False,
    dry_run: DryRun = False,
    force: Force = False,
    as_json: AsJson = False,
) -> None:
    """Turn a PyTorch checkpoint into a quantized ONNX file, checked against PyTorch on the way.

    The architecture (EDSR, RDN, SRResNet, and with `pip install spandrel` about 40 more) is found from the weights. A
    checkpoint that `finetune` wrote keeps the bits and ranges it was trained with.

    Example: `daq-deploy export edsr.pt --bits 4 -o edsr_daq.onnx`
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
    from daq_deploy.errors import DaqError, OptionError
    from daq_deploy.files import check_output

    from .targets import check_targets, quantize_as_asked

    if find_spec("torch") is None:
        raise DaqError("export needs PyTorch, which is not installed: pip install 'daq-deploy[export]'")
    check_targets(target_drop, target_size, weight_bits, activation_bits)
    if output is None and not dry_run:
        raise OptionError("--output: name the file to write, or use --dry-run")
    if output is not None and output == float_output:
        raise OptionError(f"--float-output {float_output}: is the --output too; name two files")
    for path in (output, float_output):
        if path is not None:
            check_output(path, force)

    from rich.console import Console

    from daq_deploy.api import quantize
    from daq_deploy.model_file import save_model
    from daq_deploy.quantization import INT2_OPSET, OPSET
    from daq_deploy.runtime.session import Session

    from .layers_table import print_layers
    from .progress import progress_bar

    console = Console(stderr=True)
    with console.status("Reading the checkpoint") as status:
        from daq_deploy.exporters.export import CHECK_SIZES, check_against_torch, check_quantized, export_float

        exported = export_float(
            checkpoint, res_scale=res_scale, value_range=value_range, opset=INT2_OPSET if config.int2 else OPSET
        )
        console.print(f"{checkpoint}: {exported.architecture.summary()}", markup=False, highlight=False, soft_wrap=True)
        status.update("Comparing the graph with PyTorch")
        check_against_torch(exported, Session)
    if exported.trained is not None:
        refuse_quantizer_options(context, checkpoint)
        config = replace(exported.trained.config, dynamic_batch=dynamic_batch, int2=int2)
        quantized = quantize(exported.model, config, trained=exported.trained)
    else:
        with progress_bar() as progress:
            quantized = quantize_as_asked(
                exported.model, config, target_drop, target_size, calibration=calibration, progress=progress
            )
    with console.status("Running the quantized graph"):
        psnr = check_quantized(exported, quantized.to_bytes(), Session)
    # The float weights of a fine-tuned network are where its codes come from, no network of their own.
    distance = "runs" if exported.trained is not None else f"{psnr:.1f} dB from it"
    console.print(
        f"float graph equal to PyTorch at {len(CHECK_SIZES)} sizes; quantized graph {distance} on a synthetic picture",
        markup=False,
        highlight=False,
        soft_wrap=True,
    )
    if not dry_run:
        if float_output is not None:
            save_model(exported.model, float_output, force)
        if output is not None:
            quantized.save(output, force)
    print_layers(quantized, checkpoint, None if dry_run else output, as_json)


__all__ = ["export"]
