"""Checkpoint to float ONNX: safe loading, architecture detection, export."""
