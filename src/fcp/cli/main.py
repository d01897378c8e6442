"""The command ``fcp``: its subcommands, and error messages of one line.

Commands import torch inside their functions, so that ``--help`` answers at once.
"""

from __future__ import annotations

import warnings
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

import fcp
from fcp.cli.app import app as page
from fcp.cli.calibrate import calibrate
from fcp.cli.checkpoint import import_checkpoint
from fcp.cli.data import app as data
from fcp.cli.demo import demo
from fcp.cli.episodes import episodes
from fcp.cli.evaluate import evaluate
from fcp.cli.label_studio import label_studio
from fcp.cli.models import models
from fcp.cli.reproduce import reproduce
from fcp.cli.segment import segment
from fcp.cli.stop import Stopped, stoppable
from fcp.cli.train import RecipeHelp, train
from fcp.errors import FcpError

INTERRUPTED = 130  # exit status of a command that Ctrl-C ended


class OneLineErrors(TyperGroup):
    """A command group that reports a failure as one line on standard error and an exit status."""

    # Contexts are click's or typer's own, depending on typer's version.
    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:  # noqa: ANN401
        """Accept ``--debug`` before and after the subcommand's name; refuse empty words.

        Raises:
            typer.BadParameter: an argument is empty. As a path it would mean the current folder.
        """
        if "" in args:
            before = ["fcp", *args][args.index("")]
            raise typer.BadParameter(f"the value after {before!r} is empty; is a variable unset?")
        rest = [arg for arg in args if arg != "--debug"]
        return super().parse_args(ctx, ["--debug", *rest] if len(rest) < len(args) else rest)

    def invoke(self, ctx: Any) -> object:  # noqa: ANN401
        """Run the subcommand.

        Raises:
            typer.Exit: with status 1 after an error, 130 after Ctrl-C, 143 after SIGTERM.
        """
        try:
            with stoppable():
                return super().invoke(ctx)
        except KeyboardInterrupt as error:
            _say("interrupted; to continue, run it again (segment and train: with --resume)")
            status = error.status if isinstance(error, Stopped) else INTERRUPTED
            raise typer.Exit(status) from error
        except (FcpError, OSError) as error:
            if ctx.params["debug"]:
                raise
            _say(str(error))
            raise typer.Exit(1) from error


app = typer.Typer(
    cls=OneLineErrors,
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.command()(segment)
app.command()(demo)
app.command("app")(page)
app.command()(models)
app.command(cls=RecipeHelp)(train)
app.command()(evaluate)
app.command()(reproduce)
app.command()(episodes)
app.add_typer(data)
app.command()(calibrate)
app.command()(import_checkpoint)
app.command()(label_studio)


def _show_version(asked: bool) -> None:
    if asked:
        typer.echo(f"fcp {fcp.__version__}")
        raise typer.Exit


@app.callback()
def options(
    debug: Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")] = False,
    version: Annotated[
        bool,
        typer.Option("--version", help="Show the version.", callback=_show_version, is_eager=True),
    ] = False,
) -> None:
    """Few-shot segmentation: mark an object in a few examples, find it in any photo.

    \b
    Start here:
      fcp demo
      fcp segment --support examples --query photos --out found
    """  # noqa: D301  (\b keeps the lines)


def main() -> None:
    """Run the command line."""
    # Pillow's warning about pictures that it can read; larger ones are still refused.
    warnings.filterwarnings("ignore", message="Image size .* decompression bomb")
    app(prog_name="fcp")


def _say(message: str) -> None:
    typer.secho("error: ", fg="red", nl=False, err=True)
    listed = message.replace(":\n", ": ").replace("\n", "; ")
    typer.echo(" ".join(listed.split()), err=True)
