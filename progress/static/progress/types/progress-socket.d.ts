export function isNewer(snapshot: Snapshot, known?: Snapshot): boolean;
export class ProgressSocket extends EventTarget {
    /** @param {string} url @param {{http?: ?string}} [options] */
    static shared(url: string, { http }?: {
        http?: string | null;
    }): ProgressSocket;
    /** @param {string} url @param {ProgressSocket} socket */
    static provide(url: string, socket: ProgressSocket): void;
    /** @param {SocketOptions} options */
    constructor({ url, host }: SocketOptions);
    /** @type {Map<string, Task>} */ tasks: Map<string, Task>;
    /** @type {Map<string, Wish>} */ wishes: Map<string, Wish>;
    asleep: boolean;
    /** @type {Map<string, unknown>} */ told: Map<string, unknown>;
    http: string;
    host: import("../protocol.d.ts").Host;
    connection: import("../protocol.d.ts").Connection;
    get state(): import("../protocol.d.ts").SocketState;
    get transport(): import("../protocol.d.ts").Transport;
    get serverTime(): number | null;
    /** @param {string} id @returns {Known} */
    task(id: string): Known;
    /** @param {string} id @param {{token?: ?string, whileHidden?: boolean}} [options] */
    watch(id: string, { token, whileHidden }?: {
        token?: string | null;
        whileHidden?: boolean;
    }): void;
    /** @param {string} id */
    unwatch(id: string): void;
    /** @param {Snapshot} snapshot */
    merge(snapshot: Snapshot): boolean;
    connect(): void;
    close(): void;
    /** ms between two frames */
    get every(): 5000 | 1000 | 250;
    /** @param {Task} [task] */
    wants(task?: Task): boolean;
    get busy(): boolean;
    begin(): void;
    /** @param {string} [id] */
    change(id?: string): void;
    opened(): void;
    changed(): void;
    blocked(): Promise<void>;
    /** @param {string} text */
    received(text: string): void;
    /** @param {any} frame of the server, over whatever it came */
    take(frame: any): void;
    #private;
}
import type { Snapshot } from "../protocol.d.ts";
import type { Task } from "../protocol.d.ts";
import type { Wish } from "../protocol.d.ts";
import type { Known } from "../protocol.d.ts";
import type { SocketOptions } from "../protocol.d.ts";
