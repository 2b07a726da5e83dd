from serve_app.breaker import Breaker


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def _fail(breaker: Breaker, times: int) -> None:
    for _ in range(times):
        assert breaker.allows()
        breaker.note("absent")


def test_opens_after_five_calls_that_nobody_answered_in_a_row() -> None:
    breaker = Breaker(Clock())
    _fail(breaker, 4)
    breaker.note("answered")
    _fail(breaker, 5)
    assert not breaker.allows()


def test_one_call_tries_every_five_seconds_and_closes_it_if_answered() -> None:
    clock = Clock()
    breaker = Breaker(clock)
    _fail(breaker, 5)
    clock.now = 5.0
    assert [breaker.allows(), breaker.allows()] == [True, False]
    breaker.note("absent")
    clock.now = 9.9
    assert not breaker.allows()
    clock.now = 10.0
    assert breaker.allows()
    breaker.note("answered")
    assert breaker.allows()


def test_a_try_that_was_given_up_lets_another_one_try() -> None:
    clock = Clock()
    breaker = Breaker(clock)
    _fail(breaker, 5)
    clock.now = 5.0
    assert breaker.allows()
    breaker.note("unknown")
    clock.now = 10.0
    assert breaker.allows()
