// Ctrl-K: every entity and every action, by a few letters.

import { signal } from "@preact/signals";
import { useEffect, useRef, useState } from "preact/hooks";
import { get } from "../api";
import { cliText } from "../elsewhere";
import { visible } from "../format";
import { value } from "../query";
import { go, paused, select, setTheme, span, state } from "../state";
import type { Completion } from "../types";
import { copy } from "../ui/copy";
import { useFocus } from "../ui/focus";

/** The text that is typed; null while it is closed. */
export const palette = signal<string | null>(null);

interface Item {
  text: string;
  hint: string;
  run: () => void;
}

const actions: Item[] = [
  { text: "Failures only", hint: "outcome != ok", run: () => go({ q: "outcome != ok" }) },
  {
    text: "What is different about failures?",
    hint: "compare",
    run: () => select({ kind: "differences", region: "outcome != ok" }),
  },
  { text: "Changes of the cluster", hint: "drawer", run: () => select({ kind: "changes" }) },
  { text: "Before / after on the map", hint: "c", run: () => go({ compare: !state.peek().compare }) },
  { text: "Live tail", hint: "l", run: () => go({ live: !state.peek().live }) },
  { text: "Pause", hint: "p", run: () => void (paused.value = !paused.peek()) },
  {
    text: "Group by edge",
    hint: "t",
    run: () => go({ group: "src.workload, dst.workload, dst.port, outcome", live: false }),
  },
  { text: "Coverage: what can be seen", hint: "page", run: () => go({ sheet: "coverage" }) },
  { text: "Ledger: whether the books balance", hint: "page", run: () => go({ sheet: "ledger" }) },
  {
    text: "Who talks outside?",
    hint: "dst.scope = external",
    run: () => go({ q: "dst.kind = external", group: "src.workload, dst.name, dst.port" }),
  },
  {
    text: "Which node pairs lose packets?",
    hint: "loss.packets > 0",
    run: () =>
      go({
        q: "loss.packets > 0 or loss.reverse.packets > 0 | stats conns, sum(loss.packets), sum(loss.reverse.packets) by src.node, dst.node",
      }),
  },
  {
    text: "What do policies deny?",
    hint: "policy.eval = denied",
    run: () => go({ q: "policy.eval = denied", group: "policy.eval, policy.eval_why" }),
  },
  { text: "Copy as CLI", hint: "clipboard", run: () => void copy(cliText(), "command") },
  { text: "Copy link", hint: "clipboard", run: () => void copy(location.href, "link") },
  { text: "Dark theme", hint: "theme", run: () => setTheme("dark") },
  { text: "Light theme", hint: "theme", run: () => setTheme("light") },
  { text: "Times in UTC or local", hint: "u", run: () => go({ utc: !state.peek().utc }, true) },
  { text: "Keys and language", hint: "?", run: () => go({ sheet: "help" }) },
];

async function entities(text: string, stop: AbortSignal): Promise<Item[]> {
  const s = span.peek();
  const out: Item[] = [];
  for (const [field, hint] of [
    ["workload", "workload"],
    ["service", "Service"],
    ["pod", "pod"],
    ["node", "node"],
    ["ns", "namespace"],
    ["name", "external name"],
  ] as const) {
    const c = await get<Completion>("complete", { text: `${field} = ${text}`, since: s.from, until: s.to }, stop);
    for (const x of c.suggestions.filter((x) => x.kind === "value").slice(0, 5)) {
      const v = x.text.startsWith('"') ? (JSON.parse(x.text) as string) : x.text;
      out.push({
        text: v,
        hint,
        run: () =>
          field === "ns" || field === "node"
            ? go({ q: `${field} = ${value(v)}`, select: null })
            : select({ kind: "entity", name: v }),
      });
    }
  }
  return out;
}

export function Palette() {
  const input = useRef<HTMLInputElement>(null);
  const [found, setFound] = useState<Item[]>([]);
  const [at, setAt] = useState(0);
  const text = palette.value;
  useFocus(text === null ? null : "open", input);
  useEffect(() => {
    setAt(0);
    setFound([]);
    if (!text) return;
    const stop = new AbortController();
    const timer = setTimeout(() => entities(text, stop.signal).then(setFound, () => undefined), 120);
    return () => {
      clearTimeout(timer);
      stop.abort();
    };
  }, [text]);
  if (text === null) return null;
  const t = text.toLowerCase();
  const list = [
    ...found,
    ...actions.filter((a) => a.text.toLowerCase().includes(t) || a.hint.toLowerCase().includes(t)),
  ];
  const close = () => (palette.value = null);
  const run = (i: Item | undefined) => {
    if (!i) {
      if (text) go({ q: text });
      return close();
    }
    close();
    i.run();
  };
  return (
    <div class="scrim" onPointerDown={(e) => e.target === e.currentTarget && close()}>
      <div class="palette" role="dialog" aria-modal="true" aria-label="Go to">
        <input
          ref={input}
          value={text}
          placeholder="a workload, pod, Service, node, name, or an action"
          role="combobox"
          aria-expanded="true"
          aria-controls="palette-list"
          aria-label="go to"
          aria-activedescendant={list.length > 0 ? `palette-${at}` : undefined}
          onInput={(e) => (palette.value = e.currentTarget.value)}
          onKeyDown={(e) => {
            if (e.key === "ArrowDown") setAt(Math.min(at + 1, list.length - 1));
            else if (e.key === "ArrowUp") setAt(Math.max(at - 1, 0));
            else if (e.key === "Enter") run(list[at]);
            else if (e.key === "Escape") close();
            else return;
            e.preventDefault();
            e.stopPropagation();
          }}
        />
        <div id="palette-list" role="listbox" aria-label="entities and actions" tabIndex={-1}>
          {list.map((i, k) => (
            // biome-ignore lint/a11y/useKeyWithClickEvents: the arrows of the input do the same
            <div
              key={i.hint + i.text}
              id={`palette-${k}`}
              role="option"
              tabIndex={-1}
              aria-selected={k === at}
              class={k === at ? "on" : ""}
              onClick={() => run(i)}
              ref={(el) => {
                if (k === at) el?.scrollIntoView({ block: "nearest" });
              }}
            >
              <bdi>{visible(i.text)}</bdi> <span class="muted">{i.hint}</span>
            </div>
          ))}
        </div>
        {list.length === 0 && <p class="muted state">Enter asks for it as a query.</p>}
      </div>
    </div>
  );
}
