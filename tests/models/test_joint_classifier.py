import numpy as np
import pytest
import torch
from torch import nn

from models.classifier import FEATURES
from models.crops import UNLABELLED
from models.joint_classifier import JointClassifier, attribute_loss
from models.ontology import Attribute, Category

COLOUR = Attribute("colour", "several", ("red", "blue"))
LENGTH = Attribute("length", "single", ("mini", "midi", "maxi"))
TOP = Category("top", {"colour": COLOUR, "length": Attribute("length", "single", ("cropped", "long"))})
DRESS = Category("dress", {"colour": COLOUR, "length": LENGTH})


def joint() -> JointClassifier:
    torch.manual_seed(0)
    model = JointClassifier(nn.Identity(), [TOP, DRESS])  # type: ignore[arg-type]
    for parameter in model.parameters():
        nn.init.normal_(parameter, std=0.1)
    nn.init.uniform_(model.heads.norm.running_mean, 0.0, 1.0)  # type: ignore[arg-type]
    nn.init.uniform_(model.heads.norm.running_var, 0.1, 2.0)  # type: ignore[arg-type]
    return model


def test_only_attributes_that_ask_and_answer_the_same_share_a_part() -> None:
    assert list(joint().heads.common) == ["colour-several-red-blue"]


def test_merged_heads_answer_as_the_joint_ones() -> None:
    model = joint().eval()
    features = torch.randn(5, FEATURES)
    rows = {"dress": torch.tensor([0, 3]), "top": torch.tensor([1, 2, 4])}
    logits = model(features, rows)
    for name, its_rows in rows.items():
        merged = model.heads.merged(name)(features[its_rows])
        assert merged.keys() == logits[name].keys() == {"colour", "length"}
        for attribute, expected in merged.items():
            torch.testing.assert_close(logits[name][attribute], expected, rtol=1e-4, atol=1e-4)


def test_merging_leaves_the_model_as_it_was() -> None:
    model = joint()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    model.heads.merged("dress")
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


def test_a_category_that_is_absent_from_the_batch_gets_no_gradient() -> None:
    model = joint()
    logits = model(torch.randn(2, FEATURES), {"top": torch.tensor([0, 1])})
    logits["top"]["length"].sum().backward()
    assert model.heads.own["dress"]["length"].weight.grad is None
    assert model.heads.own["top"]["length"].weight.grad is not None


@pytest.mark.parametrize(
    ("labels", "expected"),
    [
        pytest.param([UNLABELLED, UNLABELLED], None, id="nothing_labelled"),
        pytest.param([0, UNLABELLED], np.log(3), id="the_unlabelled_counts_neither_way"),
        pytest.param([0, 2], np.log(3), id="all_labelled"),
    ],
)
def test_loss_of_a_single_choice(labels: list[int], expected: float | None) -> None:
    loss = attribute_loss(LENGTH, torch.zeros(2, 3), torch.tensor(labels))
    assert loss is None if expected is None else loss.item() == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize(
    ("labels", "expected"),
    [
        pytest.param([[UNLABELLED] * 2] * 2, None, id="nothing_labelled"),
        pytest.param([[1, 0], [UNLABELLED] * 2], 2 * np.log(2), id="the_unlabelled_counts_neither_way"),
        pytest.param([[1, 0], [0, 0]], 2 * np.log(2), id="all_labelled"),
    ],
)
def test_loss_of_several(labels: list[list[int]], expected: float | None) -> None:
    loss = attribute_loss(COLOUR, torch.zeros(2, 2), torch.tensor(labels, dtype=torch.float32))
    assert loss is None if expected is None else loss.item() == pytest.approx(expected, abs=1e-6)


def test_an_unlabelled_row_gets_no_gradient() -> None:
    logits = torch.zeros(2, 2, requires_grad=True)
    loss = attribute_loss(COLOUR, logits, torch.tensor([[1.0, 0.0], [UNLABELLED, UNLABELLED]]))
    assert loss is not None
    loss.backward()
    assert logits.grad is not None
    assert logits.grad[0].abs().sum() > 0
    assert logits.grad[1].abs().sum() == 0
