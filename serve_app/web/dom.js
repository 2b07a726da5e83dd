// Small helpers around the document.

export const at = (id) => document.getElementById(id);
export const percent = (score) => `${Math.round(score * 100)} %`;

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

// A checkbox or radio button that looks like a pill.
export function chip(text, { type = "checkbox", name, value, checked = false, onChange }) {
  const box = element("input", { type, name, value, class: "hidden" });
  box.checked = checked;
  if (onChange) box.addEventListener("change", () => onChange(box.checked));
  return element("label", { class: "chip" }, box, text);
}

export async function copyText(text) {
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
