"""Training on several workers: the trainers as they are, one in every process of a Ray Train group."""

import threading
from collections.abc import Callable
from pathlib import Path

from models.errors import TaggingError
from models.training import ProgressCallback

Train = Callable[[ProgressCallback | None], Path]
"""Runs a trainer to its end, tells its progress, and returns the file that describes the result."""

_MAX_FAILURES = 3


def train_on_ray(
    train: Train, out_dir: Path, callback: ProgressCallback, *, workers: int, threads: int, use_gpu: bool
) -> Path:
    """Run a trainer on every worker of the Ray instance that this process is connected to.

    Workers meet in torch.distributed; the first of them writes the files, so workers on several machines need an
    `out_dir` that all of them see. When a worker dies, the group starts anew and goes on at the checkpoint.

    Args:
        train: the same on every worker; told progress on the first only.
        out_dir: of the run.
        callback: called here with the progress.
        workers: processes that train together.
        threads: cores of each.
        use_gpu: whether each takes a GPU; Ray makes it the one that `cuda` means.

    Raises:
        TaggingError: what the trainer raised, or that a worker died too often.
    """
    from ray.train import FailureConfig, RunConfig, ScalingConfig, TrainingFailedError
    from ray.train.torch import TorchTrainer
    from ray.util.queue import Queue

    told = Queue(actor_options={"num_cpus": 0})

    def work() -> None:
        import torch
        from ray.train import get_context

        torch.set_num_threads(threads)
        is_first = get_context().get_world_rank() == 0
        try:
            told.put(train(told.put if is_first else None))
        except TaggingError as exc:  # all workers meet it: to start anew would not help
            told.put(exc)

    results: list[Path | TaggingError] = []

    def relay() -> None:
        while (item := told.get()) is not None:
            if isinstance(item, Path | TaggingError):
                results.append(item)
            else:
                callback(item)

    trainer = TorchTrainer(
        work,
        scaling_config=ScalingConfig(num_workers=workers, use_gpu=use_gpu, resources_per_worker={"CPU": threads}),
        run_config=RunConfig(
            name="ray",
            storage_path=str(out_dir.resolve()),
            failure_config=FailureConfig(max_failures=_MAX_FAILURES),
        ),
    )
    listener = threading.Thread(target=relay, daemon=True)
    listener.start()
    try:
        trainer.fit()
    except TrainingFailedError as exc:
        raise TaggingError("a worker died again and again; the logs of Ray say why", str(exc)) from exc
    finally:
        told.put(None)
        listener.join()
        told.shutdown()
    for result in results:
        if isinstance(result, TaggingError):
            raise result
    (path, *_) = results
    return Path(str(path))
