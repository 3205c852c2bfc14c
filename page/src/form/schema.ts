// From a JSON schema to the fields of a form, and from typed text to values.
import type { Schema, Values } from "../api";
import { plain } from "../format";

export type Kind = "number" | "integer" | "boolean" | "choice" | "text" | "list" | "json";

export interface FieldSpec {
  name: string;
  kind: Kind;
  unit: string;
  description: string;
  choices: unknown[];
  nullable: boolean;
  required: boolean;
  readonly: boolean;
  advanced: boolean;
  follows: boolean;
  apply: "live" | "reopen" | "start";
  schema: Schema;
  /** For lists: what each entry must be. */
  entries: Schema[];
  fallback: unknown;
}

export type Parsed = { value: unknown } | { error: string };

/** The fields of an object schema, in its order. */
export function fieldsOf(schema: Schema): FieldSpec[] {
  const defs = schema.$defs ?? {};
  const required = new Set(schema.required ?? []);
  return Object.entries(schema.properties ?? {}).map(([name, property]) =>
    fieldOf(name, property, defs, required.has(name)),
  );
}

function fieldOf(
  name: string,
  property: Schema,
  defs: Record<string, Schema>,
  required: boolean,
): FieldSpec {
  const { schema, nullable } = unwrap(property, defs);
  const items = typeof schema.items === "object" ? unwrap(schema.items, defs).schema : undefined;
  const entries = schema.prefixItems?.map((s) => unwrap(s, defs).schema) ?? (items ? [items] : []);
  return {
    name,
    kind: kindOf(schema, entries),
    unit: property.unit ?? "",
    description: property.description ?? schema.description ?? "",
    choices: schema.enum ?? (schema.const !== undefined ? [schema.const] : []),
    nullable,
    required,
    readonly: property.readonly ?? false,
    advanced: property.advanced ?? false,
    follows: property.follows ?? false,
    apply: property.apply ?? "live",
    schema,
    entries,
    fallback: property.default,
  };
}

/** Follow references and take `null` out of unions. */
function unwrap(
  schema: Schema,
  defs: Record<string, Schema>,
): { schema: Schema; nullable: boolean } {
  let nullable = false;
  let found = schema;
  for (let depth = 0; depth < 8; depth++) {
    if (found.$ref) {
      const target = defs[found.$ref.replace("#/$defs/", "")];
      if (!target) break;
      found = { ...found, ...target, $ref: undefined };
    } else if (found.allOf?.length === 1) {
      found = { ...found, ...found.allOf[0], allOf: undefined };
    } else if (found.anyOf) {
      const others = found.anyOf.filter((s) => s.type !== "null");
      nullable ||= others.length < found.anyOf.length;
      if (others.length !== 1) break;
      found = { ...found, ...others[0], anyOf: undefined };
    } else break;
  }
  return { schema: found, nullable };
}

const SIMPLE = new Set(["number", "integer", "string"]);

function kindOf(schema: Schema, entries: Schema[]): Kind {
  if (schema.enum || schema.const !== undefined) return "choice";
  switch (schema.type) {
    case "number":
    case "integer":
    case "boolean":
      return schema.type;
    case "string":
      return "text";
    case "array":
      return entries.length > 0 && entries.every((e) => SIMPLE.has(e.type ?? "")) ? "list" : "json";
    default:
      return "json";
  }
}

/** The allowed range as a person reads it; empty where anything goes. */
export function rangeOf(schema: Schema): string {
  const lo = schema.minimum ?? schema.exclusiveMinimum;
  const hi = schema.maximum ?? schema.exclusiveMaximum;
  const above = schema.exclusiveMinimum !== undefined && schema.minimum === undefined;
  const below = schema.exclusiveMaximum !== undefined && schema.maximum === undefined;
  if (lo !== undefined && hi !== undefined && !above && !below) return `${plain(lo)} – ${plain(hi)}`;
  const parts = [];
  if (lo !== undefined) parts.push(`${above ? ">" : "≥"} ${plain(lo)}`);
  if (hi !== undefined) parts.push(`${below ? "<" : "≤"} ${plain(hi)}`);
  return parts.join(", ");
}

export function show(field: FieldSpec, value: unknown): string {
  if (value === null || value === undefined) return "";
  if (typeof value === "number") return plain(value);
  if (field.kind === "list" && Array.isArray(value)) {
    return value.map((v) => (typeof v === "number" ? plain(v) : String(v))).join(", ");
  }
  return typeof value === "string" ? value : JSON.stringify(value);
}

/** What the typed text means, or why it means nothing that the field can take. */
export function parse(field: FieldSpec, text: string): Parsed {
  const typed = text.trim();
  if (typed === "" && field.kind !== "text") {
    if (field.nullable) return { value: null };
    if (field.kind === "list") return parseList(field, []);
    return { error: `nothing given, expected ${expected(field.schema)}` };
  }
  switch (field.kind) {
    case "number":
    case "integer":
      return parseNumber(field.schema, typed);
    case "list":
      return parseList(field, typed.split(/[,;\s]+/).filter(Boolean));
    case "json":
      try {
        return { value: JSON.parse(typed) };
      } catch {
        return { error: "not JSON: expected for example [1, 2] or {\"x\": 1}" };
      }
    case "text":
      if (typed === "" && field.nullable) return { value: null };
      return parseText(field.schema, text);
    default:
      return { value: text };
  }
}

function parseNumber(schema: Schema, typed: string): Parsed {
  const value = Number(typed.replace("\u2212", "-"));
  const found = `found ${typed}, expected ${expected(schema)}`;
  if (!Number.isFinite(value)) return { error: found };
  if (schema.type === "integer" && !Number.isInteger(value)) return { error: found };
  const { minimum, maximum, exclusiveMinimum, exclusiveMaximum } = schema;
  if (
    (minimum !== undefined && value < minimum) ||
    (maximum !== undefined && value > maximum) ||
    (exclusiveMinimum !== undefined && value <= exclusiveMinimum) ||
    (exclusiveMaximum !== undefined && value >= exclusiveMaximum)
  ) {
    return { error: found };
  }
  return { value };
}

function parseText(schema: Schema, text: string): Parsed {
  const { minLength, maxLength, pattern } = schema;
  if (minLength !== undefined && text.length < minLength) {
    return { error: `expected at least ${minLength} characters` };
  }
  if (maxLength !== undefined && text.length > maxLength) {
    return { error: `expected at most ${maxLength} characters` };
  }
  if (pattern !== undefined && !matches(pattern, text)) {
    return { error: `found "${text}", expected text like ${pattern}` };
  }
  return { value: text };
}

/** A pattern that this browser cannot read is left to the server. */
function matches(pattern: string, text: string): boolean {
  try {
    return new RegExp(pattern, "u").test(text);
  } catch {
    return true;
  }
}

function parseList(field: FieldSpec, parts: string[]): Parsed {
  const { minItems, maxItems, prefixItems } = field.schema;
  if (
    (minItems !== undefined && parts.length < minItems) ||
    (maxItems !== undefined && parts.length > maxItems)
  ) {
    const wanted = minItems === maxItems ? `${minItems}` : `${minItems ?? 0} to ${maxItems ?? "any"}`;
    return { error: `found ${parts.length} values, expected ${wanted}, separated by commas` };
  }
  const values: unknown[] = [];
  for (const [i, part] of parts.entries()) {
    const entry = prefixItems ? field.entries[i] : field.entries[0];
    if (!entry) return { error: `found ${parts.length} values, expected ${field.entries.length}` };
    const parsed = entry.type === "string" ? parseText(entry, part) : parseNumber(entry, part);
    if ("error" in parsed) return parsed;
    values.push(parsed.value);
  }
  return { value: values };
}

function expected(schema: Schema): string {
  const noun = schema.type === "integer" ? "a whole number" : "a number";
  const range = rangeOf(schema);
  return range ? `${noun} ${range}` : noun;
}

/** The defaults of a form that starts empty, such as the arguments of an action. */
export function defaults(fields: FieldSpec[]): Values {
  return Object.fromEntries(fields.map((f) => [f.name, f.fallback ?? null]));
}
