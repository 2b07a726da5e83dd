// One photo on the page: its picture with boxes, its garments as tabs, and the state it is in.

import { explain } from "./api.js";

let cards = 0;

export const words = (name) => name.replaceAll("_", " ");
export const title = (name) => words(name).replace(/^./, (letter) => letter.toUpperCase());
const percent = (score) => `${Math.round(score * 100)} %`;

// element("button", { class: "box", "aria-label": "Dress" }, "text", child, ...)
export function element(name, attributes = {}, ...children) {
  const node = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) {
    if (value === true) node.setAttribute(key, "");
    else if (value !== false && value != null) node.setAttribute(key, value);
  }
  node.append(...children);
  return node;
}

export class Card {
  // filter(answer) -> garments to show, each {garment, attributes}; hueOf(category) -> 0..7
  constructor(file, { filter, hueOf, onRemove, onRetry, announce }) {
    Object.assign(this, { file, filter, hueOf, onRetry, announce });
    this.id = `photo-${++cards}`;
    this.answer = null;
    this.selected = 0; // index into answer.garments
    this.controller = new AbortController();
    this.node = document.getElementById("card").content.firstElementChild.cloneNode(true);
    this.frame = this.node.querySelector(".frame");
    this.body = this.node.querySelector(".body");
    this.#name(onRemove);
    this.#loadPicture();
    this.#copiers();
    this.setState("waiting");
  }

  #name(onRemove) {
    const heading = this.node.querySelector("h2");
    heading.textContent = this.file.name || "Pasted photo";
    heading.title = heading.textContent;
    heading.id = `${this.id}-name`;
    this.node.setAttribute("aria-labelledby", heading.id);
    const remove = this.node.querySelector(".remove");
    remove.setAttribute("aria-label", `Remove ${heading.textContent}`);
    remove.addEventListener("click", () => {
      this.controller.abort();
      URL.revokeObjectURL(this.image.src);
      onRemove(this);
    });
  }

  get name() {
    return this.node.querySelector("h2").textContent;
  }

  #loadPicture() {
    this.image = this.frame.querySelector("img");
    this.image.alt = `Photo ${this.name}`;
    this.image.addEventListener("load", () => this.#setRatio(this.image.naturalWidth, this.image.naturalHeight));
    this.image.addEventListener("error", () => this.frame.classList.add("no-picture"));
    this.image.src = URL.createObjectURL(this.file);
  }

  #setRatio(width, height) {
    if (width && height) this.frame.style.setProperty("--ratio", String(width / height));
  }

  #copiers() {
    const copy = (selector, text, what) => {
      const button = this.node.querySelector(selector);
      const label = button.textContent;
      button.addEventListener("click", async () => {
        const done = await copyText(text());
        button.textContent = done ? "Copied" : "Copying is blocked";
        this.announce(done ? `${what} of ${this.name} copied.` : "The browser blocked copying.");
        setTimeout(() => (button.textContent = label), 1600);
      });
    };
    copy(".copy-json", () => JSON.stringify(this.answer, null, 2), "JSON");
    copy(".copy-tags", () => this.answer.tags.join(", "), "Tags");
  }

  // waiting | uploading (share 0..1) | looking | pausing (seconds)
  setState(state, number = 0) {
    this.node.dataset.state = state;
    const text = {
      waiting: "Waiting for its turn",
      uploading: `Uploading, ${percent(number)}`,
      looking: "Looking at the garments",
      pausing: `The service is busy; trying again in ${Math.ceil(number)} s`,
    }[state];
    const value = state === "uploading" ? { value: number } : {};
    const bar = element("progress", { max: 1, "aria-label": `Progress of ${this.name}`, ...value });
    const lines = Array.from({ length: 6 }, () => element("span", { class: "ghost" }));
    this.body.replaceChildren(element("p", { class: "state" }, text), bar, element("div", { class: "ghosts", "aria-hidden": "true" }, ...lines));
  }

  setError(error) {
    const { title: heading, hint, canRetry } = explain(error);
    this.node.dataset.state = "error";
    const parts = [element("h3", {}, heading), element("p", {}, hint)];
    if (canRetry) {
      const again = element("button", { type: "button", class: "retry" }, "Try again");
      again.addEventListener("click", () => this.onRetry(this));
      parts.push(again);
    }
    if (error.requestId) parts.push(element("p", { class: "quiet code" }, `${error.code} · request ${error.requestId}`));
    this.body.replaceChildren(element("div", { class: "failure" }, ...parts));
    this.announce(`${this.name}: ${heading}. ${hint}`);
  }

  setAnswer(answer) {
    this.answer = answer;
    this.node.dataset.state = "done";
    const { width, height } = answer.image;
    this.#setRatio(width, height);
    const milliseconds = answer.timing_ms?.total;
    const meta = `${width} × ${height}` + (milliseconds ? ` · ${Math.round(milliseconds)} ms` : "");
    this.node.querySelector(".meta").textContent = meta;
    for (const button of this.node.querySelectorAll(".card-foot button")) button.disabled = false;
    this.render();
    const found = answer.garments.map((garment) => words(garment.category)).join(", ");
    this.announce(`${this.name}: ${found || "no garment found"}.`);
  }

  // Draws boxes and tabs anew from the answer and the filter; the keyboard focus stays on the same garment.
  render() {
    if (!this.answer || this.node.dataset.state !== "done") return;
    const focused = document.activeElement?.dataset?.key;
    const shown = this.filter(this.answer);
    if (!shown.some((item) => item.index === this.selected)) this.selected = shown[0]?.index ?? 0;
    for (const box of this.frame.querySelectorAll(".box")) box.remove();
    this.frame.append(...shown.map((item) => this.#box(item)));
    this.body.replaceChildren(...(shown.length ? this.#tabs(shown) : [this.#nothing()]));
    if (focused) this.node.querySelector(`[data-key="${focused}"]`)?.focus({ preventScroll: true });
  }

  select(index, focusKey) {
    this.selected = index;
    this.render();
    this.node.querySelector(`[data-key="${focusKey}"]`)?.focus({ preventScroll: true });
  }

  #nothing() {
    const hidden = this.answer.garments.length > 0;
    return element(
      "div",
      { class: "failure" },
      element("h3", {}, hidden ? "Nothing passes the filter" : "No garment found"),
      element("p", {}, hidden
        ? "Lower the score or choose more garments."
        : "A photo that shows the whole garment, worn or laid flat, works best."),
    );
  }

  #box({ garment, attributes, index }) {
    const { width, height } = this.answer.image;
    const [x1, y1, x2, y2] = garment.box;
    const isSelected = index === this.selected;
    const key = `${this.id}-box-${index}`;
    const name = title(garment.category);
    const tags = Object.values(attributes).flat().slice(0, 5).map(({ value }) => element("span", {}, words(value)));
    const box = element(
      "button",
      {
        type: "button", class: "box", "data-key": key, "data-hue": this.hueOf(garment.category),
        "aria-pressed": String(isSelected), "aria-label": `${name}, ${percent(garment.score)}, show its attributes`,
      },
      element("span", { class: "box-name" }, name),
      element("span", { class: "box-tags" }, ...tags),
    );
    const share = (part, whole) => `${(100 * part) / whole}%`;
    Object.assign(box.style, {
      left: share(x1, width), top: share(y1, height),
      width: share(x2 - x1, width), height: share(y2 - y1, height),
      // A small garment lies above a large one, or nobody could point at it.
      zIndex: String(1 + Math.round(1000 * (1 - ((x2 - x1) * (y2 - y1)) / (width * height)))),
    });
    box.addEventListener("click", () => this.select(index, key));
    return box;
  }

  #tabs(shown) {
    const panelId = `${this.id}-panel`;
    const tabs = shown.map(({ garment, index }) => {
      const isSelected = index === this.selected;
      const tab = element(
        "button",
        {
          type: "button", role: "tab", id: `${this.id}-tab-${index}`, "data-key": `${this.id}-tab-${index}`,
          "data-hue": this.hueOf(garment.category), "aria-selected": String(isSelected),
          "aria-controls": panelId, tabindex: isSelected ? 0 : -1,
        },
        title(garment.category), " ", element("small", {}, percent(garment.score)),
      );
      tab.addEventListener("click", () => this.select(index, tab.id));
      return tab;
    });
    const list = element("div", { class: "tabs", role: "tablist", "aria-label": "Garments" }, ...tabs);
    list.addEventListener("keydown", (event) => this.#moveTab(event, shown));
    const current = shown.find((item) => item.index === this.selected);
    const panel = element(
      "div",
      { class: "garment", role: "tabpanel", id: panelId, tabindex: 0, "aria-labelledby": `${this.id}-tab-${current.index}` },
      ...garmentParts(current),
    );
    return [list, panel];
  }

  #moveTab(event, shown) {
    const at = shown.findIndex((item) => item.index === this.selected);
    const last = shown.length - 1;
    const to = { ArrowRight: at === last ? 0 : at + 1, ArrowLeft: at === 0 ? last : at - 1, Home: 0, End: last }[event.key];
    if (to === undefined) return;
    event.preventDefault();
    this.select(shown[to].index, `${this.id}-tab-${shown[to].index}`);
  }
}

function garmentParts({ garment, attributes }) {
  const parts = [];
  if (garment.colours?.length) parts.push(palette(garment.colours));
  if (garment.status !== "ok") {
    parts.push(element("p", { class: "note" }, "The attributes of this garment could not be read just now. Add the photo again in a moment."));
  } else if (Object.keys(attributes).length) {
    parts.push(scoreTable(attributes));
  } else {
    parts.push(element("p", { class: "note" }, "No attribute passes the filter. Lower the score or choose more attributes."));
  }
  return parts;
}

function palette(colours) {
  const strip = element("div", { class: "strip", "aria-hidden": "true" });
  const names = element("ul", { class: "colours", "aria-label": "Colours" });
  for (const { name, hex, share } of colours) {
    const part = element("span");
    const dot = element("span", { class: "dot", "aria-hidden": "true" });
    part.style.flexGrow = String(share);
    part.style.backgroundColor = dot.style.backgroundColor = hex;
    strip.append(part);
    names.append(element("li", {}, dot, words(name), " ", element("code", {}, hex), " ", element("small", {}, percent(share))));
  }
  return element("div", { class: "palette" }, strip, names);
}

function scoreTable(attributes) {
  const table = element("table", { "aria-label": "Attributes and their scores" });
  for (const [attribute, values] of Object.entries(attributes)) {
    const group = element("tbody");
    values.forEach(({ value, score }, at) => {
      const bar = element("span", { class: "bar", "aria-hidden": "true" }, element("span"));
      bar.firstElementChild.style.width = percent(score).replace(" ", "");
      const row = element("tr");
      if (at === 0) row.append(element("th", { scope: "rowgroup", rowspan: values.length }, title(attribute)));
      row.append(element("td", {}, words(value)), element("td", { class: "bar-cell" }, bar), element("td", { class: "number" }, percent(score)));
      group.append(row);
    });
    table.append(group);
  }
  return table;
}

async function copyText(text) {
  try {
    await navigator.clipboard.writeText(text);
    return true;
  } catch {
    // Without https there is no clipboard interface: copy a selection instead.
    const area = element("textarea", { class: "hidden", "aria-hidden": "true" });
    const before = document.activeElement;
    area.value = text;
    document.body.append(area);
    area.select();
    const done = document.execCommand("copy");
    area.remove();
    before?.focus();
    return done;
  }
}
