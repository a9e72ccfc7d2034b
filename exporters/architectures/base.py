"""What an adapter is: detect, read the parameters, build, describe."""

from __future__ import annotations

import json
import math
import re
from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from typing import Any, ClassVar

from torch import Size, Tensor, nn

Shapes = Mapping[str, Size]
"""Shape of every tensor of a checkpoint by name."""


@dataclass(frozen=True)
class Undetectable:
    """What the weights do not show, as the user states it."""

    res_scale: float = 1.0
    """Factor on the residual branches of EDSR; 0.1 for its full model of 256 channels."""
    value_range: float | None = None
    """Largest pixel value of input and output, 255 or 1; None takes what the architecture's own code trains on."""


@dataclass(frozen=True)
class ArchitectureDescription:
    """The network a checkpoint holds; travels in the metadata of the float ONNX file."""

    name: str
    scale: int
    value_range: float
    """Largest pixel value of input and output, 255.0 or 1.0."""
    parameters: Mapping[str, int | float | bool]
    """Arguments of the network's constructor."""

    def summary(self) -> str:
        """Return the description as a line to read."""
        parameters = "".join(f", {name} {value}" for name, value in self.parameters.items() if name != "scale")
        return f"{self.name} x{self.scale}{parameters}, pixel values 0..{self.value_range:g}"

    def to_json(self) -> str:
        """Return the description as one line of JSON."""
        return json.dumps({**asdict(self), "parameters": dict(self.parameters)}, sort_keys=True)


class Architecture(ABC):
    """An adapter. `detect` looks at names and shapes only; no tensor is read."""

    name: ClassVar[str]
    value_range: ClassVar[float]
    """Largest pixel value that the architecture's own code trains on."""
    has_res_scale: ClassVar[bool] = False
    """Whether `Undetectable.res_scale` means something to it."""

    @abstractmethod
    def detect(self, shapes: Shapes) -> bool:
        """Return whether a checkpoint is of this architecture."""

    @abstractmethod
    def read_parameters(self, shapes: Shapes) -> dict[str, Any]:
        """Return the constructor arguments that a checkpoint shows, `scale` among them.

        Raises:
            KeyError, ValueError: the checkpoint has the architecture's names, but not its shapes.
        """

    def read_value_range(self, state_dict: Mapping[str, Tensor]) -> float | None:
        """Return the value range where the weights tell it, or None."""
        return None

    @abstractmethod
    def build(self, parameters: Mapping[str, Any]) -> nn.Module:
        """Return the network with weights of any value."""


def is_image_convolution(shapes: Shapes, name: str) -> bool:
    """Return whether `name` is the weight of a convolution that reads three channels."""
    shape = shapes.get(name)
    return shape is not None and len(shape) == 4 and shape[1] == 3


def sequence_length(names: Iterable[str], prefix: str) -> int:
    """Return how many children `prefix`0, `prefix`1, ... there are without a gap: the length of an nn.Sequential."""
    pattern = re.compile(re.escape(prefix) + r"(\d{1,6})\.")
    indices = {int(match[1]) for match in map(pattern.match, names) if match}
    return next(length for length in range(len(indices) + 1) if length not in indices)


def square_root(number: int) -> int:
    """Return the integer whose square is `number`: the scale behind a pixel shuffle.

    Raises:
        ValueError: there is none.
    """
    root = math.isqrt(number)
    if root**2 != number:
        raise ValueError(f"{number} channels are no square number for a pixel shuffle")
    return root


__all__ = [
    "Architecture",
    "ArchitectureDescription",
    "Shapes",
    "Undetectable",
    "is_image_convolution",
    "sequence_length",
    "square_root",
]
