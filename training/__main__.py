"""`python -m training` and the `training` command."""

from __future__ import annotations

from training.cli import cli


def main() -> None:
    """Run the command line."""
    cli(prog_name="training")


if __name__ == "__main__":
    main()
