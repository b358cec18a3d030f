"""`python -m inversionview`."""

import sys

from inversionview.cli import main

if __name__ == "__main__":
    sys.exit(main())
