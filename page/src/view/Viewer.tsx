// The live image with its toolbar, contrast and read-out.
import { useSignal } from "@preact/signals";
import { useEffect, useMemo } from "preact/hooks";
import type { StreamInfo } from "../api";
import { count, rate, value } from "../format";
import { frameStreams, recall, remember, session, status } from "../store";
import { Contrast } from "./Contrast";
import { ViewModel } from "./model";
import { Screen } from "./Screen";
import { FIT } from "./viewport";

export function Viewer() {
  const names = frameStreams.value.map(([name]) => name);
  const chosen = useSignal(recall("stream", ""));
  const stream = names.includes(chosen.value) ? chosen.value : (names[0] ?? "");
  const info = session.value?.streams[stream];
  const choose = (name: string) => {
    chosen.value = name;
    remember("stream", name);
  };
  return (
    <section class="card viewer" aria-label="Live image">
      {info ? (
        <View
          key={`${stream} ${info.dtype} ${info.shape.join()}`}
          {...{ stream, info, names, choose }}
        />
      ) : (
        <p class="empty">No stream of frames yet.</p>
      )}
    </section>
  );
}

interface Props {
  stream: string;
  info: StreamInfo;
  names: string[];
  choose: (name: string) => void;
}

function View({ stream, info, names, choose }: Props) {
  const model = useMemo(() => new ViewModel(stream, info), []);
  useEffect(() => {
    model.start();
    return () => model.stop();
  }, []);
  return (
    <>
      <Toolbar {...{ model, names, choose }} />
      <Screen model={model} />
      <Contrast model={model} />
      <Readout model={model} />
    </>
  );
}

function Toolbar({
  model,
  names,
  choose,
}: {
  model: ViewModel;
  names: string[];
  choose: (name: string) => void;
}) {
  return (
    <div class="bar" role="toolbar" aria-label="Image">
      <select
        aria-label="Stream shown"
        value={model.stream}
        onChange={(event) => choose(event.currentTarget.value)}
      >
        {names.map((name) => (
          <option key={name}>{name}</option>
        ))}
      </select>
      {model.overlays.value.map(({ stream, colour, on, behind }) => (
        <button
          key={stream}
          class="chip overlay"
          aria-pressed={on}
          title={`Show the rows of ${stream} over the image`}
          onClick={() => model.toggle(stream)}
        >
          <i class="dot" style={{ background: on ? colour : "transparent", borderColor: colour }} />
          {stream}
          {on && behind > 0 && <small title="frames behind the image">−{behind}</small>}
        </button>
      ))}
      {model.tracker.value && (
        <button
          class="chip"
          aria-pressed={model.tool.value === "roi"}
          title={`Regions of ${model.tracker.value}: click to add, drag to move, right click to remove`}
          onClick={() => (model.tool.value = model.tool.value === "roi" ? "look" : "roi")}
        >
          ⊕ ROI
        </button>
      )}
      <span class="grow" />
      <Rates model={model} />
    </div>
  );
}

function Rates({ model }: { model: ViewModel }) {
  const stream = status.value?.streams[model.stream];
  const lost = stream?.device_lost ?? 0;
  return (
    <span class="rates">
      <span title="Frames shown on this page each second">
        <b data-test="fps">{model.fps.value.toFixed(0)}</b> shown/s
      </span>
      {stream && (
        <span title="Frames published each second">
          <b>{rate(stream.rate)}</b> made/s
        </span>
      )}
      {stream && (
        <span class={lost ? "bad" : ""} title="Frames that the camera itself lost">
          <b>{count(lost)}</b> lost by device
        </span>
      )}
    </span>
  );
}

function Readout({ model }: { model: ViewModel }) {
  const picture = model.picture.value;
  const { width, height } = model.image.value;
  const { scale } = model.transform.value;
  const one = () => {
    model.viewport.value = { scale: 1 / devicePixelRatio, x: width / 2, y: height / 2 };
  };
  return (
    <div class="bar readout">
      <span class="mono probe" data-test="probe">
        <Probe model={model} />
      </span>
      <span class="grow" />
      <span class="mono dim facts">
        {width}×{height} {model.info.pixel_format || model.info.dtype}
        {picture && ` · seq ${count(picture.seq)}`}
        {picture && picture.step > 1 && ` · 1 of ${picture.step}`}
      </span>
      <select
        aria-label="How frames travel"
        title="raw: every pixel as it is; jpeg: less to send over a slow network"
        value={model.format.value}
        onChange={(event) => (model.format.value = event.currentTarget.value as "raw" | "jpeg")}
      >
        <option>raw</option>
        <option>jpeg</option>
      </select>
      <button class="small" title="Show the whole image (double click, or 0)" onClick={() => (model.viewport.value = FIT)}>
        fit
      </button>
      <button class="small" title="One screen pixel for each image pixel" onClick={one}>
        1:1
      </button>
      <span class="mono dim zoom" data-test="zoom">
        {(scale * devicePixelRatio * 100).toFixed(0)} %
      </span>
    </div>
  );
}

/** The value under the cursor: read from the pixels here if they are whole, else the server's. */
function Probe({ model }: { model: ViewModel }) {
  const at = model.cursor.value;
  const picture = model.picture.value;
  if (!at || !picture) return <span class="dim">x – y –</span>;
  let values: number[] | null = null;
  if (model.exact && picture.step === 1 && model.format.value === "raw") {
    const { data, width, channels } = picture.pixels;
    const i = (at.y * width + at.x) * channels;
    values = [...data.subarray(i, i + channels)];
  } else if (picture.probe?.x === at.x && picture.probe.y === at.y) {
    values = picture.probe.values;
  }
  return (
    <>
      x {at.x} y {at.y} <b>{values ? values.map((v) => value(v, 6)).join(" ") : "…"}</b>
    </>
  );
}
