// Which part of the image is seen: pan and zoom. Here pixel (0, 0) reaches from 0 to 1, so that the
// image's corner is at 0; trackers count from its middle, half a pixel less.

export interface Size {
  width: number;
  height: number;
}

/** `scale` screen pixels for each image pixel; null fits the whole image. */
export interface Viewport {
  scale: number | null;
  x: number;
  y: number;
}

export interface Transform {
  scale: number;
  /** Screen position of the image's upper left corner. */
  left: number;
  top: number;
}

export const FIT: Viewport = { scale: null, x: 0, y: 0 };
const MAX_SCALE = 64;

export function fitScale(image: Size, screen: Size): number {
  return Math.min(screen.width / image.width, screen.height / image.height) || 1;
}

/** Where the image lies, on whole screen pixels, so that at 1:1 it is as sharp as it is. */
export function transform(view: Viewport, image: Size, screen: Size): Transform {
  const { scale, left, top } = exact(view, image, screen);
  const snap = (v: number) => Math.round(v * devicePixelRatio) / devicePixelRatio;
  return { scale, left: snap(left), top: snap(top) };
}

function exact(view: Viewport, image: Size, screen: Size): Transform {
  const scale = view.scale ?? fitScale(image, screen);
  const x = view.scale === null ? image.width / 2 : view.x;
  const y = view.scale === null ? image.height / 2 : view.y;
  return { scale, left: screen.width / 2 - x * scale, top: screen.height / 2 - y * scale };
}

/** Zoom by a factor, keeping what is under the screen point where it is. */
export function zoom(
  view: Viewport,
  image: Size,
  screen: Size,
  factor: number,
  at: { x: number; y: number },
): Viewport {
  const now = exact(view, image, screen);
  const fit = fitScale(image, screen);
  const scale = Math.min(MAX_SCALE, Math.max(fit / 2, now.scale * factor));
  const ix = (at.x - now.left) / now.scale;
  const iy = (at.y - now.top) / now.scale;
  return clamp(
    {
      scale,
      x: ix + (screen.width / 2 - at.x) / scale,
      y: iy + (screen.height / 2 - at.y) / scale,
    },
    image,
  );
}

export function pan(view: Viewport, image: Size, screen: Size, dx: number, dy: number): Viewport {
  const now = exact(view, image, screen);
  const x = (screen.width / 2 - now.left - dx) / now.scale;
  const y = (screen.height / 2 - now.top - dy) / now.scale;
  return clamp({ scale: now.scale, x, y }, image);
}

/** The middle of the screen stays on the image, so that it cannot be lost. */
function clamp(view: Viewport, image: Size): Viewport {
  return {
    scale: view.scale,
    x: Math.min(image.width, Math.max(0, view.x)),
    y: Math.min(image.height, Math.max(0, view.y)),
  };
}
