// One field of the form: its label, its control, its hint, and what is wrong with it.

import { controlFor } from "./controls.js";
import { el, put, show } from "./dom.js";

let number = 0;

/** Make a field for a param: `{element, path, read(), check(), setProblem(text), focus()}`. */
export function makeField(root, param, path, value) {
  number += 1;
  const id = `field-${number}`;
  const control = controlFor(root, param, { id, path, value, makeField, describedBy: `${id}-hint ${id}-problem` });
  const problem = el("p", { class: "field-problem", id: `${id}-problem`, hidden: true });
  const hint = el("p", { class: "hint", id: `${id}-hint` }, [param.about, ranges(param)].filter(Boolean).join(" · "));
  const element = wrap(param, control, id, hint, problem);
  return {
    element,
    path,
    inner: control.inner ?? [],
    read: control.read,
    check: () => control.inputs.find((input) => !input.checkValidity())?.validationMessage ?? "",
    setProblem(text) {
      put(problem, text);
      show(problem, text !== "");
      for (const input of control.inputs) {
        if (text) input.setAttribute("aria-invalid", "true");
        else input.removeAttribute("aria-invalid");
      }
    },
    focus: () => control.inputs[0]?.focus(),
  };
}

function ranges(param) {
  const parts = [param.bounds];
  if (param.kind === "lines") parts.push("one a line");
  if (param.kind === "json") parts.push("as JSON");
  if (param.kind === "text" && param.schema.examples) parts.push(`such as ${param.schema.examples[0]}`);
  return parts.filter(Boolean).join(", ");
}

function wrap(param, control, id, hint, problem) {
  const needed = param.needed ? el("span", { class: "needed" }, "needed") : null;
  if (control.isGroup) {
    return el("fieldset", { class: "field group" }, el("legend", {}, param.name, needed), hint, control.element, problem);
  }
  if (param.kind === "switch") {
    return el("div", { class: "field check" }, el("label", {}, control.element, " ", param.name), hint, problem);
  }
  return el("div", { class: "field" }, el("label", { for: id }, param.name, needed), control.element, hint, problem);
}
