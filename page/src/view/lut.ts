// Look-up tables from a pixel's value (0-255) to what is shown.

export const MAPS = ["gray", "inverted", "range check", "glow"] as const;
export type MapName = (typeof MAPS)[number];

type Rgb = readonly [number, number, number];

// Stops of "glow": black - indigo - magenta - amber - white, rising steadily in lightness.
const GLOW: readonly Rgb[] = [
  [0, 0, 0],
  [38, 20, 92],
  [126, 31, 115],
  [206, 67, 80],
  [247, 147, 50],
  [253, 226, 132],
  [255, 255, 245],
];

/** 256 RGBA words, little-endian (as ImageData wants them), for limits in units of 0-255. */
export function makeLut(lo: number, hi: number, map: MapName): Uint32Array<ArrayBuffer> {
  const table = new Uint32Array(256);
  const width = Math.max(hi - lo, 1e-6);
  for (let v = 0; v < 256; v++) {
    const f = Math.min(1, Math.max(0, (v - lo) / width));
    const [r, g, b] = colour(f, v, lo, hi, map);
    table[v] = (255 << 24) | (b << 16) | (g << 8) | r;
  }
  return table;
}

function colour(f: number, v: number, lo: number, hi: number, map: MapName): Rgb {
  const gray = Math.round(255 * f);
  switch (map) {
    case "inverted":
      return [255 - gray, 255 - gray, 255 - gray];
    case "range check":
      if (v >= hi) return [235, 64, 52];
      if (v <= lo) return [38, 92, 200];
      return [gray, gray, gray];
    case "glow": {
      const at = f * (GLOW.length - 1);
      const i = Math.min(GLOW.length - 2, Math.floor(at));
      const [a, b] = [GLOW[i]!, GLOW[i + 1]!];
      const mix = (k: 0 | 1 | 2) => Math.round(a[k] + (b[k] - a[k]) * (at - i));
      return [mix(0), mix(1), mix(2)];
    }
    default:
      return [gray, gray, gray];
  }
}
