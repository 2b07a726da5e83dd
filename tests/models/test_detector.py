from collections.abc import Callable
from pathlib import Path
from typing import cast

import numpy as np
import pytest
import torch
from torch import nn
from torchvision.models.detection.image_list import ImageList

from models import stages
from models.detector import FINE_LATERAL, FINE_MAP, Detector, DetectorSpec, GarmentDetector, Target, build_detector
from models.errors import BundleError
from models.ontology import load_ontology
from models.stages import classify_regions
from models.weights import load_weights, save_weights

ONTOLOGY = load_ontology()
SPEC = DetectorSpec("mobilenet_v3_large_320_fpn", 96, 16, 5)
FINE_SPEC = DetectorSpec("mobilenet_v3_large_320_fpn_stride16", 96, 16, 5)


@pytest.fixture(scope="module", params=[SPEC, FINE_SPEC], ids=lambda spec: spec.backbone)
def spec(request: pytest.FixtureRequest) -> DetectorSpec:
    return cast(DetectorSpec, request.param)


@pytest.fixture(scope="module")
def module(spec: DetectorSpec) -> GarmentDetector:
    torch.manual_seed(0)
    return build_detector(spec)


def target(*rows: tuple[float, float, float, float]) -> Target:
    boxes = torch.tensor(rows, dtype=torch.float32).reshape(-1, 4)
    return {"boxes": boxes, "labels": torch.ones(len(rows), dtype=torch.int64)}


def test_training_gives_four_losses_even_without_a_garment(module: GarmentDetector) -> None:
    images = torch.randn(2, 3, 96, 96)
    losses = module.train()(images, [target((10, 10, 60, 80)), target()])
    assert set(losses) == {"loss_objectness", "loss_rpn_box_reg", "loss_classifier", "loss_box_reg"}
    assert all(loss.shape == () and torch.isfinite(loss) for loss in losses.values())
    empty = module(images, [target(), target()])
    assert all(torch.isfinite(loss) for loss in empty.values()) and empty["loss_box_reg"] == 0


def test_early_layers_get_a_gradient(module: GarmentDetector) -> None:
    module.zero_grad()
    sum(module.train()(torch.randn(2, 3, 96, 96), [target((10, 10, 60, 80))] * 2).values()).backward()
    assert all(parameter.grad is not None for parameter in module.parameters())
    assert next(module.parameters()).grad.abs().sum() > 0


def test_evaluation_gives_boxes_inside_the_canvas(module: GarmentDetector) -> None:
    with torch.inference_mode():
        answers = module.eval()(torch.randn(2, 3, 96, 64))
    assert len(answers) == 2
    for answer in answers:
        boxes, labels, scores = answer["boxes"], answer["labels"], answer["scores"]
        assert boxes.shape == (len(labels), 4) and labels.dtype == torch.int64 and len(scores) == len(labels) <= 20
        assert (boxes >= 0).all() and (boxes[:, [0, 2]] <= 64).all() and (boxes[:, [1, 3]] <= 96).all()


def test_all_photos_at_once_are_answered_as_torchvision_answers_one_by_one(
    module: GarmentDetector, monkeypatch: pytest.MonkeyPatch
) -> None:
    # At random weights objectness is near 1/2 and every category near 1/6: some are above these thresholds, some below.
    monkeypatch.setattr(module.rpn, "score_thresh", 0.5)
    monkeypatch.setattr(module.roi_heads, "score_thresh", 0.17)
    monkeypatch.setattr(stages, "voted_boxes", lambda boxes, scores, offsets, best: boxes[best])  # of our own
    images = torch.randn(3, 3, 96, 64)
    with torch.inference_mode():
        features = module.eval().backbone(images)
        proposals, _ = module.rpn(ImageList(images, [(96, 64)] * 3), features)
        expected, _ = module.roi_heads(features, proposals, [(96, 64)] * 3)
        answers = module(images)
    assert sum(len(each["scores"]) for each in expected) > 3
    for answer, each in zip(answers, expected, strict=True):
        for name in ("boxes", "labels", "scores"):
            torch.testing.assert_close(answer[name], each[name])


def test_boxes_that_show_the_same_are_averaged_by_their_scores() -> None:
    boxes = torch.tensor([[0.0, 0, 100, 100], [0, 0, 94, 100], [0, 0, 50, 100], [0, 0, 94, 100]])
    scores = torch.tensor([0.6, 0.3, 0.9, 0.9])
    offsets = torch.tensor([0.0, 0, 0, 500])  # the last shows another thing
    voted = stages.voted_boxes(boxes, scores, offsets, torch.tensor([3, 2, 0]))
    expected = [[0, 0, 94, 100], [0, 0, 50, 100], [0, 0, (0.6 * 100 + 0.3 * 94) / 0.9, 100]]
    torch.testing.assert_close(voted, torch.tensor(expected))
    sliver = torch.tensor([[1.0, 1.0, 1.0, 50.0]])
    torch.testing.assert_close(stages.voted_boxes(sliver, scores[:1], offsets[:1], torch.tensor([0])), sliver)
    assert stages.voted_boxes(boxes[:0], scores[:0], offsets[:0], torch.tensor([], dtype=torch.int64)).shape == (0, 4)


def test_a_photo_that_shows_nothing_at_all(module: GarmentDetector, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module.rpn, "score_thresh", 1.0)  # no proposal is left
    with torch.inference_mode():
        (answer,) = module.eval()(torch.randn(1, 3, 96, 96))
    assert answer["boxes"].shape == (0, 4) and len(answer["scores"]) == 0


class Echo(nn.Module):
    """Stands in for the network: gives every image the same answer."""

    def __init__(self, rows: list[tuple[list[float], int, float]], on_batch: Callable[[object], None]) -> None:
        super().__init__()
        self.rows = rows
        self.on_batch = on_batch

    def forward(self, images: torch.Tensor) -> list[dict[str, torch.Tensor]]:
        self.on_batch(tuple(images.shape))
        answer = {
            "boxes": torch.tensor([box for box, _, _ in self.rows]).reshape(-1, 4),
            "labels": torch.tensor([label for _, label, _ in self.rows], dtype=torch.int64),
            "scores": torch.tensor([score for *_, score in self.rows]),
        }
        return [answer for _ in images]


def detector_of(*rows: tuple[list[float], int, float]) -> tuple[Detector, list[object]]:
    batches: list[object] = []
    return Detector(Echo(list(rows), batches.append), SPEC, ONTOLOGY, "cpu"), batches  # type: ignore[arg-type]


def test_canvases_of_one_shape_are_one_batch() -> None:
    detector, batches = detector_of(([1.0, 2.0, 30.0, 40.0], 3, 0.9))
    canvases = [np.zeros((*canvas_hw, 3), np.uint8) for canvas_hw in ((96, 96), (96, 64), (96, 96))]
    found = detector.detect(canvases, 0.5)
    assert sorted(batches) == [(1, 3, 96, 64), (2, 3, 96, 96)]
    assert [[each.category for each in detections] for detections in found] == [["dress"]] * 3
    assert found[0][0].box == (1, 2, 30, 40) and found[0][0].score == pytest.approx(0.9)


def test_no_canvas() -> None:
    assert detector_of()[0].detect([], 0.5) == []


def test_nothing_found() -> None:
    assert detector_of()[0].detect([np.zeros((96, 96, 3), np.uint8)], 0.5) == [[]]


@pytest.mark.parametrize(
    ("rows", "categories"),
    [
        pytest.param([([0.0, 0, 50, 50], 1, 0.49)], [], id="below_the_score"),
        pytest.param([([10.0, 0, 10, 50], 1, 0.9)], [], id="no_width"),
        pytest.param([([0.0, 0, 50, 50], 1, 0.6), ([0.0, 0, 50, 51], 2, 0.8)], ["outerwear"], id="one_region_twice"),
        pytest.param([([0.0, 0, 50, 50], 1, 0.6), ([0.0, 0, 50, 80], 2, 0.8)], ["outerwear", "top"], id="top_in_coat"),
        pytest.param([([0.0, 0, 9, 9], 1, 0.6), ([50.0, 50, 60, 60], 5, 0.7)], ["skirt", "top"], id="best_first"),
        pytest.param([([0.0, 0, 9, 9], 4, 1.0000001)], ["trousers"], id="score_rounded_up"),
    ],
)
def test_detections(rows: list[tuple[list[float], int, float]], categories: list[str]) -> None:
    detector, _ = detector_of(*rows)
    found = detector.detect([np.zeros((96, 96, 3), np.uint8)], 0.5)[0]
    assert [each.category for each in found] == categories


def test_weights_come_back_from_their_file(module: GarmentDetector, spec: DetectorSpec, tmp_path: Path) -> None:
    path = tmp_path / "detector.safetensors"
    save_weights(module, path)
    again = build_detector(spec, path)
    canvases = [np.random.default_rng(0).integers(0, 255, (96, 96, 3), dtype=np.uint8)]
    found, expected = (Detector(each, spec, ONTOLOGY, "cpu").detect(canvases, 0.05)[0] for each in (again, module))
    assert [each.category for each in found] == [each.category for each in expected]
    assert [each.score for each in found] == pytest.approx([each.score for each in expected], abs=0.01)


def test_weights_of_another_spec_are_refused(module: GarmentDetector, tmp_path: Path) -> None:
    path = tmp_path / "detector.safetensors"
    save_weights(module, path)
    with pytest.raises(BundleError, match="does not fit"):
        build_detector(DetectorSpec("mobilenet_v3_large_320_fpn", 96, 24, 5), path)


def test_regions_of_a_finer_map_are_at_first_those_of_the_pyramid_without_it(tmp_path: Path) -> None:
    torch.manual_seed(1)
    coarse, fine = build_detector(SPEC).eval(), build_detector(FINE_SPEC).eval()
    path = tmp_path / "detector.safetensors"
    save_weights(coarse, path)
    load_weights(coarse, path)
    load_weights(fine, path, may_lack=FINE_LATERAL)
    images = torch.randn(1, 3, 96, 64)
    proposals = [torch.tensor([[3.0, 5.0, 40.0, 90.0], [10.0, 0.0, 64.0, 96.0]])]
    with torch.inference_mode():
        answer, expected = (
            classify_regions(each.roi_heads, each.backbone(images), proposals, (96, 64))[0] for each in (fine, coarse)
        )
        assert fine.backbone(images)[FINE_MAP].shape[-2:] == (6, 4)
    assert len(expected["scores"]) > 0
    for name in ("boxes", "labels", "scores"):
        torch.testing.assert_close(answer[name], expected[name], rtol=1e-4, atol=1e-4)
    with pytest.raises(BundleError, match="does not fit"):
        build_detector(FINE_SPEC, path)


def test_another_ontology_is_refused(module: GarmentDetector) -> None:
    spec = DetectorSpec("mobilenet_v3_large_320_fpn", 96, 16, 7)
    with pytest.raises(BundleError, match="knows 7 categories, the ontology 5"):
        Detector(module, spec, ONTOLOGY, "cpu")


def test_spec_survives_json() -> None:
    assert DetectorSpec.from_dict(SPEC.to_dict()) == SPEC


@pytest.mark.parametrize(
    ("change", "message"),
    [
        pytest.param({"backbone": "vgg"}, "backbone needs to be one of", id="backbone"),
        pytest.param({"long_side_px": 300}, "multiple of 32", id="odd_side"),
        pytest.param({"long_side_px": 32}, "multiple of 32 from 64 on", id="small_side"),
        pytest.param({"num_categories": 0}, ">= 1", id="no_category"),
        pytest.param({"colour": 1}, "colour", id="unknown_field"),
    ],
)
def test_unusable_specs_are_refused(change: dict[str, object], message: str) -> None:
    with pytest.raises(BundleError, match=message):
        DetectorSpec.from_dict(SPEC.to_dict() | change)


def test_the_large_backbone_runs() -> None:
    spec = DetectorSpec("resnet50_fpn_v2", 64, 8, 5)
    detector = Detector(build_detector(spec), spec, ONTOLOGY, "cpu")
    assert len(detector.detect([np.zeros((64, 64, 3), np.uint8)], 0.05)) == 1
