// The ends of the map as conditions. Pure.

import { equals } from "./query";

/** What an end of the map filters by. */
export function endTerms(level: string, id: string, side?: "src" | "dst"): string {
  const at = side ? `${side}.` : "";
  if (id === "")
    return `not has ${side ?? "src"}.${level === "pod" ? "pod" : level === "namespace" ? "ns" : "workload"}`;
  const [ns = "", ...rest] = id.split("/");
  if (level === "namespace")
    return id.includes(".") || /[:]/.test(id) ? equals(`${at}name`, id) : equals(`${at}ns`, id);
  if (rest.length === 0) return /^[0-9.]+$|:/.test(id) ? equals(`${at}ip`, id) : equals(`${at}name`, id);
  const what = rest.join("/");
  if (what === "") return equals(`${at}ns`, ns);
  return `${equals(`${at}ns`, ns)} ${equals(`${at}${level === "pod" ? "pod" : "workload"}`, what)}`;
}
