"""The speed table: DAQ against float, ONNX Runtime INT8 and OpenVINO. `make benchmark`."""
