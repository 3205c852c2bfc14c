// Numbers and times as a person reads them.

export function count(n: number): string {
  if (!Number.isFinite(n)) return "–";
  const abs = Math.abs(n);
  if (abs >= 1e9) return `${(n / 1e9).toFixed(2)} G`;
  if (abs >= 1e7) return `${(n / 1e6).toFixed(1)} M`;
  return Math.round(n).toLocaleString("en").replaceAll(",", "\u202f");
}

export function rate(hz: number): string {
  if (!Number.isFinite(hz)) return "–";
  if (hz >= 10000) return `${(hz / 1000).toFixed(1)} k`;
  return hz >= 100 ? hz.toFixed(0) : hz.toFixed(1);
}

export function seconds(s: number | null | undefined): string {
  if (s === null || s === undefined || !Number.isFinite(s)) return "–";
  if (s < 1e-3) return `${(s * 1e6).toFixed(0)} µs`;
  if (s < 1) return `${(s * 1e3).toFixed(s < 0.01 ? 2 : s < 0.1 ? 1 : 0)} ms`;
  return `${s.toFixed(1)} s`;
}

export function bytes(n: number): string {
  const units = ["B", "KiB", "MiB", "GiB", "TiB"];
  let unit = 0;
  while (n >= 1024 && unit < units.length - 1) {
    n /= 1024;
    unit += 1;
  }
  return `${n.toFixed(unit > 0 && n < 10 ? 1 : 0)} ${units[unit]}`;
}

export function clock(s: number): string {
  const whole = Math.floor(s);
  const two = (n: number) => String(n).padStart(2, "0");
  const hours = Math.floor(whole / 3600);
  return `${hours ? `${hours}:` : ""}${two(Math.floor(whole / 60) % 60)}:${two(whole % 60)}`;
}

/** A value with about so many significant digits, for read-outs. */
export function value(v: number | null | undefined, digits = 4): string {
  if (v === null || v === undefined || !Number.isFinite(v)) return "–";
  if (Number.isInteger(v) && Math.abs(v) < 1e7) return String(v);
  const abs = Math.abs(v);
  if (abs !== 0 && (abs < 1e-3 || abs >= 1e6)) return v.toExponential(2);
  return v.toFixed(Math.max(0, digits - 1 - Math.floor(Math.log10(abs || 1))));
}

/** A number as it is typed: plain, without grouping. */
export function plain(v: number): string {
  const abs = Math.abs(v);
  return abs !== 0 && (abs < 1e-4 || abs >= 1e15) ? v.toExponential() : String(v);
}
