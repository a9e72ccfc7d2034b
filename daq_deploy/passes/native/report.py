"""What fusion made of each convolution, as data and as the JSON in a fused file's metadata."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from typing import Literal

METADATA_KEY = "daq.native"
"""Metadata entry of a fused file."""
_VERSION = 1

Kind = Literal["native", "exact", "float", "left"]


@dataclass(frozen=True)
class FusedLayer:
    """What became of one convolution."""

    name: str
    kind: Kind
    """native: integer convolution; exact: the same with weights of 16 bits, where 8 would show; float: native with float
    weights; left: ONNX Runtime computes it."""
    reason: str = ""
    """Why it was left; empty otherwise."""


@dataclass(frozen=True)
class Fusion:
    """What became of every convolution, in execution order."""

    layers: tuple[FusedLayer, ...]

    def of_kind(self, *kinds: Kind) -> tuple[FusedLayer, ...]:
        """Return the layers of some kinds."""
        return tuple(layer for layer in self.layers if layer.kind in kinds)

    def to_json(self) -> str:
        """Return the text of the metadata entry."""
        return json.dumps({"version": _VERSION, "layers": [asdict(layer) for layer in self.layers]})

    @classmethod
    def from_json(cls, text: str) -> Fusion:
        """Read the metadata entry of a fused file.

        Raises:
            ValueError: it is damaged, or of a later version.
        """
        values = json.loads(text)
        if not isinstance(values, dict) or values.get("version") != _VERSION:
            raise ValueError(f"{METADATA_KEY} is not of version {_VERSION}")
        try:
            return cls(tuple(FusedLayer(**layer) for layer in values["layers"]))
        except (KeyError, TypeError) as error:
            raise ValueError(f"{METADATA_KEY} is damaged: {error}") from error


__all__ = ["METADATA_KEY", "FusedLayer", "Fusion", "Kind"]
