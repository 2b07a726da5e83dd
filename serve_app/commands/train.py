"""`fashion-tagger train`: the detector and the classifiers, resumable by the same command."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from models.types import LabelledPhoto
from serve_app.commands.console import err, out

if TYPE_CHECKING:
    from models.training import ProgressCallback, TrainingProgress
    from serve_app.train_on_ray import Train

app = typer.Typer(no_args_is_help=True, help="Train the models; the same command resumes an interrupted run.")

# Paths are made absolute, since Ray's workers run in folders of their own.
DataOption = Annotated[
    list[Path], typer.Option("--data", resolve_path=True, help="A set to train on; give it again to mix several.")
]
ValOption = Annotated[
    list[Path] | None, typer.Option("--val", resolve_path=True, help="A set to validate on, never trained on.")
]
OutOption = Annotated[Path, typer.Option("--out", resolve_path=True, help="Checkpoints, learning curve and weights.")]
MinutesOption = Annotated[float | None, typer.Option(min=0.1, help="End after this much wall-clock time.")]
EpochsOption = Annotated[float | None, typer.Option(min=0.01, help="End after so many passes over the data.")]
DeviceOption = Annotated[str, typer.Option(help="cpu or cuda.")]
SeedOption = Annotated[int, typer.Option(help="Start weights, order and augmentation.")]
SizesOption = Annotated[
    str, typer.Option(help="Smaller pictures first, as share:pixels, like 0:128,0.4:192,0.8:256; the last is --size.")
]
ThreadsOption = Annotated[int, typer.Option(min=1, help="Torch threads of each worker.")]
FrozenOption = Annotated[
    float | None, typer.Option(help="Share of the run before pretrained layers learn; 0.1 with pretrained weights.")
]
PatienceOption = Annotated[
    int | None, typer.Option(min=1, help="End after so many validations, ten minutes apart, without a better score.")
]
CheckpointOption = Annotated[float, typer.Option(min=0, help="Minutes of training that a killed run loses at most.")]
WorkersOption = Annotated[int, typer.Option(min=1, help="Processes that train together, by Ray Train.")]
RayOption = Annotated[
    str | None, typer.Option(envvar="RAY_ADDRESS", help="Train on a running Ray cluster; --out has to be shared.")
]


@app.command()
def detector(
    data: DataOption,
    val: ValOption = None,
    to: OutOption = Path("runs/detector"),
    backbone: Annotated[
        str, typer.Option(help="mobilenet_v3_large_320_fpn, the same and _stride16, or resnet50_fpn_v2.")
    ] = ("mobilenet_v3_large_320_fpn"),
    weights: Annotated[str, typer.Option(help="coco, backbone (ImageNet), none, or a file of weights.")] = "coco",
    size: Annotated[int, typer.Option(help="Long side of the photo in pixels; a multiple of 32.")] = 320,
    sizes: SizesOption = "",
    box_head: Annotated[int, typer.Option(help="Width of the box head; 1024 keeps COCO's.")] = 1024,
    batch: Annotated[int, typer.Option(min=1, help="Photos per step.")] = 8,
    rate: Annotated[float, typer.Option(help="Peak learning rate for a batch of 8.")] = 0.02,
    body_ratio: Annotated[float, typer.Option(help="The backbone's rate as a multiple of it; 5 from nothing.")] = 1.0,
    common_share: Annotated[
        float, typer.Option(min=0, max=1, help="Categories on a smaller share of a set's photos are repeated; 0: none.")
    ] = 0.0,
    minutes: MinutesOption = None,
    epochs: EpochsOption = None,
    seed: SeedOption = 0,
    device: DeviceOption = "cpu",
    threads: ThreadsOption = 2,
    frozen_share: FrozenOption = None,
    patience: PatienceOption = None,
    checkpoint_minutes: CheckpointOption = 5.0,
    workers: WorkersOption = 1,
    ray_address: RayOption = None,
) -> None:
    """Train the Faster R-CNN that finds garments and their categories."""
    import torch

    from models.datasets import repeat_rare
    from models.detector import DetectorSpec
    from models.ontology import load_ontology
    from models.train_detector import DetectorTraining, train_detector

    torch.set_num_threads(threads)
    ontology = load_ontology()
    spec = DetectorSpec.from_dict(
        {
            "backbone": backbone,
            "long_side_px": size,
            "box_head_dim": box_head,
            "num_categories": len(ontology.categories),
        }
    )
    config = DetectorTraining(
        spec=spec,
        weights=_start(weights),
        sizes=_schedule(sizes),
        batch=batch,
        rate=rate,
        body_ratio=body_ratio,
        max_minutes=minutes,
        epochs=epochs,
        frozen_share=_frozen(frozen_share, weights),
        patience=patience,
        checkpoint_minutes=checkpoint_minutes,
        seed=seed,
        device=device,
    )
    photos = [photo for each in data for photo in repeat_rare(_photos([each]), common_share, seed)]
    train = partial(train_detector, config, photos, _photos(val or []), ontology, to)
    _run("detector", train, to, workers, threads, device, ray_address)


@app.command()
def classifiers(
    data: DataOption,
    val: ValOption = None,
    to: OutOption = Path("runs/classifiers"),
    weights: Annotated[str, typer.Option(help="imagenet, none, or a file of weights to start from.")] = "imagenet",
    size: Annotated[int, typer.Option(help="Side of the crops in pixels; 299 is Inception-v3's own.")] = 299,
    sizes: SizesOption = "",
    shared_trunk: Annotated[bool, typer.Option(help="One trunk for all categories, or one each.")] = True,
    batch: Annotated[int, typer.Option(min=2, help="Crops per step.")] = 32,
    rate: Annotated[float, typer.Option(help="The trunk's peak learning rate.")] = 2e-4,
    head_ratio: Annotated[float, typer.Option(help="The heads' rate as a multiple of it.")] = 0.3,
    muon_ratio: Annotated[
        float, typer.Option(min=0, help="The same for convolutions by Muon; 5 from nothing. 0: they take AdamW.")
    ] = 0.0,
    minutes: MinutesOption = None,
    epochs: EpochsOption = None,
    seed: SeedOption = 0,
    device: DeviceOption = "cpu",
    threads: ThreadsOption = 2,
    frozen_share: FrozenOption = None,
    patience: PatienceOption = None,
    checkpoint_minutes: CheckpointOption = 5.0,
    workers: WorkersOption = 1,
    ray_address: RayOption = None,
) -> None:
    """Train the Inception-v3 classifiers of every category, heads together."""
    import torch

    from models.ontology import load_ontology
    from models.train_classifiers import ClassifierTraining, train_classifiers

    torch.set_num_threads(threads)
    config = ClassifierTraining(
        size_px=size,
        sizes=_schedule(sizes),
        shared_trunk=shared_trunk,
        imagenet=weights == "imagenet",
        start="" if weights in ("imagenet", "none") else _start(weights),
        dropout=0.3 if weights == "imagenet" else 0.0,
        rate=rate,
        head_ratio=head_ratio,
        muon_ratio=muon_ratio,
        batch=batch,
        max_minutes=minutes,
        epochs=epochs,
        frozen_share=_frozen(frozen_share, weights),
        patience=patience,
        checkpoint_minutes=checkpoint_minutes,
        seed=seed,
        device=device,
    )
    train = partial(train_classifiers, config, _photos(data), _photos(val or []), load_ontology(), to)
    _run("classifiers", train, to, workers, threads, device, ray_address)


def _run(what: str, train: "Train", to: Path, workers: int, threads: int, device: str, ray_address: str | None) -> None:
    """Train here, or by Ray Train where several workers or a cluster are asked for."""
    with _shown(what) as callback:
        if workers == 1 and ray_address is None:
            result = train(callback)
        else:
            with _ray(ray_address, workers * threads):
                from serve_app.train_on_ray import train_on_ray

                use_gpu = device.startswith("cuda")
                result = train_on_ray(train, to, callback, workers=workers, threads=threads, use_gpu=use_gpu)
    out.print(f"trained: {result}")


@contextmanager
def _ray(address: str | None, num_cpus: int) -> Iterator[None]:
    from serve_app.start import local_ray_options, prepare_environment, start_ray

    if address is None:  # a cluster that runs has flags and a token of its own
        prepare_environment()
    import ray

    if address is None:
        start_ray(local_ray_options(num_cpus + 1), err.print)
    else:
        ray.init(address=address, log_to_driver=False, logging_level=logging.ERROR)
    try:
        yield
    finally:
        ray.shutdown()


def _start(weights: str) -> str:
    # A link is not followed: its name tells the format, where a cache's blobs have none.
    return weights if weights in ("coco", "backbone", "none") else str(Path(weights).absolute())


def _frozen(share: float | None, weights: str) -> float:
    return (0.1 if weights in ("coco", "backbone", "imagenet") else 0.0) if share is None else share


def _photos(directories: list[Path]) -> list[LabelledPhoto]:
    from models.datasets import read_dataset
    from models.ontology import load_ontology

    ontology = load_ontology()
    return [photo for directory in directories for photo in read_dataset(directory, ontology)]


def _schedule(text: str) -> tuple[tuple[float, int], ...]:
    try:
        pairs = [part.split(":") for part in text.split(",") if part]
        return tuple((float(share), int(side)) for share, side in pairs)
    except ValueError as exc:
        raise typer.BadParameter("write share:pixels pairs, like 0:96,0.5:128", param_hint="--sizes") from exc


@contextmanager
def _shown(what: str) -> Iterator["ProgressCallback"]:
    """A bar over the share of the run, with the newest figures."""
    columns = (
        SpinnerColumn(),
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.percentage:>3.0f}%"),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        TextColumn("{task.fields[figures]}"),
    )
    with Progress(*columns, console=err) as bar:
        task = bar.add_task(f"training {what}", total=1.0, figures="reading data")

        def show(progress: "TrainingProgress") -> None:
            figures = "  ".join(f"{name} {value:.4g}" for name, value in progress.metrics.items())
            bar.update(task, completed=progress.share, figures=f"step {progress.step}  {figures}")
            if not err.is_terminal:
                left_min = progress.elapsed_s * (1 - progress.share) / max(progress.share, 1e-6) / 60
                text = f"{progress.share:6.1%}  step {progress.step}  {left_min:.0f} min left  {figures}"
                err.print(text, highlight=False)

        yield show
