"""`fashion-tagger top URL`: the running service in a terminal, from its metrics."""

import time
from collections import deque
from collections.abc import Sequence
from typing import Annotated
from urllib.parse import urlsplit

import httpx
import typer
from rich.console import Group, RenderableType
from rich.live import Live
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from serve_app.commands.console import out
from serve_app.readings import DeploymentView, MetricsError, Reading, ServiceView, view

_WINDOW_S = 30.0  # rates over so much: Ray reports every 10 s, so a shorter window shows gaps
_READ_LIMIT_S = 10.0
_GOOD = ("ok", "partial")


def top(
    urls: Annotated[list[str], typer.Argument(help="Address of the service's metrics, of every node of a cluster.")],
    interval: Annotated[float, typer.Option(min=0.2, help="Seconds between readings.")] = 2.0,
    once: Annotated[bool, typer.Option(help="Print one view of what happened within an interval, and end.")] = False,
) -> None:
    """Watch a running service until Ctrl-C: rate, latency, queues, batches and replicas, tags and errors."""
    readings = deque([_read(urls)])
    if once:
        time.sleep(interval)
        out.print(frame(view(readings[0], _read(urls)), urls))
        return
    with Live(frame(view(readings[0], readings[0]), urls), console=out, auto_refresh=False, screen=True) as live:
        try:
            while True:
                time.sleep(interval)
                try:
                    readings.append(_read(urls))
                    shown = frame(view(readings[0], readings[-1]), urls)
                except MetricsError as exc:  # it may come back
                    shown = Panel(Text(exc.message, style="bold red"))
                while readings[-1].at_s - readings[0].at_s > _WINDOW_S:
                    readings.popleft()
                live.update(shown, refresh=True)
        except KeyboardInterrupt:
            pass


def frame(seen: ServiceView, urls: Sequence[str]) -> RenderableType:
    """The whole view: requests, stages, deployments, tags."""
    beside = Table.grid(padding=(0, 4))
    beside.add_row(_stages(seen), _outcomes(seen), _tags(seen))
    title = f"{', '.join(urlsplit(url).netloc for url in urls)}, last {seen.elapsed_s:.0f} s"
    total = seen.stage_s.get("total")
    latency = "" if total is None else "  p50 {:.0f}  p95 {:.0f}  p99 {:.0f} ms".format(*(1000 * t for t in total))
    return Panel(
        Group(
            Text(f"{seen.requests_per_s:.1f} requests per second{latency}", style="bold"),
            Text(),
            _deployments(seen.deployments),
            Text(),
            beside,
        ),
        title=title,
        title_align="left",
    )


def _deployments(deployments: Sequence[DeploymentView]) -> Table:
    table = Table(box=None, pad_edge=False, header_style="dim")
    table.add_column("deployment")
    table.add_column("state")
    for column in ("replicas", "calls/s", "errors/s", "p50 ms", "p95 ms", "p99 ms", "waiting", "ongoing", "batch"):
        table.add_column(column, justify="right")
    for each in deployments:
        replicas = "[dim]asleep[/]" if each.running == each.wanted == 0 else str(each.running)
        if each.running != each.wanted:
            replicas = f"[yellow]{each.running} of {each.wanted}[/]"
        times = ["-"] * 3 if each.call_ms is None else [f"{value:.0f}" for value in each.call_ms]
        table.add_row(
            each.name,
            each.status if each.status == "healthy" else f"[bold {_colour(each.status)}]{each.status}[/]",
            replicas,
            f"{each.calls_per_s:.1f}",
            f"[red]{each.failed_per_s:.1f}[/]" if each.failed_per_s else "-",
            *times,
            f"[yellow]{each.waiting}[/]" if each.waiting else "-",
            str(each.ongoing) if each.ongoing else "-",
            "-" if each.batch is None else f"≤ {each.batch:g}" if each.batch > 1 else "1",
        )
    return table


def _colour(status: str) -> str:
    return "red" if status in ("failed", "unhealthy") else "yellow"


def _stages(seen: ServiceView) -> Table:
    table = Table(box=None, pad_edge=False, header_style="dim")
    table.add_column("stage")
    for column in ("p50 ms", "p95 ms", "p99 ms"):
        table.add_column(column, justify="right")
    for stage in ("decode", "detect", "classify", "total"):
        times = seen.stage_s.get(stage)
        table.add_row(stage, *(["-"] * 3 if times is None else [f"{1000 * value:.0f}" for value in times]))
    return table


def _outcomes(seen: ServiceView) -> Table:
    table = Table(box=None, pad_edge=False, header_style="dim")
    table.add_column("outcome")
    table.add_column("per s", justify="right")
    for code, rate in sorted(seen.outcomes_per_s.items(), key=lambda each: -each[1]):
        table.add_row(code if code in _GOOD else f"[red]{code}[/]", f"{rate:.2f}")
    return table


def _tags(seen: ServiceView) -> Table:
    """Two columns of tags, commonest first."""
    table = Table(box=None, pad_edge=False, header_style="dim")
    half = (len(seen.tags) + 1) // 2
    for _ in range(2):
        table.add_column("tag")
        table.add_column("per min", justify="right")
    cells = [
        (f"[dim]{attribute}[/] {value}", f"{60 * count / seen.elapsed_s:.0f}") for attribute, value, count in seen.tags
    ]
    for place in range(half):
        right = cells[place + half] if place + half < len(cells) else ("", "")
        table.add_row(*cells[place], *right)
    return table


def _read(urls: Sequence[str]) -> Reading:
    """Read every page once.

    Raises:
        MetricsError: if a page cannot be read.
    """
    pages = []
    for url in urls:
        address = url if urlsplit(url).path.strip("/") else f"{url.rstrip('/')}/metrics"
        try:
            pages.append(httpx.get(address, timeout=_READ_LIMIT_S).raise_for_status().text)
        except (httpx.HTTPError, httpx.InvalidURL) as exc:
            raise MetricsError(f"no metrics at {url}; `serve` prints the address of its metrics", repr(exc)) from exc
    return Reading.of(pages)
