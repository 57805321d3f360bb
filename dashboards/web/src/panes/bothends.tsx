// What the nodes of both ends counted of one connection or of many, and by how much they differ.

import { type Conn, str } from "../columns";
import { bytes, group, plain } from "../format";
import { equals } from "../query";
import type { WhyBothEnds } from "../types";
import { Outcome } from "../ui/glyph";
import { Value } from "../ui/name";

const counters = [
  ["packets", "packets →", group],
  ["bytes", "bytes →", (v: number) => plain(bytes(v))],
  ["reverse.packets", "packets ←", group],
  ["reverse.bytes", "bytes ←", (v: number) => plain(bytes(v))],
] as const;

const unreported = "that end's node did not report";

/** A cell, or a dash with its reason. */
function Cell({ v, show, why }: { v: number | null; show: (v: number) => string; why: string }) {
  if (v !== null) return <>{show(v)}</>;
  return (
    <span class="muted" title={why}>
      –
    </span>
  );
}

function Head({ title }: { title: string }) {
  return (
    <thead>
      <tr>
        <th>
          <span class="sr">{title}</span>
        </th>
        <th>client saw</th>
        <th>server saw</th>
        <th>difference</th>
      </tr>
    </thead>
  );
}

interface CountedRow {
  title: string;
  show: (v: number) => string;
  a: number | null;
  b: number | null;
  missing: number | null; // sent and not received
}

function Counted({ title, show, a, b, missing }: CountedRow) {
  const words = (v: number) => (v > 0 ? `${show(v)} lost` : v < 0 ? `${show(-v)} more` : "0");
  return (
    <tr>
      <th scope="row">{title}</th>
      <td>
        <Cell v={a} show={show} why={unreported} />
      </td>
      <td>
        <Cell v={b} show={show} why={unreported} />
      </td>
      <td class={missing ? "lost" : ""}>
        <Cell v={missing} show={words} why="only one end is known" />
      </td>
    </tr>
  );
}

/** Of all connections of a pair that both nodes counted. */
export function BothEndsSum({ of: b }: { of: WhyBothEnds }) {
  const sums = [b.packets, b.bytes, b.reverse_packets, b.reverse_bytes];
  return (
    <>
      <h3>What both ends counted, of {group(b.conns)} connections</h3>
      <table class="ends-table">
        <Head title="sum" />
        <tbody>
          {counters.map(([f, title, show], i) => {
            const c = sums[i];
            return (
              <Counted
                key={f}
                title={title}
                show={show}
                a={c?.src ?? null}
                b={c?.dst ?? null}
                missing={c?.missing ?? null}
              />
            );
          })}
        </tbody>
      </table>
    </>
  );
}

/** Of one connection, with what each end proved of it. */
export function BothEnds({ c }: { c: Conn }) {
  const num = (v: unknown): number | null => (typeof v === "number" ? v : null);
  return (
    <>
      <h3>What both ends saw</h3>
      <table class="ends-table">
        <Head title="counter" />
        <tbody>
          {counters.map(([f, title, show]) => {
            const a = num(c[`src.${f}`]);
            const b = num(c[`dst.${f}`]);
            const d = a === null || b === null ? null : f.startsWith("reverse") ? b - a : a - b;
            return <Counted key={f} title={title} show={show} a={a} b={b} missing={d} />;
          })}
          <tr>
            <th scope="row">retransmits</th>
            <td>
              <Cell v={num(c["src.retransmits"])} show={group} why="no socket was read" />
            </td>
            <td>
              <Cell v={num(c["dst.retransmits"])} show={group} why="no socket was read" />
            </td>
            <td />
          </tr>
          <tr>
            <th scope="row">outcome</th>
            <td>
              <Proven of={str(c["src.outcome"])} />
            </td>
            <td>
              <Proven of={str(c["dst.outcome"])} />
            </td>
            <td />
          </tr>
          <tr>
            <th scope="row">node</th>
            <td>
              <NodeOf c={c} side="src" />
            </td>
            <td>
              <NodeOf c={c} side="dst" />
            </td>
            <td />
          </tr>
        </tbody>
      </table>
    </>
  );
}

function Proven({ of }: { of: string }) {
  if (of) return <Outcome of={of} />;
  return (
    <span class="muted" title="that node proved none">
      –
    </span>
  );
}

function NodeOf({ c, side }: { c: Conn; side: "src" | "dst" }) {
  const v = c[`${side}.node`];
  if (v) return <Value of={str(v)} term={equals(`${side}.node`, v)} />;
  return (
    <span class="muted" title="the end is on no node of this cluster, or was not known">
      –
    </span>
  );
}
