"""What the operations of the OpenAPI document take: query parameters and bodies in every form, with examples."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from pydantic import BaseModel, Field, TypeAdapter

from models.image_headers import ACCEPTED_TYPES
from serve_app.schemas import (
    MAX_BATCH_IMAGES,
    BatchImage,
    BatchRequest,
    FeedbackGarment,
    FeedbackRequest,
    ImageSource,
    TagRequest,
)

Json = dict[str, Any]

_BASE64 = "/9j/4AAQSkZJRg=="
_URL = "https://cdn.example/dress.jpg"


@dataclass(frozen=True)
class Operation:
    """A method of a path.

    Args:
        answer: example of what comes with `status`; its class is the schema.
        error_codes: that it may answer.
        parameters: its query; `other_parameters` stand beside them as OpenAPI writes them.
        line: example of a line of an answer that streams.
        other_answers: further content types of the answer, as OpenAPI writes them.
    """

    method: Literal["get", "post"]
    path: str
    name: str
    summary: str
    answer: BaseModel
    error_codes: Sequence[str]
    parameters: type[BaseModel] | None = None
    body: Json | None = None
    line: BaseModel | None = None
    status: int = 200
    other_parameters: tuple[Json, ...] = ()
    other_answers: Json = field(default_factory=dict)


class TagParameters(BaseModel):
    """Query of POST /v1/tag and /v1/tag/batch; every parameter may be left out."""

    min_score: float = Field(ge=0, le=1, description="Garments that score lower are left out.", examples=[0.5])
    top_k: int = Field(ge=1, le=100, description="Values answered per attribute, best first.", examples=[3])
    categories: list[str] = Field(
        min_length=1,
        description="Only garments of these categories; names as in GET /v1/ontology.",
        examples=[["dress"]],
    )
    attributes: list[str] = Field(min_length=1, description="Only these attributes.", examples=[["colour", "neckline"]])
    category: str = Field(
        description="The photo shows one garment of this category: skip detection and tag the whole photo. "
        "Not together with `categories`.",
        examples=["dress"],
    )
    garments: Literal["largest", "all"] = Field(
        description="`largest`: only the garment with the largest box.", examples=["largest"]
    )
    include: list[Literal["probabilities"]] = Field(
        min_length=1,
        description="`probabilities`: every value of every attribute besides.",
        examples=[["probabilities"]],
    )
    lang: str = Field(
        description="Language of `tags` and of the labels that come with it: see `languages` in GET /v1/ontology.",
        examples=["de"],
    )
    profile: str = Field(
        description="A shop's own names instead of the ontology's: see `profiles` in GET /v1/ontology.",
        examples=["shop"],
    )


class MultipartPhoto(BaseModel):
    """Form body of POST /v1/tag: one part."""

    image: bytes = Field(description="The image file.")


class MultipartBatch(BaseModel):
    """Form body of POST /v1/tag/batch: a part for each photo; its file name comes back as the id."""

    images: list[bytes] = Field(min_length=1, max_length=MAX_BATCH_IMAGES, description="The image files.")


def query_parameters(schema: type[BaseModel]) -> list[Json]:
    """A parameter for every field of a schema; none is required."""
    parameters = []
    for name, described in schema.model_json_schema()["properties"].items():
        content = {key: value for key, value in described.items() if key not in ("title", "description", "anyOf")}
        if "anyOf" in described:  # a field that may be None, which no query can say
            content = next(choice for choice in described["anyOf"] if choice != {"type": "null"})
        parameter: Json = {"name": name, "in": "query", "required": False, "description": described["description"]}
        if content["type"] == "array":
            parameter |= {"style": "form", "explode": False}  # colour,neckline
        parameters.append({**parameter, "schema": content})
    return parameters


def photo_bodies() -> Json:
    """One photo."""
    file = TypeAdapter(bytes).json_schema()
    base64_form = TagRequest(image=ImageSource(base64=_BASE64, url=None))
    url_form = TagRequest(image=ImageSource(base64=None, url=_URL))
    return {
        "required": True,
        "description": "The photo, in one of three forms: the image file itself, a form with one part, or JSON.",
        "content": {
            **{media_type: {"schema": file} for media_type in ACCEPTED_TYPES},
            "multipart/form-data": _form(MultipartPhoto, "image"),
            **json_content(TagRequest, {"base64": base64_form, "url": url_form}),
        },
    }


def batch_bodies() -> Json:
    """Several photos."""
    images = [BatchImage(id="front", base64=_BASE64, url=None), BatchImage(id="back", base64=None, url=_URL)]
    return {
        "required": True,
        "description": f"At most {MAX_BATCH_IMAGES} photos, as a form with a part for each, or as JSON.",
        "content": {
            "multipart/form-data": _form(MultipartBatch, "images"),
            **json_content(BatchRequest, {"images": BatchRequest(images=images)}),
        },
    }


def feedback_body() -> Json:
    """One correction."""
    garment = FeedbackGarment(category="dress", box=(122.5, 96.0, 655.0, 1130.5))
    feedback = FeedbackRequest(
        request_id="5f0c2a8e6d1b4f7c9e3a1d2b4c6f8a90",
        garment=garment,
        attribute="neckline",
        values=["square"],
        photo="spring/0815.jpg",
    )
    return {"required": True, "content": json_content(FeedbackRequest, {"neckline": feedback})}


def json_content(schema: type[BaseModel], examples: dict[str, BaseModel], media_type: str = "application/json") -> Json:
    """A schema of the document with examples of it."""
    shown = {name: {"value": example.model_dump(mode="json", exclude_none=True)} for name, example in examples.items()}
    return {media_type: {"schema": _ref(schema), "examples": shown}}


def _form(schema: type[BaseModel], part: str) -> Json:
    return {"schema": _ref(schema), "encoding": {part: {"contentType": ", ".join(ACCEPTED_TYPES)}}}


def _ref(schema: type[BaseModel]) -> Json:
    return {"$ref": f"#/components/schemas/{schema.__name__}"}
