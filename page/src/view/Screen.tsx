// The canvases, and what mouse and keys do on them.
import { useSignalEffect } from "@preact/signals";
import { useEffect, useRef } from "preact/hooks";
import type { RowsAnswer } from "../api";
import type { Picture } from "./feed";
import { makeLut } from "./lut";
import { drawHeld, drawMarks } from "./marks";
import type { ViewModel } from "./model";
import { makePainter, type Painter } from "./painter";
import { addRoi, moveRoi, removeRoi, roiAt, type Roi } from "./rois";
import { FIT, pan, zoom } from "./viewport";

const CLICK_PX = 4;
const KEY_PAN_PX = 60;
const wishedPainter = new URLSearchParams(location.search).get("painter");

interface Drag {
  x: number;
  y: number;
  far: boolean;
  /** What is dragged; the image where it is none. */
  roi: Roi | null;
}

export function Screen({ model }: { model: ViewModel }) {
  const image = useRef<HTMLCanvasElement>(null);
  const front = useRef<HTMLCanvasElement>(null);
  const drag = useRef<Drag | null>(null);
  const drawer = useRef<Drawer | null>(null);

  useEffect(() => {
    const box = image.current?.parentElement;
    if (!box || !image.current || !front.current) return;
    drawer.current = new Drawer(model, image.current, front.current);
    const observer = new ResizeObserver(() => {
      model.screen.value = { width: box.clientWidth, height: box.clientHeight };
    });
    observer.observe(box);
    // Not by Preact: a passive listener could not keep the page from scrolling.
    box.addEventListener("wheel", onWheel, { passive: false });
    return () => {
      observer.disconnect();
      box.removeEventListener("wheel", onWheel);
      drawer.current?.dispose();
    };
  }, [model]);

  useSignalEffect(() => {
    void [model.picture.value, model.transform.value, model.limits.value, model.map.value];
    void [model.hidden.value, model.screen.value, model.held.value];
    drawer.current?.soon();
  });

  const local = (event: MouseEvent) => {
    const box = front.current!.getBoundingClientRect();
    return { x: event.clientX - box.left, y: event.clientY - box.top };
  };
  const under = (event: MouseEvent) => {
    const at = local(event);
    const { scale, left, top } = model.transform.value;
    return { x: (at.x - left) / scale, y: (at.y - top) / scale };
  };
  const move = (dx: number, dy: number) => {
    model.viewport.value = pan(model.viewport.value, model.image.value, model.screen.value, dx, dy);
  };
  const zoomBy = (factor: number, at?: { x: number; y: number }) => {
    const { width, height } = model.screen.value;
    const around = at ?? { x: width / 2, y: height / 2 };
    model.viewport.value = zoom(
      model.viewport.value,
      model.image.value,
      model.screen.value,
      factor,
      around,
    );
  };

  function onWheel(event: WheelEvent): void {
    event.preventDefault();
    const lines = event.deltaMode === WheelEvent.DOM_DELTA_LINE ? 30 : 1;
    zoomBy(Math.exp(-event.deltaY * lines * 0.0015), local(event));
  }

  function onPointerDown(event: PointerEvent): void {
    if (event.button !== 0) return;
    front.current?.setPointerCapture(event.pointerId);
    const roi = model.tool.value === "roi" ? roiAt(model, under(event)) : null;
    drag.current = { x: event.clientX, y: event.clientY, far: false, roi };
  }

  function onPointerMove(event: PointerEvent): void {
    model.pointer.value = local(event);
    const from = drag.current;
    if (!from) return;
    const dx = event.clientX - from.x;
    const dy = event.clientY - from.y;
    if (!from.far && Math.hypot(dx, dy) < CLICK_PX) return;
    drag.current = { ...from, x: event.clientX, y: event.clientY, far: true };
    if (from.roi) model.held.value = { ...from.roi, ...under(event) };
    else move(dx, dy);
  }

  function onPointerUp(event: PointerEvent): void {
    const from = drag.current;
    drag.current = null;
    model.held.value = null;
    if (!from || model.tool.value !== "roi") return;
    if (from.roi && from.far) void moveRoi(model, from.roi, under(event));
    if (!from.roi && !from.far) void addRoi(model, under(event));
  }

  function onContextMenu(event: MouseEvent): void {
    if (model.tool.value !== "roi") return;
    event.preventDefault();
    const roi = roiAt(model, under(event));
    if (roi) void removeRoi(model, roi);
  }

  function onKey(event: KeyboardEvent): void {
    const act: Record<string, () => void> = {
      "+": () => zoomBy(1.25),
      "=": () => zoomBy(1.25),
      "-": () => zoomBy(0.8),
      "0": () => (model.viewport.value = FIT),
      Escape: () => (model.tool.value = "look"),
      ArrowLeft: () => move(KEY_PAN_PX, 0),
      ArrowRight: () => move(-KEY_PAN_PX, 0),
      ArrowUp: () => move(0, KEY_PAN_PX),
      ArrowDown: () => move(0, -KEY_PAN_PX),
    };
    const found = act[event.key];
    if (!found || event.ctrlKey || event.metaKey || event.altKey) return;
    event.preventDefault();
    found();
  }

  return (
    <div class="screen" data-tool={model.tool}>
      <canvas ref={image} />
      <canvas
        ref={front}
        class="marks"
        tabIndex={0}
        role="img"
        aria-label={`Live image of ${model.stream}. Plus and minus zoom, arrows pan, 0 fits.`}
        onPointerDown={onPointerDown}
        onPointerMove={onPointerMove}
        onPointerUp={onPointerUp}
        onPointerCancel={() => (drag.current = model.held.value = null)}
        onContextMenu={onContextMenu}
        onPointerLeave={() => (model.pointer.value = null)}
        onDblClick={() => model.tool.value === "look" && (model.viewport.value = FIT)}
        onKeyDown={onKey}
      />
      {model.trouble.value && (
        <p class="over" role="status">
          {model.trouble.value}
        </p>
      )}
      {!model.picture.value && !model.trouble.value && <p class="over">Waiting for the first frame…</p>}
    </div>
  );
}

/** Draws at most once for each refresh of the screen. */
class Drawer {
  private readonly painter: Painter;
  private readonly context: CanvasRenderingContext2D;
  private due = 0;
  private uploaded: Picture | null = null;
  private readonly last: Record<string, RowsAnswer> = {};

  constructor(
    private readonly model: ViewModel,
    private readonly image: HTMLCanvasElement,
    private readonly front: HTMLCanvasElement,
  ) {
    this.painter = makePainter(image, wishedPainter);
    image.dataset["painter"] = this.painter.name;
    const context = front.getContext("2d");
    if (!context) throw new Error("this browser refuses a 2-D canvas");
    this.context = context;
  }

  soon(): void {
    cancelAnimationFrame(this.due);
    this.due = requestAnimationFrame(() => this.draw());
  }

  dispose(): void {
    cancelAnimationFrame(this.due);
    this.painter.dispose();
  }

  private draw(): void {
    const { model } = this;
    const picture = model.picture.value;
    const ratio = devicePixelRatio || 1;
    const { width, height } = model.screen.value;
    for (const canvas of [this.image, this.front]) {
      const [w, h] = [Math.round(width * ratio), Math.round(height * ratio)];
      if (canvas.width === w && canvas.height === h) continue;
      Object.assign(canvas, { width: w, height: h });
      // The box may end within a pixel; the canvas must not, or all pixels of it were blurred.
      Object.assign(canvas.style, { width: `${w / ratio}px`, height: `${h / ratio}px` });
    }
    this.context.clearRect(0, 0, this.front.width, this.front.height);
    if (!picture) return;
    if (this.uploaded !== picture) {
      this.painter.upload(picture.pixels);
      this.uploaded = picture;
      // Told for tests and benchmarks: which frame is shown, and its age in ms.
      this.front.dataset["age"] = String(Date.now() - 1000 * picture.hostTime);
      this.front.dataset["seq"] = String(picture.seq);
    }
    const { lo, hi } = model.limits.value;
    this.painter.lut(model.exact ? makeLut(lo, hi, model.map.value) : makeLut(0, 255, model.map.value));
    const at = model.transform.value;
    const device = { scale: at.scale * ratio, left: at.left * ratio, top: at.top * ratio };
    this.painter.draw({ ...device, scale: device.scale * picture.step });
    this.overlays(picture, device, ratio);
  }

  private overlays(picture: Picture, at: { scale: number; left: number; top: number }, ratio: number) {
    const behind: Record<string, number> = {};
    for (const { stream, info, colour, on } of this.model.overlays.peek()) {
      const rows = picture.overlays[stream] ?? this.last[stream];
      if (!on || !rows || !info.meta.overlay) continue;
      this.last[stream] = rows;
      const late = rows.source_seq === null ? 0 : picture.seq - rows.source_seq;
      behind[stream] = late;
      drawMarks(this.context, rows, info.meta.overlay, at, ratio, colour, late !== 0);
    }
    const held = this.model.held.peek();
    if (held) drawHeld(this.context, held, at, ratio);
    if (JSON.stringify(behind) !== JSON.stringify(this.model.behind.peek())) {
      this.model.behind.value = behind;
    }
  }
}
