"""Wrong arguments stop the application before a replica starts."""

import pytest
from pydantic import ValidationError

from serve_app.config import TaggerArgs


@pytest.mark.parametrize(
    "args",
    [
        pytest.param({"bundel": "demo"}, id="unknown_name"),
        pytest.param({"min_score": 1.5}, id="score_above_one"),
        pytest.param({"device": "tpu"}, id="unknown_device"),
        pytest.param({"request_deadline_s": 0}, id="no_time"),
        pytest.param({"request_deadline_s": 5.0, "detect_deadline_s": 6.0}, id="stage_longer_than_request"),
    ],
)
def test_wrong_arguments_are_refused(args: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        TaggerArgs.model_validate(args)


def test_arguments_are_frozen() -> None:
    args = TaggerArgs()
    with pytest.raises(ValidationError):
        args.min_score = 0.1  # type: ignore[misc]


def test_the_demo_bundle_is_spelt_out() -> None:
    assert TaggerArgs().bundle_uri.endswith("demo")
    assert TaggerArgs(bundle="s3://shop/bundle").bundle_uri == "s3://shop/bundle"
