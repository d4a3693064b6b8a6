// The control for each kind of param. `read()` gives the value, or undefined to leave it to the server's default.

import { el } from "./dom.js";
import { choicesOf, paramsOf } from "./schema.js";

/** What was typed cannot be read; `message` says why. */
export class Unreadable extends Error {}

/** Make the control of a param: `{element, inputs, read()}`; a group has `inner` fields. */
export function controlFor(root, param, place) {
  const start = place.value === undefined ? param.fallback : place.value;
  return MAKERS[param.kind](param, { ...place, start, root });
}

const MAKERS = { choice, switch: checkbox, number, text, prose, lines, several, group, json };

function choice(param, place) {
  const choices = choicesOf(param);
  const open = param.nullable || param.fallback === undefined;
  const options = choices.map(([value, label], index) =>
    el("option", { value: index, selected: value === place.start }, label),
  );
  if (open) options.unshift(el("option", { value: "" }, param.needed ? "choose…" : "not set"));
  const select = el("select", { ...common(param, place) }, options);
  return {
    element: select,
    inputs: [select],
    read: () => (select.value === "" ? unset(param) : unlessDefault(choices[Number(select.value)][0], param)),
  };
}

function checkbox(param, place) {
  const input = el("input", { ...common(param, place), type: "checkbox", required: false, checked: place.start === true });
  return { element: input, inputs: [input], read: () => unlessDefault(input.checked, param) };
}

function number(param, place) {
  const { minimum, maximum, type } = param.schema;
  const step = type === "integer" ? 1 : "any";
  const given = { type: "number", inputmode: "decimal", min: minimum, max: maximum, step, value: place.start };
  const input = el("input", { ...common(param, place), ...given });
  return {
    element: input,
    inputs: [input],
    read: () => (input.value === "" ? unset(param) : unlessDefault(Number(input.value), param)),
  };
}

function text(param, place) {
  const { format, maxLength } = param.schema;
  const type = format === "password" ? "password" : format === "date" ? "date" : "text";
  const given = { type, maxlength: maxLength, value: place.start, autocomplete: "off", spellcheck: "false" };
  const input = el("input", { ...common(param, place), ...given });
  return { element: input, inputs: [input], read: () => textOf(input.value, param) };
}

function prose(param, place) {
  const area = el("textarea", { ...common(param, place), rows: 4, maxlength: param.schema.maxLength }, place.start ?? "");
  return { element: area, inputs: [area], read: () => textOf(area.value, param) };
}

function lines(param, place) {
  const start = (place.start ?? []).join("\n");
  const area = el("textarea", { ...common(param, place), rows: 3, spellcheck: "false" }, start);
  const numeric = param.schema.items.type !== "string";
  const parse = (line) => (numeric && line !== "" && !Number.isNaN(Number(line)) ? Number(line) : line);
  const read = () => {
    const found = area.value.split("\n").map((line) => line.trim()).filter(Boolean).map(parse);
    return found.length || !param.needed ? unlessDefault(found, param) : undefined;
  };
  return { element: area, inputs: [area], read };
}

function several(param, place) {
  const boxes = param.schema.items.enum.map((value) =>
    el("input", { type: "checkbox", checked: (place.start ?? []).includes(value), "aria-describedby": place.describedBy }),
  );
  const labels = param.schema.items.enum.map((value, index) => el("label", {}, boxes[index], ` ${value}`));
  const read = () => unlessDefault(param.schema.items.enum.filter((_, index) => boxes[index].checked), param);
  return { element: el("div", { class: "several" }, labels), inputs: boxes, read, isGroup: true };
}

function group(param, place) {
  const inner = paramsOf(place.root, param.schema).map((one) =>
    place.makeField(place.root, one, `${place.path}.${one.name}`, place.value?.[one.name]),
  );
  const read = () => {
    const pairs = inner.map((field) => [field.path.split(".").pop(), field.read()]);
    const found = Object.fromEntries(pairs.filter(([, value]) => value !== undefined));
    return Object.keys(found).length || param.needed ? found : undefined;
  };
  const element = el("div", { class: "fields" }, inner.map((field) => field.element));
  return { element, inputs: [], read, inner, isGroup: true };
}

function json(param, place) {
  const start = place.start === undefined || place.start === null ? "" : JSON.stringify(place.start, null, 2);
  const area = el("textarea", { ...common(param, place), class: "mono", rows: 3, spellcheck: "false" }, start);
  const read = () => {
    if (!area.value.trim()) return unset(param);
    try {
      return unlessDefault(JSON.parse(area.value), param);
    } catch (error) {
      throw new Unreadable(`This is not JSON: ${error.message}`);
    }
  };
  return { element: area, inputs: [area], read };
}

function common(param, { id, path, describedBy }) {
  return { id, "data-path": path, "aria-describedby": describedBy, required: param.needed && !param.nullable };
}

/** What an empty control stands for: null where the default is another, else nothing. */
function unset(param) {
  return param.nullable && param.fallback !== null && param.fallback !== undefined ? null : undefined;
}

function textOf(value, param) {
  if (value !== "") return unlessDefault(value, param);
  return param.nullable || param.fallback === undefined ? unset(param) : unlessDefault("", param);
}

function unlessDefault(value, param) {
  return JSON.stringify(value) === JSON.stringify(param.fallback) ? undefined : value;
}
