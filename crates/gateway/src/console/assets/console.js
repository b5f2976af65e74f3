// What pages do by themselves: the live feed, its keys, and the theme. Everything works without, but by reloading.
"use strict";

const root = document.documentElement;
const kept = (() => { try { return localStorage.getItem("theme"); } catch { return null; } })();
if (kept === "dark" || kept === "light") root.dataset.theme = kept;

document.getElementById("theme")?.addEventListener("click", () => {
  const light = root.dataset.theme ? root.dataset.theme === "light" : matchMedia("(prefers-color-scheme: light)").matches;
  root.dataset.theme = light ? "dark" : "light";
  try { localStorage.setItem("theme", root.dataset.theme); } catch { /* private windows may refuse */ }
});

// A page that stays open says itself when what it shows is old. Only the tab that is looked at asks, and seldom: it counts as a
// request of the tenant's, and is left out where these are used up.
const notice = document.getElementById("notice");
if (notice) {
  setInterval(async () => {
    if (document.hidden) return;
    let text = "The console does not answer. What is shown here may be old.";
    try {
      const answer = await fetch("/console/notice", { redirect: "error" });
      if (answer.status === 429) return;
      if (answer.ok) text = await answer.text();
    } catch { /* it does not answer */ }
    if (notice.textContent !== text) notice.textContent = text;
    notice.hidden = !text;
  }, 15000);
}

// One stream tells all tabs what lands; `told` hears of each event, and of how the connection stands.
const listen = ({ from, session }, told) => {
  if ("SharedWorker" in window) {
    // Another session has another worker: what one may see is never told to the other.
    const { port } = new SharedWorker("/console/assets/stream.js", { name: session });
    port.addEventListener("message", ({ data }) => told(data));
    port.start();
    port.postMessage({ join: { session, from } });
    addEventListener("pagehide", () => port.postMessage({ leave: true }));
  } else {
    new Feed(session, from, told).run();
  }
  // A page that comes back from where the browser kept it has missed what came meanwhile.
  addEventListener("pageshow", (event) => { if (event.persisted) location.reload(); });
};
const addTo = (tile, more) => {
  if (!tile) return;
  const count = Math.max(0, Number(tile.textContent.replace(/\D/g, "")) + more);
  tile.textContent = count.toString().replace(/\B(?=(\d{3})+$)/g, "\u202f");
};
// An action is proposed once, and leaves that state once. What was heard before is in the page's number.
const hearAction = (state, again) => {
  if (!again) addTo(document.getElementById("proposed"), state === "proposed" ? 1 : -1);
};

const incidents = document.getElementById("incidents");
if (incidents) {
  const MOST = 100;
  const status = document.getElementById("connection");
  const { severity, status: wantedStatus, text } = incidents.dataset;
  const wanted = (told) => !told.is_merged && told.severity >= Number(severity) && (!text || told.entities.includes(text))
    && (wantedStatus ? told.status === wantedStatus : told.status !== "closed");
  // Rows are made and escaped by the server. An incident that is told again stands once, at the head.
  const hear = (data) => {
    const told = JSON.parse(data);
    const known = incidents.querySelector(`li[data-id="${CSS.escape(told.id)}"]`);
    const isAt = known?.contains(document.activeElement);
    known?.remove();
    if (!wanted(told)) return;
    const holder = document.createElement("ol");
    holder.innerHTML = told.html;
    const row = holder.firstElementChild;
    row.classList.add("new");
    incidents.prepend(row);
    if (isAt) row.querySelector("a").focus();
    if (incidents.children.length > MOST) incidents.lastElementChild.remove();
    document.getElementById("empty")?.remove();
    if (!known) document.getElementById("announce").textContent = `New incident: ${row.querySelector("a").textContent}`;
  };
  const say = (words, on) => { status.textContent = words; status.classList.toggle("on", on); };
  listen(incidents.dataset, ({ state, event, data, again }) => {
    if (event === "incident") return hear(data);
    if (event === "action") return hearAction(data, again);
    if (event) return;
    if (state === "over") return location.reload();
    if (state === "crowded") return say("too many open; waiting", false);
    say(state === "live" ? "live" : "reconnecting", state === "live");
  });
  let at = -1;
  document.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey || /^(INPUT|SELECT|TEXTAREA)$/.test(event.target.tagName)) return;
    const rows = [...incidents.children];
    const now = rows.findIndex((row) => row.contains(document.activeElement));
    if (now >= 0) at = now;
    const to = event.key === "j" ? at + 1 : event.key === "k" ? at - 1 : null;
    if (event.key === "/") { event.preventDefault(); document.getElementById("search").focus(); }
    if (to === null || !rows.length) return;
    at = Math.max(0, Math.min(to, rows.length - 1));
    rows[at].querySelector("a").focus();
  });
}

const feed = document.getElementById("feed");
if (feed) {
  const MOST = 300;
  const body = feed.tBodies[0];
  const status = document.getElementById("connection");
  const announce = document.getElementById("announce");
  const pause = document.getElementById("pause");
  let waiting = [];
  let arrived = 0;

  // Rows are made and escaped by the server.
  const show = (html) => {
    const holder = document.createElement("tbody");
    holder.innerHTML = html;
    const row = holder.rows[0];
    if (!row || document.querySelector(`tr[data-id="${CSS.escape(row.dataset.id)}"]`)) return;
    row.classList.add("new");
    // What repeats is one row, the newest, with how many they are.
    const before = body.querySelector(`tr[data-fold="${CSS.escape(row.dataset.fold)}"]`);
    if (before) {
      row.dataset.count = Number(before.dataset.count) + 1;
      const times = row.querySelector(".times");
      times.textContent = `×${row.dataset.count}`;
      times.hidden = false;
      before.remove();
    }
    body.prepend(row);
    if (body.rows.length > MOST) body.deleteRow(-1);
    document.getElementById("empty")?.remove();
    addTo(document.querySelector(`.tile [data-severity="${CSS.escape(row.dataset.severity)}"]`), 1);
    arrived += 1;
  };

  const say = (text, on) => { status.textContent = text; status.classList.toggle("on", on); };
  const paused = () => pause.getAttribute("aria-pressed") === "true";
  // One stream tells all findings to all tabs; each shows those that it was asked for.
  const { severity, text } = feed.dataset;
  const wanted = (found) => found.severity >= Number(severity) && (!text || found.entities.includes(text)
    || found.techniques.some((technique) => technique.toUpperCase() === text.toUpperCase()));
  // What is older than the last row of a full page is on a page of its own.
  const oldest = Number(feed.dataset.found) < Number(feed.dataset.rows) ? 0 : Number(feed.dataset.oldest);
  const hear = {
    row(data, again) {
      const found = JSON.parse(data);
      if (!wanted(found) || again && found.at < oldest) return;
      if (!paused()) return show(found.html);
      waiting.push(found.html);
      if (waiting.length > MOST) waiting.shift();
      pause.textContent = `Show ${waiting.length} new`;
    },
    action: hearAction,
  };
  const told = ({ state, event, data, again }) => {
    if (event) return hear[event]?.(data, again);
    if (state === "over") return location.reload();
    if (state === "crowded") return say("too many open; waiting", false);
    if (state === "live") return say(paused() ? "paused" : "live", !paused());
    say("reconnecting", false);
  };
  listen(feed.dataset, told);
  pause.addEventListener("click", () => {
    const on = !paused();
    pause.setAttribute("aria-pressed", on);
    say(on ? "paused" : "live", !on);
    if (!on) { waiting.forEach(show); waiting = []; pause.textContent = "Pause"; }
  });
  // A screen reader hears a summary now and then, not every row.
  setInterval(() => {
    if (arrived) announce.textContent = `${arrived} new findings`;
    arrived = 0;
  }, 10000);

  let at = -1;
  const move = (to) => {
    const rows = body.rows;
    if (!rows.length) return;
    body.querySelector("tr.at")?.classList.remove("at");
    at = Math.max(0, Math.min(to, rows.length - 1));
    rows[at].classList.add("at");
    rows[at].querySelector(".title a").focus();
    rows[at].scrollIntoView({ block: "nearest" });
  };
  document.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey || /^(INPUT|SELECT|TEXTAREA)$/.test(event.target.tagName)) return;
    const row = body.querySelector("tr.at");
    if (row) at = row.sectionRowIndex;
    if (event.key === "j") move(at + 1);
    else if (event.key === "k") move(at - 1);
    else if (event.key === "p") pause.click();
    else if (event.key === "/") { event.preventDefault(); document.getElementById("search").focus(); }
  });
}

// Several approvals at once: all of them, and how many. Without a script each is ticked by hand.
const selection = document.getElementById("selection");
const boxes = [...selection?.querySelectorAll("input[name=action]") ?? []];
if (boxes.length) {
  const all = document.getElementById("select-all");
  const box = all.querySelector("input");
  const selected = document.getElementById("selected");
  const hint = selected.textContent;
  all.hidden = false;
  const count = () => {
    const ticked = boxes.filter((one) => one.checked).length;
    box.checked = ticked === boxes.length;
    box.indeterminate = ticked > 0 && ticked < boxes.length;
    selected.textContent = ticked ? `${ticked} selected` : hint;
    selection.querySelectorAll(".bar button").forEach((button) => { button.disabled = !ticked; });
  };
  box.addEventListener("change", () => { boxes.forEach((one) => { one.checked = box.checked; }); count(); });
  selection.addEventListener("change", count);
  // A browser that comes back may have kept the ticks.
  addEventListener("pageshow", count);
}
