// The live tail: a stream of records, of which a bounded share is read and shown once a second.

import { effect, signal } from "@preact/signals";
import { Failure, link, returned, send, sleep } from "./api";
import type { Conn } from "./columns";
import { parts, paused, state } from "./state";

/** Records that are shown of each second, and that are kept. */
export const perSecond = 200;
export const kept = 1000;

export interface Tail {
  rows: Conn[]; // newest first
  shown: number; // in the last second
  came: number; // in the last second, matching the query
  skipped: number; // overwritten before they could be read, since the start
  held: number; // came while the view was held still
  failure?: Failure;
}

const empty: Tail = { rows: [], shown: 0, came: 0, skipped: 0, held: 0 };
export const tail = signal<Tail>(empty);
/** True while the pointer is over the rows, or the view is scrolled. */
export const holding = signal(false);

/** Splits bytes into lines; only those that are wanted become text. */
export class Lines {
  private rest: Uint8Array = new Uint8Array(0);
  private readonly decoder = new TextDecoder();

  /** Calls `each` with every whole line; `text` makes it a string. */
  push(chunk: Uint8Array, each: (text: () => string, length: number) => void): void {
    let from = 0;
    for (let nl = chunk.indexOf(10); nl >= 0; nl = chunk.indexOf(10, from)) {
      let line = chunk.subarray(from, nl);
      if (this.rest.length > 0) {
        const whole = new Uint8Array(this.rest.length + line.length);
        whole.set(this.rest);
        whole.set(line, this.rest.length);
        line = whole;
        this.rest = new Uint8Array(0);
      }
      const l = line;
      each(() => this.decoder.decode(l), l.length);
      from = nl + 1;
    }
    if (from < chunk.length) {
      const more = new Uint8Array(this.rest.length + chunk.length - from);
      more.set(this.rest);
      more.set(chunk.subarray(from), this.rest.length);
      this.rest = more;
    }
  }
}

const noteStart = '{"weir":';

const protocols: Record<number, string> = { 1: "icmp", 6: "tcp", 17: "udp", 58: "icmpv6", 132: "sctp" };

/** A record of the stream with its values as a query gives them. */
function record(text: string): Conn {
  const c = JSON.parse(text) as Conn;
  if (typeof c.proto === "number") c.proto = protocols[c.proto] ?? String(c.proto);
  return c;
}

/** What came since the last batch. */
export class Batch {
  came = 0;
  skipped = 0;
  ended = false;
  readonly rows: Conn[] = [];

  line(text: () => string, length: number): void {
    if (length === 0) return;
    // Notes are short; only short lines are looked at for one.
    if (length < 200) {
      const t = text();
      if (t.startsWith(noteStart)) {
        const note = JSON.parse(t).weir as { skipped?: number; end?: boolean };
        this.skipped += note.skipped ?? 0;
        this.ended ||= note.end === true;
        return;
      }
    }
    this.came++;
    if (this.rows.length < perSecond) this.rows.push(record(text()));
  }
}

/** The rows with a batch on top; newest first, the newest record of each connection. */
export function merge(rows: Conn[], batch: Conn[]): Conn[] {
  const seen = new Set<string>();
  const out: Conn[] = [];
  for (const c of [...batch.toReversed(), ...rows]) {
    const id = String(c.conn_id ?? c.id ?? "");
    if (id) {
      if (seen.has(id)) continue;
      seen.add(id);
    }
    if (out.push(c) >= kept) break;
  }
  return out;
}

async function run(query: string, stop: AbortSignal): Promise<void> {
  for (let wait = 500; !stop.aborted; wait = Math.min(wait * 2, 15_000)) {
    try {
      const r = await send(
        "flows",
        { follow: "true", last: "200", ...(query ? { query } : {}) },
        stop,
        "application/x-ndjson",
      );
      wait = 500;
      await read(r, stop);
    } catch (e) {
      if (stop.aborted) return;
      const failure = e instanceof Failure ? e : new Failure(0, "the stream broke off");
      tail.value = { ...tail.value, shown: 0, came: 0, failure };
      if (failure.status === 400 || failure.status === 401 || failure.status === 403) return;
    }
    await sleep(wait, stop).catch(() => undefined);
  }
}

async function read(r: Response, stop: AbortSignal): Promise<void> {
  const reader = (r.body as ReadableStream<Uint8Array>).getReader();
  const lines = new Lines();
  let batch = new Batch();
  const flush = () => {
    const b = batch;
    batch = new Batch();
    const t = tail.peek();
    const still = holding.peek() || paused.peek();
    const { failure: _, ...rest } = t;
    tail.value = {
      ...rest,
      rows: still || b.rows.length === 0 ? t.rows : merge(t.rows, b.rows),
      shown: still ? 0 : b.rows.length,
      came: b.came,
      skipped: t.skipped + b.skipped,
      held: still ? t.held + b.came : 0,
    };
  };
  const timer = setInterval(flush, 1000);
  try {
    for (let first = true; ; ) {
      const { done, value } = await reader.read();
      if (done || stop.aborted) break;
      lines.push(value, (text, n) => batch.line(text, n));
      if (first) {
        first = false;
        flush(); // the backlog is shown at once
      }
      if (batch.ended) break;
    }
  } finally {
    clearInterval(timer);
    flush();
    reader.cancel().catch(() => undefined);
  }
}

let stopLive: AbortController | undefined;
effect(() => {
  const on = state.value.live && link.value.state !== "token";
  const q = parts.value.expr;
  returned.value;
  stopLive?.abort();
  if (!on) {
    if (tail.peek() !== empty) tail.value = empty;
    return;
  }
  stopLive = new AbortController();
  tail.value = empty;
  void run(q, stopLive.signal);
});
