"""`fashion-tagger catalog`: a whole catalogue of photos in, Parquet out; taken up again where it was killed."""

import logging
import os
import time
from typing import TYPE_CHECKING, Annotated

import typer

from models.bundle import load_bundle
from models.errors import TaggingError
from serve_app.catalog import Counts, RowKind
from serve_app.commands.console import err, out, progress_bar
from serve_app.config import DEMO_BUNDLE, TaggerArgs
from serve_app.cores import num_cores

if TYPE_CHECKING:
    from models.bundle import Bundle
    from serve_app.catalog.engine import Workers
    from serve_app.catalog.plan import Plan
    from serve_app.catalog.storage import Folder
    from serve_app.start import Report

_MAX_WORKERS = 8  # each holds the models, a gigabyte with torch; further cores become their threads


def catalog(
    source: Annotated[str, typer.Argument(help="Folder, glob, photo, .csv or .parquet table; a path or fsspec URL.")],
    to: Annotated[str, typer.Option("--out", help="Folder for the Parquet files, a path or fsspec URL.")],
    bundle: Annotated[str, typer.Option(help="Path or fsspec URL of the bundle.")] = DEMO_BUNDLE,
    device: Annotated[str, typer.Option(help="cpu or cuda; on cuda a worker takes a GPU.")] = "cpu",
    rows: Annotated[RowKind, typer.Option(help="One row a garment or a photo.")] = "garment",
    min_score: Annotated[float | None, typer.Option(min=0, max=1, help="Drop detections below it.")] = None,
    category: Annotated[str | None, typer.Option(help="Every photo shows this category: skip detection.")] = None,
    column: Annotated[str | None, typer.Option(help="Column of the table that names the photos.")] = None,
    workers: Annotated[int | None, typer.Option(min=1, help="Processes that tag; all cores are used anyhow.")] = None,
    part_photos: Annotated[int | None, typer.Option(min=1, help="Photos a Parquet file; what a kill can cost.")] = None,
    ray_address: Annotated[
        str | None, typer.Option(envvar="RAY_ADDRESS", help="A running Ray cluster, instead of this machine.")
    ] = None,
) -> None:
    """Tag a catalogue. Killed, it loses nothing that was written: the same command goes on from there.

    A photo that cannot be tagged is a row with error_code and error_message; the exit status stays 0.
    """
    from serve_app.catalog.plan import CatalogOptions, counts_of, open_plan, parts_done
    from serve_app.catalog.storage import Folder

    args = TaggerArgs.model_validate({"bundle": bundle, "device": device})
    with err.status("checking the bundle"):
        loaded = load_bundle(args.bundle_uri)
    _check_category(category, loaded)
    options = CatalogOptions(
        source=_absolute(source),
        bundle=f"{loaded.label} {loaded.digest}",
        rows=rows,
        min_score=loaded.min_score if min_score is None else min_score,
        category=category,
        column=column,
    )
    folder = Folder(to)
    with err.status("listing the photos"):
        plan = open_plan(folder, options, part_photos)
    done = parts_done(folder)
    counts = sum((counts_of(folder, part) for part in done), Counts())
    if done:
        err.print(f"{counts.photos} of {plan.num_photos} photos are done already", highlight=False)
    if len(done) < plan.num_parts:
        with err.status("starting Ray") as status:
            chosen, num_threads = _start(workers, device, ray_address, status.update)
        args = args.model_copy(update={"num_threads": num_threads})
        counts = _run(folder, plan, args, chosen, counts)
    _say(counts, folder)


def _run(folder: "Folder", plan: "Plan", args: TaggerArgs, workers: "Workers", counts: Counts) -> Counts:
    """Run the plan with a bar; what became of all photos in the end."""
    import ray

    from serve_app.catalog.engine import run_plan
    from serve_app.catalog.plan import counts_of

    before, begin = counts.photos, time.monotonic()
    try:
        with progress_bar("photos") as bar:
            task = bar.add_task("loading the models", total=plan.num_photos, completed=before)
            for part in run_plan(folder, plan, args, workers):
                counts += counts_of(folder, part)
                bar.update(task, completed=counts.photos, description="tagging")
    except KeyboardInterrupt:
        raise TaggingError("stopped; the same command takes it up again") from None
    finally:
        ray.shutdown()
    rate = (counts.photos - before) / (time.monotonic() - begin)
    err.print(f"{rate:.1f} photos/s, with the start of {workers.number} workers", highlight=False)
    return counts


def _start(wanted: int | None, device: str, address: str | None, report: "Report") -> "tuple[Workers, int]":
    """Start or find Ray; the workers, and the torch threads of each."""
    from serve_app.catalog.engine import Workers
    from serve_app.start import local_ray_options, prepare_environment, start_ray

    if not address:  # a cluster that runs has flags and a token of its own
        prepare_environment()
        # Ray Data starts its actors in a way that Ray's core reports as an error each time, on standard error.
        os.environ.setdefault("RAY_BACKEND_LOG_LEVEL", "fatal")
    import ray

    cores = num_cores()
    if address:
        ray.init(address=address, log_to_driver=False, logging_level=logging.ERROR)
    else:
        start_ray(local_ray_options(max(cores, wanted or 0) + 1), report)
    if device == "cuda":
        number = wanted or int(ray.cluster_resources().get("GPU", 0))  # type: ignore[no-untyped-call]
        if not number:
            raise TaggingError("Ray sees no GPU; leave --device out")
        return Workers(number, num_gpus=1.0), 1
    number = wanted or min(cores, _MAX_WORKERS)
    return Workers(number), max(1, cores // number)


def _check_category(category: str | None, bundle: "Bundle") -> None:
    if category is not None and category not in bundle.ontology.categories:
        raise TaggingError(f"the bundle has no category {category}; it has {', '.join(bundle.ontology.category_names)}")


def _absolute(source: str) -> str:
    return source if "://" in source else os.path.abspath(os.path.expanduser(source))


def _say(counts: Counts, folder: "Folder") -> None:
    num_failed = counts.errors.total()
    reasons = ", ".join(f"{code} {number}" for code, number in counts.errors.most_common())
    out.print(
        f"{counts.photos} photos: {counts.photos - num_failed} tagged with {counts.garments} garments, "
        f"{num_failed} failed{f' ({reasons})' if reasons else ''}; {folder.uri}",
        highlight=False,
        soft_wrap=True,
    )
