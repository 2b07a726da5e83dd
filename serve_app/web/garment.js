// What is known of one garment: its colours as measured, and every attribute with its values as bars.

import { element, percent } from "./dom.js";
import { attributeName, categoryName, language, title, valueName } from "./names.js";

const PENCIL = "M3 13l.8-3.2L11 2.6a1 1 0 0 1 1.4 0l1 1a1 1 0 0 1 0 1.4L6.2 12.2 3 13z";

// onFix(attribute) asks for a correction; null where the service takes none.
export function garmentParts({ garment, attributes, corrected }, onFix) {
  const parts = [];
  if (corrected.category) {
    const right = title(categoryName(corrected.category[0]));
    parts.push(element("p", { class: "note corrected" }, `Corrected: ${right}`));
  }
  if (garment.colours?.length) parts.push(palette(garment.colours));
  if (garment.status !== "ok") {
    parts.push(element("p", { class: "note" }, "The attributes of this garment could not be read just now. Add the photo again in a moment."));
  } else if (Object.keys(attributes).length) {
    parts.push(scoreTable(garment, attributes, corrected, onFix));
  } else {
    parts.push(element("p", { class: "note" }, "No attribute passes the filter. Choose more attributes."));
  }
  if (onFix) {
    const wrong = element("button", { type: "button", class: "plain fix-category", "data-fix": "category" }, "Wrong garment?");
    wrong.addEventListener("click", () => onFix("category"));
    parts.push(wrong);
  }
  return parts;
}

function palette(colours) {
  const strip = element("div", { class: "strip", "aria-hidden": "true" });
  const names = element("ul", { class: "colours", "aria-label": "Colours", lang: language });
  for (const { name, hex, share } of colours) {
    const part = element("span");
    const dot = element("span", { class: "dot", "aria-hidden": "true" });
    part.style.flexGrow = String(share * 100); // below 1 in all, flex would leave the rest empty
    part.style.backgroundColor = dot.style.backgroundColor = hex;
    strip.append(part);
    names.append(element("li", {}, dot, valueName("colour", name), " ", element("code", {}, hex), " ", element("small", {}, percent(share))));
  }
  return element("div", { class: "palette" }, strip, names);
}

function scoreTable(garment, attributes, corrected, onFix) {
  const table = element("table", { "aria-label": "Attributes and their scores", lang: language });
  for (const [attribute, values] of Object.entries(attributes)) {
    const rows = rowsOf(garment, attribute, values, corrected[attribute]);
    rows[0].prepend(element("th", { scope: "rowgroup", rowspan: rows.length }, title(attributeName(attribute))));
    if (onFix) rows[0].append(element("td", { class: "fix-cell", rowspan: rows.length }, pencil(garment, attribute, onFix)));
    table.append(element("tbody", {}, ...rows));
  }
  return table;
}

function rowsOf(garment, attribute, values, right) {
  const plain = (name, ...content) => element("tr", {}, element("td", { class: name, colspan: 3 }, ...content));
  if (right) return [plain("corrected", `${right.map((value) => valueName(attribute, value)).join(", ")} `, element("small", {}, "corrected"))];
  if (!values.length) return [plain("quiet", "unsure")];
  const isUnsure = garment.needs_review?.includes(attribute);
  return values.map(({ value, score }, at) => {
    const bar = element("span", { class: "bar", "aria-hidden": "true" }, element("span"));
    bar.firstElementChild.style.width = percent(score).replace(" ", "");
    const text = [valueName(attribute, value)];
    if (at === 0 && isUnsure) text.push(" ", element("span", { class: "check", lang: "en", title: "Less sure than this service asks of an answer: look yourself" }, "check"));
    const kind = value === "not_visible" ? "quiet" : null;
    return element("tr", {}, element("td", { class: kind }, ...text), element("td", { class: "bar-cell" }, bar), element("td", { class: "number" }, percent(score)));
  });
}

function pencil(garment, attribute, onFix) {
  const icon = document.createElementNS("http://www.w3.org/2000/svg", "svg");
  const path = document.createElementNS("http://www.w3.org/2000/svg", "path");
  icon.setAttribute("viewBox", "0 0 16 16");
  icon.setAttribute("aria-hidden", "true");
  path.setAttribute("d", PENCIL);
  icon.append(path);
  const name = `Correct ${attributeName(attribute)}`;
  const button = element("button", { type: "button", class: "icon fix", "data-fix": attribute, "aria-label": name, title: name }, icon);
  button.addEventListener("click", () => onFix(attribute));
  return button;
}
