// The HTTP interface of the page: types and calls. Nothing here knows what is shown.

export interface Schema {
  type?: string;
  title?: string;
  description?: string;
  default?: unknown;
  enum?: unknown[];
  const?: unknown;
  minimum?: number;
  maximum?: number;
  exclusiveMinimum?: number;
  exclusiveMaximum?: number;
  minItems?: number;
  maxItems?: number;
  minLength?: number;
  maxLength?: number;
  pattern?: string;
  items?: Schema | boolean;
  prefixItems?: Schema[];
  anyOf?: Schema[];
  allOf?: Schema[];
  $ref?: string;
  $defs?: Record<string, Schema>;
  properties?: Record<string, Schema>;
  required?: string[];
  unit?: string;
  apply?: "live" | "reopen" | "start";
  readonly?: boolean;
  follows?: boolean;
  advanced?: boolean;
}

export interface ActionInfo {
  doc: string;
  schema: Schema;
}

export type Values = Record<string, unknown>;

export interface NodeInfo {
  kind: string;
  role: "camera" | "device" | "processor" | "sink" | "";
  doc: string;
  schema: Schema;
  settings: Values;
  actions: Record<string, ActionInfo>;
  state: string;
  error: string | null;
  pid: number | null;
}

/** How the rows of a stream are drawn over the frames that they were made of. */
export interface OverlayInfo {
  x: string;
  y: string;
  label?: string | null;
  size?: number | string | null;
}

export interface StreamInfo {
  shape: number[];
  dtype: string;
  rate: number;
  pixel_format: string;
  fields: Record<string, string>;
  meta: Record<string, unknown> & { overlay?: OverlayInfo };
  is_rows: boolean;
  /** The stream whose `seq` is this one's `source_seq`; null where there is none. */
  source: string | null;
  columns: string[];
}

export interface SessionInfo {
  name: string;
  web: string;
  max_fps: number;
  nodes: Record<string, NodeInfo>;
  streams: Record<string, StreamInfo>;
}

export interface Quantiles {
  p50: number | null;
  p99: number | null;
}

export interface ReaderStatus {
  policy: string;
  received: number;
  lost: number;
  skipped: number;
  causes: Record<string, number>;
  behind: number;
  latency: Quantiles;
}

export interface StreamStatus {
  published: number;
  rate: number;
  epoch: number;
  device_lost: number;
  latency: Quantiles;
  readers: Record<string, ReaderStatus>;
}

export interface NodeStatus {
  state: string;
  cpu: number;
  rss: number;
  restarts: number;
  pid: number | null;
  error: string | null;
}

export interface Status {
  seconds: number;
  /** Session-wide settings. */
  shared: Values;
  streams: Record<string, StreamStatus>;
  nodes: Record<string, NodeStatus>;
}

export interface RowsAnswer {
  seq: number;
  source_seq: number | null;
  host_time: number;
  columns: Record<string, (number | string | null)[]>;
}

export interface SeriesAnswer {
  seq: number[];
  t: number[];
  v: (number | null)[];
  step: number;
  next: number;
}

export interface Histogram {
  lo: number;
  hi: number;
  counts: number[];
  auto: [number, number];
}

/** An answer of the server that says why something was refused. */
export class Refused extends Error {
  constructor(
    readonly status: number,
    readonly type: string,
    message: string,
    /** Why each field was refused, where fields are named. */
    readonly fields: Record<string, string>,
  ) {
    super(message);
  }
}

export async function refusal(answer: Response): Promise<Refused> {
  try {
    const { error } = (await answer.json()) as {
      error: { type: string; message: string; field?: string; fields?: Record<string, string> };
    };
    const named = error.field ? { [error.field]: error.message } : {};
    return new Refused(answer.status, error.type, error.message, error.fields ?? named);
  } catch {
    return new Refused(answer.status, "HTTP", `the server answered ${answer.status}`, {});
  }
}

export async function get<T>(path: string, signal?: AbortSignal): Promise<T> {
  const answer = await fetch(path, { signal, cache: "no-store" });
  if (!answer.ok) throw await refusal(answer);
  return (await answer.json()) as T;
}

/** Like `get`, but null where the server has nothing (204). */
export async function maybe<T>(path: string, signal?: AbortSignal): Promise<T | null> {
  const answer = await fetch(path, { signal, cache: "no-store" });
  if (answer.status === 204) return null;
  if (!answer.ok) throw await refusal(answer);
  return (await answer.json()) as T;
}

async function post<T>(path: string, body: unknown): Promise<T> {
  const answer = await fetch(path, {
    method: "POST",
    headers: { "Content-Type": "application/json" },
    body: JSON.stringify(body),
  });
  if (!answer.ok) throw await refusal(answer);
  return (await answer.json()) as T;
}

const part = encodeURIComponent;

export const setNode = (node: string, values: Values) =>
  post<{ settings: Values }>(`/api/set/${part(node)}`, values);
export const setSession = (values: Values) => post<unknown>("/api/session", values);
export const doAction = (node: string, action: string, args: Values) =>
  post<{ answer: unknown }>(`/api/do/${part(node)}/${part(action)}`, args);
export const stopSession = () => post<unknown>("/api/stop", {});

export function query(values: Record<string, string | number | null | undefined>): string {
  const pairs = Object.entries(values).filter(([, v]) => v !== null && v !== undefined);
  return new URLSearchParams(pairs.map(([k, v]) => [k, String(v)])).toString();
}
