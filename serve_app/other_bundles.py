"""While a new bundle rolls out, replicas of both answer routers of both: one photo is never answered by two bundles.

Serve replaces router, detector and classifiers each at its own pace, so for a while a router finds only replicas that
were started for the other bundle. Such a replica loads the router's bundle besides its own and answers with that.
"""

import asyncio
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from typing import Generic, TypeVar

from models.errors import TaggingError
from serve_app.errors import ModelUnavailable

_MAX_OTHERS = 1  # the memory of a replica has room for two bundles: its own and that before or after it

R = TypeVar("R")
M = TypeVar("M", covariant=True)


@dataclass(frozen=True, slots=True)
class ModelSource(Generic[M]):
    """Where the model of a replica comes from.

    Args:
        bundle: address of the bundle; `label` is its name@version.
        load: loads the model of the bundle at an address.
    """

    bundle: str
    label: str
    load: Callable[[str], M]


class OtherBundles(Generic[R]):
    """What answers for bundles other than a replica's own.

    Args:
        own: address of the bundle that the replica was started for.
        make: loads what answers for another one, given its address; called in a thread.
    """

    def __init__(self, own: str, make: Callable[[str], R]) -> None:
        self._own = own
        self._make = make
        self._loading: OrderedDict[str, asyncio.Task[R]] = OrderedDict()

    async def get(self, bundle: str | None) -> R | None:
        """What answers for a bundle; None for the replica's own, or where a caller names none.

        Raises:
            ModelUnavailable: if it cannot be loaded.
        """
        if bundle is None or bundle == self._own:
            return None
        if bundle not in self._loading:
            while len(self._loading) >= _MAX_OTHERS:
                self._loading.popitem(last=False)
            self._loading[bundle] = asyncio.create_task(asyncio.to_thread(self._make, bundle))
        task = self._loading[bundle]
        try:
            return await asyncio.shield(task)  # others wait for it too
        except (TaggingError, OSError, RuntimeError) as exc:
            if self._loading.get(bundle) is task:
                del self._loading[bundle]
            raise ModelUnavailable("a bundle that is not the replica's own cannot be loaded", repr(exc)) from exc
