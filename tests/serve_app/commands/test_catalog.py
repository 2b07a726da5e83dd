import io
import re

import pytest
from rich.console import Console

from serve_app.commands import console


def test_the_bar_says_how_far_how_fast_and_how_long(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = io.StringIO()
    monkeypatch.setattr(console, "err", Console(file=terminal, force_terminal=True, color_system=None, width=120))
    with console.progress_bar("photos") as bar:
        task = bar.add_task("tagging", total=500, completed=100)
        for completed in (200, 300):
            bar.update(task, completed=completed)
    assert re.search(r"tagging .* 300/500 photos .*\d/s.* \d+:\d\d:\d\d", terminal.getvalue())
