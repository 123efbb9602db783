/**
 * Ask that a task be cancelled, by `POST`. Where the server is another site than the page, which gets no cookie of it and
 * may not read its answers, it is asked over the socket.
 * @param {ProgressSocket} socket
 * @param {string} id
 * @param {{csrf?: ?string}} [options] `csrf`: Django's token, where it is neither in a cookie nor in a form of the page
 * @returns {Promise<string>} "accepted": the wish is recorded, the task runs on until it notices. "unsent": no answer
 *   in 5 s. Else the code of the refusal.
 */
export function cancel(socket: ProgressSocket, id: string, { csrf }?: {
    csrf?: string | null;
}): Promise<string>;
export type ProgressSocket = import("./progress-socket.js").ProgressSocket;
