// What a JSON Schema asks for, as far as a form can draw it; the server has the last word on every value.

const LONG_TEXT = 1_000;
const SIMPLE = new Set(["string", "integer", "number"]);

/** The params of a schema: `[{name, need, ...shape}]`. */
export function paramsOf(root, schema = root) {
  const required = new Set(schema.required ?? []);
  return Object.entries(schema.properties ?? {}).map(([name, own]) => ({
    name,
    needed: required.has(name),
    ...shapeOf(root, own),
  }));
}

/** `{kind, schema, nullable, fallback, about, bounds}`; `fallback` is the default, undefined where there is none. */
export function shapeOf(root, own) {
  const { schema, nullable } = unwrap(root, own);
  return {
    kind: kindOf(root, schema, nullable),
    schema,
    nullable,
    fallback: own.default,
    about: own.description ?? schema.description ?? "",
    bounds: boundsOf(schema),
  };
}

function unwrap(root, own) {
  const followed = follow(root, own);
  const some = followed.anyOf?.filter((one) => one.type !== "null");
  if (!some) return { schema: followed, nullable: followed.type === undefined && !followed.enum };
  const nullable = some.length < followed.anyOf.length;
  return some.length === 1 ? { schema: follow(root, some[0]), nullable } : { schema: {}, nullable };
}

function follow(root, schema) {
  let found = schema;
  for (let depth = 0; found.$ref && depth < 20; depth += 1) {
    const { $ref, ...beside } = found;
    found = { ...(root.$defs?.[$ref.split("/").pop()] ?? {}), ...beside };
  }
  return found;
}

function kindOf(root, schema, nullable) {
  if (schema.enum) return "choice";
  if (schema.type === "boolean") return nullable ? "choice" : "switch";
  if (schema.type === "integer" || schema.type === "number") return "number";
  if (schema.type === "string") return (schema.maxLength ?? 0) > LONG_TEXT ? "prose" : "text";
  if (schema.type === "array") return listKind(follow(root, schema.items ?? {}));
  if (schema.type === "object" && schema.properties && !nullable) return "group";
  return "json";
}

function listKind(items) {
  if (items.enum) return "several";
  return SIMPLE.has(items.type) ? "lines" : "json";
}

function boundsOf({ minimum, maximum, exclusiveMinimum, minLength, maxLength, type }) {
  if (minimum !== undefined && maximum !== undefined) return `${minimum} to ${maximum}`;
  if (minimum !== undefined) return `from ${minimum}`;
  if (exclusiveMinimum !== undefined) return maximum === undefined ? `above ${exclusiveMinimum}` : `above ${exclusiveMinimum}, up to ${maximum}`;
  if (maximum !== undefined) return `up to ${maximum}`;
  if (type === "string" && minLength > 1) return `${minLength} to ${maxLength} characters`;
  return "";
}

/** The choices of a `choice`: `[value, label]`. */
export function choicesOf({ schema }) {
  if (schema.enum) return schema.enum.map((value) => [value, String(value)]);
  return [
    [true, "yes"],
    [false, "no"],
  ];
}
