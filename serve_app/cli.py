"""The `fashion-tagger` command; each group of commands is a module in `serve_app.commands`."""

import typer

from models.errors import TaggingError
from serve_app.commands import bundle, catalog, data, evaluate, keys, loadtest, serve, tag, top, train
from serve_app.commands.console import err

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help="Finds the garments in a product photo and answers the catalogue attributes of each.",
)
app.command()(serve.serve)
app.command()(tag.tag)
app.command()(catalog.catalog)
app.command()(serve.config)
app.command()(evaluate.evaluate)
app.command()(loadtest.loadtest)
app.command()(top.top)
app.add_typer(data.app, name="data")
app.add_typer(train.app, name="train")
app.add_typer(bundle.app, name="bundle")
app.add_typer(keys.app, name="keys")
bundle.app.command()(evaluate.calibrate)


def main() -> None:
    """Run the command line; a refusal of ours is one sentence and exit status 1, never a traceback."""
    try:
        app()
    except TaggingError as exc:
        err.print(f"[bold red]error:[/] {exc.message}", highlight=False)
        if exc.detail:
            err.print(exc.detail, style="dim", highlight=False, markup=False)
        raise SystemExit(1) from exc
