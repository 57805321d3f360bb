// Something that is asked for again whenever what it depends on changes. The old answer stays until the new one is there.

import { effect, type ReadonlySignal, signal } from "@preact/signals";
import { useEffect, useMemo } from "preact/hooks";
import { Failure } from "./api";

export interface Held<T> {
  value?: T;
  /** What the value answers: a key other than the present one means it is an old answer. */
  key: string;
  loading: boolean;
  failure?: Failure;
  at: number; // when the value came, by this clock
  ms: number; // how long it took
  /** Set while the value reaches back to this moment only, and the rest is asked or failed. */
  from?: number;
  enough?: boolean; // the rest is not asked: it would change nothing
}

/** Shows a part of an answer, which reaches back to `from`, before the whole is there. */
export type Tell<T> = (value: T, from: number, enough: boolean) => void;

/** How much longer than an answer took it is left as it is. */
const rest = 10;
const slow = 2000; // ms

/**
 * The key says what is asked; null for nothing. `again` asks the same once more. A load that has told
 * enough gives null.
 */
export function resource<T>(
  key: () => string | null,
  load: (stop: AbortSignal, tell: Tell<T>, fresh: boolean) => Promise<T | null>,
  again: () => unknown,
): ReadonlySignal<Held<T>> {
  return begin(key, load, again).held;
}

/** A resource that lasts as long as the component that asks for it. */
export function useResource<T>(
  key: () => string | null,
  load: (stop: AbortSignal) => Promise<T>,
  again: () => unknown,
  on: unknown[],
): Held<T> {
  const r = useMemo(() => begin(key, load, again), on);
  useEffect(() => r.end, [r]);
  return r.held.value;
}

function begin<T>(
  key: () => string | null,
  load: (stop: AbortSignal, tell: Tell<T>, fresh: boolean) => Promise<T | null>,
  again: () => unknown,
): { held: ReadonlySignal<Held<T>>; end: () => void } {
  const held = signal<Held<T>>({ key: "", loading: false, at: 0, ms: 0 });
  let stop: AbortController | undefined;
  let asked: string | null = null;
  let running = false;
  const leave = effect(() => {
    const k = key();
    again();
    // A refresh waits for the one before it, and for a while after one that took long; a new question does not.
    const old = held.peek();
    const fresh = k !== asked || old.failure !== undefined;
    const lost = old.failure?.status === 0;
    if (k !== null && k === asked && running) return;
    if (k !== null && k === asked && !lost && old.ms > slow && Date.now() - old.at < rest * old.ms) return;
    stop?.abort();
    asked = k;
    running = false;
    if (k === null) {
      held.value = { key: "", loading: false, at: 0, ms: 0 };
      return;
    }
    const mine = new AbortController();
    stop = mine;
    held.value = { ...old, loading: true };
    const began = performance.now();
    const got = () => ({ key: k, loading: false, at: Date.now(), ms: performance.now() - began });
    const tell = (value: T, from: number, enough: boolean) => {
      if (!mine.signal.aborted) held.value = { value, from, enough, ...got() };
    };
    running = true;
    load(mine.signal, tell, fresh).then(
      (value) => {
        if (mine.signal.aborted) return;
        running = false;
        if (value !== null) held.value = { value, ...got() };
      },
      (e: unknown) => {
        if (mine.signal.aborted) return;
        running = false;
        const failure = e instanceof Failure ? e : new Failure(-1, String(e));
        const old = held.peek();
        // Without an answer what was there stays; an answer that is a refusal replaces it.
        const keep = failure.status === 0 || failure.status === 401 || (old.key === k && old.from !== undefined);
        const { failure: _, ...rest } = old;
        held.value = keep ? { ...rest, loading: false, failure, ms: got().ms } : { failure, ...got() };
      },
    );
  });
  return {
    held,
    end: () => {
      leave();
      stop?.abort();
    },
  };
}
