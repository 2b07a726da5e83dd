// What garments, attributes and values are called in the language that the visitor chose; the service knows all names.

const STORED = "fashion-tagger-language";
const UNTAGGED = ["none", "not_visible"];

export let ontology = { categories: {}, languages: {}, takes_feedback: false };
export let language = ""; // as the parameter `lang` takes it

export function learn(answer) {
  ontology = answer;
  const wanted = [localStorage.getItem(STORED), navigator.language.slice(0, 2), "en"];
  language = wanted.find((code) => code in ontology.languages) ?? "";
}

export function choose(code) {
  language = code;
  localStorage.setItem(STORED, code);
}

const labels = () => ontology.languages[language] ?? {};
const words = (name) => name.replaceAll("_", " ");

export const title = (text) => text.replace(/^./, (letter) => letter.toUpperCase());
export const categoryName = (name) => labels().categories?.[name] ?? words(name);
export const attributeName = (name) => labels().attributes?.[name] ?? words(name);
export const valueName = (attribute, name) => labels().values?.[attribute]?.[name] ?? words(name);

// The attribute as the ontology describes it: { choice, values }.
export const attributeOf = (category, name) => ontology.categories[category]?.attributes[name];

// What a shown garment has, in words: of a single choice the best value, of several all that are shown.
export function tagsOf({ garment, attributes }) {
  const values = Object.entries(attributes).flatMap(([attribute, found]) => {
    const isSingle = attributeOf(garment.category, attribute)?.choice === "single";
    const held = found.slice(0, isSingle ? 1 : undefined).filter(({ value }) => !UNTAGGED.includes(value));
    return held.map(({ value }) => valueName(attribute, value));
  });
  return [...new Set(values)];
}
