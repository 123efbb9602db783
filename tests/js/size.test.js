import assert from "node:assert/strict";
import { readFileSync, readdirSync } from "node:fs";
import { dirname, join, relative, resolve } from "node:path";
import { test } from "node:test";
import { fileURLToPath } from "node:url";
import { gzipSync } from "node:zlib";

import ts from "typescript";

const FOLDER = resolve(dirname(fileURLToPath(import.meta.url)), "../../progress/static/progress");
const CODE = 8_192; // bytes, gzipped together, of the code that a page with one bar loads
const SERVED = 11_264; // bytes, each file gzipped by itself as servers do, comments and types included
const LATER = /\b(list|log|details|cancel|notice|fallback|more-words)\b/; // only when it is needed

/** The modules that a module names: those that come with it, and those that it loads when it needs them. */
function importsOf(file) {
  const source = ts.createSourceFile(file, readFileSync(file, "utf8"), ts.ScriptTarget.ES2022, true, ts.ScriptKind.JS);
  const found = { atOnce: [], later: [] };
  (function visit(node) {
    if ((ts.isImportDeclaration(node) || ts.isExportDeclaration(node)) && node.moduleSpecifier) {
      found.atOnce.push(node.moduleSpecifier.text);
    } else if (ts.isCallExpression(node) && node.expression.kind === ts.SyntaxKind.ImportKeyword) {
      const [name] = node.arguments;
      assert.ok(ts.isStringLiteralLike(name), `${file} imports something by a name that is worked out: ${name.getText()}`);
      found.later.push(name.text);
    }
    ts.forEachChild(node, visit);
  })(source);
  return found;
}

/** Everything that comes with a module, itself first. */
function graphOf(file, known = new Set()) {
  if (known.has(file)) return known;
  known.add(file);
  for (const name of importsOf(file).atOnce) graphOf(resolve(dirname(file), name), known);
  return known;
}

/** What a machine reads of a file: the text without its comments, which are served with it. */
function codeOf(file) {
  const text = readFileSync(file, "utf8");
  const source = ts.createSourceFile(file, text, ts.ScriptTarget.ES2022, true, ts.ScriptKind.JS);
  const comments = new Map(); // begin → end
  (function visit(node) {
    const at = node.getFullStart();
    const found = [...(ts.getLeadingCommentRanges(text, at) ?? []), ...(ts.getTrailingCommentRanges(text, at) ?? [])];
    if (node.kind < ts.SyntaxKind.FirstNode) for (const { pos, end } of found) comments.set(pos, end);
    for (const child of node.getChildren(source)) visit(child);
  })(source);
  let code = "";
  let at = 0;
  for (const [begin, end] of [...comments].sort(([a], [b]) => a - b)) {
    code += text.slice(at, begin);
    at = end;
  }
  return (code + text.slice(at)).replace(/[ \t]+$/gm, "").replace(/\n+/g, "\n");
}
const gzipped = (text) => gzipSync(text, { level: 9 }).length;
const nameOf = (file) => relative(FOLDER, file);
const modules = readdirSync(FOLDER).filter((name) => name.endsWith(".js"));

test("the code of a page with one bar is at most 8 KB, gzipped, and little more comes with it", (t) => {
  const files = [...graphOf(join(FOLDER, "task-progress.js"))];
  assert.ok(files.length > 2, "the bar and its socket are modules of their own");
  const code = gzipped(files.map(codeOf).join(""));
  const sizes = files.map((file) => [nameOf(file), gzipped(readFileSync(file))]);
  const served = sizes.reduce((sum, [, size]) => sum + size, 0);
  t.diagnostic(`${code} bytes of code, ${served} served: ${sizes.join(" ")}`);
  assert.ok(code <= CODE, `expected at most ${CODE} bytes of code, got ${code}`);
  assert.ok(served <= SERVED, `expected at most ${SERVED} bytes served, got ${served}: ${sizes.join(" ")}`);
});

test("list, log, details, cancelling, notices and other transports are not loaded with a bar", () => {
  const loaded = [...graphOf(join(FOLDER, "task-progress.js"))].map(nameOf);
  assert.ok(loaded.includes("progress-socket.js"));
  const early = loaded.filter((name) => LATER.test(name));
  assert.deepEqual(early, []);
});

test("what a bar loads later is there", () => {
  const named = modules.flatMap((name) => importsOf(join(FOLDER, name)).later);
  assert.deepEqual(named.filter((name) => !modules.includes(name.replace("./", ""))), []);
});

test("no module imports anything from outside its folder", () => {
  const outside = modules.flatMap((name) => {
    const { atOnce, later } = importsOf(join(FOLDER, name));
    return [...atOnce, ...later].filter((each) => !/^\.\/[\w-]+\.js$/.test(each)).map((each) => `${name}: ${each}`);
  });
  assert.deepEqual(outside, []);
});
