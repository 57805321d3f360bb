// The query: chips for the terms that must all hold and one for the rest; text while it is edited, completed by the server.

import { signal } from "@preact/signals";
import { useEffect, useRef, useState } from "preact/hooks";
import { get } from "../api";
import { table, timeline } from "../data";
import { visible } from "../format";
import { byteOffset, charOffset, chips, split, without } from "../query";
import { go, span, state } from "../state";
import type { Completion } from "../types";

/** Set to begin editing. */
export const editing = signal(false);

const wait = 90;

export function QueryBar() {
  return editing.value ? <Editor /> : <Chips />;
}

function Chips() {
  const { expr, stages } = split(state.value.q);
  const list = chips(expr);
  const f = timeline.value.failure ?? table.value.failure;
  const wrong = f?.status === 400 ? f : undefined;
  return (
    // biome-ignore lint/a11y/useKeyWithClickEvents lint/a11y/noStaticElementInteractions: "/" and the button within do the same
    <div
      class={`query ${wrong ? "wrong" : ""}`}
      title={wrong ? visible(wrong.message) : ""}
      onClick={() => (editing.value = true)}
    >
      {list.map((t) => (
        <span key={t.text} class="chip" title={visible(t.terms.join(" "))}>
          <bdi class="mono">{visible(t.text)}</bdi>
          <button
            type="button"
            class="quiet"
            aria-label={`without ${visible(t.text)}`}
            onClick={(e) => {
              e.stopPropagation();
              go({ q: t.terms.reduce(without, state.value.q) });
            }}
          >
            ×
          </button>
        </span>
      ))}
      {stages && (
        <span class="chip stages" title={visible(stages)}>
          <bdi class="mono">{visible(stages)}</bdi>
          <button
            type="button"
            class="quiet"
            aria-label="without the stages"
            onClick={(e) => {
              e.stopPropagation();
              go({ q: expr });
            }}
          >
            ×
          </button>
        </span>
      )}
      <button type="button" class="query-edit" aria-keyshortcuts="/" onClick={() => (editing.value = true)}>
        {list.length || stages ? (
          <span class="sr">edit the query</span>
        ) : (
          <span class="muted">all connections: type a name, or a condition as outcome != ok</span>
        )}
        <kbd>/</kbd>
      </button>
    </div>
  );
}

function Editor() {
  const input = useRef<HTMLInputElement>(null);
  const [text, setText] = useState(state.peek().q && `${state.peek().q} `);
  const [c, setC] = useState<Completion>({ from: 0, suggestions: [] });
  const [at, setAt] = useState(-1);
  useEffect(() => {
    input.current?.focus();
    const n = input.current?.value.length ?? 0;
    input.current?.setSelectionRange(n, n);
  }, []);
  const [caret, setCaret] = useState(text.length);
  useEffect(() => {
    const stop = new AbortController();
    const timer = setTimeout(() => {
      const s = span.peek();
      get<Completion>(
        "complete",
        { text, cursor: byteOffset(text, caret), since: s.from, until: s.to },
        stop.signal,
      ).then(
        (v) => {
          setC(v);
          setAt(-1);
        },
        () => undefined,
      );
    }, wait);
    return () => {
      clearTimeout(timer);
      stop.abort();
    };
  }, [text, caret]);
  const take = (i: number) => {
    const s = c.suggestions[i];
    if (!s) return;
    const from = charOffset(text, c.from);
    const next = `${text.slice(0, from)}${s.text} ${text.slice(caret).trimStart()}`;
    setText(next);
    const pos = from + s.text.length + 1;
    setCaret(pos);
    requestAnimationFrame(() => input.current?.setSelectionRange(pos, pos));
  };
  const done = () => {
    editing.value = false;
    go({ q: text.trim(), sort: "" });
  };
  const onKey = (e: KeyboardEvent) => {
    const n = c.suggestions.length;
    if (e.key === "ArrowDown" && n) setAt((at + 1) % n);
    else if (e.key === "ArrowUp" && n) setAt((at + n - 1) % n);
    else if (e.key === "Tab" && n && !e.shiftKey) take(Math.max(at, 0));
    else if (e.key === "Enter" && at >= 0) take(at);
    else if (e.key === "Enter") done();
    else if (e.key === "Escape") editing.value = false;
    else return;
    e.preventDefault();
    e.stopPropagation();
  };
  return (
    <div class="query editing">
      <input
        ref={input}
        class="mono"
        value={text}
        maxLength={8192}
        role="combobox"
        aria-label="query"
        aria-expanded={c.suggestions.length > 0}
        aria-controls={c.suggestions.length > 0 ? "suggestions" : undefined}
        aria-autocomplete="list"
        aria-activedescendant={at >= 0 ? `suggestion-${at}` : undefined}
        spellcheck={false}
        autocomplete="off"
        placeholder="checkout outcome != ok"
        onInput={(e) => {
          setText(e.currentTarget.value);
          setCaret(e.currentTarget.selectionStart ?? e.currentTarget.value.length);
        }}
        onSelect={(e) => setCaret(e.currentTarget.selectionStart ?? 0)}
        onKeyDown={onKey}
        onBlur={(e) => {
          if (!(e.relatedTarget as HTMLElement | null)?.closest(".suggestions")) done();
        }}
      />
      {c.suggestions.length > 0 && (
        <div class="suggestions" id="suggestions" role="listbox" aria-label="completions" tabIndex={-1}>
          {c.suggestions.map((s, i) => (
            // biome-ignore lint/a11y/useKeyWithClickEvents: the arrows of the input do the same
            <div
              key={s.text}
              id={`suggestion-${i}`}
              role="option"
              tabIndex={-1}
              aria-selected={i === at}
              class={i === at ? "on" : ""}
              ref={(el) => {
                if (i === at) el?.scrollIntoView({ block: "nearest" });
              }}
              onPointerDown={(e) => e.preventDefault()}
              onClick={() => take(i)}
            >
              <span class="mono">{visible(s.text)}</span> <span class="muted">{s.kind}</span>{" "}
              <span class="muted doc">{s.doc}</span>
            </div>
          ))}
        </div>
      )}
    </div>
  );
}
