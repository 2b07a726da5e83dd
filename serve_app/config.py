"""TaggerArgs: what the application answers with, typed and checked before any replica starts."""

import re
from pathlib import Path
from typing import Literal, Self

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

DEMO_BUNDLE = "demo"
"""The name that stands for the bundle shipped in the package."""

_HOST = re.compile(r"(\*\.)?([a-z0-9]([a-z0-9-]*[a-z0-9])?\.)+[a-z][a-z0-9-]*[a-z0-9](:[1-9][0-9]{0,4})?")
"""A lower-case name of at least two labels; the last is no number, so no form of an address passes."""


class TaggerArgs(BaseModel):
    """What the application answers with; filled from `args:` in the Serve config.

    How much of it runs (replicas, queue limits, CPUs, GPUs) is said under `deployments:` there.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    bundle: str = Field(DEMO_BUNDLE, min_length=1, description="Path or fsspec URL of the bundle; 'demo': the shipped.")
    device: Literal["cpu", "cuda"] = Field("cpu", description="Where the models compute.")
    precision: Literal["fast", "exact"] = Field(
        "fast", description="'fast': bfloat16 where the hardware is faster in it; 'exact': float32 throughout."
    )
    num_threads: int = Field(1, ge=1, description="Torch threads of each model replica; all busy ones share the cores.")
    num_decode_threads: int = Field(2, ge=1, description="Threads of a router replica that decode and crop.")

    min_score: float | None = Field(
        None,
        ge=0,
        le=1,
        description="Detections below it are dropped unless the caller says; none: as the bundle says.",
    )
    min_several_score: float = Field(
        0.5,
        ge=0,
        le=1,
        description="Values of a several-valued attribute below it are left out, if the bundle is mute.",
    )
    low_confidence_score: float = Field(
        0.5, ge=0, le=1, description="Best values below it are unsure, if the bundle is mute."
    )
    profiles: str = Field("", description="Path or fsspec URL of a folder of renaming profiles; empty: none.")
    max_garments: int = Field(20, ge=1, description="Garments tagged per photo at most, best scores first.")

    request_deadline_s: float = Field(10.0, gt=0, description="From the last byte of the body to the answer.")
    detect_deadline_s: float = Field(8.0, gt=0, description="The detector's share of it; after that 503.")
    classify_deadline_s: float = Field(
        6.0, gt=0, description="The classifiers' share of it; after that the garment is answered without attributes."
    )
    upload_deadline_s: float = Field(
        20.0, gt=0, description="From the first byte of the body to the last, and to the photo if it is fetched."
    )
    stall_limit_s: float = Field(10.0, gt=0, description="A batch that computes longer gets its replica replaced.")

    image_url_hosts: tuple[str, ...] = Field(
        (),
        description="Hosts that photos may be fetched from by address; `*.shop.example` and `cdn.example:8443` too.",
    )
    image_url_allows_http: bool = Field(False, description="Whether such an address may begin with http: too.")
    jobs_dir: str = Field(
        "", description="Path or fsspec URL that keeps jobs, on storage that all nodes share; empty: none are taken."
    )
    jobs_roots: tuple[str, ...] = Field(
        (),
        description="Folders that jobs may read photos below: absolute paths and fsspec URLs, as `s3://shop/photos`.",
    )
    jobs_workers: int = Field(
        1, ge=1, description="Processes that tag for jobs with what online traffic leaves; on cuda a GPU each."
    )
    jobs_keep_days: float = Field(
        30.0, gt=0, description="Jobs are removed with their results so long after their end."
    )
    max_image_bytes: int = Field(20 * 2**20, ge=1024, description="Largest accepted image file.")
    max_image_pixels: int = Field(40_000_000, ge=1024, description="Largest accepted width x height.")
    max_decoded_pixels: int = Field(
        160_000_000, ge=1024, description="Pixels that a router holds at once; photos beyond it wait."
    )
    max_batch_bytes: int = Field(64 * 2**20, ge=1024, description="Pictures of a batch in all.")
    max_batch_pixels: int = Field(400_000_000, ge=1024, description="Width x height of a batch's pictures in all.")
    batch_deadline_s: float = Field(30.0, gt=0, description="From the first byte of a batch to its last answer.")
    batch_concurrency: int = Field(
        4,
        ge=1,
        description="Photos of batches that a router has at the models at once; half a detector batch leaves room.",
    )
    trace_endpoint: str | None = Field(
        None,
        pattern=r"^https?://[^\s/]+/\S*$",
        description="OTLP collector over HTTP that traces go to, `http://collector:4318/v1/traces`; none: no traces.",
    )
    trace_share: float = Field(0.01, ge=0, le=1, description="Of the requests that bring no trace, traced ones.")
    feedback: str = Field("", description="Folder that feedback is kept in, a file per router; empty: none is taken.")
    detector_max_batch: int = Field(8, ge=1, description="Photos that the detector takes at once.")
    classifier_max_batch: int = Field(16, ge=1, description="Crops that a classifier takes at once.")

    api_keys: str | None = Field(None, description="Path of the file of API keys, read again when it changes.")
    no_auth: bool = Field(False, description="Answer everybody without a key, beyond this machine too.")

    @field_validator("image_url_hosts")
    @classmethod
    def _hosts_are_names(cls, hosts: tuple[str, ...]) -> tuple[str, ...]:
        for host in hosts:
            if not _HOST.fullmatch(host):
                raise ValueError(f"{host!r} is no host name like cdn.example, *.shop.example or cdn.example:8443")
        return hosts

    @field_validator("jobs_roots")
    @classmethod
    def _roots_are_places(cls, roots: tuple[str, ...]) -> tuple[str, ...]:
        for root in roots:
            if not (root.startswith("/") or "://" in root) or root.startswith(("http://", "https://")) or "::" in root:
                raise ValueError(f"{root!r} is no absolute path and no fsspec URL; hosts go into image_url_hosts")
        return roots

    @model_validator(mode="after")
    def _stages_fit_the_request(self) -> Self:
        for name in ("detect_deadline_s", "classify_deadline_s"):
            if getattr(self, name) > self.request_deadline_s:
                raise ValueError(f"{name} needs to be at most request_deadline_s, {self.request_deadline_s} s")
        return self

    @field_validator("api_keys")
    @classmethod
    def _replicas_run_elsewhere(cls, path: str | None) -> str | None:
        if path is not None and not Path(path).is_absolute():
            raise ValueError("api_keys needs to be an absolute path, since routers run elsewhere")
        return path

    @property
    def bundle_uri(self) -> str:
        """Where the bundle is read from: an address, or an absolute path, since replicas run elsewhere."""
        if self.bundle == DEMO_BUNDLE:
            return str(Path(__file__).parent.parent / "models" / "demo")
        return _absolute(self.bundle)

    @property
    def profiles_uri(self) -> str:
        """Where the profiles are read from, in the same forms; empty if there are none."""
        return _absolute(self.profiles) if self.profiles else ""


def _absolute(location: str) -> str:
    return location if "://" in location else str(Path(location).expanduser().absolute())
