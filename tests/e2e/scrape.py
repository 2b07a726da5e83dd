"""Ray's metrics page, parsed as Prometheus would, and waiting for what has to appear on it."""

import time
from collections.abc import Callable

import httpx
from prometheus_client.parser import text_string_to_metric_families

LIMIT_S = 120.0
_PAUSE_S = 0.25
_STILL_READINGS = 12


class Scrape:
    """The samples of one reading."""

    def __init__(self, url: str) -> None:
        response = httpx.get(url, timeout=30)
        response.raise_for_status()
        self._samples = [
            sample for family in text_string_to_metric_families(response.text) for sample in family.samples
        ]

    @property
    def names(self) -> set[str]:
        return {sample.name for sample in self._samples}

    def value(self, name: str, **labels: str) -> float:
        """Sum over all series that carry these labels; 0 where there is none."""
        return sum(
            sample.value
            for sample in self._samples
            if sample.name == name and all(sample.labels.get(key) == value for key, value in labels.items())
        )


def wait_for(url: str, is_there: Callable[[Scrape], bool]) -> Scrape:
    """Read until something has appeared; fails after two minutes."""
    until = time.monotonic() + LIMIT_S
    while not is_there(scrape := Scrape(url)):
        assert time.monotonic() < until, "the metric did not appear in time"
        time.sleep(_PAUSE_S)
    return scrape


def settled(url: str, values_of: Callable[[Scrape], dict[str, float]]) -> dict[str, float]:
    """Values that have stopped changing: every process reports on its own, some later than others."""
    values = values_of(Scrape(url))
    still = 0
    until = time.monotonic() + LIMIT_S
    while still < _STILL_READINGS:
        assert time.monotonic() < until, "the metrics did not settle in time"
        time.sleep(_PAUSE_S)
        before, values = values, values_of(Scrape(url))
        still = still + 1 if values == before else 0
    return values
