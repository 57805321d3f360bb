// What is otherwise than before, worst first; where nothing is, one calm sentence.

import { signal } from "@preact/signals";
import type { Tone } from "../columns";
import { findings, flowMap } from "../data";
import { shortEnd } from "../ends";
import { badness } from "../layout";
import { split } from "../query";
import { go, select, state } from "../state";
import type { Finding } from "../types";
import { code, copy, md, shell } from "../ui/copy";
import { Glyph } from "../ui/glyph";
import { Name } from "../ui/name";
import { Reach } from "../ui/reach";
import { Failed, Loading } from "../ui/states";

const tones: Record<string, Tone> = {
  failing: "failed",
  loss: "failed",
  node_silent: "failed",
  clock: "unanswered",
  conntrack: "unanswered",
  denied: "denied",
  retransmits: "unanswered",
};

const shown = 3;
const open = signal(false);

/** The kinds of workloads are left out, arrows are arrows. */
export const readable = (text: string): string =>
  text
    .replace(/([\w.-]+)\/(?:Deployment|StatefulSet|DaemonSet|ReplicaSet|CronJob|Job|Pod)\//g, "$1/")
    .replaceAll(" -> ", " → ");

export function follow(f: Finding): void {
  if (!f.query) return;
  go({
    q: split(f.query).expr,
    select: f.src && f.dst ? { kind: "edge", src: f.src, dst: f.dst, ...(f.port ? { port: f.port } : {}) } : null,
  });
}

function Line({ f }: { f: Finding }) {
  const text = readable(f.text);
  const at = text.indexOf(": ");
  const head = at < 0 ? text : text.slice(0, at);
  const rest = at < 0 ? "" : text.slice(at + 2);
  return (
    <li class={`finding ${tones[f.kind] ?? "unknown"}`}>
      {f.query ? (
        <button type="button" class="finding-main" onClick={() => follow(f)} title="show these connections and why">
          <Glyph of={tones[f.kind] ?? "unknown"} />
          <Name of={head} />
          <span class="finding-rest">{rest}</span>
        </button>
      ) : (
        <span class="finding-main">
          <Glyph of={tones[f.kind] ?? "unknown"} />
          <Name of={head} />
          <span class="finding-rest">{rest}</span>
          {f.next && <code>{f.next}</code>}
        </span>
      )}
    </li>
  );
}

export function FindingsPane() {
  const h = findings.value;
  const v = h.value;
  const list = v?.findings ?? [];
  const cut = open.value ? list : list.slice(0, shown);
  return (
    <section
      class={`findings ${h.loading && h.key && !v ? "loading" : ""}`}
      aria-label="Findings"
      data-kinds={list.map((f) => f.kind).join(" ")}
    >
      {!v &&
        (h.failure ? (
          <Failed failure={h.failure} what="findings" />
        ) : (
          <Loading what="Comparing with the period before" />
        ))}
      {v && <Reach of={h} />}
      {v?.calm && <Calm text={v.calm} />}
      {list.length > 0 && (
        <ol>
          {cut.map((f) => (
            <Line key={[f.kind, f.src, f.dst, f.port, f.src ? "" : f.text].join(" ")} f={f} />
          ))}
        </ol>
      )}
      {list.length > shown && (
        <div class="findings-more">
          <button type="button" class="quiet" aria-expanded={open.value} onClick={() => (open.value = !open.value)}>
            {open.value ? "fewer" : `${list.length - shown} more`}
          </button>
          <button type="button" class="quiet" onClick={() => void copy(asMarkdown(list), "findings")}>
            copy as Markdown
          </button>
          {state.value.q && (
            <button type="button" class="quiet" onClick={() => go({ q: "", select: null })}>
              all traffic
            </button>
          )}
        </div>
      )}
    </section>
  );
}

/** Nothing is worse than before. What failed then too is not hidden by that. */
function Calm({ text }: { text: string }) {
  const map = flowMap.value.value;
  if (map?.edges.length === 0 && !state.value.q)
    return <p class="calm muted">Nothing was seen in this range: nothing can be said of it.</p>;
  const still = (map?.edges ?? [])
    .map((e) => ({ e, b: badness(e.failed, e.conns) }))
    .filter((x) => x.b.bad !== "ok")
    .toSorted((a, b) => b.e.conns - a.e.conns);
  if (still.length === 0) {
    return (
      <p class="calm">
        <Glyph of="ok" /> {sentence(text)}
      </p>
    );
  }
  return (
    <ol>
      <li class="finding unknown">
        <span class="finding-main">
          <Glyph of="ok" /> Nothing is worse than in the period before. As before:
        </span>
      </li>
      {still.slice(0, shown - 1).map(({ e, b }) => (
        <li key={`${e.src} ${e.dst}`} class={`finding ${b.bad}`}>
          <button
            type="button"
            class="finding-main"
            onClick={() => select({ kind: "edge", src: e.src, dst: e.dst })}
            title="why"
          >
            <Glyph of={b.bad} />
            <Name of={`${shortEnd(e.src)} → ${shortEnd(e.dst)}`} />
            <span class="finding-rest">{b.label}</span>
          </button>
        </li>
      ))}
    </ol>
  );
}

const sentence = (s: string) => `${s.charAt(0).toUpperCase()}${s.slice(1)}.`;

function asMarkdown(list: Finding[]): string {
  return list
    .map((f) => `- ${md(f.text)}${f.query ? `  \n  ${code(`weirctl query ${shell(f.query)}`)}` : ""}`)
    .join("\n");
}
