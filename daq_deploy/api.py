"""The Python interface: the rooms of the house wired together, as the command line does it."""

from __future__ import annotations

from pathlib import Path

import onnx_ir as ir

from .calibration import Calibration, Progress, calibration_mosaics, synthetic_mosaics
from .config import DaqConfig
from .quantization import INT2_OPSET, OPSET, Quantized
from .quantization import quantize as quantize_graph


def quantize(
    model: str | Path | ir.Model,
    config: DaqConfig | None = None,
    *,
    value_range: float | None = None,
    inline: bool = False,
    calibration: Path | None = None,
    progress: Progress = lambda title, share: None,
) -> Quantized:
    """Quantize a float super-resolution network; without training, and without pictures of yours unless you give some.

    Args:
        model: an ONNX file, or a model in memory, which is left as it is.
        config: what is asked; None is the `deploy` profile at 4 bits.
        value_range: largest pixel value of input and output, 255 or 1; None takes what the file says, else 255.
        inline: write the functions of domain `daq` out where they are called.
        calibration: a folder of pictures like those the network is to give; None draws synthetic ones.
        progress: told what is being done, and the share that is done.

    Raises:
        ModelError: the model is invalid, quantized already, or has no convolution that can be quantized as asked.
        ImageError: the folder holds no picture large enough.

    Example:
        >>> quantize("edsr.onnx", DaqConfig.of_profile("deploy", bits=4)).save(Path("edsr_daq.onnx"))  # doctest: +SKIP
    """
    config = config or DaqConfig()
    if "deploy" not in (config.weight_rule, config.range_rule):
        return quantize_graph(model, config, value_range, inline)
    from .runtime.executor import OrtNodeExecutor
    from .runtime.images import read_picture
    from .runtime.session import Session

    if calibration is None:
        images = synthetic_mosaics()
    else:
        source = model if isinstance(model, (str, Path)) else ir.to_proto(model)
        with Session(source) as session:
            scale = session.scale
        images = calibration_mosaics(calibration, scale, lambda path: read_picture(path).rgb)
    executor = OrtNodeExecutor(INT2_OPSET if config.int2 else OPSET)
    return quantize_graph(model, config, value_range, inline, Calibration(images, executor, progress))


__all__ = ["quantize"]
