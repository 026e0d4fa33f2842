"""``python main.py …``: the same commands as the installed ``bdsynth``."""

import sys

from bdsynth.cli.main import main

if __name__ == "__main__":
    sys.exit(main())
