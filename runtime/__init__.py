"""Run, upscale and benchmark DAQ files under ONNX Runtime."""
