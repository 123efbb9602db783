export class TaskLog extends HTMLElement {
    static observedAttributes: string[];
    static define(name?: string): void;
    connectedCallback(): void;
    disconnectedCallback(): void;
    /** @param {string} name @param {?string} before @param {?string} now */
    attributeChangedCallback(name: string, before: string | null, now: string | null): void;
    set taskId(id: string);
    get taskId(): string;
    #private;
}
export type LogLine = import("../protocol.d.ts").LogLine;
