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
  /** When it began and ended, in ms since `started_at`; where that is told. */
  from?: number | null;
  to?: number | null;
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

/** docs/browser.md says what each means, and when one becomes another. */
export type SocketState = "connecting" | "live" | "stale" | "offline" | "refused";

/** What carries the snapshots. */
export type Transport = "websocket" | "sse" | "polling";

/** What a page knows of a task. */
export interface Known {
  snapshot?: Snapshot;
  /** What the viewer may do: "watch", "cancel", "terminate". */
  may: string[];
  /** Why the task cannot be shown: code of the last refusal. */
  refused?: string;
  /** How many elements want it. */
  watchers?: number;
}

/** A task of a `ProgressSocket`. */
export interface Task extends Known {
  watchers: number;
  token: string;
  whileHidden: boolean;
  /** How often it was asked for again. */
  tries: number;
}

export interface Log {
  readonly lines: readonly LogLine[];
  /** Older lines are gone. */
  readonly truncated: boolean;
  /** Not for this viewer. */
  readonly refused: boolean;
}

/** What is needed of a browser. A test, or a script outside of one, may give something else than `globalThis`. */
export interface Host {
  WebSocket: new (url: string) => WebSocket;
  fetch: typeof fetch;
  /** A clock that never goes back, ms. */
  performance: { now(): number };
  Math: { random(): number };
  setTimeout(call: () => void, ms: number): any;
  clearTimeout(timer: any): void;
  window?: EventTarget;
  document?: EventTarget & { visibilityState?: string };
  navigator?: { connection?: { saveData?: boolean } };
}

/** `url`: also as in a link. */
export type SocketOptions = { url: string; host?: Host };

/** What a connection asks of whom it is for, and tells them. */
export interface Owner {
  /** Another server listens, which knows nothing of us. */
  opened(): void;
  received(text: string): void;
  /** The state is another one. */
  changed(): void;
  /** Two dials in a row were never heard. */
  blocked(): void;
  /** Is the connection needed? */
  readonly busy: boolean;
}

export interface Connection {
  state: SocketState;
  readonly open: boolean;
  /** No connection, no dial, no plan for one. */
  readonly idle: boolean;
  /** False if there is no connection. */
  send(message: object): boolean;
  /** The server will close, and wants to see us again in so many ms. */
  dictate(wait?: number): void;
  close(state?: SocketState): void;
  /** Now, whatever is under way. */
  dial(): void;
  /** Is anybody there? If not, within 3 s, it is dialled again. */
  ping(): void;
}

export type Connect = (url: string, host: Host, owner: Owner) => Connection;

/** After `wait`: is all `well`? `otherwise` is for when it is not. */
export type Judge = (wait: number, well: () => boolean, otherwise: () => void, again?: boolean) => void;

/** What carries snapshots where WebSockets do not work. */
export interface Fallback {
  /** The server was heard of late. */
  readonly live: boolean;
  readonly transport: Transport;
  /** What is watched may have changed. */
  renew(): void;
  end(): void;
}

/** A message for each server; one without a type is a `watch`. */
export type Wish = { type?: string } & Record<string, unknown>;

/** Words for people about a task; `at` is the server's time in ms since 1970, null where it is not known. */
export type Say<Said = string> = (s: Snapshot, at?: number | null, now?: any) => Said;

/** In the language of the page, if it has loaded a catalogue; values fill `%(name)s`, numbers as that language has them. */
export type Gettext = (text: string, values?: any) => string;

declare global {
  /** Django's JavaScript catalogue; without one the admin uses this name, too. */
  var django: undefined | { gettext?(text: string): string };
}

/** What `<task-progress>` offers: each attribute as a property. `true`: there without a value; `false`: missing. */
export interface TaskProgressElement extends HTMLElement {
  taskId: string | boolean;
  token: string | boolean;
  socket: string | boolean;
  http: string | boolean;
  href: string | boolean;
  heading: string | number | boolean;
  compact: boolean;
  confirm: string | boolean;
  csrf: string | boolean;
  notify: string | boolean;
  successUrl: string | boolean;
  /** The newest there is; may be set to one that the page was made with, or to its JSON. */
  get snapshot(): Snapshot | undefined;
  set snapshot(value: Snapshot | string | null | undefined);
}

declare global {
  interface HTMLElementTagNameMap {
    "task-progress": TaskProgressElement;
  }
  interface HTMLElementEventMap {
    "task-progress:change": CustomEvent<Snapshot>;
    "task-progress:end": CustomEvent<Snapshot>;
    "task-progress:leave": CustomEvent<{ snapshot: Snapshot; url: string }>;
  }
}
