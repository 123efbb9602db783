import assert from "node:assert/strict";
import { dirname, join, resolve } from "node:path";
import { test } from "node:test";
import { fileURLToPath } from "node:url";

import ts from "typescript";

const HERE = dirname(fileURLToPath(import.meta.url));
const TYPES = resolve(HERE, "../../progress/static/progress/types");

/** What TypeScript says of a module of a site that uses ours as docs/browser.md says. */
function complaints(text) {
  const file = join(HERE, "site.ts");
  const options = {
    strict: true,
    noEmit: true,
    target: ts.ScriptTarget.ES2022,
    module: ts.ModuleKind.ESNext,
    moduleResolution: ts.ModuleResolutionKind.Bundler,
    lib: ["lib.es2022.d.ts", "lib.dom.d.ts", "lib.dom.iterable.d.ts"],
    types: [],
    paths: { "/static/progress/*": [join(TYPES, "*")] },
  };
  const host = ts.createCompilerHost(options);
  const { getSourceFile, fileExists } = host;
  host.fileExists = (name) => name === file || fileExists(name);
  host.getSourceFile = (name, ...more) => (name === file ? ts.createSourceFile(name, text, ts.ScriptTarget.ES2022) : getSourceFile(name, ...more));
  const program = ts.createProgram([file], options, host);
  return ts.getPreEmitDiagnostics(program).map(({ messageText }) => ts.flattenDiagnosticMessageText(messageText, " "));
}

const SITE = `
import { ProgressSocket } from "/static/progress/progress-socket.js";
import { cancel } from "/static/progress/requests.js";
import { openLog } from "/static/progress/log-lines.js";
import { watchMine } from "/static/progress/wishes.js";
import "/static/progress/task-progress.js";
import "/static/progress/task-list.js";

const socket = ProgressSocket.shared("/ws/progress/");
socket.watch("a", { token: "t" });
const done: number | null | undefined = socket.task("a").snapshot?.fraction;
const noLonger: () => void = watchMine(socket);
const answer: Promise<string> = cancel(socket, "a");
const lines: readonly { text: string }[] = openLog(socket, "a").lines;
const bar = document.createElement("task-progress");
bar.addEventListener("task-progress:end", (event) => console.log(event.detail.state, bar.snapshot?.title));
console.log(done, noLonger, answer, lines);
`;

test("a site in TypeScript finds the types of everything that it may import", () => {
  assert.deepEqual(complaints(SITE), []);
});

test("a mistake in it is found", () => {
  assert.match(complaints(`${SITE}\nsocket.watch(7);`).join(), /'number' is not assignable to parameter of type 'string'/);
});
