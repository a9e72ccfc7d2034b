"use strict";
(() => {
  const byId = (id) => document.getElementById(id);
  const data = JSON.parse(byId("data").textContent);
  const clamp = (value, low, high) => Math.min(Math.max(value, low), high);

  // ---- Comparing two pictures ------------------------------------------------------------------------------------
  // One state, the centre in picture pixels and the zoom in screen pixels a picture pixel, moves every pane alike.
  const versions = [...document.querySelectorAll(".strip li")].map((item) => ({
    item, name: item.dataset.name, image: item.querySelector("img"), pixels: null,
  }));
  const [width, height] = ["width", "height"].map((name) => Number(versions[0].image.getAttribute(name)));
  const stage = byId("stage"), canvas = document.querySelector("#pane-difference canvas");
  const panes = { left: byId("pane-left"), right: byId("pane-right"), difference: byId("pane-difference") };
  const position = byId("position"), gain = byId("gain"), divider = byId("divider");
  const state = { left: 0, right: 0, mode: "slider", x: width / 2, y: height / 2, zoom: 1, fitted: true };

  document.querySelector(".viewer").hidden = false;
  document.querySelector(".layer").hidden = false;
  for (const side of ["left", "right"]) {
    versions.forEach((version, index) => byId(side).add(new Option(version.name, index)));
    byId(side).addEventListener("change", (event) => show(side, Number(event.target.value)));
  }
  versions.forEach((version, index) => {
    const pick = document.createElement("div");
    pick.className = "pick";
    for (const side of ["left", "right"]) {
      const button = document.createElement("button");
      button.type = "button";
      button.className = `to-${side}`;
      button.textContent = side === "left" ? "Left" : "Right";
      button.setAttribute("aria-label", `Show ${version.name} on the ${side}`);
      button.addEventListener("click", () => show(side, index));
      pick.append(button);
    }
    version.item.append(pick);
  });

  function show(side, index) {
    state[side] = index;
    const { image } = versions[index], shown = panes[side].querySelector("img");
    shown.src = image.src;
    shown.alt = image.alt;
    byId(side).value = index;
    versions.forEach(({ item }, other) => {
      item.classList.toggle(`is-${side}`, other === index);
      item.querySelector(`.to-${side}`).setAttribute("aria-pressed", String(other === index));
    });
    compare();
  }

  function paneSize() {
    const halved = state.mode === "side", stacked = halved && matchMedia("(max-width: 640px)").matches;
    return [stage.clientWidth / (halved && !stacked ? 2 : 1), stage.clientHeight / (stacked ? 2 : 1)];
  }

  function place() {
    const [paneWidth, paneHeight] = paneSize();
    const fit = Math.min(paneWidth / width, paneHeight / height);
    if (state.fitted) [state.zoom, state.x, state.y] = [fit, width / 2, height / 2];
    state.zoom = clamp(state.zoom, Math.min(fit, 1), 32);
    const reach = (size, pane) => Math.min(size / 2, pane / 2 / state.zoom);
    state.x = clamp(state.x, reach(width, paneWidth), width - reach(width, paneWidth));
    state.y = clamp(state.y, reach(height, paneHeight), height - reach(height, paneHeight));
    const left = paneWidth / 2 - state.x * state.zoom, top = paneHeight / 2 - state.y * state.zoom;
    for (const picture of stage.querySelectorAll("img, canvas")) {
      picture.style.width = `${width}px`;
      picture.style.height = `${height}px`;
      picture.style.transform = `translate(${left}px, ${top}px) scale(${state.zoom})`;
    }
    const at = stage.clientWidth * position.value / 100;
    panes.right.style.clipPath = state.mode === "slider" ? `inset(0 0 0 ${at}px)` : "";
    panes.left.style.clipPath = state.mode === "slider" ? `inset(0 ${stage.clientWidth - at}px 0 0)` : "";
    divider.style.left = `${at}px`;
    stage.classList.toggle("sharp", state.zoom >= 2);
    stage.classList.toggle("zoomed", !state.fitted);
    byId("zoom").textContent = `${Math.round(100 * state.zoom)} %`;
  }

  function zoomTo(zoom, clientX, clientY) {
    const [paneWidth, paneHeight] = paneSize(), box = stage.getBoundingClientRect();
    const dx = (clientX === undefined ? paneWidth / 2 : (clientX - box.left) % paneWidth) - paneWidth / 2;
    const dy = (clientY === undefined ? paneHeight / 2 : (clientY - box.top) % paneHeight) - paneHeight / 2;
    const fit = Math.min(paneWidth / width, paneHeight / height);
    const next = clamp(zoom, Math.min(fit, 1), 32);
    state.x += dx / state.zoom - dx / next;
    state.y += dy / state.zoom - dy / next;
    state.zoom = next;
    state.fitted = false;
    place();
  }
  const steps = [0.125, 0.25, 0.5, 1, 2, 3, 4, 6, 8, 12, 16, 24, 32];
  const zoomIn = () => zoomTo(steps.find((step) => step > state.zoom * 1.01) || 32);
  const zoomOut = () => zoomTo([...steps].reverse().find((step) => step < state.zoom * 0.99) || 0.125);
  const fit = () => { state.fitted = true; place(); };
  byId("in").addEventListener("click", zoomIn);
  byId("out").addEventListener("click", zoomOut);
  byId("fit").addEventListener("click", fit);
  byId("swap").addEventListener("click", () => {
    const { left, right } = state;
    show("left", right);
    show("right", left);
  });
  position.addEventListener("input", place);
  gain.addEventListener("change", () => { gain.dataset.chosen = "yes"; compare(); });
  for (const choice of document.querySelectorAll("input[name=mode]")) {
    choice.addEventListener("change", () => {
      state.mode = stage.dataset.mode = choice.value;
      document.querySelector(".position").hidden = state.mode !== "slider";
      document.querySelector(".gain").hidden = state.mode !== "difference";
      compare();
    });
  }

  const pointers = new Map();
  let dragging = null, pinch = 0;
  stage.addEventListener("pointerdown", (event) => {
    pointers.set(event.pointerId, event);
    dragging = event.target.closest(".divider") ? "divider" : "picture";
    if (dragging === "divider" || !state.fitted) event.preventDefault();
    stage.setPointerCapture(event.pointerId);
    stage.focus({ preventScroll: true });
  });
  stage.addEventListener("pointermove", (event) => {
    const before = pointers.get(event.pointerId);
    if (!before) return;
    pointers.set(event.pointerId, event);
    if (pointers.size === 2) {
      const [one, two] = [...pointers.values()];
      const apart = Math.hypot(one.clientX - two.clientX, one.clientY - two.clientY);
      if (pinch) zoomTo(state.zoom * apart / pinch, (one.clientX + two.clientX) / 2, (one.clientY + two.clientY) / 2);
      pinch = apart;
    } else if (dragging === "divider") {
      const box = stage.getBoundingClientRect();
      position.value = 100 * (event.clientX - box.left) / box.width;
      place();
    } else if (!state.fitted) {
      stage.classList.add("moving");
      state.x -= (event.clientX - before.clientX) / state.zoom;
      state.y -= (event.clientY - before.clientY) / state.zoom;
      place();
    }
  });
  for (const end of ["pointerup", "pointercancel"]) {
    stage.addEventListener(end, (event) => {
      pointers.delete(event.pointerId);
      pinch = 0;
      dragging = null;
      stage.classList.remove("moving");
    });
  }
  stage.addEventListener("dblclick", (event) => (state.zoom < 4 ? zoomTo(4, event.clientX, event.clientY) : fit()));
  stage.addEventListener("wheel", (event) => {
    if (!event.ctrlKey) return;  // a plain wheel scrolls the page; a pinch on a touchpad arrives with ctrlKey
    event.preventDefault();
    zoomTo(state.zoom * Math.exp(-event.deltaY / 100), event.clientX, event.clientY);
  }, { passive: false });
  stage.addEventListener("keydown", (event) => {
    const arrows = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };
    const arrow = arrows[event.key];
    if (arrow && state.mode === "slider" && arrow[0] && !event.shiftKey) {
      position.value = Number(position.value) + 2 * arrow[0];
    } else if (arrow && !state.fitted) {
      state.x += arrow[0] * 40 / state.zoom;
      state.y += arrow[1] * 40 / state.zoom;
    } else if (event.key === "+" || event.key === "=") {
      zoomIn();
    } else if (event.key === "-") {
      zoomOut();
    } else if (event.key === "0") {
      fit();
    } else {
      return;
    }
    event.preventDefault();
    place();
  });

  async function pixelsOf(version) {
    if (!version.pixels) {
      await version.image.decode();
      const sheet = new OffscreenCanvas(width, height).getContext("2d", { willReadFrequently: true });
      sheet.drawImage(version.image, 0, 0, width, height);
      version.pixels = sheet.getImageData(0, 0, width, height).data;
    }
    return version.pixels;
  }

  const ramp = [[0, 0, 4], [59, 15, 112], [181, 54, 122], [251, 136, 97], [252, 253, 191]];
  const rampColours = Array.from({ length: 256 }, (_, level) => {
    const at = level / 255 * (ramp.length - 1), low = Math.min(Math.floor(at), ramp.length - 2);
    return ramp[low].map((from, channel) => from + (ramp[low + 1][channel] - from) * (at - low));
  });

  let wanted = 0;
  async function compare() {
    const ticket = ++wanted;
    place();
    const left = versions[state.left], right = versions[state.right];
    byId("tag-left").textContent = state.mode === "difference" ? `|${left.name} − ${right.name}|` : left.name;
    byId("tag-right").textContent = right.name;
    const [one, two] = await Promise.all([pixelsOf(left), pixelsOf(right)]);
    if (ticket !== wanted) return;  // something else was chosen meanwhile
    const largest = new Uint8Array(width * height), histogram = new Uint32Array(256);
    let squares = 0;
    for (let pixel = 0, at = 0; pixel < largest.length; pixel++, at += 4) {
      for (let channel = 0; channel < 3; channel++) {
        const difference = Math.abs(one[at + channel] - two[at + channel]);
        squares += difference * difference;
        if (difference > largest[pixel]) largest[pixel] = difference;
      }
      histogram[largest[pixel]]++;
    }
    let top = 255, beyond = 0;
    while (top > 0 && !histogram[top]) top--;
    let usual = 255;
    while (usual > 1 && (beyond += histogram[usual]) < largest.length / 1000) usual--;
    const psnr = squares ? 10 * Math.log10(255 * 255 * 3 * largest.length / squares) : Infinity;
    byId("between").textContent = left === right ? "The same picture on both sides." :
      `${left.name} and ${right.name}, part shown: ` +
      (squares ? `PSNR ${psnr.toFixed(2)} dB, largest difference ${top} of 255.` : "equal in every pixel.");
    if (state.mode !== "difference") return;
    if (!gain.dataset.chosen) {
      gain.value = String([32, 16, 8, 4, 2].find((factor) => usual * factor <= 255) || 1);
    }
    const factor = Number(gain.value);
    byId("ramp-end").textContent = `0 to ${Math.floor(255 / factor)}`;
    canvas.width = width;
    canvas.height = height;
    canvas.setAttribute("aria-label", `Difference map of ${left.name} and ${right.name}, amplified ${factor} times`);
    const context = canvas.getContext("2d"), map = context.createImageData(width, height);
    for (let pixel = 0, at = 0; pixel < largest.length; pixel++, at += 4) {
      const colour = rampColours[Math.min(255, largest[pixel] * factor)];
      map.data.set([colour[0], colour[1], colour[2], 255], at);
    }
    context.putImageData(map, 0, 0);
  }
  new ResizeObserver(place).observe(stage);
  stage.dataset.mode = "slider";
  const named = (name) => Math.max(0, versions.findIndex((version) => version.name === name));
  show("left", named("float"));
  show("right", versions.length - 1);

  // ---- Sorting the table -----------------------------------------------------------------------------------------
  for (const table of document.querySelectorAll("table.sortable")) {
    const headings = [...table.tHead.rows[0].cells], body = table.tBodies[0];
    headings.forEach((heading, column) => heading.querySelector("button").addEventListener("click", () => {
      const order = heading.getAttribute("aria-sort") === "ascending" ? "descending" : "ascending";
      headings.forEach((other) => other.setAttribute("aria-sort", other === heading ? order : "none"));
      const numeric = heading.dataset.kind === "number" || column === 0;
      const key = (row) => row.cells[column].dataset.value;
      const sign = order === "ascending" ? 1 : -1;
      const number = (text) => (text === "inf" ? Infinity : Number(text));
      const rows = [...body.rows].sort((one, two) => {
        const [a, b] = [key(one), key(two)];
        if (a === "" || b === "") return (a === "") - (b === "");  // what has no figure stays at the end
        return sign * (numeric ? (number(a) === number(b) ? 0 : number(a) - number(b)) : a.localeCompare(b, "en"));
      });
      body.append(...rows);
    }));
  }

  // ---- Layers ----------------------------------------------------------------------------------------------------
  const picker = byId("layer"), heat = byId("heat"), read = byId("heat-read");
  let chosen = 0, network = data.networks.length - 1, channel = -1;
  data.layers.forEach((layer, index) => picker.add(new Option(`${layer.name} · ${layer.role} · ${layer.shape}`, index)));
  data.networks.forEach((item, index) => {
    const label = document.createElement("label"), input = document.createElement("input"), text = document.createElement("span");
    Object.assign(input, { type: "radio", name: "heat-network", value: index, checked: index === network });
    input.addEventListener("change", () => { network = index; channel = -1; draw(); });
    text.textContent = item.name;
    label.append(input, text);
    byId("heat-network").append(label);
  });
  picker.addEventListener("change", () => choose(Number(picker.value)));
  for (const target of document.querySelectorAll(".target")) {
    target.addEventListener("click", () => choose(Number(target.dataset.layer)));
  }

  const decibels = (value) => (value === null || value === undefined ? "–" : `${value.toFixed(1)} dB`);
  const bitsText = (bits) => (bits === 32 ? "float" : `${bits} bits`);
  function choose(index) {
    chosen = index;
    channel = -1;
    picker.value = index;
    const share = 100 / data.layers.length;
    for (const mark of document.querySelectorAll(".picked")) {
      mark.setAttribute("x", `${index * share}%`);
      mark.setAttribute("width", `${share}%`);
    }
    const body = document.querySelector("#layer-table tbody");
    body.replaceChildren(...data.networks.map((item) => {
      const figures = item.layers[index], row = document.createElement("tr"), head = document.createElement("th");
      head.scope = "row";
      head.textContent = item.name;
      row.append(head);
      for (const text of [
        bitsText(figures.weights), bitsText(figures.activations), decibels(figures.output),
        figures.share === null ? "–" : `${(100 * figures.share).toFixed(1)} %`,
        decibels(figures.input_sqnr), decibels(figures.weight_sqnr),
      ]) row.insertCell().textContent = text;
      return row;
    }));
    const reason = data.networks[0].layers[index].reason;
    byId("layer-reason").hidden = !reason;
    byId("layer-reason").textContent = reason ? `${data.layers[index].name}: ${reason}.` : "";
    draw();
  }

  const shortNumber = (value) => (Math.abs(value) >= 100 || value === 0 ? value.toFixed(0) : value.toPrecision(3));
  function draw() {
    const ranges = data.networks[network].ranges[chosen];
    document.querySelector(".heat").classList.toggle("empty", !ranges);
    document.querySelector(".heat-frame").hidden = document.querySelector(".heat-axis").hidden = !ranges;
    if (!ranges) {
      read.textContent = `${data.networks[network].name} leaves what this layer reads float: it has no ranges.`;
      return;
    }
    const { bins, bottom, top, density, lo, hi, minimum, maximum } = ranges, columns = lo.length;
    const style = getComputedStyle(document.documentElement), colour = (name) => style.getPropertyValue(name).trim();
    const dense = devicePixelRatio || 1, context = heat.getContext("2d");
    const [w, h] = [heat.clientWidth, heat.clientHeight];
    heat.width = w * dense;
    heat.height = h * dense;
    context.scale(dense, dense);
    context.fillStyle = colour("--paper");
    context.fillRect(0, 0, w, h);
    const cell = w / columns, tall = h / bins, edge = (index) => Math.round(index * cell * dense) / dense;
    context.fillStyle = colour("--heat");
    for (let column = 0; column < columns; column++) {
      for (let bin = 0; bin < bins; bin++) {
        const level = parseInt(density[column * bins + bin], 16);
        if (!level) continue;
        context.globalAlpha = level / 15;
        context.fillRect(edge(column), h - (bin + 1) * tall, edge(column + 1) - edge(column), tall + 0.5);
      }
    }
    context.globalAlpha = 1;
    const y = (value) => clamp(h - h * (value - bottom) / (top - bottom), 0.75, h - 0.75);
    context.lineWidth = 1.5;
    context.strokeStyle = colour("--s1");
    for (const levels of [lo, hi]) {
      context.beginPath();
      levels.forEach((value, column) => {
        context.moveTo(edge(column), y(value));
        context.lineTo(edge(column + 1), y(value));
      });
      context.stroke();
    }
    if (channel >= 0) {
      context.strokeStyle = colour("--ink");
      context.strokeRect(edge(channel), 0.75, edge(channel + 1) - edge(channel), h - 1.5);
    }
    byId("heat-top").textContent = shortNumber(top);
    byId("heat-bottom").textContent = shortNumber(bottom);
    byId("heat-last").textContent = columns < ranges.channels ? `channel ${columns - 1} of ${ranges.channels}` : `channel ${columns - 1}`;
    if (channel >= 0) {
      read.textContent = `Channel ${channel}: levels from ${shortNumber(lo[channel])} to ${shortNumber(hi[channel])}, ` +
        `values from ${shortNumber(minimum[channel])} to ${shortNumber(maximum[channel])}.`;
      return;
    }
    const spans = lo.map((low, column) => hi[column] - low);
    const widest = spans.indexOf(Math.max(...spans)), narrowest = spans.indexOf(Math.min(...spans));
    read.textContent = `Widest range: channel ${widest}, ${shortNumber(lo[widest])} to ${shortNumber(hi[widest])}. ` +
      `Narrowest: channel ${narrowest}, ${shortNumber(lo[narrowest])} to ${shortNumber(hi[narrowest])}. ` +
      "Point at a channel, or use the arrow keys, to read it.";
  }
  const columnsShown = () => { const ranges = data.networks[network].ranges[chosen]; return ranges ? ranges.lo.length : 0; };
  heat.addEventListener("pointermove", (event) => {
    const at = clamp(Math.floor(event.offsetX / heat.clientWidth * columnsShown()), 0, columnsShown() - 1);
    if (at !== channel) { channel = at; draw(); }
  });
  heat.addEventListener("pointerleave", () => { channel = -1; draw(); });
  heat.addEventListener("keydown", (event) => {
    const step = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
    if (!step) return;
    event.preventDefault();
    channel = clamp(channel + step, 0, columnsShown() - 1);
    draw();
  });
  new ResizeObserver(draw).observe(heat);
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", draw);
  const ofBody = data.layers.some((layer) => layer.role === "body");
  const costs = data.networks[network].layers.map((figures, index) =>
    (ofBody && data.layers[index].role !== "body" ? -1 : figures.share || 0));
  choose(costs.indexOf(Math.max(...costs)));
})();
