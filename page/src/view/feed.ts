// Fetches frames, and the rows that belong to them, as fast as they come and as the page can show.
import { maybe, query, refusal, type RowsAnswer } from "../api";
import type { Pixels } from "./painter";

/** A frame with the rows of each overlay that was asked for. */
export interface Picture {
  pixels: Pixels;
  seq: number;
  /** Shape of the whole frame; `pixels` may be fewer. */
  width: number;
  height: number;
  /** Image pixels for each pixel that came. */
  step: number;
  hostTime: number;
  /** The values at which the pixels are 0 and 255. */
  lo: number;
  hi: number;
  /** Value under the cursor as the server saw it, where it was asked. */
  probe: Probe | null;
  overlays: Record<string, RowsAnswer>;
}

export interface Probe {
  x: number;
  y: number;
  values: number[];
}

/** What to ask for; read anew for every frame. */
export interface Wish {
  width: number;
  format: "raw" | "jpeg";
  lo: number | null;
  hi: number | null;
  probe: { x: number; y: number } | null;
  overlays: { stream: string; fields: string[] }[];
  maxFps: number;
}

// How long a frame waits for rows that are made of it before it is shown without them.
const ROWS_WAIT_S = 0.08;
const RETRY_MS = 500;
const pause = (ms: number) => new Promise((done) => setTimeout(done, ms));

/** Frames of one stream, one after another, until it is stopped. */
export class Feed {
  private readonly abort = new AbortController();
  private seq: number | null = null;

  constructor(
    private readonly stream: string,
    private readonly wish: () => Wish,
    private readonly show: (picture: Picture) => void,
    private readonly trouble: (text: string | null) => void,
  ) {
    void this.run();
  }

  stop(): void {
    this.abort.abort();
  }

  private get stopped(): boolean {
    return this.abort.signal.aborted;
  }

  private async run(): Promise<void> {
    let shown: Promise<void> = Promise.resolve();
    while (!this.stopped) {
      await visible();
      const began = performance.now();
      try {
        const picture = await this.next();
        if (picture) {
          this.trouble(null);
          // The rows of this frame are on their way while the next frame is fetched.
          const before = shown;
          shown = this.complete(picture, before);
          await before;
        }
        const left = 1000 / this.wish().maxFps - (performance.now() - began);
        if (left > 1) await pause(left);
      } catch (error) {
        if (this.stopped) return;
        this.trouble(error instanceof Error ? error.message : String(error));
        await pause(RETRY_MS);
      }
    }
  }

  private async next(): Promise<Picture | null> {
    const wish = this.wish();
    const path = `/api/frame/${encodeURIComponent(this.stream)}?`;
    const answer = await fetch(
      path +
        query({
          after: this.seq,
          width: wish.width,
          format: wish.format,
          lo: wish.lo,
          hi: wish.hi,
          at: wish.probe ? `${wish.probe.x},${wish.probe.y}` : null,
        }),
      { signal: this.abort.signal, cache: "no-store" },
    );
    if (answer.status === 204) return null;
    if (!answer.ok) throw await refusal(answer);
    const head = answer.headers;
    const shape = (head.get("X-Shape") ?? "").split(",").map(Number);
    const [height = 0, width = 0, colours = 1] = shape;
    const step = Number(head.get("X-Step") ?? 1);
    const pixels =
      wish.format === "jpeg"
        ? await decode(await answer.blob())
        : raw(await answer.arrayBuffer(), width, height, colours, step);
    this.seq = Number(head.get("X-Seq"));
    return {
      pixels,
      seq: this.seq,
      width,
      height,
      step,
      hostTime: Number(head.get("X-Host-Time")) / 1e9,
      lo: Number(head.get("X-Lo") ?? 0),
      hi: Number(head.get("X-Hi") ?? 255),
      probe: probe(head.get("X-At"), head.get("X-Value")),
      overlays: {},
    };
  }

  private async complete(picture: Picture, before: Promise<void>): Promise<void> {
    const found = await Promise.all(
      this.wish().overlays.map(async ({ stream, fields }) => {
        const asked = query({
          source_seq: picture.seq,
          wait: ROWS_WAIT_S,
          fields: fields.join(","),
        });
        try {
          const path = `/api/rows/${encodeURIComponent(stream)}?${asked}`;
          return [stream, await maybe<RowsAnswer>(path, this.abort.signal)] as const;
        } catch {
          return [stream, null] as const; // the node's state and the log say what is wrong with it
        }
      }),
    );
    await before;
    for (const [stream, rows] of found) if (rows) picture.overlays[stream] = rows;
    if (!this.stopped) this.show(picture);
  }
}

function raw(
  body: ArrayBuffer,
  width: number,
  height: number,
  colours: number,
  step: number,
): Pixels {
  const skip = Math.floor(step / 2);
  const w = Math.ceil((width - skip) / step);
  const h = Math.ceil((height - skip) / step);
  const channels = colours === 3 ? 3 : 1;
  if (body.byteLength !== w * h * channels) {
    throw new Error(`frame: found ${body.byteLength} bytes, expected ${w} × ${h} × ${channels}`);
  }
  return { data: new Uint8Array(body), width: w, height: h, channels };
}

async function decode(blob: Blob): Promise<Pixels> {
  const bitmap = await createImageBitmap(blob);
  const { width, height } = bitmap;
  const canvas = new OffscreenCanvas(width, height);
  const context = canvas.getContext("2d", { willReadFrequently: true, alpha: false });
  if (!context) throw new Error("this browser refuses another canvas");
  context.drawImage(bitmap, 0, 0);
  bitmap.close();
  const { data } = context.getImageData(0, 0, width, height);
  return { data: new Uint8Array(data.buffer), width, height, channels: 4 };
}

function probe(at: string | null, values: string | null): Probe | null {
  if (!at || !values) return null;
  const [x = 0, y = 0] = at.split(",").map(Number);
  return { x, y, values: values.split(",").map(Number) };
}

/** Nobody looks at a hidden page, so it asks for nothing. */
function visible(): Promise<void> {
  if (!document.hidden) return Promise.resolve();
  return new Promise((done) => {
    const check = () => {
      if (document.hidden) return;
      document.removeEventListener("visibilitychange", check);
      done();
    };
    document.addEventListener("visibilitychange", check);
  });
}
