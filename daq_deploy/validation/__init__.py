"""Proof that a DAQ file is what it claims to be, and how far it is from the float network."""

from .image import gradients_and_edges
from .report import CodeDifference, DataScores, LayerFidelity, Level, ValidationReport
from .sessions import OpenSession, OutputRunner
from .validate import Picture, Reference, TorchImplementation, Validation, onnx_reference

__all__ = [
    "CodeDifference",
    "DataScores",
    "LayerFidelity",
    "Level",
    "OpenSession",
    "OutputRunner",
    "Picture",
    "Reference",
    "TorchImplementation",
    "Validation",
    "ValidationReport",
    "gradients_and_edges",
    "onnx_reference",
]
