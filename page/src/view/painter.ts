// Draws the pixels of a frame: by WebGL where the machine has it in hardware, else by a 2-D canvas.
import type { Transform } from "./viewport";

/** Pixels as they came: 1 (gray), 3 (RGB) or 4 (RGBA) bytes each. */
export interface Pixels {
  data: Uint8Array<ArrayBuffer>;
  width: number;
  height: number;
  channels: 1 | 3 | 4;
}

export interface Painter {
  readonly name: "webgl" | "canvas";
  upload(pixels: Pixels): void;
  lut(table: Uint32Array<ArrayBuffer>): void;
  /** Draw what was uploaded; the transform is in device pixels for one uploaded pixel. */
  draw(at: Transform): void;
  dispose(): void;
}

/**
 * @param wish "webgl" or "canvas" insists on one, for tests.
 */
export function makePainter(canvas: HTMLCanvasElement, wish: string | null): Painter {
  if (wish === "webgl" || (wish !== "canvas" && hasHardwareGl())) {
    const gl = canvas.getContext("webgl2", { alpha: false, antialias: false, depth: false });
    if (gl) return new GlPainter(gl);
  }
  const context = canvas.getContext("2d", { alpha: false });
  if (!context) throw new Error("this browser can draw neither with WebGL nor with a 2-D canvas");
  return new CanvasPainter(context);
}

/** WebGL that is emulated in software is slower than a 2-D canvas. */
function hasHardwareGl(): boolean {
  const gl = document
    .createElement("canvas")
    .getContext("webgl2", { failIfMajorPerformanceCaveat: true });
  if (!gl) return false;
  const told = gl.getExtension("WEBGL_debug_renderer_info");
  const name = String(gl.getParameter(told ? told.UNMASKED_RENDERER_WEBGL : gl.RENDERER));
  gl.getExtension("WEBGL_lose_context")?.loseContext();
  return !/swiftshader|llvmpipe|software|basic render/i.test(name);
}

class CanvasPainter implements Painter {
  readonly name = "canvas";
  private readonly off = document.createElement("canvas");
  private readonly inner: CanvasRenderingContext2D;
  private image: ImageData | null = null;
  private pixels: Pixels | null = null;
  private table: Uint32Array = new Uint32Array(256);
  private dirty = false;

  constructor(private readonly context: CanvasRenderingContext2D) {
    const inner = this.off.getContext("2d", { alpha: false });
    if (!inner) throw new Error("this browser refuses a second canvas");
    this.inner = inner;
  }

  upload(pixels: Pixels): void {
    this.pixels = pixels;
    this.dirty = true;
  }

  lut(table: Uint32Array<ArrayBuffer>): void {
    this.table = table;
    this.dirty = true;
  }

  draw(at: Transform): void {
    const { canvas } = this.context;
    this.context.fillStyle = "#07090c";
    this.context.fillRect(0, 0, canvas.width, canvas.height);
    if (!this.pixels) return;
    if (this.dirty) this.map(this.pixels);
    this.context.imageSmoothingEnabled = at.scale < 1;
    const { width, height } = this.pixels;
    this.context.drawImage(this.off, at.left, at.top, width * at.scale, height * at.scale);
  }

  dispose(): void {
    this.off.width = this.off.height = 0;
  }

  private map(pixels: Pixels): void {
    const { width, height, data, channels } = pixels;
    if (this.image?.width !== width || this.image.height !== height) {
      this.off.width = width;
      this.off.height = height;
      this.image = this.inner.createImageData(width, height);
    }
    const words = new Uint32Array(this.image.data.buffer);
    const table = this.table;
    if (channels === 1) {
      for (let i = 0; i < words.length; i++) words[i] = table[data[i]!]!;
    } else {
      for (let i = 0, k = 0; i < words.length; i++, k += channels) {
        words[i] =
          (table[data[k]!]! & 0xff0000ff) |
          (table[data[k + 1]!]! & 0x0000ff00) |
          (table[data[k + 2]!]! & 0x00ff0000);
      }
    }
    this.inner.putImageData(this.image, 0, 0);
    this.dirty = false;
  }
}

const VERTEX = `#version 300 es
uniform vec4 place; // left, top, width, height in clip units, top down
out vec2 at;
void main() {
  at = vec2(gl_VertexID & 1, gl_VertexID >> 1);
  vec2 p = place.xy + at * place.zw;
  gl_Position = vec4(p.x, -p.y, 0.0, 1.0);
}`;

const FRAGMENT = `#version 300 es
precision highp float;
uniform sampler2D image;
uniform sampler2D table;
uniform bool gray;
in vec2 at;
out vec4 shown;
vec4 look(float v) { return texture(table, vec2((v * 255.0 + 0.5) / 256.0, 0.5)); }
void main() {
  vec4 p = texture(image, at);
  shown = gray ? look(p.r) : vec4(look(p.r).r, look(p.g).g, look(p.b).b, 1.0);
}`;

class GlPainter implements Painter {
  readonly name = "webgl";
  private readonly program: WebGLProgram;
  private readonly image: WebGLTexture;
  private readonly table: WebGLTexture;
  private size = { width: 0, height: 0, channels: 0 };

  constructor(private readonly gl: WebGL2RenderingContext) {
    this.program = link(gl);
    gl.useProgram(this.program);
    gl.pixelStorei(gl.UNPACK_ALIGNMENT, 1);
    this.image = texture(gl, 0, gl.LINEAR);
    this.table = texture(gl, 1, gl.NEAREST);
    gl.uniform1i(gl.getUniformLocation(this.program, "image"), 0);
    gl.uniform1i(gl.getUniformLocation(this.program, "table"), 1);
  }

  upload({ data, width, height, channels }: Pixels): void {
    const { gl } = this;
    const format = { 1: gl.RED, 3: gl.RGB, 4: gl.RGBA }[channels];
    const inside = { 1: gl.R8, 3: gl.RGB8, 4: gl.RGBA8 }[channels];
    gl.activeTexture(gl.TEXTURE0);
    gl.bindTexture(gl.TEXTURE_2D, this.image);
    const same =
      this.size.width === width && this.size.height === height && this.size.channels === channels;
    if (same) gl.texSubImage2D(gl.TEXTURE_2D, 0, 0, 0, width, height, format, gl.UNSIGNED_BYTE, data);
    else gl.texImage2D(gl.TEXTURE_2D, 0, inside, width, height, 0, format, gl.UNSIGNED_BYTE, data);
    this.size = { width, height, channels };
  }

  lut(table: Uint32Array<ArrayBuffer>): void {
    const { gl } = this;
    gl.activeTexture(gl.TEXTURE1);
    gl.bindTexture(gl.TEXTURE_2D, this.table);
    const words = new Uint8Array(table.buffer);
    gl.texImage2D(gl.TEXTURE_2D, 0, gl.RGBA8, 256, 1, 0, gl.RGBA, gl.UNSIGNED_BYTE, words);
  }

  draw(at: Transform): void {
    const { gl } = this;
    const { width, height } = gl.canvas;
    gl.viewport(0, 0, width, height);
    gl.clearColor(7 / 255, 9 / 255, 12 / 255, 1);
    gl.clear(gl.COLOR_BUFFER_BIT);
    if (!this.size.width) return;
    gl.uniform4f(
      gl.getUniformLocation(this.program, "place"),
      (at.left / width) * 2 - 1,
      (at.top / height) * 2 - 1,
      ((this.size.width * at.scale) / width) * 2,
      ((this.size.height * at.scale) / height) * 2,
    );
    gl.uniform1i(gl.getUniformLocation(this.program, "gray"), this.size.channels === 1 ? 1 : 0);
    gl.drawArrays(gl.TRIANGLE_STRIP, 0, 4);
  }

  dispose(): void {
    this.gl.deleteTexture(this.image);
    this.gl.deleteTexture(this.table);
    this.gl.deleteProgram(this.program);
    this.gl.getExtension("WEBGL_lose_context")?.loseContext();
  }
}

function texture(gl: WebGL2RenderingContext, unit: number, shrink: number): WebGLTexture {
  const made = gl.createTexture();
  gl.activeTexture(gl.TEXTURE0 + unit);
  gl.bindTexture(gl.TEXTURE_2D, made);
  gl.texParameteri(gl.TEXTURE_2D, gl.TEXTURE_WRAP_S, gl.CLAMP_TO_EDGE);
  gl.texParameteri(gl.TEXTURE_2D, gl.TEXTURE_WRAP_T, gl.CLAMP_TO_EDGE);
  gl.texParameteri(gl.TEXTURE_2D, gl.TEXTURE_MIN_FILTER, shrink);
  gl.texParameteri(gl.TEXTURE_2D, gl.TEXTURE_MAG_FILTER, gl.NEAREST);
  return made;
}

function link(gl: WebGL2RenderingContext): WebGLProgram {
  const program = gl.createProgram();
  for (const [type, text] of [
    [gl.VERTEX_SHADER, VERTEX],
    [gl.FRAGMENT_SHADER, FRAGMENT],
  ] as const) {
    const shader = gl.createShader(type);
    if (!shader) throw new Error("WebGL gives no shader");
    gl.shaderSource(shader, text);
    gl.compileShader(shader);
    if (!gl.getShaderParameter(shader, gl.COMPILE_STATUS)) {
      throw new Error(`WebGL shader: ${gl.getShaderInfoLog(shader)}`);
    }
    gl.attachShader(program, shader);
  }
  gl.linkProgram(program);
  if (!gl.getProgramParameter(program, gl.LINK_STATUS)) {
    throw new Error(`WebGL program: ${gl.getProgramInfoLog(program)}`);
  }
  return program;
}
