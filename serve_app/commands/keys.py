"""`fashion-tagger keys`: make, list and remove the API keys of a file; routers see a change within a second."""

from pathlib import Path
from typing import Annotated

import typer
from pydantic import ValidationError
from rich.table import Table

from models.errors import TaggingError
from serve_app.commands.console import err, out
from serve_app.keys import SCOPES, Key, digest_of, new_key, read_keys, write_keys

app = typer.Typer(no_args_is_help=True, help="API keys: digests, scopes and limits in a file.")
_File = Annotated[Path, typer.Option("--file", help="The file of keys.")]
_DEFAULT_FILE = Path("api-keys.yaml")


@app.command()
def add(
    name: Annotated[str, typer.Argument(help="Stands in metrics: lower case letters, digits and hyphens.")],
    scope: Annotated[list[str] | None, typer.Option(help=f"Any of {', '.join(SCOPES)}; repeatable.")] = None,
    per_second: Annotated[float | None, typer.Option(help="Photos per second and router.")] = None,
    per_day: Annotated[int | None, typer.Option(help="Photos per UTC day and router.")] = None,
    file: _File = _DEFAULT_FILE,
) -> None:
    """Make a key and print it, this once: the file keeps its digest only."""
    keys = read_keys(file) if file.exists() else ()
    if any(key.name == name for key in keys):
        raise TaggingError(f"there is a key named {name} already; remove it, or take another name")
    secret = new_key()
    limits = {"per_second": per_second, "per_day": per_day}
    try:
        key = Key.model_validate({"name": name, "sha256": digest_of(secret), "scopes": scope or ["tag"], **limits})
    except ValidationError as exc:
        first = exc.errors(include_input=False, include_url=False)[0]
        raise TaggingError(f"{first['loc'][0]}: {first['msg']}") from None
    write_keys(file, (*keys, key))
    print(secret)
    err.print(f"{name} is in {file}; the key itself stands nowhere but above")


@app.command(name="list")
def list_keys(file: _File = _DEFAULT_FILE) -> None:
    """Show names, scopes and limits."""
    table = Table("name", "scopes", "per second", "per day")
    for key in read_keys(file):
        table.add_row(key.name, ", ".join(key.scopes), f"{key.per_second or '-'}", f"{key.per_day or '-'}")
    out.print(table)


@app.command()
def remove(name: Annotated[str, typer.Argument(help="As in the list.")], file: _File = _DEFAULT_FILE) -> None:
    """Revoke a key."""
    keys = read_keys(file)
    left = [key for key in keys if key.name != name]
    if len(left) == len(keys):
        raise TaggingError(f"there is no key named {name}")
    write_keys(file, left)
