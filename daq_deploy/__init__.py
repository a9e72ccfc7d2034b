"""daq-deploy: channel-wise distribution-aware quantization of super-resolution networks."""
