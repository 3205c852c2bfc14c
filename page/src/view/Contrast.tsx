// Contrast limits: two handles on the histogram of the image, which is asked for twice a second.
import { useSignal } from "@preact/signals";
import { useEffect, useRef } from "preact/hooks";
import { get, type Histogram } from "../api";
import { plain, value } from "../format";
import { MAPS, type MapName } from "./lut";
import type { ViewModel } from "./model";

const POLL_MS = 500;

export function Contrast({ model }: { model: ViewModel }) {
  const histogram = useSignal<Histogram | null>(null);
  const canvas = useRef<HTMLCanvasElement>(null);

  useEffect(() => {
    const abort = new AbortController();
    const ask = async () => {
      if (document.hidden) return;
      try {
        const found = await get<Histogram>(
          `/api/histogram/${encodeURIComponent(model.stream)}`,
          abort.signal,
        );
        histogram.value = found;
        if (model.limits.value.auto) {
          const [lo, hi] = found.auto;
          model.limits.value = { lo, hi, auto: true };
        }
      } catch {
        // The feed of frames reports what is wrong with the stream.
      }
    };
    void ask();
    const timer = setInterval(() => void ask(), POLL_MS);
    return () => {
      abort.abort();
      clearInterval(timer);
    };
  }, [model]);

  const found = histogram.value;
  const { lo, hi, auto } = model.limits.value;
  const low = Math.min(found?.lo ?? 0, lo);
  const high = Math.max(found?.hi ?? 255, hi);
  const whole = !model.info.dtype.includes("f");
  const step = whole ? 1 : (high - low) / 1000 || 1;
  useEffect(() => paint(canvas.current, found, low, high, lo, hi), [found, low, high, lo, hi]);

  const set = (next: { lo?: number; hi?: number }) => {
    const now = model.limits.value;
    const moved = { lo: next.lo ?? now.lo, hi: next.hi ?? now.hi };
    if (moved.hi - moved.lo < step) {
      if (next.lo !== undefined) moved.lo = moved.hi - step;
      else moved.hi = moved.lo + step;
    }
    model.limits.value = { ...moved, auto: false };
  };
  const hold = () => (model.limits.value = { ...model.limits.value, auto: false });
  const slider = (which: "lo" | "hi", at: number) => (
    <input
      type="range"
      class={`limit ${which}`}
      min={low}
      max={high}
      step={step}
      value={at}
      aria-label={which === "lo" ? "Black level" : "White level"}
      aria-valuetext={value(at)}
      onInput={(event) => set({ [which]: Number(event.currentTarget.value) })}
    />
  );

  return (
    <div class="contrast">
      <button
        class="chip"
        aria-pressed={auto}
        title="Limits follow the image: 0.1 % of the pixels below, 0.1 % above"
        onClick={() => (model.limits.value = { lo, hi, auto: !auto })}
      >
        auto
      </button>
      <Limit label="Black level as a number" shown={lo} hold={hold} commit={(v) => set({ lo: v })} />
      <div class="histogram">
        <canvas ref={canvas} />
        {slider("lo", lo)}
        {slider("hi", hi)}
      </div>
      <Limit label="White level as a number" shown={hi} hold={hold} commit={(v) => set({ hi: v })} />
      <select
        aria-label="Colours"
        value={model.map.value}
        onChange={(event) => (model.map.value = event.currentTarget.value as MapName)}
      >
        {MAPS.map((name) => (
          <option key={name}>{name}</option>
        ))}
      </select>
    </div>
  );
}

interface LimitProps {
  label: string;
  shown: number;
  /** Somebody is about to type: the value must stand still. */
  hold: () => void;
  commit: (v: number) => void;
}

function Limit(props: LimitProps) {
  const text = Number.isInteger(props.shown) ? plain(props.shown) : value(props.shown);
  return (
    <input
      class="limit-number"
      inputMode="decimal"
      onFocus={props.hold}
      aria-label={props.label}
      value={text}
      onChange={(event) => {
        const typed = Number(event.currentTarget.value);
        if (event.currentTarget.value.trim() && Number.isFinite(typed)) props.commit(typed);
        else event.currentTarget.value = text;
      }}
    />
  );
}

function paint(
  canvas: HTMLCanvasElement | null,
  found: Histogram | null,
  low: number,
  high: number,
  lo: number,
  hi: number,
): void {
  const context = canvas?.getContext("2d");
  if (!canvas || !context) return;
  const ratio = devicePixelRatio || 1;
  const width = (canvas.width = Math.max(1, Math.round(canvas.clientWidth * ratio)));
  const height = (canvas.height = Math.max(1, Math.round(canvas.clientHeight * ratio)));
  const span = high - low || 1;
  const at = (v: number) => ((v - low) / span) * width;
  context.fillStyle = "rgb(98 208 232 / 0.10)";
  context.fillRect(at(lo), 0, at(hi) - at(lo), height);
  if (found) {
    // Square root: rare values, such as saturated pixels, stay visible.
    const top = Math.sqrt(Math.max(1, ...found.counts));
    const bin = (found.hi - found.lo) / found.counts.length;
    context.fillStyle = "#6f8496";
    found.counts.forEach((n, i) => {
      const x = at(found.lo + i * bin);
      const tall = (Math.sqrt(n) / top) * (height - 2);
      if (n) context.fillRect(x, height - tall, Math.max(1, (bin / span) * width), tall);
    });
  }
  context.fillStyle = "#62d0e8";
  for (const v of [lo, hi]) context.fillRect(Math.min(width - ratio, at(v)), 0, ratio, height);
}
