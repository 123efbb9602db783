/** The messages of `docs/protocol.md`, as types. Browsers never load this file. */

export type State =
  | "PENDING" | "RECEIVED" | "STARTED" | "PROGRESS" | "RETRY"
  | "SUCCESS" | "FAILURE" | "REVOKED" | "IGNORED" | "REJECTED" | "LOST";

/** A whole task at one moment. Times are ISO 8601 UTC by the server's clock. */
export interface Snapshot {
  v: number;
  id: string;
  /** Rises with every change; a reader drops anything not higher than what it has. */
  seq: number;
  attempt: number;
  run?: number;
  name: string;
  title: string;
  state: State;
  final: boolean;
  current: number;
  /** null: unknown. */
  total?: number | null;
  unit?: string;
  /** 0…1; null: unknown. */
  fraction?: number | null;
  message?: string;
  stages?: Stage[];
  /** Stages that did not fit. */
  stages_left_out?: number;
  children?: { known: number; ended: number; failed: number } | null;
  /** Units per second. */
  rate?: number | null;
  queued_at?: string | null;
  started_at?: string | null;
  updated_at: string;
  finished_at?: string | null;
  retries?: number;
  max_retries?: number | null;
  scheduled_for?: string | null;
  /** The task that must end first. */
  waits_for?: string | null;
  /** Where it waits, while it is PENDING. */
  queue?: string;
  /** No worker listens to that queue. */
  unserved?: boolean;
  /** Cursor of the newest log line. */
  logs_to?: string | null;
  cancel_requested?: boolean;
  /** false: nobody may cancel it. */
  cancellable?: boolean;
  meta?: Record<string, unknown>;
  result?: unknown;
  error?: { type: string; message?: string } | null;
  parent?: string | null;
  root?: string | null;
  /** Seconds without a sign of life after which a page may say so. */
  stall_after?: number;
  /** Staff view only. */
  worker?: string;
}

/** A part of the task's work. Those within it follow it, one `depth` further in. */
export interface Stage {
  name: string;
  current: number;
  /** null or missing: unknown. */
  total?: number | null;
  weight: number;
  state: "waiting" | "running" | "done" | "failed";
  depth?: number;
}

export interface LogLine {
  at: string;
  level: string;
  text: string;
}

export type Frame = { ref?: string } & (
  | { type: "watching"; items: { id: string; may: string[]; until: string | null }[] }
  | { type: "snapshots"; at: string; items: Snapshot[] }
  | { type: "tree"; id: string; tree: string; at: string; seq: number; members: string[]; known: number; ended: number; failed: number; counts: Record<string, number>; fraction?: number | null }
  | { type: "logs"; id: string; lines: LogLine[]; next: string; truncated: boolean }
  | { type: "refused"; ids: string[]; code: string; detail?: string }
  | { type: "accepted"; id: string; action: string }
  | { type: "heartbeat"; at: string }
  | { type: "closing"; code: number; retry_ms?: number }
);

/**
 * - `connecting`: nothing heard from the server yet
 * - `live`: the server is heard
 * - `stale`: connected, but silent for too long; it is being asked
 * - `offline`: lost, and dialled again by itself
 * - `refused`: the server said no for good; only `connect()` dials again
 */
export type SocketState = "connecting" | "live" | "stale" | "offline" | "refused";

/** What a page knows of a task. */
export interface Known {
  snapshot?: Snapshot;
  /** What the viewer may do: "watch", "cancel", "terminate". */
  may: string[];
  /** Why the task cannot be shown: code of the last refusal. */
  refused?: string;
}

export interface Log {
  readonly lines: readonly LogLine[];
  /** Older lines are gone. */
  readonly truncated: boolean;
  /** Not for this viewer. */
  readonly refused: boolean;
}

/** What a test or a script outside a browser may replace. All times are in milliseconds. */
export interface Surroundings {
  WebSocket?: new (url: string) => WebSocket;
  /** A clock that never goes back. */
  now?: () => number;
  random?: () => number;
  setTimeout?: (call: () => void, ms: number) => any;
  clearTimeout?: (timer: any) => void;
  window?: EventTarget;
  document?: EventTarget & { visibilityState?: string };
}
