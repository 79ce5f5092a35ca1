// Draws the charts of the audience section: a line for the total, bars for the gain of each day. The figures stand
// as JSON on each canvas. Colours come from the theme, and follow it when it changes.
(function () {
  "use strict";

  const whole = new Intl.NumberFormat("en");

  // As many digits as tell one line of the grid from the next: 3.3625B, 3.363B.
  function tick(value, index, ticks) {
    const step = ticks.length > 1 ? Math.abs(ticks[1].value - ticks[0].value) : 1;
    const size = Math.abs(value);
    const unit = size >= 1e9 ? 1e9 : size >= 1e6 ? 1e6 : size >= 1e3 ? 1e3 : 1;
    const digits = Math.min(6, Math.max(0, Math.ceil(Math.log10(unit / step))));
    return new Intl.NumberFormat("en", { notation: "compact", maximumFractionDigits: digits }).format(value);
  }

  function colours() {
    const isDark = document.documentElement.classList.contains("dark");
    return isDark
      ? { text: "#d4d4d8", grid: "#3f3f46", line: "#c4b5fd", bar: "#5b8def" }
      : { text: "#3f3f46", grid: "#e4e4e7", line: "#6d28d9", bar: "#93b4e8" };
  }

  function optionsWith(colour) {
    const axis = (title, position, hasGrid) => ({
      position,
      title: { display: true, text: title, color: colour.text },
      ticks: { color: colour.text, callback: tick, maxTicksLimit: 6 },
      grid: { color: colour.grid, drawOnChartArea: hasGrid },
      border: { color: colour.grid },
    });
    return {
      animation: false,
      maintainAspectRatio: false,
      interaction: { mode: "index", intersect: false },
      scales: {
        x: {
          ticks: { color: colour.text, maxRotation: 0, autoSkipPadding: 16 },
          grid: { display: false },
          border: { color: colour.grid },
        },
        total: axis("Total", "left", true),
        gain: axis("Gain of the day", "right", false),
      },
      plugins: {
        legend: { labels: { color: colour.text, usePointStyle: true } },
        tooltip: {
          callbacks: {
            label: (item) => " " + item.dataset.label + ": " + whole.format(item.parsed.y),
          },
        },
      },
    };
  }

  function draw(canvas) {
    if (typeof Chart === "undefined") {
      return;
    }
    const known = Chart.getChart(canvas);
    if (known) {
      known.destroy();
    }
    const data = JSON.parse(canvas.dataset.figures);
    const colour = colours();
    new Chart(canvas, {
      data: {
        labels: data.days,
        datasets: [
          {
            type: "line",
            label: "Total",
            yAxisID: "total",
            data: data.totals,
            borderColor: colour.line,
            backgroundColor: colour.line,
            borderWidth: 2,
            // A day that is known between two that are not is a point alone.
            pointRadius: (item) => {
              const at = item.dataIndex;
              const isAlone = data.totals[at - 1] == null && data.totals[at + 1] == null;
              return isAlone ? 2 : 0;
            },
            pointStyle: "line",
            spanGaps: false,
          },
          {
            type: "bar",
            label: "Gain of the day",
            yAxisID: "gain",
            data: data.gains,
            backgroundColor: colour.bar,
            pointStyle: "rect",
          },
        ],
      },
      options: optionsWith(colour),
    });
  }

  function drawAll() {
    document.querySelectorAll("canvas[data-figures]").forEach(draw);
  }

  document.body.addEventListener("htmx:afterSwap", (event) => {
    const { requestConfig } = event.detail;
    if (requestConfig.verb !== "post" || !/\/fetch_audience_now\/$/.test(requestConfig.path.split("?")[0])) {
      return;
    }
    // Before the dialog goes, and the form with it: what settles afterwards is told to nobody.
    drawAll();
    window.linerNotes.closeDialog('a[hx-get$="/fetch_audience_now/"]');
    const answer = document.querySelector("#audience .ln-answer");
    if (answer) {
      answer.scrollIntoView({ block: "center" });
    }
  });

  drawAll();
  document.body.addEventListener("htmx:afterSettle", drawAll);
  new MutationObserver(drawAll).observe(document.documentElement, { attributeFilter: ["class"] });
})();
