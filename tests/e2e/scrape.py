"""Ray's metrics page, parsed as Prometheus would, and waiting for what has to appear on it."""

import time
from collections.abc import Callable

import httpx
from prometheus_client.parser import text_string_to_metric_families

LIMIT_S = 60.0


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
    """Read until something has appeared; fails after a minute."""
    until = time.monotonic() + LIMIT_S
    while not is_there(scrape := Scrape(url)):
        assert time.monotonic() < until, "the metric did not appear in time"
        time.sleep(0.25)
    return scrape
