"""`python -m hubspool.cli`."""

import sys

from hubspool.cli import main

sys.exit(main())
