"""Train the small EDSR that ships: `python -m daq_deploy.models.train_edsr HR_FOLDER -o edsr.safetensors`.

Patches of HR images with flips and quarter turns, LR by MATLAB-like bicubic, L1 loss, Adam, cosine schedule, fixed
seed. The network is trained on pixel values 0..1 and stored for 0..255: the same function, and the value range that
EDSR checkpoints have.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image
from safetensors.torch import save_file
from torch import Tensor
from torch.nn.functional import l1_loss

from daq_deploy.metrics.resize import crop_to_multiple, resize_bicubic
from daq_deploy.models.edsr import EDSR, rescale_values

Pair = tuple[npt.NDArray[np.uint8], npt.NDArray[np.uint8]]


def load_pairs(folder: Path, scale: int) -> list[Pair]:
    """Read every PNG of a folder as (LR, HR), both (H, W, 3) uint8."""
    pairs: list[Pair] = []
    for path in sorted(folder.glob("*.png")):
        high = crop_to_multiple(np.asarray(Image.open(path).convert("RGB")), scale)
        pairs.append((resize_bicubic(high, 1 / scale), high))
    if not pairs:
        raise SystemExit(f"{folder}: no PNG images")
    return pairs


def batches(
    pairs: list[Pair], scale: int, patch: int, batch: int, generator: np.random.Generator
) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield endless random (LR, HR) batches, float32 (N, 3, H, W) in 0..1; larger images are drawn more often."""
    area = np.array([float(low.shape[0] * low.shape[1]) for low, _ in pairs])
    while True:
        lows: list[npt.NDArray[np.uint8]] = []
        highs: list[npt.NDArray[np.uint8]] = []
        for index in generator.choice(len(pairs), size=batch, p=area / area.sum()):
            low, high = pairs[index]
            y, x = (int(generator.integers(0, size - patch + 1)) for size in low.shape[:2])
            turns, flip = int(generator.integers(4)), bool(generator.integers(2))
            for image, factor, patches in ((low, 1, lows), (high, scale, highs)):
                cut = image[y * factor : (y + patch) * factor, x * factor : (x + patch) * factor]
                cut = np.rot90(cut, turns)
                patches.append(np.ascontiguousarray(cut[:, ::-1] if flip else cut).transpose(2, 0, 1))
        yield _as_tensor(lows), _as_tensor(highs)


def _as_tensor(patches: list[npt.NDArray[np.uint8]]) -> Tensor:
    return torch.from_numpy(np.stack(patches)).float() / 255


def train(arguments: argparse.Namespace) -> None:
    """Train and write the checkpoint; print loss and time as it goes."""
    torch.manual_seed(arguments.seed)
    generator = np.random.default_rng(arguments.seed)
    model = EDSR(arguments.scale, arguments.n_resblocks, arguments.n_feats, value_range=1.0)
    model = model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    optimizer = torch.optim.Adam([p for p in model.parameters() if p.requires_grad], lr=arguments.lr)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, arguments.steps, eta_min=1e-6)
    pairs = load_pairs(arguments.folder, arguments.scale)
    stream = batches(pairs, arguments.scale, arguments.patch, arguments.batch, generator)
    start, running = time.monotonic(), 0.0
    for step, (low, high) in zip(range(1, arguments.steps + 1), stream, strict=False):
        loss = l1_loss(model(low.contiguous(memory_format=torch.channels_last)), high)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        running += loss.item()
        if step % 100 == 0:
            seconds = time.monotonic() - start
            print(f"step {step}/{arguments.steps}  L1 {running / 100 * 255:.3f}  {seconds:.0f} s", flush=True)
            running = 0.0
    state = {name: tensor.contiguous() for name, tensor in rescale_values(model.state_dict(), 255.0).items()}
    save_file(state, arguments.output, metadata={"architecture": "EDSR", "scale": str(arguments.scale)})


def main() -> None:
    """Parse the command line and train."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="HR images (PNG)")
    parser.add_argument("-o", "--output", type=Path, required=True, help="the .safetensors file to write")
    parser.add_argument("--scale", type=int, default=2)
    parser.add_argument("--n-resblocks", type=int, default=8)
    parser.add_argument("--n-feats", type=int, default=32)
    parser.add_argument("--patch", type=int, default=32, help="LR patch size in pixels")
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--steps", type=int, default=9000)
    parser.add_argument("--lr", type=float, default=1e-3)
    parser.add_argument("--seed", type=int, default=1)
    train(parser.parse_args())


if __name__ == "__main__":
    main()
