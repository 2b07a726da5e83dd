// Shows openapi.json to people: requests, parameters, answers, errors and bodies.

import { getJson } from "./api.js";
import { at, element } from "./dom.js";

const base = new URL("./", location.href).href;

// Texts of the document know one mark: `code`.
function inline(text = "") {
  return text.split("`").map((part, index) => (index % 2 ? element("code", {}, part) : part));
}

function paragraphs(text) {
  return text.split(/\n\n+/).map((block) => {
    if (!block.startsWith("- ")) return element("p", {}, ...inline(block.replaceAll("\n", " ")));
    return element("ul", {}, ...block.split("\n").map((line) => element("li", {}, ...inline(line.slice(2)))));
  });
}

// A schema in few words: "list of Garment", "number, 0 to 1".
function kind(schema) {
  if (schema.$ref) return schema.$ref.split("/").pop();
  if (schema.anyOf) return schema.anyOf.map(kind).filter((name) => name !== "null").join(" or ");
  if (schema.enum) return schema.enum.join(" | ");
  if (schema.const !== undefined) return String(schema.const);
  if (schema.prefixItems) return `${schema.prefixItems.length} × ${kind(schema.prefixItems[0])}`;
  if (schema.type === "array") return `list of ${kind(schema.items)}`;
  if (schema.additionalProperties) return `name → ${kind(schema.additionalProperties)}`;
  if (schema.format === "binary") return "image file";
  if (!schema.type) return "anything";
  const range = schema.maximum !== undefined ? `, ${schema.minimum} to ${schema.maximum}` : "";
  return schema.type + range;
}

function table(caption, rows) {
  const lines = rows.map(([name, type, text]) =>
    element("tr", {}, element("th", { scope: "row" }, element("code", {}, name)), element("td", {}, type), element("td", {}, ...inline(text))),
  );
  return element("table", { "aria-label": caption }, element("tbody", {}, ...lines));
}

// Indented, but what is small and holds nothing further stays on one line.
function pretty(value) {
  return JSON.stringify(value, null, 2).replace(/[[{][^[\]{}]{1,90}[\]}]/g, (small) => small.replace(/\s+/g, " "));
}

const code = (value) => element("pre", { tabindex: 0 }, element("code", {}, pretty(value)));
const heading = (text) => element("h4", {}, text);

function operation(verb, path, { summary, parameters = [], requestBody, responses }) {
  const parts = [];
  if (requestBody) {
    const bodies = Object.entries(requestBody.content).map(([type, { schema }]) => [type, kind(schema), ""]);
    parts.push(heading("Body"), ...paragraphs(requestBody.description ?? ""), table("Bodies", bodies));
  }
  if (parameters.length) {
    const note = (schema) => (schema.type === "array" && !schema.items.const ? " Separate several by commas." : "");
    const rows = parameters.map(({ name, schema, description }) => [name, kind(schema), description + note(schema)]);
    parts.push(heading("Parameters, optional unless they stand in the path"), table("Parameters", rows));
  }
  const isAnswer = ([status]) => status.startsWith("2");
  for (const [status, { content }] of Object.entries(responses).filter(isAnswer)) {
    const { schema, examples = {} } = content["application/json"];
    parts.push(heading(`Answer ${status}: ${kind(schema)}`), ...Object.values(examples).map(({ value }) => code(value)));
  }
  const errors = Object.entries(responses).filter((response) => !isAnswer(response));
  parts.push(heading("Errors"), table("Errors", errors.map(([status, { description, headers }]) => [
    status, headers ? Object.keys(headers).join(", ") : "", description,
  ])));
  const title = element("summary", {}, element("span", { class: "verb" }, verb), element("code", {}, path), " ", element("span", { class: "quiet" }, summary));
  return element("details", { open: verb === "post" }, title, element("div", {}, ...parts));
}

function schemaCard(name, schema) {
  const rows = Object.entries(schema.properties).map(([field, property]) => [field, kind(property), property.description ?? ""]);
  const about = element("p", {}, ...inline(schema.description ?? ""));
  return element("details", {}, element("summary", {}, element("code", {}, name)), element("div", {}, about, table(name, rows)));
}

function showStart() {
  at("curl").textContent = `curl --data-binary @photo.jpg -H 'Content-Type: image/jpeg' ${base}v1/tag`;
  at("python").textContent = `from serve_app.client import TaggerClient

with TaggerClient("${base.replace(/\/$/, "")}") as tagger:
    for garment in tagger.tag("photo.jpg").garments:
        print(garment.category, garment.score, garment.attributes)`;
}

async function show() {
  showStart();
  try {
    const document_ = await getJson("openapi.json");
    at("about").append(...paragraphs(document_.info.description));
    for (const [path, methods] of Object.entries(document_.paths)) {
      at("operations").append(...Object.entries(methods).map(([verb, spec]) => operation(verb, path, spec)));
    }
    at("schemas").append(...Object.entries(document_.components.schemas).map(([name, schema]) => schemaCard(name, schema)));
  } catch {
    at("operations").append(element("p", {}, "The description could not be loaded. Reload the page to try again."));
  } finally {
    at("operations").setAttribute("aria-busy", "false");
  }
}

show();
