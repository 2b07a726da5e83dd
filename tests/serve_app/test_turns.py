"""No more compute at once than have a turn, the largest batch first, and nobody waits for long for one that hangs."""

import asyncio
import multiprocessing
import os
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from serve_app import turns
from serve_app.batching import Batcher
from serve_app.turns import CoreTurn, LockTurn
from tests.fakes import GatedModel


def _acquired(turn: CoreTurn, size: int = 1, then: Callable[[], object] = lambda: None) -> threading.Event:
    done = threading.Event()
    threading.Thread(target=lambda: (turn.acquire(lambda: size), then(), done.set()), daemon=True).start()
    return done


def _until(condition: Callable[[], object]) -> None:
    end = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.001)


@pytest.fixture
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """However slow the machine, nobody is taken for hanging or dead."""
    monkeypatch.setattr(turns, "_LONGEST_TURN_S", 600.0)
    monkeypatch.setattr(turns, "_FRESH_S", 600.0)


@pytest.mark.usefixtures("patient")
def test_one_waits_until_another_is_done(tmp_path: Path) -> None:
    first, second, third = (CoreTurn(1, tmp_path, num_turns=2) for _ in range(3))
    first.acquire()
    second.acquire()
    waiting = _acquired(third)
    assert not waiting.wait(0.1)
    second.release()
    assert waiting.wait(30)
    third.release()
    first.release()


@pytest.mark.usefixtures("patient")
def test_the_largest_batch_comes_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(turns, "_PICTURES_PER_S", 0.0)
    holder = CoreTurn(1, tmp_path, num_turns=1)
    holder.acquire()
    order: list[int] = []
    ends = []
    for size in (1, 8, 3):
        turn = CoreTurn(1, tmp_path, num_turns=1)
        ends.append(_acquired(turn, size, lambda turn=turn, size=size: (order.append(size), turn.release())))  # type: ignore[misc]
    board = holder._files.board  # type: ignore[union-attr]
    _until(lambda: sorted(board[:, 1])[-3:] == [1, 3, 8])
    holder.release()
    assert all(end.wait(30) for end in ends)
    assert order == [8, 3, 1]


@pytest.mark.usefixtures("patient")
def test_waiting_makes_up_for_a_small_batch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(turns, "_PICTURES_PER_S", 1000.0)
    holder, early, late = (CoreTurn(1, tmp_path, num_turns=1) for _ in range(3))
    holder.acquire()
    order: list[str] = []
    board = holder._files.board  # type: ignore[union-attr]
    ends = [_acquired(early, 1, lambda: (order.append("early"), early.release()))]
    _until(lambda: board[:, 1].max() > 50)
    ends.append(_acquired(late, 8, lambda: (order.append("late"), late.release())))
    _until(lambda: (board[:, 1] > 8).sum() == 2)
    holder.release()
    assert all(end.wait(30) for end in ends)
    assert order == ["early", "late"]


def _die_with_the_turn(folder: Path) -> None:
    CoreTurn(1, folder, num_turns=1).acquire()
    os._exit(0)


@pytest.mark.usefixtures("patient")
def test_a_turn_ends_with_its_process(tmp_path: Path) -> None:
    process = multiprocessing.get_context("spawn").Process(target=_die_with_the_turn, args=(tmp_path,))
    process.start()
    process.join(60)
    assert process.exitcode == 0
    assert _acquired(CoreTurn(1, tmp_path, num_turns=1)).wait(30)


def _die_waiting(folder: Path) -> None:
    threading.Thread(target=CoreTurn(1, folder, num_turns=1).acquire, args=(lambda: 99,), daemon=True).start()
    board = CoreTurn(1, folder, num_turns=1)._files.board  # type: ignore[union-attr]
    _until(lambda: board[:, 1].max() > 90)
    os._exit(0)


def test_who_died_waiting_keeps_nobody_from_a_turn(tmp_path: Path) -> None:
    holder, other = (CoreTurn(1, tmp_path, num_turns=1) for _ in range(2))
    holder.acquire()
    process = multiprocessing.get_context("spawn").Process(target=_die_waiting, args=(tmp_path,))
    process.start()
    process.join(60)
    assert process.exitcode == 0
    holder.release()
    assert _acquired(other).wait(30)


def test_a_turn_that_never_ends_and_a_folder_that_cannot_be_made_stop_nobody(tmp_path: Path) -> None:
    hanging, other, another = (CoreTurn(1, tmp_path, num_turns=1) for _ in range(3))
    hanging.acquire()  # never released
    for turn in (other, another, other):
        assert _acquired(turn).wait(30)
        turn.release()
    assert _acquired(CoreTurn(1, tmp_path / "no" / "such", num_turns=1)).wait(30)


async def test_what_comes_before_the_turn_is_in_the_batch() -> None:
    model, turn = GatedModel(), LockTurn()
    model.gate.set()
    batcher: Batcher[int, int] = Batcher(model.run, max_size=4, turn=turn)
    turn.acquire(lambda: 1)
    tasks = [asyncio.create_task(batcher.submit(item, 30.0)) for item in range(3)]
    await asyncio.sleep(0)
    turn.release()
    assert await asyncio.gather(*tasks) == [0, 10, 20]
    assert model.batches == [[0, 1, 2]]
    turn.acquire(lambda: 1)  # it was given back
    await batcher.close()


async def test_a_turn_is_told_what_would_be_computed() -> None:
    sizes: list[int] = []

    class Asking(LockTurn):
        def acquire(self, size_of_batch: Callable[[], int]) -> None:
            super().acquire(size_of_batch)
            sizes.append(size_of_batch())

    model = GatedModel()
    batcher: Batcher[int, int] = Batcher(model.run, max_size=2, kind_of=lambda item: item % 2, turn=Asking())
    tasks = [asyncio.create_task(batcher.submit(item, 30.0)) for item in (1, 2, 4, 6, 3)]
    await asyncio.sleep(0)
    model.gate.set()
    await asyncio.gather(*tasks)
    assert sizes == [2, 2, 1]  # 1 and 3; 2 and 4, since two are the most; 6
    await batcher.close()
