// What the page knows of its session: kept fresh by polling and by events, shown by everything else.
import { batch, computed, signal } from "@preact/signals";
import { get, Refused, type SessionInfo, type Status, type Values } from "./api";

export type Connection = "connecting" | "live" | "lost" | "stopped";

/** One line of the event log. */
export interface Entry {
  id: string;
  time: number;
  node: string;
  level: string;
  text: string;
  detail: string;
}

export interface Progress {
  fraction: number;
  text: string;
}

export const session = signal<SessionInfo | null>(null);
export const status = signal<Status | null>(null);
export const connection = signal<Connection>("connecting");
export const lastHeard = signal(0);
export const entries = signal<Entry[]>([]);
/** When each recorder began, as far as the events tell. */
export const recordingSince = signal<Record<string, number | undefined>>({});
/** Progress of running actions, by "node.action". */
export const progress = signal<Record<string, Progress>>({});

export const frameStreams = computed(() =>
  Object.entries(session.value?.streams ?? {}).filter(([, s]) => !s.is_rows),
);
export const rowStreams = computed(() =>
  Object.entries(session.value?.streams ?? {}).filter(([, s]) => s.is_rows),
);

const POLL_MS = 500;
const RETRY_MS = 1000;
const RELOAD_MS = 5000; // settings that change without an event, such as a temperature
const KEEP_ENTRIES = 1000;
const pause = (ms: number) => new Promise((done) => setTimeout(done, ms));

let reloading = false;
let stale = false;
let loaded = 0;

/** Ask for the session again, soon and once, however many events say that it changed. */
export function reload(): void {
  stale = true;
  if (reloading) return;
  reloading = true;
  void (async () => {
    while (stale) {
      stale = false;
      await pause(80);
      try {
        const found = await get<SessionInfo>("/api/session");
        noteRecording(session.value, found);
        session.value = found;
        loaded = Date.now();
      } catch (error) {
        if (!(error instanceof Refused)) break; // the poll below notices and reconnects
      }
    }
    reloading = false;
  })();
}

/** A recorder that began unannounced, as while it catches up with what was before. */
function noteRecording(before: SessionInfo | null, now: SessionInfo): void {
  for (const [name, node] of Object.entries(now.nodes)) {
    const was = before?.nodes[name]?.settings["recording"];
    const on = node.settings["recording"];
    if (was === false && on === true && !recordingSince.value[name]) {
      recordingSince.value = { ...recordingSince.value, [name]: Date.now() / 1000 };
    } else if (on === false && recordingSince.value[name]) {
      recordingSince.value = { ...recordingSince.value, [name]: undefined };
    }
  }
}

/** Settings that a node has just taken, before it tells them to everybody. */
export function took(node: string, settings: Values): void {
  const now = session.value;
  const info = now?.nodes[node];
  if (!now || !info) return;
  const nodes = { ...now.nodes, [node]: { ...info, settings: { ...info.settings, ...settings } } };
  session.value = { ...now, nodes };
}

/** Follow the session until the page is closed. */
export async function follow(): Promise<void> {
  let events: EventSource | null = null;
  for (;;) {
    try {
      const anew = session.value && connection.value === "live" ? null : await fresh();
      const heard = await get<Status>("/api/status", AbortSignal.timeout(5000));
      // Meanwhile what is known of the session may have been renewed.
      const found = anew ?? session.value!;
      batch(() => {
        session.value = found;
        status.value = heard;
        lastHeard.value = Date.now();
        connection.value = "live";
      });
      if (known(found) !== alive(heard) || Date.now() - loaded > RELOAD_MS) reload();
      if (document.hidden) {
        // A browser has six connections for all pages of a host: hidden ones give theirs back.
        events?.close();
        events = null;
      } else if (!events || events.readyState === EventSource.CLOSED) events = listen();
      await pause(document.hidden ? 4 * POLL_MS : POLL_MS);
    } catch {
      if (connection.value !== "stopped") connection.value = lastHeard.value ? "lost" : "connecting";
      events?.close();
      events = null;
      await pause(RETRY_MS);
    }
  }
}

const fresh = () => get<SessionInfo>("/api/session", AbortSignal.timeout(10000));

const known = (found: SessionInfo) =>
  Object.entries(found.nodes)
    .map(([name, node]) => `${name}:${node.state}`)
    .sort()
    .join();
const alive = (heard: Status) =>
  Object.entries(heard.nodes)
    .map(([name, node]) => `${name}:${node.state}`)
    .sort()
    .join();

interface Told {
  id: string;
  kind: "log" | "setting" | "progress" | "state" | "error" | "lost" | "outage";
  node: string;
  time: number;
  data: Record<string, unknown>;
}

function listen(): EventSource {
  const source = new EventSource("/api/events");
  source.onmessage = (message) => {
    const event = JSON.parse(message.data as string) as Told;
    if (event.kind === "progress") {
      const key = `${event.node}.${String(event.data["action"])}`;
      const { fraction, text } = event.data as { fraction: number; text: string };
      progress.value = { ...progress.value, [key]: { fraction, text } };
      return;
    }
    if (event.kind === "setting") {
      const { recording } = event.data["values"] as { recording?: boolean };
      if (recording !== undefined) {
        const since = recording ? event.time : undefined;
        recordingSince.value = { ...recordingSince.value, [event.node]: since };
      }
    }
    if (event.kind === "setting" || event.kind === "state") reload();
    note(entryOf(event));
  };
  return source;
}

function entryOf({ id, kind, node, time, data }: Told): Entry {
  const text = (key: string) => String(data[key] ?? "");
  const entry = { id, time, node, level: "info", text: text("text"), detail: "" };
  switch (kind) {
    case "log": {
      const level = text("level");
      return { ...entry, level: level === "stderr" ? "warning" : level };
    }
    case "setting": {
      const values = Object.entries((data["values"] ?? {}) as Record<string, unknown>);
      const shown = values.map(([name, v]) => `${name} = ${short(v)}`).join(", ");
      const from = data["seq"] === null || data["seq"] === undefined ? "" : ` from item ${text("seq")}`;
      return { ...entry, text: shown + from };
    }
    case "state": {
      const state = text("state");
      const level = state === "failed" ? "error" : state === "restarting" ? "warning" : "debug";
      const why = data["error"] ? `: ${text("error")}` : "";
      return { ...entry, level: state === "running" ? "info" : level, text: state + why };
    }
    case "error":
      return { ...entry, level: "error", detail: text("trace") };
    case "lost": {
      const where = `${text("stream")} ▸ ${text("reader") || node}`;
      const what = `lost ${text("count")} from item ${text("first")}`;
      return { ...entry, level: "warning", text: `${where}: ${what}, ${text("cause")}` };
    }
    default:
      return { ...entry, level: "warning", text: `${kind}: ${JSON.stringify(data)}` };
  }
}

const short = (value: unknown) => {
  const text = JSON.stringify(value);
  return text.length > 80 ? `${text.slice(0, 77)}…` : text;
};

function note(entry: Entry): void {
  const now = entries.value;
  if (now.some((e) => e.id === entry.id)) return; // sent again after a reconnect
  entries.value = [...now.slice(-KEEP_ENTRIES + 1), entry];
}

let own = 0;

/** Write a line of the page's own into the log. */
export function tell(level: string, text: string): void {
  note({ id: `page-${++own}`, time: Date.now() / 1000, node: "page", level, text, detail: "" });
}

export function message(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}

/** What the user chose to look at, kept in the browser for each session of that name. */
export function remember(key: string, value: unknown): void {
  try {
    localStorage.setItem(`marey.${session.value?.name ?? ""}.${key}`, JSON.stringify(value));
  } catch {
    // A browser that keeps nothing only means that the page opens with its defaults.
  }
}

export function recall<T>(key: string, otherwise: T): T {
  try {
    const text = localStorage.getItem(`marey.${session.value?.name ?? ""}.${key}`);
    return text === null ? otherwise : (JSON.parse(text) as T);
  } catch {
    return otherwise;
  }
}
