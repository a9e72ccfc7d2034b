"""`daq-deploy finetune`: train a network with its quantizers in place."""

from __future__ import annotations

import json
from dataclasses import asdict
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from .options import (
    ActivationBits,
    AsJson,
    AttentionBits,
    Bits,
    EdgeBits,
    Edges,
    Exclude,
    Force,
    Include,
    Layers,
    Mixed,
    ResidualScale,
    ValueRange,
    WeightBits,
    config_from_options,
)
from .session_options import Threads

if TYPE_CHECKING:
    from daq_deploy.finetuning import Point


def finetune(
    checkpoint: Annotated[Path, typer.Argument(help=".pt, .pth or .safetensors file.", show_default=False)],
    data: Annotated[
        Path,
        typer.Option(
            "--data",
            metavar="FOLDER",
            help="High-resolution pictures, in it or in folders in it; low-resolution ones are made by MATLAB's bicubic.",
            show_default=False,
        ),
    ],
    output: Annotated[
        Path, typer.Option("--output", "-o", help="Checkpoint to write; `export` takes it.", show_default=False)
    ],
    bits: Bits = 4,
    minutes: Annotated[
        float | None,
        typer.Option("--minutes", help="Budget: as many steps are made as fit into it.", show_default=False),
    ] = None,
    steps: Annotated[
        int | None, typer.Option("--steps", help="Steps of the optimizer; 2000 without --minutes.", show_default=False)
    ] = None,
    validation: Annotated[
        Path | None,
        typer.Option(
            "--validation",
            metavar="FOLDER",
            help="Pictures that choose the best weights, laid out as for `evaluate`; 8 of --data are held out if not given.",
            show_default=False,
        ),
    ] = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on with a run to the same output that was stopped.")
    ] = False,
    batch: Annotated[int, typer.Option("--batch", help="Patches a step, over all processes.")] = 16,
    patch: Annotated[int, typer.Option("--patch", help="Side of a high-resolution patch in pixels.")] = 64,
    learning_rate: Annotated[float, typer.Option("--learning-rate", help="Largest learning rate (Adam).")] = 5e-4,
    distillation: Annotated[
        float,
        typer.Option(
            "--distillation", help="Share of the float network's output in the target; the rest is the picture."
        ),
    ] = 0.5,
    every: Annotated[
        int, typer.Option("--every", help="Steps between validations; the run's state is saved at each.")
    ] = 200,
    patience: Annotated[
        int | None,
        typer.Option("--patience", help="Validations without a better PSNR that end the run.", show_default=False),
    ] = None,
    seed: Annotated[int, typer.Option("--seed", help="Of the choice of patches.")] = 0,
    log: Annotated[
        Path | None,
        typer.Option("--log", metavar="FOLDER", help="Write curves for TensorBoard here.", show_default=False),
    ] = None,
    device: Annotated[
        str, typer.Option("--device", metavar="auto|cpu|cuda", help="auto: CUDA where there is one.")
    ] = "auto",
    processes: Annotated[
        int, typer.Option("--processes", help="One a GPU, or on the CPU. Under torchrun, torchrun decides.")
    ] = 1,
    threads: Threads = None,
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
    mixed: Mixed = False,
    force: Force = False,
    as_json: AsJson = False,
) -> None:
    """Train a checkpoint with its quantizers in place, where two or three bits must look like float.

    Bits and ranges are first chosen without training, then weights, their steps and the ranges' tails train.

    Example: daq-deploy finetune edsr.pt --bits 2 --data photos/ --minutes 45 -o edsr_w2a2.pt
    """
    config = config_from_options(
        bits=bits,
        layers=layers,
        include=include,
        exclude=exclude,
        edge_bits=edge_bits,
        weight_bits=weight_bits,
        activation_bits=activation_bits,
        attention_bits=attention_bits,
        edges=edges,
        mixed=mixed,
    )
    from daq_deploy.errors import DaqError, OptionError

    for package in ("torch", "lightning_fabric", "tensorboardX"):
        if find_spec(package) is None:
            raise DaqError(f"finetune needs {package}, which is not installed: pip install 'daq-deploy[finetune]'")
    if device not in ("auto", "cpu", "cuda"):
        raise OptionError(f"--device {device}: choose auto, cpu or cuda")
    if processes < 1:
        raise OptionError(f"--processes {processes}: choose 1 or more")
    import torch

    from daq_deploy.finetuning import Listener, TrainingOptions, finetune_checkpoint, open_fabric

    from .progress import progress_bar

    options = TrainingOptions(
        steps, minutes, batch, patch, learning_rate, distillation, every=every, patience=patience, seed=seed
    )
    if threads is not None:
        torch.set_num_threads(threads)
    fabric = open_fabric(device, processes)
    shown = fabric.is_global_zero

    def warn(line: str) -> None:
        if shown:
            typer.echo(line, err=True)

    try:
        with progress_bar(shown) as progress:

            def report(point: Point) -> None:
                if point.steps is not None:
                    progress(f"Training{_left(point)}", point.step / point.steps)
                if point.psnr_y is not None:
                    warn(_line(point))

            result = finetune_checkpoint(
                checkpoint,
                config,
                data,
                output,
                res_scale=res_scale,
                value_range=value_range,
                options=options,
                validation=validation,
                resume=resume,
                force=force,
                log=log,
                fabric=fabric,
                listener=Listener(report, progress, warn),
            )
    except KeyboardInterrupt:
        warn("stopped; the same command with --resume goes on from the last validation")
        raise typer.Exit(130) from None
    if not shown:
        return
    if as_json:
        typer.echo(
            json.dumps({"output": str(output), "history": [asdict(point) for point in result.history]}, indent=2)
        )
        return
    best = max(result.history, key=lambda point: point.psnr_y or 0.0)
    typer.echo(
        f"{output}: PSNR-Y {best.psnr_y:.3f} dB on the validation pictures after {best.step} steps, "
        f"{result.history[0].psnr_y:.3f} dB before; next: daq-deploy export {output} -o MODEL.onnx"
    )


def _line(point: Point) -> str:
    of = f"/{point.steps}" if point.steps is not None else ""
    loss = f"  L1 {point.loss:.3f}" if point.step else ""
    return f"step {point.step}{of}  {point.seconds / 60:.1f} min{loss}  PSNR-Y {point.psnr_y:.3f} dB{_left(point)}"


def _left(point: Point) -> str:
    left = point.seconds_left
    return "" if not left else f"  {left / 60:.0f} min left" if left >= 60 else f"  {left:.0f} s left"


__all__ = ["finetune"]
