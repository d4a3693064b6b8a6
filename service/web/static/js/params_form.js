// The form of a processor's params, drawn from its JSON Schema; errors of the server appear at their fields.

import { Unreadable } from "./controls.js";
import { el, put } from "./dom.js";
import { makeField } from "./field.js";
import { paramsOf } from "./schema.js";

export class ParamsForm {
  #fields = [];
  #problem;

  /** `place` holds the fields, `problem` says what fits no field. */
  constructor(place, problem) {
    this.place = place;
    this.#problem = problem;
  }

  /** Draw the fields of a processor, with these values or the defaults. */
  draw(schema, values = {}) {
    this.#fields = paramsOf(schema).map((param) => makeField(schema, param, `params.${param.name}`, values[param.name]));
    const needed = this.#fields.map((field) => field.element);
    put(this.place, needed.length ? needed : el("p", { class: "muted" }, "It takes no params."));
    this.clearProblems();
  }

  /** Read the params, or show what is wrong and return null. */
  read() {
    this.clearProblems();
    const params = {};
    const wrong = [];
    for (const field of this.#fields) {
      const problem = this.#readInto(params, field);
      if (problem) wrong.push({ field: problem.path, message: problem.text });
    }
    if (wrong.length) this.showProblems(wrong);
    return wrong.length ? null : params;
  }

  /** Show the server's errors at their fields, and the rest below the form. */
  showProblems(errors, otherwise = "") {
    const homeless = [];
    let first = null;
    for (const error of errors) {
      const field = this.#fieldOf(error.field);
      if (field) field.setProblem(error.message);
      else homeless.push(`${error.field}: ${error.message}`);
      first ??= field;
    }
    put(this.#problem, homeless.join("; ") || (errors.length ? "" : otherwise));
    first?.focus();
  }

  clearProblems() {
    for (const field of this.#all()) field.setProblem("");
    put(this.#problem);
  }

  #readInto(params, field) {
    const bad = [field, ...field.inner].map((one) => ({ path: one.path, text: one.check() })).find((one) => one.text);
    if (bad) return bad;
    try {
      const value = field.read();
      if (value !== undefined) params[field.path.slice("params.".length)] = value;
      return null;
    } catch (error) {
      if (error instanceof Unreadable) return { path: field.path, text: error.message };
      throw error;
    }
  }

  #all() {
    const open = [...this.#fields];
    for (const field of open) open.push(...field.inner);
    return open;
  }

  #fieldOf(path) {
    const holds = (field) => path === field.path || path.startsWith(`${field.path}.`);
    return this.#all().filter(holds).sort((one, other) => other.path.length - one.path.length)[0] ?? null;
  }
}
