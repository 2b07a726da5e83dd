// One photo on the page: its picture with boxes, its garments as tabs, and the state it is in.

import { explain } from "./api.js";
import { copyText, element, percent } from "./dom.js";
import { garmentParts } from "./garment.js";
import { categoryName, language, ontology, tagsOf, title } from "./names.js";

let cards = 0;

export class Card {
  // filter(card) -> garments to show, each {garment, index, attributes, corrected}; passes(garment) by its score;
  // hueOf(category) -> 0..7; onFix(card, index, attribute) asks for a correction
  constructor(file, { filter, passes, hueOf, onRemove, onRetry, onFix, announce }) {
    Object.assign(this, { file, filter, passes, hueOf, onRetry, onFix, announce });
    this.id = `photo-${++cards}`;
    this.answer = null;
    this.corrections = {}; // index of a garment -> attribute -> values
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
    copy(".copy-tags", () => [...new Set(this.filter(this).flatMap(tagTexts))].join(", "), "Tags");
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

  // Without asking the service; small from the beginning, since nothing else will come.
  refuse(error) {
    this.node.classList.add("small");
    this.setError(error);
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
    const found = answer.garments.map((garment) => categoryName(garment.category)).join(", ");
    this.announce(`${this.name}: ${found || "no garment found"}.`);
  }

  // Draws boxes and tabs anew from the answer and the filter; the keyboard focus stays on the same garment.
  render() {
    if (!this.answer || this.node.dataset.state !== "done") return;
    const focused = document.activeElement?.dataset?.key;
    const scrolled = this.body.querySelector(".garment")?.scrollTop ?? 0;
    const shown = this.filter(this);
    if (!shown.some((item) => item.index === this.selected)) this.selected = shown[0]?.index ?? 0;
    for (const box of this.frame.querySelectorAll(".box")) box.remove();
    this.frame.append(...shown.map((item) => this.#box(item)));
    this.body.replaceChildren(...(shown.length ? this.#tabs(shown) : [this.#nothing()]));
    if (shown.length) this.body.querySelector(".garment").scrollTop = scrolled;
    if (focused) this.node.querySelector(`[data-key="${focused}"]`)?.focus({ preventScroll: true });
  }

  correct(index, attribute, values) {
    (this.corrections[index] ??= {})[attribute] = values;
    this.render();
    this.node.querySelector(`[data-fix="${attribute}"]`)?.focus(); // the button that opened the dialog is drawn anew
    this.announce("Correction kept.");
  }

  select(index, focusKey) {
    this.selected = index;
    this.render();
    this.node.querySelector(`[data-key="${focusKey}"]`)?.focus({ preventScroll: true });
  }

  #nothing() {
    const [best] = this.answer.garments;
    const [heading, hint] = !best
      ? ["No garment found", "A photo that shows the whole garment, worn or laid flat, works best."]
      : !this.passes(best)
        ? ["Only unsure guesses", `The best is ${categoryName(best.category)} with ${percent(best.score)}. Lower the score to see it.`]
        : ["Nothing passes the filter", "Lower the score or choose more garments."];
    return element("div", { class: "failure" }, element("h3", {}, heading), element("p", {}, hint));
  }

  #box(item) {
    const { garment, index } = item;
    const { width, height } = this.answer.image;
    const [x1, y1, x2, y2] = garment.box;
    const isSelected = index === this.selected;
    const key = `${this.id}-box-${index}`;
    const name = title(categoryName(garment.category));
    const tags = tagsOf(item).slice(0, 5).map((tag) => element("span", {}, tag));
    const box = element(
      "button",
      {
        type: "button", class: "box", "data-key": key, "data-hue": this.hueOf(garment.category),
        lang: language, "aria-pressed": String(isSelected), "aria-label": `${name}, ${percent(garment.score)}, show its attributes`,
      },
      element("span", { class: "box-name" }, name),
      element("span", { class: "box-tags" }, ...tags),
    );
    const share = (part, whole) => `${(100 * part) / whole}%`;
    Object.assign(box.style, {
      left: share(x1, width), top: share(y1, height),
      width: share(x2 - x1, width), height: share(y2 - y1, height),
      // A small garment lies above a large one, or nobody could point at it; the selected one lets the pointer through.
      zIndex: isSelected ? "1002" : String(1 + Math.round(1000 * (1 - ((x2 - x1) * (y2 - y1)) / (width * height)))),
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
        title(categoryName(garment.category)), " ", element("small", {}, percent(garment.score)),
      );
      tab.addEventListener("click", () => this.select(index, tab.id));
      return tab;
    });
    const list = element("div", { class: "tabs", role: "tablist", "aria-label": "Garments" }, ...tabs);
    list.addEventListener("keydown", (event) => this.#moveTab(event, shown));
    const current = shown.find((item) => item.index === this.selected);
    const onFix = ontology.takes_feedback ? (attribute) => this.onFix(this, current.index, attribute) : null;
    const panel = element(
      "div",
      { class: "garment", role: "tabpanel", id: panelId, tabindex: 0, "aria-labelledby": `${this.id}-tab-${current.index}` },
      ...garmentParts(current, onFix),
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

// What is copied of a garment: its category and its tags, as corrected.
function tagTexts(item) {
  return [categoryName(item.corrected.category?.[0] ?? item.garment.category), ...tagsOf(item)];
}
