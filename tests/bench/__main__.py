"""`python -m tests.bench NAME`: run from the root of the repository; a benchmark prints a table and writes JSON."""

import json
from pathlib import Path
from typing import Annotated

import typer

from models.bundle import load_bundle
from serve_app.config import TaggerArgs
from tests.bench import http_speed, model_speed
from tests.bench.peers import compare
from tests.bench.serving import Setup

_HTTP = {name: getattr(http_speed, name) for name in ("efficiency", "overhead", "payload", "mix", "scale", "start")}


def main(
    name: Annotated[str, typer.Argument(help=f"models, peers, {', '.join(_HTTP)}")],
    bundle: Annotated[str, typer.Option(help="Path or URL of the bundle.")] = "demo",
    out: Annotated[Path, typer.Option(help="Where the JSON goes.")] = Path("out/bench"),
    rounds: Annotated[int, typer.Option(help="Of all sides in turn.")] = 2,
    seconds: Annotated[float, typer.Option(help="Of one measurement over HTTP.")] = 10.0,
    photos: Annotated[int, typer.Option(help="Of the test split, for quality.")] = 500,
    args: Annotated[str, typer.Option(help="JSON: arguments of the application.")] = "{}",
    options: Annotated[str, typer.Option(help="JSON: options by router, detector, classifier.")] = "{}",
    interpreters: Annotated[str, typer.Option(help="JSON: interpreter of each peer's environment, by name.")] = "{}",
    environment: Annotated[str, typer.Option(help="JSON: flags of the service's processes.")] = "{}",
) -> None:
    """Run one benchmark."""
    uri = TaggerArgs(bundle=bundle).bundle_uri
    loaded = load_bundle(uri)
    if name == "models":
        model_speed.run(loaded, out, rounds=rounds, num_photos=photos)
        return
    setup = Setup(bundle=uri, args=json.loads(args), options=json.loads(options), environment=json.loads(environment))
    if name == "peers":
        pythons = json.loads(interpreters)
        compare.peers(loaded, out, seconds=seconds, rounds=rounds, setup=setup, pythons=pythons)
    elif name in _HTTP:
        _HTTP[name](loaded, out, seconds=seconds, rounds=rounds, setup=setup)
    else:
        raise typer.BadParameter(f"one of models, peers, {', '.join(_HTTP)}")


if __name__ == "__main__":
    typer.run(main)
