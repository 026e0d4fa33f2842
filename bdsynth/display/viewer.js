// The report's motion viewer, part three: panels in step, and their controls.

class Viewer {
  constructor(host, data) {
    this.host = host;
    this.clips = data.motions.map((motion) => new Clip(motion));
    this.panels = data.panels.map(({ caption, motions }) => new Panel(this, caption, motions.map((m) => this.clips[m])));
    const shown = [...new Set(data.panels.flatMap((panel) => panel.motions))].map((m) => this.clips[m]);
    const alike = shown.every((clip) => clip.dims === shown[0].dims && clip.unit === shown[0].unit);
    this.overlaid = this.panels.length > 1 && alike ? new Panel(this, "", shown) : null;
    this.duration = Math.max(...shown.map((clip) => clip.duration));
    this.step = 1 / Math.max(...shown.map((clip) => clip.fps));
    this.time = 0;
    this.speed = 1;
    this.playing = this.visible = this.overlay = false;
    this.following = true;
    this.orbit = { azimuth: 0, elevation: 0, zoom: 1 };
    this.build();
    this.show();
    this.arrange();
    new ResizeObserver(() => this.invalidate()).observe(host);
    new IntersectionObserver(([entry]) => {
      this.visible = entry.isIntersecting;
      this.invalidate();
    }).observe(host);
    this.play(this.duration > 0 && !matchMedia("(prefers-reduced-motion: reduce)").matches);
  }

  build() {
    const button = (text, action, more = {}) => element("button", { type: "button", ...more, onclick: action }, text);
    this.playButton = button(element("span"), () => this.play(!this.playing), { class: "play" });
    this.slider = element("input", {
      type: "range", min: 0, max: this.duration, step: "any", value: 0, "aria-label": "Time in seconds",
      oninput: () => { this.play(false); this.seek(Number(this.slider.value)); },
    });
    this.clock = element("output", { class: "clock" });
    const choices = SPEEDS.map((speed) => element("option", { value: speed }, `${speed}×`));
    this.speeds = element("select", {
      "aria-label": "Speed", onchange: () => (this.speed = Number(this.speeds.value)),
    }, ...choices);
    this.speeds.value = "1";
    this.followButton = button("Follow", () => this.toggle("following", this.followButton), { title: "The camera goes along with the person" });
    this.overlayButton = button("Overlay", () => this.toggle("overlay", this.overlayButton), { title: "All motions in one picture" });
    this.followButton.setAttribute("aria-pressed", "true");
    this.overlayButton.setAttribute("aria-pressed", "false");
    const side = (name) => {
      const swatch = element("span", { class: "swatch" });
      swatch.style.setProperty("--color", `var(--${name})`);
      return element("span", {}, swatch, name);
    };
    this.grid = element("div", { class: "panels" });
    this.sides = element("span", { class: "sides" }, side("left"), side("right"));
    const buttons = [this.followButton, ...(this.overlaid ? [this.overlayButton] : []), button("Reset view", () => this.reset())];
    const bar = element("div", { class: "bar", role: "toolbar", "aria-label": "Player" },
      this.playButton, this.slider, this.clock, this.speeds, ...buttons, this.sides);
    this.host.replaceChildren(this.grid, bar);
    this.host.after(element("div", { class: "hint pointer" }, "Drag to turn, wheel to zoom; space plays, the arrow keys step, with shift by a second."));
    this.host.addEventListener("pointerdown", () => (Viewer.current = this));
    this.host.addEventListener("focusin", () => (Viewer.current = this));
  }

  arrange() {
    const shown = this.shown(), n = shown.length, columns = n <= 4 ? n : Math.ceil(Math.sqrt(n));
    this.grid.className = `panels ${["", "one", "two"][n] ?? ""}`;
    this.grid.style.setProperty("--columns", columns);
    this.grid.replaceChildren(...shown.map((panel) => panel.node));
    this.sides.hidden = shown.every((panel) => panel.clips.length > 1);
    this.sides.style.display = this.sides.hidden ? "none" : "";
    this.invalidate();
  }

  shown() { return this.overlay ? [this.overlaid] : this.panels; }

  toggle(name, control) {
    this[name] = !this[name];
    control.setAttribute("aria-pressed", String(this[name]));
    this.arrange();
  }

  reset() {
    this.orbit = { azimuth: 0, elevation: 0, zoom: 1 };
    this.invalidate();
  }

  turn(azimuth, elevation, zoom) {
    this.orbit.azimuth += azimuth;
    this.orbit.elevation = clamp(this.orbit.elevation + elevation, -0.15 - ELEVATION, 1.55 - ELEVATION);
    this.orbit.zoom = clamp(this.orbit.zoom * zoom, 0.2, 8);
    this.invalidate();
  }

  play(playing) {
    this.playing = playing;
    this.host.classList.toggle("playing", playing);
    this.playButton.setAttribute("aria-label", playing ? "Pause" : "Play");
    this.last = null;
    this.invalidate();
  }

  seek(time) {
    this.time = clamp(time, 0, this.duration);
    this.invalidate();
  }

  invalidate() {
    if (!this.requested) this.requested = requestAnimationFrame((now) => this.frame(now));
  }

  frame(now) {
    this.requested = 0;
    if (!this.visible) return (this.last = null);
    if (this.playing) {
      // At the end the last pose stays for a moment, then it begins again.
      if (this.last !== null) this.time += (this.speed * (now - this.last)) / 1000;
      if (this.time > this.duration + 0.5 * this.speed) this.time = 0;
      this.last = now;
      this.invalidate();
    }
    this.show();
    const time = Math.min(this.time, this.duration), shown = this.shown();
    const rooms = new Map(); // figures of one kind are drawn at one scale
    const kind = (panel) => panel.clips[0].unit + panel.clips[0].dims;
    for (const panel of shown) {
      panel.needs ??= { true: panel.room(true), false: panel.room(false) };
      rooms.set(kind(panel), Math.max(rooms.get(kind(panel)) ?? 0, panel.needs[this.following]));
    }
    for (const panel of shown) panel.draw(time, rooms.get(kind(panel)));
  }

  show() {
    const time = Math.min(this.time, this.duration);
    this.slider.value = time;
    this.clock.textContent = `${time.toFixed(2)} / ${this.duration.toFixed(2)} s`;
  }
}

document.addEventListener("keydown", (event) => {
  const on = event.target, viewer = [Viewer.current, ...viewers].find((one) => one?.visible);
  if (!viewer || event.ctrlKey || event.metaKey || event.altKey) return;
  if (on.closest("video, select, .scroll") || (event.key === " " && on.closest("button"))) return;
  const step = (sign) => {
    const frame = Math.round(viewer.time / viewer.step);
    viewer.play(false);
    viewer.seek(event.shiftKey ? viewer.time + sign : (frame + sign) * viewer.step);
  };
  const actions = {
    " ": () => viewer.play(!viewer.playing),
    ArrowRight: () => step(1),
    ArrowLeft: () => step(-1),
    Home: () => viewer.seek(0),
    End: () => viewer.seek(viewer.duration),
  };
  if (!actions[event.key] || (!on.closest(".viewer") && ["Home", "End"].includes(event.key))) return;
  event.preventDefault();
  actions[event.key]();
});

readColors();
const viewers = [...document.querySelectorAll(".viewer")].map((host) =>
  new Viewer(host, JSON.parse(host.querySelector("script").textContent)));
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => {
  readColors();
  viewers.forEach((viewer) => viewer.invalidate());
});
