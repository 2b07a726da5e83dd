"""No more compute at once than have a turn, and nobody waits for long for one that never ends."""

import asyncio
import multiprocessing
import os
import threading
from pathlib import Path

import pytest

from serve_app import turns
from serve_app.batching import Batcher
from serve_app.turns import CoreTurn
from tests.fakes import GatedModel


def _acquired(turn: CoreTurn) -> threading.Event:
    done = threading.Event()
    threading.Thread(target=lambda: (turn.acquire(), done.set()), daemon=True).start()
    return done


def test_one_waits_until_another_is_done(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(turns, "_LIMIT_S", 60.0)
    first, second, third = (CoreTurn(1, tmp_path, num_turns=2) for _ in range(3))
    first.acquire()
    second.acquire()
    waiting = _acquired(third)
    assert not waiting.wait(0.1)
    second.release()
    assert waiting.wait(30)
    third.release()
    first.release()


def _die_with_the_turn(folder: Path) -> None:
    CoreTurn(1, folder, num_turns=1).acquire()
    os._exit(0)


def test_a_turn_ends_with_its_process(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(turns, "_LIMIT_S", 60.0)
    process = multiprocessing.get_context("spawn").Process(target=_die_with_the_turn, args=(tmp_path,))
    process.start()
    process.join(60)
    assert process.exitcode == 0
    assert _acquired(CoreTurn(1, tmp_path, num_turns=1)).wait(30)


def test_a_turn_that_never_ends_and_a_folder_that_cannot_be_made_stop_nobody(tmp_path: Path) -> None:
    CoreTurn(1, tmp_path, num_turns=1).acquire()  # never released
    assert _acquired(CoreTurn(1, tmp_path, num_turns=1)).wait(30)
    assert _acquired(CoreTurn(1, tmp_path / "no" / "such", num_turns=1)).wait(30)


async def test_what_comes_before_the_turn_is_in_the_batch() -> None:
    model, turn = GatedModel(), threading.Lock()
    model.gate.set()
    batcher: Batcher[int, int] = Batcher(model.run, max_size=4, turn=turn)
    turn.acquire()
    tasks = [asyncio.create_task(batcher.submit(item, 30.0)) for item in range(3)]
    await asyncio.sleep(0)
    turn.release()
    assert await asyncio.gather(*tasks) == [0, 10, 20]
    assert model.batches == [[0, 1, 2]]
    assert not turn.locked()
    await batcher.close()
