// Start and stop of recording, always in sight.
import { useSignal } from "@preact/signals";
import { doAction, type NodeInfo, setNode, type Values } from "./api";
import { clock } from "./format";
import { parse, fieldsOf } from "./form/schema";
import {
  message,
  progress,
  recall,
  recordingSince,
  reload,
  remember,
  session,
  status,
} from "./store";

/** Sinks that can be started and stopped: recorders. */
const recorders = () =>
  Object.entries(session.value?.nodes ?? {}).filter(
    ([, node]) => node.role === "sink" && node.actions["start"] && node.actions["stop"],
  );

export function Recorder() {
  const found = recorders();
  const chosen = useSignal("");
  const entry = found.find(([name]) => name === chosen.value) ?? found[0];
  if (!entry) return null;
  return (
    <>
      {found.length > 1 && (
        <select
          aria-label="Recorder"
          value={entry[0]}
          onChange={(event) => (chosen.value = event.currentTarget.value)}
        >
          {found.map(([name]) => (
            <option key={name}>{name}</option>
          ))}
        </select>
      )}
      <Controls key={entry[0]} name={entry[0]} node={entry[1]} />
    </>
  );
}

function Controls({ name, node }: { name: string; node: NodeInfo }) {
  const { settings } = node;
  const on = settings["recording"] === true;
  const run = useSignal<string | null>(null);
  const before = useSignal(recall("before", "0"));
  const busy = useSignal(false);
  const error = useSignal<string | null>(null);
  const asks = fieldsOf(node.actions["start"]!.schema);
  const beforeField = asks.find((f) => f.name === "before");
  const named = "run" in settings;
  const dead = (status.value?.nodes[name]?.state ?? node.state) !== "running";

  async function act(work: () => Promise<unknown>): Promise<void> {
    busy.value = true;
    error.value = null;
    try {
      await work();
    } catch (problem) {
      error.value = message(problem);
    } finally {
      busy.value = false;
      reload();
    }
  }

  const start = () =>
    act(async () => {
      const args: Values = {};
      if (beforeField) {
        const parsed = parse(beforeField, before.value);
        if ("error" in parsed) throw new Error(`before: ${parsed.error}`);
        if (parsed.value) args["before"] = parsed.value;
      }
      if (run.value !== null && run.value !== settings["run"]) {
        await setNode(name, { run: run.value });
      }
      remember("before", before.value);
      run.value = null;
      await doAction(name, "start", args);
    });
  const stop = () => act(() => doAction(name, "stop", {}));

  return (
    <form
      class={`recorder ${on ? "on" : ""}`}
      aria-label={`Recorder ${name}`}
      onSubmit={(event) => {
        event.preventDefault();
        void (on ? stop() : start());
      }}
    >
      {error.value && (
        <p class="error pop" role="alert">
          {error.value}
          <button type="button" class="small" aria-label="Close" onClick={() => (error.value = null)}>
            ×
          </button>
        </p>
      )}
      {on ? (
        <Progress node={name} settings={settings} />
      ) : (
        <>
          {named && (
            <label>
              run
              <input
                aria-label="Run name"
                class="run"
                value={run.value ?? String(settings["run"] ?? "")}
                placeholder="unnamed"
                spellcheck={false}
                onInput={(event) => (run.value = event.currentTarget.value)}
              />
            </label>
          )}
          {beforeField && (
            <label title="Also keep the seconds before the click, as far as the buffers reach">
              from
              <input
                aria-label="Seconds before the start that are kept, too"
                class="before mono"
                inputMode="decimal"
                value={before.value}
                onInput={(event) => (before.value = event.currentTarget.value)}
              />
              s before
            </label>
          )}
        </>
      )}
      <button class={on ? "stop-recording" : "record"} disabled={busy.value || dead}>
        <i aria-hidden="true" />
        {on ? "Stop recording" : "Record"}
      </button>
    </form>
  );
}

function Progress({ node, settings }: { node: string; settings: Values }) {
  const since = recordingSince.value[node];
  const catching = progress.value[`${node}.start`];
  void status.value; // drawn anew with each poll, so that the clock goes
  const folder = String(settings["path"] ?? settings["run"] ?? "")
    .split(/[\\/]/)
    .at(-1);
  return (
    <span class="recording mono" role="status" title={String(settings["path"] ?? "")}>
      {since && <b>{clock(Math.max(0, Date.now() / 1000 - since))}</b>}
      {folder && <span class="folder">{folder}</span>}
      {catching && catching.fraction < 1 && (
        <progress aria-label={catching.text} value={catching.fraction} max={1} />
      )}
    </span>
  );
}
