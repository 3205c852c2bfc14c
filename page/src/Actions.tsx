// The actions of a node as buttons; those with arguments open a small form.
import { useSignal } from "@preact/signals";
import { useId } from "preact/hooks";
import { doAction, Refused, type ActionInfo, type Values } from "./api";
import { Field } from "./form/Field";
import { fieldsOf, parse, show } from "./form/schema";
import { message, progress } from "./store";

export function Actions({ node, actions }: { node: string; actions: Record<string, ActionInfo> }) {
  const names = Object.keys(actions);
  const open = useSignal<string | null>(null);
  const running = useSignal<string[]>([]);
  const said = useSignal<{ text: string; bad: boolean } | null>(null);
  if (!names.length) return null;

  async function run(action: string, args: Values): Promise<void> {
    running.value = [...running.value, action];
    said.value = null;
    try {
      const { answer } = await doAction(node, action, args);
      const text = answer === null || answer === undefined ? "done" : JSON.stringify(answer);
      said.value = { text: `${action}: ${text}`, bad: false };
      open.value = null;
    } catch (error) {
      if (error instanceof Refused && Object.keys(error.fields).length) throw error;
      said.value = { text: message(error), bad: true };
    } finally {
      running.value = running.value.filter((name) => name !== action);
      const { [`${node}.${action}`]: _, ...others } = progress.value;
      progress.value = others;
    }
  }

  const opened = open.value && actions[open.value];
  return (
    <div class="actions">
      <div class="buttons">
        {names.map((name) => {
          const info = actions[name]!;
          const asks = Object.keys(info.schema.properties ?? {}).length > 0;
          return (
            <button
              key={name}
              title={info.doc}
              aria-expanded={asks ? open.value === name : undefined}
              disabled={running.value.includes(name)}
              onClick={() =>
                asks ? (open.value = open.value === name ? null : name) : void run(name, {})
              }
            >
              {name.replaceAll("_", " ")}
              {asks && "…"}
            </button>
          );
        })}
      </div>
      {opened && open.value && (
        <Arguments key={open.value} name={open.value} info={opened} run={run} />
      )}
      {running.value.map((name) => {
        const at = progress.value[`${node}.${name}`];
        return (
          <label key={name} class="progress">
            {name} {at?.text}
            <progress value={at ? at.fraction : undefined} max={1} />
          </label>
        );
      })}
      {said.value && (
        <p class={said.value.bad ? "error" : "said"} role="status">
          {said.value.text}
        </p>
      )}
    </div>
  );
}

interface ArgumentsProps {
  name: string;
  info: ActionInfo;
  run: (action: string, args: Values) => Promise<void>;
}

function Arguments({ name, info, run }: ArgumentsProps) {
  const id = useId();
  const fields = fieldsOf(info.schema);
  const texts = useSignal<Record<string, string>>(
    Object.fromEntries(fields.map((f) => [f.name, show(f, f.fallback)])),
  );
  const errors = useSignal<Record<string, string>>({});

  async function submit(event: Event): Promise<void> {
    event.preventDefault();
    const args: Values = {};
    const wrong: Record<string, string> = {};
    for (const field of fields) {
      const text = texts.value[field.name] ?? "";
      // An argument that is left as it was is left to the node's own default.
      if (!field.required && text === show(field, field.fallback)) continue;
      const parsed = field.kind === "boolean" ? { value: text === "true" } : parse(field, text);
      if ("error" in parsed) wrong[field.name] = parsed.error;
      else args[field.name] = parsed.value;
    }
    errors.value = wrong;
    if (Object.keys(wrong).length) return;
    try {
      await run(name, args);
    } catch (error) {
      if (error instanceof Refused) errors.value = error.fields;
    }
  }

  return (
    <form class="form arguments" onSubmit={(event) => void submit(event)} noValidate>
      {info.doc && <p class="dim">{info.doc.split("\n")[0]}</p>}
      {fields.map((field) => (
        <Field
          key={field.name}
          id={`${id}-${field.name}`}
          field={field}
          text={texts.value[field.name] ?? ""}
          dirty={false}
          error={errors.value[field.name] ?? null}
          locked={false}
          onText={(text) => (texts.value = { ...texts.value, [field.name]: text })}
          onPick={(picked) => (texts.value = { ...texts.value, [field.name]: String(picked ?? "") })}
        />
      ))}
      <button class="primary">{name.replaceAll("_", " ")}</button>
    </form>
  );
}
