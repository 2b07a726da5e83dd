"""`fashion-tagger data`: render the synthetic catalogue, convert and show data sets."""

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

import typer

from models.types import LabelledGarment, LabelledPhoto
from serve_app.commands.console import err, out, progress_bar

app = typer.Typer(no_args_is_help=True, help="Render, convert and show data sets.")

_MAPPINGS = Path(__file__).parents[2] / "models" / "mappings"


@app.command()
def render(
    directory: Annotated[Path, typer.Argument(help="Where the set is written.")],
    count: Annotated[int, typer.Option(min=1, help="Photos.")] = 1000,
    seed: Annotated[int, typer.Option(help="The same seed draws the same photos.")] = 0,
    workers: Annotated[int, typer.Option(min=1, help="Processes that draw.")] = 1,
) -> None:
    """Draw catalogue-like photos with boxes and labels: the data set that everybody has."""
    from models.rendering.render import render_dataset

    with progress_bar("photos") as bar:
        task = bar.add_task("rendering", total=count)
        render_dataset(
            directory, count, seed, workers=workers, progress=lambda done, _: bar.update(task, completed=done)
        )
    out.print(f"{count} photos in {directory}")


@app.command()
def convert(
    source: Annotated[Path, typer.Argument(help="A COCO file, or a CSV table with one garment a row.")],
    directory: Annotated[Path, typer.Argument(help="Where the set is written, photos included.")],
    mapping: Annotated[str, typer.Option(help="A shipped mapping (ccp, flat) or a mapping file of your own.")],
    images: Annotated[Path | None, typer.Option(help="Folder of the photos of a COCO file.")] = None,
    split: Annotated[
        str | None, typer.Option(help="Only rows of a CSV table with this value in its split column.")
    ] = None,
) -> None:
    """Convert a labelled data set into the form that training and evaluation read."""
    from models.datasets import write_dataset
    from models.images import decode_image
    from models.ontology import load_ontology
    from models.readers import load_mapping, read_coco, read_csv

    ontology = load_ontology()
    shipped = _MAPPINGS / f"{mapping}.yaml"
    rules = load_mapping(shipped if shipped.exists() else Path(mapping), ontology)
    if rules.format == "coco":
        photos = read_coco(source, images or source.parent / "images", rules, ontology)
    else:
        photos = read_csv(source, rules, ontology, {"split": split} if split else {})

    def copied() -> Iterator[tuple[LabelledPhoto, tuple[int, int]]]:
        (directory / "images").mkdir(parents=True, exist_ok=True)
        with progress_bar("photos") as bar:
            for photo in bar.track(photos, description="converting"):
                height, width = decode_image(photo.path.read_bytes()).shape[:2]
                target = directory / "images" / photo.path.name
                shutil.copyfile(photo.path, target)
                garments = tuple(_clipped(garment, width, height) for garment in photo.garments)
                yield LabelledPhoto(target, garments), (height, width)

    write_dataset(directory, copied(), ontology, {"source": f"{mapping} {source.name} {split or ''}".strip()})
    out.print(f"{len(photos)} photos in {directory}")


def _clipped(garment: LabelledGarment, width: int, height: int) -> LabelledGarment:
    x1, y1, x2, y2 = garment.box
    box = (max(0.0, x1), max(0.0, y1), min(float(width), x2), min(float(height), y2))
    return LabelledGarment(garment.category, box, garment.attributes)


@app.command()
def show(
    directory: Annotated[Path, typer.Argument(help="A set written by render or convert.")],
    to: Annotated[Path, typer.Option(help="Where the pictures are written.")] = Path("out/data"),
    count: Annotated[int, typer.Option(min=1, help="Photos, evenly spread over the set.")] = 20,
) -> None:
    """Draw photos with their boxes and labels, to be looked at before anybody trains on them."""
    from models.datasets import read_dataset
    from models.drawing import Note, draw_notes
    from models.images import decode_image
    from models.ontology import load_ontology

    photos = read_dataset(directory, load_ontology())
    to.mkdir(parents=True, exist_ok=True)
    for photo in photos[:: max(1, len(photos) // count)][:count]:
        notes = [
            Note(garment.box, (garment.category, *(f"{k} {', '.join(v)}" for k, v in garment.attributes.items())))
            for garment in photo.garments
        ]
        draw_notes(decode_image(photo.path.read_bytes()), notes).save(to / f"{photo.path.stem}.png")
    err.print(f"pictures in {to}")
