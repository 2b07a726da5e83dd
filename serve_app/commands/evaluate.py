"""`fashion-tagger evaluate`: a bundle against a labelled split; and `calibrate`, which fits scores to a split."""

from pathlib import Path
from typing import Annotated

import typer

from serve_app.commands.console import out, progress_bar
from serve_app.config import DEMO_BUNDLE, TaggerArgs

DataArgument = Annotated[Path, typer.Argument(help="A data set that training never saw.")]
BundleOption = Annotated[
    str, typer.Option(help="Path or fsspec URL of the bundle; demo is the shipped one, ./demo a folder.")
]
DeviceOption = Annotated[str, typer.Option(help="cpu or cuda.")]


def evaluate(
    data: DataArgument,
    bundle: BundleOption = DEMO_BUNDLE,
    to: Annotated[Path, typer.Option("--out", help="Folder of report.json and report.html.")] = Path("out/report"),
    split: Annotated[str | None, typer.Option(help="Name of the split in the report; the folder's by default.")] = None,
    device: DeviceOption = "cpu",
    record: Annotated[bool, typer.Option(help="Write the summary into the bundle as its measured quality.")] = False,
) -> None:
    """Measure detection, attributes on true boxes, and attributes on the boxes that were found."""
    from models.bundle import load_bundle
    from models.bundle_writer import record_quality
    from models.datasets import read_dataset, read_facts
    from models.evaluate import evaluate as measure
    from models.evaluate import quality_summary, save_report
    from models.report import summary_lines

    loaded = load_bundle(TaggerArgs(bundle=bundle).bundle_uri)
    photos = read_dataset(data, loaded.ontology)
    with progress_bar("photos") as bar:
        task = bar.add_task("evaluating", total=len(photos))
        report = measure(
            loaded,
            photos,
            split or data.name,
            device=device,
            complete=read_facts(data).get("complete", True),
            on_photo=lambda done, _: bar.update(task, completed=done),
        )
    save_report(report, photos, to)
    if record:
        record_quality(loaded.dir, {**loaded.quality, report["split"]: quality_summary(report)})
    for line in summary_lines(report):
        out.print(line, highlight=False)
    out.print(f"the whole report: {to / 'report.html'}")


def calibrate(
    data: Annotated[list[Path], typer.Argument(help="Data sets that training never saw.")],
    bundle: BundleOption,
    device: DeviceOption = "cpu",
) -> None:
    """Fit temperatures, thresholds and the score a detection needs to validation splits; write them to the bundle."""
    from models.bundle import load_bundle
    from models.calibration import calibrate as fit
    from models.datasets import read_dataset, read_facts

    loaded = load_bundle(TaggerArgs(bundle=bundle).bundle_uri)
    sets = {each: read_dataset(each, loaded.ontology) for each in data}
    complete = [photo for each, photos in sets.items() if read_facts(each).get("complete", True) for photo in photos]
    fit(loaded, [photo for photos in sets.values() for photo in photos], complete, device)
    out.print(f"{loaded.label} is calibrated on {', '.join(each.name for each in data)}")
