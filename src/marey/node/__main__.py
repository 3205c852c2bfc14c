"""`python -m marey.node`: the process of one node, started by the supervisor."""

import sys

from marey.node.worker import main

sys.exit(main())
