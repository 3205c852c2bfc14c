"""`python -m marey.cli` is `marey`."""

import sys

from marey.cli import main

sys.exit(main())
