from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn
from torchvision.models import inception_v3

from models.classifier import (
    FEATURES,
    POOLED_LAYERS,
    CategoryHeads,
    Classifier,
    ClassifierSpec,
    InceptionTrunk,
    load_pretrained_trunk,
)
from models.errors import BundleError
from models.ontology import Attribute, Category

SKIRT = Category(
    "skirt",
    {
        "colour": Attribute("colour", "several", ("red", "blue", "green")),
        "length": Attribute("length", "single", ("mini", "midi")),
    },
)


class MeanTrunk(nn.Module):
    """Puts each crop's mean level into the first feature."""

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        features = torch.zeros(len(images), FEATURES)
        features[:, 0] = images.mean((1, 2, 3))
        return features


@pytest.fixture
def heads() -> CategoryHeads:
    heads = CategoryHeads(SKIRT)
    for head in heads.values():
        nn.init.zeros_(head.weight)
        nn.init.zeros_(head.bias)
    return heads


def crops(*levels: int) -> np.ndarray:
    return (
        np.stack([np.full((8, 8, 3), level, np.uint8) for level in levels])
        if levels
        else np.zeros((0, 8, 8, 3), np.uint8)
    )


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        pytest.param({"size_px": 74}, "at least 75", id="too_small_for_the_network"),
        pytest.param({"pad_ratio": -0.1}, "pad_ratio", id="negative_padding"),
    ],
)
def test_a_spec_refuses(fields: dict[str, float], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        ClassifierSpec(**fields)  # type: ignore[arg-type]


def test_scores_are_softmax_for_one_and_sigmoid_for_several_best_first(heads: CategoryHeads) -> None:
    heads["length"].bias.data = torch.tensor([0.0, 1.0])
    heads["colour"].bias.data = torch.tensor([0.0, 2.0, -2.0])
    (scores,) = Classifier(SKIRT, MeanTrunk(), heads).classify(crops(9))
    assert [each.value for each in scores["length"]] == ["midi", "mini"]
    assert sum(each.score for each in scores["length"]) == pytest.approx(1)
    assert [each.value for each in scores["colour"]] == ["blue", "red", "green"]
    assert [each.score for each in scores["colour"]] == pytest.approx([0.8808, 0.5, 0.1192], abs=1e-4)


def test_each_crop_has_its_own_answer_in_order(heads: CategoryHeads) -> None:
    heads["length"].weight.data[1, 0] = 1.0  # bright is midi
    answers = Classifier(SKIRT, MeanTrunk(), heads).classify(crops(0, 255, 0))
    assert [answer["length"][0].value for answer in answers] == ["mini", "midi", "mini"]


def test_a_temperature_softens_and_keeps_the_order(heads: CategoryHeads) -> None:
    heads["length"].bias.data = torch.tensor([0.0, 2.0])
    (soft,) = Classifier(SKIRT, MeanTrunk(), heads, temperatures={"length": 2.0}).classify(crops(1))
    assert soft["length"][0].value == "midi"
    assert soft["length"][0].score == pytest.approx(torch.sigmoid(torch.tensor(1.0)).item(), abs=1e-5)


def test_no_crop_is_no_answer(heads: CategoryHeads) -> None:
    assert Classifier(SKIRT, MeanTrunk(), heads).classify(crops()) == []


@pytest.mark.parametrize(
    "wrong",
    [
        pytest.param(np.zeros((2, 8, 8, 3), np.float32), id="floats"),
        pytest.param(np.zeros((2, 8, 9, 3), np.uint8), id="no_square"),
        pytest.param(np.zeros((8, 8, 3), np.uint8), id="no_batch"),
    ],
)
def test_crops_of_another_form_are_refused(heads: CategoryHeads, wrong: np.ndarray) -> None:
    with pytest.raises(ValueError, match=r"\(N, S, S, 3\) uint8"):
        Classifier(SKIRT, MeanTrunk(), heads).classify(wrong)


def test_pretrained_weights_expect_another_scale_which_is_folded_in(tmp_path: Path) -> None:
    torch.manual_seed(0)
    theirs = inception_v3(weights=None, init_weights=False, transform_input=True).eval()
    torch.save(theirs.state_dict(), tmp_path / "inception.pth")
    trunk = InceptionTrunk()
    load_pretrained_trunk(trunk, tmp_path / "inception.pth")
    theirs.fc = nn.Identity()
    images = torch.randn(1, 3, 80, 80)
    with torch.inference_mode():
        last = trunk.eval()(images)[:, -POOLED_LAYERS["Mixed_7c"] :]
        torch.testing.assert_close(last, theirs(images), rtol=1e-3, atol=1e-4)


def test_weights_of_another_network_are_refused(tmp_path: Path) -> None:
    torch.save({"layer": torch.zeros(1)}, tmp_path / "other.pth")
    with pytest.raises(BundleError, match="do not fit Inception-v3"):
        load_pretrained_trunk(InceptionTrunk(), tmp_path / "other.pth")
