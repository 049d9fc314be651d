"""How every verb tells what went wrong."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import click

from monitor.core.errors import ConfigError, MonitorError


def speaks_plainly(verb: Callable[..., None]) -> Callable[..., None]:
    """What went wrong on purpose, or for want of a package, is one line and its exit code, not a traceback.

    Ctrl-C ends with 130, as every program that it ends.
    """

    @functools.wraps(verb)
    def run(*args: Any, **kwargs: Any) -> None:
        try:
            verb(*args, **kwargs)
        except MonitorError as error:
            click.echo(f"error: {error}", err=True)
            raise click.exceptions.Exit(error.exit_code) from error
        except ModuleNotFoundError as error:
            click.echo(f"error: the package {error.name} is missing; pip install 'foretrace[train]'", err=True)
            raise click.exceptions.Exit(ConfigError.exit_code) from error
        except OSError as error:
            if error.filename is None:
                raise
            click.echo(f"error: {error.filename}: {error.strerror}", err=True)
            raise click.exceptions.Exit(MonitorError.exit_code) from error
        except KeyboardInterrupt:
            raise click.exceptions.Exit(130) from None

    return run
