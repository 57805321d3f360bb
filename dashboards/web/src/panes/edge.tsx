// Why A does not reach B, or that it does: the claim, what it rests on, what to do next.

import { tone } from "../columns";
import { endParam, why } from "../data";
import { isWide, selectedTerm, shortEnd } from "../ends";
import { absolute, clock, count, plain, visible } from "../format";
import { go, rangeFlags, state } from "../state";
import type { Why, WhyFinding } from "../types";
import { code, copy, md, shell } from "../ui/copy";
import { Glyph, Outcome } from "../ui/glyph";
import { Value } from "../ui/name";
import { Failed, Loading } from "../ui/states";
import { BothEndsSum } from "./bothends";
import { Edges, useEdges } from "./edges";
import { Policies } from "./policies";

const calm = new Set(["all_well"]);
const aside = new Set(["changed", "policy_not_enforced"]);

export function toneOf(cause: string): "ok" | "denied" | "failed" | "unanswered" {
  if (calm.has(cause)) return "ok";
  if (cause === "denied" || cause === "policy_denies") return "denied";
  if (cause === "unanswered" || cause === "not_seen" || aside.has(cause)) return "unanswered";
  return "failed";
}

const upper = (s: string) => s.charAt(0).toUpperCase() + s.slice(1);

export function Claim({ f, first }: { f: WhyFinding; first: boolean }) {
  return (
    <div class={`claim ${first ? "first" : ""}`}>
      <p class={first ? "cause" : "cause second"}>
        {first && <Glyph of={toneOf(f.cause)} />}
        {visible(upper(f.claim))}.
      </p>
      {f.evidence.length > 0 && (
        <ul class="evidence">
          {f.evidence.map((e) => (
            <li key={e}>{visible(e)}</li>
          ))}
        </ul>
      )}
      {f.next && (
        <p class="next">
          <span class="muted">Next: </span>
          {/^weirctl /.test(f.next) ? <code>{visible(f.next)}</code> : visible(f.next)}
        </p>
      )}
    </div>
  );
}

export function EdgeView({ src, dst, port }: { src: string; dst: string; port?: number | undefined }) {
  const h = why.value;
  const w = h.value;
  return (
    <article class={h.loading && w ? "refreshing" : ""}>
      <h2 class="who">
        <Value of={shortEnd(src)} term={selectedTerm(src, "src")} />
        <span class="arrow">→</span>
        <Value of={shortEnd(dst)} term={selectedTerm(dst, "dst")} />
        {port ? <Value of={`:${port}`} term={`dst.port = ${port}`} /> : null}
      </h2>
      {(!src || !dst) && (
        <p class="muted">One end of this edge is not known by name: why needs both. The table shows its connections.</p>
      )}
      {src && dst && (isWide(src) || isWide(dst)) && <Between src={src} dst={dst} />}
      {h.failure && !w && <Failed failure={h.failure} what="Why" />}
      {!w && h.loading && <Loading what="Looking at both ends" />}
      {w && <WhyView w={w} src={src} dst={dst} port={port} />}
    </article>
  );
}

/** Of two namespaces the edges between their workloads, each of which can say why. */
function Between({ src, dst }: { src: string; dst: string }) {
  const { held: h, list } = useEdges(`${selectedTerm(src, "src")} ${selectedTerm(dst, "dst")}`, [src, dst]);
  return (
    <>
      {h.failure && !h.value && <Failed failure={h.failure} what="Edges" />}
      {!h.value && h.loading && <Loading what="Looking for the edges between them" />}
      {h.value && <Edges title="Edges between the two" list={list} ends={["src", "dst"]} />}
    </>
  );
}

export function WhyView({ w, src, dst, port }: { w: Why; src: string; dst: string; port?: number | undefined }) {
  const utc = state.value.utc;
  const cli = `weirctl why ${shell(endParam(src))} ${shell(endParam(dst) + (port ? `:${port}` : ""))} ${rangeFlags(state.value.range)}`;
  return (
    <>
      {w.findings.map((f, i) => (
        <Claim key={f.cause + f.claim} f={f} first={i === 0} />
      ))}
      {Object.keys(w.outcomes).length > 0 && (
        <>
          <h3>What became of {w.conns >= 1000 ? "the newest 1,000" : plain(count(w.conns))} connections</h3>
          <Mix outcomes={w.outcomes} total={w.conns} />
        </>
      )}
      <Policies steps={w.policies} />
      {w.both_ends && <BothEndsSum of={w.both_ends} />}
      {w.changes.length > 0 && (
        <>
          <h3>What changed at either end</h3>
          <ul class="plain">
            {w.changes.map((c) => (
              <li key={c.id}>
                <span class="mono muted" title={absolute(c.time_ms, utc)}>
                  {clock(c.time_ms, utc)}
                </span>{" "}
                {visible(`${c.namespace ? `${c.namespace}/` : ""}${c.object} ${c.what}`)}
              </li>
            ))}
          </ul>
        </>
      )}
      <div class="actions">
        <button type="button" onClick={() => go({ q: w.query, group: "" })}>
          show these connections
        </button>
        <button type="button" onClick={() => void copy(cli, "command")}>
          copy as CLI
        </button>
        <button type="button" onClick={() => void copy(markdown(w, cli), "answer")}>
          copy as Markdown
        </button>
      </div>
      <p class="muted foot">
        {w.partial?.length ? `Without ${w.partial.map((p) => visible(p.name)).join(", ")}. ` : ""}
        {plain(count(w.scanned.rows))} rows scanned.{" "}
        {(w.notes ?? [])
          .filter((n) => !/probe/.test(n))
          .map(visible)
          .join(". ")}
      </p>
    </>
  );
}

/** The outcomes as one bar with its words. */
export function Mix({ outcomes, total }: { outcomes: Record<string, number>; total: number }) {
  const list = Object.entries(outcomes).toSorted((a, b) => b[1] - a[1]);
  return (
    <div class="mix">
      <div class="mix-bar" aria-hidden="true">
        {list.map(([o, n]) => (
          <span key={o} class={`fill ${tone(o)}`} style={{ flexGrow: n / Math.max(1, total) }} />
        ))}
      </div>
      <ul>
        {list.map(([o, n]) => (
          <li key={o}>
            {o === "unknown" ? <span class="muted">not known</span> : <Outcome of={o} />}{" "}
            <span class="num">{plain(count(n))}</span>
          </li>
        ))}
      </ul>
    </div>
  );
}

function markdown(w: Why, cli: string): string {
  const out = [`**${md(w.src)} → ${md(w.dst)}${w.port ? `:${w.port}` : ""}**`, ""];
  for (const f of w.findings) {
    out.push(`- **${md(f.claim)}**`, ...f.evidence.map((e) => `  - ${md(e)}`));
    if (f.next) out.push(`  - next: ${/^weirctl /.test(f.next) ? code(f.next) : md(f.next)}`);
  }
  out.push("", code(cli));
  return out.join("\n");
}
