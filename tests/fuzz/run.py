"""Fuzz with atheris, guided by coverage: python -m tests.fuzz.run [TARGET...] --seconds 60.

Each target runs in a process of its own for that long; the exit code is 0 when none found anything. What was found
is left in the folder that is named, to be run again with --input FILE.
"""

from __future__ import annotations

import argparse
import importlib.util
import subprocess
import sys
import tempfile
from pathlib import Path


def main() -> int:
    """Run the targets that are named, or all."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", maxsplit=1)[0])
    parser.add_argument("targets", nargs="*")
    parser.add_argument("--seconds", type=int, default=60)
    parser.add_argument("--input", type=Path, help="Run one target on this file, without atheris.")
    parser.add_argument("--inside", action="store_true", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.inside:
        return fuzz(given.targets[0], Path(given.targets[1]), given.seconds)
    from tests.fuzz.targets import TARGETS

    if unknown := set(given.targets) - set(TARGETS):
        parser.error(f"expected some of {', '.join(TARGETS)}, got {', '.join(sorted(unknown))}")
    if given.input:
        TARGETS[given.targets[0]](given.input.read_bytes())
        return 0
    if importlib.util.find_spec("atheris") is None:
        say("atheris is not installed: pip install --group fuzz (Linux, Python 3.11 to 3.13)")
        return 2
    failed = [name for name in given.targets or TARGETS if not run(name, given.seconds)]
    say(f"{len(failed)} targets found something: {', '.join(failed)}" if failed else "nothing found")
    return 1 if failed else 0


def say(line: str) -> None:
    """A line on stdout, at once."""
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


def run(name: str, seconds: int) -> bool:
    """One target in a process of its own; whether it ended well."""
    folder = Path(tempfile.mkdtemp(prefix=f"fuzz-{name}-"))
    command = [sys.executable, "-m", "tests.fuzz.run", "--inside", name, str(folder), "--seconds", str(seconds)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=seconds + 120, check=False)
    runs = [line for line in done.stderr.splitlines() if line.startswith("Done ")]
    say(f"{name:10} {runs[-1] if runs else 'stopped early'}")
    if done.returncode:
        say(f"  see {folder}\n" + "\n".join(done.stderr.splitlines()[-30:]))
    return done.returncode == 0


def fuzz(name: str, folder: Path, seconds: int) -> int:
    """The child: instrument, and go."""
    import atheris

    with atheris.instrument_imports(include=["monitor", "tests.fuzz.targets"]):
        from tests.fuzz.targets import TARGETS, seeds
    corpus = folder / "corpus"
    corpus.mkdir(parents=True, exist_ok=True)
    for number, data in enumerate(seeds()[name]):
        (corpus / f"seed-{number}").write_bytes(data)
    options = [f"-max_total_time={seconds}", f"-artifact_prefix={folder}/", "-max_len=4096", "-rss_limit_mb=4096"]
    if name == "model":
        options[2] = "-max_len=40000"
    atheris.Setup([sys.argv[0], str(corpus), *options], TARGETS[name])
    atheris.Fuzz()
    return 0


if __name__ == "__main__":
    sys.exit(main())
