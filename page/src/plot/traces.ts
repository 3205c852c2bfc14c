// The traces of the live plot: what is drawn, and the points that have come so far.
import uPlot from "uplot";
import { get, query, type SeriesAnswer, type StreamInfo } from "../api";

export interface Trace {
  stream: string;
  field: string;
  /** Which row: by its label where the stream has one (so that it stays the same bead), else by place. */
  row: number;
}

export const COLOURS = ["#62d0e8", "#f2b648", "#8bd17c", "#e58fc1", "#f0805a", "#a9b8ff", "#cfd6dd"];
const POINTS = 1500;
const BARREN = 20;
const GAP_SAMPLE = 16; // points from which the usual distance is taken
const GAP = 6; // usual distances that make a gap

export const title = (t: Trace) => `${t.stream} ${t.field}[${t.row}]`;
export const unitOf = (info: StreamInfo | undefined, field: string) =>
  (info?.fields[field] ?? "").split(",")[0]!.trim();

/** The points of one trace within the window, fetched piece by piece. */
export class TraceData {
  private t: number[] = [];
  private v: (number | null)[] = [];
  private next: number | null = null;
  private step = 0;

  constructor(
    readonly trace: Trace,
    private readonly info: StreamInfo,
    private readonly seconds: number,
  ) {}

  async extend(signal: AbortSignal): Promise<void> {
    const { stream, field, row } = this.trace;
    const label = this.info.meta.overlay?.label;
    const answer = await get<SeriesAnswer>(
      `/api/series/${encodeURIComponent(stream)}?` +
        query({
          field,
          row,
          key: label && this.info.columns.includes(label) ? label : null,
          after: this.next,
          seconds: this.seconds,
          step: this.step || null,
          max: POINTS,
        }),
      signal,
    );
    if (answer.step !== this.step && this.step) {
      // Other items are taken from now on, so that the whole window is fetched anew.
      this.clear();
      this.step = answer.step;
      this.next = null;
      return;
    }
    this.step = answer.step;
    this.next = answer.next;
    for (let i = 0; i < answer.t.length; i++) {
      // A session that was started again begins anew.
      if (this.t.length && answer.t[i]! < this.t.at(-1)!) this.clear();
      this.breakAt(answer.t[i]!);
      this.t.push(answer.t[i]!);
      this.v.push(answer.v[i] ?? null);
    }
    const since = (this.t.at(-1) ?? 0) - this.seconds;
    const old = this.t.findIndex((t) => t >= since);
    if (old > 0) {
      this.t.splice(0, old);
      this.v.splice(0, old);
    }
  }

  get newest(): number {
    return this.t.at(-1) ?? 0;
  }

  get last(): number | null {
    return this.v.at(-1) ?? null;
  }

  /** Whether there are items enough to tell that no value comes. */
  get isBarren(): boolean {
    return this.v.length >= BARREN && this.v.every((v) => v === null);
  }

  /** Times relative to `now`, as the plot shows them. */
  table(now: number): uPlot.AlignedData {
    return [this.t.map((t) => t - now), this.v];
  }

  /** Where items are missing, no line is drawn: it would show what nobody measured. */
  private breakAt(t: number): void {
    const n = this.t.length;
    if (n < GAP_SAMPLE) return;
    const before = this.t[n - 1]!;
    const usual = (before - this.t[n - GAP_SAMPLE]!) / (GAP_SAMPLE - 1);
    if (t - before > GAP * usual) {
      this.t.push((before + t) / 2);
      this.v.push(null);
    }
  }

  private clear(): void {
    this.t = [];
    this.v = [];
  }
}

/** All traces over one time axis; between the points of one, another's are joined, gaps stay gaps. */
export function together(tables: uPlot.AlignedData[]): uPlot.AlignedData {
  if (tables.length === 0) return [[]];
  return tables.length === 1 ? tables[0]! : uPlot.join(tables);
}
