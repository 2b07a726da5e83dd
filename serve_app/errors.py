"""Service-side errors, and the table from error code to HTTP status.

Like every TaggingError these take positional arguments only, so that they survive pickling between processes.
"""

from models.errors import InputError, TaggingError


class BadRequest(InputError):
    """A parameter, value or body that the interface does not know."""

    code = "bad_request"


class NotFound(InputError):
    """No such path."""

    code = "not_found"


class MethodNotAllowed(InputError):
    """The path exists, the method does not."""

    code = "method_not_allowed"


class UploadTimeout(InputError):
    """The body did not arrive in time."""

    code = "upload_timeout"


class ImageUrlRefused(InputError):
    """The photo's address is not one that this service fetches from."""

    code = "image_url_refused"


class ImageUrlFailed(InputError):
    """The photo's address did not give the photo, or not in time."""

    code = "image_url_failed"


class Conflict(InputError):
    """What is asked contradicts what is there: a used idempotency key, or a page of a result that is not there yet."""

    code = "conflict"


class KeyMissing(InputError):
    """The service wants an API key and none came."""

    code = "key_missing"


class KeyRefused(InputError):
    """The API key is not one of ours."""

    code = "key_refused"


class KeyFileError(TaggingError):
    """The file of API keys is missing, malformed or not even named."""


class ServiceError(TaggingError):
    """The service cannot answer now, whatever the picture.

    Args:
        message: for the caller.
        detail: for the log.
        retry_after_s: seconds after which trying again may help; None for the usual of the code.
    """

    def __init__(self, message: str, detail: str = "", retry_after_s: int | None = None) -> None:
        super().__init__(message, detail)
        self.args = (message, detail, retry_after_s)  # what pickling calls the class with
        self.retry_after_s = retry_after_s


class Overloaded(ServiceError):
    """More requests wait than a deployment takes; trying again later helps."""

    code = "overloaded"


class RateLimited(ServiceError):
    """This caller asked more often than allowed."""

    code = "rate_limited"


class DeadlineExceeded(ServiceError):
    """The request ran out of its time."""

    code = "deadline_exceeded"


class DetectorUnavailable(ServiceError):
    """No detector replica answers, so nothing can be said about a photo."""

    code = "detector_unavailable"


class FeedbackUnavailable(ServiceError):
    """Feedback cannot be kept now."""

    code = "feedback_unavailable"


class JobsUnavailable(ServiceError):
    """What keeps the jobs does not answer now; jobs that were taken are safe."""

    code = "jobs_unavailable"


class ModelUnavailable(ServiceError):
    """A deployment cannot answer; the composition decides what that means for the caller."""

    code = "internal"


class ReplicaDied(ModelUnavailable):
    """The replica died after it accepted the call; another one may answer it."""


class ModelFailed(ModelUnavailable):
    """The model raised on this input; trying again does not help."""


STATUS_BY_CODE = {
    "bad_request": 400,
    "image_url_refused": 400,
    "key_missing": 401,
    "key_refused": 403,
    "not_found": 404,
    "method_not_allowed": 405,
    "upload_timeout": 408,
    "conflict": 409,
    "image_too_large": 413,
    "image_type_unsupported": 415,
    "image_unreadable": 422,
    "image_truncated": 422,
    "image_url_failed": 422,
    "rate_limited": 429,
    "internal": 500,
    "overloaded": 503,
    "detector_unavailable": 503,
    "feedback_unavailable": 503,
    "jobs_unavailable": 503,
    "deadline_exceeded": 504,
}
"""Every code that leaves the service; a code that is missing here is answered as `internal`."""

RETRY_AFTER_S_BY_CODE = {
    "rate_limited": 1,
    "overloaded": 1,
    "detector_unavailable": 5,
    "feedback_unavailable": 5,
    "jobs_unavailable": 5,
}
"""Seconds in the Retry-After header: one for a queue to drain, five for a replica to start."""

INTERNAL_MESSAGE = "something failed on our side; the request id finds it in the log"


def public_code(exc: TaggingError) -> str:
    """The code that leaves the service for an error."""
    return exc.code if exc.code in STATUS_BY_CODE else "internal"
