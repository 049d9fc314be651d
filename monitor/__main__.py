"""`python -m monitor` and the console command `monitor`."""

import os
import sys

# Before anything imports numpy: its products are small here, and threads that wait for each other cost more than
# they give (four times the CPU of a filter over a thousand streams, measured).
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
# Arrays have room for thousands of streams and take memory as streams come; in huge pages, for which numpy asks,
# the first stream would take 2 MiB of each.
os.environ.setdefault("NUMPY_MADVISE_HUGEPAGE", "0")


def main() -> None:
    """Run the command line and exit."""
    try:
        from monitor.cli import run  # noqa: PLC0415 Ctrl-C may come while it is imported

        code = run()
    except KeyboardInterrupt:
        code = 130
    sys.exit(code)


if __name__ == "__main__":
    main()
