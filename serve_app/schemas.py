"""The public contract: request, response and error bodies of the HTTP interface, version 1."""

from datetime import datetime
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

MAX_BATCH_IMAGES = 64
CATEGORY_CORRECTION = "category"
"""What stands for an attribute where feedback corrects the category itself."""
_Pixel = Annotated[float, Field(ge=0, le=100_000, allow_inf_nan=False)]


class _Request(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class _Response(BaseModel):
    model_config = ConfigDict(frozen=True)


class ImageSource(_Request):
    """A photo inside a JSON body: exactly one of the two."""

    base64: str | None = Field(None, description="The image file in standard base64.")
    url: str | None = Field(None, description="Address of the image file; refused unless the service allows it.")


class TagRequest(_Request):
    """JSON body of POST /v1/tag."""

    image: ImageSource


class BatchImage(ImageSource):
    """One photo of a batch; its base64 or its url."""

    id: str | None = Field(None, min_length=1, max_length=128, description="Comes back with its result.")


class BatchRequest(_Request):
    """JSON body of POST /v1/tag/batch."""

    images: list[BatchImage] = Field(min_length=1, max_length=MAX_BATCH_IMAGES)


class FeedbackGarment(_Request):
    """A garment as it was answered, by the ontology's names."""

    model_config = ConfigDict(strict=True)

    category: str = Field(max_length=100)
    box: tuple[_Pixel, _Pixel, _Pixel, _Pixel]


class FeedbackRequest(_Request):
    """JSON body of POST /v1/feedback: what one attribute of one garment really is."""

    model_config = ConfigDict(strict=True)

    request_id: str = Field(min_length=1, max_length=140, pattern=r"^[!-~]+$", description="Of the answer.")
    garment: FeedbackGarment
    attribute: str = Field(max_length=100, description="An attribute of the category, or `category` for itself.")
    values: list[str] = Field(min_length=1, max_length=50, description="Right value; more where it takes several.")
    photo: str | None = Field(
        None,
        min_length=1,
        max_length=500,
        description="Your file of the photo, relative to the folder of all; else it is called like the request.",
    )


class Value(_Response):
    """One value of an attribute."""

    value: str
    label: str | None = Field(None, description="Its name for people; only with lang or profile.")
    score: float = Field(ge=0, le=1)


class Colour(_Response):
    """A colour of the garment, measured on its own pixels."""

    name: str
    label: str | None = Field(None, description="Its name for people; only with lang or profile.")
    hex: str = Field(pattern=r"^#[0-9a-f]{6}$")
    share: float = Field(ge=0, le=1, description="Share of the garment's pixels.")


class Garment(_Response):
    """A garment in the photo with its attributes."""

    category: str
    label: str | None = Field(None, description="The category's name for people; only with lang or profile.")
    score: float = Field(ge=0, le=1)
    box: tuple[float, float, float, float] = Field(
        description="x1, y1, x2, y2 in pixels of the upright image, origin top-left."
    )
    status: Literal["ok", "classifier_unavailable"]
    attributes: dict[str, list[Value]]
    needs_review: list[str] = Field(
        default=[], description="Attributes whose answer stays below the bundle's calibrated confidence."
    )
    probabilities: dict[str, list[Value]] | None = Field(
        None, description="Every value of every attribute, best first; only with include=probabilities."
    )
    colours: list[Colour]


class ImageSize(_Response):
    """Size of the upright image in pixels."""

    width: int
    height: int


class Timing(_Response):
    """Milliseconds per stage."""

    decode: float
    detect: float
    classify: float
    total: float


class TagResponse(_Response):
    """Answer of POST /v1/tag."""

    request_id: str
    bundle: str = Field(description="name@version of the bundle that answered.")
    image: ImageSize
    garments: list[Garment]
    tags: list[str]
    timing_ms: Timing

    @property
    def outcome(self) -> str:
        """`ok`, or `partial` where a garment is without its attributes; for counting."""
        return "ok" if all(garment.status == "ok" for garment in self.garments) else "partial"


class BatchResult(_Response):
    """Outcome of one photo of a batch: its result or its error. A line each with application/x-ndjson."""

    index: int = Field(ge=0, description="Position in the request, from 0.")
    id: str = Field(description="As given; else the file name of its part, else its position.")
    result: TagResponse | None = None
    error: "ErrorBody | None" = None


class BatchResponse(_Response):
    """Answer of POST /v1/tag/batch; results in the order of the request."""

    request_id: str
    results: list[BatchResult]


class FeedbackResponse(_Response):
    """Answer of POST /v1/feedback: it is kept."""

    request_id: str
    status: Literal["recorded"]


class JobRequest(_Request):
    """JSON body of POST /v1/jobs."""

    photos: list[str] = Field(
        min_length=1,
        max_length=1_000_000,
        description="Addresses of photos: below the places and hosts that the service reads from for jobs.",
    )


class JobParameters(_Request):
    """Query of POST /v1/jobs; every parameter may be left out."""

    rows: Literal["garment", "photo"] = Field("garment", description="One row of the result a garment or a photo.")
    min_score: float | None = Field(None, ge=0, le=1, description="Garments that score lower are left out.")
    category: str | None = Field(None, description="Every photo shows one garment of this category: skip detection.")


class JobResponse(_Response):
    """A job: what was asked and how far it is."""

    id: str
    status: Literal["queued", "running", "succeeded", "failed", "cancelled"]
    created_at: datetime
    rows: Literal["garment", "photo"]
    num_photos: int
    num_done: int = Field(description="Photos that have their outcome, be it an error.")
    num_garments: int
    num_failed: int = Field(description="Photos whose outcome is an error.")
    errors: dict[str, int] = Field(description="Failed photos by error code.")
    num_pages: int = Field(description="Pages that the whole result has.")
    rate_per_s: float | None = Field(None, description="Photos per second, while it runs.")
    eta_s: float | None = Field(None, description="Seconds until it is done, while it runs.")
    message: str | None = Field(None, description="Why the job failed as a whole.")
    expires_at: datetime | None = Field(None, description="When an ended job is removed with its results.")


class JobListResponse(_Response):
    """Answer of GET /v1/jobs, newest first."""

    jobs: list[JobResponse]
    next: str | None = Field(None, description="What to give as `after` for the next ones; absent at the end.")


class JobPageResponse(_Response):
    """A page of a job's result."""

    page: int
    num_pages: int
    next_page: int | None = Field(None, description="Absent on the last page.")
    rows: list[dict[str, Any]] = Field(
        description="The rows of the Parquet file: `row` and `photo` of the manifest, `error_code` and "
        "`error_message` or the fields of an answer."
    )


class BundleResponse(_Response):
    """Answer of GET /v1/bundle."""

    name: str
    version: str
    digest: str
    ontology: str = Field(description="name@version of its ontology.")
    categories: list[str]


class AttributeResponse(_Response):
    """One attribute of a category."""

    choice: Literal["single", "several"]
    values: list[str]


class CategoryResponse(_Response):
    """One category with its attributes."""

    attributes: dict[str, AttributeResponse]


class LabelsResponse(_Response):
    """Names for people, in one language or profile, of everything in the ontology."""

    title: str = Field(description="What the language calls itself; the profile's name.")
    categories: dict[str, str]
    attributes: dict[str, str]
    values: dict[str, dict[str, str]] = Field(
        description="Attribute, value, name; what a profile leaves out is missing."
    )


class OntologyResponse(_Response):
    """Answer of GET /v1/ontology."""

    name: str
    version: str
    categories: dict[str, CategoryResponse]
    languages: dict[str, LabelsResponse] = Field(default={}, description="By what `lang` takes.")
    profiles: dict[str, LabelsResponse] = Field(default={}, description="By what `profile` takes.")
    takes_feedback: bool = Field(False, description="Whether POST /v1/feedback keeps corrections of its names.")


class HealthResponse(_Response):
    """Answer of GET /healthz and GET /readyz."""

    status: Literal["ok", "ready"]


class ErrorBody(_Response):
    """What went wrong, for the caller."""

    code: str
    message: str
    request_id: str


class ErrorResponse(_Response):
    """Body of every error, on every path."""

    error: ErrorBody
