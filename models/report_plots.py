"""The plots of a report as SVG, to stand inside its page."""

from collections.abc import Mapping, Sequence
from io import StringIO
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_BLUE, _RED, _GREY = "#31688e", "#d1495b", "#8a96a3"


def heads_plot(heads: Sequence[tuple[str, Mapping[str, Any]]]) -> str:
    """Macro-F1 of every head with its interval, beside that of its most frequent value."""
    figure, axes = _figure(9.6, 0.8 + 0.22 * len(heads))
    names = [name for name, _ in heads][::-1]
    entries = [entry for _, entry in heads][::-1]
    scores = [entry["macro_f1"] or 0.0 for entry in entries]
    ends = [[low or 0.0, high or 0.0] for low, high in (entry["macro_f1_interval"] for entry in entries)]
    errors = [
        [max(0.0, score - low) for score, (low, _) in zip(scores, ends, strict=True)],
        [max(0.0, high - score) for score, (_, high) in zip(scores, ends, strict=True)],
    ]
    axes.barh(names, scores, color=_BLUE, height=0.65, xerr=errors, error_kw={"ecolor": "#1d2733", "lw": 0.8})
    majority = [entry["majority_macro_f1"] or 0.0 for entry in entries]
    axes.plot(majority, names, "|", color=_RED, markersize=9, markeredgewidth=2)
    axes.set(xlim=(0, 1))
    axes.margins(y=0.01)
    axes.grid(axis="x", alpha=0.3)
    return _svg(figure)


def reliability_plot(summary: Mapping[str, Any]) -> str:
    """Share of right answers by score, before and after the temperatures."""
    figure, axes = _figure(4.6, 3.6)
    axes.plot([0, 1], [0, 1], color=_GREY, lw=1, ls="--")
    for key, colour, label in (("reliability_before", _GREY, "before"), ("reliability", _BLUE, "calibrated")):
        bins = summary[key]
        sizes = [6 + 120 * each["answers"] / max(1, sum(one["answers"] for one in bins)) for each in bins]
        axes.plot([each["score"] for each in bins], [each["right"] for each in bins], color=colour, lw=1, label=label)
        axes.scatter([each["score"] for each in bins], [each["right"] for each in bins], s=sizes, color=colour)
    axes.set(xlim=(0, 1), ylim=(0, 1), xlabel="score", ylabel="right")
    axes.legend(loc="upper left", frameon=False)
    return _svg(figure)


def coverage_plot(summary: Mapping[str, Any]) -> str:
    """What a threshold leaves: answers that reach it, and how many of them are right."""
    figure, axes = _figure(4.6, 3.6)
    rows = summary["coverage"]
    thresholds = [row["threshold"] for row in rows]
    axes.plot(thresholds, [row["right"] for row in rows], "o-", color=_BLUE, label="right of those", markersize=4)
    axes.plot(thresholds, [row["coverage"] for row in rows], "o-", color=_RED, label="reach it", markersize=4)
    axes.set(ylim=(0, 1.02), xlabel="threshold", ylabel="share of answers")
    axes.legend(loc="lower left", frameon=False)
    axes.grid(alpha=0.3)
    return _svg(figure)


def _figure(width: float, height: float) -> "tuple[Figure, Axes]":
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout="constrained")
    axes = figure.subplots()
    axes.spines[["top", "right"]].set_visible(False)
    axes.tick_params(labelsize=8)
    return figure, axes


def _svg(figure: "Figure") -> str:
    import matplotlib

    buffer = StringIO()
    with matplotlib.rc_context({"svg.fonttype": "none", "svg.hashsalt": "report"}):
        figure.savefig(buffer, format="svg", transparent=True, metadata={"Date": None})
    text = buffer.getvalue()
    return text[text.index("<svg") :]
