"use strict";
(() => {
  const data = JSON.parse(document.getElementById("data").textContent);
  const $ = (id) => document.getElementById(id);
  const slider = $("tau");
  if (!slider) return;
  const PAGE = 24, BIG = 480, TILE = 224;
  const state = { tau: 0, protocol: data.curves[0].name, shown: PAGE, layer: "both", list: [] };

  const bytes = (text) => Uint8Array.from(atob(text), (c) => c.charCodeAt(0));
  const el = (tag, css, text) => {
    const node = document.createElement(tag);
    if (css) node.className = css;
    if (text !== undefined) node.textContent = text; // never innerHTML: names come from the dataset
    return node;
  };
  const curve = () => data.curves.find((c) => c.name === state.protocol);

  // The last threshold that is not above tau: the accuracy holds from there on, as in results.json.
  const column = (taus, tau) => {
    let low = 0, high = taus.length;
    while (low < high) { const mid = (low + high) >> 1; if (taus[mid] <= tau) low = mid + 1; else high = mid; }
    return Math.max(low - 1, 0);
  };
  const accuracy = (run, key) => {
    const c = curve().runs[run];
    return c[key][column(c.taus, state.tau)];
  };

  // --- one image ---------------------------------------------------------------------------------------
  const unpacked = new Map();
  const unpack = (image, m) => {
    const key = image.id + "\n" + m;
    if (!unpacked.has(key)) {
      const run = image.runs[m], raw = bytes(run.boxes);
      const boxes = raw.length === 1024 ? raw : new Uint16Array(raw.buffer);
      const iou = {};
      for (const name in run.iou) iou[name] = new Float32Array(bytes(run.iou[name]).buffer);
      unpacked.set(key, { boxes, iou });
    }
    return unpacked.get(key);
  };
  const level = (run) => Math.trunc(state.tau * run.top);
  const iouNow = (image, m) => unpack(image, m).iou[curve().iou][level(image.runs[m])];
  const boxNow = (image, m) => {
    const at = 4 * level(image.runs[m]);
    return unpack(image, m).boxes.subarray(at, at + 4);
  };
  const hitNow = (image, m) => iouNow(image, m) >= Math.fround(curve().limit);

  const RAMP = [[0, 0, 4], [31, 12, 72], [85, 15, 109], [136, 34, 106], [186, 54, 85], [227, 89, 51], [249, 140, 10], [249, 201, 50], [252, 255, 164]];
  const LUT = new Uint8ClampedArray(768);
  for (let i = 0; i < 256; i++) {
    const at = i / 255 * 8, k = Math.min(Math.floor(at), 7), f = at - k;
    for (let c = 0; c < 3; c++) LUT[3 * i + c] = RAMP[k][c] * (1 - f) + RAMP[k + 1][c] * f;
  }
  // Bicubic with a = -0.75, as the evaluation upsamples, then min-max: what the boxes were taken from.
  const weights = (from, to) => {
    const a = -0.75, rows = [];
    for (let i = 0; i < to; i++) {
      const x = (i + 0.5) * from / to - 0.5, base = Math.floor(x), t = x - base, w = [];
      for (let k = -1; k <= 2; k++) {
        const d = Math.abs(t - k);
        const v = d <= 1 ? ((a + 2) * d - (a + 3)) * d * d + 1 : ((a * d - 5 * a) * d + 8 * a) * d - 4 * a;
        w.push([Math.min(Math.max(base + k, 0), from - 1), v]);
      }
      rows.push(w);
    }
    return rows;
  };
  const heat = (map, side, veil) => {
    const values = new Float32Array(bytes(map.values).buffer);
    const across = weights(map.w, side), down = weights(map.h, side);
    const wide = new Float64Array(map.h * side), full = new Float64Array(side * side);
    for (let y = 0; y < map.h; y++) for (let x = 0; x < side; x++) {
      let sum = 0; for (const [k, v] of across[x]) sum += v * values[y * map.w + k];
      wide[y * side + x] = sum;
    }
    let low = Infinity, high = -Infinity;
    for (let y = 0; y < side; y++) for (let x = 0; x < side; x++) {
      let sum = 0; for (const [k, v] of down[y]) sum += v * wide[k * side + x];
      full[y * side + x] = sum; if (sum < low) low = sum; if (sum > high) high = sum;
    }
    const canvas = el("canvas"); canvas.width = canvas.height = side;
    const out = new ImageData(side, side), scale = high > low ? 255 / (high - low) : 0;
    for (let i = 0; i < side * side; i++) {
      const v = Math.floor((full[i] - low) * scale);
      out.data[4 * i] = LUT[3 * v]; out.data[4 * i + 1] = LUT[3 * v + 1]; out.data[4 * i + 2] = LUT[3 * v + 2];
      out.data[4 * i + 3] = veil ? 0.75 * v : 255; // over a picture: where the map is low the picture stays as it is
    }
    canvas.getContext("2d").putImageData(out, 0, 0);
    return canvas;
  };
  const heats = new Map(), pictures = new Map();
  const heatOf = (image, m, veil) => {
    const key = image.id + "\n" + m + veil;
    if (!heats.has(key)) heats.set(key, image.runs[m].map ? heat(image.runs[m].map, 112, veil) : null);
    return heats.get(key);
  };
  const pictureOf = (image, then) => {
    if (!image.picture) return null;
    let picture = pictures.get(image.id);
    if (!picture) {
      picture = new Image();
      picture.src = image.picture;
      pictures.set(image.id, picture);
    }
    if (picture.complete && picture.naturalWidth) return picture;
    picture.addEventListener("load", then, { once: true });
    return null;
  };

  const draw = (canvas, image, m) => {
    const side = canvas.width, g = canvas.getContext("2d"), [w, h] = image.size, k = side / Math.max(w, h);
    const W = w * k, H = h * k, X = (side - W) / 2, Y = (side - H) / 2;
    g.clearRect(0, 0, side, side);
    g.imageSmoothingQuality = "high";
    const alone = m === ALONE, mapOnly = state.layer === "map" || state.layer === "beside";
    const picture = mapOnly && !alone ? null : pictureOf(image, () => draw(canvas, image, m));
    const map = alone || state.layer === "image" ? null : heatOf(image, m, Boolean(picture));
    if (picture) g.drawImage(picture, X, Y, W, H);
    if (map) g.drawImage(map, X, Y, W, H);
    const scale = Math.max(side / 340, 1);
    const frame = (box, colour, dash) => {
      const x0 = X + box[0] * W / data.frame, y0 = Y + box[1] * H / data.frame;
      const bw = (box[2] - box[0]) * W / data.frame, bh = (box[3] - box[1]) * H / data.frame;
      g.setLineDash([]); g.strokeStyle = "rgba(0,0,0,.65)"; g.lineWidth = 4 * scale; g.strokeRect(x0, y0, bw, bh);
      g.setLineDash(dash); g.strokeStyle = colour; g.lineWidth = 2.2 * scale; g.strokeRect(x0, y0, bw, bh);
    };
    for (const box of image.truth) frame(box, "#fff", []);
    if (alone) return;
    const box = boxNow(image, m);
    frame(box, "#ffb000", [7 * scale, 5 * scale]);
    g.setLineDash([]);
    canvas.dataset.box = Array.from(box).join(",");
  };

  const scoreLine = (image, m) => {
    const hit = hitNow(image, m), run = image.runs[m], line = el("span", "score " + (hit ? "hit" : "miss"));
    line.append(el("span", "mark", hit ? "✓" : "✗"));
    if (data.methods.length > 1) line.append(el("span", "", data.methods[m]));
    line.append(el("span", "", "IoU " + iouNow(image, m).toFixed(2)));
    if (run.top1 === 0) line.append(el("span", "says", "says " + data.classes[run.predicted]));
    return line;
  };

  // --- gallery -----------------------------------------------------------------------------------------
  const grid = $("grid"), cards = new Map();
  const onScreen = new Set();
  const watch = new IntersectionObserver((entries) => {
    for (const e of entries) {
      if (e.isIntersecting) { onScreen.add(e.target); paint(e.target); } else onScreen.delete(e.target);
    }
  }, { rootMargin: "300px" });

  const paint = (card) => {
    const image = card.image;
    drawAll(card, image);
    const lines = card.querySelector(".scores");
    lines.replaceChildren(...image.runs.map((_, m) => scoreLine(image, m)));
  };
  const ALONE = -1; // the pane of the picture, without a map
  const panes = (image, side) => {
    const row = el("span", "panes");
    [ALONE, ...image.runs.keys()].forEach((m) => {
      const name = m === ALONE ? "picture" : data.methods[m];
      const pane = el("span", m === ALONE ? "pane alone" : "pane"), canvas = el("canvas");
      canvas.width = canvas.height = side;
      canvas.dataset.run = m;
      canvas.setAttribute("role", "img");
      canvas.setAttribute("aria-label", name + ": " + image.id);
      if (data.methods.length > 1 || m === ALONE) pane.append(el("span", "pane-name", name));
      pane.append(canvas); row.append(pane);
    });
    return row;
  };
  const drawAll = (holder, image) => holder.querySelectorAll("canvas").forEach((canvas) => {
    const m = Number(canvas.dataset.run);
    if (m !== ALONE || image.picture && canvas.offsetParent) draw(canvas, image, m);
  });
  const newCard = (image, css) => {
    const card = el("button", css), caption = el("span", "caption");
    card.type = "button"; card.image = image; card.dataset.id = image.id;
    caption.append(el("span", "name", data.classes[image.class]), el("span", "scores"));
    card.append(panes(image, TILE), caption);
    card.title = image.id + ", " + data.words[image.why];
    card.addEventListener("click", () => open(image));
    return card;
  };
  const cardOf = (image) => {
    if (!cards.has(image.id)) cards.set(image.id, newCard(image, "card"));
    return cards.get(image.id);
  };
  // The first screen's examples: drawn at random when the page was made, so that one may generalise from them.
  const drawn = data.images.filter((i) => i.why === "random"), wanted = $("examples") ? Number($("examples").dataset.count) : 0;
  const few = Math.min(wanted, drawn.length), examples = Array.from({ length: few }, (_, k) => newCard(drawn[Math.floor(k * drawn.length / few)], "example"));
  if (examples.length) $("examples").replaceChildren(...examples);
  const last = data.methods.length - 1;
  const orders = {
    random: null,
    worst: (a, b) => iouNow(a, last) - iouNow(b, last),
    best: (a, b) => iouNow(b, last) - iouNow(a, last),
    gained: (a, b) => iouNow(b, last) - iouNow(b, 0) - (iouNow(a, last) - iouNow(a, 0)),
    lost: (a, b) => iouNow(a, last) - iouNow(a, 0) - (iouNow(b, last) - iouNow(b, 0)),
    changed: (a, b) => Math.abs(iouNow(b, last) - iouNow(b, 0)) - Math.abs(iouNow(a, last) - iouNow(a, 0)),
    class: (a, b) => a.class - b.class,
  };
  const arrange = () => {
    if (!grid) return;
    const cls = $("class").value, kind = $("kind").value, why = $("why").value, order = orders[$("sort").value];
    const sought = $("search").value.trim().toLowerCase();
    state.list = data.images.filter((i) => (sought === "" || i.id.toLowerCase().includes(sought)) && (cls === "" || i.class === Number(cls)) && (why === "" || i.why === why)
      && (kind === "" || i.runs.some((r, m) => kind === m + ":" + r.kind)));
    if (order) state.list = state.list.map((i, n) => [i, n]).sort((a, b) => order(a[0], b[0]) || a[1] - b[1]).map((p) => p[0]);
    const visible = state.list.slice(0, state.shown).map(cardOf);
    grid.replaceChildren(...visible);
    watch.disconnect(); onScreen.clear();
    visible.forEach((c) => watch.observe(c));
    const part = visible.length < state.list.length ? visible.length + " of these " + state.list.length : "" + state.list.length;
    $("count").textContent = part + " shown; the page holds " + data.images.length + " of " + data.total.toLocaleString("en") + " images.";
    $("more").hidden = visible.length === state.list.length;
    if (!state.list.length) grid.append(el("p", "quiet", "No image on this page matches."));
  };

  // --- enlarged ----------------------------------------------------------------------------------------
  const viewer = $("viewer");
  let current = null;
  const fill = (image) => {
    current = image;
    const body = $("viewer-body"), row = panes(image, BIG);
    row.classList.toggle("beside", Boolean(image.picture));
    body.replaceChildren(el("h3", "", data.classes[image.class]), el("p", "quiet", image.id + " · " + data.words[image.why]), row,
      ...image.runs.map((r, m) => { const l = scoreLine(image, m); if (r.kind) l.append(el("span", "", "(at the result's own threshold: " + r.kind + ")")); return l; }));
    drawAll(row, image);
    const at = state.list.indexOf(image);
    $("previous").disabled = at <= 0; $("next").disabled = at < 0 || at + 1 >= state.list.length;
  };
  const go = (step) => {
    const next = state.list.indexOf(current) + step;
    if (next >= 0 && next < state.list.length) { fill(state.list[next]); remember(); }
  };
  const open = (image) => { viewer.showModal(); fill(image); remember(); };
  $("previous").addEventListener("click", () => go(-1));
  $("next").addEventListener("click", () => go(1));
  viewer.addEventListener("keydown", (e) => {
    const step = { ArrowRight: 1, ArrowLeft: -1 }[e.key];
    if (!step) return;
    go(step);
    e.preventDefault();
  });
  viewer.addEventListener("close", () => { const c = cards.get(current.id); if (c) c.focus(); remember(); });

  const show = (layer) => {
    state.layer = layer;
    grid.classList.toggle("beside", layer === "beside");
  };

  // --- a link to what is seen ------------------------------------------------------------------------------
  const FIELDS = ["sort", "class", "kind", "why", "search", "layer"];
  const remember = () => {
    const words = new URLSearchParams({ protocol: state.protocol, tau: Math.round(state.tau * 1000) });
    if (grid) for (const id of FIELDS) if ($(id).value && $(id).value !== $(id).dataset.first) words.set(id, $(id).value);
    if (viewer.open && current) words.set("image", current.id);
    history.replaceState(null, "", "#" + words);
  };
  const recall = () => {
    const words = new URLSearchParams(location.hash.slice(1));
    if (!words.has("protocol")) return;
    if (data.curves.some((c) => c.name === words.get("protocol"))) {
      $("protocol").value = words.get("protocol"); choose($("protocol").value);
    }
    const step = Number(words.get("tau"));
    if (step >= 0 && step < 1000) setTau(step);
    if (!grid) return;
    for (const id of FIELDS) if (words.has(id)) $(id).value = words.get(id);
    show($("layer").value);
    arrange();
    const image = data.images.find((i) => i.id === words.get("image"));
    if (image) open(image);
  };

  // --- threshold ---------------------------------------------------------------------------------------
  let pending = 0;
  const update = () => {
    const c = curve();
    $("tau-text").textContent = state.tau.toFixed(3);
    slider.setAttribute("aria-valuetext", "threshold " + state.tau.toFixed(3));
    $("readouts").replaceChildren(...data.methods.map((name, m) => {
      const box = el("div", "readout"), values = c.keys.map((k) => accuracy(m, k));
      const big = el("b", "", values.map((v) => v.toFixed(2)).join(" / ") + " ");
      big.append(el("small", "", c.keys.length > 1 ? "% at IoU " + c.keys.join(" / ") : "% localized"));
      big.dataset.run = m; big.dataset.values = JSON.stringify(values);
      const swatch = document.querySelectorAll(".legend .swatch")[m].cloneNode(true);
      box.append(swatch, el("span", "", name), big);
      return box;
    }));
    document.querySelectorAll('.curve-figure[data-protocol="' + CSS.escape(c.name) + '"] .curves').forEach((svg) => {
      const [left, width, top, height] = ["left", "width", "top", "height"].map((k) => Number(svg.dataset[k])), most = Number(svg.dataset.most);
      const x = left + state.tau * width, line = svg.querySelector(".cursor");
      line.setAttribute("x1", x); line.setAttribute("x2", x);
      svg.querySelectorAll(".marker").forEach((dot) => {
        const value = accuracy(Number(dot.dataset.run), dot.dataset.iou);
        dot.setAttribute("cx", x); dot.setAttribute("cy", top + (1 - value / most) * height);
        dot.dataset.value = value;
      });
    });
    if (!pending) pending = requestAnimationFrame(() => { pending = 0; onScreen.forEach(paint); examples.forEach(paint); if (viewer.open) fill(current); });
  };
  const setTau = (step) => { slider.value = step; state.tau = step * 0.001; update(); }; // numpy's arange gives the same doubles
  const renew = () => { // an order by IoU is that of the threshold and protocol of the moment
    if (grid && !["random", "class"].includes($("sort").value)) arrange();
    remember();
  };
  const choose = (name) => {
    state.protocol = name;
    document.querySelectorAll(".curve-figure, .spark-box").forEach((f) => { f.hidden = f.dataset.protocol !== name; });
    const jumps = $("jumps"), c = curve();
    jumps.replaceChildren();
    c.best.forEach((tau, m) => {
      const button = el("button", "", (data.methods.length > 1 ? "best of " + data.methods[m] : "best") + ", " + tau.toFixed(3));
      button.type = "button";
      button.addEventListener("click", () => { setTau(Math.round(tau * 1000)); renew(); });
      jumps.append(button);
    });
    const usual = el("button", "", "conventional, 0.200");
    usual.type = "button"; usual.addEventListener("click", () => { setTau(200); renew(); }); jumps.append(usual);
    setTau(Math.round(c.best[last] * 1000));
  };
  slider.addEventListener("input", () => setTau(Number(slider.value)));
  $("protocol").addEventListener("change", (e) => { choose(e.target.value); renew(); });
  choose(state.protocol);
  if (grid) {
    for (const id of FIELDS) $(id).dataset.first = $(id).value;
    for (const id of ["sort", "class", "kind", "why"]) $(id).addEventListener("change", () => { state.shown = PAGE; arrange(); remember(); });
    $("search").addEventListener("input", () => { state.shown = PAGE; arrange(); remember(); });
    $("layer").addEventListener("change", (e) => { show(e.target.value); onScreen.forEach(paint); examples.forEach(paint); remember(); });
    $("more").addEventListener("click", () => { state.shown += 2 * PAGE; arrange(); });
    addEventListener("beforeprint", () => grid.querySelectorAll(".card").forEach(paint));
    arrange();
  }
  slider.addEventListener("change", renew); // while it moves the order stays, and follows when it rests
  recall();
})();
