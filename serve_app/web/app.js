// The page: takes photos in, tags two at a time, and filters what is shown without asking again.

import { ServiceError, accessKey, getJson, tagPhoto } from "./api.js";
import { Card } from "./card.js";
import { at, chip, element } from "./dom.js";
import { askWhatIsRight } from "./fix.js";
import { attributeName, categoryName, choose, language, learn, ontology, title } from "./names.js";

const UPLOADS_AT_ONCE = 2;
const RETRIES = 3;
const PAUSE_LIMIT_S = 30;
// Low and wide, so that the slider has something to reveal.
const QUERY = { min_score: "0.2", top_k: "5" };
const HUES = 8;

const cards = [];
const queue = [];
const hidden = { categories: new Set(), attributes: new Set() };
let running = 0;
let categoryOrder = [];

const announce = (text) => (at("live").textContent = text);
const passes = ({ score }) => score >= Number(at("threshold").value) / 100;

function hueOf(category) {
  if (!categoryOrder.includes(category)) categoryOrder.push(category);
  return categoryOrder.indexOf(category) % HUES;
}

// The garments of a photo to show, with the values that pass; what a person corrected passes always.
function filter({ answer, corrections }) {
  return answer.garments
    .map((garment, index) => ({ garment, index, corrected: corrections[index] ?? {} }))
    .filter(({ garment }) => passes(garment) && !hidden.categories.has(garment.category))
    .map((item) => ({ ...item, attributes: shownAttributes(item) }));
}

function shownAttributes({ garment, corrected }) {
  const shown = Object.entries(garment.attributes).filter(([attribute]) => !hidden.attributes.has(attribute));
  return Object.fromEntries(
    shown.map(([attribute, values]) => {
      const right = corrected[attribute]?.map((value) => ({ value, score: 1 }));
      return [attribute, right ?? values.filter(passes)];
    }),
  );
}

function refresh() {
  at("threshold-value").textContent = `${at("threshold").value} %`;
  for (const card of cards) card.render();
  countShown();
}

function countShown() {
  const answered = cards.filter((card) => card.answer);
  const all = answered.reduce((sum, { answer }) => sum + answer.garments.length, 0);
  const shown = answered.reduce((sum, card) => sum + filter(card).length, 0);
  at("shown").textContent = all ? `${shown} of ${all} shown` : "";
}

// ---- photos in, answers out

function addFiles(files) {
  if (!files.length) return;
  document.body.dataset.state = "filled";
  const hooks = { filter, passes, hueOf, announce, onRemove, onRetry: enqueue, onFix: correct };
  const added = [...files].map((file) => new Card(file, hooks));
  cards.unshift(...added);
  at("photos").prepend(...added.map((card) => card.node));
  for (const card of added) {
    const isOther = card.file.type && !card.file.type.startsWith("image/");
    if (isOther) card.refuse(new ServiceError({ code: "image_type_unsupported" }));
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
    const query = language ? { ...QUERY, lang: language } : QUERY;
    const answer = await tagPhoto(card.file, query, { onProgress, signal: card.controller.signal });
    card.setAnswer(answer);
    at("bundle").textContent = answer.bundle;
    countShown();
  } catch (error) {
    if (error.code === "aborted" || card.controller.signal.aborted) return;
    if ([429, 503].includes(error.status) && (error.retryAfter ?? Infinity) <= PAUSE_LIMIT_S && retries > 0) {
      await pause(card, error.retryAfter);
      return tag(card, retries - 1);
    }
    askForKey(error);
    card.setError(error);
  }
}

async function pause(card, seconds) {
  for (let left = seconds; left > 0 && !card.controller.signal.aborted; left -= 1) {
    card.setState("pausing", left);
    await new Promise((resolve) => setTimeout(resolve, Math.min(left, 1) * 1000));
  }
}

function correct(card, index, attribute) {
  const { answer, corrections, file } = card;
  const garment = answer.garments[index];
  const answered = attribute === "category" ? [garment.category] : garment.attributes[attribute].filter(passes).map(({ value }) => value);
  const given = corrections[index]?.[attribute] ?? answered;
  const onKept = (values) => card.correct(index, attribute, values);
  askWhatIsRight({ answer, garment, attribute, photo: file.name || undefined, given, onKept });
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
  // Browsers call every pasted picture image.png; a correction shall not name a file that is none.
  const nameless = (file) => new File([file], "", { type: file.type });
  document.addEventListener("paste", (event) => addFiles([...(event.clipboardData?.files ?? [])].map(nameless)));
  for (const button of document.querySelectorAll(".examples button")) button.addEventListener("click", takeExample);
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

async function takeExample({ currentTarget }) {
  const { src } = currentTarget.querySelector("img");
  const blob = await (await fetch(src)).blob();
  addFiles([new File([blob], src.split("/").pop(), { type: blob.type })]);
}

function filterChips(container, names, nameOf, hiddenNames) {
  const toggle = (name) => (isShown) => {
    if (isShown) hiddenNames.delete(name);
    else hiddenNames.add(name);
    refresh();
  };
  container.replaceChildren(
    ...names.map((name) =>
      chip(title(nameOf(name)), { value: name, checked: !hiddenNames.has(name), onChange: toggle(name) }),
    ),
  );
}

function showFilters() {
  const attributes = new Set(Object.values(ontology.categories).flatMap((category) => Object.keys(category.attributes)));
  filterChips(at("categories"), Object.keys(ontology.categories), categoryName, hidden.categories);
  filterChips(at("attributes"), [...attributes], attributeName, hidden.attributes);
  refresh();
}

function showAll() {
  hidden.categories.clear();
  hidden.attributes.clear();
  at("threshold").value = at("threshold").min;
  showFilters();
}

async function readService() {
  try {
    learn(await getJson("v1/ontology"));
    categoryOrder = Object.keys(ontology.categories);
    const languages = Object.entries(ontology.languages);
    at("language").replaceChildren(...languages.map(([value, { title }]) => element("option", { value }, title)));
    at("language").value = language;
    showFilters();
  } catch (error) {
    askForKey(error);
  }
}

function askForKey({ code, status }) {
  if (status !== 401 && status !== 403) return;
  const isRefused = code === "key_refused";
  document.querySelector("[for=key]").textContent = isRefused ? "The access key was refused; enter another one" : "This service asks for an access key";
  at("key-form").hidden = false;
}

function takeKey() {
  at("key-form").addEventListener("submit", (event) => {
    event.preventDefault();
    accessKey.set(at("key").value.trim());
    at("key").value = "";
    at("key-form").hidden = true;
    at("file").focus();
    readService();
    for (const card of cards.filter((card) => card.node.matches("[data-state=error]:not(.small)"))) enqueue(card);
  });
}

takePhotos();
takeKey();
at("threshold").addEventListener("input", refresh);
at("show-all").addEventListener("click", showAll);
at("language").addEventListener("change", (event) => {
  choose(event.target.value);
  showFilters();
});
at("filters").open = matchMedia("(min-width: 60rem)").matches;
readService();
