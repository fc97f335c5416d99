// Writes a page that shows a board and contains all of its data.
//
//   node draw.mjs BUNDLE BOARD.json PAGE.html KEY=VALUE...
//
// BUNDLE is the folder with page.js and page.css, which esbuild builds from page.jsx.
// The keys are url (of Prometheus), range (such as 30m), scrapeInterval, and the board's
// variables. It prints the height of the page.
import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { Board, seconds } from './data.mjs';
import { height, size } from './grid.mjs';

const [bundle, boardPath, pagePath, ...pairs] = process.argv.slice(2);
const { url, range, scrapeInterval, ...variables } = Object.fromEntries(pairs.map((p) => {
  const i = p.indexOf('=');
  return [p.slice(0, i), p.slice(i + 1)];
}));
const to = Math.floor(Date.now() / 1000);
const json = JSON.parse(await readFile(boardPath, 'utf8'));
const board = new Board(json, { url, from: to - seconds(range), to, scrapeInterval: seconds(scrapeInterval), variables });
await board.choose();
const results = {};
for (const panel of json.panels) {
  results[panel.id] = await board.panel(panel, size(panel.gridPos).width);
}
const input = { json, results, from: board.from, to, range, variables: board.variables };
const [script, style] = await Promise.all(['page.js', 'page.css'].map((f) => readFile(join(bundle, f), 'utf8')));
await writeFile(pagePath, `<!DOCTYPE html>
<html lang="en">
<meta charset="utf-8">
<title>${json.title}</title>
<style>${style}</style>
<style>body { margin: 0; color: rgb(204, 204, 220) } button { color: inherit; background: none; border: 0 } * { animation: none !important; transition: none !important }</style>
<div id="root"></div>
<script>window.grafanaBootData = { settings: {}, user: {} };
window.input = ${JSON.stringify(input).replaceAll('<', '\\u003c')};</script>
<script>${script.replaceAll('</script', '<\\/script')}</script>
`);
console.log(height(json.panels));
