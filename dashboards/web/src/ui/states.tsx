// What a pane says while it has nothing to show.

import type { Failure } from "../api";
import { visible } from "../format";

export function Loading({ what }: { what: string }) {
  return <p class="state muted">{what} …</p>;
}

export function Failed({ failure, what }: { failure: Failure; what: string }) {
  if (failure.status === 403)
    return (
      <p class="state muted">
        {what}: {visible(failure.message)}
      </p>
    );
  return (
    <p class="state" role="alert">
      <strong>{what}:</strong> {visible(failure.message)}
      {failure.near ? ` Did you mean ${visible(failure.near)}?` : ""}
    </p>
  );
}
