"use strict";
// Sort by a column, copy a table, open what a link points at, and show everything on paper.
const cells = (row) => Array.from(row.cells, (cell) => cell.textContent.trim());
const value = (text) => {
  const number = parseFloat(text.replaceAll(",", ""));
  return Number.isNaN(number) ? text : number;
};
const compare = (a, b) =>
  typeof a === "number" && typeof b === "number" ? a - b : String(a).localeCompare(String(b));

for (const button of document.querySelectorAll("button.sort")) {
  button.addEventListener("click", () => {
    const head = button.closest("tr");
    const column = Array.from(head.cells).indexOf(button.closest("th"));
    const order = button.dataset.order === "up" ? "down" : "up";
    for (const other of head.querySelectorAll("button.sort")) delete other.dataset.order;
    button.dataset.order = order;
    const body = button.closest("table").tBodies[0];
    const sign = order === "up" ? 1 : -1;
    const rows = Array.from(body.rows);
    rows.sort((a, b) => sign * compare(value(cells(a)[column]), value(cells(b)[column])));
    body.append(...rows);
  });
}

const latex = (text) => text.replace(/[&%$#_{}]/g, "\\$&");
const csv = (text) => (/[",\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text);
const forms = {
  markdown: ([head, ...rows]) =>
    [head, head.map(() => "---"), ...rows]
      .map((row) => `| ${row.map((text) => text.replaceAll("|", "\\|")).join(" | ")} |`)
      .join("\n"),
  latex: ([head, ...rows]) =>
    [
      `\\begin{tabular}{${"l".repeat(head.length)}}`,
      ...[head, ...rows].map((row) => `${row.map(latex).join(" & ")} \\\\`),
      "\\end{tabular}",
    ].join("\n"),
  csv: (rows) => rows.map((row) => row.map(csv).join(",")).join("\n"),
};

for (const button of document.querySelectorAll("button[data-form]")) {
  button.addEventListener("click", async () => {
    const rows = Array.from(button.closest("figure").querySelectorAll("tr"), cells);
    const text = `${forms[button.dataset.form](rows)}\n`;
    button.dataset.copied = text;
    const name = button.textContent;
    try {
      await navigator.clipboard.writeText(text);
      button.textContent = "copied";
    } catch {
      window.prompt("Copy:", text); // a browser that keeps its clipboard from a page
    }
    setTimeout(() => (button.textContent = name), 1000);
  });
}

const open = () => {
  const target = document.getElementById(decodeURIComponent(location.hash.slice(1)));
  if (target instanceof HTMLDetailsElement) {
    target.open = true;
    target.scrollIntoView();
  }
};
window.addEventListener("hashchange", open);
window.addEventListener("beforeprint", () => {
  for (const part of document.querySelectorAll("details")) part.open = true;
});
open();
