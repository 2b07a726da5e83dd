"""The attribute classifiers: an Inception-v3 trunk and, per category, one linear head per attribute.

Szegedy et al., "Rethinking the Inception Architecture", arXiv 1512.00567; the network is torchvision's.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torchvision.models import Inception_V3_Weights, inception_v3

from models.errors import BundleError
from models.ontology import Attribute, Category
from models.packed import can_pack, fold_normalisation, pack_convolutions
from models.preprocess import inference_dtype, normalise
from models.recorded import Recorded
from models.types import AttributeScore, AttributeScores

POOLED_LAYERS = {"Mixed_5d": 288, "Mixed_6e": 768, "Mixed_7c": 2048}
"""Layers whose means over the picture make up the feature vector, and their channels.

Colour and pattern are plain to the first, shape to the last; and each learns from the labels directly, which is what
Inception-v3's auxiliary head is for."""
FEATURES = sum(POOLED_LAYERS.values())
MIN_SIZE_PX = 75  # below it the last reduction of Inception-v3 has no pixel left


@dataclass(frozen=True)
class ClassifierSpec:
    """How a garment becomes the classifier's input: the square's side and the air around the box."""

    size_px: int = 160
    pad_ratio: float = 0.05

    def __post_init__(self) -> None:
        if self.size_px < MIN_SIZE_PX:
            raise ValueError(f"size_px needs to be at least {MIN_SIZE_PX}, got {self.size_px}")
        if not 0 <= self.pad_ratio <= 1:
            raise ValueError(f"pad_ratio needs to be in [0, 1], got {self.pad_ratio}")

    def to_dict(self) -> dict[str, Any]:
        """JSON form; `from_dict` reads it back."""
        return asdict(self)

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> "ClassifierSpec":
        """Build from `to_dict`'s form.

        Raises:
            ValueError: if a field is out of range.
            TypeError: if a field is unknown.
        """
        return cls(**data)


class InceptionTrunk(nn.Module):
    """Inception-v3 as a feature extractor: (B, 3, S, S) -> (B, FEATURES), S >= 75.

    Its own auxiliary head, which needs S >= 299, is left out.

    Args:
        dropout: share of features dropped in training; 0 when training from nothing.
    """

    def __init__(self, *, dropout: float = 0.0) -> None:
        super().__init__()
        self.inception = inception_v3(
            weights=None, init_weights=False, transform_input=False, aux_logits=False, dropout=dropout
        )
        self.inception.fc = nn.Identity()

    def forward(self, images: Tensor) -> Tensor:
        """Features of normalised crops: (B, 3, S, S) float -> (B, FEATURES), the pooled layers side by side."""
        pooled: list[Tensor] = []
        values = images
        for name, layer in self.inception.named_children():
            if name == "avgpool":
                break
            values = layer(values)
            if name in POOLED_LAYERS:
                pooled.append(values.float().mean((2, 3)))  # a sum in half precision would lose most digits
        features: Tensor = self.inception.dropout(torch.cat(pooled, dim=1))
        return features


def load_pretrained_trunk(trunk: InceptionTrunk, weights: Inception_V3_Weights | Path) -> None:
    """Start a trunk from torchvision's ImageNet weights.

    Those weights expect inputs scaled by 0.5 / 0.5; the change of scale is folded into the first layer, so that the
    trunk takes our ImageNet-normalised input. The fold is exact, since that layer has neither bias nor padding.

    Args:
        trunk: changed in place.
        weights: torchvision's enum (downloads), or a local file with the same state dict.

    Raises:
        BundleError: if the file does not fit Inception-v3.
    """
    if isinstance(weights, Path):
        try:
            state = torch.load(weights, map_location="cpu", weights_only=True)
        except (OSError, RuntimeError) as exc:
            raise BundleError(f"{weights.name} cannot be read; give torchvision's Inception-v3 weights") from exc
    else:
        state = weights.get_state_dict(progress=False, check_hash=True)
    scale = torch.tensor([0.229, 0.224, 0.225]) / 0.5
    shift = (torch.tensor([0.485, 0.456, 0.406]) - 0.5) / 0.5
    try:
        kernel = state["Conv2d_1a_3x3.conv.weight"]  # (32, 3, 3, 3)
        state["Conv2d_1a_3x3.bn.running_mean"] -= (kernel * shift[None, :, None, None]).sum((1, 2, 3))
        state["Conv2d_1a_3x3.conv.weight"] = kernel * scale[None, :, None, None]
        wanted = trunk.inception.state_dict()
        trunk.inception.load_state_dict({name: state[name] for name in wanted})
    except (KeyError, RuntimeError) as exc:
        raise BundleError("the weights do not fit Inception-v3; give torchvision's file", str(exc)) from exc


class CategoryHeads(nn.ModuleDict):
    """One linear layer per attribute of a category: (B, features) -> logits by attribute."""

    def __init__(self, category: Category, num_features: int = FEATURES) -> None:
        super().__init__()
        for attribute in category.attributes.values():
            head = nn.Linear(num_features, len(attribute.values))
            if not attribute.is_single:  # start near the share of values that hold, or their loss drowns the rest
                nn.init.constant_(head.bias, -float(np.log(len(attribute.values))))
            self[attribute.name] = head

    def forward(self, features: Tensor) -> dict[str, Tensor]:
        """Logits (B, values) of every attribute."""
        return {name: head(features) for name, head in self.items()}


class Classifier:
    """Answers the attributes of one category; owns nothing but its weights, safe to call from one thread at a time.

    Args:
        category: what is answered.
        trunk: in evaluation mode, best `quickened`; may be shared between classifiers.
        heads: of this category.
        device: where both are moved.
        temperatures: divides the logits of an attribute; 1 where absent.
    """

    def __init__(
        self,
        category: Category,
        trunk: nn.Module,
        heads: CategoryHeads,
        device: str | torch.device = "cpu",
        temperatures: Mapping[str, float] | None = None,
    ) -> None:
        self.category = category
        self._device = torch.device(device)
        self._dtype = inference_dtype(self._device)
        # Inception-v3 has layers whose arithmetic bf16 serves well; the heads stay in float32 for exact scores.
        self._trunk = trunk.eval().to(self._device, self._dtype).to(memory_format=torch.channels_last)
        self._heads = heads.eval().to(device=self._device, dtype=torch.float32)
        self._temperatures = {name: (temperatures or {}).get(name, 1.0) for name in category.attributes}

    def classify(self, crops: NDArray[np.uint8]) -> list[AttributeScores]:
        """Answer a batch of crops.

        Args:
            crops: (N, S, S, 3) uint8 squares as `crop_square` makes them; N may be 0.

        Returns:
            For each crop, by attribute all values with their scores, best first.

        Raises:
            ValueError: if `crops` is not (N, S, S, 3) uint8.
        """
        probabilities = self.probabilities(crops)
        return [
            {
                name: _sorted_scores(attribute, probabilities[name][row])
                for name, attribute in self.category.attributes.items()
            }
            for row in range(len(crops))
        ]

    def probabilities(self, crops: NDArray[np.uint8]) -> dict[str, NDArray[np.float32]]:
        """Scores (N, values) in label order by attribute: softmax for a single choice, sigmoid for several."""
        scores: dict[str, NDArray[np.float32]] = {}
        for name, logits in self.logits(crops).items():
            tempered = torch.from_numpy(logits) / self._temperatures[name]
            is_single = self.category.attributes[name].is_single
            scores[name] = (tempered.softmax(1) if is_single else tempered.sigmoid()).numpy()
        return scores

    def logits(self, crops: NDArray[np.uint8]) -> dict[str, NDArray[np.float32]]:
        """Raw outputs (N, values) by attribute, for calibration."""
        if crops.ndim != 4 or crops.shape[3] != 3 or crops.dtype != np.uint8 or crops.shape[1] != crops.shape[2]:
            raise ValueError(f"crops need to be (N, S, S, 3) uint8, got {crops.shape} {crops.dtype}")
        if not len(crops):
            empty = {name: len(attribute.values) for name, attribute in self.category.attributes.items()}
            return {name: np.zeros((0, num), np.float32) for name, num in empty.items()}
        with torch.inference_mode():
            pixels = torch.from_numpy(np.ascontiguousarray(crops)).to(self._device)
            images = normalise(pixels).to(self._dtype)  # (N, 3, S, S)
            features = self._trunk(images).float()  # (N, FEATURES)
            logits = self._heads(features)
            together = torch.cat(list(logits.values()), 1).cpu()  # one copy, since each waits for the device
            parts = torch.split(together, [own.shape[1] for own in logits.values()], 1)
            return {name: part.numpy() for name, part in zip(logits, parts, strict=True)}


def _sorted_scores(attribute: Attribute, scores: NDArray[np.float32]) -> tuple[AttributeScore, ...]:
    order = np.argsort(-scores, kind="stable")
    return tuple(AttributeScore(attribute.values[label], min(1.0, float(scores[label]))) for label in order)


def quickened(trunk: InceptionTrunk, device: str | torch.device) -> nn.Module:
    """Fold a trunk and, on a CPU, pack its layers, in place; then it only answers. On a GPU it is recorded."""
    fold_normalisation(trunk)
    if can_pack(torch.device(device)):
        pack_convolutions(trunk, inference_dtype(torch.device(device)))
    return Recorded(trunk) if torch.device(device).type == "cuda" else trunk
