"""Room for photos: first come, first served, never more than there is, and nothing lost when somebody leaves."""

import asyncio

from serve_app.pixel_room import PixelRoom


async def _settle() -> None:
    for _ in range(5):
        await asyncio.sleep(0)


class Photo:
    """A task that holds room until it is told to go."""

    def __init__(self, room: PixelRoom, num_pixels: int) -> None:
        self.is_in = False
        self._leave = asyncio.Event()
        self.task = asyncio.create_task(self._hold(room, num_pixels))

    async def _hold(self, room: PixelRoom, num_pixels: int) -> None:
        async with room.taken(num_pixels):
            self.is_in = True
            await self._leave.wait()
        self.is_in = False

    async def leave(self) -> None:
        self._leave.set()
        await self.task
        await _settle()


async def test_photos_wait_their_turn_even_if_a_later_one_would_fit() -> None:
    room = PixelRoom(10)
    first, large, small = Photo(room, 6), Photo(room, 8), Photo(room, 2)
    await _settle()
    assert [first.is_in, large.is_in, small.is_in] == [True, False, False]
    await first.leave()
    assert [large.is_in, small.is_in] == [True, True]
    await large.leave()
    await small.leave()


async def test_a_photo_larger_than_all_the_room_takes_all_of_it() -> None:
    room = PixelRoom(10)
    huge, other = Photo(room, 99), Photo(room, 1)
    await _settle()
    assert [huge.is_in, other.is_in] == [True, False]
    await huge.leave()
    assert other.is_in
    await other.leave()


async def test_who_leaves_the_queue_leaves_it_to_the_others() -> None:
    room = PixelRoom(10)
    first, impatient, patient = Photo(room, 4), Photo(room, 8), Photo(room, 5)
    await _settle()
    impatient.task.cancel()
    await asyncio.wait([impatient.task])
    await _settle()
    assert patient.is_in
    await first.leave()
    await patient.leave()


async def test_room_given_in_the_moment_of_leaving_is_not_lost() -> None:
    room = PixelRoom(10)
    first, second = Photo(room, 10), Photo(room, 10)
    await _settle()
    first._leave.set()
    await asyncio.sleep(0)  # the first gives back, so the second has been given its room but has not run
    second.task.cancel()
    await asyncio.wait([first.task, second.task])
    third = Photo(room, 10)
    await _settle()
    assert third.is_in
    await third.leave()
