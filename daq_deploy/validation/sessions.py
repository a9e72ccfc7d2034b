"""What validation needs from a runtime."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from daq_deploy.passes.blocks import DaqBlock
from daq_deploy.runner import Runner


class OutputRunner(Runner, Protocol):
    """An opened network that also returns tensors inside its graph."""

    @property
    def without_native(self) -> str:
        """Why no native kernels are in use; empty where they are."""

    def run_outputs(self, image: npt.NDArray[np.float32], names: Sequence[str]) -> dict[str, npt.NDArray[Any]]:
        """Run once and return the tensors of these names."""


class OpenSession(Protocol):
    """Opens a network."""

    def __call__(
        self,
        model: Path | bytes,
        *,
        provider: str,
        optimization: str = "all",
        extra_outputs: Sequence[str] = (),
        native: bool = False,
    ) -> OutputRunner:
        """Open a file or its bytes.

        Args:
            model: what to open.
            provider: `cpu` or `cuda`.
            optimization: graph optimization level: `disabled`, `basic`, `extended` or `all`.
            extra_outputs: names of tensors inside the graph that `run_outputs` shall return.
            native: use the native kernels where they are installed.
        """


def batches(blocks: Sequence[DaqBlock]) -> Iterator[Sequence[DaqBlock]]:
    """Yield as many blocks at a time as one run shall return the feature maps of, so that memory stays small."""
    for start in range(0, len(blocks), 8):
        yield blocks[start : start + 8]


__all__ = ["OpenSession", "OutputRunner", "batches"]
