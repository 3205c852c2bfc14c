// The small form that adds a trace to the plot.
import { useSignal } from "@preact/signals";
import type { StreamInfo } from "../api";
import type { Trace } from "./traces";

interface Props {
  streams: Record<string, StreamInfo>;
  add: (trace: Trace) => void;
  close: () => void;
}

export function AddTrace({ streams, add, close }: Props) {
  const names = Object.keys(streams);
  const stream = useSignal(names[0] ?? "");
  const field = useSignal("");
  const row = useSignal("0");
  const info = streams[stream.value];
  const columns = info?.columns ?? [];
  const picked = columns.includes(field.value) ? field.value : (columns[0] ?? "");
  const label = info?.meta.overlay?.label;
  const single = info?.shape[0] === 1;
  const n = Number(row.value);
  const good = Number.isInteger(n) && n >= 0 && row.value.trim() !== "";
  return (
    <form
      class="add-trace"
      onSubmit={(event) => {
        event.preventDefault();
        if (good && picked) add({ stream: stream.value, field: picked, row: n });
      }}
      onKeyDown={(event) => event.key === "Escape" && close()}
    >
      <label>
        stream
        <select value={stream.value} onChange={(event) => (stream.value = event.currentTarget.value)}>
          {names.map((name) => (
            <option key={name}>{name}</option>
          ))}
        </select>
      </label>
      <label>
        field
        <select value={picked} onChange={(event) => (field.value = event.currentTarget.value)}>
          {columns.map((name) => (
            <option key={name} title={info?.fields[name]}>
              {name}
            </option>
          ))}
        </select>
      </label>
      {!single && (
        <label>
          {label ?? "row"}
          <input
            class="mono"
            inputMode="numeric"
            value={row.value}
            aria-invalid={!good}
            onInput={(event) => (row.value = event.currentTarget.value)}
          />
        </label>
      )}
      <button class="primary" disabled={!good || !picked}>
        Add
      </button>
      <button type="button" onClick={close}>
        Cancel
      </button>
    </form>
  );
}
