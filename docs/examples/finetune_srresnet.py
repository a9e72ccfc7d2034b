"""Fine-tune an SRResNet x4 whose weights are at hand as an ONNX file only.

python docs/examples/finetune_srresnet.py srresnet_x4.onnx photos/ --bits 2 --minutes 45 -o srresnet_w2a2.onnx
"""

from __future__ import annotations

import argparse
from pathlib import Path

import torch
from torch import Tensor, nn

from daq_deploy import DaqConfig
from daq_deploy.files import check_output
from daq_deploy.finetuning import Listener, Point, TrainingOptions, copy_onnx_weights, finetune
from daq_deploy.models.srresnet import SRResNet


class BytesSRResNet(nn.Module):
    """SRResNet as some train it: it reads 0..1, and tanh bounds its output, -1..1. Here both are pixel values 0..255."""

    def __init__(self) -> None:
        super().__init__()
        self.network = SRResNet(scale=4, n_slopes=64, batch_norm=False)

    def forward(self, x: Tensor) -> Tensor:
        return (torch.tanh(self.network(x / 255)) + 1) * 127.5


def show(point: Point) -> None:
    """Print what the validations find."""
    if point.psnr_y is not None:
        print(f"step {point.step} of {point.steps}, {point.seconds / 60:.1f} min: {point.psnr_y:.3f} dB", flush=True)


def main() -> None:
    """Read the command line and train."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path, help="float ONNX file of SRResNet x4")
    parser.add_argument("data", type=Path, help="folder of high-resolution pictures")
    parser.add_argument("-o", "--output", type=Path, required=True, help="DAQ file to write")
    parser.add_argument("--bits", type=int, default=2)
    parser.add_argument("--minutes", type=float, default=45)
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--patch", type=int, default=96)
    parser.add_argument("--force", action="store_true", help="overwrite the output")
    options = parser.parse_args()
    check_output(options.output, options.force)
    module = BytesSRResNet().eval()
    copy_onnx_weights(options.model, module)
    tuned = finetune(
        module,
        DaqConfig.of_profile("deploy", options.bits),
        options.data,
        options.output.with_suffix(".state.pt"),
        options=TrainingOptions(minutes=options.minutes, batch=options.batch, patch=options.patch, every=100),
        listener=Listener(report=show, warn=print),
    )
    tuned.quantized().save(options.output, options.force)


if __name__ == "__main__":
    main()
