// The page: takes photos in, tags two at a time, and filters what is shown without asking again.

import { ServiceError, accessKey, getJson, tagPhoto } from "./api.js";
import { Card, element, title } from "./card.js";

const UPLOADS_AT_ONCE = 2;
const RETRIES = 3;
const PAUSE_LIMIT_S = 30;
// Low and wide, so that the slider has something to reveal.
const QUERY = { min_score: "0.2", top_k: "5" };
const HUES = 8;

const at = (id) => document.getElementById(id);
const cards = [];
const queue = [];
const hidden = { categories: new Set(), attributes: new Set() };
let running = 0;
let categoryOrder = [];

const announce = (text) => (at("live").textContent = text);
const threshold = () => Number(at("threshold").value) / 100;

function hueOf(category) {
  if (!categoryOrder.includes(category)) categoryOrder.push(category);
  return categoryOrder.indexOf(category) % HUES;
}

function filter(answer) {
  const passes = (item) => item.score >= threshold();
  return answer.garments
    .map((garment, index) => ({ garment, index }))
    .filter(({ garment }) => passes(garment) && !hidden.categories.has(garment.category))
    .map((item) => ({
      ...item,
      attributes: Object.fromEntries(
        Object.entries(item.garment.attributes)
          .filter(([attribute]) => !hidden.attributes.has(attribute))
          .map(([attribute, values]) => [attribute, values.filter(passes)])
          .filter(([, values]) => values.length),
      ),
    }));
}

function refresh() {
  at("threshold-value").textContent = `${at("threshold").value} %`;
  for (const card of cards) card.render();
  countShown();
}

function countShown() {
  const answers = cards.map((card) => card.answer).filter(Boolean);
  const all = answers.reduce((sum, answer) => sum + answer.garments.length, 0);
  const shown = answers.reduce((sum, answer) => sum + filter(answer).length, 0);
  at("shown").textContent = all ? `${shown} of ${all} garments` : "";
}

// ---- photos in, answers out

function addFiles(files) {
  if (!files.length) return;
  document.body.dataset.state = "filled";
  const added = [...files].map((file) => new Card(file, { filter, hueOf, announce, onRemove, onRetry: enqueue }));
  cards.unshift(...added);
  at("photos").prepend(...added.map((card) => card.node));
  for (const card of added) {
    const isOther = card.file.type && !card.file.type.startsWith("image/");
    if (isOther) card.setError(new ServiceError({ code: "image_type_unsupported" }));
    else enqueue(card);
  }
}

function enqueue(card) {
  card.setState("waiting");
  queue.push(card);
  pump();
}

function pump() {
  while (running < UPLOADS_AT_ONCE && queue.length) {
    running += 1;
    tag(queue.shift()).finally(() => {
      running -= 1;
      pump();
    });
  }
}

async function tag(card, retries = RETRIES) {
  if (card.controller.signal.aborted) return;
  const onProgress = (share) => card.setState(share < 1 ? "uploading" : "looking", share);
  card.setState("uploading", 0);
  try {
    const answer = await tagPhoto(card.file, QUERY, { onProgress, signal: card.controller.signal });
    card.setAnswer(answer);
    at("bundle").textContent = answer.bundle;
    countShown();
  } catch (error) {
    if (error.code === "aborted" || card.controller.signal.aborted) return;
    if ((error.status === 429 || error.status === 503) && error.retryAfter !== null && retries > 0) {
      await pause(card, Math.min(error.retryAfter, PAUSE_LIMIT_S));
      return tag(card, retries - 1);
    }
    if (error.status === 401 || error.status === 403) at("key-form").hidden = false;
    card.setError(error);
  }
}

async function pause(card, seconds) {
  for (let left = seconds; left > 0 && !card.controller.signal.aborted; left -= 1) {
    card.setState("pausing", left);
    await new Promise((resolve) => setTimeout(resolve, Math.min(left, 1) * 1000));
  }
}

function onRemove(card) {
  const place = cards.indexOf(card);
  cards.splice(place, 1);
  const waiting = queue.indexOf(card);
  if (waiting >= 0) queue.splice(waiting, 1);
  card.node.remove();
  (cards[place] ?? cards[place - 1])?.node.querySelector(".remove").focus();
  if (!cards.length) {
    document.body.dataset.state = "empty";
    at("file").focus();
  }
  announce(`${card.name} removed.`);
  countShown();
}

// ---- controls

function takePhotos() {
  at("file").addEventListener("change", (event) => {
    addFiles(event.target.files);
    event.target.value = "";
  });
  document.addEventListener("paste", (event) => addFiles(event.clipboardData?.files ?? []));
  let depth = 0; // dragenter and dragleave come in pairs for every element passed
  const drag = (change) => (event) => {
    event.preventDefault();
    depth = Math.max(0, depth + change);
    document.body.classList.toggle("dragging", depth > 0);
  };
  document.addEventListener("dragenter", drag(1));
  document.addEventListener("dragleave", drag(-1));
  document.addEventListener("dragover", (event) => event.preventDefault());
  document.addEventListener("drop", (event) => {
    drag(-Infinity)(event);
    addFiles(event.dataTransfer?.files ?? []);
  });
}

function chips(container, names, hiddenNames) {
  container.replaceChildren(
    ...names.map((name) => {
      const box = element("input", { type: "checkbox", value: name, class: "hidden" });
      box.checked = true;
      box.addEventListener("change", () => {
        if (box.checked) hiddenNames.delete(name);
        else hiddenNames.add(name);
        refresh();
      });
      return element("label", { class: "chip" }, box, title(name));
    }),
  );
}

function showAll() {
  for (const box of document.querySelectorAll(".chips input")) box.checked = true;
  hidden.categories.clear();
  hidden.attributes.clear();
  at("threshold").value = at("threshold").min;
  refresh();
}

async function readService() {
  try {
    const { categories } = await getJson("v1/ontology");
    categoryOrder = Object.keys(categories);
    const attributes = new Set(Object.values(categories).flatMap((category) => Object.keys(category.attributes)));
    chips(at("categories"), categoryOrder, hidden.categories);
    chips(at("attributes"), [...attributes], hidden.attributes);
    refresh();
  } catch (error) {
    if (error.status === 401 || error.status === 403) at("key-form").hidden = false;
  }
}

function takeKey() {
  at("key-form").addEventListener("submit", (event) => {
    event.preventDefault();
    accessKey.set(at("key").value.trim());
    at("key-form").hidden = true;
    at("file").focus();
    readService();
    for (const card of cards) if (card.node.dataset.state === "error") enqueue(card);
  });
}

takePhotos();
takeKey();
at("threshold").addEventListener("input", refresh);
at("show-all").addEventListener("click", showAll);
at("filters").open = matchMedia("(min-width: 60rem)").matches;
readService();
