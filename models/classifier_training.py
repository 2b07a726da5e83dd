"""The settings of classifier training."""

from dataclasses import dataclass

from models.classifier import MIN_SIZE_PX, ClassifierSpec
from models.training import RunConfig


@dataclass(frozen=True)
class ClassifierTraining(RunConfig):
    """One run. The defaults train from nothing; with ImageNet weights give `dropout` 0.3.

    Attributes:
        size_px: side of the crops that the finished classifier takes.
        pad_ratio: air around a box, as a share of its sides.
        batch: crops per step and worker.
        rate: the trunk's peak learning rate with AdamW, whose steps do not depend on the size of gradients. At the
            start that of the first layers is a hundred times that of the last, and SGD with the norm clipped wiped out
            in a few steps what random filters tell of colour (a linear probe fell from 0.78 to 0.44 right).
        head_ratio: the heads' rate as a multiple of the trunk's. Heads that learn faster than the trunk fit what is
            noise in it, and leave it nothing to learn from; at the end they are fitted anew anyway.
        muon_ratio: the rate of the trunk's convolutions as a multiple of `rate` when they take Muon's steps; with 0
            they take AdamW's.
        head_views: views of each crop that the heads are fitted to once the trunk is trained.
        shared_trunk: one trunk for all categories, or one each.
        imagenet: start from torchvision's ImageNet weights (downloads them).
        start: start from this file instead: torchvision's state dict (.pth), or a trunk of ours (.safetensors).
        box_shake: how far each side of a box moves, as a share of the box, to look like a detector's.
        light: how far brightness and contrast move; the hue never does, since colours are answers.
    """

    size_px: int = 160
    pad_ratio: float = 0.05
    warmup_share: float = 0.03
    batch: int = 32
    rate: float = 2e-4
    head_ratio: float = 0.3
    muon_ratio: float = 0.0
    weight_decay: float = 0.02
    smoothing: float = 0.05
    dropout: float = 0.0
    head_views: int = 2
    shared_trunk: bool = True
    imagenet: bool = False
    start: str = ""
    flip: bool = True
    box_shake: float = 0.08
    light: float = 0.2
    max_val_crops: int = 600

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.batch < 2:
            raise ValueError(f"batch needs to be at least 2 for batch normalisation, got {self.batch}")
        sides = [side for _, side in self.sizes] + [self.size_px]
        shares = [share for share, _ in self.sizes]
        if min(sides) < MIN_SIZE_PX or max(sides) > self.size_px:
            raise ValueError(f"sizes need to be in [{MIN_SIZE_PX}, size_px = {self.size_px}], got {sides}")
        if shares and (shares[0] != 0 or shares != sorted(shares) or sides[-2] != self.size_px):
            raise ValueError(f"sizes need to start at share 0, grow and end at size_px, got {self.sizes}")

    @property
    def spec(self) -> ClassifierSpec:
        """Preprocessing of the finished classifiers."""
        return ClassifierSpec(self.size_px, self.pad_ratio)
