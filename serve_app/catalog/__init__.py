"""Tagging whole catalogues on Ray Data: `fashion-tagger catalog` and the jobs of the service are this engine."""

from typing import Literal

RowKind = Literal["garment", "photo"]
"""One row a garment, or a photo."""
