"""`python -m training` and the `training` command."""

from __future__ import annotations

import sys


def main() -> None:
    """Run the command line."""
    try:
        from training.cli import cli  # Ctrl-C may come while it is imported

        cli(prog_name="training")
    except KeyboardInterrupt:
        sys.exit(130)


if __name__ == "__main__":
    main()
