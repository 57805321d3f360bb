// Which of the default columns a pane has room for, and how wide they are. Pure; widths in tenths of a rem.

import type { Col } from "./columns";

/** What the lines at hand need. */
export interface Need {
  why: boolean; // some line has a reason
  outcome: number; // the longest outcome with its number, in characters
  port: number; // the longest port with its protocol, in characters
  ends: number; // the longest pair of ends, in characters
}

/** Those that go first where there is no room; what is left says who, whom, where and how it went. */
const first = ["bytes", "rtt"];
const padding = 16;

const widthOf = (c: Col): number => c.width || (c.least ?? 120);

const between = (least: number, v: number, most: number): number => Math.min(most, Math.max(least, v));

/** The column with the room that its texts need, within bounds. */
function asNeeded(c: Col, need: Need): Col {
  if (c.id === "outcome") return { ...c, width: between(84, Math.round(40 + 8.7 * need.outcome), 180) };
  if (c.id === "port") return { ...c, width: between(60, Math.round(18 + 7.3 * need.port), 96) };
  if (c.id === "ends") return { ...c, least: between(180, Math.round(42 + 8 * need.ends), 290) };
  return c;
}

/** The columns as they are shown. Chosen ones all are, and scroll where they must. */
export function fitting(list: Col[], room: number, need: Need, chosen: boolean): Col[] {
  const out = list.map((c) => asNeeded(c, need));
  if (chosen || room === 0) return out;
  let kept = need.why ? out : out.filter((c) => c.id !== "why");
  for (const id of first) {
    if (width(kept) <= room) break;
    kept = kept.filter((c) => c.id !== id);
  }
  return squeezed(kept, width(kept) - room);
}

const width = (list: Col[]): number => list.reduce((n, c) => n + widthOf(c), padding);

/** The columns that can give room give it, down to what can still be read. */
function squeezed(list: Col[], over: number): Col[] {
  let left = Math.max(0, over);
  return list.map((c) => {
    if (c.width || left === 0) return c;
    const least = Math.max(c.id === "ends" ? 150 : 80, widthOf(c) - left);
    left -= widthOf(c) - least;
    return { ...c, least };
  });
}

/** The widths as a grid has them. */
export const template = (list: Col[]): string =>
  list.map((c) => (c.width ? `${c.width / 10}rem` : `minmax(${widthOf(c) / 10}rem, ${c.weight ?? 1}fr)`)).join(" ");
