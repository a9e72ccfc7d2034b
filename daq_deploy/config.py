"""What is asked of the quantizer: one frozen value that travels in the metadata of every DAQ file."""

from __future__ import annotations

import json
import re
from dataclasses import asdict, dataclass, fields, replace
from typing import Any

from .errors import ModelError, OptionError

CONFIG_VERSION = 1
FLOAT_BITS = 32
"""The bit-width that stands for "left float"."""

PROFILES = ("deploy", "paper")
RANGE_RULES = ("deploy", "paper", "reference")
LEVELS = ("companded", "even")
WEIGHT_RULES = ("deploy", "nearest", "paper", "trained")
"""`trained` is that of a fine-tuned checkpoint, whose steps come with it."""
EDGE_ROLES = ("head", "closing", "upsampler", "tail")


@dataclass(frozen=True)
class DaqConfig:
    """How a network is quantized.

    Raises:
        OptionError: a field is out of its range.
    """

    weight_bits: int = 4
    """Bits of the body's weights, 2 to 8."""
    activation_bits: int = 4
    """Bits of the feature maps that the body's convolutions read, 2 to 8."""
    edge_bits: int = 8
    """Bits of weights and activations of the convolutions whose role is in `edges`, 2 to 8; 32 leaves them float."""
    edges: tuple[str, ...] = EDGE_ROLES
    """Roles that count as edges, out of head, closing, upsampler, tail."""
    attention_bits: int = 8
    """Bits of convolutions in an attention branch, 2 to 8; 32 leaves them float."""
    layers: str = "all"
    """`all`, or `body`: only convolutions whose role is body are quantized."""
    include: str | None = None
    """Quantize only layers whose name matches this regular expression."""
    exclude: str | None = None
    """Leave layers float whose name matches this regular expression."""
    range_rule: str = "deploy"
    """Rule that gives a channel's range: one of RANGE_RULES."""
    weight_rule: str = "deploy"
    """Rule that quantizes weights: one of WEIGHT_RULES."""
    levels: str = "companded"
    """Levels of the `deploy` range rule: one of LEVELS.

    `companded` steps grow away from the value around which a feature map's others crowd, in layers of 3 and 4 bits, where
    pictures show that it lowers the output's error; `even` steps are all alike, and quantized in fewer operators.
    """
    error_feedback: bool = True
    """With the `deploy` range rule, let channels make good what those before them lost.

    In layers of fewer than 8 bits where pictures show that it lowers the output's error by enough for the time it takes.
    """
    range_bits: int | None = None
    """Bits to which the spreads of a layer's channels are quantized, 4 or 8; None keeps them float."""
    mixed: bool = False
    """Give each channel of the body's feature maps its own bits, 2 to 8, `activation_bits` on average.

    With weight rule `deploy` the weights of each layer get their own too, `weight_bits` on average.
    """
    dynamic_batch: bool = False
    """Accept any batch size, one range per image and channel; otherwise one image a run."""
    int2: bool = False
    """Store 2-bit weights in two bits (opset 25); otherwise in four (opset 21)."""
    profile: str = "deploy"
    """The profile this configuration started from: one of PROFILES."""

    def __post_init__(self) -> None:
        for name in ("weight_bits", "activation_bits"):
            _check_bits(name, getattr(self, name), allow_float=False)
        for name in ("edge_bits", "attention_bits"):
            _check_bits(name, getattr(self, name), allow_float=True)
        _check_choice("layers", self.layers, ("all", "body"))
        _check_choice("range_rule", self.range_rule, RANGE_RULES)
        _check_choice("levels", self.levels, LEVELS)
        _check_choice("weight_rule", self.weight_rule, WEIGHT_RULES)
        _check_choice("range_bits", self.range_bits, (None, 4, 8))
        _check_choice("profile", self.profile, PROFILES)
        if self.mixed and self.range_rule != "deploy":
            raise OptionError(f"--mixed: needs range rule deploy, not {self.range_rule}")
        for role in self.edges:
            _check_choice("edges", role, EDGE_ROLES)
        for name in ("include", "exclude"):
            pattern = getattr(self, name)
            if pattern is not None:
                try:
                    re.compile(pattern)
                except re.error as error:
                    raise OptionError(f"{_flag(name)} {pattern!r} is not a regular expression: {error}") from error

    @property
    def needs_pictures(self) -> bool:
        """Whether tails, weights or both are chosen by running the network on pictures."""
        return self.weight_rule == "deploy" or (self.range_rule == "deploy" and self.weight_rule != "trained")

    @classmethod
    def of_profile(cls, profile: str, bits: int = 4) -> DaqConfig:
        """Return a profile's configuration at `bits` for the weights and activations of the body.

        `deploy` quantizes everything, edges and attention at 8 bits, by the rules that measured best. `paper`
        quantizes the body alone by the published rules (DAQ, WACV 2022) and leaves the rest float.
        """
        _check_choice("profile", profile, PROFILES)
        config = cls(weight_bits=bits, activation_bits=bits)
        if profile == "paper":
            return replace(
                config,
                profile="paper",
                range_rule="paper",
                levels="even",
                error_feedback=False,
                range_bits=4,
                weight_rule="paper",
                layers="body",
            )
        return config

    def to_json(self) -> str:
        """Return the configuration as one line of versioned JSON."""
        return json.dumps({"version": CONFIG_VERSION, **asdict(self)}, sort_keys=True)

    @classmethod
    def from_json(cls, text: str) -> DaqConfig:
        """Read what `to_json` wrote.

        Raises:
            ModelError: the text is not a configuration, or of a newer version.
        """
        try:
            values: dict[str, Any] = json.loads(text)
            version = values.pop("version")
            known = {field.name for field in fields(cls)}
            if version != CONFIG_VERSION or not known >= set(values):
                raise ModelError(
                    f"daq.config version {version}: this daq-deploy reads version {CONFIG_VERSION}; update it"
                )
            values["edges"] = tuple(values["edges"])
            return cls(**values)
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            raise ModelError(f"the file's daq.config is damaged: {error}") from error


def _flag(name: str) -> str:
    return "--" + name.replace("_", "-")


def _check_bits(name: str, bits: int, allow_float: bool) -> None:
    if not (2 <= bits <= 8 or (allow_float and bits == FLOAT_BITS)):
        float_hint = f", or {FLOAT_BITS} for float" if allow_float else ""
        raise OptionError(f"{_flag(name)} {bits}: choose 2 to 8{float_hint}")


def _check_choice(name: str, value: object, choices: tuple[object, ...]) -> None:
    if value not in choices:
        listed = ", ".join("none" if choice is None else str(choice) for choice in choices)
        raise OptionError(f"{_flag(name)} {value}: choose one of {listed}")


__all__ = [
    "CONFIG_VERSION",
    "EDGE_ROLES",
    "FLOAT_BITS",
    "LEVELS",
    "PROFILES",
    "RANGE_RULES",
    "WEIGHT_RULES",
    "DaqConfig",
]
