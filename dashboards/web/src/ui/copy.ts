// Text for other places: the shell, the incident channel, a spreadsheet.

import { signal } from "@preact/signals";
import type { Cell, Column, Row } from "../types";

/** What was done last, for the line at the foot of the page. */
export const said = signal("");
let timer = 0;

export function say(text: string): void {
  said.value = text;
  clearTimeout(timer);
  timer = window.setTimeout(() => {
    said.value = "";
  }, 3000);
}

export async function copy(text: string, what: string): Promise<void> {
  try {
    await navigator.clipboard.writeText(text);
    say(`${what} copied`);
  } catch {
    // Without a secure context there is no clipboard: the old way needs a selection.
    const t = document.createElement("textarea");
    t.value = text;
    document.body.append(t);
    t.select();
    const done = document.execCommand("copy");
    t.remove();
    say(done ? `${what} copied` : "the browser refuses to copy");
  }
}

/** A word for a POSIX shell. */
export const shell = (s: string): string => (/^[\w./:=@%+,-]+$/.test(s) ? s : `'${s.replace(/'/g, "'\\''")}'`);

/** Text that Markdown takes literally. */
export const md = (s: string): string => s.replace(/[\\`*_[\]<>|#]/g, (c) => `\\${c}`);

/** Text as code in Markdown: in more backticks than it holds in a row. */
export function code(s: string): string {
  const fence = "`".repeat(1 + Math.max(0, ...(s.match(/`+/g) ?? []).map((x) => x.length)));
  return fence === "`" ? `\`${s}\`` : `${fence} ${s} ${fence}`;
}

/** RFC 4180. A cell that a spreadsheet would run as a formula gets an apostrophe. */
export function csv(columns: Pick<Column, "name">[], rows: Pick<Row, "values">[]): string {
  const cell = (v: Cell): string => {
    if (v === null) return "";
    let s = String(v);
    if (typeof v === "string" && /^[=+\-@\t\r]/.test(s)) s = `'${s}`;
    return /[",\r\n]/.test(s) ? `"${s.replace(/"/g, '""')}"` : s;
  };
  return [columns.map((c) => cell(c.name)), ...rows.map((r) => r.values.map(cell))]
    .map((l) => `${l.join(",")}\r\n`)
    .join("");
}

export function download(name: string, kind: string, text: string): void {
  const a = document.createElement("a");
  a.href = URL.createObjectURL(new Blob([text], { type: kind }));
  a.download = name;
  a.click();
  setTimeout(() => URL.revokeObjectURL(a.href), 10_000);
}
