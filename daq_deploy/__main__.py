"""`python -m daq_deploy` is `daq-deploy`."""

from .cli import main

if __name__ == "__main__":
    main()
