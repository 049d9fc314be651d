"""The commands in Textual's command palette (Ctrl-P): the same list that `:` takes."""

from __future__ import annotations

from collections.abc import AsyncIterator
from functools import partial

from textual.command import DiscoveryHit, Hit, Provider

from monitor.dashboard.actions import Actions
from monitor.dashboard.commands import COMMANDS, Command
from monitor.dashboard.widgets.prompt import Prompt


class Finder(Provider):
    """Finds commands by what they are called and what they do."""

    def _do(self, command: Command) -> None:
        screen = self.screen
        if not isinstance(screen, Actions):
            return
        if command.needs and not command.needs.startswith("["):
            screen.query_one(Prompt).ask("command", f"{command.name} ")  # it cannot do without
        else:
            screen.carry_out(command.name)

    async def discover(self) -> AsyncIterator[DiscoveryHit]:
        """All of them."""
        for command in COMMANDS:
            yield DiscoveryHit(command.name, partial(self._do, command), help=command.text)

    async def search(self, query: str) -> AsyncIterator[Hit]:
        """Those that match."""
        matcher = self.matcher(query)
        for command in COMMANDS:
            score = matcher.match(f"{command.name} {command.text}")
            if score > 0:
                yield Hit(score, matcher.highlight(command.name), partial(self._do, command), help=command.text)
