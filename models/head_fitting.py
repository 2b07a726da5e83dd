"""Fits the heads anew once the trunk is trained: on stored features of every crop, which costs seconds.

While the trunk moves, a head sees a few rows a step of features that will have changed the next time. Refitting the
last layer is worth most where training was short; Kirichenko et al., arXiv 2204.02937, refit it for robustness.
"""

import copy
from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from models.crops import CropSet
from models.joint_classifier import JointHeads, joint_loss

_BATCH = 512
_MAX_EPOCHS = 60
_PATIENCE = 6
_RATE = 1e-3
_WEIGHT_DECAY = 0.3

FeaturesOf = Callable[[CropSet, int | None], Tensor]
"""Crops, and which random view of them or None for the plain one -> (N, features)."""


def fit_heads(
    heads: JointHeads, train_set: CropSet, val_set: CropSet, features_of: FeaturesOf, views: int, seed: int
) -> None:
    """Fit heads in place; the epoch with the smallest loss on the validation crops is kept, or the last without any.

    Args:
        heads: on the CPU; their normalisation is measured anew.
        train_set: what they learn from.
        val_set: never learnt from; may be empty.
        features_of: computes features with the finished trunk.
        views: of each training crop.
        seed: of the order.
    """
    views_features = [features_of(train_set, view) for view in range(views)]
    everything = torch.cat(views_features)
    heads.norm.running_mean.copy_(everything.mean(0))  # type: ignore[union-attr]
    heads.norm.running_var.copy_(everything.var(0))  # type: ignore[union-attr]
    heads.requires_grad_(True)  # averaged weights do not learn by themselves
    heads.eval()  # the normalisation stays as measured
    val_features = features_of(val_set, None) if len(val_set) else None
    optimizer = torch.optim.AdamW(heads.parameters(), lr=_RATE, weight_decay=_WEIGHT_DECAY)
    best, best_state, since = _loss(heads, val_set, val_features), copy.deepcopy(heads.state_dict()), 0
    rng = np.random.default_rng(seed)
    for _ in range(_MAX_EPOCHS):
        order = np.stack([rng.permutation(len(train_set)) for _ in range(views)])
        for at in range(0, len(train_set), _BATCH):
            for view, features in enumerate(views_features):
                indices = order[view, at : at + _BATCH]
                loss = _batch_loss(heads, train_set, indices, features[indices], smoothing=0.05)
                if loss is not None:
                    optimizer.zero_grad()
                    loss.backward()  # type: ignore[no-untyped-call]
                    optimizer.step()
        if val_features is None:
            continue
        now = _loss(heads, val_set, val_features)
        since += 1
        if now < best:
            best, best_state, since = now, copy.deepcopy(heads.state_dict()), 0
        elif since >= _PATIENCE:
            break
    if val_features is not None:
        heads.load_state_dict(best_state)


def _batch_loss(
    heads: JointHeads,
    crops: CropSet,
    indices: np.ndarray[tuple[int], np.dtype[np.int64]],
    features: Tensor,
    smoothing: float,
) -> Tensor | None:
    rows_by_category = crops.rows_by_category(indices)
    logits = heads(features, {name: torch.from_numpy(rows) for name, rows in rows_by_category.items()})
    return joint_loss(logits, crops, indices, rows_by_category, smoothing)


@torch.no_grad()
def _loss(heads: JointHeads, crops: CropSet, features: Tensor | None) -> float:
    if features is None:
        return float("inf")
    loss = _batch_loss(heads, crops, np.arange(len(crops)), features, smoothing=0.0)
    return float("inf") if loss is None else float(loss)
