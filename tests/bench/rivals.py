"""The two that `overhead` compares with: the composition as tutorials write it, and a process per core without Ray."""

import os
import secrets
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from models.colours import garment_colours
from models.images import crop_square, decode_image, detector_canvas, letterbox
from models.ontology import Ontology
from models.types import Detection
from tests.bench.stand_ins import FixedClassifier, ScriptedDetector, weights_of

Wait = Callable[[str, Mapping[str, float]], None]


def serve_defaults(setup: Any, directory: Path, wait: Wait) -> None:
    """Router, detector and classifiers under Ray Serve's defaults, batching by `@serve.batch`."""
    # Defaults but for what leaves the machine or is left on it: the token would be written into the home directory.
    os.environ |= {"RAY_USAGE_STATS_ENABLED": "0", "RAY_AUTH_TOKEN": secrets.token_hex(32)}
    import ray
    from ray import serve
    from starlette.responses import JSONResponse

    from models.bundle import load_bundle
    from tests.bench.serving import free_port

    # Serve's five calls at once per replica are few: others are refused and come again after a pause.
    room = {"max_ongoing_requests": 100} if setup.kind == "roomy" else {}
    bundle = load_bundle(_demo(setup.bundle))
    ontology, sides = bundle.ontology, (bundle.detector_long_side_px, bundle.crop_size_px, bundle.crop_pad_ratio)

    @serve.deployment(**room)
    class NothingDetector:
        def __init__(self) -> None:
            self.model = ScriptedDetector(setup.num_garments, weights_of(ontology.category_names, setup.mix))

        @serve.batch(max_batch_size=8)
        async def detect(self, canvases: list[Any]) -> list[list[Detection]]:
            return self.model.detect(canvases, 0.5)

    @serve.deployment(**room)
    class NothingClassifier:
        def __init__(self, category: str) -> None:
            self.model = FixedClassifier(ontology.categories[category])

        @serve.batch(max_batch_size=8)
        async def classify(self, crops: list[Any]) -> list[Any]:
            return list(self.model.classify(np.stack(crops)))

    @serve.deployment(**room)
    class Router:
        def __init__(self, detector: Any, classifiers: dict[str, Any]) -> None:
            self.detector, self.classifiers = detector, classifiers

        async def __call__(self, request: Any) -> Any:
            image = decode_image(await request.body())
            canvas, scale = letterbox(image, detector_canvas(image.shape[:2], sides[0]))
            garments = []
            for found in await self.detector.detect.remote(canvas):
                box = tuple(side / scale for side in found.box)
                crop = crop_square(image, box, *sides[1:])
                scores = await self.classifiers[found.category].classify.remote(crop)
                garments.append(_garment(image, found, box, scores, ontology))
            return JSONResponse({"garments": garments})  # Serve would send a dict in chunks, which costs it more

    begin = time.monotonic()
    ray.init(
        address="local", include_dashboard=False, log_to_driver=False, num_cpus=16, _temp_dir=str(directory / "ray")
    )
    port = free_port()
    serve.start(http_options={"port": port})
    classifiers = {name: NothingClassifier.options(name=name).bind(name) for name in ontology.category_names}
    serve.run(Router.bind(NothingDetector.bind(), classifiers), name="bench")
    wait(f"http://127.0.0.1:{port}", {"start": time.monotonic() - begin})
    serve.shutdown()
    ray.shutdown()


def _garment(image: Any, found: Detection, box: Any, scores: Any, ontology: Ontology) -> dict[str, Any]:
    colours = garment_colours(image, box, ontology.categories[found.category].attributes["colour"].values)
    return {
        "category": found.category,
        "box": box,
        "colours": [each.name for each in colours],
        "attributes": {name: {"value": each[0].value, "score": each[0].score} for name, each in scores.items()},
    }


def _demo(bundle: str) -> str:
    from serve_app.config import TaggerArgs

    return TaggerArgs(bundle=bundle).bundle_uri


def serve_uvicorn(setup: Any, directory: Path, wait: Wait) -> None:
    """Our own interface and composition in uvicorn, a worker per core; the models live in each worker."""
    from tests.bench.serving import free_port

    port = free_port()
    os.environ["BENCH_BUNDLE"] = setup.bundle
    command = [sys.executable, "-m", "uvicorn", "--factory", "tests.bench.rivals:make_app", "--port", str(port)]
    command += ["--workers", str(os.cpu_count() or 1), "--log-level", "error", "--no-access-log"]
    process = subprocess.Popen(command)
    try:
        wait(f"http://127.0.0.1:{port}", {})
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(30)


def make_app() -> Any:
    """The ASGI application of one uvicorn worker: our router, with models of nothing behind handles of nothing."""
    from models.bundle import load_bundle
    from serve_app import router
    from serve_app.bundle_facts import BundleFacts
    from serve_app.config import TaggerArgs
    from serve_app.metrics import NullMeter

    router.RayMeter = lambda metrics: NullMeter()  # type: ignore[assignment,misc]
    args = TaggerArgs(bundle=os.environ["BENCH_BUNDLE"])
    facts = BundleFacts.of(load_bundle(args.bundle_uri))
    scripted = ScriptedDetector((1, 1), weights_of(facts.ontology.category_names, "uniform"))
    detector = _Handle(detect=lambda canvas, min_score, *_: scripted.detect([canvas], min_score)[0])
    classifiers = {
        name: _Handle(classify=partial(_classified, FixedClassifier(category)))
        for name, category in facts.ontology.categories.items()
    }
    replica = router.RouterDeployment(args, facts, detector, classifiers)  # type: ignore[arg-type]
    app = replica.__serve_build_asgi_app__()
    app.state.replica = replica  # its threads end with it
    return app


def _classified(classifier: FixedClassifier, crops: Any, *_: object) -> Any:
    return classifier.classify(crops)


class _Handle:
    """Looks like a deployment handle and calls a function here."""

    def __init__(self, **methods: Callable[..., Any]) -> None:
        self._methods = methods

    def __getattr__(self, name: str) -> "_Method":
        return _Method(self._methods[name])


class _Method:
    def __init__(self, call: Callable[..., Any]) -> None:
        self._call = call

    async def remote(self, *args: Any) -> Any:
        return self._call(*args)
