"use strict";
const $ = (id) => document.getElementById(id);
const store = window.sessionStorage;
let job = null;
let last = Promise.resolve();

function element(tag, text, className) {
  const made = document.createElement(tag);
  if (text !== undefined) made.textContent = text;
  if (className) made.className = className;
  return made;
}

// One high tone is right, two low ones are wrong: heard without looking.
let audio = null;
function beep(right) {
  try {
    audio = audio || new AudioContext();
    const tones = right ? [[1200, 0, 0.12]] : [[220, 0, 0.25], [180, 0.3, 0.35]];
    for (const [pitch, from, length] of tones) {
      const tone = audio.createOscillator();
      const volume = audio.createGain();
      tone.type = right ? "sine" : "square";
      tone.frequency.value = pitch;
      volume.gain.value = 0.25;
      tone.connect(volume).connect(audio.destination);
      tone.start(audio.currentTime + from);
      tone.stop(audio.currentTime + from + length);
    }
  } catch { /* a phone without sound still shows the colour */ }
  if (navigator.vibrate) navigator.vibrate(right ? 60 : [200, 100, 200]);
}

function say(right, text) {
  $("feedback").className = right ? "right" : "wrong";
  $("feedback").textContent = text;
  beep(right);
}

function many(count, thing) { return count + " " + thing + (count === 1 ? "" : "s"); }

function quiet() { $("feedback").textContent = ""; $("feedback").className = ""; }

// A random name that old phones and pages without TLS can make, too.
function token() {
  return Array.from(crypto.getRandomValues(new Uint8Array(12)), (b) => b.toString(16).padStart(2, "0")).join("");
}

async function call(method, path, body) {
  const options = { method, headers: { Authorization: "Bearer " + store.getItem("key") } };
  if (body) {
    options.headers["Content-Type"] = "application/json";
    options.body = JSON.stringify(body);
  }
  // The same body again is the same work: a lost answer is asked for again, once.
  let answer;
  try { answer = await fetch(path, options); } catch { answer = await fetch(path, options); }
  const said = await answer.json().catch(() => ({}));
  if (answer.ok) return said;
  const error = new Error((said.errors && said.errors[0] && said.errors[0].message) || said.detail || said.title || "Error " + answer.status);
  error.status = answer.status;
  throw error;
}

// One after the other: a fast scanner must not lose the piece it reads while the last one is on its way.
function doing(work) {
  last = last.then(work).catch((error) => {
    if (error.status === 401) signOut();
    say(false, error instanceof TypeError ? "No connection. Try again." : error.message);
  });
}

function show(section) {
  for (const id of ["sign-in", "queue", "job"]) $(id).hidden = id !== section;
  $("leave").hidden = section === "sign-in";
  $("who").textContent = section === "sign-in" ? "" : store.getItem("by");
}

function signOut() {
  store.clear();
  job = null;
  show("sign-in");
}

async function enter() {
  const found = await call("GET", "warehouses");
  const chosen = store.getItem("warehouse");
  $("warehouse").replaceChildren(...found.items.map((w) => {
    const option = element("option", w.name + " (" + w.warehouse_id + ")");
    option.value = w.warehouse_id;
    option.selected = w.warehouse_id === chosen;
    return option;
  }));
  await list();
}

const VERBS = { pick: "Pick", transfer_out: "Send", transfer_in: "Receive", put_back: "Put back" };

async function list() {
  job = null;
  show("queue");
  const warehouse = $("warehouse").value;
  if (!warehouse) { $("tasks").replaceChildren(element("li", "No warehouse is known yet. Refresh in a moment.")); return; }
  store.setItem("warehouse", warehouse);
  const kind = $("kind").value ? "&kind=" + $("kind").value : "";
  const path = "warehouses/" + encodeURIComponent(warehouse) + "/queue?limit=30" + kind;
  const mine = await call("GET", path + "&status=claimed&claimed_by=" + encodeURIComponent(store.getItem("by")));
  const open = await call("GET", path);
  const items = mine.items.concat(open.items).map((task) => {
    const item = element("li");
    const button = element("button");
    button.type = "button";
    button.append(element("span", task.tier, "tier " + task.tier), " " + VERBS[task.kind] + " " + task.task_id);
    const pieces = task.lines.reduce((sum, line) => sum + line.quantity, 0);
    const due = new Date(task.deadline).toLocaleString([], { weekday: "short", hour: "2-digit", minute: "2-digit" });
    const begun = task.picked ? ", " + task.picked + " to pack" : "";
    button.append(element("span", many(pieces, "piece") + ", " + many(task.lines.length, "line") + begun + ", due " + due, "small"));
    button.addEventListener("click", () => doing(() => openJob(task)));
    item.append(button);
    return item;
  });
  $("tasks").replaceChildren(...(items.length ? items : [element("li", "Nothing to do here.")]));
}

async function openJob(task) {
  quiet();
  job = task;
  if (task.kind === "pick") {
    const state = await call("POST", "fulfilment-orders/" + encodeURIComponent(task.task_id) + "/claim", { by: store.getItem("by") });
    drawPick(state);
  } else drawPlain();
}

function drawHead(finish) {
  show("job");
  $("job-title").textContent = VERBS[job.kind] + " " + job.task_id;
  const way = { transfer_out: "Goes to ", transfer_in: "Comes from " }[job.kind];
  $("job-info").textContent = way ? way + job.other_warehouse_id : "";
  $("scan").hidden = job.kind !== "pick";
  $("finish").hidden = !finish;
  $("finish").textContent = finish || "";
  $("checklist").replaceChildren();
}

function drawPick(state) {
  const open = state.lines.reduce((sum, line) => sum + line.open, 0);
  const picked = state.lines.reduce((sum, line) => sum + line.picked, 0);
  drawHead(picked ? "Pack " + many(picked, "piece") : "");
  $("scan").hidden = !open;
  if (state.packing) {
    $("job-info").textContent = "Box: " + state.packing.box + ". " + state.packing.materials.join(", ");
    $("checklist").replaceChildren(...state.packing.checklist.map((text) => element("li", text)));
  }
  $("lines").replaceChildren(...state.lines.map((line) => {
    const item = element("li", undefined, line.open ? "" : "done");
    item.append(element("strong", line.open + " × " + line.name), element("span", line.sku + " " + line.barcodes.join(" "), "small"));
    item.append(element("span", line.picked + " picked, " + line.packed + " packed, " + line.short + " short, "
      + (line.cancelled + line.to_put_back) + " cancelled", "small"));
    if (line.open) {
      const short = element("button", "Shelf is empty: " + line.open + " missing");
      short.type = "button";
      short.addEventListener("click", () => doing(async () => {
        const body = { by: store.getItem("by"), reason: "shelf empty", report_id: token(), lines: [{ line: line.line, quantity: line.open }] };
        drawPick(await call("POST", "fulfilment-orders/" + encodeURIComponent(job.task_id) + "/short", body));
        say(true, "Reported: " + line.open + " missing");
      }));
      item.append(short);
    }
    return item;
  }));
  if (!open && !picked) $("job-info").textContent = "Finished.";
  $("code").focus();
}

function drawPlain() {
  drawHead({ transfer_out: "Sent", transfer_in: "Received", put_back: "Everything is on its shelf" }[job.kind]);
  $("lines").replaceChildren(...job.lines.map((line) => {
    const item = element("li");
    item.append(element("strong", line.quantity + " × " + line.name), element("span", line.sku + " " + line.barcodes.join(" "), "small"));
    if (job.kind !== "put_back") {
      const label = element("label", "Counted ");
      const input = element("input");
      Object.assign(input, { type: "number", inputMode: "numeric", min: 0, max: line.quantity, value: line.quantity });
      input.dataset.line = line.line;
      label.append(input);
      item.append(label);
    }
    return item;
  }));
}

async function finish() {
  if (!job) return;
  const id = encodeURIComponent(job.task_id);
  const by = store.getItem("by");
  if (job.kind === "pick") {
    const state = await call("POST", "fulfilment-orders/" + id + "/pack", { by });
    say(true, state.parcel.parcel_id + " in box " + state.parcel.box);
    if (state.status === "done") await list(); else drawPick(state);
    return;
  }
  if (job.kind === "put_back") await call("POST", "put-backs/" + id + "/confirm", { by });
  else {
    const lines = Array.from($("lines").querySelectorAll("input"), (i) => ({ line: Number(i.dataset.line), quantity: Number(i.value) }));
    await call("POST", "transfers/" + id + (job.kind === "transfer_out" ? "/dispatch" : "/receive"), { by, lines });
  }
  say(true, "Done: " + job.task_id);
  await list();
}

$("sign-in").addEventListener("submit", (event) => {
  event.preventDefault();
  store.setItem("key", $("key").value.trim());
  store.setItem("by", $("by").value.trim());
  $("key").value = "";
  quiet();
  doing(enter);
});
$("scan").addEventListener("submit", (event) => {
  event.preventDefault();
  const code = $("code").value.trim();
  if (!code || !job) return;
  const quantity = Number($("quantity").value) || 1;
  const body = { by: store.getItem("by"), scans: [{ barcode: code, quantity, scan_id: token() }] };
  const path = "fulfilment-orders/" + encodeURIComponent(job.task_id) + "/scans";
  $("code").value = "";
  $("quantity").value = 1;
  doing(async () => {
    const state = await call("POST", path, body);
    drawPick(state);
    say(true, state.outcome === "already_done" ? "Already picked" : quantity + " × " + code);
  });
});
$("finish").addEventListener("click", () => doing(finish));
$("back").addEventListener("click", () => { quiet(); doing(list); });
$("refresh").addEventListener("click", () => { quiet(); doing(enter); });
$("warehouse").addEventListener("change", () => doing(list));
$("kind").addEventListener("change", () => doing(list));
$("leave").addEventListener("click", () => { quiet(); signOut(); });

if (store.getItem("key")) doing(enter); else show("sign-in");
