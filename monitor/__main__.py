"""`python -m monitor` and the console command `monitor`."""

import sys

from monitor.cli import run


def main() -> None:
    """Run the command line and exit."""
    sys.exit(run())


if __name__ == "__main__":
    main()
