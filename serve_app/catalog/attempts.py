"""Finding the photo that kills the process that reads it: a decoder that crashes, a picture that takes all memory.

Each part under way has a file that says how often it was begun. One that was begun too often goes on photo by photo,
and a photo that killed its process twice is left out.
"""

import json

from serve_app.catalog.storage import Folder

_BEGUN_TOO_OFTEN = 3
_DEATHS_TOO_MANY = 2


class Attempts:
    """The attempts at one part; `begin` it, and `end` it once it is written.

    Args:
        folder: of the state of the run.
        part: which part.
    """

    def __init__(self, folder: Folder, part: int) -> None:
        self._folder = folder
        self._name = f"doing-{part:06d}.json"
        self._num_begun = 0
        self._num_deaths: dict[str, int] = {}

    def begin(self) -> None:
        """Note that the part is begun."""
        content = self._folder.read(self._name)
        if content is not None:
            facts = json.loads(content)
            self._num_begun, self._num_deaths = facts["begun"], facts["photos"]
        self._num_begun += 1
        self._write()

    @property
    def is_careful(self) -> bool:
        """Whether photos have to be taken one by one."""
        return self._num_begun >= _BEGUN_TOO_OFTEN

    def begin_photo(self, row: int) -> bool:
        """Note that a photo is begun; False if it is to be left out."""
        key = str(row)
        if self._num_deaths.get(key, 0) >= _DEATHS_TOO_MANY:
            return False
        self._num_deaths[key] = self._num_deaths.get(key, 0) + 1
        self._write()
        return True

    def end_photo(self, row: int) -> None:
        """Note that a photo did no harm."""
        del self._num_deaths[str(row)]  # written down with the next photo

    def end(self) -> None:
        """Forget the part."""
        self._folder.remove(self._name)

    def _write(self) -> None:
        content = json.dumps({"begun": self._num_begun, "photos": self._num_deaths}).encode()
        self._folder.write(self._name, lambda file: file.write(content))
