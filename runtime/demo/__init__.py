"""The demonstration: `python -m daq_deploy.runtime.demo`."""
