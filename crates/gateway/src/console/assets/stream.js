// The live feed, heard once for all tabs of a browser: browsers open only so many connections to a site, and each stream takes one.
// Runs as a shared worker; where there are none, in the page itself.
"use strict";

// Nothing for so long, though something is sent every 15 seconds, and the connection is dead.
const SILENCE = 45_000;
// What a tab that comes later gets of what was heard before.
const KEPT = 300;

// Reads server-sent events by fetch: EventSource tells neither a status nor that nothing comes any more.
class Feed {
  constructor(session, from, tell) {
    this.session = session;
    this.from = from;
    this.last = from;
    this.tell = tell;
  }

  async run() {
    for (;;) {
      let wait = 2;
      try {
        const answer = await this.open();
        if (answer.status === 401) return this.say("over");
        if (answer.ok) {
          this.say("live");
          await this.read(answer.body.getReader());
          this.say("reconnecting");
        } else {
          await answer.body?.cancel();
          wait = Number(answer.headers.get("retry-after")) || 5;
          this.say(answer.status === 429 ? "crowded" : "reconnecting");
        }
      } catch {
        this.say("reconnecting");
      }
      await new Promise((done) => setTimeout(done, wait * 1000));
    }
  }

  say(state) {
    clearTimeout(this.silence);
    this.state = state;
    this.tell({ state });
  }

  open() {
    this.abort = new AbortController();
    this.heard();
    const query = new URLSearchParams({ session: this.session });
    const headers = { accept: "text/event-stream", "last-event-id": this.last };
    return fetch(`/console/live?${query}`, { headers, cache: "no-store", redirect: "error", signal: this.abort.signal });
  }

  // Something came: the connection is alive.
  heard() {
    clearTimeout(this.silence);
    const { abort } = this;
    this.silence = setTimeout(() => abort.abort(), SILENCE);
  }

  async read(reader) {
    const decoder = new TextDecoder();
    let text = "";
    for (;;) {
      const { done, value } = await reader.read();
      if (done) return;
      this.heard();
      text += decoder.decode(value, { stream: true });
      const events = text.split("\n\n");
      text = events.pop();
      events.forEach((event) => this.event(event));
    }
  }

  event(text) {
    const event = {};
    for (const line of text.split("\n")) {
      const at = line.indexOf(":");
      if (at > 0) event[line.slice(0, at)] = line.slice(at + 1).replace(/^ /, "");
    }
    if (event.id) this.last = event.id;
    if (event.event && event.data) this.tell({ event: event.event, id: event.id, data: event.data });
  }
}

if ("SharedWorkerGlobalScope" in self) {
  const ports = new Set();
  const kept = [];
  let feed = null;

  const tellAll = (said) => {
    if (said.event) {
      kept.push(said);
      if (kept.length > KEPT) kept.shift();
    }
    ports.forEach((port) => port.postMessage(said));
    // Whoever signs in again has a worker of their own.
    if (said.state === "over") self.close();
  };

  // What a page does not show yet: what came after it was made. Where that place is not known, the page looks for itself.
  const catchUp = (port, from) => {
    const at = kept.findIndex((said) => said.id === from);
    const isKnown = at >= 0 || from === feed.from;
    kept.slice(at + 1).forEach((said) => port.postMessage({ ...said, again: !isKnown }));
    if (feed.state) port.postMessage({ state: feed.state });
  };

  self.addEventListener("connect", ({ ports: [port] }) => {
    port.addEventListener("message", ({ data: { join, leave } }) => {
      if (leave) return ports.delete(port);
      if (!feed) {
        feed = new Feed(join.session, join.from, tellAll);
        feed.run();
      }
      ports.add(port);
      catchUp(port, join.from);
    });
    port.start();
  });
}
