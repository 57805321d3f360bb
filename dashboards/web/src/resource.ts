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
}

/** The key says what is asked; null for nothing. `again` asks the same once more. */
export function resource<T>(
  key: () => string | null,
  load: (stop: AbortSignal) => Promise<T>,
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
  load: (stop: AbortSignal) => Promise<T>,
  again: () => unknown,
): { held: ReadonlySignal<Held<T>>; end: () => void } {
  const held = signal<Held<T>>({ key: "", loading: false, at: 0, ms: 0 });
  let stop: AbortController | undefined;
  let asked: string | null = null;
  const leave = effect(() => {
    const k = key();
    again();
    // A refresh waits for the one before it, a new question does not.
    if (k !== null && k === asked && held.peek().loading) return;
    stop?.abort();
    asked = k;
    if (k === null) {
      held.value = { key: "", loading: false, at: 0, ms: 0 };
      return;
    }
    const mine = new AbortController();
    stop = mine;
    held.value = { ...held.peek(), loading: true };
    const began = performance.now();
    load(mine.signal).then(
      (value) => {
        if (!mine.signal.aborted)
          held.value = { value, key: k, loading: false, at: Date.now(), ms: performance.now() - began };
      },
      (e: unknown) => {
        if (mine.signal.aborted) return;
        const failure = e instanceof Failure ? e : new Failure(-1, String(e));
        const old = held.peek();
        // Without an answer what was there stays; an answer that is a refusal replaces it.
        const keep = failure.status === 0 || failure.status === 401;
        const { failure: _, ...rest } = old;
        held.value = keep
          ? { ...rest, loading: false, failure }
          : { key: k, loading: false, failure, at: Date.now(), ms: performance.now() - began };
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
