// Regions of interest by mouse: where a tracker has the actions, they are added, moved and removed.
import { doAction, type Values } from "../api";
import { message, session, tell } from "../store";
import type { ViewModel } from "./model";

interface Point {
  x: number;
  y: number;
}

/** A region under the mouse; x and y are its middle, with 0 at the image's corner. */
export interface Roi extends Point {
  id: number;
  radius: number;
}

const LEAST_RADIUS = 6;

/** The region whose middle is nearest, if the point is in it. */
export function roiAt(model: ViewModel, at: Point): Roi | null {
  const tracker = model.tracker.value;
  const overlay = model.overlays.value.find((o) => o.stream === tracker)?.info.meta.overlay;
  const rows = tracker ? model.picture.value?.overlays[tracker] : null;
  if (!overlay?.label || !rows) return null;
  const [xs, ys, ids] = [overlay.x, overlay.y, overlay.label].map((name) => rows.columns[name]);
  const size = typeof overlay.size === "number" ? overlay.size : 0;
  const radius = Math.max(size / 2, LEAST_RADIUS / model.transform.value.scale);
  let found: Roi | null = null;
  let least = radius;
  ids?.forEach((id, i) => {
    const x = Number(xs?.[i] ?? NaN) + 0.5;
    const y = Number(ys?.[i] ?? NaN) + 0.5;
    const distance = Math.hypot(x - at.x, y - at.y);
    if (distance <= least) {
      least = distance;
      found = { id: Number(id), x, y, radius };
    }
  });
  return found;
}

export const addRoi = (model: ViewModel, at: Point) => ask(model, "add_roi", middle(at));
export const moveRoi = (model: ViewModel, roi: Roi, to: Point) =>
  ask(model, "move_roi", { id: roi.id, ...middle(to) });
export const removeRoi = (model: ViewModel, roi: Roi) => ask(model, "remove_roi", { id: roi.id });

/** Nodes count from the middle of the first pixel. */
const middle = ({ x, y }: Point) => ({ x: round(x - 0.5), y: round(y - 0.5) });
const round = (v: number) => Math.round(v * 10) / 10;

async function ask(model: ViewModel, action: string, args: Values): Promise<void> {
  const node = model.tracker.value;
  if (!node || !session.value?.nodes[node]?.actions[action]) return;
  try {
    await doAction(node, action, args);
  } catch (error) {
    tell("error", message(error));
  }
}
