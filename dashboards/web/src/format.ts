// Words and numbers as the page shows them. Pure: time and zone are arguments.

const bytesUnits = ["B", "kB", "MB", "GB", "TB", "PB"];

/** A number with its unit apart, so that the unit can be muted. */
export interface Amount {
  n: string;
  unit: string;
}

/** Three digits at most: 999, 1.2, 12.3, 123. */
export function short(v: number): string {
  if (v === 0) return "0";
  if (Math.abs(v) >= 99.95) return v.toFixed(0);
  if (Math.abs(v) >= 9.995) return trim(v.toFixed(1));
  return trim(v.toFixed(Math.abs(v) >= 0.995 ? 1 : 2));
}

function trim(s: string): string {
  return s.includes(".") ? s.replace(/\.?0+$/, "") : s;
}

export function bytes(v: number): Amount {
  let i = 0;
  let x = v;
  while (Math.abs(x) >= 999.5 && i < bytesUnits.length - 1) {
    x /= 1000;
    i++;
  }
  return { n: i === 0 ? String(Math.round(x)) : short(x), unit: bytesUnits[i] ?? "B" };
}

export function count(v: number): Amount {
  if (Math.abs(v) < 10_000) return { n: group(v), unit: "" };
  if (Math.abs(v) < 999_500) return { n: short(v / 1e3), unit: "k" };
  if (Math.abs(v) < 999_500_000) return { n: short(v / 1e6), unit: "M" };
  return { n: short(v / 1e9), unit: "G" };
}

/** 5,310; up to two decimals. */
export function group(v: number): string {
  const [whole = "", part] = (Number.isInteger(v) ? String(v) : trim(v.toFixed(2))).split(".");
  return whole.replace(/\B(?=(\d{3})+$)/g, ",") + (part ? `.${part}` : "");
}

/** Microseconds in the largest fitting unit. */
export function micros(us: number): Amount {
  if (us < 999.5) return { n: short(us), unit: "µs" };
  if (us < 999_500) return { n: short(us / 1e3), unit: "ms" };
  return { n: short(us / 1e6), unit: "s" };
}

export function plain(a: Amount): string {
  return a.unit ? `${a.n} ${a.unit}` : a.n;
}

/** A share of 1: never 0 % nor 100 % where it is not. */
export function percent(share: number): string {
  if (share > 0 && share < 0.001) return "<0.1 %";
  if (share < 1 && share > 0.999) return ">99.9 %";
  const p = share * 100;
  return `${p < 10 && p !== Math.round(p) ? p.toFixed(1) : p.toFixed(0)} %`;
}

/** 12 s, 4 min, 3 h, 2 d: the coarsest unit that says something. */
export function ago(ms: number): string {
  const s = Math.max(0, Math.round(ms / 1000));
  if (s < 60) return `${s} s`;
  if (s < 3600) return `${Math.floor(s / 60)} min`;
  if (s < 48 * 3600) return `${Math.floor(s / 3600)} h`;
  return `${Math.floor(s / 86400)} d`;
}

/** 90s, 15m, 6h, 2d: as the query language and weirctl write a duration. */
export function duration(ms: number): string {
  for (const [n, u] of [
    [86_400_000, "d"],
    [3_600_000, "h"],
    [60_000, "m"],
    [1000, "s"],
  ] as const) {
    if (ms >= n && ms % n === 0) return `${ms / n}${u}`;
  }
  return `${ms}ms`;
}

/** The inverse of duration; NaN for what is none. */
export function parseDuration(s: string): number {
  const m = /^(\d+)(ms|s|m|h|d)$/.exec(s);
  if (!m) return Number.NaN;
  return Number(m[1]) * ({ ms: 1, s: 1000, m: 60_000, h: 3_600_000, d: 86_400_000 }[m[2] as "s"] as number);
}

const two = (n: number) => String(n).padStart(2, "0");

/** The parts of a moment in UTC or in local time. */
function parts(ms: number, utc: boolean) {
  const d = new Date(ms);
  return utc
    ? {
        y: d.getUTCFullYear(),
        mo: d.getUTCMonth() + 1,
        d: d.getUTCDate(),
        h: d.getUTCHours(),
        mi: d.getUTCMinutes(),
        s: d.getUTCSeconds(),
      }
    : {
        y: d.getFullYear(),
        mo: d.getMonth() + 1,
        d: d.getDate(),
        h: d.getHours(),
        mi: d.getMinutes(),
        s: d.getSeconds(),
      };
}

/** 03:12:07 */
export function clock(ms: number, utc: boolean): string {
  const p = parts(ms, utc);
  return `${two(p.h)}:${two(p.mi)}:${two(p.s)}`;
}

/** 03:12, or Mar 14 where a day begins; for axes. */
export function tick(ms: number, utc: boolean, step: number): string {
  const p = parts(ms, utc);
  if (p.h === 0 && p.mi === 0 && p.s === 0) return `${two(p.mo)}-${two(p.d)}`;
  return step < 60_000 ? clock(ms, utc) : `${two(p.h)}:${two(p.mi)}`;
}

/** 2026-03-14 03:12:07 UTC */
export function absolute(ms: number, utc: boolean): string {
  const p = parts(ms, utc);
  const off = -new Date(ms).getTimezoneOffset();
  const zone =
    utc || off === 0
      ? "UTC"
      : `UTC${off < 0 ? "-" : "+"}${two(Math.floor(Math.abs(off) / 60))}:${two(Math.abs(off) % 60)}`;
  return `${p.y}-${two(p.mo)}-${two(p.d)} ${clock(ms, utc)} ${zone}`;
}

/** RFC 3339 in UTC, as the API and the CLI take it. */
export function rfc3339(ms: number): string {
  return new Date(ms).toISOString().replace(".000Z", "Z");
}

// Characters that would move or hide text: controls, bidirectional marks, zero widths.
// biome-ignore lint/suspicious/noControlCharactersInRegex: they are what is looked for
const unsafe = /[\u0000-\u001f\u007f-\u009f\u061c\u200b-\u200f\u2028-\u202e\u2060-\u2069\ufeff\ufff9-\ufffb]/g;

// Marks over marks: more than any script stacks would reach into the lines above and below.
const few = 3;
const piles = /\p{Mn}{4,}/gu;

/** A name from the cluster as text that cannot act on the text around it. */
export function visible(s: string): string {
  return s
    .replace(unsafe, escaped)
    .replace(piles, (marks) => marks.slice(0, few) + marks.slice(few).replace(/./gsu, escaped));
}

const escaped = (c: string): string => `\\u${(c.codePointAt(0) ?? 0).toString(16).padStart(4, "0")}`;
