"""`fashion-tagger loadtest URL`: offers load to a service and says how it took it."""

import asyncio
import io
import ipaddress
import json
import socket
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated
from urllib.parse import urlsplit

import typer

from models.errors import InputError
from models.image_headers import PHOTO_SUFFIXES
from serve_app.commands.console import err, out, progress_bar
from serve_app.loadtest import LoadPhoto, Record, closed_loop, open_loop, parse_profile, poisson

_NUM_RENDERED = 12
_RENDERED_SEED = 4001
_LONG_SIDE_PX = 384
_NUM_PER_CATEGORY = 3
_MAX_DRAWN = 400  # a category is the largest garment of every fifth to tenth photo


def loadtest(
    url: Annotated[str, typer.Argument(help="Base address of the service.")],
    rate: Annotated[
        str, typer.Option(help="Open loop, requests per second x seconds: 20x60; a ramp 5-50x120; a burst 5x20,60x3.")
    ] = "5x20",
    callers: Annotated[
        int | None, typer.Option(min=1, help="Closed loop instead: so many callers, each asking when answered.")
    ] = None,
    duration: Annotated[float, typer.Option(min=0.1, help="Seconds of a closed loop.")] = 20.0,
    photos: Annotated[Path | None, typer.Option(help="Folder of photos; without it photos are rendered.")] = None,
    mix: Annotated[
        str | None, typer.Option(help="Shares of rendered photos by their largest garment: dress=3,trousers=1.")
    ] = None,
    timeout: Annotated[float, typer.Option(min=0.1, help="Seconds after which a request is given up.")] = 60.0,
    api_key: Annotated[
        str | None, typer.Option(envvar="TAGGER_API_KEY", help="Key for the service; better in the environment.")
    ] = None,
    seed: Annotated[int, typer.Option(help="The same seed offers the same load.")] = 0,
    to: Annotated[Path | None, typer.Option("--out", help="Folder for load.json and the plot load.png.")] = None,
    i_own_this_host: Annotated[bool, typer.Option(help="Allow a host other than this machine.")] = False,
) -> None:
    """Offer load to a service; exit status 1 if no request was answered."""
    from serve_app.load_report import draw_load, summarize, summary_table

    if not i_own_this_host:
        _refuse_other_hosts(url)
    arrivals_s = poisson(parse_profile(rate), seed)
    chosen = _folder(photos) if photos else _rendered(mix)
    headers = {"authorization": f"Bearer {api_key}"} if api_key else None
    records: list[Record] = []
    with progress_bar("requests") as bar:
        task = bar.add_task("loading", total=len(arrivals_s) if callers is None else None)

        def note(record: Record) -> None:
            records.append(record)
            bar.update(task, advance=1)

        if callers is None:
            run = open_loop(url, arrivals_s, chosen, timeout_s=timeout, headers=headers, note=note)
        else:
            run = closed_loop(url, callers, duration, chosen, timeout_s=timeout, headers=headers, note=note)
        try:
            asyncio.run(run)
        except KeyboardInterrupt:
            err.print("stopped; what was answered until now:")
    if not records:
        raise InputError("no request left; offer more")
    summary = summarize(records, callers)
    out.print(summary_table(summary))
    if to:
        to.mkdir(parents=True, exist_ok=True)
        (to / "load.json").write_text(json.dumps({"url": url, **summary}, indent=1) + "\n", encoding="utf-8")
        draw_load(records, summary, to / "load.png")
        err.print(f"load.json and load.png in {to}")
    if not summary["answered"]:
        raise typer.Exit(1)


def _refuse_other_hosts(url: str) -> None:
    """Raise InputError unless every address of the host is this machine's own."""
    host = urlsplit(url).hostname
    if not host:
        raise InputError(f"{url!r} is no address of a service; write http://127.0.0.1:8000")
    try:
        addresses = {entry[4][0] for entry in socket.getaddrinfo(host, None)}
    except OSError as exc:
        raise InputError(f"{host} is not known", str(exc)) from exc
    if not all(ipaddress.ip_address(address).is_loopback for address in addresses):
        raise InputError(f"{host} is another machine; add --i-own-this-host if its owner agrees to the load")


def _folder(directory: Path) -> list[LoadPhoto]:
    paths = sorted(path for path in directory.glob("*") if path.suffix.lower() in PHOTO_SUFFIXES)
    if not paths:
        raise InputError(f"no photos in {directory}")
    return [LoadPhoto(path.read_bytes()) for path in paths]


def _photo(index: int) -> tuple[LoadPhoto, str]:
    """A drawn photo, and the category of its largest garment."""
    from PIL import Image

    from models.ontology import load_ontology
    from models.rendering.render import render_photo

    pixels, garments = render_photo(_RENDERED_SEED, load_ontology(), index, _LONG_SIDE_PX)
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "JPEG", quality=88)
    areas = {(g.box[2] - g.box[0]) * (g.box[3] - g.box[1]): g.category for g in garments}
    return LoadPhoto(buffer.getvalue()), areas[max(areas)] if areas else "none"


def _rendered(mix: str | None, draw: Callable[[int], tuple[LoadPhoto, str]] = _photo) -> list[LoadPhoto]:
    """Drawn photos, with a mix in an order that keeps its shares at every length."""
    from models.ontology import load_ontology

    with err.status("rendering photos"):
        if mix is None:
            return [draw(index)[0] for index in range(_NUM_RENDERED)]
        order = _spread(_shares(mix, load_ontology().category_names), _NUM_RENDERED)
        drawn: dict[str, list[LoadPhoto]] = {name: [] for name in order}
        for index in range(_MAX_DRAWN):
            photo, largest = draw(index)
            if largest in drawn:
                drawn[largest].append(photo)
            if all(len(photos) >= _NUM_PER_CATEGORY for photos in drawn.values()):
                return [drawn[name][place % _NUM_PER_CATEGORY] for place, name in enumerate(order)]
    missing = ", ".join(name for name, photos in drawn.items() if len(photos) < _NUM_PER_CATEGORY)
    raise InputError(f"too few photos drawn show mostly {missing}; give photos of your own with --photos")


def _shares(mix: str, names: Sequence[str]) -> dict[str, float]:
    try:
        shares = {name: float(share) for name, share in (part.split("=") for part in mix.split(","))}
    except ValueError as exc:
        raise InputError(f"{mix!r} is no mix; write dress=3,trousers=1") from exc
    unknown = sorted(shares.keys() - set(names))
    if unknown or min(shares.values()) < 0 or not sum(shares.values()):
        raise InputError(f"a mix needs shares of {', '.join(names)}", f"got {mix}")
    return shares


def _spread(shares: dict[str, float], count: int) -> Sequence[str]:
    """`count` names, each as often as its share, evenly mixed: always the one that lags its share most."""
    given = dict.fromkeys(shares, 0)
    total = sum(shares.values())
    order = []
    for position in range(1, count + 1):
        name = max(shares, key=lambda name: shares[name] / total * position - given[name])
        given[name] += 1
        order.append(name)
    return order
