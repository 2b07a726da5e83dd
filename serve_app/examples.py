"""Example answers for the documentation: objects of the schema classes, so none can contradict its schema."""

from datetime import UTC, datetime

from serve_app.schemas import (
    AttributeResponse,
    BatchResponse,
    BatchResult,
    BundleResponse,
    CategoryResponse,
    Colour,
    ErrorBody,
    Garment,
    ImageSize,
    JobPageResponse,
    JobResponse,
    LabelsResponse,
    OntologyResponse,
    TagResponse,
    Timing,
    Value,
)

TAG_EXAMPLE = TagResponse(
    request_id="5f0c2a8e6d1b4f7c9e3a1d2b4c6f8a90",
    bundle="demo@1.0.0",
    image=ImageSize(width=800, height=1200),
    garments=[
        Garment(
            category="dress",
            score=0.97,
            box=(122.5, 96.0, 655.0, 1130.5),
            status="ok",
            attributes={
                "colour": [Value(value="red", score=0.88)],
                "neckline": [Value(value="v_neck", score=0.41)],
            },
            needs_review=["neckline"],
            probabilities=None,
            colours=[Colour(name="red", hex="#b3282d", share=0.81)],
        )
    ],
    tags=["dress", "red", "v neck"],
    timing_ms=Timing(decode=3.1, detect=41.0, classify=22.7, total=69.4),
)
BATCH_EXAMPLE = BatchResponse(
    request_id="5f0c2a8e6d1b4f7c9e3a1d2b4c6f8a90",
    results=[
        BatchResult(index=0, id="front", result=TAG_EXAMPLE, error=None),
        BatchResult(
            index=1,
            id="back",
            result=None,
            error=ErrorBody(
                code="image_truncated",
                message="the picture ends too early; send the whole file",
                request_id="5f0c2a8e6d1b4f7c9e3a1d2b4c6f8a90.1",
            ),
        ),
    ],
)
_DRESS = CategoryResponse(
    attributes={"neckline": AttributeResponse(choice="single", values=["round", "v_neck", "not_visible"])}
)
_GERMAN = LabelsResponse(
    title="Deutsch",
    categories={"dress": "Kleid"},
    attributes={"neckline": "Ausschnitt"},
    values={"neckline": {"v_neck": "V-Ausschnitt"}},
)
ONTOLOGY_EXAMPLE = OntologyResponse(
    name="garments", version="1.0", categories={"dress": _DRESS}, languages={"de": _GERMAN}, profiles={}
)
BUNDLE_EXAMPLE = BundleResponse(
    name="demo", version="1.0.0", digest="sha256:9f2c", ontology="garments@1.0", categories=["dress"]
)
JOB_EXAMPLE = JobResponse(
    id="9b1c5f0e4d7a42b8a1f3c6d2e8b07f64",
    status="running",
    created_at=datetime(2026, 11, 21, 20, 0, tzinfo=UTC),
    rows="garment",
    num_photos=250_000,
    num_done=100_000,
    num_garments=143_210,
    num_failed=412,
    errors={"image_unreadable": 400, "photo_unavailable": 12},
    num_pages=1000,
    rate_per_s=31.2,
    eta_s=4807.7,
    message=None,
    expires_at=None,
)
JOB_PAGE_EXAMPLE = JobPageResponse(
    page=0,
    num_pages=1000,
    next_page=1,
    rows=[
        {"row": 0, "photo": "s3://shop/photos/1.jpg", "garment": 0, "category": "dress", "score": 0.97},
        {
            "row": 1,
            "photo": "s3://shop/photos/2.jpg",
            "error_code": "image_unreadable",
            "error_message": "the picture is broken and cannot be decoded",
        },
    ],
)
