"""Tagging many photos in one process: the composition of the service around models that are loaded here.

Photos are taken several at a time, so that decoding goes on while the models compute, and so that the models find
whole batches waiting, as in the service.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Self

from models.bundle import load_bundle
from models.errors import TaggingError
from serve_app.answer import Answerer
from serve_app.bundle_facts import BundleFacts
from serve_app.catalog.rows import Outcome
from serve_app.classifier import ClassifierDeployment, ClassifierModel
from serve_app.compose import Composer
from serve_app.config import TaggerArgs
from serve_app.detector import DetectorDeployment, DetectorModel
from serve_app.metrics import NullMeter
from serve_app.query import TagOptions
from serve_app.turns import LockTurn, Turn

Read = Callable[[str, int], Awaitable[bytes]]
"""Address of a photo, largest number of bytes -> content of its file; raises TaggingError."""

_log = logging.getLogger("ray.serve")
_NO_DEADLINE_S = 86_400.0  # nobody waits for one photo of a catalogue
_DECODE_THREADS = 4
_BATCHES_IN_FLIGHT = 3  # one computes, one waits for it, one is classified
_METER = NullMeter()


class Unwanted(Exception):
    """Nobody wants the outcomes any more."""


class CatalogTagger:
    """Tags lists of photos, one list at a time.

    Args:
        args: limits and thresholds.
        bundle: what answers.
        detector: loaded.
        classifier_by_category: loaded.
        read: fetches a photo.
    """

    def __init__(
        self,
        args: TaggerArgs,
        bundle: BundleFacts,
        detector: DetectorModel,
        classifier_by_category: Mapping[str, ClassifierModel],
        read: Read,
    ) -> None:
        args = args.model_copy(
            update=dict.fromkeys(("request_deadline_s", "detect_deadline_s", "classify_deadline_s"), _NO_DEADLINE_S)
        )
        self._args = args
        self.min_score = bundle.min_score
        """Score from which a detection counts, if the options say nothing."""
        self._read = read
        self._threads = ThreadPoolExecutor(_DECODE_THREADS, thread_name_prefix="decode")
        # On a CPU models that compute at once only take each other's caches: in turn a photo costs an eighth less.
        turn = LockTurn() if args.device == "cpu" else None
        make_turn = (lambda: turn) if turn else None
        self._detector = DetectorDeployment(
            lambda: detector,
            bundle.detector_long_side_px,
            args.detector_max_batch,
            args.stall_limit_s,
            _METER,
            make_turn=make_turn,
        )
        self._classifiers = {
            category: _classifier(model, bundle.crop_size_px, args, make_turn)
            for category, model in classifier_by_category.items()
        }
        classify = {category: each.classify for category, each in self._classifiers.items()}
        self._composer = Composer(args, bundle, self._detector.detect, classify, self._threads, _METER)
        self._answerer = Answerer(bundle, args.min_several_score, args.low_confidence_score, _METER)
        self._loop = asyncio.Runner()

    @classmethod
    def load(cls, args: TaggerArgs, digest: str, read: Read) -> Self:
        """Load the bundle in `args` into this process.

        Raises:
            BundleError: if it is damaged.
            TaggingError: if it is another one than `digest` names.
        """
        from serve_app.loading import load_detector

        detector = load_detector(args.bundle_uri, args)
        bundle = load_bundle(args.bundle_uri, check_digests=False)  # they were checked a line ago
        if bundle.digest != digest:
            raise TaggingError("the bundle was replaced while the run went on; give every bundle an address of its own")
        return cls(args, BundleFacts.of(bundle), detector, bundle.load_classifiers(args.device), read)

    def tag(
        self, photos: Sequence[str], options: TagOptions, is_wanted: Callable[[], bool] = lambda: True
    ) -> list[Outcome]:
        """Answer or error of each photo, in order; a photo never fails the others.

        Args:
            photos: their addresses.
            options: how they are answered.
            is_wanted: asked before each photo.

        Raises:
            Unwanted: once it says no; what is in hand is dropped.
        """
        return self._loop.run(self._tag_all(photos, options, is_wanted))

    def close(self) -> None:
        """End the threads."""
        self._loop.close()
        self._threads.shutdown()

    async def _tag_all(
        self, photos: Sequence[str], options: TagOptions, is_wanted: Callable[[], bool]
    ) -> list[Outcome]:
        outcomes: list[Outcome] = [TaggingError("not reached")] * len(photos)
        waiting = iter(enumerate(photos))

        async def work() -> None:
            for at, photo in waiting:
                if not is_wanted():
                    raise Unwanted
                outcomes[at] = await self._tag_one(photo, options)

        try:
            async with asyncio.TaskGroup() as tasks:
                for _ in range(_BATCHES_IN_FLIGHT * self._args.detector_max_batch):
                    tasks.create_task(work())
        except* Unwanted as exc:
            raise Unwanted from exc
        return outcomes

    async def _tag_one(self, photo: str, options: TagOptions) -> Outcome:
        try:
            data = await self._read(photo, self._args.max_image_bytes)
            tagged = await self._composer.tag(lambda: (data, None), options)
            return self._answerer.response(tagged, options, request_id="")
        except TaggingError as exc:
            return exc
        except Exception as exc:  # the last resort: one photo of millions must not end the run
            _log.exception("a photo failed")
            return TaggingError("the photo failed", repr(exc))


def _classifier(
    model: ClassifierModel, size_px: int, args: TaggerArgs, make_turn: Callable[[], Turn] | None
) -> ClassifierDeployment:
    max_batch, stall_limit_s = args.classifier_max_batch, args.stall_limit_s
    return ClassifierDeployment(lambda: model, size_px, max_batch, stall_limit_s, _METER, make_turn=make_turn)
