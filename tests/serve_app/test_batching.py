"""Batches grow only while the model is busy, and nobody pays for another's item, cancellation or deadline."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from serve_app.batching import Batcher
from serve_app.errors import DeadlineExceeded, ModelFailed, Overloaded
from tests.fakes import FakeMeter, GatedModel

BUDGET_S = 30.0


@pytest.fixture
def model() -> GatedModel:
    return GatedModel()


@pytest.fixture
async def batcher(model: GatedModel) -> AsyncIterator[Batcher[int, int]]:
    batcher: Batcher[int, int] = Batcher(model.run, max_size=4)
    yield batcher
    model.gate.set()
    await batcher.close()


async def _entered(model: GatedModel) -> None:
    assert await asyncio.to_thread(model.entered.wait, 10)
    model.entered.clear()


async def _started(*submissions: "asyncio.Task[int]") -> None:
    """Let every task reach its first wait."""
    for _ in submissions:
        await asyncio.sleep(0)


async def test_an_idle_model_starts_at_once_with_one_item(model: GatedModel, batcher: Batcher[int, int]) -> None:
    model.gate.set()
    assert await batcher.submit(1, BUDGET_S) == 10
    assert await batcher.submit(2, BUDGET_S) == 20
    assert model.batches == [[1], [2]]


async def test_what_arrives_while_it_is_busy_makes_full_batches(model: GatedModel, batcher: Batcher[int, int]) -> None:
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(batcher.submit(0, BUDGET_S))]
        await _entered(model)
        tasks += [group.create_task(batcher.submit(item, BUDGET_S)) for item in range(1, 7)]
        await _started(*tasks)
        model.gate.set()
    assert model.batches == [[0], [1, 2, 3, 4], [5, 6]]
    assert [task.result() for task in tasks] == [0, 10, 20, 30, 40, 50, 60]


async def test_a_bad_item_fails_alone(model: GatedModel, batcher: Batcher[int, int]) -> None:
    first = asyncio.create_task(batcher.submit(0, BUDGET_S))
    await _entered(model)
    tasks = [asyncio.create_task(batcher.submit(item, BUDGET_S)) for item in (1, -2, 3)]
    await _started(*tasks)
    model.gate.set()
    results = await asyncio.gather(first, *tasks, return_exceptions=True)
    assert [results[0], results[1], results[3]] == [0, 10, 30]
    assert isinstance(results[2], ModelFailed)
    assert "negative" not in results[2].message
    assert await batcher.submit(4, BUDGET_S) == 40


async def test_cancelled_and_expired_calls_never_reach_the_model(model: GatedModel) -> None:
    meter = FakeMeter()
    batcher: Batcher[int, int] = Batcher(model.run, max_size=4, meter=meter)
    first = asyncio.create_task(batcher.submit(0, BUDGET_S))
    await _entered(model)
    cancelled, expired, alive = (
        asyncio.create_task(batcher.submit(item, budget_s))
        for item, budget_s in ((1, BUDGET_S), (2, 0.0), (3, BUDGET_S))
    )
    await _started(cancelled, expired, alive)
    cancelled.cancel()
    model.gate.set()
    assert await asyncio.gather(first, alive) == [0, 30]
    with pytest.raises(DeadlineExceeded):
        await expired
    assert model.batches == [[0], [3]]
    assert meter.counts == {("tagger_dropped", "cancelled"): 1, ("tagger_dropped", "expired"): 1}
    assert meter.values == {"tagger_batch_size": [1, 1]}
    await batcher.close()


async def test_items_of_another_kind_wait_for_their_own_batch(model: GatedModel) -> None:
    batcher: Batcher[int, int] = Batcher(model.run, max_size=4, kind_of=lambda item: item % 2)
    first = asyncio.create_task(batcher.submit(0, BUDGET_S))
    await _entered(model)
    tasks = [asyncio.create_task(batcher.submit(item, BUDGET_S)) for item in (1, 2, 3, 4)]
    await _started(*tasks)
    model.gate.set()
    await asyncio.gather(first, *tasks)
    assert model.batches == [[0], [1, 3], [2, 4]]
    await batcher.close()


async def test_sizes_are_counted_and_a_large_item_goes_alone(model: GatedModel) -> None:
    batcher: Batcher[int, int] = Batcher(model.run, max_size=4, size_of=lambda item: item)
    first = asyncio.create_task(batcher.submit(1, BUDGET_S))
    await _entered(model)
    tasks = [asyncio.create_task(batcher.submit(item, BUDGET_S)) for item in (9, 3, 1, 2)]
    await _started(*tasks)
    model.gate.set()
    await asyncio.gather(first, *tasks)
    assert model.batches == [[1], [9], [3, 1], [2]]
    await batcher.close()


async def test_closing_answers_what_waits_and_takes_no_more(model: GatedModel) -> None:
    batcher: Batcher[int, int] = Batcher(model.run, max_size=4)
    tasks = [asyncio.create_task(batcher.submit(0, BUDGET_S))]
    await _entered(model)
    tasks += [asyncio.create_task(batcher.submit(item, BUDGET_S)) for item in (1, 2)]
    await _started(*tasks)
    closing = asyncio.create_task(batcher.close())
    await asyncio.sleep(0)
    with pytest.raises(Overloaded):
        await batcher.submit(3, BUDGET_S)
    model.gate.set()
    assert await asyncio.gather(*tasks) == [0, 10, 20]
    await closing


async def test_a_wrong_number_of_results_is_the_models_failure() -> None:
    batcher: Batcher[int, int] = Batcher(lambda items: [], max_size=4)
    with pytest.raises(ModelFailed):
        await batcher.submit(1, BUDGET_S)
    await batcher.close()


async def test_health_follows_the_model_thread(model: GatedModel, batcher: Batcher[int, int]) -> None:
    await batcher.check_alive(stall_limit_s=60)
    task = asyncio.create_task(batcher.submit(1, BUDGET_S))
    await _entered(model)
    await batcher.check_alive(stall_limit_s=60)
    with pytest.raises(RuntimeError, match="computed one batch"):
        await batcher.check_alive(stall_limit_s=0)
    model.gate.set()
    await task
    await batcher.check_alive(stall_limit_s=0)


class SickModel:
    """Fails on everything while it is sick, and on negative items always."""

    def __init__(self) -> None:
        self.is_sick = False

    def run(self, items: list[int]) -> list[int]:
        if self.is_sick or min(items) < 0:
            raise ValueError("sick")
        return items


async def test_a_bad_item_leaves_the_replica_healthy_and_a_bad_model_does_not() -> None:
    model = SickModel()
    given_up: list[bool] = []
    batcher: Batcher[int, int] = Batcher(model.run, max_size=4, probe=1, give_up=lambda: given_up.append(True))
    with pytest.raises(ModelFailed):
        await batcher.submit(-1, BUDGET_S)
    await batcher.check_alive(stall_limit_s=60)
    assert not given_up
    model.is_sick = True
    await batcher.check_alive(stall_limit_s=60)  # nothing failed yet, so nothing is asked of it
    with pytest.raises(ModelFailed):
        await batcher.submit(1, BUDGET_S)
    assert given_up
    for _ in range(2):
        with pytest.raises(RuntimeError, match="probe"):
            await batcher.check_alive(stall_limit_s=60)
    model.is_sick = False
    await batcher.check_alive(stall_limit_s=60)
    await batcher.close()
