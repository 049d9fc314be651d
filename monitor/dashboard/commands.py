"""What can be typed after `:`: the words, what each needs, and what it does."""

from __future__ import annotations

from typing import NamedTuple


class Command(NamedTuple):
    """A word that can be typed; `do_NAME` of the screen's actions carries it out."""

    name: str
    needs: str
    """What may follow; empty for nothing."""
    text: str


COMMANDS = (
    Command("ack", "[all]", "acknowledge the most urgent alarm, or all"),
    Command("silence", "[SECONDS]", "silence what calls now; 0 ends it"),
    Command("test", "[high|medium|low]", "raise a test alarm, which everybody sees"),
    Command("true", "[TEXT]", "the selected alarm was right"),
    Command("false", "[TEXT]", "the selected alarm was false"),
    Command("note", "TEXT", "say something about now, or about the cursor's moment"),
    Command("why", "", "why an alarm was raised"),
    Command("alarms", "[PATTERN]", "the alarm log in large, filtered"),
    Command("stream", "NAME", "look at a stream"),
    Command("filter", "[PATTERN]", "list the streams that match a regular expression"),
    Command("sort", "name|trouble|rate|loss", "order of the streams"),
    Command("pin", "", "keep the selected stream on the screen, or let it go"),
    Command("overview", "", "all streams in little"),
    Command("time", "SECONDS", "show about so much time"),
    Command("gain", "STEPS|auto", "enlarge by steps of 1.4; below zero reduces"),
    Command("goto", "[-SECONDS|HH:MM:SS]", "look at another time"),
    Command("live", "", "back to what is live"),
    Command("freeze", "", "let the picture stand"),
    Command("theme", "dark|light|ecg|colour|16|no", "colours"),
    Command("glyphs", "braille|quadrant|half|ascii|sextant", "what curves are drawn with"),
    Command("record", "[PATTERN|off]", "have the daemon record streams, all by default; off ends it"),
    Command("export", "csv|wfdb [PATH]", "write what is seen to a file"),
    Command("screenshot", "[PATH]", "save a picture of the screen"),
    Command("copy", "", "copy what is seen as text"),
    Command("help", "", "what every key does"),
    Command("quit", "", "leave; the daemon goes on"),
)


class CommandError(Exception):
    """What was typed is no command; the message says what would be."""


def parse(text: str) -> tuple[Command, str]:
    """The command that was typed, by its name or a beginning of it, and the rest; raises CommandError."""
    word, _, rest = text.strip().partition(" ")
    word = word.lower()
    exact = [command for command in COMMANDS if command.name == word]
    found = exact or [command for command in COMMANDS if word and command.name.startswith(word)]
    if len(found) == 1:
        return found[0], rest.strip()
    if found:
        raise CommandError(f"{word}: which one: {', '.join(command.name for command in found)}?")
    raise CommandError(f"no command {word[:30]!r}; press ? for a list")


def seconds_of(text: str) -> float:
    """A number of seconds; raises CommandError."""
    try:
        return float(text)
    except ValueError:
        raise CommandError(f"expected a number of seconds, got {text[:30]!r}") from None


def clock_ns(text: str, near_ns: int) -> int:
    """The data time of the day of `near_ns` at HH:MM[:SS[.mmm]]; raises CommandError."""
    day = 86_400 * 10**9
    try:
        parts = [float(part) for part in text.split(":")]
        hours, minutes, seconds = [*parts, 0.0][:3] if len(parts) in (2, 3) else (-1.0, 0.0, 0.0)
    except ValueError:
        hours = minutes = seconds = -1.0
    if not (0 <= hours < 24 and 0 <= minutes < 60 and 0 <= seconds < 60):
        raise CommandError(f"expected a time like 13:46:05 or a number of seconds like -30, got {text[:30]!r}")
    t_ns = near_ns // day * day + round((hours * 3600 + minutes * 60 + seconds) * 1e9)
    return t_ns if t_ns <= near_ns + 3600 * 10**9 else t_ns - day
