"""Several categories trained together: one trunk, joint heads, and the loss that leaves out what is unlabelled."""

import copy
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from models.classifier import FEATURES, CategoryHeads, InceptionTrunk
from models.crops import UNLABELLED, CropSet
from models.ontology import Attribute, Category
from models.preprocess import half_precision

_NORM_EPS = 1e-2  # features that hardly ever fire must not be blown up


class JointClassifier(nn.Module):
    """One trunk under the heads of several categories, for training them together.

    Where categories share an attribute with the same values, the head of each is a common part plus its own: the common
    part learns from all of them, and one batch holds few rows of any single category.
    """

    def __init__(self, trunk: InceptionTrunk, categories: Sequence[Category]) -> None:
        super().__init__()
        self.trunk = trunk
        self.heads = JointHeads(categories, FEATURES)

    def forward(self, images: Tensor, rows_by_category: Mapping[str, Tensor]) -> dict[str, dict[str, Tensor]]:
        """Run the trunk once for a mixed batch, then each category's heads on its rows.

        Args:
            images: (B, 3, S, S) normalised crops of any category.
            rows_by_category: for each category present, the (n,) int64 rows of its crops.

        Returns:
            Logits (n, values) by category and attribute.
        """
        with half_precision(images.device):
            features = self.trunk(images)
        logits: dict[str, dict[str, Tensor]] = self.heads(features.float(), rows_by_category)
        return logits


class JointHeads(nn.Module):
    """Heads of several categories on common parts; `merged` gives the plain heads of one."""

    def __init__(self, categories: Sequence[Category], num_features: int) -> None:
        super().__init__()
        # Features are positive and far from centred; normalised, their heads learn faster. `merged` folds this away.
        self.norm = nn.BatchNorm1d(num_features, eps=_NORM_EPS, affine=False)
        self._categories = {category.name: category for category in categories}
        counts = Counter(_common_key(attribute) for each in categories for attribute in each.attributes.values())
        self.own = nn.ModuleDict({each.name: CategoryHeads(each, num_features) for each in categories})
        self.common = nn.ModuleDict()
        for category in categories:
            for attribute in category.attributes.values():
                key = _common_key(attribute)
                if counts[key] > 1:
                    own = cast(nn.Linear, self._own_heads(category.name)[attribute.name])
                    if key not in self.common:
                        self.common[key] = copy.deepcopy(own)
                    nn.init.zeros_(own.weight)
                    nn.init.zeros_(own.bias)

    def forward(self, features: Tensor, rows_by_category: Mapping[str, Tensor]) -> dict[str, dict[str, Tensor]]:
        """Logits by category and attribute of the rows that show each category; features (B, num_features)."""
        features = self.norm(features)
        common = {key: head(features) for key, head in self.common.items()}
        logits: dict[str, dict[str, Tensor]] = {}
        for name, rows in rows_by_category.items():
            logits[name] = self.own[name](features[rows])
            for attribute in self._categories[name].attributes.values():
                if (key := _common_key(attribute)) in common:
                    logits[name][attribute.name] = logits[name][attribute.name] + common[key][rows]
        return logits

    @torch.no_grad()
    def merged(self, category: str) -> CategoryHeads:
        """The heads of one category by themselves, normalisation and common parts folded in."""
        heads = copy.deepcopy(self._own_heads(category))
        for attribute in self._categories[category].attributes.values():
            if (key := _common_key(attribute)) in self.common:
                for target, common in zip(
                    heads[attribute.name].parameters(), self.common[key].parameters(), strict=True
                ):
                    target.add_(common)
        running_mean, running_var = cast(Tensor, self.norm.running_mean), cast(Tensor, self.norm.running_var)
        scale = (running_var + self.norm.eps).rsqrt()
        for head in cast("list[nn.Linear]", list(heads.values())):
            head.weight.mul_(scale)
            head.bias.sub_(head.weight @ running_mean)
        return heads

    def _own_heads(self, category: str) -> CategoryHeads:
        return cast(CategoryHeads, self.own[category])


def _common_key(attribute: Attribute) -> str:
    """The same for attributes that ask the same and answer the same; fit for a module's name."""
    return f"{attribute.name}-{attribute.choice}-{'-'.join(attribute.values)}"


def attribute_loss(attribute: Attribute, logits: Tensor, labels: Tensor, smoothing: float = 0.0) -> Tensor | None:
    """Mean loss over the labelled rows of one head; what is unlabelled counts neither way.

    Softmax cross-entropy for a single choice. For several, the binary cross-entropy summed over the values, so that
    its gradient per logit weighs as much as that of the other heads.

    Args:
        attribute: what the head answers.
        logits: (n, values).
        labels: (n,) int64 for a single choice, (n, values) float of 0 and 1 for several; UNLABELLED where unknown.
        smoothing: label smoothing of single-choice heads.

    Returns:
        A scalar, or None if no row is labelled.
    """
    if attribute.is_single:
        if not bool((labels != UNLABELLED).any()):
            return None
        return F.cross_entropy(logits, labels, ignore_index=UNLABELLED, label_smoothing=smoothing)
    is_labelled = labels[:, 0] != UNLABELLED
    if not bool(is_labelled.any()):
        return None
    known = labels[is_labelled].to(logits.dtype)
    return F.binary_cross_entropy_with_logits(logits[is_labelled], known, reduction="sum") / len(known)


def joint_loss(
    logits: Mapping[str, Mapping[str, Tensor]],
    crops: CropSet,
    indices: NDArray[np.int64],
    rows_by_category: Mapping[str, NDArray[np.int64]],
    smoothing: float,
) -> Tensor | None:
    """Mean over the heads that have a label in the batch; None if none has.

    Args:
        logits: (n, values) by category and attribute.
        crops: gives the labels.
        indices: (B,) of the batch in `crops`.
        rows_by_category: positions in `indices` that show each category.
        smoothing: label smoothing of single-choice heads.
    """
    losses: list[Tensor] = []
    for category in crops.categories:
        if category.name not in rows_by_category:
            continue
        labels_of = crops.labels_of(category.name, indices[rows_by_category[category.name]])
        for name, labels in labels_of.items():
            answered = logits[category.name][name]
            target = torch.from_numpy(labels).to(answered.device)
            loss = attribute_loss(category.attributes[name], answered, target, smoothing)
            if loss is not None:
                losses.append(loss)
    return torch.stack(losses).mean() if losses else None
