"""What can go wrong, told in one line.

DaqError                exit code 2: the input or an option is at fault
├── CheckpointError     a checkpoint that cannot be read, is not safe to read, or whose architecture is unknown
├── ModelError          an ONNX file that is invalid, unsafe, or cannot be quantized at all
│   └── OutOfMemoryError    a picture for which the network needs more memory than there is
├── ImageError          a picture that cannot be read or written
├── OptionError         an option out of its range, or two that exclude each other
├── OutputExistsError   the output is there already and --force was not given
├── ProviderError       the execution provider asked for does not start, or not for every node
└── CheckFailed         exit code 1: everything ran, and a check was not met
"""

from __future__ import annotations


class DaqError(Exception):
    """Base of all errors a user can cause. The message is one line: what is wrong, where, and what to do."""

    exit_code = 2


class CheckpointError(DaqError):
    """A checkpoint cannot be read, is not safe to read, or has an unknown architecture."""


class ModelError(DaqError):
    """An ONNX file is invalid, unsafe, or cannot be quantized at all."""


class OutOfMemoryError(ModelError):
    """The network needs more memory for a picture than there is."""


class ImageError(DaqError):
    """A picture cannot be read or written."""


class OptionError(DaqError):
    """An option is out of its range, or two options exclude each other."""


class OutputExistsError(DaqError):
    """The output exists and may not be overwritten."""


class ProviderError(DaqError):
    """The execution provider asked for does not start, or does not take every node."""


class CheckFailed(DaqError):
    """Everything ran, and a check was not met."""

    exit_code = 1


__all__ = [
    "CheckFailed",
    "CheckpointError",
    "DaqError",
    "ImageError",
    "ModelError",
    "OptionError",
    "OutOfMemoryError",
    "OutputExistsError",
    "ProviderError",
]
