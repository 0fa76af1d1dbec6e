// Draws the figures of the page by plotly.js and sorts its tables; what it shows is JSON in the page.
(function () {
  "use strict";
  var specs = JSON.parse(document.getElementById("plots").textContent);
  var dark = window.matchMedia("(prefers-color-scheme: dark)");
  var config = { displaylogo: false, displayModeBar: false, responsive: true };

  function look(isDark) {
    var ink = isDark ? "#e6e6e6" : "#1a1a1a";
    var line = isDark ? "#444" : "#d5d5d5";
    return { ink: ink, line: line, paper: isDark ? "#2a2a2a" : "#ffffff",
      veil: isDark ? "rgba(27,27,27,0.8)" : "rgba(255,255,255,0.8)" };
  }

  function layout(spec, isDark, width) {
    var colours = look(isDark);
    var made = JSON.parse(JSON.stringify(spec.layout));
    made.paper_bgcolor = "rgba(0,0,0,0)";
    made.plot_bgcolor = "rgba(0,0,0,0)";
    made.font = { family: "system-ui, sans-serif", size: 12, color: colours.ink };
    made.hoverlabel = { bgcolor: colours.paper, font: { color: colours.ink }, align: "left" };
    if (width) {
      made.width = width;
      made.height = Math.round(made.height * 0.7);
    }
    Object.keys(made).forEach(function (name) {
      if (/^[xy]axis/.test(name)) {
        made[name].gridcolor = colours.line;
        made[name].linecolor = colours.line;
      }
    });
    (made.annotations || []).forEach(function (note) { note.bgcolor = colours.veil; });
    (made.shapes || []).forEach(function (shape) { shape.line.color = colours.line; });
    if (made.grid && document.documentElement.clientWidth < 700 && !width) {
      var panels = spec.data.length;
      made.grid = { rows: panels, columns: 1, pattern: "independent", ygap: 0.4 };
      made.height = 60 + 230 * panels;
    }
    return made;
  }

  function draw(isDark, width) {
    document.querySelectorAll(".plot").forEach(function (element) {
      var spec = specs[element.id.replace("plot-", "")];
      Plotly.react(element, spec.data, layout(spec, isDark, width), config);
    });
  }

  draw(dark.matches);
  dark.addEventListener("change", function () { draw(dark.matches); });
  window.addEventListener("beforeprint", function () { draw(false, 660); });
  window.addEventListener("afterprint", function () { draw(dark.matches); });

  function value(row, column) {
    var text = row.cells[column].textContent.trim();
    var number = parseFloat(text);
    return isNaN(number) ? text : number;
  }

  function compare(one, other) {
    if (one === other) { return 0; }
    if (one === "") { return 1; }
    if (other === "") { return -1; }
    if (typeof one === typeof other) { return one < other ? -1 : 1; }
    return typeof one === "number" ? -1 : 1;
  }

  function sort(table, column, head) {
    var down = head.getAttribute("aria-sort") === "ascending";
    table.querySelectorAll("th").forEach(function (other) { other.removeAttribute("aria-sort"); });
    head.setAttribute("aria-sort", down ? "descending" : "ascending");
    var body = table.tBodies[0];
    var rows = Array.prototype.slice.call(body.rows);
    rows.sort(function (a, b) {
      var order = compare(value(a, column), value(b, column));
      var isEmpty = value(a, column) === "" || value(b, column) === "";
      return down && !isEmpty ? -order : order;
    });
    rows.forEach(function (row) { body.appendChild(row); });
  }

  document.querySelectorAll("table").forEach(function (table) {
    table.querySelectorAll("thead th").forEach(function (head, column) {
      if (!head.textContent.trim()) { return; }
      head.tabIndex = 0;
      head.title = "Sort by this column";
      head.addEventListener("click", function () { sort(table, column, head); });
      head.addEventListener("keydown", function (event) {
        if (event.key === "Enter" || event.key === " ") {
          event.preventDefault();
          sort(table, column, head);
        }
      });
    });
  });
})();
