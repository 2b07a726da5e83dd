"""`fashion-tagger bundle`: put trained parts together, look inside, verify."""

import json
from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table

from serve_app.commands.console import out
from serve_app.config import DEMO_BUNDLE, TaggerArgs

app = typer.Typer(no_args_is_help=True, help="Build, inspect and verify bundles: all that the service loads.")

BundleArgument = Annotated[str, typer.Argument(help="Path or fsspec URL of the bundle, or demo.")]


@app.command()
def build(
    directory: Annotated[Path, typer.Argument(help="Where the bundle is written.")],
    detector: Annotated[
        list[Path],
        typer.Option(
            help="detector.json of a training run, or another bundle; given again, the mean of the weights of runs "
            "that began with the same ones."
        ),
    ],
    classifiers: Annotated[Path, typer.Option(help="classifiers.json of a training run, or another bundle.")],
    name: Annotated[str, typer.Option(help="Name of the bundle.")],
    version: Annotated[str, typer.Option(help="Version of the bundle.")],
    recipe: Annotated[
        Path | None, typer.Option(help="JSON kept as its provenance: command lines, data sets, hardware.")
    ] = None,
) -> None:
    """Put a trained detector and trained classifiers together."""
    from models.bundle_writer import write_bundle

    training = json.loads(recipe.read_text(encoding="utf-8")) if recipe else {}
    write_bundle(directory, name=name, version=version, detectors=detector, classifiers=classifiers, training=training)
    verify(str(directory.absolute()))  # "demo" alone is the shipped one


@app.command()
def inspect(
    bundle: BundleArgument = DEMO_BUNDLE,
    as_json: Annotated[bool, typer.Option("--json", help="The whole manifest.")] = False,
) -> None:
    """Show what a bundle can answer, how good it was measured to be, and where it came from."""
    from models.bundle import load_bundle

    loaded = load_bundle(TaggerArgs(bundle=bundle).bundle_uri)
    if as_json:
        print(json.dumps(dict(loaded.manifest), indent=2))
        return
    out.print(f"{loaded.label}  {loaded.num_bytes / 1e6:.1f} MB  sha256 {loaded.digest}", highlight=False)
    table = Table("category", "attribute", "choice", "values")
    for category in loaded.ontology.categories.values():
        for attribute in category.attributes.values():
            table.add_row(category.name, attribute.name, attribute.choice, ", ".join(attribute.values))
    out.print(table)
    for title, content in (("quality", loaded.quality), ("training", loaded.training)):
        out.print(f"{title}: {json.dumps(dict(content), indent=2)}", highlight=False, markup=False)


@app.command()
def verify(bundle: BundleArgument = DEMO_BUNDLE) -> None:
    """Check every digest, and that the weights fit the ontology. Exit status 1 if anything is wrong."""
    from models.bundle import load_bundle

    loaded = load_bundle(TaggerArgs(bundle=bundle).bundle_uri)
    out.print(f"{loaded.label} is whole: {len(loaded.manifest['files'])} files, {loaded.num_bytes / 1e6:.1f} MB")
