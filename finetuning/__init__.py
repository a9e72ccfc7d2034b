"""Quantization-aware training on top of the training-free quantizer: weights, weight steps and the tails of ranges learn."""

from .checkpoint import finetune_checkpoint
from .devices import open_fabric
from .finetune import FineTuned, Listener, finetune
from .options import TrainingOptions
from .training import Point

__all__ = ["FineTuned", "Listener", "Point", "TrainingOptions", "finetune", "finetune_checkpoint", "open_fabric"]
