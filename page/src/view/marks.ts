// Markers and labels over the image: the rows of processors that say where their results lie.
import type { OverlayInfo, RowsAnswer } from "../api";
import type { Transform } from "./viewport";

export const COLOURS = ["#62d0e8", "#f2b648", "#8bd17c", "#e58fc1", "#f0805a", "#a9b8ff"] as const;
const MANY = 150;

export const fieldsOf = (info: OverlayInfo): string[] =>
  [info.x, info.y, info.label, typeof info.size === "string" ? info.size : null].filter(
    (name): name is string => Boolean(name),
  );

/** Draw one overlay; `faint` where its rows are of an earlier frame than the one shown. */
export function drawMarks(
  context: CanvasRenderingContext2D,
  rows: RowsAnswer,
  info: OverlayInfo,
  at: Transform,
  ratio: number,
  colour: string,
  faint: boolean,
): void {
  const xs = rows.columns[info.x] ?? [];
  const ys = rows.columns[info.y] ?? [];
  const labels = info.label ? rows.columns[info.label] : undefined;
  const sizes = typeof info.size === "string" ? rows.columns[info.size] : undefined;
  const fixed = typeof info.size === "number" ? info.size : null;
  const { width, height } = context.canvas;
  const named = labels && (xs.length <= MANY || at.scale > 2 * ratio);
  context.save();
  context.globalAlpha = faint ? 0.4 : 1;
  context.strokeStyle = context.fillStyle = colour;
  context.lineWidth = 1.25 * ratio;
  context.font = `600 ${11 * ratio}px system-ui, sans-serif`;
  context.lineJoin = "round";
  context.beginPath();
  const texts: [string, number, number][] = [];
  for (let i = 0; i < xs.length; i++) {
    const [x, y] = [xs[i], ys[i]];
    if (typeof x !== "number" || typeof y !== "number") continue;
    const px = at.left + (x + 0.5) * at.scale;
    const py = at.top + (y + 0.5) * at.scale;
    const given = Number(sizes?.[i] ?? fixed ?? 0);
    const r = given > 0 ? Math.max((given / 2) * at.scale, 3 * ratio) : 6 * ratio;
    if (px < -r || py < -r || px > width + r || py > height + r) continue;
    context.moveTo(px + r, py);
    context.arc(px, py, r, 0, 2 * Math.PI);
    const arm = Math.min(3 * ratio, r / 2);
    context.moveTo(px - arm, py);
    context.lineTo(px + arm, py);
    context.moveTo(px, py - arm);
    context.lineTo(px, py + arm);
    const corner = r * Math.SQRT1_2 + 2 * ratio;
    if (named) texts.push([String(labels[i] ?? ""), px + corner, py - corner]);
  }
  context.stroke();
  context.lineWidth = 2.5 * ratio;
  context.strokeStyle = "rgb(7 9 12 / 0.7)";
  for (const [text, x, y] of texts) {
    context.strokeText(text, x, y);
    context.fillText(text, x, y);
  }
  context.restore();
}

/** A region that is being dragged to another place. */
export function drawHeld(
  context: CanvasRenderingContext2D,
  held: { x: number; y: number; radius: number },
  at: Transform,
  ratio: number,
): void {
  context.save();
  context.strokeStyle = "#ffffff";
  context.lineWidth = 1.25 * ratio;
  context.setLineDash([4 * ratio, 3 * ratio]);
  context.beginPath();
  const [x, y] = [at.left + held.x * at.scale, at.top + held.y * at.scale];
  context.arc(x, y, Math.max(3 * ratio, held.radius * at.scale), 0, 2 * Math.PI);
  context.stroke();
  context.restore();
}
