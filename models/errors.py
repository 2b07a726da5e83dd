"""The errors of input, models, ontology and data: a message for the caller, a detail for the log.

TaggingError
├─ InputError          the caller's picture
│  ├─ ImageUnreadable        422
│  ├─ ImageTruncated         422
│  ├─ ImageTooLarge          413
│  └─ UnsupportedImageType   415
├─ ModelError          our files: 500
│  ├─ BundleError
│  └─ OntologyError
└─ DatasetError        training and evaluation only

Arguments are positional and all reach `Exception.__init__`: an error with a keyword-only argument cannot be
unpickled, so past a Ray Serve handle nobody could catch it by its class.
"""


class TaggingError(Exception):
    """Base of everything the tagger refuses or fails at.

    Args:
        message: a sentence for the caller; never a path, a secret or a traceback.
        detail: what the log needs to know besides.
    """

    code = "internal"

    def __init__(self, message: str, detail: str = "") -> None:
        super().__init__(message, detail)
        self.message = message
        self.detail = detail

    def __str__(self) -> str:
        return f"{self.message} ({self.detail})" if self.detail else self.message


class InputError(TaggingError):
    """The caller's input cannot be answered; mending it is up to the caller."""

    code = "bad_request"


class ImageUnreadable(InputError):
    """The bytes are no picture of a known type, or a broken one."""

    code = "image_unreadable"


class ImageTruncated(InputError):
    """The picture begins well and ends too early."""

    code = "image_truncated"


class ImageTooLarge(InputError):
    """The picture has more bytes or pixels than the limit, which the message names."""

    code = "image_too_large"


class UnsupportedImageType(InputError):
    """The picture is of a type that is not accepted, or animated."""

    code = "image_type_unsupported"


class ModelError(TaggingError):
    """Our own files are at fault."""


class BundleError(ModelError):
    """A bundle is missing, damaged, or made for something else; the message says what to do."""


class OntologyError(ModelError):
    """An ontology contradicts itself; the message names the line and the mend."""


class DatasetError(TaggingError):
    """Photos or labels given for training or evaluation are unusable."""
