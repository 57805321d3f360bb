// Pages of their own over the panes: what can be seen, whether the books balance, the keys.

import { useRef } from "preact/hooks";
import { allStages, clockWords, lostOf, openOf } from "../books";
import { coverage, ledger } from "../data";
import { ago, bytes, group, plain, visible } from "../format";
import { equals } from "../query";
import { filter, go, state } from "../state";
import type { Amount, NodeCoverage, Stage } from "../types";
import { useFocus } from "../ui/focus";
import { Failed, Loading } from "../ui/states";

const names: Record<string, string> = { coverage: "Coverage", ledger: "Ledger", help: "Keys and language" };

export function Sheet() {
  const s = state.value.sheet;
  const box = useRef<HTMLElement>(null);
  useFocus(s || null, box);
  if (!s) return null;
  return (
    <section class="sheet" ref={box} tabIndex={-1} aria-label={names[s] ?? s}>
      <div class="sheet-head">
        <button type="button" class="quiet" onClick={() => go({ sheet: "" })} title="back (Escape)">
          ← back
        </button>
      </div>
      {s === "coverage" && <CoverageSheet />}
      {s === "ledger" && <LedgerSheet />}
      {s === "help" && <Help />}
    </section>
  );
}

const seenWords: Record<string, string> = { yes: "yes", no: "no", partly: "partly", unknown: "not known" };

function CoverageSheet() {
  const h = coverage.value;
  const c = h.value;
  if (!c) return h.failure ? <Failed failure={h.failure} what="Coverage" /> : <Loading what="Asking" />;
  const tables = c.tables ?? [];
  const classes = [...new Set(tables.flatMap((t) => t.rows.map((r) => `${r.class} ${r.family}`)))];
  return (
    <article class="wide">
      <h1>Which traffic can be seen</h1>
      <p class="lede">
        {visible(c.summary.replace(/^c/, "C"))}. This is about what could be observed at all; what was observed and lost
        on the way stands in the ledger.
      </p>
      {tables.length === 0 && <p>No node has told anything of itself: agents of another make, or none yet.</p>}
      <table class="matrix">
        <thead>
          <tr>
            <th>Node</th>
            {classes.map((k) => (
              <th key={k}>{k.replace("-", " ")}</th>
            ))}
            <th>told</th>
            <th class="right">conntrack</th>
          </tr>
        </thead>
        <tbody>
          {tables.map((t) => (
            <tr key={t.node} class={t.silent ? "silent" : ""}>
              <th scope="row">
                <button type="button" class="value" onClick={() => filter(equals("node", t.node))}>
                  {visible(t.node)}
                </button>
              </th>
              {classes.map((k) => {
                const r = t.rows.find((x) => `${x.class} ${x.family}` === k);
                return (
                  <td
                    key={k}
                    class={`seen ${r?.seen ?? "unknown"}`}
                    title={[r?.why, r?.remedy].filter(Boolean).join("\n")}
                  >
                    {r ? (seenWords[r.seen] ?? r.seen) : "–"}
                  </td>
                );
              })}
              <td class="mono">
                {t.silent
                  ? `silent for ${ago(Date.parse(c.time) - Date.parse(t.at))}`
                  : `${ago(Date.parse(c.time) - Date.parse(t.at))} ago`}
              </td>
              <td class="mono right">{pressure(t)}</td>
            </tr>
          ))}
        </tbody>
      </table>
      <Reasons tables={tables} />
    </article>
  );
}

function pressure(t: NodeCoverage): string {
  const p = t.pressure;
  if (!p?.max) return "–";
  const pct = (100 * p.entries) / p.max;
  return `${pct < 1 ? "<1" : Math.round(pct)} % of ${group(p.max)}`;
}

function Reasons({ tables }: { tables: NodeCoverage[] }) {
  const rows = tables.flatMap((t) => [
    ...t.rows
      .filter((r) => r.seen !== "yes")
      .map((r) => ({
        node: t.node,
        what: `${r.class} ${r.family}: ${seenWords[r.seen] ?? r.seen}`,
        why: r.why ?? "",
        remedy: r.remedy ?? "",
      })),
    ...(t.evidence ?? [])
      .filter((e) => !e.on)
      .map((e) => ({ node: t.node, what: `evidence of ${e.name}: off`, why: e.why ?? "", remedy: e.remedy ?? "" })),
  ]);
  const silent = tables.filter((t) => t.silent);
  const off = tables.filter((t) => t.clock_ms);
  if (rows.length === 0 && silent.length === 0 && off.length === 0)
    return <p class="calm">Every class of traffic of every node is seen, with all kinds of evidence.</p>;
  return (
    <>
      <h2>What is not, and what to do</h2>
      <table class="list">
        <tbody>
          {silent.map((t) => (
            <tr key={t.node}>
              <th scope="row">{visible(t.node)}</th>
              <td>silent: it may look otherwise now</td>
              <td />
              <td>
                <code>weirctl check node {visible(t.node)}</code>
              </td>
            </tr>
          ))}
          {off.map((t) => (
            <tr key={`clock ${t.node}`}>
              <th scope="row">{visible(t.node)}</th>
              <td>its clock is {clockWords(t)}</td>
              <td>the times of what it tells are its own: they stand beside others' of another moment</td>
              <td>set the clock (chrony, NTP), then restart the agent</td>
            </tr>
          ))}
          {rows.map((r) => (
            <tr key={r.node + r.what}>
              <th scope="row">{visible(r.node)}</th>
              <td>{visible(r.what)}</td>
              <td>{visible(r.why)}</td>
              <td>{visible(r.remedy)}</td>
            </tr>
          ))}
        </tbody>
      </table>
    </>
  );
}

function LedgerSheet() {
  const h = ledger.value;
  const b = h.value;
  if (!b) return h.failure ? <Failed failure={h.failure} what="Ledger" /> : <Loading what="Asking" />;
  const lost = allStages(b).filter((x) => lostOf(x.stage) > 0);
  const open = allStages(b).filter((x) => openOf(x.stage) !== 0);
  return (
    <article class="wide">
      <h1>Whether the books balance</h1>
      <p class="lede">
        At every hop: in = out + held + lost, each loss with its reason.{" "}
        {open.length === 0 ? "They do: nothing is unaccounted for." : `They do not: ${open.length} hops are off.`}{" "}
        {lost.length === 0 ? "Nothing was lost." : ""}
      </p>
      {lost.length > 0 && (
        <>
          <h2>Lost, and why</h2>
          <table class="list">
            <tbody>
              {lost.flatMap(({ owner, stage }) =>
                Object.entries(stage.lost ?? {})
                  .filter(([, a]) => a.records + a.connections > 0)
                  .map(([why, a]) => (
                    <tr key={owner + stage.stage + why}>
                      <th scope="row">{visible(owner)}</th>
                      <td>{visible(stage.stage)}</td>
                      <td>{visible(why).replaceAll("_", " ")}</td>
                      <td class="right">
                        <Three a={a} />
                      </td>
                    </tr>
                  )),
              )}
            </tbody>
          </table>
        </>
      )}
      <Hops title="Aggregator" stages={b.stages} />
      {(b.agents ?? []).map((a) => (
        <Hops
          key={a.agent + a.instance}
          title={`Agent of ${visible(a.agent)}`}
          note={`told ${ago(Date.parse(b.time) - Date.parse(a.time))} ago`}
          stages={a.stages}
        />
      ))}
      {b.former && b.former.length > 0 && <Hops title="Its predecessors" stages={b.former} />}
      {b.canaries !== undefined && (
        <p class="muted">{group(b.canaries)} of the connections were the probe's own: weirctl verify.</p>
      )}
    </article>
  );
}

function Hops({ title, note, stages }: { title: string; note?: string; stages: Stage[] }) {
  return (
    <>
      <h2>
        {title} {note && <span class="muted">{note}</span>}
      </h2>
      <table class="hops">
        <thead>
          <tr>
            <th>Hop</th>
            <th class="right">in</th>
            <th class="right">out</th>
            <th class="right">held</th>
            <th class="right">lost</th>
            <th class="right">unaccounted</th>
          </tr>
        </thead>
        <tbody>
          {stages.map((s) => (
            <tr key={s.stage}>
              <th scope="row">{visible(s.stage)}</th>
              <td class="right">
                <Three a={s.in} />
              </td>
              <td class="right">
                <Three a={s.out} />
              </td>
              <td class="right">
                <Three a={s.held} />
              </td>
              <td class={`right ${lostOf(s) ? "lost" : ""}`}>{group(lostOf(s))}</td>
              <td class={`right ${openOf(s) ? "lost" : ""}`}>{group(openOf(s))}</td>
            </tr>
          ))}
        </tbody>
      </table>
    </>
  );
}

function Three({ a }: { a: Amount }) {
  return (
    <span title={`${group(a.records)} records, ${group(a.connections)} connections, ${group(a.bytes)} bytes`}>
      {a.records > 0 || a.connections === 0 ? group(a.records) : `${group(a.connections)} conns`}{" "}
      <span class="muted">{a.bytes > 0 ? plain(bytes(a.bytes)) : ""}</span>
    </span>
  );
}

const keys: [string, string][] = [
  ["/", "edit the query; Tab completes"],
  ["Ctrl K", "go to an entity or an action"],
  ["j k, ↓ ↑", "next and previous row"],
  ["Page ↑ ↓, Home, End", "further up and down"],
  ["h l, ← →", "cell to the left and right (l without a row: live tail)"],
  ["Enter", "open the row"],
  ["o", "show each connection of a folded row"],
  ["f, x", "filter by the cell, or the value that has the focus; leave it out"],
  ["p", "hold still, and go on"],
  ["d", "what is different about failures"],
  ["c", "map: before and after"],
  ["t", "table by edge: the map as a table"],
  ["m", "map or table, in a narrow window"],
  ["u", "times in UTC or local"],
  ["Esc", "close what is open"],
  ["?", "this page"],
];

function Help() {
  return (
    <article class="wide help">
      <h1>Keys and language</h1>
      <table class="list">
        <tbody>
          {keys.map(([k, t]) => (
            <tr key={k}>
              <th scope="row">
                <kbd>{k}</kbd>
              </th>
              <td>{t}</td>
            </tr>
          ))}
        </tbody>
      </table>
      <p>
        Every value filters on a click, and is left out with Alt-click. Drag over the timeline to zoom in, or to compare
        a region with the rest.
      </p>
      <h2>Six queries to try</h2>
      <ul class="queries">
        {[
          "checkout outcome != ok",
          "dst.workload = payments | stats conns, p95(rtt) by outcome every 1m",
          "dst.scope = external not dst.ip in (100.64.0.0/10) | stats sum(bytes) by src.workload, dst.name | top 20 by sum(bytes)",
          'verdict = denied policy =~ "pci-.*" | stats conns by src.workload, dst.workload, port | sort conns desc',
          "outcome = unanswered seen_by = src | stats conns by src.node, dst.node | top 10 by conns",
          "outcome != ok or dst.scope = external or bytes > 100MiB",
        ].map((q) => (
          <li key={q}>
            <button type="button" class="value mono" onClick={() => go({ q, sheet: "" })}>
              {q}
            </button>
          </li>
        ))}
      </ul>
    </article>
  );
}
