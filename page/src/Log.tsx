// What happened: log lines, changed settings, states and errors, newest last.
import { useSignal } from "@preact/signals";
import { useEffect, useRef } from "preact/hooks";
import { entries, recall, remember, type Entry } from "./store";

const RANK: Record<string, number> = { debug: 0, info: 1, warning: 2, error: 3, critical: 4 };
const SHOWN = 300;

export function Log() {
  const list = useRef<HTMLOListElement>(null);
  const following = useRef(true);
  const seen = useRef(0); // where the list was scrolled to
  const least = useSignal(recall("log.level", "info"));
  const open = useSignal(recall("log.open", true));
  const shown = entries.value
    .filter((e) => (RANK[e.level] ?? 1) >= (RANK[least.value] ?? 1))
    .slice(-SHOWN);
  const problems = entries.value.filter((e) => (RANK[e.level] ?? 1) >= 3).length;

  useEffect(() => {
    if (following.current && list.current) list.current.scrollTop = list.current.scrollHeight;
  }, [shown.length, shown.at(-1)?.id, open.value]);

  return (
    <section class={`card log ${open.value ? "" : "closed"}`} aria-label="Events">
      <div class="bar">
        <button
          class="small"
          aria-expanded={open.value}
          onClick={() => remember("log.open", (open.value = !open.value))}
        >
          {open.value ? "▾" : "▸"} events
        </button>
        {problems > 0 && <span class="tag state-failed">{problems} errors</span>}
        {!open.value && shown.length > 0 && <span class="last dim">{shown.at(-1)!.text}</span>}
        <span class="grow" />
        <select
          aria-label="Least level shown"
          value={least.value}
          onChange={(event) => remember("log.level", (least.value = event.currentTarget.value))}
        >
          {["debug", "info", "warning", "error"].map((level) => (
            <option key={level}>{level}</option>
          ))}
        </select>
      </div>
      {open.value && (
        <ol
          ref={list}
          tabIndex={0}
          aria-live="polite"
          onScroll={(event) => {
            // Only a person scrolls up; lines that come in meanwhile do not count.
            const { scrollTop, scrollHeight, clientHeight } = event.currentTarget;
            if (scrollTop < seen.current) following.current = false;
            if (scrollHeight - scrollTop - clientHeight < 4) following.current = true;
            seen.current = scrollTop;
          }}
        >
          {shown.length === 0 && <li class="dim">Nothing yet.</li>}
          {shown.map((entry) => (
            <Line key={entry.id} entry={entry} />
          ))}
        </ol>
      )}
    </section>
  );
}

function Line({ entry }: { entry: Entry }) {
  const time = new Date(entry.time * 1000).toLocaleTimeString("en-GB");
  return (
    <li class={`level-${entry.level}`}>
      <time class="mono dim">{time}</time>
      <span class="who">{entry.node || "session"}</span>
      {entry.detail ? (
        <details>
          <summary>{entry.text}</summary>
          <pre>{entry.detail}</pre>
        </details>
      ) : (
        <span>{entry.text}</span>
      )}
    </li>
  );
}
