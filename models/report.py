"""Makes an evaluation readable: Markdown tables and a few plots."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

WAYS = {"on_true_boxes": "true boxes", "on_found_boxes": "found boxes"}


def report_text(report: Mapping[str, Any], plots: Sequence[str] = ()) -> str:
    """The report as Markdown.

    Args:
        report: of `evaluate`.
        plots: file names of pictures beside it.
    """
    bundle, end = report["bundle"], report["end_to_end"]
    lines = [
        f"# {bundle['name']}@{bundle['version']} on {report['split']}",
        "",
        f"Bundle `{bundle['digest'][:16]}`, {report['photos']} photos, {end['labelled']} garments "
        f"({', '.join(f'{category} {count}' for category, count in sorted(report['garments'].items()))}), "
        f"{report['machine']}, {report['elapsed_s']} s.",
        "",
        "Macro-F1 is the mean over the values that any garment truly has. Majority is what always answering the most "
        "frequent value reaches, ratio the one over the other; a head counts as trained well from 2 on.",
        "",
        *_detection_lines(report),
        *[f"![{plot}]({plot})\n" for plot in plots],
    ]
    for way, title in WAYS.items():
        lines += _attribute_lines(report, way, title)
    lines += _value_lines(report)
    return "\n".join(lines) + "\n"


def draw_plots(report: Mapping[str, Any], out_dir: Path) -> list[str]:
    """Draw macro-F1 by head and AP by category; returns the file names."""
    from matplotlib.figure import Figure

    entries = [
        (f"{category}.{name}", entry)
        for category, by_name in report["attributes"]["on_true_boxes"].items()
        for name, entry in by_name.items()
    ]
    names = []
    if entries:
        figure = Figure(figsize=(8, 1 + 0.2 * len(entries)), layout="constrained")
        axes = figure.subplots()
        heads = [head for head, _ in entries][::-1]
        axes.barh(heads, [entry["macro_f1"] or 0 for _, entry in entries][::-1], color="#31688e", label="bundle")
        majority = [entry["majority_macro_f1"] or 0 for _, entry in entries][::-1]
        axes.plot(majority, heads, "|", color="#d1495b", markersize=9, markeredgewidth=2, label="most frequent value")
        axes.set(xlim=(0, 1), xlabel="macro-F1 on true boxes", title=f"Attributes, {report['split']}")
        axes.margins(y=0.01)
        axes.tick_params(axis="y", labelsize=7)
        axes.legend(loc="lower right")
        figure.savefig(out_dir / "attributes.png", dpi=110)
        names.append("attributes.png")
    by_category = report["detection"]["by_category"]
    if by_category:
        figure = Figure(figsize=(6, 3), layout="constrained")
        axes = figure.subplots()
        positions = range(len(by_category))
        axes.bar([at - 0.2 for at in positions], [each["ap"] or 0 for each in by_category.values()], 0.4, label="AP")
        axes.bar(
            [at + 0.2 for at in positions], [each["ap50"] or 0 for each in by_category.values()], 0.4, label="AP50"
        )
        axes.set_xticks(list(positions), list(by_category))
        axes.set(ylim=(0, 1), title=f"Detection, {report['split']}")
        axes.legend()
        figure.savefig(out_dir / "detection.png", dpi=110)
        names.append("detection.png")
    return names


def _detection_lines(report: Mapping[str, Any]) -> list[str]:
    quality, end = report["detection"], report["end_to_end"]
    rows = [["all", quality["ap"], quality["ap50"], quality["boxes"]]]
    rows += [
        [category, each["ap"], each["ap50"], report["garments"].get(category, 0)]
        for category, each in quality["by_category"].items()
    ]
    return [
        "## Detection",
        "",
        *_table(["category", "AP 50-95", "AP50", "garments"], rows),
        "",
        f"At score {end['min_score']}: {end['found']} found, {end['matched']} of them on one of the {end['labelled']} "
        "labelled garments (same category, IoU at least 0.5).",
        "",
    ]


def _attribute_lines(report: Mapping[str, Any], way: str, title: str) -> list[str]:
    summary = report["summary"][way]
    rows = [
        [category, name, *(entry[key] for key in ("macro_f1", "majority_macro_f1", "ratio", "accuracy", "garments"))]
        for category, by_name in report["attributes"][way].items()
        for name, entry in by_name.items()
    ]
    if not rows:
        return [f"## Attributes on {title}", "", "No labelled garment.", ""]
    return [
        f"## Attributes on {title}",
        "",
        f"Mean macro-F1 {_cell(summary['macro_f1'])} over {summary['heads']} heads (majority "
        f"{_cell(summary['majority_macro_f1'])}); {summary['heads_at_twice_majority']} heads reach twice the majority.",
        "",
        *_table(["category", "attribute", "macro-F1", "majority", "ratio", "accuracy", "garments"], rows),
        "",
    ]


def _value_lines(report: Mapping[str, Any]) -> list[str]:
    lines = ["## Values on true boxes", "", "F1 of each value, with the garments that have it.", ""]
    for category, by_name in report["attributes"]["on_true_boxes"].items():
        for name, entry in by_name.items():
            values = ", ".join(
                f"{value} {_cell(each['f1'])} ({each['support']})" for value, each in entry["values"].items()
            )
            lines.append(f"- **{category}.{name}**: {values}")
    return lines


def _table(head: Sequence[str], rows: Sequence[Sequence[Any]]) -> list[str]:
    cells = [list(head), ["---"] * len(head), *([_cell(value) for value in row] for row in rows)]
    return [f"| {' | '.join(row)} |" for row in cells]


def _cell(value: Any) -> str:
    if value is None:
        return "-"
    return f"{value:.3f}" if isinstance(value, float) else str(value)
