// The pages work without this. It adds the live tail of the event log, and takes
// the focus to what a form was refused for.
"use strict";

const errors = document.getElementById("errors");
if (errors) {
  errors.focus();
}

const log = document.getElementById("log");
if (log && log.dataset.tail) {
  const everyMilliseconds = 1000;
  const mostRows = 2000;
  const body = log.tBodies[0];
  const state = document.getElementById("tailstate");
  const box = document.getElementById("tail");
  const url = new URL(log.dataset.tail, location.href);
  let added = 0;
  document.getElementById("live").hidden = false;

  // Text only ever goes in as text: a line may hold anything.
  const cell = (label, className, text) => {
    const td = document.createElement("td");
    td.dataset.label = label;
    td.className = className;
    td.textContent = text;
    return td;
  };

  const row = (line) => {
    const tr = document.createElement("tr");
    tr.className = "new";
    const level = cell("Level", "", "");
    const status = document.createElement("span");
    status.className = "status " + line.kind;
    const mark = document.createElement("span");
    mark.className = "mark";
    mark.setAttribute("aria-hidden", "true");
    status.append(mark, line.level);
    level.append(status);
    tr.append(cell("Time", "time", line.time), cell("Traffic manager", "", line.member), level,
      cell("Object", "name", line.object), cell("Tags", "name", line.tags), cell("Text", "text", line.text));
    return tr;
  };

  const ask = async () => {
    const answer = await fetch(url, { credentials: "same-origin" });
    if (answer.status === 401) {
      state.textContent = "Your session has ended: reload the page to log in.";
      return false;
    }
    if (!answer.ok) {
      throw new Error(answer.statusText);
    }
    const news = await answer.json();
    url.searchParams.set("after", news.after);
    for (const line of news.lines) {
      body.prepend(row(line));
    }
    while (body.rows.length > mostRows) {
      body.deleteRow(-1);
    }
    if (news.lines.length > 0) {
      added += news.lines.length;
      state.textContent = added === 1 ? "1 new line." : added + " new lines.";
      const none = document.getElementById("nolines");
      if (none) {
        none.remove();
      }
    }
    return true;
  };

  const poll = async () => {
    let again = true;
    if (box.checked && !document.hidden) {
      try {
        again = await ask();
      } catch (problem) {
        state.textContent = "The traffic manager does not answer. Trying again.";
      }
    }
    if (again) {
      setTimeout(poll, everyMilliseconds);
    }
  };
  setTimeout(poll, everyMilliseconds);
}
