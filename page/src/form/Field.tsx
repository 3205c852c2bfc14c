// One field of a form: the right control for its type, its unit, range and error.
import type { FieldSpec } from "./schema";
import { rangeOf } from "./schema";

interface Props {
  id: string;
  field: FieldSpec;
  /** What is typed, or the present value as text. */
  text: string;
  dirty: boolean;
  error: string | null;
  locked: boolean;
  onText: (text: string) => void;
  /** For controls that take hold at once: switches and choices. */
  onPick: (value: unknown) => void;
}

export function Field({ id, field, text, dirty, error, locked, onText, onPick }: Props) {
  const range = rangeOf(field.schema);
  const hint = [field.description, range && `Range: ${range} ${field.unit}`].filter(Boolean).join("\n");
  const described = error ? `${id}-error` : undefined;
  return (
    <div class={`field ${dirty ? "dirty" : ""} ${error ? "wrong" : ""}`}>
      <label for={id} title={hint}>
        {field.name}
        {field.apply === "reopen" && <small title="The node closes and opens again to change this">reopens</small>}
      </label>
      <div class="control">
        {control()}
        {field.unit && <span class="unit">{field.unit}</span>}
        {range && !locked && <span class="range">{range}</span>}
      </div>
      {error && (
        <p class="error" id={`${id}-error`} role="alert">
          {error}
        </p>
      )}
    </div>
  );

  function control() {
    if (locked) {
      return (
        <output id={id} class="mono" title={text}>
          {text || "–"}
        </output>
      );
    }
    const shared = { id, name: field.name, "aria-invalid": Boolean(error), "aria-describedby": described };
    switch (field.kind) {
      case "boolean":
        return (
          <input
            {...shared}
            type="checkbox"
            role="switch"
            checked={text === "true"}
            onChange={(event) => onPick(event.currentTarget.checked)}
          />
        );
      case "choice":
        return (
          <select
            {...shared}
            value={text}
            onChange={(event) => {
              const picked = event.currentTarget.value;
              onPick(field.choices.find((choice) => String(choice) === picked) ?? null);
            }}
          >
            {field.nullable && <option value="">none</option>}
            {field.choices.map((choice) => (
              <option key={String(choice)}>{String(choice)}</option>
            ))}
          </select>
        );
      case "json":
        return (
          <textarea
            {...shared}
            rows={Math.min(6, 1 + text.split("\n").length)}
            spellcheck={false}
            value={text}
            onInput={(event) => onText(event.currentTarget.value)}
          />
        );
      default:
        return (
          <input
            {...shared}
            type="text"
            class={field.kind === "text" ? "" : "mono"}
            inputMode={field.kind === "integer" ? "numeric" : field.kind === "number" ? "decimal" : "text"}
            autocomplete="off"
            spellcheck={false}
            value={text}
            placeholder={field.nullable ? "none" : ""}
            onInput={(event) => onText(event.currentTarget.value)}
          />
        );
    }
  }
}
