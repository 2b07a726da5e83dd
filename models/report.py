"""Makes an evaluation readable: one HTML page with tables, plots and the worst photos, and a few lines of text."""

from base64 import b64encode
from collections.abc import Iterable, Iterator, Mapping, Sequence
from html import escape
from io import BytesIO
from typing import Any, cast

import numpy as np
from PIL import Image

from models.crops import read_photo
from models.drawing import Note, draw_notes
from models.report_plots import coverage_plot, heads_plot, reliability_plot
from models.types import Box, LabelledPhoto

_WORST_SIDE_PX = 420
_OF_DETECTION = ("AP at IoU .5 to .95", "AP at IoU .5", "best category right")  # cards
_RIGHT, _WRONG = "49,104,142", "209,73,91"
_STYLE = """
:root { color-scheme: light; font: 15px/1.5 system-ui, sans-serif; color: #1d2733; background: #f6f7f9 }
body { margin: 0 auto; max-width: 1080px; padding: 1.5rem }
h1 { font-size: 1.5rem; margin: 0 } h2 { font-size: 1.15rem; margin: 2.2rem 0 .6rem }
p, summary { max-width: 75ch } .faint { color: #5a6776 }
section > table, .plots, details, .cards > div { background: #fff; border: 1px solid #dde2e8; border-radius: 8px }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; width: 100% }
th, td { padding: .28rem .6rem; text-align: right; white-space: nowrap }
th { font-weight: 600; font-size: .85rem; color: #5a6776 } tr + tr td, tr + tr th { border-top: 1px solid #eef1f4 }
th:first-child, td:first-child, td.text, th.text { text-align: left }
.cards { display: grid; grid-template-columns: repeat(auto-fit, minmax(155px, 1fr)); gap: .7rem; margin: 1.2rem 0 }
.cards > div { padding: .7rem .9rem } .cards b { display: block; font-size: 1.6rem; line-height: 1.2 }
.cards small { color: #5a6776 } .plots { display: flex; flex-wrap: wrap; gap: 1rem; padding: .6rem }
.plots svg { max-width: 100%; height: auto } .scroll { overflow-x: auto }
details { margin: .4rem 0; padding: .4rem .8rem } summary { cursor: pointer }
.confusion { width: auto } .confusion td { text-align: center; min-width: 2.2rem }
figure { margin: 0 } figure img { border: 1px solid #dde2e8; border-radius: 6px; max-width: 100% }
.worst { display: grid; grid-template-columns: repeat(auto-fill, minmax(470px, 1fr)); gap: 1rem }
"""


def report_html(report: Mapping[str, Any], photos: Sequence[LabelledPhoto]) -> str:
    """The whole report as one page that needs nothing besides.

    Args:
        report: of `evaluate`.
        photos: those that were measured, for the worst of them.
    """
    bundle, garments = report["bundle"], report["garments"]
    counts = ", ".join(f"{name} {count}" for name, count in sorted(garments.items()))
    sections = [
        *_cards(report),
        *_detection(report),
        *_attributes(report),
        *_calibration(report),
        *_confusions(report),
        *_worst(report, photos),
    ]
    title = escape(f"{bundle['name']}@{bundle['version']} on {report['split']}")
    return f"""<!doctype html>
<html lang="en"><meta charset="utf-8"><meta name="viewport" content="width=device-width"><title>{title}</title>
<style>{_STYLE}</style>
<h1>{title}</h1>
<p class="faint">{report["photos"]} photos, {sum(garments.values())} garments ({escape(counts)}); bundle
<code>{bundle["digest"][:12]}</code>; {escape(report["machine"])}, {report["elapsed_s"]:.0f} s. Intervals in
brackets are 95 %, by bootstrap over photos.</p>
{"".join(sections)}</html>
"""


def summary_lines(report: Mapping[str, Any]) -> list[str]:
    """The main figures as text, for a terminal."""
    detection, end, summary = report["detection"], report["end_to_end"], report["summary"]["on_true_boxes"]
    colours = report["colours"]["on_true_boxes"]
    found = (
        f"detection: AP {_figure(detection['ap'])}, AP50 {_figure(detection['ap50'])}; at score {end['min_score']} "
        f"{end['found']} found, {end['matched']} of them right"
    )
    return [
        f"{report['photos']} photos, {end['labelled']} garments",
        found if report["complete"] else "detection: not measured, since not every garment is labelled",
        f"attributes on true boxes: mean macro-F1 {_figure(summary['macro_f1'])} over {summary['heads']} heads "
        f"(majority {_figure(summary['majority_macro_f1'])})",
        f"colours of the pixels: the largest is a labelled one on {_figure(colours['first_true'])} of "
        f"{colours['garments']} garments",
        f"not visible: F1 {_figure(summary['applicability_f1'])} of {summary['not_visible']}; calibration error "
        f"{_figure(summary['calibration_error'])}, {_figure(summary['calibration_error_before'])} before",
    ]


def _cards(report: Mapping[str, Any]) -> Iterator[str]:
    detection, level = report["detection"], report["photo_level"]
    true, found = report["summary"]["on_true_boxes"], report["summary"]["on_found_boxes"]
    colours = report["colours"]["on_true_boxes"]
    cards = [
        ("AP at IoU .5 to .95", detection["ap"], _interval(detection["ap_interval"])),
        ("AP at IoU .5", detection["ap50"], _interval(detection["ap50_interval"])),
        (
            "attributes, macro-F1",
            true["macro_f1"],
            f"{true['heads']} heads; majority {_figure(true['majority_macro_f1'])}",
        ),
        ("the same on found boxes", found["macro_f1"], f"{found['heads']} heads"),
        ("not visible, F1", true["applicability_f1"], f"{true['not_visible']} answers"),
        ("calibration error", true["calibration_error"], f"{_figure(true['calibration_error_before'])} before"),
        ("best category right", level["best_category_right"], f"{level['photos_with_garments']} photos"),
        ("largest colour right", colours["first_true"], f"{colours['garments']} garments, measured on pixels"),
        ("empty answer right", level["empty_answer_right"], f"{level['photos_without']} photos"),
    ]
    yield '<div class="cards">'
    for name, value, note in cards:
        if value is not None and (report["complete"] or name not in _OF_DETECTION):
            yield f"<div><small>{name}</small><b>{_figure(value)}</b><small>{note}</small></div>"
    yield "</div>"


def _detection(report: Mapping[str, Any]) -> Iterator[str]:
    if not report["complete"]:
        yield "<section><h2>Detection</h2><p>Not measured: not every garment of these photos is labelled.</p></section>"
        return
    quality, end = report["detection"], report["end_to_end"]
    rows = [["all", quality["ap"], quality["ap50"], quality["boxes"]]]
    rows += [
        [name, each["ap"], each["ap50"], report["garments"].get(name, 0)]
        for name, each in quality["by_category"].items()
    ]
    yield "<section><h2>Detection</h2>"
    yield f"""<p>Average precision by COCO's rules. At score {end["min_score"]} the service answers {end["found"]}
garments; {end["matched"]} of them lie on one of the {end["labelled"]} labelled ones, of the same category, IoU at least
0.5.</p>"""
    yield _table(["category", "AP", "AP at .5", "garments"], rows)
    confusion = quality["confusion"]
    yield "<p>Labelled categories (rows) and what was found in their place (columns).</p>"
    yield _confusion(confusion["names"], confusion["counts"]) + "</section>"


def _attributes(report: Mapping[str, Any]) -> Iterator[str]:
    heads = list(_heads(report))
    yield "<section><h2>Attributes</h2>"
    if not heads:
        yield "<p>No garment has a labelled attribute.</p></section>"
        return
    yield """<p>Macro-F1 is the mean over the values that any garment truly has. The mark is what always answering
the most frequent value reaches. <em>Found</em> is the same on the boxes that the detector found.</p>"""
    yield f'<div class="plots">{heads_plot([(name, entry) for name, entry, _ in heads])}</div>'
    rows = [
        [
            name,
            entry["garments"],
            f"{_figure(entry['macro_f1'])} {_interval(entry['macro_f1_interval'])}",
            entry["majority_macro_f1"],
            found and found["macro_f1"],
            entry["accuracy"],
            entry["balanced_accuracy"],
            entry["top3_recall"],
            entry.get("map"),
            entry.get("applicability_f1"),
            f"{_figure(entry['calibration_error_before'])} → {_figure(entry['calibration_error'])}",
        ]
        for name, entry, found in heads
    ]
    head = ["attribute", "garments", "macro-F1", "majority", "found", "accuracy", "balanced", "in top 3", "mAP"]
    yield '<div class="scroll">' + _table([*head, "not visible", "calibration error"], rows) + "</div></section>"


def _calibration(report: Mapping[str, Any]) -> Iterator[str]:
    summary = report["summary"]["on_true_boxes"]
    if summary["heads"]:
        yield "<section><h2>Can the scores be believed?</h2>"
        yield "<p>The best answer of every head: how often it is right by its score, and what a threshold leaves.</p>"
        yield f'<div class="plots">{reliability_plot(summary)}{coverage_plot(summary)}</div></section>'


def _confusions(report: Mapping[str, Any]) -> Iterator[str]:
    singles = [(name, entry) for name, entry, _ in _heads(report) if "confusion" in entry]
    if singles:
        yield "<section><h2>What is taken for what</h2><p>True values in rows, answers in columns, on true boxes.</p>"
        for name, entry in singles:
            figure = _figure(entry["macro_f1"])
            yield f"<details><summary>{escape(name)} <span class=faint>macro-F1 {figure}</span></summary>"
            yield _confusion(list(entry["values"]), entry["confusion"]) + "</details>"
        yield "</section>"


def _worst(report: Mapping[str, Any], photos: Sequence[LabelledPhoto]) -> Iterator[str]:
    if report["worst"]:
        yield "<section><h2>The worst photos</h2><p>Garments missed, and wrong answers given with high scores.</p>"
        yield '<div class="worst">'
        for each in report["worst"]:
            image = Image.fromarray(read_photo(photos[each["number"]].path))
            scale = _WORST_SIDE_PX / max(image.size)  # drawn on the small picture, the text stays readable
            small = image.resize((round(image.width * scale), round(image.height * scale)), reducing_gap=2.0)
            notes = [
                Note(cast(Box, tuple(side * scale for side in note["box"])), tuple(note["lines"]))
                for note in each["notes"]
            ]
            drawn = draw_notes(np.asarray(small), notes)
            buffer = BytesIO()
            drawn.save(buffer, "JPEG", quality=82)
            data = b64encode(buffer.getvalue()).decode("ascii")
            name = escape(each["file"])
            yield f'<figure><img alt="{name}" src="data:image/jpeg;base64,{data}">'
            yield f"<figcaption class=faint>{name}</figcaption></figure>"
        yield "</div></section>"


def _heads(report: Mapping[str, Any]) -> Iterator[tuple[str, Mapping[str, Any], Mapping[str, Any] | None]]:
    """Name, entry on true boxes and entry on found boxes of every head."""
    for category, by_name in report["attributes"]["on_true_boxes"].items():
        for name, entry in by_name.items():
            yield f"{category} {name}", entry, report["attributes"]["on_found_boxes"][category].get(name)


def _confusion(names: Sequence[str], counts: Sequence[Sequence[int]]) -> str:
    """A table whose cells darken with their share of the row."""
    head = "".join(f"<th>{escape(name)}</th>" for name in names)
    rows = []
    for name, row in zip(names, counts, strict=True):
        cells = "".join(
            _shaded(count, sum(row), _RIGHT if name == column else _WRONG)
            for column, count in zip(names, row, strict=True)
        )
        rows.append(f"<tr><th class=text>{escape(name)}</th>{cells}</tr>")
    return f'<div class="scroll"><table class="confusion"><tr><th></th>{head}</tr>{"".join(rows)}</table></div>'


def _shaded(count: int, whole: int, colour: str) -> str:
    return f'<td style="background:rgba({colour},{count / whole * 0.75:.2f})">{count}</td>' if count else "<td></td>"


def _table(head: Iterable[str], rows: Iterable[Iterable[Any]]) -> str:
    lines = ["<tr>" + "".join(f"<th>{escape(each)}</th>" for each in head) + "</tr>"]
    lines += ["<tr>" + "".join(f"<td>{escape(_figure(each))}</td>" for each in row) + "</tr>" for row in rows]
    return f"<table>{''.join(lines)}</table>"


def _interval(ends: Sequence[float | None]) -> str:
    return "" if None in ends else f"[{_figure(ends[0])}, {_figure(ends[1])}]"


def _figure(value: Any) -> str:
    if value is None:
        return "-"
    return f"{value:.3f}" if isinstance(value, float) else str(value)
