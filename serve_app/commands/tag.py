"""`fashion-tagger tag`: photos in; a table for people, JSON for programs, pictures to look at."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, cast

import typer
from rich.markup import escape
from rich.table import Table

from models.drawing import Note, draw_notes
from models.errors import TaggingError
from models.image_headers import PHOTO_SUFFIXES
from models.images import decode_image
from serve_app.client import TaggerClient, TagQuery
from serve_app.commands.console import err, out
from serve_app.config import DEMO_BUNDLE
from serve_app.schemas import Garment, TagResponse

Outcome = tuple[Path, TagResponse | TaggingError]


def tag(
    photos: Annotated[list[Path], typer.Argument(help="Photos: JPEG, PNG or WebP files, or folders of them.")],
    url: Annotated[str | None, typer.Option(help="Ask a running service instead of loading the models here.")] = None,
    api_key: Annotated[
        str | None, typer.Option(envvar="TAGGER_API_KEY", help="Key for the service; better in the environment.")
    ] = None,
    bundle: Annotated[str, typer.Option(help="Path or fsspec URL of the bundle to load here.")] = DEMO_BUNDLE,
    device: Annotated[str, typer.Option(help="cpu or cuda, where the models are loaded here.")] = "cpu",
    min_score: Annotated[float | None, typer.Option(min=0, max=1, help="Drop detections below it.")] = None,
    category: Annotated[str | None, typer.Option(help="The whole photo shows this category: skip detection.")] = None,
    lang: Annotated[str | None, typer.Option(help="Names for people in this language: en, de or fr.")] = None,
    profile: Annotated[
        str | None, typer.Option(help="Renaming profile: its name at the service, or its file where none is asked.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object a line: file, and answer or error.")] = False,
    draw: Annotated[Path | None, typer.Option(help="Write pictures with boxes and tags into this folder.")] = None,
) -> None:
    """Tag photos. Exit status 1 if any photo could not be tagged."""
    paths = [path for given in photos for path in _expanded(given)]
    asked = {"min_score": min_score, "category": category, "lang": lang, "profile": profile}
    query = cast(TagQuery, {name: value for name, value in asked.items() if value is not None})
    outcomes = _from_service(paths, url, api_key, query) if url else _here(paths, bundle, device, query)
    failures = 0
    for path, outcome in outcomes:
        if isinstance(outcome, TaggingError):
            failures += 1
        if as_json:
            print(json.dumps({"file": str(path), **_as_dict(outcome)}))
        elif isinstance(outcome, TaggingError):
            err.print(f"[bold red]{escape(path.name)}[/]: {escape(outcome.message)}", highlight=False)
        elif outcome.garments:
            out.print(response_table(path.name, outcome))
        else:
            out.print(f"{escape(path.name)}: no garment found", highlight=False)
        if draw and isinstance(outcome, TagResponse):
            _draw(path, outcome, draw)
    if failures:
        raise typer.Exit(1)


def response_table(title: str, response: TagResponse) -> Table:
    """A garment a row: category, score, attributes and colours, for a terminal."""
    table = Table(title=escape(title), title_justify="left")
    for column in ("garment", "score", "attributes", "colours"):
        table.add_column(column)
    for garment in response.garments:
        attributes = escape("\n".join(_attribute_lines(garment))) or garment.status
        colours = "\n".join(
            f"[{colour.hex}]██[/] {escape(colour.label or colour.name)} {colour.share:.0%}"
            for colour in garment.colours
        )
        table.add_row(escape(garment.label or garment.category), f"{garment.score:.2f}", attributes, colours)
    return table


def _attribute_lines(garment: Garment) -> list[str]:
    return [
        f"{name} {', '.join(f'{value.label or value.value} {value.score:.2f}' for value in values)}"
        for name, values in garment.attributes.items()
        if values
    ]


def _expanded(path: Path) -> list[Path]:
    if path.is_dir():
        return sorted(each for each in path.iterdir() if each.suffix.lower() in PHOTO_SUFFIXES)
    return [path]


def _here(paths: list[Path], bundle: str, device: str, query: TagQuery) -> Iterator[Outcome]:
    from serve_app.local import LocalTagger

    profiles = query.get("profile", "")
    if profiles:
        query["profile"] = Path(profiles).stem
    with err.status("loading the models"):
        tagger = LocalTagger(bundle, device, profiles)
    with tagger:
        for path in paths:
            try:
                yield path, tagger.tag(path, **query)
            except OSError as exc:
                yield path, TaggingError(f"the file cannot be read: {exc.strerror}")
            except TaggingError as exc:
                yield path, exc


def _from_service(paths: list[Path], url: str, api_key: str | None, query: TagQuery) -> Iterator[Outcome]:
    with TaggerClient(url, api_key=api_key) as client:
        yield from zip(paths, client.tag_many(paths, **query), strict=True)


def _as_dict(outcome: TagResponse | TaggingError) -> dict[str, object]:
    if isinstance(outcome, TagResponse):
        return outcome.model_dump(mode="json", exclude_none=True)
    return {"error": {"code": outcome.code, "message": outcome.message}}


def _draw(path: Path, response: TagResponse, directory: Path) -> None:
    directory.mkdir(parents=True, exist_ok=True)
    notes = [
        Note(garment.box, (f"{garment.label or garment.category} {garment.score:.2f}", *_attribute_lines(garment)))
        for garment in response.garments
    ]
    draw_notes(decode_image(path.read_bytes()), notes).save(directory / f"{path.stem}.png")
