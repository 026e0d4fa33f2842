"use strict";
// The report's motion viewer, part one: motions, colors and small helpers.
// Plain JavaScript; the three parts are joined into one script, and nothing is loaded.

const FOCAL = 2.4; // half the picture's height at this distance
const MARGIN = 0.92; // part of the picture that a figure may fill
const ELEVATION = 0.21, THREE_QUARTER = 0.7; // radians: the first view
const SPEEDS = [0.1, 0.25, 0.5, 1, 2];
const MISSING = -32768;

const clamp = (value, low, high) => Math.min(Math.max(value, low), high);
const mean = (values) => values.reduce((a, b) => a + b, 0) / values.length;

function element(tag, attributes = {}, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (name.startsWith("on")) made.addEventListener(name.slice(2), value);
    else made.setAttribute(name, value);
  }
  made.append(...children);
  return made;
}

// --- Colors of the style sheet ---------------------------------------------------------------------------

const colors = {};
function readColors() {
  const style = getComputedStyle(document.documentElement);
  const names = ["stage", "left", "right", "center", "torso", "grid", "shadow", "trail"];
  for (const name of [...names, ...[0, 1, 2, 3, 4, 5].map((n) => `series-${n}`)]) {
    const hex = style.getPropertyValue(`--${name}`).trim();
    colors[name] = [1, 3, 5].map((at) => parseInt(hex.slice(at, at + 2), 16));
  }
}
const mix = (a, b, share) => a.map((p, i) => Math.round(p + (b[i] - p) * share));
const css = (color, alpha = 1) => `rgba(${color.join(",")},${alpha})`;

// --- One motion ------------------------------------------------------------------------------------------

class Clip {
  constructor(data) {
    Object.assign(this, data);
    const bytes = Uint8Array.from(atob(data.positions), (c) => c.charCodeAt(0));
    const whole = new Int16Array(bytes.buffer); // little endian, as every browser's machine
    this.positions = new Float32Array(whole.length);
    for (let i = 0; i < whole.length; i++) {
      this.positions[i] = whole[i] === MISSING ? NaN : data.offset[i % data.dims] + data.step * whole[i];
    }
    this.duration = (this.frames - 1) / this.fps;
    this.measure();
  }

  joint(frame, j) {
    const at = (frame * this.joints + j) * this.dims;
    return this.positions.subarray(at, at + this.dims);
  }

  // The joints at a time in seconds, between frames linearly; NaN where a joint is masked.
  pose(time) {
    const exact = clamp(time * this.fps, 0, this.frames - 1);
    const frame = Math.min(Math.floor(exact + 1e-6), this.frames - 1);
    const next = Math.min(frame + 1, this.frames - 1), share = Math.max(exact - frame, 0);
    const pose = [];
    for (let j = 0; j < this.joints; j++) {
      const a = this.joint(frame, j), b = this.joint(next, j);
      pose.push(share > 0.001 ? Array.from(a, (value, d) => value + share * (b[d] - value)) : Array.from(a));
    }
    return pose;
  }

  // The person's path, the camera's path along it, and how much room either kind of framing needs.
  measure() {
    const D = this.dims;
    let last = new Array(D).fill(0), low = new Array(D).fill(Infinity), high = new Array(D).fill(-Infinity);
    this.path = [];
    for (let t = 0; t < this.frames; t++) {
      const seen = this.center.map((j) => this.joint(t, j)).filter((p) => !isNaN(p[0]));
      if (seen.length) last = last.map((_, d) => mean(seen.map((p) => p[d])));
      this.path.push(last);
      for (let j = 0; j < this.joints; j++) {
        this.joint(t, j).forEach((value, d) => {
          if (!isNaN(value)) [low[d], high[d]] = [Math.min(low[d], value), Math.max(high[d], value)];
        });
      }
    }
    if (low[0] === Infinity) [low, high] = [last, last];
    if (D === 3) low[2] = Math.min(low[2], this.ground);
    this.middle = low.map((value, d) => (value + high[d]) / 2);
    const reach = Math.round(0.5 * this.fps);
    this.camera = smooth(smooth(this.path, reach), reach);
    if (D === 3) this.camera.forEach((point) => (point[2] = this.middle[2]));
    const wander = [0, 1].map((d) => Math.max(...span(this.path, d)) - Math.min(...span(this.path, d)));
    if (Math.max(...wander) < 0.6 * this.stature) this.camera = this.camera.map(() => this.middle);
    this.roomFollowing = this.roomWhole = 0.3 * this.stature;
    for (let t = 0; t < this.frames; t++) {
      for (let j = 0; j < this.joints; j++) {
        const p = this.joint(t, j);
        if (isNaN(p[0])) continue;
        this.roomFollowing = Math.max(this.roomFollowing, distance(p, this.camera[t]));
        this.roomWhole = Math.max(this.roomWhole, distance(p, this.middle));
      }
    }
  }

  cameraAt(time) {
    const exact = clamp(time * this.fps, 0, this.frames - 1), frame = Math.floor(exact);
    const next = this.camera[Math.min(frame + 1, this.frames - 1)];
    return this.camera[frame].map((value, d) => value + (exact - frame) * (next[d] - value));
  }
}

const distance = (p, q) => Math.hypot(...q.map((value, d) => p[d] - value));
const span = (path, d) => [path.reduce((m, p) => Math.min(m, p[d]), Infinity), path.reduce((m, p) => Math.max(m, p[d]), -Infinity)];

// Running mean over up to `reach` frames on either side, the same number on both: ends stay where they are.
function smooth(path, reach) {
  const sums = [path[0].map(() => 0)];
  for (const point of path) sums.push(point.map((value, d) => value + sums[sums.length - 1][d]));
  return path.map((point, t) => {
    const side = Math.min(reach, t, path.length - 1 - t);
    return point.map((_, d) => (sums[t + side + 1][d] - sums[t - side][d]) / (2 * side + 1));
  });
}
