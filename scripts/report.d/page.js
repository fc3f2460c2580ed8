// SPDX-License-Identifier: GPL-2.0-only
// The charts of report.html. Chart.js draws; what is here only says what.
"use strict";

const data = JSON.parse(document.getElementById("data").textContent);
const SHOWN_PIXELS = 2;		// of the shortest event
const LANE_HEIGHT = 34;

function css(name) {
	return getComputedStyle(document.documentElement).getPropertyValue(name).trim();
}

function duration(ns, digits = 3) {
	const units = [[1e9, "s"], [1e6, "ms"], [1e3, "µs"], [1, "ns"]];
	const [unit, name] = units.find(([size]) => Math.abs(ns) >= size) || units[3];
	return `${+(ns / unit).toPrecision(digits)} ${name}`;
}

function count(number) {
	return number.toLocaleString("en").replaceAll(",", "\u202f");
}

function paint() {
	Chart.defaults.color = css("--soft");
	Chart.defaults.borderColor = css("--line");
	Chart.defaults.font.family = "system-ui, sans-serif";
	Chart.defaults.animation = false;
	Chart.defaults.maintainAspectRatio = false;
}

// ---- histograms ----

function bucketName(spec, bucket) {
	const shown = spec.timed ? duration : count;
	return bucket[1] === null ? `${shown(bucket[0])} or more` : `${shown(bucket[0])} to ${shown(bucket[1] + 1)}`;
}

function histogram(spec) {
	const colours = data.series.map((name) => css(name));
	return new Chart(document.getElementById(spec.canvas), {
		type: "bar",
		data: {
			labels: spec.buckets.map((bucket) => spec.timed ? duration(bucket[0], 2) : count(bucket[0])),
			datasets: spec.sets.map((set, n) => ({
				label: set.name, data: set.counts.map((n) => n || null), backgroundColor: colours[n % colours.length],
				barPercentage: 1, categoryPercentage: 0.92, minBarLength: 3, maxBarThickness: 56,
			})),
		},
		options: {
			scales: {
				x: { stacked: true, grid: { display: false }, title: { display: true, text: spec.axis } },
				y: { stacked: true, ticks: { precision: 0 }, title: { display: true, text: "entries" } },
			},
			plugins: {
				legend: { display: spec.sets.length > 1 || spec.sets[0].name !== "all", labels: { boxWidth: 12 } },
				tooltip: {
					filter: (item) => item.raw > 0,
					callbacks: { title: (items) => items.length ? bucketName(spec, spec.buckets[items[0].dataIndex]) : "" },
				},
			},
		},
	});
}

// ---- the timeline ----

const lanes = data.timeline;
let view = lanes && [0, lanes.length];
let chart = null;
const hidden = new Set();

// Events of a lane and group that no pixel tells apart are one bar.
function bars(group) {
	const pixel = (view[1] - view[0]) / Math.max(200, chart ? chart.chartArea.width : 800);
	const found = [];
	for (const [lane, events] of lanes.groups[group].lanes) {
		let last = null;
		for (const event of events) {
			const start = lanes.start[event], end = start + lanes.ns[event];
			if (end < view[0] || start > view[1])
				continue;
			if (last && start - last.end < pixel) {
				last.end = Math.max(last.end, end);
				last.x[1] = Math.max(last.x[1], end);
				last.events++;
				if (lanes.ns[event] > lanes.ns[last.longest])
					last.longest = event;
				continue;
			}
			last = { x: [start, Math.max(end, start + SHOWN_PIXELS * pixel)], y: lanes.names[lane], end, events: 1, longest: event };
			found.push(last);
		}
	}
	return found;
}

function sets() {
	return lanes.groups.map((group, n) => ({
		label: group.name, data: hidden.has(n) ? [] : bars(n), backgroundColor: css(group.colour), grouped: false,
		barPercentage: group.height, categoryPercentage: 0.94, order: lanes.groups.length - n, borderSkipped: false,
	}));
}

function tell() {
	const shown = chart.data.datasets.flatMap((set) => set.data);
	const events = shown.reduce((sum, bar) => sum + bar.events, 0);
	document.getElementById("shown").textContent =
		`${duration(view[0])} to ${duration(view[1])}: ${count(events)} events in ${count(shown.length)} bars` +
		(shown.length < events ? "; bars closer than a pixel are drawn as one, zoom in to part them" : "");
}

function show(first, last) {
	const least = 100, length = Math.min(lanes.length, Math.max(least, last - first));
	const from = Math.min(Math.max(0, first), lanes.length - length);
	view = [from, from + length];
	chart.options.scales.x.min = view[0];
	chart.options.scales.x.max = view[1];
	chart.data.datasets = sets();
	chart.update("none");
	tell();
}

function zoom(factor, at = (view[0] + view[1]) / 2) {
	show(at - (at - view[0]) * factor, at + (view[1] - at) * factor);
}

function move(part) {
	const by = (view[1] - view[0]) * part;
	show(view[0] + by, view[1] + by);
}

function tip(item) {
	const bar = item.raw, event = bar.longest;
	const words = lanes.words ? lanes.words[event] : "";
	const more = bar.events > 1 ? [`the longest of ${count(bar.events)} events`] : [];
	return [...more, `${lanes.kinds[lanes.kind[event]]}: ${duration(lanes.ns[event])} at ${duration(lanes.start[event], 7)}`,
		...(words ? [words] : [])];
}

function dragging(canvas) {
	const box = document.getElementById("drag"), at = (event) => event.clientX - canvas.getBoundingClientRect().left;
	let from = null;
	canvas.addEventListener("pointerdown", (event) => {
		if (event.pointerType !== "touch")
			from = at(event);
	});
	canvas.addEventListener("pointermove", (event) => {
		if (from === null)
			return;
		box.hidden = false;
		box.style.left = `${Math.min(from, at(event))}px`;
		box.style.width = `${Math.abs(at(event) - from)}px`;
	});
	window.addEventListener("pointerup", (event) => {
		const start = from;
		from = null;
		box.hidden = true;
		if (start === null || Math.abs(at(event) - start) < 5)
			return;
		const scale = chart.scales.x, ends = [start, at(event)].map((pixel) => scale.getValueForPixel(pixel));
		show(Math.min(...ends), Math.max(...ends));
	});
}

const KEYS = {
	"+": () => zoom(0.5), "-": () => zoom(2), "0": () => show(0, lanes.length),
	ArrowLeft: () => move(-0.25), ArrowRight: () => move(0.25),
};

function timeline() {
	const canvas = document.getElementById("timeline");
	canvas.parentNode.style.height = `${lanes.names.length * LANE_HEIGHT + 60}px`;
	chart = new Chart(canvas, {
		type: "bar",
		data: { datasets: [] },
		options: {
			indexAxis: "y",
			scales: {
				x: { type: "linear", position: "bottom", min: view[0], max: view[1],
					ticks: { callback: (value) => duration(value, 5), maxRotation: 0, autoSkipPadding: 24 } },
				y: { type: "category", labels: lanes.names, grid: { offset: true } },
			},
			interaction: { mode: "nearest", intersect: true },
			plugins: { legend: { display: false }, tooltip: { callbacks: { title: (items) => items[0].label, label: tip } } },
			onResize: () => setTimeout(() => show(...view)),
		},
	});
	show(...view);
	dragging(canvas);
	canvas.addEventListener("keydown", (event) => {
		if (KEYS[event.key]) {
			event.preventDefault();
			KEYS[event.key]();
		}
	});
	for (const button of document.querySelectorAll("[data-key]"))
		button.addEventListener("click", KEYS[button.dataset.key]);
	for (const button of document.querySelectorAll("[data-group]"))
		button.addEventListener("click", () => toggle(button));
	for (const row of document.querySelectorAll("tr[data-at]"))
		row.addEventListener("click", () => look(row));
}

function toggle(button) {
	const group = Number(button.dataset.group), off = !hidden.delete(group);
	if (off)
		hidden.add(group);
	button.setAttribute("aria-pressed", String(!off));
	show(...view);
}

function look(row) {
	const start = Number(row.dataset.at), ns = Number(row.dataset.ns);
	show(start - 2 * ns, start + 3 * ns);
	document.getElementById("timeline").scrollIntoView({ block: "center" });
}

function draw() {
	for (const old of Object.values(Chart.instances))
		old.destroy();
	paint();
	data.histograms.forEach(histogram);
	if (lanes)
		timeline();
}

draw();
window.matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => {
	paint();
	for (const some of Object.values(Chart.instances)) {
		if (some === chart)
			chart.data.datasets = sets();
		else
			some.data.datasets.forEach((set, n) => { set.backgroundColor = css(data.series[n % data.series.length]); });
		some.options.color = css("--soft");
		some.update("none");
	}
});
