"""`python -m samfleet` is the command `samfleet`."""

import sys

from samfleet.cli import main

if __name__ == "__main__":
    sys.exit(main())
