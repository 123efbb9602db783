/** How many there are of each kind. @param {Iterable<{state: string}>} runs @returns {Counts} */
export function countsOf(runs: Iterable<{
    state: string;
}>): Counts;
/** The same, of a workflow's own sums by state. @param {Record<string, number>} sums @returns {Counts} */
export function countsOfStates(sums: Record<string, number>): Counts;
/**
 * "3 running, 1 failed": of each kind how many, without those that there are none of.
 * @param {Counts} counts
 * @param {readonly Kind[]} [without] kinds that are said elsewhere
 */
export function countsWords(counts: Counts, without?: readonly Kind[]): string;
/**
 * How far runs are together, 0 … 1, each counting the same; `run_task_runs.total_of` says the same.
 * @param {Run[]} runs
 */
export function totalOf(runs: Run[]): {
    value: number;
    words: string;
    failed: number;
};
/** "2 of 4 ended, 1 failed". @param {number} ended @param {number} known @param {number} failed */
export function endedWords(ended: number, known: number, failed: number): string;
export type Snapshot = import("../protocol.d.ts").Snapshot;
export type Run = Pick<Snapshot, "state" | "final"> & {
    fraction?: number | null;
};
export type Kind = "running" | "waiting" | "lost" | "failed" | "cancelled" | "ignored" | "done";
export type Counts = Record<Kind, number>;
