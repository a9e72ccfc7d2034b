"""Quantization-aware training on top of the training-free quantizer: weights, weight steps and the tails of ranges learn."""

from .checkpoint import finetune_checkpoint
from .devices import open_fabric
from .finetune import FineTuned, Listener, finetune
from .onnx_weights import copy_onnx_weights
from .options import TrainingOptions
from .training import Point

__all__ = [
    "FineTuned",
    "Listener",
    "Point",
    "TrainingOptions",
    "copy_onnx_weights",
    "finetune",
    "finetune_checkpoint",
    "open_fabric",
]
