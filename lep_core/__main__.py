"""`python -m lep_core VERB`: the command line."""

import sys

from lep_core.cli import main

if __name__ == "__main__":
    sys.exit(main())
