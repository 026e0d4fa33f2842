// The report's motion viewer, part two: motions drawn on one canvas.
// The figures, the camera and the colors are those of the stick figure videos.

class Panel {
  constructor(viewer, caption, clips) {
    this.viewer = viewer;
    this.clips = clips;
    this.flat = clips[0].dims === 2;
    this.canvas = element("canvas", { role: "img", "aria-label": `Moving stick figure: ${caption}` });
    this.context = this.canvas.getContext("2d");
    const title = element("div", { class: "panel-caption" }, caption);
    if (clips.length > 1) {
      const entries = clips.map((clip, n) =>
        element("li", {}, element("span", { class: `swatch series-${n % 6}` }), clip.name));
      title.append(element("ul", { class: "legend" }, ...entries));
    }
    this.node = element("div", { class: "panel" }, this.canvas, title);
    this.listen();
  }

  room(follow) {
    if (follow) return Math.max(...this.clips.map((clip) => clip.roomFollowing + this.spread(clip)));
    const far = this.clips.map((clip) => clip.roomWhole + distance(clip.middle, this.middle()));
    return Math.max(...far);
  }

  // How far a person gets from the others of this panel, of which the camera follows the middle.
  spread(clip) {
    let most = 0;
    for (let n = 0; n <= 20 && this.clips.length > 1; n++) {
      const time = (n / 20) * clip.duration;
      most = Math.max(most, distance(clip.cameraAt(time), this.follow(time)));
    }
    return most;
  }

  middle() { return this.clips[0].middle.map((_, d) => mean(this.clips.map((clip) => clip.middle[d]))); }

  follow(time) {
    const centers = this.clips.map((clip) => clip.cameraAt(time));
    return centers[0].map((_, d) => mean(centers.map((center) => center[d])));
  }

  // Sets up this.project: a point of the world to [x, y, pixels per unit, nearness].
  aim(time, room) {
    const { orbit } = this.viewer, ratio = Math.min(window.devicePixelRatio || 1, 2);
    const width = Math.round(this.canvas.clientWidth * ratio), height = Math.round(this.canvas.clientHeight * ratio);
    if (this.canvas.width !== width || this.canvas.height !== height) Object.assign(this.canvas, { width, height });
    const center = this.viewer.following ? this.follow(time) : this.middle();
    const sight = FOCAL / (MARGIN * Math.min(1, width / height));
    const away = (1.06 * room * Math.hypot(1, sight)) / orbit.zoom;
    const scale = (FOCAL * height) / 2;
    Object.assign(this, { width, height, ratio, center, away });
    if (this.flat) {
      const zoom = scale / away;
      this.project = (p) => [width / 2 + zoom * (p[0] - center[0]), height * 0.52 + zoom * (p[1] - center[1]), zoom, 0];
      return;
    }
    const azimuth = this.clips[0].heading + THREE_QUARTER + orbit.azimuth, elevation = ELEVATION + orbit.elevation;
    const [sin, cos, rise, tilt] = [Math.sin(azimuth), Math.cos(azimuth), Math.sin(elevation), Math.cos(elevation)];
    this.project = (p) => {
      const x = p[0] - center[0], y = p[1] - center[1], z = p[2] - center[2];
      const right = cos * y - sin * x, outward = cos * x + sin * y;
      const up = tilt * z - rise * outward, toward = tilt * outward + rise * z;
      const zoom = scale / Math.max(away - toward, 0.05 * away);
      return [width / 2 + zoom * right, height * 0.52 - zoom * up, zoom, toward];
    };
  }

  draw(time, room) {
    if (!this.canvas.clientWidth) return;
    this.aim(time, room);
    const context = this.context;
    context.fillStyle = css(colors.stage);
    context.fillRect(0, 0, this.width, this.height);
    context.lineCap = context.lineJoin = "round";
    if (this.flat) this.paper();
    else {
      this.ground(room);
      for (const clip of this.clips) this.trail(clip, time);
    }
    const poses = this.clips.map((clip) => clip.pose(time));
    if (!this.flat) this.clips.forEach((clip, n) => this.shadow(clip, poses[n]));
    const strokes = this.clips.flatMap((clip, n) => this.body(clip, poses[n], n, time));
    strokes.sort((a, b) => a.near - b.near);
    for (const stroke of strokes) stroke.paint();
  }

  line(a, b, width, color) {
    const context = this.context;
    context.beginPath();
    context.moveTo(a[0], a[1]);
    context.lineTo(b[0], b[1]);
    context.lineWidth = width;
    context.strokeStyle = color;
    context.stroke();
  }

  disc(at, radius, color) {
    this.context.beginPath();
    this.context.arc(at[0], at[1], radius, 0, 2 * Math.PI);
    this.context.fillStyle = color;
    this.context.fill();
  }

  body(clip, pose, number, time) {
    const at = pose.map(this.project), seen = pose.map((p) => !isNaN(p[0]));
    const over = time > clip.duration + 1e-3 && this.viewer.duration > clip.duration + 1e-3;
    const depth = (joints) => mean(joints.map((j) => at[j][3]));
    const heart = mean(at.map((point, j) => (seen[j] ? point[3] : 0)));
    const shade = (side, near) => {
      let color = colors[side];
      if (this.clips.length > 1) {
        color = colors[`series-${number % 6}`];
        if (side === "right") color = mix(color, colors.stage, 0.4); // the right half of a body is paler
      }
      color = mix(color, colors.stage, clamp(0.12 - (0.55 * (near - heart)) / clip.stature, 0, 0.35));
      return over ? mix(color, colors.stage, 0.45) : color;
    };
    const strokes = [], front = new Map();
    if (clip.torso.length && clip.torso.every((j) => seen[j])) {
      const paint = () => {
        this.context.beginPath();
        clip.torso.forEach((j) => this.context.lineTo(at[j][0], at[j][1]));
        this.context.fillStyle = css(colors.torso, this.clips.length > 1 ? 0.6 : 1);
        this.context.fill();
      };
      strokes.push({ near: depth(clip.torso) - 0.1 * clip.stature, paint });
    }
    const bones = clip.bones.filter(([child, parent]) => seen[child] && seen[parent]);
    for (const [child, parent, side, thick] of bones) {
      const near = depth([child, parent]), a = at[parent], b = at[child];
      for (const j of [child, parent]) front.set(j, Math.max(front.get(j) ?? -Infinity, near));
      const paint = () => {
        const width = (thick * (a[2] + b[2])) / 2, inner = (s) => [a[0] + s * (b[0] - a[0]), a[1] + s * (b[1] - a[1])];
        this.context.lineCap = "butt"; // the rim must not cut into the joints
        this.line(inner(0.2), inner(0.8), width + 3 * this.ratio, css(colors.stage));
        this.context.lineCap = "round";
        this.line(a, b, width, css(shade(side, near)));
      };
      strokes.push({ near, paint });
    }
    for (const [child, , side, thick] of bones) {
      if (clip.head.includes(child)) continue; // it lies inside the head
      const near = front.get(child), b = at[child];
      const paint = () => this.disc(b, 0.2 * thick * b[2], css(mix(shade(side, near), colors.stage, 0.75)));
      strokes.push({ near: near + 1e-6 * clip.stature, paint });
    }
    if (clip.head.length && clip.head.every((j) => seen[j])) {
      const near = Math.max(depth(clip.head), ...clip.head.map((j) => front.get(j) ?? -Infinity));
      const middle = [0, 1, 2].map((i) => mean(clip.head.map((j) => at[j][i])));
      const paint = () => {
        this.disc(middle, clip.headRadius * middle[2] + 1.5 * this.ratio, css(colors.stage));
        this.disc(middle, clip.headRadius * middle[2], css(shade("center", near)));
      };
      strokes.push({ near, paint });
    }
    return strokes;
  }

  // The body dropped straight down.
  shadow(clip, pose) {
    const at = pose.map((p) => this.project([p[0], p[1], clip.ground]));
    for (const [child, parent, , thick] of clip.bones) {
      if (isNaN(at[child][0]) || isNaN(at[parent][0])) continue;
      this.line(at[parent], at[child], thick * at[child][2], css(colors.shadow));
    }
  }

  // The way of the pelvis on the ground: all of it thin, what lies behind the person thicker.
  trail(clip, time) {
    const stride = Math.max(1, Math.floor(clip.fps / 12)), now = time * clip.fps;
    const color = this.clips.length > 1 ? null : css(colors.trail);
    const own = color ?? css(mix(colors[`series-${this.clips.indexOf(clip) % 6}`], colors.stage, 0.45));
    let before = null;
    for (let t = 0; t < clip.frames; t += stride) {
      const point = this.project([clip.path[t][0], clip.path[t][1], clip.ground]);
      const visible = point[3] < 0.7 * this.away;
      if (before && visible) {
        const past = t <= now;
        this.line(before, point, (past ? 2 : 1) * this.ratio, past ? own : css(colors.grid));
      }
      before = visible ? point : null;
    }
  }

  // Lines on the ground, fixed to the world, that fade out around the middle.
  ground(room) {
    const clip = this.clips[0], reach = Math.max(2.2 * clip.stature, 1.9 * room);
    let spacing = clip.unit === "m" ? 0.5 : clip.stature / 3;
    while (reach / spacing > 14) spacing *= 2;
    const n = Math.ceil(reach / spacing), start = [0, 1].map((d) => Math.round(this.center[d] / spacing) * spacing);
    const corners = [];
    for (let i = -n; i <= n; i++) {
      corners.push([]);
      for (let j = -n; j <= n; j++) {
        const point = [start[0] + i * spacing, start[1] + j * spacing, clip.ground];
        const far = Math.hypot(point[0] - this.center[0], point[1] - this.center[1]);
        corners[i + n].push({ at: this.project(point), far });
      }
    }
    const shades = Array.from({ length: 9 }, () => new Path2D());
    const join = (a, b) => {
      const strength = clamp(1.15 - (a.far + b.far) / 2 / (n * spacing), 0, 1);
      if (Math.max(a.at[3], b.at[3]) > 0.8 * this.away) return;
      const shade = shades[Math.round(strength * 8)];
      shade.moveTo(a.at[0], a.at[1]);
      shade.lineTo(b.at[0], b.at[1]);
    };
    for (let i = 0; i <= 2 * n; i++) {
      for (let j = 0; j <= 2 * n; j++) {
        if (i < 2 * n) join(corners[i][j], corners[i + 1][j]);
        if (j < 2 * n) join(corners[i][j], corners[i][j + 1]);
      }
    }
    this.context.lineWidth = this.ratio;
    shades.forEach((shade, k) => {
      this.context.strokeStyle = css(colors.grid, k / 8);
      if (k) this.context.stroke(shade);
    });
  }

  // Squared paper behind a 2D motion.
  paper() {
    const spacing = this.clips[0].stature / 4, [, , zoom] = this.project(this.center), step = spacing * zoom;
    const [x0, y0] = this.project([0, 0]), color = css(colors.grid, 0.45);
    if (step < 6) return;
    for (let x = ((x0 % step) + step) % step; x < this.width; x += step) this.line([x, 0], [x, this.height], this.ratio, color);
    for (let y = ((y0 % step) + step) % step; y < this.height; y += step) this.line([0, y], [this.width, y], this.ratio, color);
  }

  // Drag turns, two fingers or the wheel zoom, a double click brings the first view back.
  listen() {
    const { viewer, canvas } = this, fingers = new Map();
    const gap = () => {
      const [a, b] = [...fingers.values()];
      return Math.hypot(a.x - b.x, a.y - b.y);
    };
    canvas.addEventListener("pointerdown", (event) => {
      fingers.set(event.pointerId, { x: event.clientX, y: event.clientY });
      canvas.setPointerCapture(event.pointerId);
    });
    canvas.addEventListener("pointermove", (event) => {
      const finger = fingers.get(event.pointerId);
      if (!finger) return;
      const before = fingers.size === 2 ? gap() : 0;
      const [dx, dy] = [event.clientX - finger.x, event.clientY - finger.y];
      fingers.set(event.pointerId, { x: event.clientX, y: event.clientY });
      if (fingers.size === 2) viewer.turn(0, 0, gap() / Math.max(before, 1));
      else viewer.turn(-0.008 * dx, 0.006 * dy, 1);
    });
    for (const end of ["pointerup", "pointercancel"]) {
      canvas.addEventListener(end, (event) => fingers.delete(event.pointerId));
    }
    canvas.addEventListener("wheel", (event) => {
      if (performance.now() - lastScroll < 300) return; // the page is being scrolled: let it pass
      event.preventDefault();
      const lines = event.deltaMode === 1 ? 16 : 1;
      viewer.turn(0, 0, Math.exp(-0.0015 * lines * event.deltaY));
    }, { passive: false });
    canvas.addEventListener("dblclick", () => viewer.reset());
  }
}

let lastScroll = -Infinity;
window.addEventListener("scroll", () => (lastScroll = performance.now()), { passive: true });
