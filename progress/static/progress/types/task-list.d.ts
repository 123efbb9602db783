export class TaskList extends HTMLElement {
    static observedAttributes: string[];
    static define(name?: string): void;
    /** The newest counts: `{running: 3, failed: 1, …}`. */
    get counts(): import("./list-words.js").Counts;
    connectedCallback(): void;
    disconnectedCallback(): void;
    /** @param {string} name @param {?string} before @param {?string} now */
    attributeChangedCallback(name: string, before: string | null, now: string | null): void;
    #private;
}
export type Snapshot = import("../protocol.d.ts").Snapshot;
export type Tree = Extract<import("../protocol.d.ts").Frame, {
    type: "tree";
}>;
