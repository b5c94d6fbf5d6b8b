"""``python -m gatepost`` is the ``gatepost`` command."""

import sys

from .cli import main

sys.exit(main())
