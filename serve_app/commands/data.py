"""`fashion-tagger data`: render the synthetic catalogue; convert, check and show data sets."""

from pathlib import Path
from typing import Annotated

import typer

from serve_app.commands.console import err, out, progress_bar

app = typer.Typer(no_args_is_help=True, help="Render, convert, check and show data sets.")

_MAPPINGS = Path(__file__).parents[2] / "models" / "mappings"


@app.command()
def render(
    directory: Annotated[Path, typer.Argument(help="Where the set is written.")],
    count: Annotated[int, typer.Option(min=1, help="Photos.")] = 1000,
    seed: Annotated[int, typer.Option(help="The same seed draws the same photos.")] = 0,
    workers: Annotated[int, typer.Option(min=1, help="Processes that draw.")] = 1,
    open_share: Annotated[
        float,
        typer.Option(min=0, max=1, help="Of the figures, that wear open outerwear over a top or dress."),
    ] = 0.0,
) -> None:
    """Draw catalogue-like photos with boxes and labels: the data set that everybody has."""
    from models.rendering.render import render_dataset

    with progress_bar("photos") as bar:
        task = bar.add_task("rendering", total=count)
        render_dataset(
            directory,
            count,
            seed,
            workers=workers,
            progress=lambda done, _: bar.update(task, completed=done),
            open_share=open_share,
        )
    out.print(f"{count} photos in {directory}")


@app.command()
def convert(
    source: Annotated[Path, typer.Argument(help="The annotation file of a data set, or its folder.")],
    directory: Annotated[Path, typer.Argument(help="Where the set is written, photos included.")],
    mapping: Annotated[str, typer.Option(help="A shipped mapping (see models/mappings), or a file of your own.")],
    images: Annotated[Path | None, typer.Option(help="Folder of the photos, if they lie elsewhere.")] = None,
    split: Annotated[str | None, typer.Option(help="Only this part of a set that tells its splits.")] = None,
) -> None:
    """Convert a labelled data set into the form that training and evaluation read."""
    from models.converting import convert as write
    from models.ontology import load_ontology
    from models.readers import load_mapping, read_labels

    ontology = load_ontology()
    shipped = _MAPPINGS / f"{mapping}.yaml"
    rules = load_mapping(shipped if shipped.exists() else Path(mapping), ontology)
    photos = read_labels(source, rules, ontology, images, split)
    facts = {"source": f"{mapping} {source.name} {split or ''}".strip()}
    with progress_bar("photos") as bar:
        task = bar.add_task("converting", total=len(photos))
        left_out = write(photos, rules, directory, ontology, facts, lambda done, _: bar.update(task, completed=done))
    _some(left_out, "left out")
    out.print(f"{len(photos)} photos in {directory}")


@app.command()
def check(
    directories: Annotated[list[Path], typer.Argument(help="Sets; of several, photos that two share are found too.")],
) -> None:
    """Say what is wrong with sets before anybody trains on them; ends with 1 if anything is."""
    from itertools import combinations

    from models.ontology import load_ontology
    from models.set_check import check_set, shared_photos

    ontology = load_ontology()
    with progress_bar("photos") as bar:
        task = bar.add_task("reading", total=None)
        checks = [check_set(each, ontology, lambda: bar.advance(task)) for each in directories]
    shared = []
    for found in checks:
        counts = ", ".join(f"{name} {found.garments[name]}" for name in ontology.category_names)
        out.print(f"{found.name}: {len(found.photos)} photos, {found.num_empty} without garment; {counts}")
        for (category, name), values in found.values.items():
            known = ontology.categories[category].attributes[name].values
            shown = ", ".join(f"{value} {values[value]}" for value in known)
            out.print(f"  {category}.{name}: {shown}", highlight=False)
        _some(found.problems, f"wrong in {found.name}")
    for first, second in combinations(checks, 2):
        shared += [f"{first.name}/{one} and {second.name}/{other}" for one, other in shared_photos(first, second)]
    _some(shared, "look alike in two sets")
    raise typer.Exit(bool(shared) or any(found.problems for found in checks))


def _some(lines: list[str], title: str, most: int = 20) -> None:
    if lines:
        out.print(f"{len(lines)} {title}:", highlight=False)
        for line in lines[:most]:
            out.print(f"  {line}", highlight=False, markup=False)
        if len(lines) > most:
            out.print(f"  and {len(lines) - most} more")


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
