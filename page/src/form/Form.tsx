// A form for a JSON schema: typed fields wait for Enter or Apply, switches and choices act at once.
import { useSignal } from "@preact/signals";
import { useId } from "preact/hooks";
import { Refused, type Schema, type Values } from "../api";
import { message } from "../store";
import { Field } from "./Field";
import { fieldsOf, parse, show, type FieldSpec } from "./schema";

interface Props {
  schema: Schema;
  values: Values;
  /** Send the values; an error that names a field is shown at the field. */
  apply: (values: Values) => Promise<unknown>;
  /** Fields that cannot be changed here although the schema would let one. */
  locked?: (field: FieldSpec) => boolean;
  only?: (field: FieldSpec) => boolean;
}

const without = (texts: Record<string, string>, names: Values) =>
  Object.fromEntries(Object.entries(texts).filter(([name]) => !(name in names)));

export function Form({ schema, values, apply, locked, only }: Props) {
  const id = useId();
  const typed = useSignal<Record<string, string>>({});
  const errors = useSignal<Record<string, string>>({});
  /** Switches and choices that were just made and are on their way. */
  const picked = useSignal<Record<string, string>>({});
  const busy = useSignal(false);
  const fields = fieldsOf(schema).filter((f) => only?.(f) ?? true);
  const isLocked = (f: FieldSpec) => f.readonly || (locked?.(f) ?? false);
  const changed = fields.filter(
    (f) => f.name in typed.value && typed.value[f.name] !== show(f, values[f.name]),
  );

  async function send(wanted: Values): Promise<void> {
    busy.value = true;
    try {
      await apply(wanted);
      typed.value = without(typed.value, wanted);
      errors.value = {};
    } catch (error) {
      const named = error instanceof Refused ? Object.entries(error.fields) : [];
      const here = named.filter(([name]) => fields.some((f) => f.name === name));
      errors.value = here.length ? Object.fromEntries(here) : { "": message(error) };
    } finally {
      picked.value = without(picked.value, wanted);
      busy.value = false;
    }
  }

  function submit(event: Event): void {
    event.preventDefault();
    const wanted: Values = {};
    const wrong: Record<string, string> = {};
    for (const field of changed) {
      const parsed = parse(field, typed.value[field.name] ?? "");
      if ("error" in parsed) wrong[field.name] = parsed.error;
      else wanted[field.name] = parsed.value;
    }
    errors.value = wrong;
    if (!Object.keys(wrong).length && changed.length) void send(wanted);
  }

  function revert(): void {
    typed.value = {};
    errors.value = {};
  }

  const one = (field: FieldSpec) => (
    <Field
      key={field.name}
      id={`${id}-${field.name}`}
      field={field}
      text={picked.value[field.name] ?? typed.value[field.name] ?? show(field, values[field.name])}
      dirty={changed.includes(field)}
      error={errors.value[field.name] ?? null}
      locked={isLocked(field)}
      onText={(text) => {
        typed.value = { ...typed.value, [field.name]: text };
        const parsed = parse(field, text);
        const { [field.name]: _, ...others } = errors.value;
        errors.value = "error" in parsed ? { ...others, [field.name]: parsed.error } : others;
      }}
      onPick={(value) => {
        picked.value = { ...picked.value, [field.name]: show(field, value) };
        void send({ [field.name]: value });
      }}
    />
  );
  const group = (title: string, wanted: FieldSpec[]) =>
    wanted.length > 0 && (
      <details>
        <summary>
          {title} <small>{wanted.length}</small>
        </summary>
        {wanted.map(one)}
      </details>
    );
  const plainly = fields.filter((f) => !f.advanced && !isLocked(f));
  const told = fields.filter((f) => f.readonly);
  const fixed = fields.filter((f) => isLocked(f) && !f.readonly);
  const advanced = fields.filter((f) => f.advanced && !isLocked(f));

  return (
    <form
      class="form"
      onSubmit={submit}
      onKeyDown={(event) => event.key === "Escape" && revert()}
      noValidate
    >
      {plainly.map(one)}
      {told.map(one)}
      {errors.value[""] && (
        <p class="error" role="alert">
          {errors.value[""]}
        </p>
      )}
      {changed.length > 0 && (
        <div class="apply">
          <button class="primary" disabled={busy.value}>
            Apply {changed.length > 1 ? `${changed.length} changes` : ""}
          </button>
          <button type="button" onClick={revert}>
            Revert
          </button>
          <small class="dim">Enter applies, Esc reverts</small>
        </div>
      )}
      {group("Advanced", advanced)}
      {group("Fixed while the session runs", fixed)}
    </form>
  );
}
