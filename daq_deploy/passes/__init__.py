"""Graph passes, one a file: float graph in, DAQ graph out. `daq_deploy.quantization` runs them in order."""
