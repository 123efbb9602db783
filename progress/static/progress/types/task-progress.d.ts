export class TaskProgress extends HTMLElement {
    static observedAttributes: string[];
    static define(name?: string): void;
    set snapshot(value: import("../protocol.d.ts").Snapshot | undefined);
    get snapshot(): import("../protocol.d.ts").Snapshot | undefined;
    connectedCallback(): void;
    disconnectedCallback(): void;
    connectedMoveCallback(): void;
    /** @param {string} _ @param {?string} before @param {?string} now */
    attributeChangedCallback(_: string, before: string | null, now: string | null): void;
    handleEvent(): void;
    paint(): void;
    #private;
}
export type Snapshot = import("../protocol.d.ts").Snapshot;
