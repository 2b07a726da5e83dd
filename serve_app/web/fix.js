// The dialog in which a person says what a garment really is; the service keeps it for training.

import { explain, postJson } from "./api.js";
import { at, chip } from "./dom.js";
import { attributeName, attributeOf, categoryName, ontology, title, valueName } from "./names.js";

const CATEGORY = "category"; // stands for an attribute where the garment itself is wrong
let keep = null; // sends what is chosen
let done = null; // is told what was kept, once the dialog is closed

// Asks about one attribute of an answered garment, or its category; onKept(values) once the service has it.
export function askWhatIsRight({ answer, garment, attribute, photo, given, onKept }) {
  const isCategory = attribute === CATEGORY;
  const isSingle = isCategory || attributeOf(garment.category, attribute).choice === "single";
  const choices = isCategory ? Object.keys(ontology.categories) : attributeOf(garment.category, attribute).values;
  const name = isCategory ? categoryName : (value) => valueName(attribute, value);
  at("fix-title").textContent = isCategory ? "Which garment is it?" : `${title(categoryName(garment.category))}: ${attributeName(attribute)}`;
  at("fix-hint").textContent = isSingle ? "What is right?" : "What is right? Choose all that fit.";
  at("fix-problem").textContent = "";
  at("fix-choices").replaceChildren(
    ...choices.map((value) =>
      isSingle
        ? chip(title(name(value)), { type: "radio", name: "right", value, checked: given[0] === value })
        : chip(title(name(value)), { name: "right", value, checked: given.includes(value) }),
    ),
  );
  keep = async (values) => {
    const { category, box } = garment;
    await postJson("v1/feedback", { request_id: answer.request_id, garment: { category, box }, attribute, values, photo });
  };
  done = onKept;
  at("fix").showModal();
}

async function submit(event) {
  event.preventDefault();
  const values = [...at("fix-choices").querySelectorAll(":checked")].map((box) => box.value);
  if (!values.length) {
    at("fix-problem").textContent = "Choose what is right first.";
    return;
  }
  const button = event.submitter ?? event.target.querySelector("[type=submit]");
  button.disabled = true;
  try {
    await keep(values);
    at("fix").close();
    done(values);
  } catch (error) {
    const { title: heading, hint } = explain(error);
    at("fix-problem").textContent = `${heading}. ${hint}`;
  } finally {
    button.disabled = false;
  }
}

at("fix").querySelector("form").addEventListener("submit", submit);
at("fix-cancel").addEventListener("click", () => at("fix").close());
