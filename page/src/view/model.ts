// What one stream's view knows: the picture, where one looks, and how.
import { batch, computed, effect, signal } from "@preact/signals";
import type { StreamInfo } from "../api";
import { recall, remember, rowStreams, session } from "../store";
import { Feed, type Picture, type Wish } from "./feed";
import type { MapName } from "./lut";
import { COLOURS, fieldsOf } from "./marks";
import type { Roi } from "./rois";
import { FIT, transform, type Size, type Viewport } from "./viewport";

const MAX_WIDE = 4096;
const ROUNDING = 1e-3;
const FPS_WINDOW_MS = 2000;
const LOOPBACK = ["127.0.0.1", "localhost", "[::1]"];

/** Contrast limits in units of the pixels. */
export interface Limits {
  lo: number;
  hi: number;
  auto: boolean;
}

export interface Overlay {
  stream: string;
  info: StreamInfo;
  colour: string;
  on: boolean;
  /** Frames by which the rows that are drawn are older than the picture. */
  behind: number;
}

export class ViewModel {
  readonly picture = signal<Picture | null>(null);
  readonly viewport = signal<Viewport>(FIT);
  readonly screen = signal<Size>({ width: 0, height: 0 });
  readonly limits;
  readonly map;
  readonly format;
  readonly hidden;
  readonly tool = signal<"look" | "roi">("look");
  /** Where the mouse is, in screen pixels of the view. */
  readonly pointer = signal<{ x: number; y: number } | null>(null);
  /** A region of interest that is being dragged. */
  readonly held = signal<Roi | null>(null);
  readonly fps = signal(0);
  readonly trouble = signal<string | null>(null);
  readonly behind = signal<Record<string, number>>({});
  /** Whether the bytes that come are the values of the pixels. */
  readonly exact: boolean;

  private readonly endings: (() => void)[] = [];

  constructor(
    readonly stream: string,
    readonly info: StreamInfo,
  ) {
    this.exact = info.dtype.endsWith("u1");
    const kept = <T>(key: string, otherwise: T) => {
      const made = signal(recall(key, otherwise));
      this.endings.push(effect(() => remember(key, made.value)));
      return made;
    };
    this.limits = kept<Limits>(`limits.${stream}`, { lo: 0, hi: 255, auto: true });
    this.map = kept<MapName>(`map.${stream}`, "gray");
    this.format = kept<"raw" | "jpeg">("format", LOOPBACK.includes(location.hostname) ? "raw" : "jpeg");
    this.hidden = kept<string[]>(`hidden.${stream}`, []);
  }

  /** Size of the whole image. */
  readonly image = computed<Size>(() => {
    const now = this.picture.value;
    return now
      ? { width: now.width, height: now.height }
      : { height: this.info.shape[0] ?? 1, width: this.info.shape[1] ?? 1 };
  });

  readonly transform = computed(() =>
    transform(this.viewport.value, this.image.value, this.screen.value),
  );

  /** Image pixel under the mouse. */
  readonly cursor = computed(() => {
    const at = this.pointer.value;
    if (!at) return null;
    const { scale, left, top } = this.transform.value;
    const { width, height } = this.image.value;
    const x = Math.floor((at.x - left) / scale + ROUNDING);
    const y = Math.floor((at.y - top) / scale + ROUNDING);
    return x >= 0 && y >= 0 && x < width && y < height ? { x, y } : null;
  });

  /** The processors that can be drawn over this stream. */
  readonly overlays = computed<Overlay[]>(() =>
    rowStreams.value
      .filter(([, info]) => info.meta.overlay && info.source === this.stream)
      .map(([stream, info], i) => ({
        stream,
        info,
        colour: COLOURS[i % COLOURS.length]!,
        on: !this.hidden.value.includes(stream),
        behind: this.behind.value[stream] ?? 0,
      })),
  );

  /** The node that takes new regions of interest for this stream, if one does. */
  readonly tracker = computed(
    () =>
      Object.entries(session.value?.nodes ?? {}).find(
        ([, node]) => node.actions["add_roi"] && node.settings["source"] === this.stream,
      )?.[0] ?? null,
  );

  toggle(stream: string): void {
    const hidden = this.hidden.value;
    this.hidden.value = hidden.includes(stream)
      ? hidden.filter((name) => name !== stream)
      : [...hidden, stream];
  }

  start(): void {
    const times: number[] = [];
    const feed = new Feed(
      this.stream,
      () => this.wish(),
      (picture) => {
        times.push(performance.now());
        this.picture.value = picture;
      },
      (text) => (this.trouble.value = text),
    );
    const timer = setInterval(() => {
      const since = performance.now() - FPS_WINDOW_MS;
      while (times.length && times[0]! < since) times.shift();
      this.fps.value = (times.length * 1000) / FPS_WINDOW_MS;
    }, 500);
    this.endings.push(
      () => feed.stop(),
      () => clearInterval(timer),
    );
  }

  stop(): void {
    batch(() => this.endings.splice(0).forEach((end) => end()));
  }

  private wish(): Wish {
    const { lo, hi } = this.limits.value;
    const wide = Math.ceil(this.image.value.width * this.transform.value.scale * devicePixelRatio);
    const whole = this.exact && this.format.value === "raw" && wide >= this.image.value.width;
    return {
      width: Math.max(64, Math.min(wide, MAX_WIDE)),
      format: this.format.value,
      lo: this.exact ? null : lo,
      hi: this.exact ? null : hi,
      probe: whole ? null : this.cursor.value,
      overlays: this.overlays.value
        .filter((overlay) => overlay.on)
        .map(({ stream, info }) => ({
          stream,
          fields: info.meta.overlay ? fieldsOf(info.meta.overlay) : [],
        })),
      maxFps: session.value?.max_fps ?? 60,
    };
  }
}
