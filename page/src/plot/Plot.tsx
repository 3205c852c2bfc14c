// The live plot: fields of result rows against time.
import { useSignal } from "@preact/signals";
import { useEffect, useRef } from "preact/hooks";
import uPlot from "uplot";
import type { StreamInfo } from "../api";
import { value } from "../format";
import { recall, remember, rowStreams, session } from "../store";
import { AddTrace } from "./AddTrace";
import { COLOURS, title, together, type Trace, TraceData, unitOf } from "./traces";

const POLL_MS = 120;
const WINDOWS = [2, 5, 10, 30, 60];

export function Plot() {
  const streams = Object.fromEntries(rowStreams.value);
  const kept = useSignal<Trace[] | null>(recall<Trace[] | null>("traces", null));
  const unfit = useSignal<string[]>([]);
  const traces = (kept.value ?? firstTraces(streams, unfit.value)).filter(
    (t) => streams[t.stream]?.columns.includes(t.field),
  );
  const seconds = useSignal(recall("window", 10));
  const paused = useSignal(false);
  const adding = useSignal(false);
  const last = useSignal<(number | null)[]>([]);
  const set = (next: Trace[]) => remember("traces", (kept.value = next));
  const alone = new Set(traces.map((t) => t.stream)).size === 1;
  const key = JSON.stringify([traces, seconds.value]);

  return (
    <section class="card plot" aria-label="Live plot">
      <div class="bar">
        <div class="traces">
          {traces.map((trace, i) => (
          <span class="chip trace" key={title(trace)}>
            <i class="dot" style={{ background: COLOURS[i % COLOURS.length] }} />
            <span title={title(trace)}>{alone ? `${trace.field}[${trace.row}]` : title(trace)}</span>
            <b class="mono" title={unitOf(streams[trace.stream], trace.field)}>
              {value(last.value[i], 5)}
            </b>
            <button
              class="small"
              aria-label={`Remove ${title(trace)}`}
              onClick={() => set(traces.filter((t) => t !== trace))}
            >
              ×
            </button>
          </span>
        ))}
        <button
          class="small"
          aria-label="Add a trace"
          title="Add a trace"
          aria-expanded={adding.value}
          disabled={!rowStreams.value.length}
          onClick={() => (adding.value = !adding.value)}
        >
          +
        </button>
        </div>
        <select
          aria-label="Seconds shown"
          value={String(seconds.value)}
          onChange={(event) => remember("window", (seconds.value = Number(event.currentTarget.value)))}
        >
          {WINDOWS.map((s) => (
            <option key={s} value={String(s)}>
              {s} s
            </option>
          ))}
        </select>
        <button
          class="small"
          aria-pressed={paused.value}
          title={paused.value ? "Go on" : "Hold the plot; the measurement goes on"}
          onClick={() => (paused.value = !paused.value)}
        >
          {paused.value ? "▶" : "❚❚"}
        </button>
      </div>
      {adding.value && (
        <AddTrace
          streams={streams}
          add={(trace) => {
            adding.value = false;
            if (!traces.some((t) => title(t) === title(trace))) set([...traces, trace]);
          }}
          close={() => (adding.value = false)}
        />
      )}
      {traces.length ? (
        <Chart
          key={key}
          traces={traces}
          streams={streams}
          seconds={seconds.value}
          paused={() => paused.value}
          tell={(values) => (last.value = values)}
          nothing={(field) => {
            if (kept.value === null) unfit.value = [...unfit.value, field];
          }}
        />
      ) : (
        <p class="empty">{session.value ? "Add a trace to plot results against time." : ""}</p>
      )}
    </section>
  );
}

interface ChartProps {
  traces: Trace[];
  streams: Record<string, StreamInfo>;
  seconds: number;
  paused: () => boolean;
  tell: (values: (number | null)[]) => void;
  /** The traces' field has rows, but no value: a tracker without a table tells no z. */
  nothing: (field: string) => void;
}

function Chart({ traces, streams, seconds, paused, tell, nothing }: ChartProps) {
  const box = useRef<HTMLDivElement>(null);
  useEffect(() => {
    const element = box.current;
    if (!element) return;
    const data = traces.map((t) => new TraceData(t, streams[t.stream]!, seconds));
    const units = traces.map((t) => unitOf(streams[t.stream], t.field));
    const plot = new uPlot(
      { ...sizeOf(element), ...look(traces, units, seconds) },
      together(data.map((d) => d.table(0))),
      element,
    );
    const observer = new ResizeObserver(() => plot.setSize(sizeOf(element)));
    observer.observe(element);
    const abort = new AbortController();
    let busy = false;
    const refresh = async () => {
      if (busy || document.hidden || paused()) return;
      busy = true;
      try {
        // One after another: a browser has few connections, and the image needs them more.
        for (const each of data) await each.extend(abort.signal);
        const now = Math.max(...data.map((d) => d.newest));
        plot.setData(together(data.map((d) => d.table(now))));
        tell(data.map((d) => d.last));
        if (data.every((d) => d.isBarren)) nothing(traces[0]!.field);
      } catch {
        // The stream is away for now; its node's state says why.
      } finally {
        busy = false;
      }
    };
    void refresh();
    const timer = setInterval(() => void refresh(), POLL_MS);
    return () => {
      clearInterval(timer);
      abort.abort();
      observer.disconnect();
      plot.destroy();
    };
  }, []);
  return <div class="chart" ref={box} />;
}

const sizeOf = (element: HTMLElement) => ({
  width: element.clientWidth,
  height: Math.max(60, element.clientHeight),
});

function look(traces: Trace[], units: string[], seconds: number): Omit<uPlot.Options, "width" | "height"> {
  const scales = [...new Set(units)];
  const ink = "#93a1ae";
  const grid = { stroke: "rgb(147 161 174 / 0.12)", width: 1 };
  const font = "11px system-ui, sans-serif";
  const axis = { stroke: ink, font, labelFont: font, ticks: { ...grid, size: 4 } };
  return {
    legend: { show: false },
    cursor: { points: { size: 6 }, drag: { x: false, y: false } },
    padding: [8, scales.length > 1 ? 0 : 12, 0, 0],
    scales: {
      x: { time: false, range: [-seconds, 0] },
      ...Object.fromEntries(scales.map((unit) => [`y ${unit}`, { range: vertical }])),
    },
    axes: [
      { ...axis, grid, size: 24, values: (_, ticks) => ticks.map((t) => (t ? `${t} s` : "now")) },
      // Two units have an axis each; of more, the rest is drawn to its own unmarked scale.
      ...scales.slice(0, 2).map((unit, i) => ({
        ...axis,
        scale: `y ${unit}`,
        side: (i ? 1 : 3) as uPlot.Axis.Side,
        grid: i ? { show: false } : grid,
        size: 52,
        label: unit,
        labelSize: unit ? 16 : 0,
      })),
    ],
    series: [
      {},
      ...traces.map((trace, i) => ({
        label: title(trace),
        scale: `y ${units[i]}`,
        stroke: COLOURS[i % COLOURS.length]!,
        width: 1.25,
        points: { show: false },
      })),
    ],
  };
}

/** A margin around what there is, and something to stand on where there is nothing. */
const vertical = (_: uPlot, lo: number | null, hi: number | null): uPlot.Range.MinMax =>
  lo === null || hi === null ? [0, 1] : uPlot.rangeNum(lo, hi, 0.1, true);

/** What is worth plotting when nothing was chosen: the height of the first bead, or the like. */
function firstTraces(streams: Record<string, StreamInfo>, unfit: string[]): Trace[] {
  const found = Object.entries(streams).sort(
    ([, a], [, b]) => Number(Boolean(b.meta.overlay)) - Number(Boolean(a.meta.overlay)),
  )[0];
  if (!found) return [];
  const [stream, info] = found;
  const fit = info.columns.filter((c) => c !== info.meta.overlay?.label && !unfit.includes(c));
  const field = fit.includes("z") ? "z" : fit[0];
  return field ? [{ stream, field, row: 0 }] : [];
}
